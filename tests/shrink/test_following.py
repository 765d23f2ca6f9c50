"""Layers solved in the order of the graph, each for the inputs that it will really get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from packlight.errors import BadInput
from packlight.fuse import fuse
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import activations, curvature, following, grid_search, side_by_side
from packlight.shrink.assembly import assemble
from packlight.shrink.budget import Budget
from packlight.shrink.layers import find_layers
from packlight.shrink.search import Point, Visit, go_on
from tests.networks import Blocks, Plain, settled
from tests.reference import following as reference


class Transposed(nn.Module):
    """A transposed convolution without a bias, a matrix of weights, and a view that moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False)
        self.mix = nn.Linear(6, 4, bias=False)

    def forward(self, image):
        x = torch.relu(self.down(image))
        first, second = torch.relu(self.up(x)).chunk(2, 1)
        return self.mix(torch.cat([second, first], 1).mean((2, 3)))


class Pair(nn.Module):
    """A second input that is read only after a layer has read the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3)
        self.other = nn.Conv2d(3, 4, 3)
        self.both = nn.Linear(10, 4)

    def forward(self, image, second):
        seen = torch.relu(self.one(image)), torch.relu(self.other(second))
        return self.both(torch.cat(seen, 1).mean((2, 3)))


@pytest.fixture(autouse=True)
def no_file(monkeypatch):
    """Assemblies without their ONNX file, which nothing here reads."""
    monkeypatch.setattr(onnx_file, "to_proto", lambda _: None)


def _ready(module: nn.Module, count: int = 24):
    """A network, its assembly, its layers prepared, and samples of four."""
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    inputs = (images, images.flip(0)) if isinstance(module, Pair) else (images,)
    network = fuse(Network.from_module(settled(module), tuple(one[:2] for one in inputs))).network
    layers = find_layers(network)
    samples = list(zip(*(one.split(4) for one in inputs), strict=True))
    watched = network.copy()
    singles = list(zip(*(one.split(1) for one in inputs), strict=True))
    found = curvature.collect(
        watched, find_layers(watched), singles, curvature.projection_loss([1.0])
    )
    places = activations.find_places(network, layers)
    grids = activations.observe(network, places, samples)
    prepared = grid_search.prepare(network, layers, found)
    return network, assemble(network, layers, places, grids, {}), prepared, samples


def _error(network: Network, assembly, solved, samples) -> float:
    from packlight.shrink import weights

    weights.fill(assembly.network, assembly.values(solved))
    with torch.no_grad():
        return sum(
            float((assembly.network(*s)[0] - network(*s)[0]).square().sum()) for s in samples
        )


@pytest.mark.parametrize("module", [Plain(), Blocks(), Transposed(), Pair()])
def test_layers_in_order_are_those_of_the_slow_way(module):
    network, assembly, prepared, samples = _ready(module)
    coarseness = 3 * float(np.median([one.finest for one in prepared]))
    alone = [grid_search.solve(one, coarseness) for one in prepared]
    aimed, quick = following.solve_in_order(network, assembly, prepared, alone, coarseness, samples)
    slow = reference.in_order(
        network, assembly, prepared, alone, coarseness, samples, following.RIDGES
    )
    for one, other, first in zip(quick, slow, alone, strict=True):
        assert np.mean(one.levels != other.levels) < 0.01  # sums are rounded in another order
        if one.bias is not None:
            assert one.bias == pytest.approx(other.bias, abs=2e-3)
        assert one.levels.shape == first.levels.shape
    assert any((one.levels != first.levels).any() for one, first in zip(quick, alone, strict=True))
    for one, wanted in zip(quick, aimed, strict=True):  # what the layers were solved from
        np.testing.assert_array_equal(grid_search.solve(wanted, coarseness).levels, one.levels)


def test_moved_rows_are_those_of_ridge_regression():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 50, 6, generator=generator, dtype=torch.float64)
    y = x + 0.5 * torch.randn(1, 50, 6, generator=generator, dtype=torch.float64)
    rows = torch.randn(1, 3, 6, generator=generator, dtype=torch.float64)
    products, gaps = y.mT @ y / 50, (x - y).mT @ y / 50
    found = following.moved(rows, products, gaps, 0.5)
    ridge = 0.5 * float(products[0].diagonal().mean()) * 50

    def loss(moved):
        miss = (x[0] - y[0]) @ rows[0].T - y[0] @ moved.T
        return float(miss.square().sum() + ridge * moved.square().sum())

    least = loss(found[0])
    for _ in range(20):
        step = 1e-3 * torch.randn(3, 6, generator=generator, dtype=torch.float64)
        assert loss(found[0] + step) > least


def test_inputs_that_are_as_they_were_move_nothing():
    products = torch.eye(4, dtype=torch.float64)[None]
    rows = torch.ones(1, 2, 4, dtype=torch.float64)
    nothing = torch.zeros_like(products)
    assert not following.moved(rows, products, nothing, 0.5).any()
    assert not following.moved(rows, nothing, nothing, 0.5).any()
    assert not following.moved(rows, products, products, np.inf).any()


def test_what_one_half_of_the_samples_tells_but_not_the_other_is_not_believed():
    generator = torch.Generator().manual_seed(2)
    products = torch.eye(4, dtype=torch.float64)[None]
    chance = [torch.randn(1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    rows = torch.randn(1, 3, 4, generator=generator, dtype=torch.float64)
    apart = [(products, chance[0]), (products, -chance[0])]
    assert following.best_ridge(rows, apart) == np.inf
    alike = [(products, chance[0]), (products, chance[0])]
    assert following.best_ridge(rows, alike) == min(following.RIDGES)
    mixed = [(products, chance[0] + chance[1]), (products, chance[0] - chance[1])]
    assert min(following.RIDGES) < following.best_ridge(rows, mixed)
    assert following.best_ridge(rows, alike[:1]) == np.inf
    many = rows.repeat(1, following.TELLING, 1)  # of which some are asked
    for parts in (apart, alike, mixed):
        assert following.best_ridge(many, parts) == following.best_ridge(rows, parts)


@pytest.mark.parametrize("module", [Plain(), Blocks()])
def test_answers_are_nearer_on_samples_that_were_not_looked_at(module):
    network, assembly, prepared, samples = _ready(module, 96)
    others = [(torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(9)),)]
    coarseness = 8 * float(np.median([one.finest for one in prepared]))
    alone = [grid_search.solve(one, coarseness) for one in prepared]
    before = _error(network, assembly, alone, others)
    _, found = following.solve_in_order(network, assembly, prepared, alone, coarseness, samples)
    assert _error(network, assembly, found, others) < 0.9 * before


def test_a_layer_whose_inputs_are_not_seen_keeps_its_solution():
    network, assembly, prepared, samples = _ready(Plain())
    coarseness = 4 * float(np.median([one.finest for one in prepared]))
    alone = [grid_search.solve(one, coarseness) for one in prepared]
    blind = [*prepared[:1], replace(prepared[1], factors=[]), *prepared[2:]]
    _, found = following.solve_in_order(network, assembly, blind, alone, coarseness, samples)
    assert found[1] is alone[1]
    assert found[2] is not alone[2]


class Spoken(nn.Module):
    """A convolution over time, a recurrent layer, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3)
        self.layer = nn.GRU(6, 5, batch_first=True)
        self.twice = nn.Linear(5, 5)

    def forward(self, image):
        y, _ = self.layer(torch.relu(self.conv(image.mean(3))).transpose(1, 2))
        return self.twice(torch.tanh(self.twice(y[:, -1])))


def test_layers_that_read_what_they_gave_keep_their_solutions():
    network, assembly, prepared, samples = _ready(Spoken())
    coarseness = 4 * float(np.median([one.finest for one in prepared]))
    alone = [grid_search.solve(one, coarseness) for one in prepared]
    _, found = following.solve_in_order(network, assembly, prepared, alone, coarseness, samples)
    kept = {one.layer.weight for one, a, b in zip(prepared, alone, found, strict=True) if a is b}
    assert kept == {"layer.weight_hh_l0", "twice.weight"}


def test_inputs_that_are_no_numbers_leave_the_factors_as_they_were():
    _, _, prepared, samples = _ready(Plain())
    sums = following._Sums(prepared[0])
    for turn, (value,) in enumerate(samples):
        sums.add(value, torch.full_like(value, np.nan), turn)
    assert sums.aimed().factors is prepared[0].factors


def test_what_flows_is_the_same_in_memory_and_on_disk(monkeypatch):
    network, assembly, prepared, samples = _ready(Blocks())
    coarseness = 4 * float(np.median([one.finest for one in prepared]))
    alone = [grid_search.solve(one, coarseness) for one in prepared]
    written, save = [], torch.save
    monkeypatch.setattr(
        torch, "save", lambda values, file: [written.append(file), save(values, file)]
    )
    ways = []
    for room in (0, 10**9):
        monkeypatch.setattr(side_by_side, "IN_MEMORY", room)
        written.clear()
        _, found = following.solve_in_order(network, assembly, prepared, alone, coarseness, samples)
        ways.append((len(written), found))
    (many, on_disk), (few, in_memory) = ways
    assert few == len(samples) < many  # only as they begin
    for a, b in zip(on_disk, in_memory, strict=True):
        np.testing.assert_array_equal(a.levels, b.levels)
        np.testing.assert_array_equal(a.bias, b.bias)


def test_an_error_in_one_half_of_the_samples_arrives():
    network, assembly, prepared, samples = _ready(Plain())
    alone = [grid_search.solve(one, 1.0) for one in prepared]
    odd = [(samples[0][0][:, :2],) if turn == 1 else batch for turn, batch in enumerate(samples)]
    with pytest.raises(RuntimeError):
        following.solve_in_order(network, assembly, prepared, alone, 1.0, odd)


def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing(monkeypatch, tmp_path):
    network, assembly, prepared, samples = _ready(Plain())
    alone = [grid_search.solve(one, 1.0) for one in prepared]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match=r"No space left on device; make room"):
        following.solve_in_order(network, assembly, prepared, alone, 1.0, samples, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def _point(size: float, coarseness: float) -> Point:
    return Point(Visit(coarseness, 0, int(size), None), b"", b"", None)  # type: ignore[arg-type]


def test_going_on_ends_at_the_largest_file_that_fits():
    tried = []

    def build(coarseness: float) -> Point:
        tried.append(coarseness)
        return _point(1010 / coarseness, coarseness)

    found, visited = go_on(build, lambda _: 0.0, Budget(target_size=1000), 1.0)
    assert found is not None
    assert 995 <= found.visit.packed_bytes <= 1000
    assert [visit.coarseness for visit in visited] == tried
    assert len(tried) <= 4


@pytest.mark.parametrize("begins", [920, 991, 1004, 1080])
@pytest.mark.parametrize("power", [0.3, 0.5, 1.5])
def test_going_on_from_any_side_takes_few_trials(begins, power):
    found, visited = go_on(
        lambda coarseness: _point(begins / coarseness**power, coarseness),
        lambda _: 0.0,
        Budget(target_size=1000),
        1.0,
    )
    assert found is not None
    assert 990 <= found.visit.packed_bytes <= 1000
    assert len(visited) <= (1 if begins == 991 else 3)
    largest = max(one.packed_bytes for one in visited if one.packed_bytes <= 1000)
    assert found.visit.packed_bytes == largest


def test_going_on_finds_its_way_across_a_jump():
    def build(coarseness: float) -> Point:  # as LeNet-5 in 4.5 KB, whose neurons die together
        return _point((700 if coarseness > 0.9 else 1150) / coarseness**0.9, coarseness)

    found, _ = go_on(build, lambda _: 0.0, Budget(target_size=1000), 1.0)
    assert found is not None
    assert found.visit.packed_bytes > 740


def test_going_on_minds_the_installed_size_too():
    sizes = iter([(900, 1200), (880, 1100), (860, 990), (870, 1020)])

    def build(coarseness: float) -> Point:
        packed, installed = next(sizes)
        return replace(_point(packed, coarseness), visit=Visit(coarseness, installed, packed, None))

    found, visited = go_on(
        build, lambda _: 0.0, Budget(target_size=1000, target_installed_size=1000), 1.0
    )
    assert [one.packed_bytes for one in visited] == [900, 880, 860, 870]
    assert found is not None
    assert found.visit.bytes == 990


def test_going_on_ends_at_the_coarsest_that_keeps_the_drop():
    def build(coarseness: float) -> Point:
        return _point(1000 / coarseness, coarseness)

    def drop(point: Point) -> float:
        return 0.008 * point.visit.coarseness

    found, _ = go_on(build, drop, Budget(max_drop=0.01), 1.0)
    assert found is not None
    assert 1.1 < found.visit.coarseness <= 1.25


def test_going_on_tells_of_its_trials_where_none_will_do():
    tried = []

    def build(coarseness: float) -> Point:
        tried.append(coarseness)
        return _point(1000, coarseness)

    found, visited = go_on(build, lambda _: 1.0, Budget(max_drop=0.01), 1.0)
    assert found is None
    assert [visit.coarseness for visit in visited] == tried

"""`packlight new`: the search, what it writes, what it refuses."""

from __future__ import annotations

import json
import random
import runpy
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import packlight
from packlight.errors import BadInput, BudgetNotMet
from packlight.units import parse_count, show_count
from packlight.zoo import predicting
from packlight.zoo.predicting import CLASSES, FAMILIES, predicted, published_points
from packlight.zoo.recipes import Recipe, parse_shape
from packlight.zoo.searching import Bounds, Grid, best_of, last_true, resolutions, smallest_of
from packlight.zoo.sketching import Unallocated
from tests.commands import run
from tests.reference.largest import all_of, largest, weighed
from tests.reference.zoo import macs

SMALL = Grid(
    "resnet8",
    shapes=((3, 32, 32), (3, 16, 16)),
    widths=(0.25, 0.5, 0.52),
    depths=(1.0, 2.0),
)


def sketch(recipe: Recipe, shape: tuple[int, int, int], classes: int = 10):
    return Unallocated.of(recipe, shape, classes).sketch(shape)


@pytest.mark.parametrize("family", [*FAMILIES, "squeezenet1_1"])
def test_a_sketch_has_the_parameters_and_macs_of_the_module(family):
    recipe, shape = Recipe(family, 0.35), (3, 64, 96)
    found = sketch(recipe, shape)
    with torch.device("meta"):
        module = recipe.build(shape)
    assert found.parameters == sum(value.numel() for value in module.parameters())
    assert found.macs == macs(module, (1, *shape))
    kernels = [value for value in module.parameters() if value.ndim > 1]
    assert found.int8_bytes == sum(value.numel() + 8 * value.shape[0] for value in kernels)


@pytest.mark.parametrize("family", ["mobilenet_v3_small", "shufflenet_v1"])
def test_a_sketch_needs_the_memory_that_the_exported_graph_does(family):
    recipe, shape = Recipe(family, 0.25), (3, 32, 32)
    assert sketch(recipe, shape).ram_bytes == weighed(recipe, 1.0, shape, 10).ram_bytes


def test_the_line_is_the_least_squares_one_through_what_was_published():
    rows, tops = [], []
    for recipe, resolution, top1 in published_points():
        found = sketch(recipe, (3, resolution, resolution), CLASSES)
        rows.append([1, np.log10(found.parameters / 1e6), np.log10(found.macs / 1e8)])
        tops.append(top1)
        assert abs(predicted(found.parameters, found.macs) - top1) < 7
    fitted, *_ = np.linalg.lstsq(np.array(rows), np.array(tops), rcond=None)
    stated = (predicting._AT_A_MILLION, *predicting._PER_DECADE)
    assert stated == tuple(round(float(value), 1) for value in fitted)
    rest = np.array(tops) - np.array(rows) @ fitted
    assert len(rest) == 50
    assert np.sqrt(np.mean(rest**2)) == pytest.approx(2.7, abs=0.05)


@pytest.fixture(scope="module")
def every():
    return all_of(SMALL, classes=10)


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(size=80_000),
        Bounds(size=170_000),
        Bounds(macs=4_000_000),
        Bounds(ram=40_000),
        Bounds(size=60_000, macs=3_000_000),
        Bounds(size=50_000, macs=8_000_000, ram=60_000),
        Bounds(size=20_000, ram=30_000),
        Bounds(size=10**9),
        Bounds(size=1000),
    ],
)
def test_the_choice_is_that_of_trying_everything(bounds, every):
    line = predicting._AT_A_MILLION, *predicting._PER_DECADE
    best = largest(every, SMALL, bounds, line)
    found = best_of(SMALL, 10, bounds)
    if best is None:
        assert found is None
        return
    row, score = best
    assert found is not None
    assert found.recipe == SMALL.recipe(row.width, row.depth)
    assert found.input_shape == row.shape
    assert found.score == pytest.approx(score)
    sizes = found.sketch.int8_bytes, found.sketch.macs, found.sketch.ram_bytes
    assert sizes == (row.int8_bytes, row.macs, row.ram_bytes)
    wider = [one for one in SMALL.widths if one > row.width]
    larger = [
        one
        for one in every
        if (one.depth, one.shape) == (row.depth, row.shape)
        and one.width in wider
        and one.parameters > row.parameters
    ][:1]
    broken = {
        name
        for one in larger
        for name, used, most in (
            ("size", one.int8_bytes, bounds.size),
            ("macs", one.macs, bounds.macs),
            ("ram", one.ram_bytes, bounds.ram),
        )
        if most is not None and used > most
    }
    assert set(found.binds) == broken


def test_wider_networks_never_take_less():
    """What bisection relies on."""
    for family in ("shufflenet_v2", "mobilenet_v3_small"):
        grid = Grid.of(family, (3, 32, 32))
        before = (0, 0, 0, 0)
        for width in (*grid.widths[:60:12], *grid.widths[60::80]):
            found = sketch(grid.recipe(width, 1.0), (3, 32, 32))
            now = found.parameters, found.macs, found.int8_bytes, found.ram_bytes
            assert all(a <= b for a, b in zip(before, now, strict=True)), width
            before = now


def test_the_last_true_place_is_found_from_any_guess():
    rng = random.Random(0)
    for _ in range(300):
        count = rng.randrange(1, 60)
        last = rng.randrange(-1, count)
        known = rng.choice([-1, rng.randrange(-1, last + 1)])
        guess = rng.choice([None, rng.randrange(known + 1, count) if known + 1 < count else None])
        asked = []

        def holds(place, last=last, asked=asked):
            asked.append(place)
            return place <= last

        assert last_true(holds, known, count, guess=guess) == last
        assert len(asked) <= 14
        assert all(known < place < count for place in asked)


@pytest.mark.parametrize(
    ("shape", "others"),
    [
        ((3, 32, 32), []),
        ((1, 96, 96), [(1, 80, 80), (1, 64, 64), (1, 48, 48)]),
        ((3, 224, 224), [(3, 192, 192), (3, 160, 160), (3, 128, 128), (3, 112, 112)]),
        ((3, 64, 96), [(3, 48, 64), (3, 32, 48)]),
        ((3, 100, 100), [(3, 96, 96), (3, 80, 80), (3, 64, 64)]),
    ],
)
def test_smaller_resolutions_keep_the_proportions(shape, others):
    assert resolutions(shape) == (shape, *others)


def test_the_smallest_network_is_the_one_nearest_to_the_bounds():
    bounds = Bounds(size=100, macs=10)
    rows = all_of(replace(SMALL, widths=(0.25,)), classes=10)
    nearest = min(rows, key=lambda row: max(row.int8_bytes / 100, row.macs / 10))
    found = smallest_of([SMALL], 10, bounds)
    assert (found.sketch.int8_bytes, found.sketch.macs) == (nearest.int8_bytes, nearest.macs)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "made"
    return packlight.new(
        classes=4, input_shape="1x24x32", target_size="30KB", family="resnet8", out=folder
    )


def test_the_module_and_the_file_are_the_same_network(made):
    module = runpy.run_path(str(made.module))["network"]()
    torch.manual_seed(0)
    images = torch.rand(3, 1, 24, 32)
    with torch.no_grad():
        expected = module.eval()(images)
        read = packlight.load(made.model)
        assert torch.allclose(read(images)[0], expected, atol=1e-6)
    session = onnxruntime.InferenceSession(made.model)
    (answers,) = session.run(["logits"], {"image": images.numpy()})
    assert np.allclose(answers, expected.numpy(), atol=1e-6)
    assert expected.std() > 1e-4


def test_the_file_can_be_trained_from(made):
    """Batch norms are there, and no parameter is another's, though many are all zero or one."""
    module = runpy.run_path(str(made.module))["network"]()
    norms = sum(isinstance(one, torch.nn.BatchNorm2d) for one in module.modules())
    model = onnx.load(made.model)
    onnx.checker.check_model(model, full_check=True)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["BatchNormalization"] == norms > 0
    assert {node.domain for node in model.graph.node} == {""}
    state = {key: value for key, value in module.state_dict().items() if value.ndim}
    held = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for key, value in state.items():
        assert np.array_equal(held[key], value.numpy())
    network = packlight.load(made.model)
    parameters = list(network.module.parameters())
    assert sum(one.numel() for one in parameters) == made.chosen.sketch.parameters
    loss = torch.nn.functional.cross_entropy(network(torch.rand(4, 1, 24, 32))[0], torch.arange(4))
    loss.backward()
    assert all(one.grad is not None for one in parameters)


def test_the_folder_says_what_was_found(made):
    assert made.chosen.sketch.int8_bytes <= 30_000
    assert made.chosen.binds == ("size",)
    names = ["model.onnx", "network.py", "new.json", "weigh.json", "weigh.txt", "weights.pt"]
    assert sorted(path.name for path in made.folder.iterdir()) == names
    record = json.loads((made.folder / "new.json").read_text())
    assert record == json.loads(json.dumps(made.to_dict()))
    table = packlight.weigh(made.model)
    assert (made.folder / "weigh.txt").read_text() == table.text() + "\n"
    assert json.loads((made.folder / "weigh.json").read_text())["totals"]["macs"] == (
        made.chosen.sketch.macs
    )


def test_the_command_writes_the_same_bytes_and_tells_which_bound_binds(made, tmp_path, capsys):
    out = tmp_path / "net"
    asked = ["new", "--classes", 4, "--input", "1x24x32", "--family", "resnet8", "--quiet"]
    asked += ["--target-size", "30KB", "-o", out]
    assert not run(*asked)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{made.chosen.recipe} for 1x24x32 images: size" in said
    assert "KB of 30 KB (binds), MACs" in said
    for path in made.folder.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name
    assert run(*asked) == 2  # not over what is there
    assert "--force" in capsys.readouterr().err


def test_the_command_has_plain_values_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("packlight.founding._write", lambda result, seed: None)
    asked = ["new", "--classes", 10, "--input", "3x96x96", "--family", "resnet8", "--quiet"]
    asked += ["--target-size", "1MB", "--max-macs", "20M", "-o", tmp_path, "--json"]
    assert not run(*asked)
    values = json.loads(capsys.readouterr().out)
    assert values["chosen"]["binds"] == ["macs"]
    assert 0.8 < values["filled"]["macs"] <= 1
    assert values["asked_shape"] == [3, 96, 96]


@pytest.mark.parametrize(
    ("changed", "code", "word"),
    [
        ({"--input": "96x96"}, 2, "3x96x96"),
        ({"--input": "3x0x96"}, 2, "3x96x96"),
        ({"--input": "3x16x16"}, 2, "32"),
        ({"--classes": "0"}, 2, "classes=0"),
        ({"--family": "resnext"}, 2, "mobilenet_v2"),
        ({"--family": "condensenet"}, 2, "while it is trained"),
        ({"--family": "alexnet"}, 2, "compact"),
        ({"--target-size": "tiny"}, 2, "700KB"),
        ({"--max-macs": "10MB"}, 2, "10M"),
        ({"--target-size": None}, 2, "--target-size 250KB"),
        ({"--target-size": "5KB"}, 3, "of 5 KB"),
        ({"--max-macs": "1K", "--max-ram": "10KB"}, 3, "of 1 K"),
    ],
)
def test_what_is_not_possible_is_told_and_nothing_written(
    changed, code, word, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    asked = {"--classes": "10", "--input": "3x32x32", "--family": "mobilenet_v1"}
    asked |= {"--target-size": "250KB"} | changed
    typed = [part for key, value in asked.items() if value is not None for part in (key, value)]
    assert run("new", *typed, "--quiet") == code
    said = capsys.readouterr().err
    assert word in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_python_tells_what_is_not_possible():
    with pytest.raises(BadInput, match="3x96x96"):
        packlight.new(classes=10, input_shape=(96, 96), target_size="1MB")
    with pytest.raises(BudgetNotMet, match="smallest"):
        packlight.new(classes=10, input_shape=(3, 32, 32), max_ram=1000, family="resnet8")


def test_counts_are_read_as_they_are_written():
    assert [parse_count(text) for text in ("10M", "1.5g", " 300 k ", 7)] == [
        *(10_000_000, 1_500_000_000, 300_000, 7)
    ]
    assert [show_count(value) for value in (10e6, 1.5e9, 300e3)] == ["10.0 M", "1.50 G", "300 K"]
    for text in ("10MB", "0", "-1", "M", ""):
        with pytest.raises(BadInput, match="10M"):
            parse_count(text)
    assert parse_shape("3X96x64") == (3, 96, 64)

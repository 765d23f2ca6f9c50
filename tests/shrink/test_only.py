"""Every move of `fit` by itself, on small networks: what it promises of the file it writes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from torch import nn

import packlight
from packlight.cli import cli
from packlight.coding.contents import info
from packlight.errors import BadInput
from packlight.network import Network
from packlight.report import html
from packlight.runtimes.onnxruntime import Session
from packlight.shrink import grid_search
from packlight.shrink.budget import Budget
from packlight.shrink.curvature import classifier_loss, collect
from packlight.shrink.factoring import Options, options, worth_it
from packlight.shrink.float_moves import prune, share
from packlight.shrink.layers import find_layers
from packlight.shrink.moves import parse
from packlight.shrink.prune import Pattern
from tests.networks import images, plain

WEIGHTS = ("conv1.weight", "conv2.weight", "fc.weight")


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images and what the network itself says they are."""
    x = images(260, seed=1)
    with torch.no_grad():
        labels = plain()(x)[0].argmax(1)
    return x.numpy(), labels.numpy()


@pytest.fixture(scope="module")
def fitted(model, data, tmp_path_factory):
    """Moves and a budget -> the result, each fitted once."""
    known = {}

    def fit(only, **budget):
        key = (only, *budget.items())
        if key not in known:
            out = tmp_path_factory.mktemp("fitted") / "out"
            known[key] = packlight.fit(model, data, only=only, calibrate=60, out=out, **budget)
        return known[key]

    return fit


@pytest.fixture(scope="module")
def prepared():
    """The layers of `Plain` ready for any coarseness, and their curvatures."""
    network = plain()
    layers = find_layers(network)
    watched = network.copy()
    singles = [(one[None],) for one in images(40, seed=2)]
    curvatures = collect(watched, find_layers(watched), singles, classifier_loss(False))
    return grid_search.prepare(network, layers, curvatures), curvatures


def stored(path) -> dict[str, np.ndarray]:
    """The initialisers of a file."""
    tensors = onnx.load(path).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


CASES = [
    ("prune", {"target_size": 14_000}),
    ("palettize", {"target_size": 5_000}),
    ("palettize", {"target_installed_size": 12_000}),
    ("prune,palettize", {"target_size": 4_000}),
    ("factorize", {"target_size": 24_000}),
]


@pytest.mark.parametrize(("only", "budget"), CASES)
def test_each_move_meets_the_budget_with_figures_of_the_files(only, budget, fitted, model, data):
    result = fitted(only, **budget)
    assert result.met
    assert result.packed.stat().st_size <= budget.get("target_size", np.inf)
    assert result.model.stat().st_size <= budget.get("target_installed_size", np.inf)
    report = result.report
    assert report["compressed"]["packed_bytes"] == result.packed.stat().st_size
    assert report["asked"]["only"] == only.split(",")
    samples = packlight.data.open_data(data, packlight.load(model).inputs)
    judge = packlight.data.split(samples, 60).judge
    answers = [Session(path).over(judge.batches(50))[0] for path in (model, result.model)]
    agreement = float((answers[0].argmax(1) == answers[1].argmax(1)).mean())
    assert report["accuracy"]["agreement"]["value"] == pytest.approx(agreement)
    assert agreement > 0.8
    with torch.no_grad():
        (graph,) = result.network(images(8, seed=5))
    (file,) = Session(result.model)(images(8, seed=5).numpy())
    np.testing.assert_allclose(graph, file, atol=1e-4)


@pytest.mark.parametrize(("only", "budget"), CASES)
def test_bits_of_float_files_are_measured_in_the_packed_file(only, budget, fitted):
    result = fitted(only, **budget)
    spent = {part.name: part.packed for part in info(result.packed).parts}
    layers = result.report["layers"]
    counted = sum(layer["bits_per_weight"] * layer["weights"] / 8 for layer in layers)
    names = [name for name in stored(result.model) if "bias" not in name]
    held = [name for name in names if not re.fullmatch(r"v\d+", name)]  # those are the exporter's
    assert counted == pytest.approx(sum(spent[name] for name in held))
    assert all(layer["step"] is None and layer["activation"] == "float" for layer in layers)
    page = html.render(result.report)
    assert "integer of 8 bits" not in page
    assert "estimated to spend" not in page


def test_pruned_weights_are_exact_zeros_and_the_others_on_no_grid(fitted):
    result = fitted("prune", target_size=14_000)
    after = stored(result.model)
    for name in WEIGHTS:
        left = after[name][after[name] != 0]
        assert after[name].dtype == np.float32
        assert len(np.unique(left)) > 0.95 * len(left)
    zeros = [layer["zeros"] for layer in result.report["layers"]]
    assert zeros == [pytest.approx(float((after[name] == 0).mean())) for name in WEIGHTS]
    assert np.mean(zeros) > 0.2


def test_weights_that_stay_take_over_what_pruned_ones_did(prepared):
    layer = prepared[0][1]
    coarseness = 2 * float(np.sqrt(layer.sensitivity * layer.conditional.mean()) * 0.05)
    solved = prune(layer, coarseness)
    kept = layer.layer.rows(solved.weight) != 0
    lost = layer.weights - np.where(kept, layer.weights, 0.0)
    assert 0.1 < kept.mean() < 0.95
    assert solved.damage < 0.8 * grid_search.damage_of(layer, lost)


def test_weights_that_stay_are_at_their_optimum(prepared):
    layer = prepared[0][1]
    solved = prune(layer, 2 * float(np.sqrt(layer.sensitivity * layer.conditional.mean()) * 0.05))
    kept = layer.layer.rows(solved.weight)
    noise = np.random.default_rng(0)
    for _ in range(20):
        moved = kept * (1 + 0.01 * noise.standard_normal(kept.shape))
        assert grid_search.damage_of(layer, layer.weights - moved) > solved.damage


def test_nothing_is_pruned_at_coarseness_zero_and_all_far_beyond(prepared):
    for layer in prepared[0]:
        same = prune(layer, 0.0)
        assert (layer.layer.rows(same.weight) == layer.weights.astype(np.float32)).all()
        assert not prune(layer, 1e9).weight.any()


def test_a_shared_tensor_has_few_values_and_a_byte_for_each_weight(fitted):
    result = fitted("palettize", target_installed_size=12_000)
    after = stored(result.model)
    for name in WEIGHTS:
        indices, centres = after[f"{name}_indices"], after[f"{name}_codebook"]
        assert indices.dtype == np.uint8
        assert indices.max() < len(centres) <= 256
        assert name not in after


def _initialisers(file: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}


@pytest.mark.parametrize("pattern", ["2:4", "1:2", "1x4", "2x2"])
def test_pruned_weights_keep_to_the_pattern(model, data, pattern, tmp_path):
    """Along input channels, taps of a kernel apart; a layer that is not divided is left whole."""
    result = packlight.fit(
        model, data, only="prune", pattern=pattern, target_size=17_000, calibrate=60, out=tmp_path
    )
    before, after = _initialisers(model), _initialisers(result.model)
    how = Pattern.parse(pattern)
    pruned = 0
    for name in WEIGHTS:
        weight = np.moveaxis(after[name], 1, -1).reshape(len(after[name]), -1)  # inputs innermost
        zeros = weight == 0
        if not zeros.any():
            np.testing.assert_allclose(after[name], before[name], atol=1e-6)
        elif how.of:
            assert (zeros.reshape(len(zeros), -1, how.of).sum(2) == how.of - how.keep).all()
        else:
            blocks = zeros.reshape(len(zeros) // how.rows, how.rows, -1, how.columns)
            assert np.isin(blocks.sum((1, 3)), (0, how.rows * how.columns)).all()
        pruned += zeros.any()
    assert pruned
    assert before["conv1.weight"].shape[1] == 3  # which neither 2 nor 4 divides
    assert any("does not divide" in note and "conv1" in note for note in result.report["notes"])
    assert after["conv1.weight"].all()


def test_a_pattern_is_only_for_pruning(model, data, tmp_path):
    with pytest.raises(BadInput, match="with --only prune"):
        packlight.fit(model, data, pattern="2:4", target_size=17_000, out=tmp_path / "out")
    with pytest.raises(BadInput, match=r"give free, N:M as 2:4"):
        packlight.fit(
            model, data, only="prune", pattern="4:2", target_size=17_000, out=tmp_path / "out"
        )


@pytest.mark.parametrize("only", ["palettize", "prune,palettize"])
def test_coarser_means_fewer_centres_and_zero_is_one_where_pruned(only, prepared):
    zero = "prune" in only
    counts = []
    for coarseness in (0.0, 1.0, 4.0, 16.0):
        layer = prepared[0][1]
        solved = share(layer, coarseness * layer.finest, zero=zero)
        counts.append(len(np.unique(solved.weight)))
        if zero and coarseness:
            assert 0.0 in solved.weight
    assert 128 < counts[0] <= 256
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 40


def test_factored_networks_hold_fewer_parameters(fitted, model):
    result = fitted("factorize", target_size=24_000)
    before = sum(value.size for value in stored(model).values())
    after = sum(value.size for value in stored(result.model).values())
    assert after < 0.9 * before
    forms = {layer["name"]: layer["form"] for layer in result.report["layers"]}
    assert "rank" in forms["conv2"]
    weights = {layer["name"]: layer["weights"] for layer in result.report["layers"]}
    assert weights["conv2"] < 32 * 16 * 9


def test_one_price_finds_the_best_of_all_forms_for_its_number_of_parameters(prepared):
    layers, curvatures = prepared
    found = options(layers, curvatures)
    (conv2,) = [option for option in found if option.layer.name == "conv2"]
    for price in np.geomspace(*conv2.prices(), 7):
        form, loss = conv2.best(price)
        held = conv2.parameters if form is None else form.parameters
        for other, rise in zip(conv2.forms, conv2.losses, strict=True):
            assert other.parameters > held or rise >= loss - 1e-12
    first, last = conv2.prices()
    assert conv2.best(0.99 * first)[0] is None
    smallest = min(form.parameters for form in conv2.forms)
    further, _ = conv2.best(1.01 * last)
    assert further is not None
    assert further.parameters == smallest


def test_factors_that_lose_nothing_are_worth_it_and_bad_ones_are_not(prepared):
    layers, curvatures = prepared
    solved = [grid_search.solve(layer, 8 * layer.finest) for layer in layers]
    (conv2,) = [o for o in options(layers, curvatures) if o.layer.name == "conv2"]
    c = 8 * layers[1].finest
    free = Options(conv2.layer, conv2.parameters, conv2.forms, [0.0] * len(conv2.forms))
    dear = Options(conv2.layer, conv2.parameters, conv2.forms, [1e9] * len(conv2.forms))
    assert set(worth_it([free], layers, solved, c)) == {"conv2"}
    assert worth_it([dear], layers, solved, c) == {}


def test_layers_of_low_rank_are_factored_before_they_are_quantised(tmp_path):
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Linear(48, 3, bias=False), nn.Linear(3, 48))
    whole = nn.Linear(48, 48)
    whole.weight.data = narrow[1].weight.data @ narrow[0].weight.data * 8
    module = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), whole, nn.ReLU(), nn.Linear(48, 6))
    network = Network.from_module(module, (torch.randn(2, 48),))
    x = torch.randn(300, 48).numpy()
    result = packlight.fit(
        network, x, only="factorize,quantize", target_size=3_500, calibrate=100, out=tmp_path / "o"
    )
    assert result.met
    assert any(
        note.startswith("layers in factors: 2 (svd, rank 3)") for note in result.report["notes"]
    )
    kinds = {tensor.data_type for tensor in onnx.load(result.model).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert sum(layer["bytes_before"] for layer in result.report["layers"]) == 4 * sum(
        value.numel() for value in module.parameters()
    )


def test_a_network_whose_layers_can_not_be_factored_is_refused(tmp_path):
    class Depthwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, groups=3)

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    network = Network.from_module(Depthwise(), (images(2),))
    x = images(120).numpy()
    with pytest.raises(BadInput, match="no layer of this network can be factored"):
        packlight.fit(network, x, only="factorize", target_size=900, calibrate=60, out=tmp_path)


@pytest.mark.parametrize(
    ("only", "effort", "budget", "what"),
    [
        ("squeeze", "fast", {"max_drop": 0.01}, "is no move"),
        ("quantize,palettize", "fast", {"max_drop": 0.01}, "do not go together"),
        ("prune,factorize", "fast", {"max_drop": 0.01}, "do not go together"),
        ("", "fast", {"max_drop": 0.01}, "is no move"),
        ("prune", "best", {"max_drop": 0.01}, "leave the effort at fast"),
        ("factorize,quantize", "normal", {"max_drop": 0.01}, "leave the effort at fast"),
        ("prune", "fast", {"target_installed_size": 1000}, "a float that is zero"),
    ],
)
def test_moves_that_can_not_be_had_are_refused(only, effort, budget, what):
    with pytest.raises(BadInput, match=what):
        parse(only, effort, Budget(**budget))


def test_pruning_beside_a_grid_is_what_the_price_of_bits_does_already():
    budget = Budget(max_drop=0.01)
    assert parse(None, "best", budget) == parse("prune,quantize", "best", budget) == ("quantize",)
    assert parse(["palettize", "prune"], "fast", budget) == ("prune", "palettize")


def test_the_command_line_says_what_goes_together(model, tmp_path):
    typed = f"fit {model} --data random --max-drop 1% --only palettize,quantize -o {tmp_path / 'o'}"
    done = CliRunner().invoke(cli, typed)
    assert isinstance(done.exception, BadInput)
    assert done.exception.exit_code == 2
    assert "prune,palettize" in str(done.exception)

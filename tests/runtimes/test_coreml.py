"""The .mlpackage: our very values, compressed, in a program that computes what the graph computes.

Core ML itself runs on Apple systems only; `tests.reference.mil` evaluates the programs here.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from packlight.errors import BadInput, MissingExtra
from packlight.fuse import fuse
from packlight.network import Network
from packlight.runtimes import coreml
from packlight.shrink.layers import value_of_name
from packlight.shrink.palettize import Codebook
from packlight.shrink.sharing import shared
from tests.networks import blocks, images, plain, settled
from tests.reference import mil
from tests.runtimes.at_once import at_once as in_this_process
from tests.runtimes.quantised import integers, quantised

if find_spec("coremltools") is None:
    pytest.skip("needs packlight[coreml]", allow_module_level=True)

IOS = {16: 7, 17: 8, 18: 9}  # the version that a file declares


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    """A quantised network with residual, depthwise and concatenated layers, and its package."""
    network = quantised(blocks(), images(64))
    path = tmp_path_factory.mktemp("int8") / "net.mlpackage"
    assert coreml.write(network, path) == path
    shutil.copytree(path, path.with_name("unread.mlpackage"))  # reading rewrites the manifest
    return network, path


@pytest.fixture
def at_once(monkeypatch):
    """Conversion in this process: starting another takes longer than what it does."""
    monkeypatch.setattr(coreml, "apart", in_this_process)


def _answers(network, x):
    with torch.no_grad():
        return [value.numpy() for value in network(torch.from_numpy(x))]


def _version(path):
    from coremltools.models.utils import load_spec

    return load_spec(str(path)).specificationVersion


def _assert_same_answers(network, path, tolerance):
    for seed in (1, 2, 3):
        x = images(1, seed=seed).numpy()
        for made, wanted in zip(mil.run(path, [x]), _answers(network, x), strict=True):
            np.testing.assert_allclose(made, wanted, atol=tolerance)


def _decompressed(path):
    """The weights as coremltools decompresses them."""
    return [
        op.materialized_val_inference()
        for op in mil.operations(path)
        if op.op_type.startswith("constexpr_")
    ]


def test_int8_weights_are_stored_as_our_integers(rounded):
    network, path = rounded
    held = [
        op.quantized_data.val
        for op in mil.operations(path)
        if op.op_type == "constexpr_affine_dequantize"
    ]
    ours = integers(network)
    assert len(held) == len(ours)
    assert all(value.dtype == np.int8 for value in held)
    for name, levels in ours.items():
        assert any(np.array_equal(levels, value) for value in held), name


def test_int8_weights_decompress_to_our_values_exactly(rounded):
    network, path = rounded
    held = _decompressed(path)
    for name, levels in integers(network).items():
        scale = value_of_name(network, name.replace("_quantized", "_scale")).numpy()
        wanted = levels.astype(np.float32) * scale.reshape(-1, *[1] * (levels.ndim - 1))
        assert any(np.array_equal(wanted, value) for value in held), name


def test_a_quantised_program_computes_what_the_graph_computes(rounded):
    network, path = rounded
    assert _version(path) == IOS[17]
    _assert_same_answers(network, path, 1e-6)


class _Middles(nn.Module):
    """Sums of two rounded values, rounded to a grid of twice the step: half of them lie between."""

    def forward(self, x, y):
        ops = torch.ops.quantized_decomposed
        step = float(np.float32(0.3))

        def rounded(value, scale, zero):
            grid = (scale, zero, 0, 255, torch.uint8)
            return ops.dequantize_per_tensor(ops.quantize_per_tensor(value, *grid), *grid)

        return rounded(rounded(x, step, 128) + rounded(y, step, 0), 2 * step, 100)


def test_values_in_the_middle_between_two_levels_go_where_the_graph_s_go(tmp_path, at_once):
    step = np.float32(0.3)
    x = (np.arange(-100, 100, dtype=np.float32) + np.float32(0.5)) * step
    y = np.random.default_rng(0).integers(0, 200, 200).astype(np.float32) * step
    inputs = [torch.from_numpy(np.nextafter(x, np.float32(way))[None]) for way in (-99, 99)]
    network = Network.from_module(_Middles(), (inputs[0], torch.from_numpy(y)[None]))
    path = coreml.write(network, tmp_path / "net.mlpackage")
    for value in (torch.from_numpy(x)[None], *inputs):
        with torch.no_grad():
            (wanted,) = network(value, torch.from_numpy(y)[None])
        (made,) = mil.run(path, [value.numpy(), y[None]])
        np.testing.assert_array_equal(made, wanted.numpy())


class _Windows(nn.Module):
    """Cuts an image into windows, mixes each window's channels, and puts it together again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.mix, self.again = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, image):
        x = self.stem(image).permute(0, 2, 3, 1)
        x = x.reshape(-1, 2, 8, 4, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(-1, 32, 4)
        x = self.again(torch.relu(self.mix(x)))
        return x.reshape(-1, 2, 4, 8, 4, 4).permute(0, 5, 1, 3, 2, 4).reshape(-1, 4, 16, 16)


def test_windows_of_six_dimensions_are_written(tmp_path, at_once):
    network = Network.from_module(settled(_Windows()), (images(2),))
    network = quantised(network, images(64))
    assert any(
        node.meta["val"].ndim == 6 and "quantize" in node.name
        for node in network.module.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    )
    path = coreml.write(network, tmp_path / "net.mlpackage")
    assert max(len(op.outputs[0].shape) for op in mil.operations(path)) <= 5
    _assert_same_answers(network, path, 1e-6)


def test_names_are_those_of_the_network(rounded):
    (function,) = mil.program(rounded[1]).functions.values()
    assert list(function.inputs) == ["image"]
    assert [value.name for value in function.outputs] == ["output"]


def test_a_package_is_about_as_large_as_its_integers(rounded):
    network, path = rounded
    weights = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    ours = sum(levels.size for levels in integers(network).values())
    layers = len(integers(network))
    assert weights.stat().st_size < ours + 1000 * layers  # scales, biases, and their headers


def test_the_same_network_makes_the_same_bytes(rounded, tmp_path):
    network, path = rounded
    first = path.with_name("unread.mlpackage")
    again = coreml.write(network, tmp_path / "net.mlpackage")
    files = sorted(one.relative_to(first) for one in first.rglob("*") if one.is_file())
    assert files == sorted(one.relative_to(again) for one in again.rglob("*") if one.is_file())
    for name in files:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_a_float_network_gives_the_same_answers_under_names_that_core_ml_allows(tmp_path, at_once):
    network = replace(plain(), input_names=("data:0",), output_names=("scores/x",))
    path = coreml.write(network, tmp_path / "net.mlpackage")
    (function,) = mil.program(path).functions.values()
    assert list(function.inputs) == ["data_0"]
    assert [value.name for value in function.outputs] == ["scores_x"]
    assert _version(path) == IOS[16]
    assert not _decompressed(path)
    _assert_same_answers(network, path, 1e-4)


def _palette(shape, books, k, d):
    rng = np.random.default_rng(k)
    centres = rng.normal(size=(books, k, d)).astype(np.float32) / 10
    indices = rng.integers(0, k, (shape[0] // d, *shape[1:]), np.uint8)
    return Codebook(centres, indices, 0, shape[0] // books)


@pytest.mark.parametrize(
    ("convolution", "linear", "ios"),
    [
        ((1, 200, 1), (1, 2, 1), 16),  # books, entries, weights per entry
        ((4, 7, 1), (1, 5, 1), 18),
        ((2, 16, 2), (1, 30, 3), 18),
    ],
)
def test_palettes_decompress_to_our_values_exactly(convolution, linear, ios, tmp_path, at_once):
    palettes = {
        "conv2.weight": _palette((32, 16, 3, 3), *convolution),
        "fc.weight": _palette((6, 512), *linear),
    }
    network = shared(fuse(plain()).network, palettes)
    path = coreml.write(network, tmp_path / "net.mlpackage")
    held = _decompressed(path)
    for name, palette in palettes.items():
        assert any(np.array_equal(palette.decoded(), value) for value in held), name
    assert _version(path) == IOS[ios]
    _assert_same_answers(network, path, 1e-4)


def test_floats_of_few_values_become_a_table_with_small_indices(tmp_path, at_once):
    network = fuse(plain()).network
    with torch.no_grad():
        for name in ("fc.weight", "conv2.weight"):
            value = value_of_name(network, name)
            value.copy_(value.sign() * 0.05)
    path = coreml.write(network, tmp_path / "net.mlpackage")
    tables = [op for op in mil.operations(path) if op.op_type == "constexpr_lut_to_dense"]
    assert [len(op.lut.val) for op in tables] == [2, 2]
    assert {op.indices.val.size for op in tables} == {32 * 16 * 9 // 8, 6 * 512 // 8}
    _assert_same_answers(network, path, 1e-4)


def _with_levels(kind):
    """A quantised network whose second convolution has levels of a kind."""
    network = quantised(plain(), images(32))
    noise = np.random.default_rng(0)
    levels = integers(network)["conv2.weight_quantized"]
    small = noise.integers(-8, 8, levels.shape, np.int8)
    made = {
        "small": small,
        "sparse": np.where(noise.random(levels.shape) < 0.1, levels, 0),
        "sparse and small": np.where(noise.random(levels.shape) < 0.2, small, 0),
    }[kind].astype(np.int8)
    network.module.get_buffer("conv2.weight_quantized").copy_(torch.from_numpy(made))
    return network, made


@pytest.mark.parametrize(
    ("kind", "form", "share"),
    [
        ("small", {"constexpr_blockwise_shift_scale"}, 0.5),
        ("sparse", {"constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"}, 0.25),
        ("sparse and small", {"constexpr_sparse_to_dense"}, 0.26),
    ],
)
def test_ios_18_holds_levels_in_the_smallest_form(kind, form, share, tmp_path, at_once):
    network, levels = _with_levels(kind)
    path = coreml.write(network, tmp_path / "net.mlpackage", ios=18)
    assert _version(path) == IOS[18]
    scale = value_of_name(network, "conv2.weight_scale").numpy().reshape(-1, 1, 1, 1)
    held = _decompressed(path)
    arrays = [value for value in held if isinstance(value, np.ndarray)]
    assert any(np.array_equal(levels * scale, value) for value in arrays)
    used = {op.op_type for op in mil.operations(path) if op.name.startswith("conv2")}
    assert form <= {one for one in used if one.startswith("constexpr")}
    _assert_same_answers(network, path, 1e-3)
    weights = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    others = sum(value.size for value in integers(network).values()) - levels.size
    assert weights.stat().st_size < others + share * levels.size + 5000


def test_zeros_are_left_out_of_floats_from_ios_16_on(tmp_path, at_once):
    network = fuse(plain()).network
    with torch.no_grad():
        value = value_of_name(network, "fc.weight")
        value.mul_(torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) < 0.2)
    path = coreml.write(network, tmp_path / "net.mlpackage")
    assert _version(path) == IOS[16]
    (held,) = _decompressed(path)
    np.testing.assert_array_equal(held, value.detach().numpy())
    _assert_same_answers(network, path, 1e-4)


def test_ios_18_holds_few_values_of_which_many_are_zero_in_a_table(tmp_path, at_once):
    network = fuse(plain()).network
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        value = value_of_name(network, "fc.weight")
        value.copy_((value * 400).round() / 400)
        value.mul_(torch.rand(value.shape, generator=noise) < 0.3)
    path = coreml.write(network, tmp_path / "net.mlpackage", ios=18)
    operations = mil.operations(path)
    (picked,) = [op for op in operations if op.op_type == "constexpr_lut_to_sparse"]
    (dense,) = [op for op in operations if op.op_type == "constexpr_sparse_to_dense"]
    assert picked.indices_nonzero_data.val.size == np.count_nonzero(value.detach())
    np.testing.assert_array_equal(dense.materialized_val_inference(), value.detach().numpy())
    _assert_same_answers(network, path, 1e-4)


def test_a_system_too_old_for_the_network_is_refused(rounded, tmp_path, at_once):
    with pytest.raises(BadInput, match="needs iOS 17; give --ios 17"):
        coreml.write(rounded[0], tmp_path / "net.mlpackage", ios=16)


def test_an_operator_that_core_ml_lacks_is_named_and_the_old_package_kept(tmp_path, at_once):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    path = tmp_path / "net.mlpackage"
    path.mkdir()
    (path / "old").touch()
    network = Network.from_module(Odd(), (torch.ones(2, 3),))
    named = r"can not be written for Core ML: .*bessel_j0.*as ONNX"
    with pytest.raises(BadInput, match=named) as caught:
        coreml.write(network, path)
    assert "\n" not in str(caught.value)
    assert [one.name for one in tmp_path.rglob("*")] == ["net.mlpackage", "old"]


def test_writing_replaces_the_old_package_whole(rounded, tmp_path, monkeypatch):
    def convert(what, function, network, path, ios):
        (path / "Data").mkdir(parents=True)

    monkeypatch.setattr(coreml, "apart", convert)
    path = tmp_path / "net.mlpackage"
    path.mkdir()
    (path / "old").touch()
    coreml.write(rounded[0], path)
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["Data", "net.mlpackage"]


def test_an_input_type_that_core_ml_lacks_is_refused(tmp_path):
    network = Network.from_module(nn.Identity(), (torch.ones(2, 3, dtype=torch.bool),))
    with pytest.raises(BadInput, match=r"is bool, and Core ML takes float32"):
        coreml.write(network, tmp_path / "net.mlpackage")


class _Stateful(nn.Module):
    """A scalar among the inputs, a stored tensor among the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Parameter(torch.arange(6.0).reshape(3, 2))

    def forward(self, state, gain):
        return state * gain, self.held


def test_scalar_inputs_have_one_dimension_and_outputs_may_be_stored(tmp_path, at_once):
    network = Network.from_module(_Stateful(), (torch.ones(2, 3), torch.tensor(3.0)))
    path = coreml.write(network, tmp_path / "net.mlpackage")
    made, held = mil.run(path, [np.ones((2, 3), np.float32), np.array([3], np.float32)])
    np.testing.assert_array_equal(made, np.full((2, 3), 3))
    np.testing.assert_array_equal(held, np.arange(6.0).reshape(3, 2))


class _Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, signal):
        return self.gru(signal)[0][:, -1]


class _Remembering(nn.Module):
    """Both kinds of recurrent layers, a cell, and a product with a stored matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.inner = nn.Parameter(torch.linspace(-1, 1, 12 * 5).sin().reshape(12, 5))
        self.cell = nn.LSTMCell(5, 3)

    def forward(self, signal):
        x = torch.relu(self.lstm(signal)[0]) @ self.inner
        return self.cell(x[:, -1], (x[:, 0, :3], x[:, 1, :3]))[0]


@pytest.mark.parametrize(("module", "form"), [(_Gated, "while_loop"), (_Remembering, "lstm")])
def test_recurrent_layers_keep_our_integers_though_coremltools_reorders_them(
    module, form, tmp_path, at_once
):
    signals = torch.randn(16, 5, 4, generator=torch.Generator().manual_seed(0))
    network = quantised(Network.from_module(module().eval(), (signals[:2],)), signals)
    path = coreml.write(network, tmp_path / "n")
    assert form in [op.op_type for op in mil.operations(path)]
    held = {row.tobytes() for value in _decompressed(path) for row in [*value, *value.T]}
    for name, levels in integers(network).items():
        scale = value_of_name(network, name.replace("_quantized", "_scale")).numpy()
        rows = levels if len(scale) == len(levels) else levels.T
        assert all(row.tobytes() in held for row in rows.astype(np.float32) * scale[:, None]), name
    x = signals[:1].numpy()
    (made,), (wanted,) = mil.run(path, [x]), _answers(network, x)
    np.testing.assert_allclose(made, wanted, atol=1e-3)


class _Unusual(nn.Module):
    """What coremltools has not, or not exactly."""

    def forward(self, image):
        x = nn.functional.interpolate(image, scale_factor=2, mode="bicubic")
        x = nn.functional.interpolate(x, size=(9, 13), mode="nearest-exact")
        x = nn.functional.pad(x, (-1, 2, 0, -2)).movedim(1, 3)
        x = nn.functional.celu(x, 1.5) + nn.functional.logsigmoid(x)
        y = nn.functional.hardshrink(x, 0.3) + nn.functional.softshrink(x, 0.2)
        return y, (1 + x / 10).prod(2), 1 / (0.1 + image.abs()), image


def test_operators_that_coremltools_has_not_are_spelt_out(tmp_path, at_once):
    network = Network.from_module(_Unusual(), (images(2),))
    path = coreml.write(network, tmp_path / "n")
    _assert_same_answers(network, path, 1e-5)


class _Around(nn.Module):
    def forward(self, image):
        return nn.functional.pad(image, (1, 1, 1, 1), mode="circular")


def test_the_operator_at_which_coremltools_stops_is_named(tmp_path, at_once):
    with pytest.raises(BadInput, match=r"for Core ML: operator pad: Pad mode should be one of"):
        coreml.write(Network.from_module(_Around(), (images(2),)), tmp_path / "n")


def test_a_missing_package_is_named_with_its_command(monkeypatch, tmp_path):
    monkeypatch.setattr(coreml, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'packlight\[coreml\]'"):
        coreml.write(Network.from_module(settled(nn.Linear(2, 2)), (torch.ones(2, 2),)), tmp_path)

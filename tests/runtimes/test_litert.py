"""The .tflite file: the graph's answers, its very integers, integer kernels, and no more."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from packlight.errors import BadInput, MissingExtra
from packlight.graph import is_call, quantized
from packlight.network import Network
from packlight.readers import load
from packlight.runtimes.onnxruntime import Session as OnnxSession
from tests.networks import Plain, blocks, images, plain, settled, wide
from tests.runtimes.fitted import fitted
from tests.runtimes.quantised import quantised

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: packlight[litert]")

from packlight.runtimes import litert
from packlight.runtimes.litert import Session
from packlight.runtimes.tflite.schema import schema


class Read:
    """A .tflite file, read back by the schema."""

    def __init__(self, data: bytes) -> None:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
        (graph,) = model.subgraphs
        self.tensors, self.buffers = graph.tensors, model.buffers
        names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
        codes = [names[code.builtinCode] for code in model.operatorCodes]
        self.calls = [(codes[call.opcodeIndex], call) for call in graph.operators]
        self.operators = [name for name, _ in self.calls]

    def type(self, tensor: int) -> str:
        names = {value: name for name, value in vars(schema.TensorType).items()}
        return names[self.tensors[tensor].type]

    def array(self, tensor: int) -> np.ndarray[Any, Any]:
        one = self.tensors[tensor]
        dtype = {"INT8": np.int8, "INT32": np.int32, "FLOAT32": np.float32}[self.type(tensor)]
        return np.asarray(self.buffers[one.buffer].data, np.uint8).view(dtype).reshape(one.shape)

    def scale(self, tensor: int) -> np.ndarray[Any, Any]:
        return np.asarray(self.tensors[tensor].quantization.scale)


class Residual(nn.Module):
    """Every kind of layer, most weights in one of them, and a sum that a convolution reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.inner = nn.Conv2d(32, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.last = nn.Conv2d(64, 64, 3, padding=1, stride=2)
        self.head = nn.Linear(64, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = torch.relu(self.inner(x) + x)
        x = torch.cat([x, nn.functional.relu6(self.depthwise(x))], 1)
        return self.head(torch.relu(self.last(x)).mean((2, 3))).softmax(1)


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Path:
    """`Residual`, fitted."""
    network = Network.from_module(settled(Residual()), (images(2),))
    return fitted(network, tmp_path_factory.mktemp("residual"), "20KB")


def assert_same(network: Network, *inputs: Tensor, tolerance: float = 1e-4) -> Read:
    data = litert.to_bytes(network)
    with torch.no_grad():
        wanted = network(*inputs)
    made = Session(data, threads=1).over([tuple(value.numpy() for value in inputs)])
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=tolerance, rtol=tolerance)
    return Read(data)


@pytest.mark.parametrize("make", [plain, blocks, wide])
def test_litert_gives_what_the_graph_gives(make):
    assert_same(make(), images(5))


def test_a_convolutional_network_turns_its_input_once_and_pads_nowhere():
    read = assert_same(blocks(), images(2))
    assert read.operators.count("TRANSPOSE") == 1
    assert "PAD" not in read.operators
    assert not any(name.startswith("RELU") for name in read.operators)


def test_names_are_those_of_the_network(tmp_path):
    network = Network.from_module(
        settled(Plain()), (images(2),), input_names=["data:0"], output_names=["scores/x"]
    )
    session = Session(litert.write(network, tmp_path / "net.tflite"), threads=1)
    assert (session.input_names, session.output_names) == (["data:0"], ["scores/x"])
    assert session.inputs[0].shape == (1, 3, 16, 16)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.tflite"]


def test_channels_last_takes_images_as_cameras_give_them():
    network, x = blocks(), images(1)
    data = litert.to_bytes(network, channels_last=True)
    (made,) = Session(data, threads=1)(x.permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(made, network(x)[0].detach(), atol=1e-5)
    assert "TRANSPOSE" not in Read(data).operators


def test_a_fitted_file_reads_back_with_its_integers(fit):
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(fit / "model.onnx").graph.initializer
    }
    network = load(fit / "model.onnx")
    buffers = dict(network.module.named_buffers())
    integers = [name for name, value in stored.items() if value.dtype in (np.int8, np.int32)]
    assert len([name for name in integers if name.endswith("_quantized")]) > 5
    for name in integers:
        if name.endswith("_quantized"):
            np.testing.assert_array_equal(buffers[name].numpy(), stored[name])
    nodes = network.module.graph.nodes
    assert any(is_call(node, quantized.quantize_per_tensor) for node in nodes)
    dequantised = (quantized.dequantize_per_channel, quantized.dequantize_per_tensor)
    read = {node.args[0].target for node in nodes if is_call(node, *dequantised)}
    assert {name for name in integers if name.endswith("_quantized")} <= read


def test_weights_are_the_very_integers_and_scales_of_the_fit(fit):
    read = Read(litert.to_bytes(load(fit / "model.onnx")))
    held = [
        (read.array(index), read.scale(index))
        for index, tensor in enumerate(read.tensors)
        if read.type(index) == "INT8" and read.buffers[tensor.buffer].data is not None
    ]
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(fit / "model.onnx").graph.initializer
    }
    weights = [name for name, value in stored.items() if value.dtype == np.int8 and value.ndim > 1]
    assert len(weights) == 5
    for name in weights:
        level, scale = stored[name], stored[name.replace("_quantized", "_scale")]
        orders = [(0, 2, 3, 1), (1, 2, 3, 0)] if level.ndim == 4 else [(0, 1)]
        wanted = [level.transpose(order) for order in orders]
        assert any(
            np.array_equal(levels, one) and np.array_equal(scales, scale.reshape(-1))
            for levels, scales in held
            for one in wanted
        ), name


def test_convolutions_run_on_integer_kernels(fit):
    read = Read(litert.to_bytes(load(fit / "model.onnx")))
    for name, call in read.calls:
        if "CONV" in name:
            kinds = [read.type(tensor) for tensor in (*call.inputs, *call.outputs)]
            assert kinds == ["INT8", "INT8", "INT32", "INT8"]


def test_answers_are_those_of_the_fitted_file(fit):
    network = load(fit / "model.onnx")
    batches = [(images(64, seed=seed).numpy(),) for seed in range(10)]
    (wanted,) = OnnxSession(fit / "model.onnx").over(batches)
    (made,) = Session(litert.to_bytes(network), threads=1).over(batches)
    assert (made.argmax(1) == wanted.argmax(1)).mean() >= 0.995
    # where a sum falls between two levels, runtimes may round it differently
    assert np.abs(made - wanted).mean() < 1e-3


def test_full_integer_adds_in_int8_and_answers_nearly_the_same(fit):
    network = load(fit / "model.onnx")
    data = litert.to_bytes(network, values="int8")
    x = images(200, seed=3).numpy()
    (wanted,) = OnnxSession(fit / "model.onnx").over([(x,)])
    (made,) = Session(data, threads=1).over([(x,)])
    assert (made.argmax(1) == wanted.argmax(1)).mean() >= 0.97
    read = Read(data)
    (call,) = [call for name, call in read.calls if name == "ADD"]
    assert {read.type(tensor) for tensor in (*call.inputs, *call.outputs)} == {"INT8"}


def test_a_file_is_hardly_larger_than_its_int8_weights(fit):
    network = load(fit / "model.onnx")
    weights = sum(value.numel() for value in network.module.state_dict().values() if value.ndim > 1)
    assert weights > 40_000
    assert len(litert.to_bytes(network)) < 1.15 * weights


def test_dynamic_range_multiplies_floats_by_int8_weights(fit):
    network = load(fit / "model.onnx")
    data = litert.to_bytes(network, values="float")
    x = images(200, seed=3).numpy()
    (wanted,) = OnnxSession(fit / "model.onnx").over([(x,)])
    (made,) = Session(data, threads=1).over([(x,)])
    assert (made.argmax(1) == wanted.argmax(1)).mean() >= 0.95
    read = Read(data)
    kinds = [
        [read.type(tensor) for tensor in (*call.inputs, *call.outputs)]
        for name, call in read.calls
        if "CONV" in name or name == "FULLY_CONNECTED"
    ]
    assert kinds == [["FLOAT32", "INT8", "FLOAT32", "FLOAT32"]] * 5
    assert "DEQUANTIZE" not in read.operators


def test_a_relu_that_rounding_stood_for_is_written_where_values_stay_floats():
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            padded = nn.functional.pad(self.first(x), (0, 1, 0, 1))
            return self.second(padded.relu()).mean((2, 3))

    network = quantised(Network.from_module(settled(Between()), (images(2),)), images(64))
    data = litert.to_bytes(network, values="float")
    x = images(1, seed=5)
    (made,) = Session(data, threads=1)(x.numpy())
    assert np.abs(made - network(x)[0].numpy()).max() < 0.02
    assert Read(data).operators.count("RELU") == 1


class Two(nn.Module):
    """Weights in int8, values in float; beside it, a weight that no kernel takes as it is."""

    def __init__(self) -> None:
        super().__init__()
        noise = torch.Generator().manual_seed(0)
        level = torch.randint(0, 256, (8, 3, 3, 3), generator=noise, dtype=torch.uint8)
        self.register_buffer("level", level)
        signed = torch.randint(-127, 128, (5, 8), generator=noise, dtype=torch.int8)
        self.register_buffer("signed", signed)
        self.register_buffer("scale", torch.rand(5, generator=noise) / 100)
        self.register_buffer("zero", torch.zeros(5, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        weight = quantized.dequantize_per_tensor(self.level, 0.01, 120, 0, 255, torch.uint8)
        pooled = torch.relu(nn.functional.conv2d(x, weight)).mean((2, 3))
        dense = quantized.dequantize_per_channel(
            self.signed, self.scale, self.zero, 0, -128, 127, torch.int8
        )
        return nn.functional.linear(pooled, dense)


def test_weights_alone_in_int8_stay_int8_in_the_file():
    read = assert_same(Network.from_module(Two(), (images(2),)), images(4))
    held = {
        read.array(index).size
        for index, tensor in enumerate(read.tensors)
        if read.type(index) == "INT8" and read.buffers[tensor.buffer].data is not None
    }
    assert held == {8 * 3 * 3 * 3, 5 * 8}


class Each(nn.Module):
    """A function of a feature map and a vector as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.slopes = nn.Parameter(torch.rand(6))

    def forward(self, image: Tensor) -> Tensor:
        return self.function(self.conv(image), self)


F = nn.functional
FUNCTIONS = {
    "abs": lambda x, _: x.abs(),
    "activations": lambda x, _: torch.cat(
        [F.silu(x), F.mish(x), F.celu(x, 0.5), F.selu(x), F.hardsigmoid(x), F.elu(x, 0.7)], 1
    ),
    "arctangent and error function": lambda x, _: x.atan() + x.erf(),
    "add a row": lambda x, _: x + torch.arange(16.0),
    "amax": lambda x, _: x.amax((2, 3)),
    "attention": lambda x, _: F.scaled_dot_product_attention(x, x, x * 2, is_causal=True),
    "average, borders counted": lambda x, _: F.avg_pool2d(x, 3, 2, 1),
    "average, borders not counted": lambda x, _: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "adaptive average": lambda x, _: F.adaptive_avg_pool2d(x, 4),
    "adaptive average, uneven": lambda x, _: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive maximum": lambda x, _: F.adaptive_max_pool2d(x, 4),
    "arguments of the largest": lambda x, _: x.argmax(1) + x.argmin(1),
    "bicubic": lambda x, _: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "bilinear": lambda x, _: F.interpolate(x, size=(24, 7), mode="bilinear"),
    "bilinear, corners": lambda x, _: F.interpolate(
        x, size=(31, 20), mode="bilinear", align_corners=True
    ),
    "bilinear, odd factor": lambda x, _: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "cat of channels": lambda x, _: torch.cat([x, x * 2], 1),
    "cat of rows": lambda x, _: torch.cat([x, x * 2], 2),
    "channel shuffle": lambda x, _: x.view(-1, 2, 3, 16, 16).transpose(1, 2).reshape(-1, 6, 16, 16),
    "chunks": lambda x, _: x[:, 1:6:2] - x[:, 0:5:2],
    "chunk, split, unbind, stack": lambda x, _: torch.stack(
        [*x.chunk(3, 1)[1].unbind(1), x.split([1, 5], 1)[0][:, 0]], 1
    ),
    "clamp": lambda x, _: x.clamp(-0.3, 0.4),
    "clamp from below": lambda x, _: x.clamp(min=0.1),
    "comparisons": lambda x, _: torch.where((x > 0) & (x.argmax(1, True) != 2), x, -1.0),
    "difference of means": lambda x, _: x - x.mean(1, keepdim=True),
    "elu": lambda x, _: F.elu(x),
    "exp": lambda x, _: (x * 0.1).exp(),
    "expand": lambda x, _: x.mean((2, 3), keepdim=True).expand(-1, -1, 2, 3),
    "gelu": lambda x, _: F.gelu(x),
    "group norm": lambda x, _: F.group_norm(x, 2, torch.arange(6.0), torch.ones(6)),
    "hard sigmoid by hand": lambda x, _: F.relu6(x + 3) / 6,
    "hard swish": lambda x, _: F.hardswish(x),
    "hard tanh": lambda x, _: F.hardtanh(x),
    "instance norm": lambda x, _: F.instance_norm(x),
    "layer norm": lambda x, _: F.layer_norm(x, (16,), torch.arange(16.0)),
    "leaky relu": lambda x, _: F.leaky_relu(x, 0.2),
    "linear over rows": lambda x, own: F.linear(x, torch.ones(4, 16)),
    "log softmax": lambda x, _: F.log_softmax(x, 1),
    "matmul with a constant": lambda x, _: x.mean(2) @ torch.arange(32.0).reshape(16, 2),
    "matmul of values": lambda x, _: x @ x.transpose(2, 3),
    "local response norm": lambda x, _: F.local_response_norm(x, 3),
    "max-pool": lambda x, _: F.max_pool2d(x, 2),
    "max-pool, borders": lambda x, _: F.max_pool2d(x - 5, 3, 2, 1),
    "max-pool, rounded up": lambda x, _: F.max_pool2d(x - 5, 3, 2, ceil_mode=True),
    "mean over channels": lambda x, _: x.mean(1),
    "nearest": lambda x, _: F.interpolate(x, scale_factor=2),
    "nearest, smaller": lambda x, _: F.interpolate(x, size=(7, 5)),
    "norm of channels": lambda x, _: F.normalize(x, dim=1),
    "pad": lambda x, _: F.pad(x, (1, 2, 0, 3)).relu(),
    "pad with ones": lambda x, _: F.pad(x, (1, 0), value=1.0),
    "pad by reflection": lambda x, _: F.pad(x, (1, 2, 0, 3), mode="reflect"),
    "permute": lambda x, _: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3),
    "permute twice": lambda x, _: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2) + 1,
    "pixel shuffle": lambda x, _: F.pixel_shuffle(torch.cat([x, -x], 1), 2),
    "pixel unshuffle": lambda x, _: F.pixel_unshuffle(x, 2),
    "power": lambda x, _: (x.abs() + 1) ** 1.5,
    "prelu": lambda x, own: F.prelu(x, own.slopes),
    "reversed": lambda x, _: x.flip(2) + x[:, [2, 0, 1, 3, 5, 4]],
    "select": lambda x, _: x[:, 2] + x[:, -1],
    "sigmoid": lambda x, _: x.sigmoid() * x,
    "softmax": lambda x, _: x.softmax(1),
    "softmax over rows": lambda x, _: x.softmax(2),
    "square root": lambda x, _: (x.abs() + 1).sqrt(),
    "squeeze": lambda x, _: x.mean(2, keepdim=True).squeeze(2).unsqueeze(1),
    "standard deviation": lambda x, _: x.std((2, 3)) + x.var(1, keepdim=True).sum((2, 3)),
    "sum": lambda x, _: x.sum((1, 2), keepdim=True),
    "sums with factors": lambda x, _: torch.add(x, x.abs() // 0.3, alpha=0.5) % 0.7,
    "tanh": lambda x, _: x.tanh(),
    "transpose": lambda x, _: x.transpose(1, 2).flatten(2),
    "what came in": lambda x, _: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators_give_what_torch_gives(name):
    network = Network.from_module(settled(Each(FUNCTIONS[name])), (images(2),))
    assert_same(network, images(3))


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 2, "stride": 2},
    {"kernel_size": 2, "padding": 1},
    {"kernel_size": 5, "padding": 2, "stride": 3},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": (1, 5), "padding": (0, 2), "stride": (2, 1)},
    {"kernel_size": 3, "padding": 1, "groups": 4},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 1, "bias": False},
    {"kernel_size": 4, "stride": 4},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [15, 16])
def test_windows_lie_where_torch_has_them(settings, size):
    x = torch.randn(2, 4, size, size, generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 8, **settings), nn.ReLU6())
    for one in (module, module[1:]):
        assert_same(Network.from_module(settled(one), (x,)), x)


TRANSPOSED = [
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": 5, "stride": 3},
    {"kernel_size": 3, "stride": 2, "groups": 2, "dilation": 2},
    {"kernel_size": (3, 4), "stride": (1, 2), "padding": (0, 1)},
    {"kernel_size": 2, "stride": 3, "output_padding": 1},
]


@pytest.mark.parametrize("settings", TRANSPOSED, ids=str)
def test_transposed_convolutions_end_where_torch_ends_them(settings):
    x = torch.randn(2, 4, 7, 8, generator=torch.Generator().manual_seed(0))
    read = assert_same(Network.from_module(nn.ConvTranspose2d(4, 6, **settings).eval(), (x,)), x)
    assert read.operators.count("TRANSPOSE_CONV") == 1


class Signal(nn.Module):
    """Convolutions and pools over a signal, as in keyword spotting, for (n, 8, 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(8, 12, 9, stride=2, padding=4)
        self.depthwise = nn.Conv1d(12, 12, 3, padding="same", groups=12)
        self.wide = nn.Conv1d(12, 16, 3, dilation=2)
        self.up = nn.ConvTranspose1d(16, 8, 4, stride=2, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, signal: Tensor) -> Tensor:
        x = F.max_pool1d(torch.relu(self.stem(signal)), 2)
        x = torch.relu(self.depthwise(x)) + x
        x = torch.relu(self.up(torch.relu(self.wide(x))))
        return self.head(F.avg_pool1d(x, 2).mean(2))


def signals(count: int) -> Tensor:
    return torch.randn(count, 8, 40, generator=torch.Generator().manual_seed(1))


def test_a_signal_is_turned_once_and_convolved_in_integers():
    network = Network.from_module(settled(Signal()), (signals(2),))
    read = assert_same(network, signals(3))
    assert read.operators.count("TRANSPOSE") == 1
    rounded = quantised(network, signals(64))
    read = assert_same(rounded, signals(64), tolerance=0.05)
    kinds = [
        {read.type(tensor) for tensor in (*call.inputs, *call.outputs)}
        for name, call in read.calls
        if "CONV" in name
    ]
    assert kinds[:3] == [{"INT8", "INT32"}] * 3


class Shuffled(nn.Module):
    """Two grouped convolutions with a shuffle of channels between, as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, groups=3)
        self.second = nn.Conv2d(6, 6, 3, groups=3)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.second(x).mean((2, 3))


def test_a_shuffle_of_channels_is_turned_once():
    network = Network.from_module(settled(Shuffled()), (images(2),))
    read = assert_same(network, images(3))
    assert read.operators.count("TRANSPOSE") == 2  # the input's, and the shuffle


class Recurrent(nn.Module):
    """A GRU behind an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 5, batch_first=True)

    def forward(self, signal: Tensor) -> Tensor:
        return self.gru(self.lstm(signal[:, :4, :8])[0])[0][:, -1]


def test_recurrent_layers_are_written_step_by_step():
    network = Network.from_module(Recurrent().eval(), (signals(2),))
    assert_same(network, signals(3))


class Tokens(nn.Module):
    """A small transformer over numbered words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 30)

    def forward(self, words: Tensor) -> Tensor:
        known = (words != 0).float().unsqueeze(-1)
        return self.head((self.block(self.words(words)) * known).sum(1) / known.sum(1))


def test_words_are_looked_up():
    words = torch.randint(0, 30, (3, 7), generator=torch.Generator().manual_seed(0))
    assert_same(Network.from_module(Tokens().eval(), (words,)), words)


def test_an_operator_that_can_not_be_written_is_named():
    network = Network.from_module(settled(Each(lambda x, _: x.sort(1)[0])), (images(2),))
    with pytest.raises(BadInput, match=r"operator aten\.sort of node 'sort' .* export to onnx"):
        litert.to_bytes(network)


def test_a_file_that_is_no_network_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "photo.tflite"
    path.write_bytes(b"\xff\xd8\xff\xe0" * 100)
    with pytest.raises(BadInput, match=r"LiteRT can not run photo\.tflite"):
        Session(path)


def test_without_litert_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("packlight.runtimes.tflite")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtra, match=r"pip install 'packlight\[litert\]'"):
        litert.to_bytes(plain())


def test_borders_of_pooled_integers_are_the_lowest_level_without_a_warning():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(nn.functional.max_pool2d(self.first(x), 3, 2, 1, ceil_mode=True))

    network = quantised(Network.from_module(settled(Pooled()), (images(2),)), images(64))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        data = litert.to_bytes(network)
    x = images(1, seed=5)
    (made,) = Session(data, threads=1)(x.numpy())
    wanted = network(x)[0].numpy()
    assert np.abs(made - wanted).max() < 1e-2 * np.abs(wanted).max()

"""What PyTorch's two exporters write, with the idioms that each has: read back and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import packlight
from packlight.fuse import fuse
from packlight.network import Network, quiet_torch
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnx import _functions_read_once
from packlight.shrink.layers import Layer, find_layers
from tests.readers.models import disagreement, random_inputs


class Mobile(nn.Module):
    """Depthwise blocks with squeeze and excitation and hard activations, as MobileNet v3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.depthwise = nn.Conv2d(16, 16, 5, 1, 2, groups=16)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.head = nn.Linear(16, 7)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.relu6(self.depthwise(self.stem(image)))
        s = nn.functional.adaptive_avg_pool2d(x, 1)
        s = nn.functional.hardsigmoid(self.excite(torch.relu(self.squeeze(s))))
        return self.head((x * s).mean((2, 3)))


class Unet(nn.Module):
    """Down and up again: transposed convolution, interpolation, pixel shuffle, group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.mix = nn.Conv2d(19, 12, 3, 1, 1, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        y = nn.functional.silu(self.norm(self.down(image)))
        z = nn.functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.cat([image, self.up(y), z], 1)
        return nn.functional.pixel_shuffle(nn.functional.leaky_relu(self.mix(x), 0.1), 2)


class Text(nn.Module):
    """Embedding, a transformer layer, the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.place = nn.Parameter(torch.randn(6, 16))
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(tokens) + self.place).mean(1))


class Speech(nn.Module):
    """Convolution over time, then a recurrent layer in both directions."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.layer = layer(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, frames: Tensor) -> Tensor:
        x = torch.tanh(self.conv(frames)).transpose(1, 2)
        return self.head(self.layer(x)[0]).log_softmax(-1)


class Shuffle(nn.Module):
    """Channels shuffled between groups, a slope for each channel, and a fresh batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slope = nn.Conv2d(3, 16, 3, 2, 1), nn.PReLU(16)
        self.groups = nn.Conv2d(16, 16, 1, groups=4)
        self.norm = nn.BatchNorm2d(16)  # its mean is its bias, and its variance its scale
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.slope(self.stem(image))
        n, c, h, w = x.shape
        y = self.groups(x).reshape(n, 4, 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.norm(x + torch.relu(y)).amax((2, 3)))


class Attention(nn.Module):
    """Products of matrices over three dimensions alone."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, frames: Tensor) -> Tensor:
        weights = (self.q(frames) @ self.k(frames).transpose(1, 2)).softmax(-1)
        return weights @ self.v(frames)


_IMAGE = (torch.randn(2, 3, 16, 16),)
_FRAMES = (torch.randn(2, 4, 4),)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "mobile": (Mobile, _IMAGE),
    "unet": (Unet, _IMAGE),
    "shuffle": (Shuffle, _IMAGE),
    "attention": (Attention, _FRAMES),
    "text": (Text, (torch.randint(0, 50, (2, 6)),)),
    "lstm": (lambda: Speech(nn.LSTM), _FRAMES),
    "gru": (lambda: Speech(nn.GRU), _FRAMES),
    "rnn": (lambda: Speech(nn.RNN), _FRAMES),
}


def _export(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, new: bool) -> None:
    options: dict[str, Any] = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False}
        if new
        else {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    )
    with quiet_torch(), _functions_read_once():
        torch.onnx.export(
            module, inputs, path, dynamo=new, input_names=["x"], output_names=["y"], **options
        )


@pytest.mark.parametrize("new", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("case", CASES)
def test_what_pytorch_exports_is_read_back_and_written_again(
    case: str, new: bool, tmp_path: Path
) -> None:
    make, inputs = CASES[case]
    torch.manual_seed(0)
    module = make().eval()
    path = tmp_path / "model.onnx"
    _export(module, inputs, path, new)
    network = packlight.load(path)
    assert network.input_names == ("x",)
    assert network.output_names == ("y",)
    with torch.no_grad():
        ours, theirs = network(*inputs)[0], module(*inputs)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
    assert disagreement(network, path, random_inputs(network)) <= 1e-5
    assert network.batch is None, network.notes
    assert disagreement(network, path, random_inputs(network, 5)) <= 1e-5
    fused = fuse(network).network
    assert _matrices(find_layers(fused)) == _matrices(
        find_layers(fuse(Network.from_module(module, inputs)).network)
    )
    written = onnx_file.write(fused, tmp_path / "written.onnx")
    assert disagreement(network, written, random_inputs(network, 5)) <= 1e-5


def _matrices(layers: list[Layer]) -> list[int]:
    """Weights of each, whichever way round they are stored."""
    return sorted(int(np.prod(layer.shape)) for layer in layers)

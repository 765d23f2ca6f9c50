"""Small networks that the tests share."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from packlight.network import Network


class Plain(nn.Module):
    """Two convolutions with batch norm, pooling and a classifier, for (n, 3, 16, 16)."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 4 * 4, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(image)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(nn.functional.max_pool2d(x, 2).flatten(1))


class Blocks(nn.Module):
    """A fire module, a residual and a depthwise block, for (n, 3, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 8, 1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        x = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        y = nn.functional.relu6(self.depthwise(x))
        x = torch.relu(self.pointwise(y) + x)
        return self.head(x.mean((2, 3))).softmax(1)


class Wide(nn.Module):
    """Three convolutions of 64 channels: many of them can go."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 64, 3, padding=1)
        self.b = nn.Conv2d(64, 64, 3, padding=1)
        self.c = nn.Conv2d(64, 64, 3, padding=1)
        self.head = nn.Linear(64, 6)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for layer in (self.a, self.b, self.c):
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))


class Headed(nn.Module):
    """A convolution, and a wide pointwise one with a padding whose values are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 256, 1, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.last(torch.relu(self.stem(image))))
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with random weights and batch norms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        if isinstance(child, (nn.Conv1d, nn.Conv2d, nn.Linear, nn.ConvTranspose2d)):
            fan_in = child.weight[0].numel()
            child.weight.data = torch.randn(child.weight.shape, generator=generator) / fan_in**0.5
            if child.bias is not None:
                child.bias.data = 0.1 * torch.randn(child.bias.shape, generator=generator)
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = child.num_features
            child.running_mean = 0.3 * torch.randn(size, generator=generator)
            child.running_var = 0.5 + torch.rand(size, generator=generator)
            child.weight.data = 0.5 + torch.rand(size, generator=generator)
            child.bias.data = 0.2 * torch.randn(size, generator=generator)
    return module.eval()


def plain(seed: int = 0) -> Network:
    """`Plain` as a Network."""
    return _traced(Plain, seed).copy()


def blocks(seed: int = 0) -> Network:
    """`Blocks` as a Network."""
    return _traced(Blocks, seed).copy()


def wide(seed: int = 0) -> Network:
    """`Wide` as a Network."""
    return _traced(Wide, seed).copy()


@cache
def _traced(kind: type[nn.Module], seed: int) -> Network:
    return Network.from_module(settled(kind(), seed), (images(2),))


def images(count: int, seed: int = 0) -> Tensor:
    """Smooth random images, (n, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")

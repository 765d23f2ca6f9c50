"""Classic image classifiers, written out as their papers and torchvision have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from packlight.network import Network


def traced(module: nn.Module, size: int = 224) -> Network:
    """The module as a Network that takes `size` x `size` RGB images; its weights are let go."""
    image = torch.zeros(1, 3, size, size, device="meta")
    return Network.from_module(module.to("meta"), (image,), input_names=["image"])


def vgg16() -> nn.Module:
    """Simonyan & Zisserman, arXiv:1409.1556, configuration D."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    classifier: list[nn.Module] = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout()]
    classifier += [nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *classifier)


def alexnet() -> nn.Module:
    """Krizhevsky, arXiv:1404.5997, as torchvision has it."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2)),
        *(nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(True)),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(True)),
        nn.Linear(4096, 1000),
    )


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, each, 1)
        self.expand3x3 = nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


def squeezenet() -> nn.Module:
    """Iandola et al., arXiv:1602.07360, version 1.1."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(True), pool()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        *(nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet18() -> nn.Module:
    """He et al., arXiv:1512.03385, 18 layers."""
    blocks = [
        Block(inputs, outputs, stride)
        for inputs, outputs, stride in (
            *((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)),
            *((128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)),
        )
    ]
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)),
        *(nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(512, 1000),
    )


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a way around them; the 3x3 has the stride."""

    def __init__(self, inputs: int, few: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * few
        self.path = nn.Sequential(
            *(nn.Conv2d(inputs, few, 1, bias=False), nn.BatchNorm2d(few), nn.ReLU(True)),
            *(nn.Conv2d(few, few, 3, stride, 1, bias=False), nn.BatchNorm2d(few), nn.ReLU(True)),
            *(nn.Conv2d(few, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.around: nn.Module = nn.Identity()
        if inputs != outputs:
            self.around = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.around(x))


def resnet50() -> nn.Module:
    """He et al., arXiv:1512.03385, 50 layers, strides as torchvision has them."""
    blocks, inputs = [], 64
    for few, repeats, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(repeats):
            blocks.append(Bottleneck(inputs, few, 1 if index else stride))
            inputs = 4 * few
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)),
        *(nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(2048, 1000),
    )


class Inverted(nn.Module):
    """Expand, filter each channel, project; a way around where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, times: int) -> None:
        super().__init__()
        wide = inputs * times
        expand = [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(True)]
        self.path = nn.Sequential(
            *(expand if times > 1 else []),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            *(nn.BatchNorm2d(wide), nn.ReLU6(True)),
            *(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.same else self.path(x)


def mobilenet_v2() -> nn.Module:
    """Sandler et al., arXiv:1801.04381."""
    blocks, inputs = [], 32
    for times, outputs, repeats, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for index in range(repeats):
            blocks.append(Inverted(inputs, outputs, 1 if index else stride, times))
            inputs = outputs
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(True), *blocks),
        *(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6(True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)),
    )

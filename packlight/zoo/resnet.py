"""ResNets: layers learn what to add to their input.

Because the sum hands the input on unchanged, gradients reach the first layer of a deep network.
Source: He et al., arXiv:1512.03385. ResNet-50 halves images in the 3x3 convolution of a block, as
most trained ones do, instead of the 1x1 before it.
"""

from __future__ import annotations

from torch import Tensor, nn

from packlight.zoo.blocks import (
    ImageClassifier,
    conv_bn,
    image_shape,
    make_divisible,
    pooled_linear,
    repeats,
)

_CHANNELS = (64, 128, 256, 512)  # by stage
_EXPANSION = 4  # of a bottleneck's last convolution


def resnet18(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """Eight blocks of two 3x3 convolutions, 11.7 M parameters.

    Args:
        width: factor on every layer's channels.
        depth: factor on the blocks of each stage.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    stem, *stages = (make_divisible(width * count) for count in (_CHANNELS[0], *_CHANNELS))
    layers: list[nn.Module] = [conv_bn(channels, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = stem
    for stage, outputs in enumerate(stages):
        for block in range(repeats(2, depth)):
            stride = 2 if stage and not block else 1
            layers.append(_Sum(_basic(inputs, outputs, stride), _shortcut(inputs, outputs, stride)))
            inputs = outputs
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(inputs, classes), shape)


def resnet50(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
) -> ImageClassifier:
    """Sixteen bottlenecks (1x1 to a quarter, 3x3, 1x1 back), 25.6 M parameters.

    Args: as of `resnet18`.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    stem, *stages = (make_divisible(width * count) for count in (_CHANNELS[0], *_CHANNELS))
    layers: list[nn.Module] = [conv_bn(channels, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = stem
    for stage, (narrow, blocks) in enumerate(zip(stages, (3, 4, 6, 3), strict=True)):
        outputs = _EXPANSION * narrow
        for block in range(repeats(blocks, depth)):
            stride = 2 if stage and not block else 1
            body = nn.Sequential(
                conv_bn(inputs, narrow, 1),
                conv_bn(narrow, narrow, 3, stride),
                conv_bn(narrow, outputs, 1, activation=None),
            )
            layers.append(_Sum(body, _shortcut(inputs, outputs, stride)))
            inputs = outputs
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(inputs, classes), shape)


def resnet8(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 32,
    classes: int = 10,
    channels: int = 3,
) -> ImageClassifier:
    """Three blocks for small images, 77,946 parameters, 77,706 once batch norms are folded.

    Source: Banbury et al., arXiv:2106.07597 (MLPerf Tiny, image classification). Shortcuts have a
    bias and no batch norm.

    Args: as of `resnet18`; the resolution is 8 at least.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth, least=8)
    inputs = make_divisible(width * 16, 4)
    layers: list[nn.Module] = [conv_bn(channels, inputs)]
    for stage, count in enumerate((16, 32, 64)):
        outputs = make_divisible(width * count, 4)
        for block in range(repeats(1, depth)):
            stride = 2 if stage and not block else 1
            shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()
            layers.append(_Sum(_basic(inputs, outputs, stride), shortcut))
            inputs = outputs
    return ImageClassifier(nn.Sequential(*layers), pooled_linear(inputs, classes), shape)


class _Sum(nn.Module):
    """What was learned and the shortcut, added, then ReLU."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def _basic(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, activation=None)
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The input itself, or a 1x1 convolution where its size has to change."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return conv_bn(inputs, outputs, 1, stride, activation=None)

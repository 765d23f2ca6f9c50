"""VGG-16: nothing but 3x3 convolutions, twice the channels whenever images are halved.

Two 3x3 convolutions see what one 5x5 sees, with fewer weights and an activation more. The
classifier holds 124 of the 138 million parameters.
Source: Simonyan and Zisserman, arXiv:1409.1556, configuration D.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import ImageClassifier, dense, image_shape, make_divisible

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
_HIDDEN = 4096


def vgg16(
    *, width: float = 1.0, resolution: int = 224, classes: int = 1000, channels: int = 3
) -> ImageClassifier:
    """VGG-16 without batch norm, 138.4 M parameters.

    Args:
        width: factor on every layer's channels, hidden layers included.
        resolution: of the images; the first hidden layer reads all positions that are left, 7 x 7
            at 224, so it grows with the square.
        channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width)
    layers: list[nn.Module] = []
    inputs = channels
    for count, convolutions in _STAGES:
        outputs = make_divisible(width * count)
        for _ in range(convolutions):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    hidden = make_divisible(width * _HIDDEN)
    classifier = dense([inputs * (resolution // 32) ** 2, hidden, hidden, classes], dropout=0.5)
    return ImageClassifier(nn.Sequential(*layers), nn.Sequential(nn.Flatten(1), *classifier), shape)

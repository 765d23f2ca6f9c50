"""The two LeNets that compression papers begin with.

Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998;
the sizes are those of Caffe's MNIST example, which Han et al., arXiv:1510.00149, compress.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import ImageClassifier, dense, image_shape


def lenet_300_100(
    *, width: float = 1.0, resolution: int = 28, classes: int = 10, channels: int = 1
) -> ImageClassifier:
    """Every pixel into 300 units, 100 units and the classes: 266,610 parameters.

    Args:
        width: factor on the hidden layers.
        resolution, channels: of the images.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, least=1)
    hidden = [max(1, round(width * units)) for units in (300, 100)]
    layers = dense([channels * resolution**2, *hidden, classes])
    return ImageClassifier(nn.Flatten(1), nn.Sequential(*layers), shape)


def lenet5(
    *, width: float = 1.0, resolution: int = 28, classes: int = 10, channels: int = 1
) -> ImageClassifier:
    """20 and 50 kernels of 5x5, each pooled by two, then 500 units: 431,080 parameters.

    Only the hidden layer has an activation, as in Caffe's network.

    Args:
        width: factor on every layer's channels.
        resolution, channels: of the images.
    Raises:
        BadInput: a resolution below 16, or another argument that is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, least=16)
    a, b, hidden = (max(1, round(width * count)) for count in (20, 50, 500))
    features = nn.Sequential(
        *(nn.Conv2d(channels, a, 5), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 5), nn.MaxPool2d(2)),
    )
    side = ((resolution - 4) // 2 - 4) // 2
    layers = dense([b * side**2, hidden, classes])
    return ImageClassifier(features, nn.Sequential(nn.Flatten(1), *layers), shape)

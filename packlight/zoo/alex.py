"""AlexNet: the network that began it, 240 MB of which nine tenths are in its classifier.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997: one column of 64, 192, 384, 256, 256 channels, without normalisation of responses.
"""

from __future__ import annotations

from torch import nn

from packlight.zoo.blocks import ImageClassifier, dense, image_shape, make_divisible

_HIDDEN = 4096


def alexnet(
    *, width: float = 1.0, resolution: int = 224, classes: int = 1000, channels: int = 3
) -> ImageClassifier:
    """AlexNet, 61.1 M parameters.

    Args:
        width: factor on every layer's channels, hidden layers included.
        resolution: of the images; the first hidden layer reads all positions that are left, 6 x 6
            at 224, so it grows with the square.
        channels: of the images.
    Raises:
        BadInput: a resolution below 63, or another argument that is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, least=63)
    a, b, c, d = (make_divisible(width * count) for count in (64, 192, 384, 256))
    features = nn.Sequential(
        *(nn.Conv2d(channels, a, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    side = (resolution + 4 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    hidden = make_divisible(width * _HIDDEN)
    layers = dense([d * side**2, hidden, hidden, classes], dropout=0.5)
    return ImageClassifier(features, nn.Sequential(nn.Flatten(1), *layers), shape)

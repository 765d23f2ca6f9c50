"""What was published about the zoo's networks: the rows of `packlight zoo`.

top-1 is that of somebody else's trained weights, on the data named; the zoo has no trained weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TORCHVISION = "torchvision, IMAGENET1K_V1 weights"
MOBILENET_V1 = "arXiv:1704.04861, table 6"
SHUFFLENET_V1 = "arXiv:1707.01083, table 2"
TENSORFLOW = "tensorflow/models, research/slim/nets, checkpoints of 2018"
CONDENSENET = "arXiv:1711.09224, on ImageNet"
DEEP_COMPRESSION = "arXiv:1510.00149, table 1"


@dataclass(frozen=True)
class Published:
    """One network.

    Args:
        name: as it is shown, and asked for.
        top1: a share, of one crop in the middle.
        source: of `top1`.
        function: of `packlight.zoo`; default: the name.
        arguments: of that function.
        data: what `top1` was measured on.
    """

    name: str
    top1: float
    source: str
    function: str = ""
    arguments: Mapping[str, float] = field(default_factory=dict)
    data: str = "ImageNet"


PUBLISHED: tuple[Published, ...] = (
    Published("alexnet", 0.56522, TORCHVISION),
    Published("vgg16", 0.71592, TORCHVISION),
    Published("resnet18", 0.69758, TORCHVISION),
    Published("resnet50", 0.76130, TORCHVISION),
    Published("squeezenet1_0", 0.58092, TORCHVISION),
    Published("squeezenet1_1", 0.58178, TORCHVISION),
    Published("mobilenet_v1", 0.706, MOBILENET_V1),
    Published("mobilenet_v1-0.75", 0.684, MOBILENET_V1, "mobilenet_v1", {"width": 0.75}),
    Published("mobilenet_v1-0.5", 0.637, MOBILENET_V1, "mobilenet_v1", {"width": 0.5}),
    Published("mobilenet_v1-0.25", 0.506, MOBILENET_V1, "mobilenet_v1", {"width": 0.25}),
    Published("mobilenet_v2", 0.71878, TORCHVISION),
    Published("mobilenet_v3_small", 0.67668, TORCHVISION),
    Published("mobilenet_v3_large", 0.74042, TORCHVISION),
    Published("mobilenet_v4_conv_small", 0.738, "arXiv:2404.10518, on ImageNet"),
    Published("shufflenet_v1-g1", 0.664, SHUFFLENET_V1, "shufflenet_v1", {"groups": 1}),
    Published("shufflenet_v1", 0.674, SHUFFLENET_V1),
    Published("shufflenet_v1-g8", 0.676, SHUFFLENET_V1, "shufflenet_v1", {"groups": 8}),
    Published("shufflenet_v2-0.5", 0.60552, TORCHVISION, "shufflenet_v2", {"width": 0.5}),
    Published("shufflenet_v2", 0.69362, TORCHVISION),
    Published("shufflenet_v2-1.5", 0.72996, TORCHVISION, "shufflenet_v2", {"width": 1.5}),
    Published("shufflenet_v2-2.0", 0.76230, TORCHVISION, "shufflenet_v2", {"width": 2.0}),
    Published("condensenet", 0.710, CONDENSENET),
    Published(
        "condensenet-c4", 0.738, CONDENSENET, "condensenet", {"groups": 4, "condensation": 4}
    ),
    Published("ghostnet", 0.739, "arXiv:1911.11907, on ImageNet"),
    Published("efficientnet_lite0", 0.751, "tensorflow/tpu, EfficientNet-Lite, float"),
    Published("resnet8", 0.85, "arXiv:2106.07597, quality target", data="CIFAR-10"),
    Published("lenet5", 0.9920, DEEP_COMPRESSION, data="MNIST"),
    Published("lenet_300_100", 0.9836, DEEP_COMPRESSION, data="MNIST"),
)

# MobileNets by width and resolution, each trained alike (TENSORFLOW): top-1 on ImageNet in per cent
WIDTHS_AND_RESOLUTIONS: Mapping[str, Mapping[float, Mapping[int, float]]] = {
    "mobilenet_v1": {
        1.0: {224: 70.9, 192: 70.0, 160: 68.0, 128: 65.2},
        0.75: {224: 68.4, 192: 67.2, 160: 65.3, 128: 62.1},
        0.5: {224: 63.3, 192: 61.7, 160: 59.1, 128: 56.3},
        0.25: {224: 49.8, 192: 47.7, 160: 45.5, 128: 41.5},
    },
    "mobilenet_v2": {
        1.4: {224: 75.0},
        1.3: {224: 74.4},
        1.0: {224: 71.8, 192: 70.7, 160: 68.8, 128: 65.3, 96: 60.3},
        0.75: {224: 69.8, 192: 68.7, 160: 66.4, 128: 63.2, 96: 58.8},
        0.5: {224: 65.4, 192: 63.9, 160: 61.0, 128: 57.7, 96: 51.2},
        0.35: {224: 60.3, 192: 58.2, 160: 55.7, 128: 50.8, 96: 45.5},
    },
}

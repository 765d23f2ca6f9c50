"""Compact architectures and their yardsticks, as trainable modules with random weights.

    network = packlight.zoo.mobilenet_v2(width=0.5, classes=10)

A family per file. Modules are not called as the functions in them are: importing such a module
would replace the function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packlight.zoo.alex import alexnet as alexnet
    from packlight.zoo.condense import condense_step as condense_step
    from packlight.zoo.condense import condensed as condensed
    from packlight.zoo.condense import condensenet as condensenet
    from packlight.zoo.condense import group_lasso as group_lasso
    from packlight.zoo.efficientnet import efficientnet_lite0 as efficientnet_lite0
    from packlight.zoo.ghost import ghostnet as ghostnet
    from packlight.zoo.lenet import lenet5 as lenet5
    from packlight.zoo.lenet import lenet_300_100 as lenet_300_100
    from packlight.zoo.mobilenet1 import mobilenet_v1 as mobilenet_v1
    from packlight.zoo.mobilenet2 import mobilenet_v2 as mobilenet_v2
    from packlight.zoo.mobilenet3 import mobilenet_v3_large as mobilenet_v3_large
    from packlight.zoo.mobilenet3 import mobilenet_v3_small as mobilenet_v3_small
    from packlight.zoo.mobilenet4 import mobilenet_v4_conv_small as mobilenet_v4_conv_small
    from packlight.zoo.resnet import resnet8 as resnet8
    from packlight.zoo.resnet import resnet18 as resnet18
    from packlight.zoo.resnet import resnet50 as resnet50
    from packlight.zoo.shufflenet1 import shufflenet_v1 as shufflenet_v1
    from packlight.zoo.shufflenet2 import shufflenet_v2 as shufflenet_v2
    from packlight.zoo.squeezenet import squeezenet1_0 as squeezenet1_0
    from packlight.zoo.squeezenet import squeezenet1_1 as squeezenet1_1
    from packlight.zoo.vgg import vgg16 as vgg16

_HOME = {
    "alexnet": "alex",
    "condense_step": "condense",
    "condensed": "condense",
    "condensenet": "condense",
    "efficientnet_lite0": "efficientnet",
    "ghostnet": "ghost",
    "group_lasso": "condense",
    "lenet5": "lenet",
    "lenet_300_100": "lenet",
    "mobilenet_v1": "mobilenet1",
    "mobilenet_v2": "mobilenet2",
    "mobilenet_v3_large": "mobilenet3",
    "mobilenet_v3_small": "mobilenet3",
    "mobilenet_v4_conv_small": "mobilenet4",
    "resnet18": "resnet",
    "resnet50": "resnet",
    "resnet8": "resnet",
    "shufflenet_v1": "shufflenet1",
    "shufflenet_v2": "shufflenet2",
    "squeezenet1_0": "squeezenet",
    "squeezenet1_1": "squeezenet",
    "vgg16": "vgg",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'packlight.zoo' has no attribute {name!r}")
    return getattr(import_module(f"packlight.zoo.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)

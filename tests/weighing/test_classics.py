"""The table of classics, against what is published about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from packlight.weighing import LayerTable, weigh
from tests.weighing.classics import (
    alexnet,
    mobilenet_v2,
    resnet18,
    resnet50,
    squeezenet,
    traced,
    vgg16,
)

VGG16 = """
InputLayer 224x224x3    150528                                 0
Conv2D     224x224x64  3211264      3x3x3x64+64             1792
Conv2D     224x224x64  3211264     3x3x64x64+64            36928
MaxPool2D  112x112x64   802816                                 0
Conv2D     112x112x128 1605632   3x3x64x128+128            73856
Conv2D     112x112x128 1605632  3x3x128x128+128           147584
MaxPool2D  56x56x128    401408                                 0
Conv2D     56x56x256    802816  3x3x128x256+256           295168
Conv2D     56x56x256    802816  3x3x256x256+256           590080
Conv2D     56x56x256    802816  3x3x256x256+256           590080
MaxPool2D  28x28x256    200704                                 0
Conv2D     28x28x512    401408  3x3x256x512+512          1180160
Conv2D     28x28x512    401408  3x3x512x512+512          2359808
Conv2D     28x28x512    401408  3x3x512x512+512          2359808
MaxPool2D  14x14x512    100352                                 0
Conv2D     14x14x512    100352  3x3x512x512+512          2359808
Conv2D     14x14x512    100352  3x3x512x512+512          2359808
Conv2D     14x14x512    100352  3x3x512x512+512          2359808
MaxPool2D  7x7x512       25088                                 0
Flatten    25088         25088                                 0
Dense      4096           4096  25088x4096+4096        102764544
Dense      4096           4096   4096x4096+4096         16781312
Dense      1000           1000   4096x1000+1000          4097000
"""


@pytest.fixture(scope="module")
def vgg() -> LayerTable:
    return weigh(traced(vgg16()))


def test_vgg16_reads_as_in_its_paper(vgg: LayerTable) -> None:
    rows = [
        [row.type, row.shape_text, str(row.elements), row.parameters, str(row.parameter_count)]
        for row in vgg.rows
    ]
    assert [" ".join(filter(None, row)).split() for row in rows] == [
        line.split() for line in VGG16.strip().splitlines()
    ]
    assert vgg.totals.parameter_count == 138_357_544
    assert vgg.totals.macs == 15_470_264_320
    assert vgg.totals.bytes == 4 * 138_357_544
    assert {row.activation for row in vgg.rows if row.type == "Conv2D"} == {"ReLU"}


def test_vgg16_fits_a_terminal(vgg: LayerTable) -> None:
    lines = str(vgg).splitlines()
    assert max(map(len, lines)) <= 100
    lines = lines[: lines.index("")]
    assert len(lines) == len(vgg.rows) + 4  # names, two rules, totals: nothing is broken
    assert "15,470,264,320" in lines[-1]
    ends = {line.index("3,211,264") + len("3,211,264") for line in lines if "3,211,264" in line}
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("build", "parameters", "macs"),
    [
        (alexnet, 61_100_840, 714_188_480),
        (squeezenet, 1_235_496, 349_151_936),
        # 11,689,512 to train, and the mean and variance of 4,800 channels
        (resnet18, 11_689_512 + 2 * 4_800, 1_814_073_344),
        (resnet50, 25_557_032 + 2 * 26_560, 4_089_184_256),
        (mobilenet_v2, 3_504_872 + 2 * 17_056, 300_774_272),
    ],
)
def test_classics_have_their_published_size(
    build: Callable[[], nn.Module], parameters: int, macs: int
) -> None:
    table = weigh(traced(build()))
    assert table.totals.parameter_count == parameters
    assert table.totals.macs == macs
    assert max(map(len, str(table).splitlines())) <= 100


def test_a_residual_network_shows_where_paths_meet() -> None:
    table = weigh(traced(resnet18(), 64))
    block = [(row.layer, row.type, row.activation) for row in table.rows[9:14]]
    assert block == [
        ("5.conv1", "Conv2D", ""),
        ("5.bn1", "BatchNormalization", "ReLU"),
        ("5.conv2", "Conv2D", ""),
        ("5.bn2", "BatchNormalization", ""),
        ("add_1", "Add", "ReLU"),
    ]
    assert [row.type for row in table.rows[-3:]] == ["GlobalAveragePool2D", "Flatten", "Dense"]

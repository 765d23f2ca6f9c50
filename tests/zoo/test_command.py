"""`packlight zoo`: the table, its plain values, the picture."""

from __future__ import annotations

import json
from io import StringIO
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console

from packlight import zoo
from packlight.report.zoo import picture, table
from packlight.zoo.measuring import Measured, chosen, measure
from packlight.zoo.published import PUBLISHED
from tests.commands import run
from tests.reference.zoo import macs

SVG = "{http://www.w3.org/2000/svg}"


def row(index: int, int8: int = 1_000_000) -> Measured:
    return Measured(PUBLISHED[index], (3, 224, 224), 1000, 1_234_567, 4 * int8, int8, 2000)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v1-0.25"])
def test_what_is_measured_is_what_the_layers_compute(name):
    (one,) = chosen([name])
    found = measure(one)
    with torch.device("meta"):
        network = getattr(zoo, one.function or one.name)(**one.arguments)
    assert found.macs == macs(network, (1, *network.input_shape))
    assert found.parameters == sum(value.numel() for value in network.parameters())
    kernels = sum(value.numel() for value in network.parameters() if value.ndim > 1)
    outputs = sum(value.shape[0] for value in network.parameters() if value.ndim > 1)
    assert found.int8_bytes == kernels + 8 * outputs


def test_peak_memory_is_the_largest_step():
    """LeNet-5's first convolution reads 28 x 28 and makes 20 x 24 x 24 numbers; then it pools."""
    (one,) = chosen(["lenet5"])
    assert measure(one).peak_bytes == 4 * (20 * 24 * 24 + 20 * 12 * 12)


def test_every_row_names_a_function_and_a_source():
    assert len({one.name for one in PUBLISHED}) == len(PUBLISHED)
    for one in PUBLISHED:
        assert (one.function or one.name) in zoo.__all__
        assert 0 < one.top1 < 1
        assert one.source
    listed = {one.function or one.name for one in PUBLISHED}
    assert listed | {"condense_step", "condensed", "group_lasso"} == set(zoo.__all__)


def test_the_command_prints_a_table_or_plain_values(tmp_path, capsys):
    plot = tmp_path / "zoo.svg"
    asked = ("alexnet", "lenet_300_100", "--quiet", "--budget", "62MB")
    assert not run("zoo", *asked, "--plot", plot)
    said = capsys.readouterr().out
    assert "61,100,840" in said
    assert "MNIST" in said
    first, second = (line for line in said.splitlines() if line.startswith(("alex", "lenet")))
    assert first.split()[-1] == "int8"
    assert second.split()[-1] == "fp32"
    assert "budget 62 MB" in plot.read_text()
    assert not run("zoo", "lenet_300_100", "--json", "--quiet")
    (values,) = json.loads(capsys.readouterr().out)
    assert values["fp32_bytes"] == 4 * 266_610
    assert values["input_shape"] == [1, 28, 28]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["resnet9"], "resnet8"),
        (["resnet8", "--budget", "small"], "--budget"),
        (["resnet8", "--plot", "none.svg"], "ImageNet"),
    ],
)
def test_what_is_not_possible_is_told(arguments, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("zoo", *arguments) == 2
    assert word in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_picture_has_a_spot_for_every_network_and_the_budgets_line():
    rows = [row(index, 400_000 * (index + 1)) for index in range(8)]
    drawn = ElementTree.fromstring(picture(rows, budget=1_700_000))
    spots = drawn.findall(f"{SVG}circle")
    assert [spot.get("class") for spot in spots] == 4 * ["chosen"] + 4 * ["visited"]
    across = [float(spot.get("cx", 0)) for spot in spots]
    assert across == sorted(across)
    (line,) = (one for one in drawn.findall(f"{SVG}line") if one.get("class") == "budget")
    assert across[3] < float(line.get("x1", 0)) < across[4]
    height = [float(spot.get("cy", 0)) for spot in spots]
    better = rows[3].published.top1 > rows[0].published.top1
    assert better == (height[3] < height[0])


def test_names_in_the_picture_do_not_meet():
    drawn = ElementTree.fromstring(picture([row(0), row(0), row(0), row(0), row(0), row(0)]))
    names = [one for one in drawn.findall(f"{SVG}text") if one.text == PUBLISHED[0].name]
    assert 1 <= len(names) < 6  # all at one place: the rest have only their hints
    assert len({(one.get("x"), one.get("y")) for one in names}) == len(names)
    assert len(drawn.findall(f"{SVG}circle")) == 6


def test_the_table_fits_a_terminal():
    console = Console(width=80, record=True, file=StringIO())
    console.print(table([row(index) for index in range(len(PUBLISHED))], budget=10**6))
    text = console.export_text()
    assert "…" not in text
    assert "1.23 M" in text

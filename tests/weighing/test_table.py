"""The forms a table is shown in."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from packlight.errors import BadInput
from packlight.network import Network
from packlight.weighing import LayerRow, LayerTable, weigh

HOSTILE = '<script>alert(1)</script>[bold]\x1b[31m,\n"x'


def row(name: str = "conv", parameters: str = "3x3x3x8+8") -> LayerRow:
    return LayerRow(name, "Conv2D", "ReLU", (8, None, 8), 64, 256, parameters, 224, 12345, 896)


@pytest.fixture
def table() -> LayerTable:
    return LayerTable((row(), row(HOSTILE)), "model.onnx", ("a note <b>",))


def test_totals_are_the_sums(table: LayerTable) -> None:
    totals = table.totals
    assert (totals.layers, totals.parameter_count, totals.macs) == (2, 448, 24690)
    assert LayerTable(()).totals.bytes == 0


def test_the_dict_survives_json(table: LayerTable) -> None:
    data = table.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["layers"][0]["shape"] == [8, None, 8]
    assert data["totals"]["bytes"] == 2 * 896


def test_csv_reads_back(table: LayerTable) -> None:
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [line["layer"] for line in lines] == ["conv", HOSTILE]
    assert lines[0]["macs"] == "12345"
    assert lines[0]["shape"] == "8x?x8"


def test_names_can_not_steer_a_terminal_or_a_page(table: LayerTable) -> None:
    text, page = str(table), table._repr_html_()
    assert "\x1b" not in text
    assert "[bold]" in text
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a note &lt;b&gt;" in page
    assert "a note <b>" in text


def test_long_names_and_parameters_break_at_their_joints() -> None:
    name, parameters = ".".join(["encoder"] * 8), "+".join(["1024x4096"] * 12)
    text = str(LayerTable((row(name, parameters), row())))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.count("encoder") for line in lines) == 8
    assert sum(line.count("1024x4096") for line in lines) == 12


def test_an_empty_table_can_be_shown() -> None:
    assert "0 rows" in str(LayerTable(()))
    assert "<table>" in LayerTable(())._repr_html_()


def test_files_and_modules_are_loaded(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    network = Network.from_module(module, (torch.zeros(1, 3),), source=tmp_path / "tiny.onnx")
    assert weigh(network).model == "tiny.onnx"
    assert weigh(module, (torch.zeros(1, 3),)).rows == weigh(network).rows
    with pytest.raises(BadInput, match="does not exist"):
        weigh(tmp_path / "nothing.onnx")
    with pytest.raises(BadInput, match="needs example_inputs"):
        weigh(module)

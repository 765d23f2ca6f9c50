"""XNNPACK's graphs written small: the same contents, fewer nodes, the same answers to the bit."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from packlight.coding.openers import executorch as opener
from packlight.coding.openers.tensor import Derived
from packlight.network import Network
from packlight.runtimes import executorch as pte
from packlight.runtimes import xnnpack_graph
from packlight.runtimes.folding import folded
from tests.later import later
from tests.networks import settled
from tests.runtimes.at_once import at_once as in_this_process
from tests.runtimes.quantised import quantised

NEEDED = "needs packlight[executorch]"
FORMAT = "executorch.backends.xnnpack.serialization"
schema = later(f"{FORMAT}.xnnpack_graph_schema", NEEDED)
upstream = later(f"{FORMAT}.xnnpack_graph_serialize", NEEDED)
flatbuffer = later("executorch.exir._serialize._flatbuffer", NEEDED)

_NONE = 0xFFFFFFFF  # an id for what is not there


def _value(number, dims, grid=None, external=_NONE):
    kind = schema.XNNDatatype
    dtype = kind.xnn_datatype_fp32 if grid is None else kind.xnn_datatype_qint8
    tensor = schema.XNNTensorValue(dtype, len(dims), dims, 0, external, 0, number)
    if grid is None:
        return schema.XValue(tensor)
    return schema.XValue(schema.XNNQuantizedTensorValue(tensor, schema.PerTensorQuant(*grid)))


def _convolution(number, source, result, output_min_max=None):
    ids = (source, _NONE, _NONE, result)
    layer = schema.XNNConv2d(*[0] * 4, *[1] * 9, *[0] * 2, *ids, 0)
    return schema.XNode(layer, number, output_min_max)


def _graph():
    """Inputs 0; 0 padded twice, converted, and read by layers; converted twice to one grid more."""
    grid, image, padded = (0.5, 3), [1, 4, 4, 1], [1, 5, 5, 1]
    values = [
        _value(0, image, external=0),
        _value(1, padded),
        _value(2, padded, grid),
        _value(3, [1, 3, 3, 1], grid),
        _value(4, image, grid),
        _value(5, image, grid),
        _value(6, [1, 2, 2, 1], grid, external=1),
        _value(7, [1, 1, 4, 4], grid),
        _value(8, [16], grid, external=2),
    ]
    clamp = [schema.OutputMinMax(0.0, 6.0) for _ in range(2)]
    nodes = [
        schema.XNode(schema.XNNStaticConstantPad([0] * 4, [0, 1, 1, 0], 0.0, 0, 1, 0), 1),
        schema.XNode(schema.XNNConvert(1, 2, 0), 2),
        _convolution(3, 2, 3, clamp[0]),
        schema.XNode(schema.XNNConvert(0, 4, 0), 4),
        schema.XNode(schema.XNNConvert(0, 5, 0), 5),
        _convolution(6, 5, 6, clamp[1]),
        schema.XNode(schema.XNNStaticTranspose(4, [0, 3, 1, 2], 4, 7, 0), 7),
        schema.XNode(schema.XNNStaticReshape(1, [16], 7, 8, 0), 8),
    ]
    return schema.XNNGraph("0", nodes, values, 3, [0], [3, 6, 8], [schema.ConstantDataOffset(0, 0)])


def _told(data: bytes, folder: Path):
    """What a graph's flatbuffer says, as flatc reads it."""
    described = folder / "schema.fbs"
    described.write_bytes(resources.files(FORMAT).joinpath("schema.fbs").read_bytes())
    (folder / "graph.bin").write_bytes(data)
    flatbuffer._flatc_decompile(
        str(folder), str(described), str(folder / "graph.bin"), ["--raw-binary", "--strict-json"]
    )
    return json.loads((folder / "graph.json").read_text())


def test_a_folded_flatbuffer_says_the_same_in_fewer_bytes(tmp_path):
    data = upstream.convert_to_flatbuffer(_graph())
    small = folded(data, xnnpack_graph._schema())
    assert len(small) < 0.9 * len(data)
    assert _told(small, tmp_path) == _told(data, tmp_path)
    assert folded(small, xnnpack_graph._schema()) == small


def test_what_does_nothing_is_left_out_of_a_graph():
    graph = _graph()
    xnnpack_graph.simplify(graph)
    kinds = [type(node.xnode_union).__name__ for node in graph.xnodes]
    assert kinds == ["XNNConvert", "XNNConv2d", "XNNConv2d", "XNNStaticReshape"]
    once, padded, plain, reshape = (node.xnode_union for node in graph.xnodes)
    assert (padded.padding_top, padded.padding_right) == (0, 1)
    assert (padded.padding_bottom, padded.padding_left) == (1, 0)
    assert once.input_id == 0
    assert [padded.input1_id, plain.input1_id, reshape.input_id] == [once.output_id] * 3
    held = {xnnpack_graph._tensor(value).id_out: value for value in graph.xvalues}
    assert set(held) == {0, once.output_id, 3, 6, 8}
    assert xnnpack_graph._tensor(held[once.output_id]).dims == [1, 4, 4, 1]


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("other than zeros", lambda pad, graph: setattr(pad, "padding_value", 1.0)),
        ("channels", lambda pad, graph: setattr(pad, "post_paddings", [0, 1, 1, 1])),
        ("of an output", lambda pad, graph: graph.output_ids.append(2)),
    ],
)
def test_paddings_that_a_layer_can_not_do_stay(what, changed):
    graph = _graph()
    changed(graph.xnodes[0].xnode_union, graph)
    xnnpack_graph.simplify(graph)
    assert type(graph.xnodes[0].xnode_union).__name__ == "XNNStaticConstantPad"


class _Strided(nn.Module):
    """Paddings at one end only, around layers that read one value; a mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 8, 3, stride=2)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.beside = nn.Conv2d(6, 8, 1, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        x = torch.relu(self.stem(image))
        y = torch.relu(self.down(nn.functional.pad(x, (0, 1, 0, 1)))) + self.beside(x)
        y = torch.relu(self.deep(nn.functional.pad(torch.relu(y), (1, 2, 0, 1))))
        return self.head(y.mean((2, 3)))


def test_layers_that_pad_at_one_end_give_the_graph_s_answers(monkeypatch):
    monkeypatch.setattr(pte, "apart", in_this_process)
    kinds: list[str] = []

    def watched(graph, simplify=xnnpack_graph.simplify):
        simplify(graph)
        kinds.extend(type(node.xnode_union).__name__ for node in graph.xnodes)

    monkeypatch.setattr(xnnpack_graph, "simplify", watched)
    samples = torch.randn(40, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    network = quantised(Network.from_module(settled(_Strided()), (samples[:2],)), samples)
    data = pte.lower(network).data
    assert len(kinds) == 22
    assert "XNNStaticConstantPad" not in kinds
    assert b"builtins.tuple" not in data
    (made,) = pte.Session(data, threads=1).over([(samples.numpy(),)])
    with torch.no_grad():
        wanted = network(samples)[0].numpy()
    assert np.median(np.abs(made - wanted).max(1)) < 1e-6 * np.abs(wanted).max()
    scales = [one for one in opener.tensors(data) if isinstance(one, Derived)]
    assert len(scales) == 3  # of the biases of the three layers whose output is rounded

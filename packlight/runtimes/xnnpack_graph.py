"""XNNPACK's graph, made smaller before executorch writes it; no answer changes by a bit.

1. a padding with zeros is the convolution's own: PyTorch's pads both ends alike, XNNPACK's need
   not; where values are rounded, it pads with the level that stands for zero as well;
2. values that are converted alike twice are converted once;
3. a transposition that moves nothing but axes of size 1 is left to the reshape behind it;
4. scales stand in the description of their tensor, which spares each an entry in a table;
5. numbers for a profiler's tables, which executorch does not fill, are left out;
6. what is alike in the flatbuffer is written once (`folding`).
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from packlight.runtimes.folding import folded

_NOTHING = 0xFFFFFFFF  # the id of an input that a node does without
_LAYERS = ("XNNConv2d", "XNNDepthwiseConv2d")
_RANK, _HEIGHT, _WIDTH = 4, 1, 2  # of XNNPACK's images


@contextmanager
def small_graphs() -> Iterator[None]:
    """While it lasts, executorch writes XNNPACK's graphs small."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as upstream

    convert = upstream.convert_to_flatbuffer

    def converted(graph: Any) -> bytes:
        simplify(graph)
        return folded(convert(graph), _schema())

    upstream.convert_to_flatbuffer = converted
    try:
        yield
    finally:
        upstream.convert_to_flatbuffer = convert


def simplify(graph: Any) -> None:
    """Leave out of an XNNGraph what its answers do without."""
    for node in graph.xnodes:
        node.debug_handle = 0
    _pad_in_layers(graph)
    _convert_once(graph)
    _leave_to_reshapes(graph)
    kept = {*graph.input_ids, *graph.output_ids}
    for node in graph.xnodes:
        kept.update(_outputs(node), (number for _, number in _inputs(node)))
    graph.xvalues = [value for value in graph.xvalues if _tensor(value).id_out in kept]


def inline_scales(graph: Any, held: Mapping[str, bytes]) -> None:
    """Move scales from a graph's constants into the tensors that they are of.

    Args:
        held: what the graph's constants hold, by their names.
    """
    grids = [_grid(value) for value in graph.xvalues]
    for grid in grids:
        if not _is(grid, "PerChannelQuant") or grid.scale_buffer_idx <= 0:
            continue
        data = held[graph.constant_data[grid.scale_buffer_idx].named_key]
        grid.scale = list(struct.unpack(f"<{len(data) // 4}f", data))
        grid.scale_buffer_idx = grid.num_scales = 0
    readers = [(_tensor(value), "constant_buffer_idx") for value in graph.xvalues]
    readers += [(grid, "scale_buffer_idx") for grid in grids if _is(grid, "PerChannelGroupQuant")]
    left = sorted({0, *(getattr(reader, name) for reader, name in readers)})
    for reader, name in readers:
        setattr(reader, name, left.index(getattr(reader, name)))
    graph.constant_data = [graph.constant_data[number] for number in left]


def _pad_in_layers(graph: Any) -> None:
    values = {_tensor(value).id_out: value for value in graph.xvalues}
    for node in list(graph.xnodes):
        layer = node.xnode_union
        if not _is(layer, *_LAYERS) or layer.flags:
            continue
        chain = [_sole_maker(graph, layer.input1_id)]
        if _is(chain[0], "XNNConvert"):
            chain.append(_sole_maker(graph, chain[0].input_id))
        pad = chain[-1]
        if not _is(pad, "XNNStaticConstantPad") or not _pads_images_with_zeros(pad):
            continue
        if any(_is_dynamic(values[one.output_id]) for one in chain):
            continue
        before, after = pad.pre_paddings, pad.post_paddings
        layer.padding_top += before[_HEIGHT]
        layer.padding_left += before[_WIDTH]
        layer.padding_bottom += after[_HEIGHT]
        layer.padding_right += after[_WIDTH]
        if len(chain) == 2:
            chain[0].input_id = pad.input_id
            _tensor(values[layer.input1_id]).dims = _tensor(values[pad.input_id]).dims
        else:
            layer.input1_id = pad.input_id
        graph.xnodes = [one for one in graph.xnodes if one.xnode_union is not pad]


def _pads_images_with_zeros(pad: Any) -> bool:
    elsewhere = [
        paddings[axis]
        for paddings in (pad.pre_paddings, pad.post_paddings)
        for axis in range(len(paddings))
        if axis not in (_HEIGHT, _WIDTH)
    ]
    return len(pad.pre_paddings) == _RANK and not any((*elsewhere, pad.padding_value, pad.flags))


def _convert_once(graph: Any) -> None:
    values = {_tensor(value).id_out: value for value in graph.xvalues}
    first: dict[str, int] = {}
    for node in list(graph.xnodes):
        convert = node.xnode_union
        if not _is(convert, "XNNConvert") or convert.output_id in graph.output_ids:
            continue
        made = values[convert.output_id]
        tensor = replace(_tensor(made), id_out=0)
        key = repr((convert.input_id, convert.flags, tensor, _grid(made)))
        if key not in first:
            first[key] = convert.output_id
            continue
        _read_instead(graph, convert.output_id, first[key])
        graph.xnodes.remove(node)


def _leave_to_reshapes(graph: Any) -> None:
    values = {_tensor(value).id_out: value for value in graph.xvalues}
    for node in list(graph.xnodes):
        turn = node.xnode_union
        if not _is(turn, "XNNStaticTranspose"):
            continue
        sizes = _tensor(values[turn.input_id]).dims
        moved = [axis for axis in turn.perm if sizes[axis] != 1]
        readers = _readers(graph, turn.output_id)
        reshaped = all(_is(reader, "XNNStaticReshape") for reader in readers)
        if moved == sorted(moved) and reshaped and turn.output_id not in graph.output_ids:
            _read_instead(graph, turn.output_id, turn.input_id)
            graph.xnodes.remove(node)


def _sole_maker(graph: Any, number: int) -> Any:
    """What makes a value, if one node reads it and nothing else does."""
    if number in graph.output_ids or len(_readers(graph, number)) != 1:
        return None
    made = [node.xnode_union for node in graph.xnodes if number in _outputs(node)]
    return made[0] if made else None


def _readers(graph: Any, number: int) -> list[Any]:
    return [
        node.xnode_union for node in graph.xnodes for _, read in _inputs(node) if read == number
    ]


def _read_instead(graph: Any, number: int, other: int) -> None:
    for node in graph.xnodes:
        for name, read in _inputs(node):
            if read == number:
                setattr(node.xnode_union, name, other)


def _inputs(node: Any) -> Iterator[tuple[str, int]]:
    """The fields of a node that say what it reads."""
    for field in fields(node.xnode_union):
        if field.name.endswith("_id") and not field.name.startswith("output"):
            number = getattr(node.xnode_union, field.name)
            if number != _NOTHING:
                yield field.name, number


def _outputs(node: Any) -> list[int]:
    names = [field.name for field in fields(node.xnode_union)]
    return [
        getattr(node.xnode_union, name)
        for name in names
        if name.startswith("output") and name.endswith("_id")
    ]


def _tensor(value: Any) -> Any:
    return getattr(value.xvalue_union, "tensor_value", value.xvalue_union)


def _is_dynamic(value: Any) -> bool:
    grid = _grid(value)
    return grid is not None and not _is(grid, "PerTensorQuant")


def _grid(value: Any) -> Any:
    return getattr(value.xvalue_union, "quant_params", None)


def _is(thing: Any, *names: str) -> bool:
    return type(thing).__name__ in names


@cache
def _schema() -> bytes:
    """The schema of XNNPACK's graphs, compiled."""
    from executorch.backends.xnnpack import serialization
    from executorch.exir._serialize._flatbuffer import _run_flatc

    source = resources.files(serialization).joinpath("schema.fbs").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "schema.fbs")
        path.write_bytes(source)
        _run_flatc(["--binary", "--schema", "-o", folder, str(path)])
        return path.with_suffix(".bfbs").read_bytes()

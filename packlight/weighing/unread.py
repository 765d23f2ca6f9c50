"""Initialisers of an ONNX file that nothing reads. Field numbers are those of onnx.proto."""

from __future__ import annotations

from packlight.coding.openers.protobuf import fields, parts, text

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_ATTRIBUTE = 1, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_NAME, _VALUE_NAME = 8, 1
_DEPTH = 64


def unread(data: bytes) -> set[str]:
    """Names of initialisers that are no node's input and no graph's output, subgraphs included.

    Raises:
        ValueError: the file is no well-formed protobuf.
    """
    kept: set[str] = set()
    read: set[str] = set()
    for start, end in parts(data, 0, len(data), _MODEL_GRAPH):
        _look(data, start, end, kept, read, 0)
    return kept - read - {""}


def _look(data: bytes, start: int, end: int, kept: set[str], read: set[str], depth: int) -> None:
    if depth > _DEPTH:
        raise ValueError("graphs within graphs")
    for field, at, to in fields(data, start, end):
        if field == _GRAPH_INITIALIZER:
            kept.add(text(data, at, to, _TENSOR_NAME))
        elif field == _GRAPH_OUTPUT:
            read.add(text(data, at, to, _VALUE_NAME))
        elif field == _GRAPH_NODE:
            for part, a, b in fields(data, at, to):
                if part == _NODE_INPUT:
                    read.add(data[a:b].decode("utf-8", "replace"))
                elif part == _NODE_ATTRIBUTE:
                    for inner, c, d in fields(data, a, b):
                        if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) and d > c:
                            _look(data, c, d, kept, read, depth + 1)

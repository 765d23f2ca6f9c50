"""Shared weights inside the graph: bytes looked up in a codebook where the floats were.

A shared layer reads `codebook[indices]`: ONNX's Gather on a uint8 tensor, which onnxruntime
computes once, when it loads the file. The file holds one byte for every index instead of four for
every weight; the codebooks stay trainable.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx

from packlight.errors import BadInput
from packlight.graph import add_weight, aten, set_value, value_of
from packlight.network import Network
from packlight.shrink.palettize import Codebook
from packlight.types import Array


def shared(
    network: Network,
    codebooks: Mapping[str, Codebook],
    shifts: Mapping[str, Array] | None = None,
) -> Network:
    """A copy of a network that looks weights up in codebooks.

    Args:
        network: left as it is.
        codebooks: parameter name -> what stands in for it.
        shifts: name of a bias -> what is added to it.
    Raises:
        BadInput: a name is not a parameter of the network, or the shapes differ.
    """
    rewritten = network.copy()
    module = rewritten.module
    readers: dict[str, list[fx.Node]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            readers.setdefault(str(node.target), []).append(node)
    for name, codebook in codebooks.items():
        if name not in readers:
            raise BadInput(f"the network has no parameter {name!r} whose weights could be shared")
        first = readers[name][0]
        value = value_of(module, first)
        made = codebook.decoded().shape
        if tuple(value.shape) != made:
            raise BadInput(f"{name} has shape {tuple(value.shape)}, its codebook makes {made}")
        restored = _looked_up(module, first, name, codebook, value)
        for reader in readers[name]:
            reader.replace_all_uses_with(restored)
            module.graph.erase_node(reader)
    for name, shift in (shifts or {}).items():
        if name not in readers:
            raise BadInput(f"the network has no bias {name!r} that could be shifted")
        old = value_of(module, readers[name][0]).detach()
        set_value(module, name, old + torch.from_numpy(shift).to(old.dtype))
    return rewritten.refreshed()


def names_of(weight: str) -> tuple[str, str]:
    """The parameters that hold a shared weight's centres and indices."""
    return f"{weight}_codebook", f"{weight}_indices"


def _looked_up(
    module: fx.GraphModule, before: fx.Node, name: str, codebook: Codebook, value: Tensor
) -> fx.Node:
    """The nodes that read a weight from its codebook, ahead of `before`."""
    books, k, d = codebook.centres.shape
    table = torch.from_numpy(codebook.centres.reshape(books * k, d)).to(value.dtype)
    stored = torch.from_numpy(np.ascontiguousarray(codebook.indices))
    of_centres, of_indices = names_of(name)
    centres = add_weight(module, before, of_centres, table)
    indices = add_weight(module, before, of_indices, stored)
    with module.graph.inserting_before(before):
        call = module.graph.call_function
        rows = call(aten._to_copy.default, (indices,), {"dtype": torch.int32})
        if books > 1:
            first = torch.from_numpy(codebook.books * k).to(torch.int32)
            rows = call(aten.add.Tensor, (rows, add_weight(module, before, f"{name}_first", first)))
        picked = call(aten.embedding.default, (centres, rows))
        if d == 1:
            return call(aten.squeeze.dim, (picked, -1))
        order = list(range(value.ndim))
        order.insert(codebook.axis + 1, value.ndim)
        moved = call(aten.permute.default, (picked, order))
        return call(aten.reshape.default, (moved, list(value.shape)))

"""The layers of a .pte file in ExecuTorch.

A program can not be cut, and to lower one network per layer would take minutes. So the network is
lowered once more with the end of every layer as an output. A layer ends behind its ReLU and its
rounding, so no kernel has to be split for that; and whether the other program computes what the
file does is seen: its answers must be the file's, bit for bit, or the note says that they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import fx

from packlight.graph import is_call, quantized
from packlight.layerwise.graph import ENDINGS, PASSING, add_runs, is_constant, place_of
from packlight.layerwise.measure import Place, RuntimeLayers, Tally
from packlight.layerwise.watched import Watched, run_all
from packlight.network import Network
from packlight.readers import load
from packlight.runtimes.apart import apart
from packlight.runtimes.executorch import SUFFIX, Session, lower
from packlight.runtimes.lowering import with_one_sample


def compare(watched: Watched) -> RuntimeLayers:
    """Compare the values at the end of every layer."""
    network = with_one_sample(load(watched.reference))
    places = find_places(network)
    shown, positions = _with_outputs(network, places)
    program = watched.work / f"watched{SUFFIX}"
    program.write_bytes(lower(shown).data)
    apart("", _watch, program, watched.inputs, watched.work)
    given = {
        place.key: np.load(_output(watched.work, position))
        for place, position in zip(places, positions, strict=True)
    }
    tallies = {place.key: Tally(place) for place in places}
    add_runs(network, tallies, given, watched.samples)
    return watched.result(tallies.values(), _note(watched))


def find_places(network: Network) -> list[Place]:
    """The ends of a graph's layers."""
    results = set(network.results())
    return [
        place_of(node)
        for node in network.module.graph.nodes
        if _is_end(node, results) and not is_constant(node)
    ]


def _is_end(node: fx.Node, results: set[fx.Node]) -> bool:
    value = node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, torch.Tensor):
        return False
    if is_call(node, *PASSING) or not node.users:
        return False
    if not (value.is_floating_point() or is_call(node, quantized.quantize_per_tensor)):
        return False
    users = list(node.users)
    taken_in = len(users) == 1 and is_call(users[0], *ENDINGS)
    return node in results or not taken_in


def _with_outputs(network: Network, places: Sequence[Place]) -> tuple[Network, list[int]]:
    """A copy whose outputs are followed by the values at places, as real numbers.

    Returns:
        The copy, and which of its outputs each place is.
    """
    made = network.copy()
    nodes = {node.name: node for node in made.module.graph.nodes}
    outputs, positions = made.results(), []
    for place in places:
        node = nodes[place.key]
        if is_call(node, quantized.quantize_per_tensor):
            node = next(
                user for user in node.users if is_call(user, quantized.dequantize_per_tensor)
            )
        if node not in outputs:
            outputs.append(node)
        positions.append(outputs.index(node))
    (output,) = [node for node in made.module.graph.nodes if node.op == "output"]
    output.args = (tuple(outputs),)
    made.module.graph.set_codegen(fx.graph.CodeGen())  # of a tuple, whatever it was before
    made.module.recompile()
    return made, positions


def _watch(program: Path, inputs: Sequence[Path], work: Path) -> None:
    """In another process: run the program, and keep all that it gives."""
    for position, values in enumerate(run_all(Session(program, threads=1), inputs)):
        np.save(_output(work, position), values)


def _output(work: Path, position: int) -> Path:
    return work / f"output_{position}.npy"


def _note(watched: Watched) -> str | None:
    """What is to be known if the program watched is not the file's."""
    for position, wanted in enumerate(watched.answers):
        shown = np.load(_output(watched.work, position))
        if not np.array_equal(shown.reshape(-1), wanted.reshape(-1), equal_nan=True):
            return (
                f"what export writes today from {watched.reference.name}, with its layers shown, "
                f"does not answer as {watched.path.name} does; the layers are of the former"
            )
    return None

"""Two networks that run over the same samples, a stretch at a time, from one layer to the next.

Each network runs once, however many layers are looked at, and the second one's weights may change
ahead of where it is. What still flows is kept meanwhile: on disk, where it would fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from packlight.errors import BadInput
from packlight.network import Network, flat

IN_MEMORY = 1_000_000_000  # bytes of what flows

Values = dict[str, Any]
"""What still flows through a graph, by the name of the node that made it."""
Advance = Callable[[Values], tuple[Values, Tensor]]
"""Runs one batch up to a node, and gives what flows on and the node's value."""
Stretch = Callable[[], tuple[Tensor, Tensor]]
"""Runs one batch on in both networks, and gives the values wanted."""


class SideBySide:
    """Two networks on their way.

    Args:
        first, second: the networks.
        stops: pairs of their nodes, whose values are wanted.
        batches: samples.
        folder: keeps what still flows.
    """

    def __init__(
        self,
        first: Network,
        second: Network,
        stops: Iterable[tuple[fx.Node, fx.Node]],
        batches: Iterable[tuple[Tensor, ...]],
        folder: Path,
    ) -> None:
        old, new = zip(*stops, strict=True)
        self._runs = _Run(first, old), _Run(second, new)
        self._flows = [
            _Flow(folder / f"{number}.pt", [run.begun(sample) for run in self._runs])
            for number, sample in enumerate(batches)
        ]

    def at(self, stop: tuple[fx.Node, fx.Node]) -> list[Stretch]:
        """What runs each batch up to a pair of nodes; all have to be called before the next stop,
        once each, on any thread."""
        advances = [run.to(node) for run, node in zip(self._runs, stop, strict=True)]
        room = IN_MEMORY // max(len(self._flows), 1)
        return [partial(flow.on, advances, room) for flow in self._flows]


class _Flow:
    """What still flows of one batch, in both networks.

    Args:
        file: keeps it while it is large.
        values: at the beginning.
    """

    def __init__(self, file: Path, values: list[Values]) -> None:
        self._file = file
        self._keep(values, 0)

    def on(self, advances: Sequence[Advance], room: int) -> tuple[Tensor, Tensor]:
        """Run it on in both networks: the values wanted. The rest may take `room` in memory."""
        held = self._held
        if held is None:
            held = torch.load(self._file, weights_only=False)
            self._file.unlink()
        with torch.no_grad():
            (before, old), (after, new) = (
                advance(values) for advance, values in zip(advances, held, strict=True)
            )
        self._keep([before, after], room)
        return old, new

    def _keep(self, values: list[Values], room: int) -> None:
        size = sum(value.nbytes for value in flat(values) if isinstance(value, Tensor))
        self._held = values if size <= room else None
        if self._held is not None:
            return
        try:
            torch.save(values, self._file)
        except (OSError, RuntimeError) as problem:
            reason = str(problem).splitlines()[0]
            raise BadInput(
                f"what flows between layers does not fit into {self._file.parent}: {reason}; make "
                "room, or give another output folder with -o"
            ) from problem


class _Run:
    """A graph on its way.

    Args:
        network: whose graph; its weights may change where it has not been yet.
        wanted: nodes at which it will be asked for values, once each.
    """

    def __init__(self, network: Network, wanted: Iterable[fx.Node]) -> None:
        self._network = network
        self._nodes = list(network.module.graph.nodes)
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._wanted = set(wanted)
        self._at = 0
        self._flowing: set[fx.Node] = set()
        for node in self._nodes:
            if node.op == "placeholder" or self._flowing.intersection(node.all_input_nodes):
                self._flowing.add(node)

    def begun(self, sample: tuple[Tensor, ...]) -> Values:
        """What flows before anything has run."""
        names = [node.name for node in self._network.placeholders()]
        return dict(zip(names, sample, strict=True))

    def to(self, node: fx.Node) -> Advance:
        """What runs the batches up to a node."""
        stop = max(self._place[node] + 1, self._at)
        stretch = [
            one
            for one in self._nodes[self._at : stop]
            if one in self._flowing and one.op != "placeholder"
        ]
        constants = self._constants(stretch)
        self._at = stop
        self._wanted.discard(node)
        # inputs may stand anywhere in a graph, and all have their values from the beginning
        known = (one for one in self._nodes if one.op == "placeholder" or self._place[one] < stop)
        going_on = {one.name: one for one in known if self._goes_on(one)}
        by_name = {one.name: one for one in self._nodes}

        def advance(values: Values) -> tuple[Values, Tensor]:
            interpreter = self._interpreter()
            interpreter.env = {by_name[name]: value for name, value in values.items()} | constants
            for one in stretch:
                interpreter.env[one] = interpreter.run_node(one)
            kept = {name: _alone(interpreter.env[one]) for name, one in going_on.items()}
            return kept, interpreter.env[node]

        return advance

    def _goes_on(self, node: fx.Node) -> bool:
        later = any(self._place[user] >= self._at for user in node.users)
        return node in self._flowing and (later or node in self._wanted)

    def _interpreter(self) -> fx.Interpreter:
        return fx.Interpreter(self._network.module, garbage_collect_values=False)

    def _constants(self, stretch: list[fx.Node]) -> dict[fx.Node, Any]:
        """The values of nodes that a stretch reads and no sample changes."""
        needed: set[fx.Node] = set()
        ahead = list(stretch)
        while ahead:
            for source in ahead.pop().all_input_nodes:
                if source not in self._flowing and source not in needed:
                    needed.add(source)
                    ahead.append(source)
        interpreter = self._interpreter()
        for node in sorted(needed, key=self._place.__getitem__):
            interpreter.env[node] = interpreter.run_node(node)
        return dict(interpreter.env)


def _alone(value: Any) -> Any:
    """A value without the larger one that it is a part of, which would be kept with it."""
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes:
        return value.clone()
    return value

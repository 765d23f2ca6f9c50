"""When each tensor of a program is alive, and which tensors share storage.

1. A view has the storage of what it views.
2. A step may write over an input that nobody needs afterwards. The network's own inputs are never
   written over, but their bytes are free after their last use.
3. Inputs are alive before the first step, outputs after the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from packlight.errors import BadInput
from packlight.weighing.memory.buffers import Buffer, aligned
from packlight.weighing.program import Program, Step

ALIGNMENT = 64  # bytes: a cache line, and what TFLite's arena uses


@dataclass(frozen=True)
class Lifetimes:
    """The storages of a program.

    Args:
        buffers: one per storage, ticks being steps; sizes are multiples of the alignment.
        values: per storage the names of the values it holds, the first one first.
        storage: the index of each value's storage.
        input_bytes: of the network's inputs.
        activation_bytes: of everything that steps write, each in storage of its own: no sharing
            but views, and activations and norms in the same breath as the step ahead of them.
    """

    buffers: tuple[Buffer, ...]
    values: tuple[tuple[str, ...], ...]
    storage: dict[str, int]
    input_bytes: int
    activation_bytes: int


def lifetimes(program: Program, alignment: int = ALIGNMENT) -> Lifetimes:
    """The storages of a program that runs its steps in the order given.

    Raises:
        BadInput: a step reads what no step before it writes; the alignment is no positive number.
    """
    if alignment < 1:
        raise BadInput(f"an alignment of {alignment} is not possible; give a positive number")
    found = _Storages(program, alignment)
    for name in program.inputs:
        if found.needed(name):
            found.add(name, 0)
    activation_bytes = 0
    for tick, step in enumerate(program.steps):
        if missing := [x for x in step.reads if x in program.values and x not in found.storage]:
            raise BadInput(f"step {step.name!r} reads {missing[0]!r} before it is written")
        over = found.overwritten(step, tick)
        for name in step.writes:
            if step.view_of in found.storage:
                found.join(name, step.view_of)
                continue
            if over is None or len(step.reads) > 1:
                activation_bytes += found.size(name)
            if over is None:
                found.add(name, tick)
            else:
                found.join(name, over)
    return Lifetimes(
        buffers=found.buffers(),
        values=tuple(map(tuple, found.held)),
        storage=found.storage,
        input_bytes=sum(map(found.size, program.inputs)),
        activation_bytes=activation_bytes,
    )


class _Storages:
    """The storages of a program while its steps are visited."""

    def __init__(self, program: Program, alignment: int) -> None:
        self.program, self.alignment = program, alignment
        self.outputs = set(program.outputs)
        self.last = {name: tick for tick, step in enumerate(program.steps) for name in step.reads}
        self.storage: dict[str, int] = {}
        self.held: list[list[str]] = []
        self.born: list[int] = []

    def size(self, name: str) -> int:
        """What a value takes, its last block filled up."""
        return aligned(self.program.values[name].bytes, self.alignment)

    def needed(self, name: str) -> bool:
        """Whether anybody reads a value."""
        return name in self.last or name in self.outputs

    def add(self, name: str, tick: int) -> None:
        """Storage of its own for a value."""
        self.storage[name] = len(self.held)
        self.held.append([name])
        self.born.append(tick)

    def join(self, name: str, other: str) -> None:
        """The storage of another value for this one."""
        self.storage[name] = self.storage[other]
        self.held[self.storage[other]].append(name)

    def overwritten(self, step: Step, tick: int) -> str | None:
        """The first input that a step may write over and that nobody needs afterwards."""
        if len(step.writes) != 1 or step.view_of in self.storage:
            return None
        for name in step.may_overwrite:
            if name not in self.storage:
                continue
            held = self.held[self.storage[name]]
            if self.size(held[0]) == self.size(step.writes[0]) and not any(
                self.last.get(other, -1) > tick
                or other in self.outputs
                or other in self.program.inputs
                for other in held
            ):
                return name
        return None

    def buffers(self) -> tuple[Buffer, ...]:
        """One per storage, from its birth to the last use of any value in it."""
        end = len(self.program.steps)
        made = []
        for names, born in zip(self.held, self.born, strict=True):
            last = max(end if x in self.outputs else self.last.get(x, born) + 1 for x in names)
            made.append(Buffer(names[0], born, max(last, born + 1), self.size(names[0])))
        return tuple(made)


def live_bytes(buffers: Sequence[Buffer], ticks: int) -> list[int]:
    """Bytes alive at each tick."""
    change = [0] * (max(ticks, 1) + 1)
    for buffer in buffers:
        change[buffer.lower] += buffer.size
        change[buffer.upper] -= buffer.size
    live, total = [], 0
    for tick in range(ticks):
        total += change[tick]
        live.append(total)
    return live


def in_order(program: Program, order: Sequence[int]) -> Program:
    """The program with its steps in another order, given as indices."""
    return replace(program, steps=tuple(program.steps[index] for index in order))

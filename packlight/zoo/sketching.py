"""What a network of the zoo would weigh, in hundredths of a second.

`measuring` weighs a network as any other, through `torch.export`, which takes a second. A search
tries hundreds. So here the module is built without values and run without arithmetic: every call
leaves the shape of its result, its multiplications, and a step for the plan of memory. The figures
are those that `measuring` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from packlight.weighing.memory import best_plan
from packlight.weighing.memory.lifetimes import lifetimes
from packlight.weighing.program import Program, Step, Value
from packlight.zoo.measuring import fold, int8_bytes
from packlight.zoo.recipes import Recipe

_SECONDS = 2.0  # for a plan of memory: far more than any takes, so that slow machines find the same
_ELEMENTWISE = ("add", "batch_norm", "hardsigmoid", "hardswish", "hardtanh", "mul", "relu")
_RESHAPES = ("flatten", "reshape", "view")


@dataclass(frozen=True)
class Sketch:
    """What a network would weigh.

    Args:
        parameters: trainable ones, batch norms as they are trained.
        macs: of one image.
        int8_bytes: kernels in int8, a scale and a bias per output channel, batch norms folded.
        program: its steps, and its values in int8, images and logits included.
    """

    parameters: int
    macs: int
    int8_bytes: int
    program: Program

    @cached_property
    def ram_bytes(self) -> int:
        """Weights and values of a run in int8, the values by the best plan of memory found."""
        plan = best_plan(lifetimes(self.program).buffers, seconds=_SECONDS)
        return self.int8_bytes + plan.peak


@dataclass(frozen=True)
class Unallocated:
    """A network with shapes and no values, as it ships.

    Args:
        module: on the meta device, batch norms folded.
        parameters: before they were.
        int8_bytes: see `Sketch`.
    """

    module: nn.Module
    parameters: int
    int8_bytes: int

    @classmethod
    def of(cls, recipe: Recipe, input_shape: tuple[int, int, int], classes: int) -> Unallocated:
        """Build a recipe's network.

        Raises:
            BadInput: an argument, or the shape, is not possible.
        """
        with torch.device("meta"), _NoValues():
            module = recipe.build(input_shape, classes).eval()
            parameters = sum(value.numel() for value in module.parameters())
            fold(module)
        return cls(module, parameters, int8_bytes(module))

    def sketch(self, input_shape: tuple[int, int, int]) -> Sketch:
        """Run one image of this shape through it."""
        calls = _Calls(torch.empty(1, *input_shape, device="meta"))
        with torch.no_grad(), calls:
            logits = self.module(calls.image)
        return Sketch(self.parameters, calls.macs, self.int8_bytes, calls.program(logits))


class _NoValues(TorchFunctionMode):
    """Nothing is filled: values that are never read need no initialisation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """Sees every call of a run, and answers the slow ones itself."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image
        self.macs = 0
        self._values: dict[str, Value] = {}
        self._steps: list[Step] = []
        self._names: dict[int, str] = {}
        self._kept: list[Tensor] = []  # an id is a tensor's own only while it lives
        self._inputs = (self._add(image),)

    def program(self, logits: Tensor) -> Program:
        """What was seen."""
        return Program(self._values, tuple(self._steps), self._inputs, (self._names[id(logits)],))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.strip("_")
        if name == "dropout":
            return args[0]
        made = _made(name, func, args, kwargs or {})
        results = made if isinstance(made, tuple) else (made,)
        if not results or not all(isinstance(one, Tensor) for one in results):
            return made  # a shape
        if name in ("conv2d", "linear"):
            weight = args[1]
            self.macs += made.numel() * weight[0].numel()
        self._step(name, args, results)
        return made

    def _step(self, name: str, args: Any, results: Iterable[Tensor]) -> None:
        sources = [one for one in _tensors(args) if id(one) in self._names]
        reads = tuple(dict.fromkeys(self._names[id(one)] for one in sources))
        if not reads:
            return
        writes = tuple(self._add(one) for one in results)
        same = self._values[reads[0]].bytes == self._values[writes[0]].bytes
        view = len(reads) == 1 and same and (name in _RESHAPES or name == "adaptive_avg_pool2d")
        over = tuple(x for x in reads if self._values[x].bytes == self._values[writes[0]].bytes)
        self._steps.append(
            Step(
                name=f"{name}{len(self._steps)}",
                kind=name,
                reads=reads,
                writes=writes,
                view_of=reads[0] if view else None,
                may_overwrite=over if name in _ELEMENTWISE else (),
            )
        )

    def _add(self, tensor: Tensor) -> str:
        name = f"v{len(self._values)}"
        self._kept.append(tensor)
        self._names[id(tensor)] = name
        self._values[name] = Value(name, tuple(tensor.shape), "int8", prod(tensor.shape))
        return name


def _made(name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """A call's result. The meta device knows every shape, but takes long to tell some of them."""
    if name == "conv2d":
        image, kernel, _, strides, paddings = args[:5]
        sides = zip(image.shape[2:], kernel.shape[2:], strides, paddings, strict=True)
        places = [(side + 2 * pad - size) // stride + 1 for side, size, stride, pad in sides]
        return image.new_empty((image.shape[0], kernel.shape[0], *places))
    if name in _ELEMENTWISE:
        operands = [one for one in args[:2] if isinstance(one, Tensor)]
        return args[0].new_empty(max(operands, key=Tensor.numel).shape)
    return func(*args, **kwargs)


def _tensors(args: Any) -> Iterable[Tensor]:
    for one in args:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _tensors(one)

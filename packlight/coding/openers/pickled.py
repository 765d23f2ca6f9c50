"""What a pickle says about PyTorch tensors, read from its opcodes: nothing is ever unpickled.

Follows CPython's pickletools for the opcodes, and torch/serialization.py and torch/_utils.py for
what PyTorch writes: a storage is a persistent id ("storage", type, key, place, items), a tensor a
call of a rebuild function with (storage, offset, sizes, strides, ...).
"""

from __future__ import annotations

import contextlib
import pickletools
from dataclasses import dataclass
from typing import Any

_LARGEST = 16 << 20
_MOST_AXES = 16
_MARK = object()
_UNKNOWN = object()
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_MEMOS = {"BINPUT", "LONG_BINPUT", "PUT"}
_RECALLS = {"BINGET", "LONG_BINGET", "GET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TAKES = {  # opcode -> how many it takes, whether it leaves something else in their place
    **{"POP": (1, False), "APPEND": (1, False), "BUILD": (1, False), "STOP": (1, False)},
    **{"PROTO": (0, False), "FRAME": (0, False), "NEWOBJ": (2, True), "NEWOBJ_EX": (3, True)},
}


@dataclass(frozen=True)
class Global:
    """A name that the pickle imports."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Where items lie: `key` names the file."""

    kind: str
    key: str


@dataclass
class View:
    """Items of a storage that make a tensor."""

    storage: Storage
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    name: str = ""


def views(data: bytes) -> list[View]:
    """Every tensor that the pickle rebuilds, up to where it is damaged."""
    if len(data) > _LARGEST:
        raise ValueError("the pickle is too large to be read")
    machine = _Machine()
    with contextlib.suppress(ValueError, LookupError):
        for code, argument, _ in pickletools.genops(data):
            machine.step(code.name, argument)
    return machine.views


class _Machine:
    def __init__(self) -> None:
        self.views: list[View] = []
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        stack = self._stack
        if code in _NUMBERS or code in _TEXTS:
            stack.append(argument)
        elif code == "MARK":
            stack.append(_MARK)
        elif code in _MEMOS or code == "MEMOIZE":
            self._memo[len(self._memo) if argument is None else int(argument)] = stack[-1]
        elif code in _RECALLS:
            stack.append(self._memo[int(argument)])
        elif code in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[code])))
        elif code == "TUPLE":
            stack.append(tuple(self._marked()))
        elif code in ("LIST", "DICT", "FROZENSET", "OBJ", "INST"):
            self._marked()
            stack.append(_UNKNOWN)
        elif code in ("APPENDS", "ADDITEMS", "POP_MARK"):
            self._marked()
        elif code == "SETITEMS":
            items = self._marked()
            for key, value in zip(items[::2], items[1::2], strict=False):
                _name(key, value)
        elif code == "SETITEM":
            _name(*self._take(2))
        elif code == "GLOBAL":
            stack.append(Global(argument.rpartition(" ")[2]))
        elif code == "STACK_GLOBAL":
            stack.append(Global(str(self._take(2)[1])))
        elif code == "BINPERSID":
            stack.append(_storage(self._take(1)[0]))
        elif code == "REDUCE":
            stack.append(self._call(*self._take(2)))
        elif code == "DUP":
            stack.append(stack[-1])
        elif code in _TAKES:
            count, leaves = _TAKES[code]
            self._take(count)
            if leaves:
                stack.append(_UNKNOWN)
        else:
            stack.append(_UNKNOWN)

    def _take(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("the pickle takes more than it put down")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _marked(self) -> list[Any]:
        """Everything since the last mark."""
        items: list[Any] = []
        while self._stack:
            item = self._stack.pop()
            if item is _MARK:
                return items[::-1]
            items.append(item)
        raise ValueError("the pickle takes more than it put down")

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple) or not arguments:
            return _UNKNOWN
        if isinstance(arguments[0], View):
            return arguments[0]  # a parameter, made of a tensor
        if not isinstance(arguments[0], Storage) or len(arguments) < 4:
            return _UNKNOWN
        storage, offset, sizes, strides = arguments[:4]
        if not (_whole((offset,)) and _whole(sizes) and _whole(strides)):
            return _UNKNOWN
        if len(arguments) > 6 and isinstance(arguments[6], Global):
            storage = Storage(arguments[6].name, storage.key)  # of _rebuild_tensor_v3
        view = View(storage, offset, sizes, strides)
        self.views.append(view)
        return view


def _name(key: Any, value: Any) -> None:
    if isinstance(value, View) and isinstance(key, str):
        value.name = key


def _whole(numbers: Any) -> bool:
    """Whether it is a tuple of few numbers that sizes and strides can be."""
    if not isinstance(numbers, tuple) or len(numbers) > _MOST_AXES:
        return False
    return all(isinstance(n, int) and 0 <= n < 1 << 63 for n in numbers)


def _storage(identity: Any) -> Any:
    if not isinstance(identity, tuple) or len(identity) < 3 or identity[0] != "storage":
        return _UNKNOWN
    kind, key = identity[1], identity[2]
    if not isinstance(kind, Global) or not isinstance(key, str):
        return _UNKNOWN
    return Storage(kind.name, key)

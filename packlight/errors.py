"""What packlight raises, and the exit code each error becomes on the command line.

    PacklightError            exit 1   anything packlight knows it can not do
    ├── BadInput              exit 2   a file, data, an argument: what was found, what is allowed
    │   ├── UnsupportedOperator        an operator no reader knows: operator, node, opset
    │   └── MissingExtra               an optional package: the pip command that brings it
    └── BudgetNotMet          exit 3   no network meets every budget: which one, the nearest

Messages are one sentence for the user: what was found, what is allowed, where, what to try.
"""

from __future__ import annotations

from typing import Any


class PacklightError(Exception):
    """The root of every error packlight raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """What goes to other processes: the sentence, whatever it was made from."""
        return _received, (type(self), self.args, vars(self))


def _received(kind: type[PacklightError], args: tuple[Any, ...], held: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    vars(error).update(held)
    return error


class BadInput(PacklightError, ValueError):
    """Something the user gave can not be used."""

    exit_code = 2


class UnsupportedOperator(BadInput):
    """A model file uses an operator packlight can not read.

    Args:
        operator: the operator's name, with its domain unless that is the standard one.
        node: the node's name in the file.
        opset: the operator set version the file asks for.
        why: what about the operator is not supported, when it is not the whole of it.
    """

    def __init__(self, operator: str, node: str, opset: int, why: str = "") -> None:
        self.operator, self.node, self.opset, self.why = operator, node, opset, why
        reason = f" ({why})" if why else ""
        super().__init__(
            f"operator {operator} of node {node!r} (opset {opset}) can not be read{reason}; "
            "rewrite the node with standard operators, or cut it off into its own file"
        )


class MissingExtra(BadInput):
    """An optional package is not installed.

    Args:
        package: what could not be imported.
        extra: the packlight extra that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; try: pip install 'packlight[{extra}]'")


class BudgetNotMet(PacklightError):
    """No point of the search meets every budget; the nearest one was kept.

    Args:
        message: which budget, by how much, and where the nearest point was written.
        nearest: what was written, as the verb would have returned it.
    """

    exit_code = 3

    def __init__(self, message: str, nearest: Any = None) -> None:
        self.nearest = nearest
        super().__init__(message)

"""Calls in a process of their own: what a converter prints, changes or breaks stays there.

Converters set logging up, register things in torch, print to the terminal, and some end the
process that they run in. The other process gets a pickled function and its arguments on its
standard input and gives back a pickled answer.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from packlight.errors import BadInput, PacklightError

T = TypeVar("T")

_REASON = 300  # characters of somebody else's message that a user is shown


def apart(what: str, function: Callable[..., T], *args: Any) -> T:
    """Call a function of a module in another process.

    Args:
        what: the beginning of the sentence that a user reads if it fails.
        function, args: pickled, as is what comes back.
    Raises:
        PacklightError: as the function raised it.
        BadInput: it raised something else, or ended the process; says what, and why.
    """
    call = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
    ran = subprocess.run(
        [sys.executable, "-m", __name__],
        input=call,
        capture_output=True,
        env=surroundings()
        | {"PYTHONHASHSEED": "0"},  # converters walk through sets; the same bytes shall come out
    )
    try:
        good, answer = pickle.loads(ran.stdout)
    except Exception:
        raise BadInput(f"{what}: {ending(ran.returncode, ran.stderr)}") from None
    if good:
        result: T = answer
        return result
    if isinstance(answer, PacklightError):
        raise answer
    raise BadInput(f"{what}: {answer}")


def surroundings() -> dict[str, str]:
    """The environment of another process: this one's, and modules are found where they are here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def ending(code: int, said: bytes) -> str:
    """How a process ended that should not have: its code, and the last that it said."""
    lines = said.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1][:_REASON]}" if lines else ""
    return f"the process ended with code {code}{last}"


def first_line(problem: BaseException) -> str:
    """What an error says, in one line."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:_REASON]


def _answer(call: bytes) -> bytes:
    try:
        function, args = pickle.loads(call)
        answer = True, function(*args)
    except PacklightError as problem:
        answer = False, problem
    except Exception as problem:
        answer = False, first_line(problem)
    return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)


def _main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what a converter prints is no answer
    with os.fdopen(answers, "wb") as file:
        file.write(_answer(sys.stdin.buffer.read()))


if __name__ == "__main__":
    _main()

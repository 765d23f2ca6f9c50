"""What stands for `apart` where the other process is not what is tested: starting it takes longer
than what it does.
"""

from __future__ import annotations

from packlight.errors import BadInput, PacklightError
from packlight.runtimes.apart import first_line


def at_once(what, function, *arguments):
    """Call a function in this process, with the errors of `apart`."""
    try:
        return function(*arguments)
    except PacklightError:
        raise
    except Exception as problem:
        raise BadInput(f"{what}: {first_line(problem)}") from None

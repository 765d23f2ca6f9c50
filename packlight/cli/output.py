"""How commands tell of progress and results."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packlight.progress import Progress


def show(renderable: Any) -> None:
    """Print a table or anything else that rich can render."""
    from rich.console import Console

    Console().print(renderable)


def progress_for(quiet: bool) -> Progress:
    """Bars on standard error, lines where that is no terminal, or nothing."""
    from packlight.progress import Bars, Lines, Progress

    return Progress() if quiet else Bars() if sys.stderr.isatty() else Lines()

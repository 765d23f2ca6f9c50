"""How commands tell of progress and results."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from packlight.progress import Progress

quiet_option = click.option("--quiet", is_flag=True, help="No progress bars.")
json_option = click.option("--json", "as_json", is_flag=True, help="JSON for other programs.")


def show(renderable: Any) -> None:
    """Print a table or anything else that rich can render."""
    from rich.console import Console

    Console().print(renderable)


def dump(value: Any) -> None:
    """Print what a program may read."""
    from packlight.plain import to_json

    click.echo(to_json(value).decode())


def show_or_dump(result: Any, as_json: bool) -> None:
    """Print a result that knows both of its forms."""
    if as_json:
        dump(result.to_dict())
    else:
        show(result)


def progress_for(quiet: bool) -> Progress:
    """Bars on standard error, lines where that is no terminal, or nothing."""
    from packlight.progress import Bars, Lines, Progress

    return Progress() if quiet else Bars() if sys.stderr.isatty() else Lines()

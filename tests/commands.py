"""The command line, as the tests type it."""

from __future__ import annotations

import sys

import pytest

from packlight.cli import main


def run(*arguments) -> int | str | None:
    """The command line in this process; the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["packlight", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code

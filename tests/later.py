"""Libraries that take seconds to import, imported once a test asks for something of theirs.

Every process of the suite collects all test files, and runs but some of them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class Later:
    """A module that is imported when something of it is read, but for what pytest asks of all."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or attribute == "_mock_name":
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def later(name: str, reason: str) -> Later:
    """A module by its full name; without its package, the tests of the file are skipped."""
    if find_spec(name.partition(".")[0]) is None:
        pytest.skip(reason, allow_module_level=True)
    return Later(name)

"""The order in which files are handed to processes."""

from __future__ import annotations

import pytest

LONGEST = ("test_readme.py", "test_parity.py", "test_coreml.py", "test_fit.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one process would end long after the other."""
    items.sort(key=lambda item: item.path.name not in LONGEST)

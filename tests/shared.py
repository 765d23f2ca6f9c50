"""Real networks and data that lie beside the project, for the tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A path below the folder of real files; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the real file {'/'.join(parts)} is not beside the project")
    return path

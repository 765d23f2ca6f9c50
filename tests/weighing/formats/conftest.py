"""What the tests of damaged files share."""

from __future__ import annotations

import pytest

from packlight.weighing import bytes as file_bytes


@pytest.fixture
def without_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read and weighed as ever, but not packed on trial: that takes most of the time and
    has tests of its own."""
    monkeypatch.setattr(file_bytes, "compress", lambda raw, **options: raw)
    monkeypatch.setattr(
        file_bytes, "best", lambda part, content, *rest, **options: (None, len(content))
    )

"""Sizes and shares as people write them."""

from __future__ import annotations

import pytest

from packlight.errors import BadInput
from packlight.units import parse_share, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("700KB", 700_000), ("700 kb", 700_000), ("1.5MiB", 1_572_864), ("12", 12), (512, 512)],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-3KB", "0", "1e3KB", "5 TBs", "nan", "1,5MB"])
def test_what_is_no_size_is_named(text):
    with pytest.raises(BadInput, match="target-size"):
        parse_size(text, "target-size")


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5 %", 0.005), (0.02, 0.02), (0, 0)])
def test_shares_are_read(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["150%", "1", "-1%", "x", ""])
def test_what_is_no_share_is_named(text):
    with pytest.raises(BadInput, match="max-drop"):
        parse_share(text, "max-drop")


def test_sizes_are_shown_with_three_digits():
    assert [show_size(n) for n in (12, 4_954_781, 600_000)] == ["12 B", "4.95 MB", "600 KB"]

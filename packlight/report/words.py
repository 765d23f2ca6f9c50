"""Figures as the report writes them. What is missing or not finite is a dash."""

from __future__ import annotations

from math import isfinite
from typing import Any

from packlight.units import show_size

NONE = "–"


def finite(value: Any) -> float | None:
    """A number that can be shown, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)


def size(value: Any) -> str:
    """4.95 MB."""
    number = finite(value)
    return NONE if number is None else show_size(number)


def count(value: Any) -> str:
    """1,235,496."""
    number = finite(value)
    return NONE if number is None else f"{round(number):,}"


def percent(share: Any, digits: int = 1) -> str:
    """63.7%."""
    number = finite(share)
    return NONE if number is None else f"{100 * number:.{digits}f}%"


def points(share: Any, *, signed: bool = True) -> str:
    """−0.7, a difference of two shares in percentage points."""
    number = finite(share)
    if number is None:
        return NONE
    rounded = round(100 * number, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    return minus(f"{rounded:+.1f}" if signed and rounded else f"{rounded:.1f}")


def span(low: Any, high: Any) -> str:
    """−3.0 to +1.0, in percentage points."""
    return f"{points(low)} to {points(high)}"


def ratio(large: Any, small: Any) -> str:
    """8.3×."""
    above, below = finite(large), finite(small)
    if above is None or not below:
        return NONE
    factor = above / below
    return f"{factor:.1f}×" if factor < 9.95 else f"{factor:,.0f}×"


def short(value: Any) -> str:
    """Three digits, whatever the size."""
    number = finite(value)
    return NONE if number is None else minus(f"{number:.3g}")


def fixed(value: Any, digits: int) -> str:
    """A number with that many decimals."""
    number = finite(value)
    return NONE if number is None else minus(f"{number:.{digits}f}")


def minus(number: str) -> str:
    """With a true minus sign."""
    return number.replace("-", "−")


def elided(name: str, length: int) -> str:
    """A name with its middle left out where it is long: both ends tell layers apart."""
    if len(name) <= length:
        return name
    head = (length - 1) // 3
    return f"{name[:head]}…{name[head + 1 - length :]}"

"""Sizes and shares as people write them: 700KB, 1.5 MiB, 1%."""

from __future__ import annotations

import re

from packlight.errors import BadInput

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_THOUSANDS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


def parse_size(text: str | int | float, name: str = "size") -> int:
    """Bytes: KB is 1000, KiB is 1024.

    Raises:
        BadInput: not a positive size; `name` says which argument.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value = float(text)
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*", str(text))
        if not match or match[2].lower() not in _UNITS:
            raise BadInput(
                f"{name} {text!r} is not a size; write bytes, or a number with KB, MB (1000s), "
                "KiB or MiB (1024s), for instance 700KB"
            )
        value = float(match[1]) * _UNITS[match[2].lower()]
    if not 1 <= value < 2**63:
        raise BadInput(f"{name} {text!r} is not possible; give at least 1 byte")
    return int(value)


def parse_count(text: str | int | float, name: str = "count") -> int:
    """How many: K, M and G are thousands, millions and billions.

    Raises:
        BadInput: not a positive count; `name` says which argument.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kKmMgG]?)\s*", str(text))
    value = float(match[1]) * _THOUSANDS[match[2].lower()] if match else 0.0
    if not 1 <= value < 2**63:
        raise BadInput(
            f"{name} {text!r} is not a count; write a number, or one with K, M or G: 10M"
        )
    return int(value)


def parse_share(text: str | float, name: str = "share") -> float:
    """A share of one: 1% and 0.01 are the same.

    Raises:
        BadInput: not between 0 and 1.
    """
    try:
        written = str(text).strip()
        value = float(written[:-1]) / 100 if written.endswith("%") else float(written)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise BadInput(f"{name} {text!r} is not a share; write for instance 1% or 0.01")
    return value


def show_size(count: float) -> str:
    """Bytes for people: three digits, 1000s."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def show_count(count: float) -> str:
    """A count for people: three digits, K, M or G."""
    for power, unit in ((9, "G"), (6, "M")):
        if count >= 0.9995 * 10**power:
            return f"{count / 10**power:#.3g} {unit}".replace(". ", " ")
    return f"{count / 1e3:.3g} K"

"""Results as JSON for other programs."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any) -> bytes:
    """What a report or record is on the disk; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=1, ensure_ascii=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()  # a number of NumPy's
    return None if isinstance(value, float) and not math.isfinite(value) else value

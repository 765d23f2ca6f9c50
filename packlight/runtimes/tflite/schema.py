"""The TFLite schema's Python form, from the package that runs the files."""

from __future__ import annotations

from packlight.errors import MissingExtra

try:
    from ai_edge_litert import schema_py_generated as schema
except ImportError as problem:
    raise MissingExtra("ai-edge-litert", "litert") from problem

__all__ = ["schema"]

"""The TFLite schema's Python form, from the package that runs the files, and what it needs."""

from __future__ import annotations

from packlight.errors import MissingExtra

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError as problem:
    package = "flatbuffers" if problem.name == "flatbuffers" else "ai-edge-litert"
    raise MissingExtra(package, "litert") from problem

__all__ = ["flatbuffers", "schema"]

"""What verbs write for other programs, held against docs/schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"


def conforms(name: str, value: Any) -> None:
    """Assert that a value is as its schema says, with no key that the schema does not name."""
    plain = json.loads(json.dumps(value))
    schema = _closed(json.loads((FOLDER / f"{name}.json").read_text()))
    Draft202012Validator.check_schema(schema)
    problems = sorted(Draft202012Validator(schema).iter_errors(plain), key=str)
    assert not problems, [f"{one.json_path}: {one.message[:200]}" for one in problems]


def _closed(schema: Any) -> Any:
    """The same, with further keys forbidden wherever keys are named."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return {name: _closed(one) for name, one in schema.items()} | more

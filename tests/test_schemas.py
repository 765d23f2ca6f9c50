"""The schemas themselves; what verbs write is held against them where the tests have it at hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import packlight
from packlight.plain import to_json
from tests.networks import plain
from tests.schemas import FOLDER, conforms

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weighed():
    return json.loads(json.dumps(packlight.weigh(plain()).to_dict()))


def test_what_weigh_tells_is_as_its_schema_says(weighed):
    conforms("weigh", weighed)


@pytest.mark.parametrize("change", ["a key less", "a key more", "another type", "null"])
def test_what_is_otherwise_is_seen(weighed, change):
    value = copy.deepcopy(weighed)
    layer = value["layers"][0]
    match change:
        case "a key less":
            del layer["macs"]
        case "a key more":
            layer["colour"] = "red"
        case "another type":
            layer["macs"] = "many"
        case "null":
            value["summary"]["macs"] = None
    with pytest.raises(AssertionError, match="colour" if change == "a key more" else "macs"):
        conforms("weigh", value)


def test_each_schema_is_named_on_the_page_of_the_command_line():
    page = (ROOT / "docs" / "command-line.md").read_text()
    for schema in FOLDER.glob("*.json"):
        assert f"](schemas/{schema.name})" in page


def test_each_schema_holds_something_that_verbs_write():
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    for schema in FOLDER.glob("*.json"):
        assert any(f'conforms("{schema.stem}"' in source for source in sources), schema.name


def test_numbers_that_json_has_not_are_null():
    told = {"a": float("nan"), "b": [np.float32(0.5), np.int64(3), float("inf")], "c": (True, None)}
    assert json.loads(to_json(told)) == {"a": None, "b": [0.5, 3, None], "c": [True, None]}

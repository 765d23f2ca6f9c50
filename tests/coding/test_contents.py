"""info: every tensor with its bytes, and they add up."""

from __future__ import annotations

import pytest

from packlight.coding.contents import info
from packlight.coding.files import pack
from tests.coding.samples import onnx_model, palette, weights

TENSORS = {
    "conv": weights((32, 16, 3, 3), "int8"),
    "same": weights((32, 16, 3, 3), "int8"),
    "floats": weights((40, 30)),
    "few": palette((64, 64)),
}


@pytest.mark.parametrize("level", ["default", "max"])
def test_parts_are_named_and_add_up(tmp_path, level):
    (tmp_path / "m.onnx").write_bytes(onnx_model(TENSORS))
    packed = pack(tmp_path / "m.onnx", level=level)
    contents = info(packed)
    parts = {part.name: part for part in contents.parts if part.name}
    assert parts.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert parts[name].shape == value.shape
        assert parts[name].dtype == str(value.dtype)
        assert parts[name].size == value.nbytes
    assert parts["few"].how == ("palette" if level == "max" else "fast")
    assert parts["same"].how == "copy"
    assert parts["same"].packed < 20
    if level == "max":
        overhead = packed.stat().st_size - sum(part.packed for part in contents.parts)
        assert 60 <= overhead < 80 + 12 * len(contents.header.chunks)


def test_a_fast_file_lists_its_parts_too(tmp_path):
    (tmp_path / "m.onnx").write_bytes(onnx_model(TENSORS))
    contents = info(pack(tmp_path / "m.onnx", level="fast"))
    assert {part.name for part in contents.parts if part.name} == TENSORS.keys()
    assert contents.to_dict()["parts"][0]["packed"] is None

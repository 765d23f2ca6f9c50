"""Openers find every tensor; whatever is odd becomes plain bytes."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.openers import find_tensors
from packlight.coding.openers.tensor import Tensor
from packlight.coding.packing import compress, decompress
from tests.coding.samples import (
    coreml_network,
    coreml_package,
    coreml_program,
    coreml_text,
    coreml_weights,
    external_onnx,
    gguf,
    npy,
    onnx_model,
    safetensors,
    torch_zip,
    weights,
)
from tests.shared import shared

CONV, LINEAR, HALF = weights((8, 4, 3, 3)), weights((6, 9), "int8"), weights((20,), "float16")


def found_in(raw: bytes, members=None) -> dict[str, np.ndarray]:
    arrays = {}
    for tensor in find_tensors(raw, members):
        assert isinstance(tensor, Tensor)
        data = raw[tensor.offset : tensor.offset + tensor.size]
        arrays[tensor.name] = np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
    return arrays


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


NAMED = {"conv": CONV, "linear": LINEAR, "half": HALF}


@pytest.mark.parametrize("write", [onnx_model, safetensors], ids=lambda f: f.__name__)
def test_tensors_are_found_by_name_and_shape(write):
    same(found_in(write(NAMED)), NAMED)


def test_gguf_tensors_are_found():
    same(found_in(gguf(NAMED)), NAMED)


def test_initializers_in_subgraphs_and_float_data_are_found():
    raw = onnx_model({"outer": CONV}, in_subgraph={"inner": LINEAR}, as_floats={"listed": CONV + 1})
    found = found_in(raw)
    np.testing.assert_array_equal(found["inner"], LINEAR)
    np.testing.assert_array_equal(found["listed"], CONV + 1)


def test_external_data_is_found_in_the_file_beside(tmp_path):
    external_onnx(tmp_path, {"conv": CONV, "big": weights((30, 30))})
    raw, members = read_paths([tmp_path])
    same(found_in(raw, members), {"conv": CONV, "big": weights((30, 30))})
    assert find_tensors((tmp_path / "model.onnx").read_bytes()) == []


@pytest.mark.parametrize("order", "<>")
def test_numpy_arrays_are_found_in_either_byte_order(order):
    (tensor,) = find_tensors(npy(CONV.astype(f"{order}f4")))
    assert tensor.shape == CONV.shape
    assert tensor.big_endian == (order == ">")
    (turned,) = find_tensors(npy(np.asfortranarray(CONV)))
    assert turned.shape == tuple(reversed(CONV.shape))


def test_pytorch_storages_are_found():
    assert sum(tensor.size for tensor in find_tensors(torch_zip({"a": CONV}))) == CONV.nbytes


def test_tflite_tensors_cover_the_weights():
    raw = shared("models", "kws_ref_model.tflite").read_bytes()
    covered = sum(found.size for found in find_tensors(raw))
    assert covered > 0.6 * len(raw)


def test_core_ml_blobs_are_found_with_the_shapes_that_the_program_says(tmp_path):
    small = {"indices": weights((7, 16), "uint8"), **NAMED}
    coreml_package(tmp_path, small, flat=["indices"])
    same(found_in(*read_paths([tmp_path])), small)
    blobs = find_tensors(coreml_weights(small))
    assert [(t.dtype, t.shape) for t in blobs] == [
        (str(value.dtype), (value.size,)) for value in small.values()
    ]


def test_a_compiled_core_ml_model_says_shapes_as_text(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "weight.bin").write_bytes(coreml_weights(NAMED))
    (tmp_path / "model.mil").write_bytes(coreml_text(NAMED))
    found = find_tensors(*read_paths([tmp_path]))
    assert [t.shape for t in found] == [value.shape for value in NAMED.values()]


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_weights_of_older_core_ml_networks_are_found(half):
    product = weights((6, 9))
    found = found_in(coreml_network(CONV, product, half))
    dtype = "float16" if half else "float32"
    same(found, {"conv": CONV.astype(dtype), "linear": product.astype(dtype)})


WRITERS = {
    "onnx": onnx_model(NAMED),
    "safetensors": safetensors(NAMED),
    "gguf": gguf(NAMED),
    "npy": npy(CONV),
    "pytorch": torch_zip(NAMED),
    "core ml weights": coreml_weights(NAMED),
    "core ml program": coreml_program(NAMED),
    "core ml text": coreml_text(NAMED),
    "core ml network": coreml_network(CONV, weights((6, 9))),
}


@pytest.mark.parametrize("raw", WRITERS.values(), ids=WRITERS.keys())
def test_a_damaged_file_is_packed_all_the_same(raw):
    generator = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(raw)
        for place in generator.integers(0, min(len(raw), 400), 3):
            damaged[place] = generator.integers(256)
        damaged = bytes(damaged[: generator.integers(1, len(raw))])
        tensors = find_tensors(damaged)
        assert all(0 <= t.offset <= len(damaged) - t.size for t in tensors)
        assert decompress(compress(damaged, "fast", verify=False)) == damaged


@pytest.mark.parametrize("place", ["model.mlmodel", "model.mil"])
def test_a_damaged_core_ml_program_beside_its_weights_is_packed_all_the_same(place):
    blobs = coreml_weights(NAMED)
    program = coreml_program(NAMED) if place == "model.mlmodel" else coreml_text(NAMED)
    generator = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(program)
        for at in generator.integers(0, len(program), 3):
            damaged[at] = generator.integers(256)
        beside = Member("weights/weight.bin", len(damaged), len(blobs))
        members = [Member(place, 0, len(damaged)), beside]
        raw = bytes(damaged) + blobs
        packed = compress(raw, "fast", members=members, verify=False)
        assert decompress(packed) == raw

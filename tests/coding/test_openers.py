"""Openers find every tensor; whatever is odd becomes plain bytes."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.openers import find_tensors
from packlight.coding.openers.flatbuffers import root
from packlight.coding.openers.tensor import Derived, Tensor
from packlight.coding.packing import compress, decompress
from tests.coding.samples import (
    coreml_network,
    coreml_package,
    coreml_program,
    coreml_text,
    coreml_weights,
    executorch,
    external_onnx,
    gguf,
    npy,
    onnx_model,
    quantised,
    safetensors,
    tflite,
    tflite_layer,
    torch_exported,
    torch_zip,
    weights,
    xnnpack,
    xnnpack_layer,
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
    blocks = {"blocks": weights((6, 3, 34), "int8")}
    same(found_in(gguf(NAMED, blocks)), NAMED | blocks)


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


@pytest.mark.parametrize("write", [torch_zip, torch_exported], ids=lambda f: f.__name__)
def test_pytorch_tensors_are_found_by_name_and_shape(write):
    same(found_in(write(NAMED)), NAMED)


def test_every_type_of_pytorch_storage_is_told():
    dtypes = ["float32", "float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int32"]
    kept = {name: torch.ones(3, 5, dtype=getattr(torch, name)) for name in dtypes}
    raw = torch_zip(kept | {"int64": torch.ones(3, 5, dtype=torch.int64)})
    assert {t.name: t.dtype for t in find_tensors(raw)} == {name: name for name in dtypes}
    assert {t.shape for t in find_tensors(raw)} == {(3, 5)}


def test_parts_of_pytorch_storages_are_found_in_the_order_in_which_they_lie():
    conv, flat = torch.from_numpy(CONV), torch.arange(60, dtype=torch.float32)
    views = {
        "last": conv.contiguous(memory_format=torch.channels_last),
        "turned": flat[:30].reshape(5, 6).T,
        "second": flat[30:].reshape(3, 10),
        "again": flat[30:].reshape(3, 10),
        "module": torch.nn.Parameter(torch.ones(4, 7)),
    }
    file = io.BytesIO()
    torch.save(views, file)
    raw = file.getvalue()
    found = found_in(raw)
    np.testing.assert_array_equal(found["last"], CONV.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(found["turned"], flat[:30].reshape(5, 6))
    np.testing.assert_array_equal(found["second"], flat[30:].reshape(3, 10))
    assert [t.name for t in find_tensors(raw) if t.channels_last] == ["last"]
    assert found["module"].shape == (4, 7)


def test_a_pytorch_storage_with_gaps_has_one_axis():
    raw = torch_zip({"gaps": torch.ones(20, 20, dtype=torch.float16)[:, ::2]})
    (tensor,) = find_tensors(raw)
    assert (tensor.dtype, tensor.shape) == ("float16", (400,))


def test_weights_of_torchscript_are_found():
    layer = torch.nn.Linear(9, 6)
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(layer, torch.ones(1, 9)), file)
    found = found_in(file.getvalue())
    same(found, {name: value.detach().numpy() for name, value in layer.named_parameters()})


def test_models_in_a_zip_are_found_unless_they_are_compressed():
    for kind, count in ((zipfile.ZIP_STORED, 4), (zipfile.ZIP_DEFLATED, 0)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            archive.writestr("model.onnx", onnx_model(NAMED))
            archive.writestr("array.npy", npy(CONV))
        assert len(find_tensors(file.getvalue())) == count


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


def test_constants_of_executorch_are_found():
    same(found_in(executorch(NAMED)), NAMED)
    found = found_in(executorch({"last": CONV}))
    np.testing.assert_array_equal(found["last"], CONV.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("inline", [False, True], ids=["in a segment", "inline"])
def test_constants_of_xnnpack_delegates_are_found(inline):
    scales = np.linspace(0.5, 1, len(LINEAR), dtype=np.float32)
    tensors = {"conv": CONV.transpose(0, 2, 3, 1), "linear": LINEAR, "half": HALF}
    program = xnnpack(tensors, {"scales": scales}, keys=["conv", "scales"])
    named = {"conv": CONV.transpose(0, 2, 3, 1).tobytes(), "scales": scales.tobytes()}
    raw = executorch({}, named, [program], inline)
    found = find_tensors(raw)
    contents = {raw[t.offset : t.offset + t.size]: t for t in found}
    assert len(contents) == 4
    for value in (*tensors.values(), scales):
        tensor = contents[value.tobytes()]
        assert isinstance(tensor, Tensor)
        assert (tensor.dtype, tensor.shape) == (str(value.dtype), value.shape)
        assert tensor.channels_last == (value.ndim == 4)


@pytest.mark.parametrize("inside", [False, True], ids=["behind the graph", "inside it"])
def test_scales_of_xnnpack_biases_follow_from_those_of_weights(inside):
    scales = np.linspace(0.5, 1, len(LINEAR), dtype=np.float32)
    raw = executorch({}, {}, [xnnpack_layer(LINEAR, scales, 0.3, inside)])
    found = find_tensors(raw)
    weight_scales, *_ = (one for one in found if getattr(one, "dtype", "") == "float32")
    (bias,) = (one for one in found if getattr(one, "dtype", "") == "int32")
    (derived,) = (one for one in found if isinstance(one, Derived))
    assert isinstance(weight_scales, Tensor)
    assert raw[bias.offset :][: bias.size] == np.arange(len(LINEAR), dtype=np.int32).tobytes()
    assert (derived.source, derived.size) == (weight_scales.offset, scales.nbytes)
    factor = np.frombuffer(derived.factor, "<f4")
    assert raw[derived.offset : derived.offset + derived.size] == (scales * factor).tobytes()


@pytest.mark.parametrize("bias_first", [False, True])
def test_of_tflite_scales_of_weights_and_bias_the_later_follow_from_the_earlier(bias_first):
    scales = np.random.default_rng(3).uniform(0.001, 0.02, 40).astype(np.float32)
    raw = tflite_layer(np.ones((40, 8), np.int8), scales, 0.0473, bias_first=bias_first)
    (derived,) = (found for found in find_tensors(raw) if isinstance(found, Derived))
    assert derived.source < derived.offset
    assert derived.size == scales.nbytes
    told, source = (
        np.frombuffer(raw, "<f4", len(scales), at) for at in (derived.offset, derived.source)
    )
    expected = source * np.frombuffer(derived.factor, "<f4")
    apart = np.abs(expected.view(np.int32) - told.view(np.int32))
    if bias_first:
        assert (told == scales).all()
        assert (apart <= 2).all()
        assert (apart == 0).mean() > 0.4
    else:
        assert (source == scales).all()
        assert not apart.any()


def test_a_tflite_bias_may_have_the_very_scales_of_the_weights():
    scales = np.random.default_rng(3).uniform(0.001, 0.02, 40).astype(np.float32)
    raw = tflite_layer(np.ones((40, 8), np.int8), scales, 1.0)
    first, second = (at for at in range(len(raw)) if raw.startswith(scales.tobytes(), at))
    (pointer,) = (
        at
        for at in range(0, first, 4)
        if at + int.from_bytes(raw[at : at + 4], "little") == first - 4
    )
    shared = raw[:pointer] + struct.pack("<I", second - 4 - pointer) + raw[pointer + 4 :]
    assert decompress(compress(shared, "max")) == shared
    assert decompress(compress(shared, "fast")) == shared


def test_scales_of_tflite_that_do_not_follow_from_those_of_a_bias_stand_alone():
    scales = np.random.default_rng(3).uniform(0.001, 0.02, 40).astype(np.float32)
    raw = tflite_layer(np.ones((40, 8), np.int8), scales, 0.0473, bias_first=True)
    other = raw.replace(scales.tobytes(), scales[::-1].tobytes())
    assert other != raw
    assert not any(isinstance(found, Derived) for found in find_tensors(other))


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 3, 5), 0), ((1, 3, 3, 8), 3)])
def test_tflite_limits_are_those_of_their_rows(shape, axis):
    array, limits = quantised(shape, axis)
    raw = tflite(array, axis, limits)
    derived = [found for found in find_tensors(raw) if isinstance(found, Derived)]
    assert len(derived) == 2
    for found in derived:
        rows = found.rows
        assert rows is not None
        held = np.frombuffer(raw, np.int8, array.size, rows.offset)
        held = held.reshape(rows.items, -1).T if rows.interleaved else held.reshape(-1, rows.items)
        scales = np.frombuffer(raw, "<f4", len(held), found.source)
        values = np.frombuffer(raw, "<f4", len(held), found.offset)
        reached = held.min(1) if rows.lowest else held.max(1)
        assert (np.abs(values / scales - reached) < 0.501).all()


def test_a_flatbuffer_that_describes_more_than_it_can_hold_is_given_up():
    raw = executorch(NAMED)
    table = root(raw)

    def read_again() -> None:
        for _ in range(len(raw)):
            table.tables(1)[0].tables(2)

    with pytest.raises(ValueError, match="more than"):
        read_again()


WRITERS = {
    "onnx": onnx_model(NAMED),
    "safetensors": safetensors(NAMED),
    "gguf": gguf(NAMED),
    "npy": npy(CONV),
    "pytorch": torch_zip(NAMED),
    "pytorch, exported": torch_exported(NAMED),
    "executorch": executorch(NAMED),
    "xnnpack": executorch({}, {"conv": CONV.tobytes()}, [xnnpack(NAMED, keys=["conv"])]),
    "xnnpack, 8 bits": executorch({}, {}, [xnnpack_layer(LINEAR, np.ones(6, "f4"), 0.3)]),
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


@pytest.mark.parametrize("raw", WRITERS.values(), ids=WRITERS.keys())
def test_the_beginning_of_a_file_is_no_reason_to_fail(raw):
    for size in range(min(len(raw), 300)):
        assert all(t.offset + t.size <= size for t in find_tensors(raw[:size]))


@pytest.mark.parametrize("write", [torch_zip, torch_exported], ids=lambda f: f.__name__)
def test_a_pytorch_file_damaged_inside_is_packed_all_the_same(write):
    raw = write(NAMED)
    said = b"_rebuild" if write is torch_zip else b"tensor_meta"
    start = raw.index(said) - 50
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(raw)  # whose members can still be found
        for place in generator.integers(start, start + 500, 2):
            damaged[place] = generator.integers(256)
        packed = compress(bytes(damaged), "fast", verify=False)
        assert decompress(packed) == damaged


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

"""Whatever goes in comes back to the byte, at every level."""

from __future__ import annotations

import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from packlight.coding import _native, planning, segments
from packlight.coding.container import read
from packlight.coding.packing import LEVELS, compress, decompress
from packlight.coding.planning import CHUNK_LIMIT
from packlight.coding.spans import find_spans
from tests.coding.samples import DTYPES, npy, onnx_model, palette, safetensors, weights


def there_and_back(raw: bytes, level) -> bytes:
    packed = compress(raw, level, verify=False, jobs=1)
    assert decompress(packed) == raw
    return packed


shapes = arrays.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=5)
orders = st.sampled_from("<>")
kinds = st.sampled_from(["i1", "u1", "i2", "u2", "i4", "f2", "f4", "f8", "i8", "?"])


@given(shapes, orders, kinds, st.data(), st.sampled_from(LEVELS))
@settings(max_examples=150, deadline=None)
def test_arrays_of_any_layout_and_any_bits(shape, order, kind, data, level):
    dtype = np.dtype(order + kind)
    size = int(np.prod(shape)) * dtype.itemsize
    content = data.draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(content, dtype if kind != "?" else "u1").reshape(shape)
    there_and_back(npy(array), level)


@given(st.binary(max_size=3000), st.sampled_from(LEVELS))
@settings(max_examples=60, deadline=None)
def test_any_bytes(raw, level):
    there_and_back(raw, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_every_type(level, dtype):
    array = weights((24, 16, 3, 3), dtype)
    packed = there_and_back(onnx_model({"w": array}), level)
    if dtype not in ("int8", "uint8"):  # drawn from a normal distribution those have no slack
        assert len(packed) < array.nbytes


ODD = {
    "quiet and signalling NaNs with payloads": [0x7FC00001, 0x7FA00001, 0xFFC12345, 0x7F800001],
    "infinities and both zeros": [0x7F800000, 0xFF800000, 0x00000000, 0x80000000],
    "denormals": [0x00000001, 0x807FFFFF, 0x00400000, 0x00000002],
    "the largest": [0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x80800000],
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", ODD.values(), ids=ODD.keys())
def test_floats_that_are_no_ordinary_numbers(level, bits):
    generator = np.random.default_rng(1)
    among = weights((8, 8, 3, 3)).view(np.uint32).ravel()
    places = generator.choice(among.size, 200, replace=False)
    among[places] = generator.choice(np.array(bits, np.uint32), 200)
    for values in (among, np.resize(np.array(bits, np.uint32), 100)):
        there_and_back(npy(values.view(np.float32)), level)
        there_and_back(npy(values.view(">f4")), level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_value_costs_next_to_nothing(level, dtype):
    array = np.full((64, 64, 3, 3), 3, dtype)
    assert len(there_and_back(npy(array), level)) < 400


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_lengths_that_are_no_multiple_of_the_item(level, cut):
    there_and_back(npy(weights((40, 40)))[:-cut], level)
    there_and_back(safetensors({"a": weights((9, 9)), "b": weights((7,), "float16")})[:-cut], level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_tensor_longer_than_a_chunk(level):
    array = weights((1100, 1100), "float32")
    more = weights((17, 33, 3, 3), "int8")
    there_and_back(onnx_model({"long": array, "short": more}), level)


def test_a_palette_costs_less_than_its_index():
    packed = there_and_back(npy(palette((64, 64, 3, 3), 16)), "default")
    assert len(packed) < 64 * 64 * 9 / 2


def test_a_tensor_twice_costs_once():
    array = weights((64, 32, 3, 3))
    once = there_and_back(onnx_model({"a": array}), "default")
    twice = there_and_back(onnx_model({"a": array, "b": array}), "default")
    assert len(twice) < len(once) + 100


def test_the_number_of_threads_changes_nothing():
    raw = onnx_model({name: weights((300, 300), seed=i) for i, name in enumerate("abcd")})
    assert compress(raw, jobs=1) == compress(raw, jobs=4)


def test_noise_grows_by_next_to_nothing():
    noise = np.random.default_rng(0).bytes(100_000)
    for level in LEVELS:
        assert len(there_and_back(noise, level)) <= len(noise) + 100


def test_files_that_are_no_models_are_packed_as_xz_would_at_least():
    import lzma

    source = "".join(f"{n} {zlib.crc32(str(n % 997).encode())}\n" for n in range(60_000)).encode()
    reference = len(lzma.compress(source, preset=9 | lzma.PRESET_EXTREME))
    for level in ("default", "max"):
        assert len(there_and_back(source, level)) <= reference * 1.001 + 64


@pytest.mark.parametrize("words", [4, 16, 300])
def test_integers_that_repeat_anywhere_are_found(words):
    """Sixty-four runs of so many bytes in any order, which no model of weights knows as such."""
    rng = np.random.default_rng(0)
    book = rng.normal(0, 30, (64, words)).clip(-127, 127).astype(np.int8)
    array = book[rng.integers(0, 64, 98_304 // words)].reshape(-1, 4)
    [span] = [span for span in find_spans(npy(array), None) if span.found is not None]
    work = bytearray(_native.work_size())
    chosen, _ = segments.best(span.found, array.tobytes(), work, thorough=True)
    assert chosen.as_lzma or chosen.values["kind"] == segments.BYTES


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(1500, 3000), (5_000_000,), (2, 2_300_000)])
def test_no_chunk_of_a_model_is_larger_than_its_limit(level, shape):
    array = np.random.default_rng(0).choice([-1, 0, 0, 0, 1, 2], shape).astype(np.int8)
    chunks = read(there_and_back(npy(array), level)).chunks
    assert len(chunks) > 1
    assert max(chunk.size for chunk in chunks) <= CHUNK_LIMIT


def test_level_fast_finds_repeats_between_tensors():
    tensors = {f"a_rather_long_name_of_layer_{i}": weights((20, 20), seed=i) for i in range(40)}
    raw = onnx_model(tensors)
    packed = there_and_back(raw, "fast")
    alone = sum(len(there_and_back(npy(array), "fast")) - 80 for array in tensors.values())
    assert len(packed) < alone + 0.4 * (len(raw) - sum(array.nbytes for array in tensors.values()))


def test_level_fast_finds_a_tensor_again():
    array = weights((64, 32, 3, 3))
    once = there_and_back(onnx_model({"a": array}), "fast")
    twice = there_and_back(onnx_model({"a": array, "b": array}), "fast")
    assert len(twice) < len(once) + 400


def test_whatever_repeats_at_level_fast():
    rng = np.random.default_rng(2)
    for size in (1, 3, 4, 5, 255, 256, 257, 700, 30_000):
        there_and_back(b"x" * size, "fast")
        there_and_back(rng.bytes(size) * 2, "fast")
        there_and_back(rng.bytes(4) + rng.choice([0, 1], size).astype("u1").tobytes(), "fast")
        there_and_back(rng.bytes(300) + b"x" + rng.bytes(size), "fast")


def test_a_file_without_tensors_in_several_chunks():
    raw = np.random.default_rng(0).choice([1, 2], 12_000).astype("u1").tobytes()
    with mock.patch.object(planning, "CHUNK_LIMIT", 5000):
        packed = there_and_back(raw, "fast")
    assert [chunk.size for chunk in read(packed).chunks] == [5000, 5000, 2000]

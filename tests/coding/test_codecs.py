"""General codecs in the same container, and side by side."""

from __future__ import annotations

import numpy as np
import pytest

from packlight.coding import container
from packlight.coding.codecs import CODECS
from packlight.coding.comparison import compare
from packlight.coding.packing import compress, decompress
from packlight.errors import BadInput
from tests.coding.samples import onnx_model, weights

TEXT = b"conv1.weight conv2.weight " * 200
MODEL = onnx_model({"w": weights((32, 16, 3, 3), "int8")})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("raw", [TEXT, MODEL, b"x"], ids=["text", "model", "one byte"])
def test_every_codec_restores_the_bytes(codec, raw):
    packed = compress(raw, codec=codec)
    assert decompress(packed) == raw
    assert len(packed) <= len(raw) + 80


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_an_error_and_never_wrong_bytes(codec):
    packed = compress(MODEL, codec=codec)
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(packed), 60):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << generator.integers(8)
        with pytest.raises(BadInput):
            decompress(bytes(damaged))


def test_a_stream_that_unpacks_to_more_than_it_says_is_refused():
    for codec in ("huffman", "zlib", "zstd", "brotli", "lz4"):
        packed = CODECS[codec].encode(bytes(1 << 20))
        chunk = container.Chunk(CODECS[codec].number, 100, packed)
        with pytest.raises(BadInput):
            decompress(container.write(bytes(100), [chunk]))


def test_an_unknown_codec_is_told():
    with pytest.raises(BadInput, match="huffman, lz4"):
        compress(TEXT, codec="rar")
    with pytest.raises(BadInput, match="codec 99"):
        decompress(container.write(b"abc", [container.Chunk(99, 3, b"xyz")]))


def test_all_codecs_are_compared_and_ours_is_smallest_on_a_model(tmp_path):
    (tmp_path / "m.onnx").write_bytes(MODEL)
    rows = compare(tmp_path / "m.onnx")
    assert len(rows) == len(CODECS) + 3
    by_name = {row.codec: row.packed for row in rows}
    best = min(size for name, size in by_name.items() if not name.startswith("packlight"))
    assert by_name["packlight max"] <= by_name["packlight default"] < best
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadInput, match="empty"):
        compare(tmp_path / "empty")

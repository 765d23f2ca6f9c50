"""A damaged container gives an error: never other bytes, never a crash."""

from __future__ import annotations

import io
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest

from packlight.coding import _native, container
from packlight.coding.container import LZMA, MODEL, STORED, Chunk, read
from packlight.coding.packing import compress, decompress
from packlight.errors import BadInput
from tests.native.compiling import ROOT, program, run, tool
from tests.native.samples import differences, every_reference, small_files
from tests.reference import plt

DIFFERENCES = differences()
FILES = small_files() | {name: (raw, packed) for name, (raw, packed, _) in DIFFERENCES.items()}
TEXT = b"Pack light, and the network travels. " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The samples as files, and the program that damages them."""
    folder = tmp_path_factory.mktemp("damage")
    for name, (raw, packed) in FILES.items():
        (folder / f"{name}.raw").write_bytes(raw)
        (folder / f"{name}.plt").write_bytes(packed)
    for name, (_, _, base) in DIFFERENCES.items():
        (folder / f"{name}.base").write_bytes(base)
    program(folder, ROOT / "tests" / "native" / "damage.c", "-O3")  # as Python builds it; quicker
    return folder


def _inputs(folder, name, step=1):
    base = [folder / f"{name}.base"] if name in DIFFERENCES else []
    return folder / f"{name}.plt", folder / f"{name}.raw", str(step), *base


@pytest.mark.parametrize("name", FILES)
def test_every_cut_and_every_changed_bit_is_seen(folder, name):
    assert len(FILES[name][1]) < 2000
    tried = int(run(folder / "damage", *_inputs(folder, name)))
    assert tried >= 9 * len(FILES[name][1])


@pytest.mark.parametrize("name", ["int8", "fast", "difference of int8"])
def test_python_sees_every_cut_and_every_changed_bit(name):
    raw, packed = FILES[name]
    base = DIFFERENCES[name][2] if name in DIFFERENCES else None
    assert decompress(packed, base=base) == raw
    for size in range(len(packed)):
        with pytest.raises(BadInput):
            decompress(packed[:size], base=base)
    for bit in range(8 * len(packed)):
        changed = bytearray(packed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadInput):
            decompress(bytes(changed), base=base)


def test_the_plain_decoder_reads_every_kind_of_reference():
    raw, packed, base = every_reference()
    assert plt.decode(packed, base) == raw


@pytest.mark.parametrize("name", [name for name in FILES if "fast" in name or "like" in name])
def test_the_plain_decoder_reads_every_record(name):
    raw, packed = FILES[name]
    assert plt.decode(packed) == raw


@pytest.mark.parametrize(
    "record",
    [
        [4, 9, 1, 2, 0, 2, 5, 2, 4, 2, 0, 2, 0, 0],  # a match before the first byte
        [4, 9, 1, 2, 1, 2, 5, 2, 0, 2, 0, 2, 0, 1, 2, 7],  # as far as a match that was not
        [4, 9, 1, 2, 1, 2, 6, 2, 1, 2, 0, 2, 0, 1, 2, 7],  # a byte too many
        [4, 9, 1, 2, 1, 2, 4, 2, 1, 2, 0, 2, 0, 1, 2, 7],  # a byte too few
        [4, 9, 1, 2, 2, 2, 5, 2, 1, 2, 0, 2, 0, 1, 2, 7],  # more literals than there are
        [4, 9, 10, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 9, 2, 7],  # more sequences than bytes
        [5, 2, 4, 0, 0, 128, 63, 2, 128, 0, 1, 7],  # a product of what is not there
        [0, 0x89, 0, *range(9)],  # a number with a byte more than it needs
        [1, 1, 0x89, 0, 2, 7],
    ],
)
def test_records_that_make_no_sense_are_refused(record):
    good = bytes([4, 9, 1, 2, 1, 2, 5, 2, 1, 2, 0, 2, 0, 1, 2, 7])
    assert decompress(container.write(b"\7" * 9, [Chunk(container.FAST, 9, good)])) == b"\7" * 9
    bad = container.write(bytes(9), [Chunk(container.FAST, 9, bytes(record))])
    for decode in (decompress, plt.decode):
        with pytest.raises(ValueError, match=r"damaged|too early"):
            decode(bad)


@pytest.mark.parametrize("field", [3, 5])
def test_numbers_in_the_header_are_written_in_one_way(field):
    """The size of the file, then that of the chunk."""
    written = []

    def longer(value: int) -> bytes:
        written.append(value)
        out = number(value)
        return out[:-1] + bytes([out[-1] | 128, 0]) if len(written) == field - 2 else out

    number = container.number
    chunk = [Chunk(STORED, 3, b"abc")]
    with mock.patch.object(container, "number", longer):
        bad = container.write(b"abc", chunk)
    assert decompress(container.write(b"abc", chunk)) == b"abc"
    for decode in (decompress, plt.decode):
        with pytest.raises(ValueError, match="damaged"):
            decode(bad)


def test_a_chunk_does_not_continue_with_another_base():
    """What is open then says where in the base its old values are."""
    raw, packed, base = every_reference()
    first, second, _ = read(packed).chunks
    work, out = bytearray(_native.work_size()), bytearray(len(raw))

    def decode(chunk, base):
        end = chunk.packed_offset + chunk.packed_size
        packed_bytes = packed[chunk.packed_offset : end]
        _native.decode_chunk(MODEL, chunk.continues, chunk.crc32, chunk.size, packed_bytes, out,
                             work, base)  # fmt: skip

    for other in (None, b"", bytes(bytearray(base)), base[:100]):
        decode(first, base)
        with pytest.raises(ValueError, match="makes no sense"):
            decode(second, other)
    decode(first, base)
    decode(second, base)
    assert out[:61] == raw[70:131]


def test_segments_are_not_listed_in_too_little_work_memory():
    packed = _only_chunk(compress(TEXT, "default"))
    with pytest.raises(MemoryError):
        _native.segments(False, len(TEXT), packed, bytearray(64), None)


def test_an_empty_file_can_be_a_base():
    packed = compress(TEXT, base=b"", verify=False)
    assert decompress(packed, base=b"") == TEXT == plt.decode(packed, b"")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """The damage program with checks of every access and every sum."""
    checks = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    source = ROOT / "tests" / "native" / "damage.c"
    return program(tmp_path_factory.mktemp("sanitized"), source, *checks, cc="clang")


@pytest.fixture(scope="module")
def unset(tmp_path_factory):
    """The damage program with a check of every decision on unset memory."""
    source = ROOT / "tests" / "native" / "damage.c"
    checks = ("-g", "-O1", "-fsanitize=memory")
    return program(tmp_path_factory.mktemp("unset"), source, *checks, cc="clang")


@pytest.mark.parametrize("name", FILES)
def test_sanitizers_find_nothing(folder, sanitized, name):
    run(sanitized, *_inputs(folder, name, 20))


@pytest.mark.parametrize("name", FILES)
def test_no_unset_memory_decides_anything(folder, unset, name):
    run(unset, *_inputs(folder, name, 50))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((600, 32, 1, 2), "int16, second taps"),  # squares that solve() must not let grow
        ((2, 70_000), "int8"),  # rows out of reach of the history, columns that share a scale
        ((2500, 2, 3, 3), "int16"),  # enough items for the predictors to forget
        ((30, 10, 7, 8), "int8"),  # more taps than have a predictor
        ((9000,), "float32"),
    ],
    ids=str,
)
def test_sanitizers_find_nothing_in_large_values_and_shapes(sanitized, tmp_path, shape, kind):
    rng = np.random.default_rng(9)
    if kind == "float32":
        values = rng.choice([np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40, 1.0], shape)
    else:
        kind, _, second = kind.partition(",")
        values = rng.choice([np.iinfo(kind).min, np.iinfo(kind).max, 1, 2, 3], shape)
        if second:
            values[..., 0] = 0
    stream = io.BytesIO()
    np.save(stream, values.astype(kind))
    (tmp_path / "raw").write_bytes(stream.getvalue())
    packed = compress(stream.getvalue(), "max")
    assert {chunk.codec for chunk in read(packed).chunks} == {MODEL}
    (tmp_path / "plt").write_bytes(packed)
    every = str(1 << 25)  # none but the first cut and bit
    run(sanitized, tmp_path / "plt", tmp_path / "raw", every)


@pytest.mark.parametrize(
    "name", ["empty", "fp32", "palette", "fast", "lzma", "difference of every kind"]
)
def test_valgrind_finds_no_read_of_unset_memory_and_no_leak(folder, name):
    valgrind = tool("valgrind")
    options = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--track-origins=no"]
    run(valgrind, *options, folder / "damage", *_inputs(folder, name, 60))


def test_the_samples_use_every_codec_and_continue_past_others():
    chunks = [chunk for _, packed in FILES.values() for chunk in read(packed).chunks]
    assert {chunk.codec for chunk in chunks} == {STORED, MODEL, LZMA, container.FAST}
    assert sum(chunk.continues for chunk in chunks) >= 4


def test_eight_threads_unpack_at_once():
    names = [name for name in small_files() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: decompress(FILES[name][1]), names))
    assert results == [FILES[name][0] for name in names]


@pytest.mark.parametrize(
    "before",
    [[], [Chunk(STORED, 3, b"abc")], [Chunk(LZMA, 3, b"abc")]],
    ids=["nothing", "stored", "lzma"],
)
def test_a_chunk_that_continues_nothing_is_refused(before):
    """Else it would be decoded with whatever the work memory holds."""
    packed = _only_chunk(compress(TEXT, "default"))
    data = container.write(
        b"abc" * len(before) + TEXT, [*before, Chunk(MODEL, len(TEXT), packed, continues=True)]
    )
    with pytest.raises(BadInput, match="damaged"):
        decompress(data)


def test_many_small_chunks_are_listed_in_their_order():
    """In one walk: counting to each from the first would take minutes here."""
    raw = bytes(range(256)) * 400
    data = container.write(raw, [Chunk(STORED, 1, raw[i : i + 1]) for i in range(len(raw))])
    listed = read(data).chunks
    assert [chunk.offset for chunk in listed] == list(range(len(raw)))
    assert listed[-1].packed_offset == len(data) - 1


@pytest.mark.parametrize("codec", [STORED, LZMA, container.FAST])
def test_only_modelled_chunks_continue(codec):
    first = Chunk(MODEL, len(TEXT), _only_chunk(compress(TEXT, "default")))
    data = container.write(TEXT + b"abc", [first, Chunk(codec, 3, b"abc", continues=True)])
    with pytest.raises(BadInput, match="damaged"):
        decompress(data)


@pytest.mark.parametrize("fill", [0x00, 0x55, 0xFF])
def test_fresh_work_memory_can_not_be_continued(fill):
    packed = _only_chunk(compress(TEXT, "default"))
    work = bytearray([fill]) * _native.work_size()
    out = bytearray(len(TEXT))
    with pytest.raises(ValueError, match="makes no sense"):
        _native.decode_chunk(MODEL, True, zlib.crc32(packed), len(out), packed, out, work, None)


def test_work_memory_can_not_be_continued_after_a_failure():
    packed = _only_chunk(compress(TEXT, "default"))
    work, out = bytearray(_native.work_size()), bytearray(len(TEXT))
    crc = zlib.crc32(packed)
    _native.decode_chunk(MODEL, False, crc, len(out), packed, out, work, None)
    assert out == TEXT
    with pytest.raises(ValueError, match="damaged"):
        _native.decode_chunk(MODEL, False, crc, 9, packed, out, work, None)
    with pytest.raises(ValueError, match="makes no sense"):
        _native.decode_chunk(MODEL, True, crc, len(out), packed, out, work, None)


@pytest.mark.parametrize("size", [1 << 21, (1 << 32) + 1, 1 << 47, 1 << 50, (1 << 63) - 1])
def test_huge_promises_are_refused_before_memory_is_taken(size):
    class Promise(bytes):
        def __len__(self):
            return size

    data = container.write(Promise(), [Chunk(STORED, size, b"")])
    with pytest.raises(BadInput, match="no more than 1,048,576" if size < 1 << 48 else "damaged"):
        decompress(data, max_output=1 << 20)


def test_a_program_that_sees_wrong_bytes_would_say_so(folder):
    """The damage program itself can fail."""
    done = subprocess.run(
        [folder / "damage", folder / "text.plt", folder / "zeros.raw"], capture_output=True
    )
    assert done.returncode == 1


def _only_chunk(packed: bytes) -> bytes:
    (chunk,) = read(packed).chunks
    return packed[chunk.packed_offset :]

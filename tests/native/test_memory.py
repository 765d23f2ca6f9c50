"""Large files unpack in little memory, chunk by chunk, as the guide does it."""

from __future__ import annotations

import hashlib
import io
import resource
import subprocess

import numpy as np
import pytest

from packlight.coding import _native, container, segments
from packlight.coding.container import MODEL, Chunk
from packlight.coding.planning import CHUNK_LIMIT
from tests.native.compiling import DECODER, INCLUDE, run, tool
from tests.native.test_build import EXAMPLES

MB = 1 << 20
#: the C library, a stack, and buffers of files
PROGRAM = 6 * MB


@pytest.mark.slow
def test_a_file_larger_than_its_memory_unpacks_in_work_memory_and_one_chunk(tmp_path):
    raw, chunks = _large_array()
    assert max(chunk.raw_size for chunk in chunks) <= 4 * MB
    (tmp_path / "large.plt").write_bytes(container.write(raw, chunks))
    source = tmp_path / "unpack.c"
    source.write_text(EXAMPLES[1])
    run(tool("cc"), "-O3", f"-I{INCLUDE}", source, *DECODER, "-o", tmp_path / "unpack")

    needed = _native.work_size() + max(chunk.raw_size + len(chunk.packed) for chunk in chunks)
    assert len(raw) > needed + PROGRAM
    done = _limited(tmp_path, needed + PROGRAM)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(raw).digest()
    # the limit is one: with less there is no room
    assert _limited(tmp_path, needed - MB).returncode == 1


def _large_array() -> tuple[bytes, list[Chunk]]:
    """An .npy of int8, in the chunks of level max but without its trials, which take minutes."""
    values = np.random.default_rng(0).normal(0, 1, (3500, 8000))
    stream = io.BytesIO()
    np.save(stream, np.where(values > 2, values * 9, 0).round().astype("i1"))
    raw = stream.getvalue()
    head = len(raw) - values.size
    shape = {"rows": 3500, "channels": 8000, "taps": 1, "tap_width": 1}
    limits = {"kind": segments.INTEGERS, "width": 1, "lowest": -128, "highest": 127}
    plan = [segments.plain(head), segments.Segment(values.size, limits | shape)]
    fields = b"".join(segment.to_bytes() for segment in plan)
    work = bytearray(_native.work_size())
    chunks = []
    for at in range(0, len(raw), CHUNK_LIMIT):
        part = raw[at : at + CHUNK_LIMIT]
        packed = _native.pack_chunk(part, b"" if at else fields, b"", at > 0, work, False, None)
        chunks.append(Chunk(MODEL, len(part), packed, at > 0))
    return raw, chunks


def _limited(folder, size: int):
    return subprocess.run(
        [folder / "unpack", folder / "large.plt"],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )

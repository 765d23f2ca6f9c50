"""One codec on one file: bytes, seconds and memory both ways, for which it has a process to itself.

    python coders.py FOLDER NAME

Runs in the codec's own environment, and imports packlight only for what packlight brings. The
folder holds the file, `new`; `old` where a difference to it is asked for; `about.json` with the
type of its numbers; and for a codec of integers `integers.npz` with what the file holds of them,
and `rest` with what is left of the file. The last line printed is a JSON object: `bytes`, and `in`
and `out`, each with `seconds` and `memory`, the bytes by which the process grew at its peak (all
of a program's); or `failed`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import resident

ENOUGH = 0.3  # seconds of repeats, after which the quickest counts
REPEATS = 5
REASON = 200  # characters of a reason that are kept
OURS = ("fast", "default", "max")
KNOWN = ("huffman", "lz4", "zlib", "lzfse", "zstd3", "zstd", "brotli")  # packlight.coding.codecs
XZ = {  # of literals: as by default, for numbers of four bytes, for bytes
    "xz -9e": {},
    "xz -9e, lc0 lp2 pb2": {"lc": 0, "lp": 2, "pb": 2},
    "xz -9e, lc0 lp0 pb0": {"lc": 0, "lp": 0, "pb": 0},
}
#: name -> what packs `new` into `out`, and what unpacks it into `back`
PROGRAMS = {
    "zpaq -m5": ("zpaq a out.zpaq new -m5 -t1", "zpaq x out.zpaq new -to back -t1"),
    "lrzip -z": ("lrzip -q -z -p1 -o out new", "lrzip -q -d -p1 -o back out"),
    "zstd --ultra -22 --patch-from": (
        "zstd -q --single-thread --ultra -22 --long=27 --patch-from=old new -o out",
        "zstd -q -d --long=27 --patch-from=old out -o back",
    ),
    "xdelta3 -9 -S lzma": (
        "xdelta3 -e -9 -S lzma -s old new out",
        "xdelta3 -d -s old out back",
    ),
    "bsdiff": ("bsdiff old new out", "bspatch old back out"),
}


@dataclass(frozen=True)
class Coder:
    """Both ways of a codec.

    Args:
        encode: of the file.
        decode: of what `encode` made.
        size: bytes of what `encode` made.
        peaks: of the programs that were run, in bytes.
    """

    encode: Callable[[bytes], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int] = len
    peaks: list[int] = field(default_factory=list)


def main() -> None:
    """Code, decode, compare, print."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    raw = (folder / "new").read_bytes()
    try:
        row = measured(coder(name, folder), raw)
    except Exception as problem:  # whatever a codec throws is its result
        row = {"failed": f"{type(problem).__name__}: {problem}".splitlines()[0][:REASON]}
    print(json.dumps(row))


def coder(name: str, folder: Path) -> Coder:
    """A codec by its name; what it needs is imported before anything is timed.

    Raises:
        ValueError: there is none of that name.
    """
    about = json.loads((folder / "about.json").read_text())
    old = folder / "old"
    if name in PROGRAMS:
        return _program(*PROGRAMS[name], old)
    if name in XZ:
        return _xz(**XZ[name])
    if name == "zstd --ultra -22":
        return _zstd22()
    if name == "zipnn":
        return _zipnn(about["dtype"])
    if name.startswith("blosc2"):
        return _blosc2(about["dtype"], name.rpartition(" ")[2])
    if name == "NNCodec, integers":
        return _nncodec(folder)
    tool, _, level = name.rpartition(" ")
    if tool == "packlight" and level in OURS:
        return _ours(level)
    if name in ("packlight --base", "packlight max, alone"):
        return _ours("max", old.read_bytes() if name.endswith("base") else None)
    return _known(name)


def measured(coder: Coder, raw: bytes) -> dict[str, Any]:
    """What a codec makes of a file.

    Raises:
        ValueError: it does not come back as it was.
    """
    packed, into = _timed(lambda: coder.encode(raw), coder.peaks)
    back, out = _timed(lambda: coder.decode(packed), coder.peaks)
    if bytes(back) != raw:
        raise ValueError("what was unpacked is not what was packed")
    return {"bytes": coder.size(packed), "in": into, "out": out}


def _timed(work: Callable[[], Any], peaks: list[int]) -> tuple[Any, dict[str, Any]]:
    """What the work made; the quickest of its seconds, and the memory of the first time."""
    start_of_all = time.perf_counter()
    peaks.clear()
    before = resident.restart_peak()
    times = []
    made, memory = None, 0
    while not times or (len(times) < REPEATS and time.perf_counter() - start_of_all < ENOUGH):
        start = time.perf_counter()
        made = work()
        times.append(time.perf_counter() - start)
        if len(times) == 1:
            memory = max(resident.status("VmHWM") - before, *peaks, 0)
    return made, {"seconds": min(times), "memory": memory}


def _program(pack: str, unpack: str, old: Path) -> Coder:
    peaks: list[int] = []

    def run(command: str, name: str, data: bytes, result: str) -> bytes:
        with tempfile.TemporaryDirectory() as place:
            home = Path(place)
            (home / name).write_bytes(data)
            if old.exists():
                (home / "old").symlink_to(old.resolve())
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command.split(), cwd=home, **quiet)
            _, ended, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(ended)
            if process.returncode:
                raise ValueError(f"exit code {process.returncode} of {command}")
            peaks.append(usage.ru_maxrss * 1024)
            return (home / result).read_bytes()

    made = "out.zpaq" if "out.zpaq" in pack else "out"
    return Coder(
        lambda raw: run(pack, "new", raw, made),
        lambda packed: run(unpack, made, packed, "back"),
        peaks=peaks,
    )


def _xz(**options: int) -> Coder:
    import lzma

    own = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, **options}
    return Coder(lambda raw: lzma.compress(raw, filters=[own]), lzma.decompress)


def _zstd22() -> Coder:
    import zstandard

    decoder = zstandard.ZstdDecompressor()
    return Coder(
        lambda raw: zstandard.ZstdCompressor(level=22).compress(raw),
        lambda packed: decoder.decompress(packed),
    )


def _known(name: str) -> Coder:
    from packlight.coding.codecs import CODECS

    if name not in CODECS:
        raise ValueError(f"there is no codec {name!r}")
    codec = CODECS[name]
    size = 0

    def encode(raw: bytes) -> bytes:
        nonlocal size
        size = len(raw)
        return codec.encode(raw)

    return Coder(encode, lambda packed: codec.decode(packed, size))


def _ours(level: Any, base: bytes | None = None) -> Coder:
    from packlight.coding.packing import compress, decompress

    return Coder(
        partial(compress, level=level, base=base, verify=False, jobs=1),
        partial(decompress, base=base),
    )


def _zipnn(dtype: str) -> Coder:
    import zipnn

    known = dtype if dtype in ("float32", "float16", "bfloat16") else "float32"
    tool = zipnn.ZipNN(input_format="byte", bytearray_dtype=known, threads=1)
    whole = (
        4  # bytes: zipnn 0.5.4 breaks off at sizes that are no multiple, so the rest stays as it is
    )

    def pack(raw: bytes) -> tuple[bytes, bytes]:
        end = len(raw) // whole * whole
        return tool.compress(bytearray(raw[:end])), raw[end:]  # it shuffles its input in place

    return Coder(
        pack,
        lambda packed: bytes(tool.decompress(packed[0])) + packed[1],
        lambda packed: sum(map(len, packed)),
    )


def _blosc2(dtype: str, shuffle: str) -> Coder:
    import blosc2

    blosc2.set_nthreads(1)
    width = {"float32": 4, "float16": 2, "bfloat16": 2}.get(dtype, 1)
    filters = {"shuffle": blosc2.Filter.SHUFFLE, "bitshuffle": blosc2.Filter.BITSHUFFLE}
    return Coder(
        lambda raw: blosc2.compress2(
            raw,
            typesize=width,
            clevel=9,
            codec=blosc2.Codec.ZSTD,
            filters=[filters[shuffle]],
            nthreads=1,
        ),
        lambda packed: blosc2.decompress2(packed),
    )


def _nncodec(folder: Path) -> Coder:
    """Integers by DeepCABAC, the rest of the file by xz; together they are the file."""
    import lzma

    import numpy as np
    import torch

    # NNCodec imports torchvision, which asks for kernels that its wheel may lack; none is called
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            kind = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", kind)
    from nncodec.nn import decode, encode

    integers = dict(np.load(folder / "integers.npz"))
    if not integers:
        raise ValueError("codes integers without loss, and the file has none")
    rest, whole = (folder / "rest").read_bytes(), (folder / "new").read_bytes()
    args = {"verbose": False, "results": tempfile.mkdtemp()}

    def pack(raw: bytes) -> tuple[Any, bytes]:
        fresh = {name: value.astype(np.int32) for name, value in integers.items()}
        return encode(fresh, args=args), lzma.compress(rest, preset=9 | lzma.PRESET_EXTREME)

    def unpack(packed: tuple[Any, bytes]) -> bytes:
        decoded = decode(packed[0])
        same = all(np.array_equal(decoded[name], value) for name, value in integers.items())
        return whole if same and lzma.decompress(packed[1]) == rest else b""

    return Coder(pack, unpack, lambda packed: sum(map(len, packed)))


if __name__ == "__main__":
    main()

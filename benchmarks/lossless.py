"""Every codec on every file given: bytes, and speed as ratios against zstd in the same run.

    python -m benchmarks.lossless FILE... [--update OLD NEW]... [--json OUT]

Peers that are programs (zpaq -m5, lrzip -z, xz with lc0 lp2 pb2) are run where they are installed.
An update is packed as the difference to the old file, against bsdiff and zstd --patch-from.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zstandard
from rich.console import Console
from rich.table import Table

from benchmarks.compressors import tuned_xz
from packlight.coding.codecs import CODECS
from packlight.coding.packing import LEVELS, compress, decompress

PROGRAMS = {
    "zpaq -m5": ["zpaq", "a", "out.zpaq", "in", "-m5"],
    "lrzip -z": ["lrzip", "-q", "-z", "-f", "-o", "out.lrz", "in"],
}
REPEATS = 3


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--update", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    record: dict[str, Any] = {"files": {}, "updates": {}}
    for path in options.files:
        rows = _codecs(path.read_bytes())
        record["files"][path.name] = rows
        _show(path.name, path.stat().st_size, rows)
    for old, new in options.update:
        rows = _updates(old.read_bytes(), new.read_bytes())
        name = f"{old.parent.name}/{old.name} -> {new.parent.name}/{new.name}"
        record["updates"][name] = rows
        _show(name, new.stat().st_size, rows)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


def _codecs(raw: bytes) -> list[dict[str, Any]]:
    rows = [
        _timed(codec.title, raw, codec.encode, codec.decoder(len(raw))) for codec in CODECS.values()
    ]
    rows.append({"codec": "xz lc0 lp2 pb2", "bytes": len(tuned_xz(raw))})
    for name, command in PROGRAMS.items():
        if shutil.which(command[0]):
            rows.append({"codec": name, "bytes": _program(command, raw)})
    for level in LEVELS:
        ours = partial(compress, level=level, verify=False, jobs=1)
        rows.append(_timed(f"packlight {level}", raw, ours, decompress))
    unit = next(row for row in rows if row["codec"] == "zstd 3")
    for row in rows:
        for way in ("in", "out"):
            if way in row:
                row[f"{way}_of_zstd"] = unit[way] / row[way]
    return rows


def _updates(old: bytes, new: bytes) -> list[dict[str, Any]]:
    window = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    base = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    patch = zstandard.ZstdCompressor(dict_data=base, compression_params=window).compress(new)
    rows = [
        {"codec": "packlight max, alone", "bytes": len(compress(new, "max", verify=False))},
        {"codec": "zstd 19 --patch-from", "bytes": len(patch)},
    ]
    try:
        import bsdiff4

        rows.append({"codec": "bsdiff", "bytes": len(bsdiff4.diff(old, new))})
    except ImportError:
        pass
    ours = compress(new, "max", base=old, verify=False)
    assert decompress(ours, base=old) == new
    return [*rows, {"codec": "packlight --base", "bytes": len(ours)}]


def _timed(
    name: str, raw: bytes, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]
) -> dict[str, Any]:
    """Bytes, and the best of a few times in seconds each way."""
    start = time.perf_counter()
    packed = encode(raw)
    into = time.perf_counter() - start
    out = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        back = decode(packed)
        out.append(time.perf_counter() - start)
        assert back == raw, name
    return {"codec": name, "bytes": len(packed), "in": into, "out": min(out)}


def _program(command: list[str], raw: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").write_bytes(raw)
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
        (out,) = Path(folder).glob("out.*")
        return out.stat().st_size


def _show(name: str, size: int, rows: list[dict[str, Any]]) -> None:
    table = Table("", title=f"{name}, {size:,} bytes", title_justify="left")
    for column in ("bytes", "ratio", "MB/s in", "MB/s out", "in, of zstd 3", "out, of zstd 3"):
        table.add_column(column, justify="right")
    for row in rows:
        speeds = [f"{size / row[way] / 1e6:.3g}" if way in row else "" for way in ("in", "out")]
        shares = [f"{row[k]:.3g}x" if k in row else "" for k in ("in_of_zstd", "out_of_zstd")]
        ratio = f"{size / row['bytes']:.3f}"
        table.add_row(row["codec"], f"{row['bytes']:,}", ratio, *speeds, *shares)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

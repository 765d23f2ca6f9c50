"""python -m tests.native.seeds: the fuzzers' seeds, from the samples.

Fuzzers are built with small tables, which make another bit stream. So the packing side is built
with them too, and takes the place of the one that is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.native.compiling import INCLUDE, NATIVE, ROOT, SOURCES, run, tool

CORPUS = NATIVE / "fuzz" / "corpus"
SMALL_TABLES = "-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"


def use_small_tables(folder: Path) -> None:
    """Let packlight pack as the fuzzers unpack; before anything of it is imported."""
    library = folder / "_native.so"
    python = sysconfig.get_paths()["include"]
    run(tool("cc"), "-O2", "-shared", "-fPIC", "-DPy_LIMITED_API=0x030B0000", SMALL_TABLES,
        f"-I{python}", f"-I{INCLUDE}", f"-I{NATIVE / 'src'}",
        ROOT / "packlight" / "coding" / "_native.c", *SOURCES, "-o", library)  # fmt: skip
    name = "packlight.coding._native"
    spec = importlib.util.spec_from_file_location(name, library)
    assert spec
    assert spec.loader
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    import packlight.coding

    packlight.coding._native = sys.modules[name]  # type: ignore[attr-defined]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        use_small_tables(Path(folder))
        from packlight.coding.container import FAST, LZMA, MODEL, read
        from tests.native.samples import differences, fuzz_base, small_files

        for kind in ("unpack", "chunk"):
            (CORPUS / kind).mkdir(parents=True, exist_ok=True)
            for old in (CORPUS / kind).iterdir():
                old.unlink()
        #: what fuzz_chunk.c calls the codecs
        choice = {MODEL: 0, LZMA: 2, FAST: 3}
        files = {name: (packed, b"") for name, (_, packed) in small_files().items()}
        files |= {name: (packed, base) for name, (_, packed, base) in differences().items()}
        for name, (packed, base) in files.items():
            name = name.replace(",", "").replace(" ", "_")
            (CORPUS / "unpack" / name).write_bytes(packed)
            if base not in (b"", fuzz_base()):
                continue
            for place, chunk in enumerate(read(packed).chunks):
                if chunk.codec in choice and not chunk.continues:
                    end = chunk.packed_offset + chunk.packed_size
                    head = _head(choice[chunk.codec] | 8 * bool(base), chunk.size)
                    data = head + packed[chunk.packed_offset : end]
                    (CORPUS / "chunk" / f"{name}_{place}").write_bytes(data)


def _head(choice: int, size: int) -> bytes:
    """The three bytes that fuzz_chunk.c begins with."""
    units = (size + 3) // 4
    return bytes([choice | (units * 4 - size) << 4]) + (units - 1).to_bytes(2, "little")


if __name__ == "__main__":
    main()

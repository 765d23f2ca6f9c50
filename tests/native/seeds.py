"""python -m tests.native.seeds: the fuzzers' seeds, from the samples."""

from __future__ import annotations

from packlight.coding.container import FAST, LZMA, MODEL, read
from tests.native.compiling import NATIVE
from tests.native.samples import small_files

CORPUS = NATIVE / "fuzz" / "corpus"
#: what fuzz_chunk.c calls the codecs
CHOICE = {MODEL: 0, LZMA: 2, FAST: 3}


def main() -> None:
    for kind in ("unpack", "chunk"):
        (CORPUS / kind).mkdir(parents=True, exist_ok=True)
        for old in (CORPUS / kind).iterdir():
            old.unlink()
    for name, (_, packed) in small_files().items():
        name = name.replace(",", "").replace(" ", "_")
        (CORPUS / "unpack" / name).write_bytes(packed)
        for place, chunk in enumerate(read(packed).chunks):
            if chunk.codec in CHOICE and not chunk.continues:
                end = chunk.packed_offset + chunk.packed_size
                data = _head(CHOICE[chunk.codec], chunk.size) + packed[chunk.packed_offset : end]
                (CORPUS / "chunk" / f"{name}_{place}").write_bytes(data)


def _head(choice: int, size: int) -> bytes:
    """The three bytes that fuzz_chunk.c begins with."""
    units = (size + 3) // 4
    return bytes([choice | (units * 4 - size) << 4]) + (units - 1).to_bytes(2, "little")


if __name__ == "__main__":
    main()

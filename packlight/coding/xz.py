"""Pack with xz, which every system can unpack."""

from __future__ import annotations

import lzma

SUFFIX = ".xz"
SAMPLE = 1 << 18  # bytes on which the contexts are tried

# (literal context bits, literal position bits, position bits): text likes the first, which is xz's
# own default; small integers without byte order like the second; floats the third
_CONTEXTS = ((3, 0, 2), (0, 0, 0), (0, 2, 2))


def pack(data: bytes) -> bytes:
    """An xz stream at level 9e, its contexts chosen on a sample; `xz -d` restores the bytes."""
    middle = max(0, (len(data) - SAMPLE) // 2)
    sample = data[middle : middle + SAMPLE]
    best = min(_CONTEXTS, key=lambda contexts: len(_packed(sample, *contexts)))
    return _packed(data, *best)


def unpack(data: bytes) -> bytes:
    """The inverse of `pack`."""
    return lzma.decompress(data)


def _packed(data: bytes, lc: int, lp: int, pb: int) -> bytes:
    lzma2 = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "lc": lc,
        "lp": lp,
        "pb": pb,
        "dict_size": min(max(len(data), 4096), 1 << 26),
    }
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=[lzma2])

"""Pack with xz, which every system can unpack."""

from __future__ import annotations

import lzma

SUFFIX = ".xz"

# (literal context bits, literal position bits, position bits): text likes the first, which is xz's
# own default; small integers without byte order like the second; floats the third
_CONTEXTS = ((3, 0, 2), (0, 0, 0), (0, 2, 2))


def pack(data: bytes) -> bytes:
    """The smallest of a few xz streams at level 9e; `xz -d` restores the bytes."""
    return min((_packed(data, *contexts) for contexts in _CONTEXTS), key=len)


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

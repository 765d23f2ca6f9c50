"""The best that general compressors make of a file: what a peer's network is downloaded as."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping

import brotli
import zstandard


def xz(raw: bytes, **options: int) -> bytes:
    """xz -9e, with other settings of its literals where asked for (lc, lp, pb)."""
    preset = 9 | lzma.PRESET_EXTREME
    return lzma.compress(raw, filters=[{"id": lzma.FILTER_LZMA2, "preset": preset, **options}])


def tuned_xz(raw: bytes) -> bytes:
    """xz for numbers of four bytes."""
    return xz(raw, lc=0, lp=2, pb=2)


COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "xz -9e": xz,
    "xz lc0 lp2 pb2": tuned_xz,
    "xz lc0 lp0 pb0": lambda raw: xz(raw, lc=0, lp=0, pb=0),  # for numbers of one byte
    "zstd --ultra -22": lambda raw: zstandard.ZstdCompressor(level=22).compress(raw),
    "brotli 11": lambda raw: brotli.compress(raw, quality=11),
}


def smallest(raw: bytes) -> tuple[int, str]:
    """Bytes of the smallest, and who made it."""
    return min((len(compress(raw)), name) for name, compress in COMPRESSORS.items())

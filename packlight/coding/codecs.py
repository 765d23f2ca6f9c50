"""General codecs: the chapter's, to compare with and to pack with where one is asked for.

All of them are the libraries that the field uses. Huffman is deflate with its string matching
switched off (zlib's Z_HUFFMAN_ONLY), so it is a real file that any inflate reads.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from packlight.coding import segments
from packlight.coding.container import LZMA, STORED, Chunk
from packlight.errors import BadInput, MissingExtra


@dataclass(frozen=True)
class Codec:
    """One way to make any bytes smaller.

    Args:
        title: as the field calls it, with its setting.
        number: of the decoder, in the container.
        encode: bytes -> fewer bytes.
        decode: those, and how many bytes to expect -> the bytes again.
    """

    title: str
    number: int
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes, int], bytes]

    def decoder(self, size: int) -> Callable[[bytes], bytes]:
        """`decode` for results of one size."""
        return lambda packed: self.decode(packed, size)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        if name != "liblzfse":
            raise  # what packlight always brings
        raise MissingExtra("pyliblzfse", "lzfse") from None


def _huffman(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(data) + packer.flush()


def _inflate(data: bytes, size: int) -> bytes:
    return zlib.decompressobj().decompress(data, size + 1)


def _lz4(data: bytes) -> bytes:
    block = _library("lz4.block")
    return bytes(block.compress(data, mode="high_compression", compression=12, store_size=False))


def _unlz4(data: bytes, size: int) -> bytes:
    return bytes(_library("lz4.block").decompress(data, uncompressed_size=size))


def _zstd(level: int) -> Callable[[bytes], bytes]:
    return lambda data: bytes(_library("zstandard").ZstdCompressor(level=level).compress(data))


def _unzstd(data: bytes, size: int) -> bytes:
    reader = _library("zstandard").ZstdDecompressor().stream_reader(data)
    return bytes(reader.read(size + 1))


def _brotli(data: bytes) -> bytes:
    return bytes(_library("brotli").compress(data, quality=11, lgwin=24))


def _unbrotli(data: bytes, size: int) -> bytes:
    packer = _library("brotli").Decompressor()
    out = bytes(packer.process(data, output_buffer_limit=size + 1))
    while len(out) <= size and not packer.is_finished():
        more = bytes(packer.process(b"", output_buffer_limit=size + 1 - len(out)))
        if not more:
            break
        out += more
    return out


def _lzfse(data: bytes) -> bytes:
    return bytes(_library("liblzfse").compress(data))


def _unlzfse(data: bytes, size: int) -> bytes:
    return bytes(_library("liblzfse").decompress(data))


def _lzma(data: bytes) -> bytes:
    return segments.lzma_stream(data, 3, 0, 2)


def _unlzma(data: bytes, size: int) -> bytes:
    options = {"id": lzma.FILTER_LZMA1, "dict_size": max(size, 4096), "lc": 3, "lp": 0, "pb": 2}
    return lzma.decompress(data[1:], lzma.FORMAT_RAW, filters=[options])


CODECS = {
    "huffman": Codec("Huffman", 16, _huffman, _inflate),
    "lz4": Codec("LZ4 HC 12", 18, _lz4, _unlz4),
    "zlib": Codec("ZLIB 9", 16, lambda data: zlib.compress(data, 9), _inflate),
    "lzfse": Codec("LZFSE", 20, _lzfse, _unlzfse),
    "zstd3": Codec("zstd 3", 17, _zstd(3), _unzstd),
    "zstd": Codec("zstd 19", 17, _zstd(19), _unzstd),
    "brotli": Codec("Brotli 11", 19, _brotli, _unbrotli),
    "lzma": Codec("LZMA 9e", LZMA, _lzma, _unlzma),
}


def encode(name: str, raw: bytes) -> Chunk:
    """Everything as one chunk of a general codec, or as it is where that is smaller.

    Raises:
        BadInput: there is no codec of that name.
        MissingExtra: its library is not installed.
    """
    if name not in CODECS:
        raise BadInput(f"codec {name!r} is not one of {', '.join(CODECS)}")
    packed = CODECS[name].encode(raw)
    if len(packed) >= len(raw):
        return Chunk(STORED, len(raw), raw)
    return Chunk(CODECS[name].number, len(raw), packed)


def decode(number: int, packed: bytes, size: int) -> bytes:
    """The bytes that `encode` was given.

    Raises:
        BadInput: the codec is not known, or the bytes are damaged.
        MissingExtra: its library is not installed.
    """
    for codec in CODECS.values():
        if codec.number == number:
            try:
                raw = codec.decode(packed, size)
            except MissingExtra:
                raise
            except Exception as problem:  # every library raises its own
                raise BadInput(
                    f"the .plt can not be unpacked: its {codec.title} data is damaged"
                ) from problem
            if len(raw) != size:
                raise BadInput("the .plt can not be unpacked: the file is damaged")
            return raw
    raise BadInput(f"the .plt uses codec {number}, which this version of packlight does not know")

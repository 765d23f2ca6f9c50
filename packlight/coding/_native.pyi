from mmap import mmap

def work_size() -> int: ...
def header_size(data: bytes) -> int: ...
def open(
    data: bytes,
) -> tuple[
    int,
    int,
    bytes,
    bytes | None,
    list[tuple[str, int, int, int]] | None,
    list[tuple[int, int, int, int, int, int, int]],
]: ...
def decode_chunk(
    codec: int,
    continues: int,
    crc32: int,
    size: int,
    packed: bytes | memoryview,
    out: bytearray | memoryview,
    work: bytearray | mmap,
    base: bytes | memoryview | None,
) -> None: ...
def segments(
    continues: bool, size: int, packed: bytes, work: bytearray, base: bytes | None
) -> list[tuple[int, int, int]]: ...
def pack_chunk(
    raw: bytes | memoryview,
    plan: bytes,
    palettes: bytes,
    continues: bool,
    work: bytearray,
    measure: bool,
    base: bytes | None,
) -> bytes: ...
def pack_fast(kind: int, width: int, items: int, planes: bytes, palette: bytes) -> bytes: ...
def pack_kernels(count: int, symbols: bytes, classes: bytes) -> bytes: ...
def index_size() -> int: ...
def pack_repeats(
    raw: bytes, start: int, end: int, likely: int, index: bytearray | mmap
) -> bytes: ...

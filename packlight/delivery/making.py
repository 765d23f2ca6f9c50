"""A network's file out of what was downloaded and what lies on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from packlight.coding import container
from packlight.coding.archive import read_paths
from packlight.coding.container import Member
from packlight.coding.packing import decompress
from packlight.delivery.index import Packed, Variant
from packlight.delivery.store import State
from packlight.errors import BadInput
from packlight.files import sha256
from packlight.progress import Progress

Content = tuple[bytes, tuple[Member, ...] | None]  # a file, or a folder's files and their places


def contents(state: State) -> dict[str, Content]:
    """By SHA-256, every file on the device that is whole."""
    found: dict[str, Content] = {}
    for version in (state.current, *state.previous):
        for one in version.files if version else ():
            try:
                raw, members = read_paths([one.path])
            except BadInput:
                continue
            if sha256(raw) == one.sha256:
                found[one.sha256] = raw, None if members is None else tuple(members)
    return found


def made(
    name: str,
    steps: Iterable[tuple[Packed, Variant]],
    held: Mapping[str, Content],
    fetched: Callable[[Packed], Path],
    progress: Progress,
) -> Content:
    """Download and unpack.

    Args:
        name: of the network, for errors.
        steps: at least one, as `cheapest` gives them.
        held: what differences may start from.
        fetched: downloads a packed file.
        progress: told of every stage.
    Raises:
        BadInput: something unpacks to what was not signed.
    """
    parts = [(fetched(packed), packed, variant) for packed, variant in steps]
    raw, members = b"", None
    with progress.stage("unpack"):
        for path, packed, variant in parts:
            data = path.read_bytes()
            header = container.read(data)
            base = None if header.base_sha256 is None else header.base_sha256.hex()
            told = (header.size, header.sha256.hex(), base)
            if told != (variant.size, variant.sha256, packed.base):
                raise BadInput(
                    f"{name} unpacks to something else than was signed; nothing was taken"
                )
            old = None if base is None else held[base][0] if base in held else raw
            raw, members = decompress(data, base=old, max_output=variant.size), header.members
    return raw, members

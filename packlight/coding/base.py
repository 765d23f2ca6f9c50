"""The older file that a packed one is the difference to, and its tensors found again in the new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from packlight.coding.container import Member
from packlight.coding.matching import Matcher
from packlight.coding.openers import Found, find_tensors
from packlight.coding.openers.tensor import Tensor

Key = tuple[str, tuple[int, ...], bool, bool]


class Base:
    """An older file, or an archive's files one after the other.

    Args:
        raw: its bytes.
        members: of an archive.
    """

    def __init__(self, raw: bytes, members: Sequence[Member] | None = None) -> None:
        self.raw = raw
        found = find_tensors(raw, members)
        self._tensors = [tensor for tensor in found if isinstance(tensor, Tensor)]
        self._by_content = {self._content(tensor): tensor.offset for tensor in self._tensors}

    @cached_property
    def matcher(self) -> Matcher:
        """Runs of plain bytes; indexed when first needed."""
        return Matcher(self.raw)

    def same(self, content: bytes, place: int | None) -> int | None:
        """Where a tensor of just these bytes lies, whatever its name; at `place` if it does."""
        if place is not None and self.raw[place : place + len(content)] == content:
            return place
        return self._by_content.get(content)

    def pair(self, found: Sequence[Found]) -> dict[int, int]:
        """Place of a new tensor -> place of the old one that it should be like.

        By name and shape; what is left over, by shape and order.
        """
        old: dict[Key, list[Tensor]] = defaultdict(list)
        for tensor in self._tensors:
            old[_key(tensor)].append(tensor)
        pairs: dict[int, int] = {}
        rest: list[Tensor] = []
        for tensor in (one for one in found if isinstance(one, Tensor)):
            alike = old[_key(tensor)]
            named = next((t for t in alike if t.name and t.name == tensor.name), None)
            if named is None:
                rest.append(tensor)
            else:
                alike.remove(named)
                pairs[tensor.offset] = named.offset
        for tensor in rest:
            if alike := old[_key(tensor)]:
                pairs[tensor.offset] = alike.pop(0).offset
        return pairs

    def _content(self, tensor: Tensor) -> bytes:
        return self.raw[tensor.offset : tensor.offset + tensor.size]


def _key(tensor: Tensor) -> Key:
    return tensor.dtype, tensor.shape, tensor.channels_last, tensor.big_endian

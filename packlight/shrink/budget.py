"""What the user can afford."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from packlight.errors import BadInput
from packlight.units import parse_share, parse_size, show_size


@dataclass(frozen=True)
class Budget:
    """Bounds; None where there is none.

    Args:
        target_size: bytes of the packed download.
        target_installed_size: bytes of the network file.
        max_drop: accuracy that may be lost, as a share.
        speedup: how many times as fast as the original, on one thread.
        max_ram: bytes of RAM, as `weigh` plans them: the weights as stored, and the values of one
            sample.
    """

    target_size: int | None = None
    target_installed_size: int | None = None
    max_drop: float | None = None
    speedup: float | None = None
    max_ram: int | None = None

    @classmethod
    def parse(
        cls,
        target_size: str | int | None,
        target_installed_size: str | int | None,
        max_drop: str | float | None,
        speedup: float | None = None,
        max_ram: str | int | None = None,
    ) -> Budget:
        """Read bounds as people write them.

        Raises:
            BadInput: one can not be read, or there is none at all.
        """
        bounds = (target_size, target_installed_size, max_drop, speedup, max_ram)
        if all(bound is None for bound in bounds):
            raise BadInput(
                "no budget was given; ask for a target size (--target-size 700KB), an installed "
                "size (--target-installed-size 2MB), a largest drop (--max-drop 1%), a speed "
                "(--speedup 1.5) or a bound on RAM (--max-ram 256KB)"
            )
        if speedup is not None and not 1 < speedup < math.inf:
            raise BadInput(
                f"--speedup {speedup:g} is no speedup; give a number above 1: how many times as "
                "fast as the original the network has to be"
            )
        return cls(
            None if target_size is None else parse_size(target_size, "target-size"),
            None
            if target_installed_size is None
            else parse_size(target_installed_size, "target-installed-size"),
            None if max_drop is None else parse_share(max_drop, "max-drop"),
            speedup,
            None if max_ram is None else parse_size(max_ram, "max-ram"),
        )

    @property
    def sized(self) -> bool:
        """Whether any size is bounded."""
        return self.target_size is not None or self.target_installed_size is not None

    def fits(self, packed: int, installed: int) -> bool:
        """Whether a network of these sizes meets the bounds on size."""
        return (self.target_size is None or packed <= self.target_size) and (
            self.target_installed_size is None or installed <= self.target_installed_size
        )

    def broken_size(self, packed: int, installed: int) -> str | None:
        """A sentence about the bound on size that is not met."""
        if self.target_size is not None and packed > self.target_size:
            return (
                f"the smallest packed file is {packed:,} bytes ({show_size(packed)}), "
                f"target-size allows {self.target_size:,}"
            )
        if self.target_installed_size is not None and installed > self.target_installed_size:
            return (
                f"the smallest network file is {installed:,} bytes ({show_size(installed)}), "
                f"target-installed-size allows {self.target_installed_size:,}"
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """As the report holds it."""
        return asdict(self)

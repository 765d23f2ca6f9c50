"""What a repository's host has to send when many devices follow it: traffic, its cost, its peak.

    python -m benchmarks.scale BYTES [--installs 10e6] [--price 0.05]

BYTES is what a device receives for one update, signed metadata among it, as benchmarks/delivery.py
measures. docs/delivery-benchmarks.md has the formulas and what they give for its figures.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

WEEKS = 365.25 / 12 / 7  # in a month
DAYS = 365.25 / 12


@dataclass(frozen=True)
class Assumed:
    """What is assumed of the devices and the host.

    Args:
        case: which update of benchmarks/delivery.py.
        installs: devices.
        updates: per week, that every device takes.
        polls: per day and device, that find nothing new.
        price: dollars for a gigabyte (10^9 bytes) that the host sends.
        window: hours over which a new version is taken up: the rollout, or the interval of polls
            where that is longer.
        uneven: how much more than the mean arrives in the busiest time of the window.
    """

    case: str = "tuned, --base"
    installs: float = 10e6
    updates: float = 1.0
    polls: float = 1.0
    price: float = 0.05
    window: float = 24.0
    uneven: float = 2.0


@dataclass(frozen=True)
class Monthly:
    """Traffic of a month in 10^12 bytes, its cost, and the peak in 10^9 bits per second."""

    terabytes: float
    dollars: float
    peak_gbit: float


def monthly(assumed: Assumed, update: float, nothing_new: float) -> Monthly:
    """From the bytes of one update, and of a poll that finds nothing new."""
    sent = assumed.installs * (
        assumed.updates * WEEKS * update + assumed.polls * DAYS * nothing_new
    )
    peak = assumed.uneven * assumed.installs * update * 8 / (assumed.window * 3600)
    return Monthly(sent / 1e12, sent / 1e9 * assumed.price, peak / 1e9)


def main() -> None:
    """Print one line."""
    known = Assumed()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("update", type=float, help="bytes that a device receives for an update")
    parser.add_argument("--nothing-new", type=float, default=400, help="bytes of a poll")
    parser.add_argument("--installs", type=float, default=known.installs)
    parser.add_argument("--updates", type=float, default=known.updates, help="per week")
    parser.add_argument("--polls", type=float, default=known.polls, help="per day")
    parser.add_argument("--price", type=float, default=known.price, help="dollars per gigabyte")
    parser.add_argument("--window", type=float, default=known.window, help="hours")
    options = parser.parse_args()
    assumed = Assumed(
        installs=options.installs,
        updates=options.updates,
        polls=options.polls,
        price=options.price,
        window=options.window,
    )
    told = monthly(assumed, options.update, options.nothing_new)
    print(
        f"{told.terabytes:.2f} TB and ${told.dollars:,.0f} per month, {told.peak_gbit:.2f} Gbit/s "
        f"at the peak"
    )


if __name__ == "__main__":
    main()

"""What the files mean for an app: how long they download, what stores allow, what RAM they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.weighing import LayerTable, weigh
from packlight.weighing.limits import Link, Sizes, known_limits
from packlight.weighing.limits import judge as judge_limits

MEGABITS = (1, 10, 50)  # a second: a weak connection, a fair one, a good one


def memory_of(file: Path) -> dict[str, Any] | None:
    """The key `memory` of report.json: of the written file, planned as `packlight weigh` does.

    None where the file's plan is not known.
    """
    try:
        weighed = weigh(file)
    except BadInput:
        return None
    return _memory(weighed)


def delivery_of(before: Sizes, after: Sizes) -> dict[str, Any]:
    """The key `delivery` of report.json.

    Args:
        before: of the original, whose download is the file as it is.
        after: of the network as written and packed.
    """
    links = [Link(f"{speed} Mbit/s", speed) for speed in MEGABITS]
    holding = [limit for limit in known_limits()[0] if not limit.historic]
    return {
        "downloads": [
            {
                "megabits_per_second": link.megabits_per_second,
                "original_seconds": link.seconds(before.download),
                "compressed_seconds": link.seconds(after.download),
            }
            for link in links
        ],
        "limits": [
            {
                "name": verdict.limit.name,
                "measures": verdict.limit.measures,
                "at_most": verdict.limit.at_most,
                "original": getattr(before, verdict.limit.measures),
                "compressed": verdict.size,
                "met": verdict.met,
                "source": verdict.limit.source,
                "as_of": verdict.limit.as_of,
            }
            for verdict in judge_limits(after, holding).verdicts
        ],
    }


def _memory(weighed: LayerTable) -> dict[str, Any] | None:
    memory = weighed.memory
    if memory is None or not memory.timeline.live:
        return None
    line = memory.timeline
    return {
        "peak_bytes": memory.peak,
        "weights_bytes": weighed.totals.bytes,
        "ram_bytes": weighed.ram_bytes,
        "steps": list(line.steps),
        "live": list(line.live),
        "at_peak": [vars(item) for item in line.at_peak],
    }

"""The judges' samples that are answered differently, as the report holds and shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from packlight.data import Preprocess, Samples
from packlight.data.thumbnails import thumbnails
from packlight.judge import Flip

MOST_SAMPLES = 200  # told one by one
MOST_PAIRS = 30  # of classes
SHOWN = 24  # samples pictured


def describe(flips: Sequence[Flip], judge: Samples) -> dict[str, Any]:
    """The key `flips` of report.json; docs/report.md describes it.

    Args:
        flips: every one, in the order of the samples.
        judge: the samples compared.
    """
    labelled = judge.labels is not None
    told = telling(flips)[:MOST_SAMPLES]
    names = judge.names if judge.all_names else None
    pairs = _pairs(flips, labelled)[:MOST_PAIRS]
    classes = {flip.before for flip in told} | {flip.after for flip in told}
    classes |= {pair[side] for pair in pairs for side in ("from", "to")}
    classes |= {flip.label for flip in told if flip.label is not None}
    return {
        "count": len(flips),
        "lost": sum(flip.lost for flip in flips) if labelled else None,
        "won": sum(flip.won for flip in flips) if labelled else None,
        "pairs": pairs,
        "samples": [
            {
                "index": int(judge.indices[flip.sample]),
                "name": names[flip.sample] if names else None,
                "from": flip.before,
                "to": flip.after,
                "label": flip.label,
            }
            for flip in told
        ],
        "classes": _named(judge.classes, sorted(classes)),
    }


def pictures(
    flips: Sequence[Flip], judge: Samples, inputs: Sequence[Any], how: Preprocess
) -> list[bytes]:
    """PNG files of the first samples that `describe` tells, where they are pictures."""
    shown = judge.take(flip.sample for flip in telling(flips)[:SHOWN])
    return thumbnails(shown, inputs, how)


def telling(flips: Sequence[Flip]) -> list[Flip]:
    """In the order to look at: first those that were right before, which are what a user loses, and
    of these and the others one of each pair of classes before a second one."""
    seen: Counter[tuple[bool, int, int]] = Counter()
    turns = []
    for flip in flips:
        kind = (flip.lost, flip.before, flip.after)
        turns.append((not flip.lost, seen[kind]))
        seen[kind] += 1
    order = sorted(range(len(flips)), key=turns.__getitem__)
    return [flips[index] for index in order]


def _pairs(flips: Sequence[Flip], labelled: bool) -> list[dict[str, Any]]:
    """From which class to which, the most frequent first."""
    counts = Counter((flip.before, flip.after) for flip in flips)
    lost = Counter((flip.before, flip.after) for flip in flips if flip.lost)
    won = Counter((flip.before, flip.after) for flip in flips if flip.won)
    return [
        {
            "from": pair[0],
            "to": pair[1],
            "count": count,
            "lost": lost[pair] if labelled else None,
            "won": won[pair] if labelled else None,
        }
        for pair, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _named(names: Mapping[int, str], classes: Sequence[int]) -> dict[str, str]:
    return {str(number): names[number] for number in classes if number in names}

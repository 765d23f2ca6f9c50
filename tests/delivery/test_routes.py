"""The cheapest path is the one that trying every path finds."""

from __future__ import annotations

import random

import pytest

from packlight.delivery.index import Index, Packed, Release, Variant
from packlight.delivery.names import Version
from packlight.delivery.routes import cheapest


def by_trying(index: Index, wanted: Variant, held: set[str]) -> int:
    """Fewest bytes to a variant, over every chain without a repetition."""

    def cost(sha: str, seen: frozenset[str]) -> float:
        if sha in held:
            return 0
        variant = next(v for r in index.releases for v in r.variants if v.sha256 == sha)
        chains = [d.size + cost(d.base, seen | {sha}) for d in variant.deltas if d.base not in seen]
        return min([variant.full.size, *chains])

    return cost(wanted.sha256, frozenset())


def some_index(chance: random.Random, count: int) -> Index:
    releases = []
    for number in range(count):
        bases = chance.sample(range(number), min(number, chance.randint(0, 3)))
        deltas = tuple(Packed("d", chance.randint(1, 60), f"s{base}") for base in bases)
        full = Packed("f", chance.randint(50, 150))
        one = Variant("model.onnx", "onnx", None, 200, f"s{number}", full, deltas)
        releases.append(Release(Version(f"1.{number}.0"), (one,), ""))
    return Index("letters", "stable", tuple(releases))


@pytest.mark.parametrize("seed", range(60))
def test_it_costs_what_the_best_of_all_paths_costs(seed):
    chance = random.Random(seed)
    index = some_index(chance, chance.randint(1, 9))
    (wanted,) = index.releases[-1].variants
    held = {f"s{i}" for i in range(len(index.releases)) if chance.random() < 0.2}
    end, steps = cheapest(index, [wanted], held)
    assert end == wanted
    assert sum(packed.size for packed, _ in steps) == by_trying(index, wanted, held)
    at = None  # and it is a path
    for packed, made in steps:
        assert packed.base is None or packed.base in held or packed.base == at
        assert packed in (made.full, *made.deltas)
        at = made.sha256
    assert (at or wanted.sha256) == wanted.sha256

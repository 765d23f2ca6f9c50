"""Limits: where they come from, what is refused, and what is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from packlight.errors import BadInput, BudgetNotMet
from packlight.weighing.limits import (
    Limit,
    Link,
    Sizes,
    judge,
    known_limits,
    own_limit,
    read_limits,
)


def test_every_known_limit_has_a_source_and_a_date() -> None:
    limits, links = known_limits()
    assert {limit.measures for limit in limits} == {"download", "installed", "ram"}
    assert len({limit.name for limit in limits}) == len(limits)
    for entry in (*limits, *links):
        assert entry.source
        assert entry.url.startswith("https://")
        assert entry.as_of[:2] == "20"
    assert not any(limit.own for limit in limits)


def test_a_limit_is_met_up_to_its_last_byte() -> None:
    judged = judge(Sizes(1000, 5000), [own_limit("download", 1000), own_limit("download", "999")])
    assert [(verdict.met, verdict.spare) for verdict in judged.verdicts] == [(True, 0), (False, -1)]


def test_what_is_over_is_told_with_by_how_much() -> None:
    limits = [own_limit("download", "1KB"), own_limit("installed", "1KB"), own_limit("ram", "1MB")]
    with pytest.raises(BudgetNotMet, match="500 B more than --max-download allows") as raised:
        judge(Sizes(1500, 1000, 2_000_000), limits).require()
    assert "--max-ram" in str(raised.value)
    assert "--max-installed" not in str(raised.value)
    assert raised.value.exit_code == 3


def test_stores_limits_inform_and_own_limits_insist() -> None:
    store = Limit("store", "download", 10)
    judge(Sizes(1500, 1000), [store]).require()
    with pytest.raises(BudgetNotMet):
        judge(Sizes(1500, 1000), [store, own_limit("download", 10)]).require()


def test_ram_that_is_not_known_can_not_be_promised() -> None:
    judged = judge(Sizes(1, 1), [own_limit("ram", "1MB")])
    assert judged.verdicts[0].met is None
    with pytest.raises(BadInput, match="--max-ram"):
        judged.require()


def test_a_download_takes_its_bits() -> None:
    assert Link("slow", 8).seconds(3_000_000) == 3.0


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(
        '[[limit]]\nname = "our watch app"\nmeasures = "download"\nat_most = "5MB"\n'
        '[[limit]]\nname = "bytes"\nmeasures = "ram"\nat_most = 64\nas_of = 2026-01-02\n'
        '[[link]]\nname = "train"\nmegabits_per_second = 2\n'
    )
    limits, links = read_limits(path)
    assert [(limit.name, limit.at_most, limit.own) for limit in limits] == [
        ("our watch app", 5_000_000, True),
        ("bytes", 64, True),
    ]
    assert limits[1].as_of == "2026-01-02"
    assert links == (Link("train", 2.0),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("this is no toml", "not TOML"),
        ("[[limits]]\n", "'limits'.*limit, link"),
        ("[limit]\nname = 'a'\n", r"\[\[limit\]\]"),
        ("[[limit]]\nname = 'a'\nmeasures = 'ram'\nat_most = 5\nsize = 4\n", "'size'"),
        ("[[limit]]\nmeasures = 'ram'\nat_most = 5\n", "limit 1 has no name"),
        ("[[limit]]\nname = 'a'\nmeasures = 'speed'\nat_most = 5\n", "'speed'.*download"),
        ("[[limit]]\nname = 'a'\nmeasures = 'ram'\n", "no at_most"),
        ("[[limit]]\nname = 'a'\nmeasures = 'ram'\nat_most = 'huge'\n", "'huge' is not a size"),
        ("[[limit]]\nname = 'a'\nmeasures = 'ram'\nat_most = -5\n", "at least 1 byte"),
        ("[[limit]]\nname = 'a'\nmeasures = 'ram'\nat_most = 5\nhistoric = 'no'\n", "historic"),
        ("[[link]]\nname = 'a'\nmegabits_per_second = 0\n", "above 0"),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_limits(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can not be read"):
        read_limits(tmp_path / "nothing.toml")
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not TOML"):
        read_limits(tmp_path / "odd.toml")

"""What stores, systems and users allow, and whether a network stays below it.

The limits that ship with packlight are data (limits.toml), each with its source and date. They
bound a whole app, of which a network is a part, so they inform; the user's own limits are a gate.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from packlight.errors import BadInput, BudgetNotMet
from packlight.units import parse_size, show_size

Measure = Literal["download", "installed", "ram"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
_WORDS = {
    "download": "the packed download",
    "installed": "the file as installed",
    "ram": "peak RAM, weights included,",
}
_LIMIT_KEYS = {"name", "measures", "at_most", "source", "url", "as_of", "historic"}
_LINK_KEYS = {"name", "megabits_per_second", "source", "url", "as_of"}


@dataclass(frozen=True)
class Limit:
    """One bound.

    Args:
        name: what it bounds.
        measures: the size it is compared with: "download" (packed), "installed" (the file), or
            "ram" (the most that activations and weights take together).
        at_most: bytes.
        source, url, as_of: where that is written, and when it was last seen there.
        historic: no longer holds.
        own: the user's, not a store's.
    """

    name: str
    measures: Measure
    at_most: int
    source: str = ""
    url: str = ""
    as_of: str = ""
    historic: bool = False
    own: bool = False


@dataclass(frozen=True)
class Link:
    """How fast a phone downloads."""

    name: str
    megabits_per_second: float
    source: str = ""
    url: str = ""
    as_of: str = ""

    def seconds(self, size: int) -> float:
        """For that many bytes, connecting left out."""
        return size * 8 / (self.megabits_per_second * 1e6)


@dataclass(frozen=True)
class Sizes:
    """What limits are compared with, in bytes; None where it is not known."""

    download: int
    installed: int
    ram: int | None = None


@dataclass(frozen=True)
class Verdict:
    """A limit and what was found; `met` is None where the size is not known."""

    limit: Limit
    size: int | None

    @property
    def met(self) -> bool | None:
        """Whether the network stays within the limit."""
        return None if self.size is None else self.size <= self.limit.at_most

    @property
    def spare(self) -> int | None:
        """Bytes left under the limit; negative where it is exceeded."""
        return None if self.size is None else self.limit.at_most - self.size

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return asdict(self.limit) | {"size": self.size, "met": self.met, "spare": self.spare}


@dataclass(frozen=True)
class Judged:
    """A network against limits.

    Args:
        sizes: of the network.
        verdicts: one per limit.
        links: to say how long the download takes.
    """

    sizes: Sizes
    verdicts: tuple[Verdict, ...]
    links: tuple[Link, ...] = ()

    def require(self) -> None:
        """Insist on the user's own limits, those that no longer hold left out.

        Raises:
            BudgetNotMet: names every one that is exceeded, and by how much.
            BadInput: one of them bounds what is not known.
        """
        own = [v for v in self.verdicts if v.limit.own and not v.limit.historic]
        for verdict in own:
            if verdict.size is None:
                raise BadInput(
                    f"{verdict.limit.name} bounds RAM, and the peak of this kind of file is not "
                    "known; convert it to ONNX, or leave that limit out"
                )
        over = [_sentence(verdict) for verdict in own if verdict.met is False]
        if over:
            raise BudgetNotMet("; ".join(over), self)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "sizes": asdict(self.sizes),
            "limits": [verdict.to_dict() for verdict in self.verdicts],
            "links": [
                asdict(link) | {"seconds": link.seconds(self.sizes.download)} for link in self.links
            ],
        }


def judge(sizes: Sizes, limits: Sequence[Limit], links: Sequence[Link] = ()) -> Judged:
    """Compare a network's sizes with limits."""
    verdicts = tuple(Verdict(limit, getattr(sizes, limit.measures)) for limit in limits)
    return Judged(sizes, verdicts, tuple(links))


@cache
def known_limits() -> tuple[tuple[Limit, ...], tuple[Link, ...]]:
    """The limits and speeds that ship with packlight."""
    data = tomllib.loads(files("packlight.weighing").joinpath("limits.toml").read_text())
    return _limits(data, "limits.toml", own=False)


def read_limits(path: str | Path) -> tuple[tuple[Limit, ...], tuple[Link, ...]]:
    """Limits and speeds of the user's own, from a TOML file like limits.toml.

    Raises:
        BadInput: the file is not there, no TOML, or holds what no limit has.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BadInput(f"{path} can not be read ({problem.strerror})") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BadInput(f"{path.name} is not TOML: {problem}") from problem
    return _limits(data, path.name, own=True)


def own_limit(measures: Measure, size: str | int) -> Limit:
    """A bound given on the command line."""
    option = f"--max-{measures}"
    return Limit(option, measures, parse_size(size, option), own=True)


def _limits(
    data: dict[str, Any], where: str, own: bool
) -> tuple[tuple[Limit, ...], tuple[Link, ...]]:
    _refuse_unknown(data, {"limit", "link"}, where)
    limits = []
    for entry, here in _entries(data, "limit", where):
        _refuse_unknown(entry, _LIMIT_KEYS, here)
        name = _text(entry, "name", here)
        measures = _measure(entry, here)
        if "at_most" not in entry:
            raise BadInput(f'{here} has no at_most; write a size, as in at_most = "5MB"')
        historic = entry.get("historic", False)
        if not isinstance(historic, bool):
            raise BadInput(f"{here}: historic is {historic!r}; it is true or false")
        size = parse_size(entry["at_most"], f"{here}: at_most")
        words = {key: str(entry.get(key, "")) for key in ("source", "url", "as_of")}
        limits.append(Limit(name, measures, size, **words, historic=historic, own=own))
    links = []
    for entry, here in _entries(data, "link", where):
        _refuse_unknown(entry, _LINK_KEYS, here)
        name = _text(entry, "name", here)
        speed = entry.get("megabits_per_second")
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 < speed < 1e9:
            raise BadInput(f"{here}: megabits_per_second is {speed!r}; write a number above 0")
        words = {key: str(entry.get(key, "")) for key in ("source", "url", "as_of")}
        links.append(Link(name, float(speed), **words))
    return tuple(limits), tuple(links)


def _entries(data: dict[str, Any], kind: str, where: str) -> list[tuple[dict[str, Any], str]]:
    """The tables of a kind, each with what to call it in an error."""
    entries = data.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadInput(f"{where}: {kind} is not a list of tables; start each with [[{kind}]]")
    return [(entry, f"{where}, {kind} {number}") for number, entry in enumerate(entries, 1)]


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(
            f"{where} has no {key}; it needs name, and what it measures or how fast it is"
        )
    return value


def _measure(entry: dict[str, Any], where: str) -> Measure:
    value = _text(entry, "measures", where)
    for measure in MEASURES:
        if value == measure:
            return measure
    raise BadInput(f"{where}: measures is {value!r}; it is one of {', '.join(MEASURES)}")


def _refuse_unknown(entry: dict[str, Any], allowed: set[str], where: str) -> None:
    for key in entry:
        if key not in allowed:
            raise BadInput(f"{where} has the key {key!r}; known are {', '.join(sorted(allowed))}")


def _sentence(verdict: Verdict) -> str:
    limit = verdict.limit
    assert verdict.size is not None
    return (
        f"{_WORDS[limit.measures]} takes {show_size(verdict.size)} ({verdict.size:,} bytes), "
        f"{show_size(verdict.size - limit.at_most)} more than {limit.name} allows "
        f"({show_size(limit.at_most)})"
    )

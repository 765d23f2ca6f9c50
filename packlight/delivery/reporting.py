"""What `packlight repo status` tells."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packlight.delivery.index import Release, Variant
from packlight.delivery.inputs import show_shapes
from packlight.delivery.repository import open_repository
from packlight.units import show_size


def status_of(repo: str | Path, keys: str | Path | None = None) -> dict[str, Any]:
    """Every version in every channel, and when signatures end; JSON-able.

    Raises:
        BadInput: it is no repository, or somebody without the keys changed it.
    """
    held = open_repository(repo, keys)
    return {
        "repo": str(held.folder),
        "expires": {role: end.isoformat() for role, end in held.expiries().items()},
        "networks": [
            {
                "name": name,
                "channel": channel,
                "versions": [_release(one) for one in held.index(name, channel).releases],
            }
            for name, channel in held.channels()
        ],
    }


def status_text(told: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for network in told["networks"]:
        lines.append(f"{network['name']}, {network['channel']}")
        for one in network["versions"]:
            state = "withdrawn" if one["withdrawn"] else f"to {100 * one['rollout']:.4g} %"
            files = [_file_text(v) for v in one["variants"]]
            for tag, tagged in one.get("parts", {}).items():
                files += [f"{tag}: {_file_text(v)}" for v in tagged]
            licence = (one["record"] or {}).get("licence")
            words = [one["version"], state, one["published"], *([licence] if licence else [])]
            lines.append(f"  {'  '.join([*words, '; '.join(files)])}")
    return "\n".join([*(lines or ["nothing is published"]), expiries_text(told["expires"])])


def _file_text(variant: dict[str, Any]) -> str:
    least = variant["min_ram"]
    needs = [variant["min_os"], least and f"{show_size(least)} of RAM"]
    told = [
        f"{variant['file']} {show_size(variant['packed_bytes'])}",
        *(f"{show_size(size)} as a difference" for size in variant["deltas"]),
        *(f"from {need}" for need in needs if need),
        *([f"takes {show_shapes(variant['inputs'])}"] if variant["inputs"] else []),
    ]
    return ", ".join(told)


def expiries_text(expires: dict[str, str]) -> str:
    """When signatures end, and what to do about those that have."""
    now = datetime.now(UTC)
    lines = []
    for role, text in expires.items():
        left = datetime.fromisoformat(text) - now
        days = left.total_seconds() / 86400
        when = f"in {days:.1f} days" if days > 0 else "EXPIRED: devices take nothing; repo refresh"
        lines.append(f"{role:<10} {text}  {when}")
    return "\n".join(lines)


def _release(one: Release) -> dict[str, Any]:
    value: dict[str, Any] = {
        "version": str(one.version),
        "published": one.published,
        "rollout": one.rollout,
        "withdrawn": one.withdrawn,
        "record": one.record,
        "variants": [_variant(v) for v in one.variants],
    }
    if one.parts:
        value["parts"] = {tag: [_variant(v) for v in files] for tag, files in one.parts.items()}
    return value


def _variant(one: Variant) -> dict[str, Any]:
    return {**one.to_dict(), "deltas": [delta.size for delta in one.deltas]}

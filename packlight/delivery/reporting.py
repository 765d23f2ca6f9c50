"""What `packlight repo status` tells."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packlight.delivery.index import Release
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
            files = "; ".join(
                f"{v['file']} {show_size(v['packed_bytes'])}"
                + "".join(f", {show_size(size)} as a difference" for size in v["deltas"])
                for v in one["variants"]
            )
            lines.append(f"  {one['version']}  {state}  {one['published']}  {files}")
    return "\n".join([*(lines or ["nothing is published"]), expiries_text(told["expires"])])


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
    return {
        "version": str(one.version),
        "published": one.published,
        "rollout": one.rollout,
        "withdrawn": one.withdrawn,
        "record": one.record,
        "variants": [
            {
                "file": v.file,
                "runtime": v.runtime,
                "precision": v.precision,
                "min_os": v.min_os,
                "bytes": v.size,
                "packed_bytes": v.full.size,
                "deltas": [delta.size for delta in v.deltas],
            }
            for v in one.variants
        ],
    }

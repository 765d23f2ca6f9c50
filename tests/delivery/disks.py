"""Fetches onto a disk that is full, and then read-only, in a mount namespace of its own.

    unshare -rm python -m tests.delivery.disks URL ROOT PHONE DISK

PHONE, a device with 1.2.0, is copied onto a small disk in memory that is mounted at DISK. Prints
the sentences of the fetches that were refused, and ends with a traceback where harm was done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from packlight.delivery import Client
from tests.commands import run

SIZE = 512 * 1024  # bytes of the disk
LEFT = (0, 4, 8, 16, 24, 40)  # KiB that are free when a fetch begins


def fetching(url: str, trust: Path, disk: Path) -> None:
    """A device with 1.2.0 and a new one: each has a whole version, or none, and room helps."""
    phone, filler = disk / "phone", disk / "filler"
    whole = content(phone)
    asked = ["fetch", url, "letters", "--trust", trust, "--quiet", "--into"]
    for left in LEFT:
        for into in (phone, disk / "new"):
            fill(filler, left << 10)
            code = run(*asked, into)
            filler.unlink()
            now = Client(url, "letters", into).current()
            assert code in (None, 2), code
            if now is not None:
                assert now.content() is not None, f"with {left} KiB left, what is in use is harmed"
            if code and into == phone and whole != content(phone):
                raise AssertionError(f"with {left} KiB left, the device is changed")
            if code and into != phone:
                assert now is None
            whole = content(phone)
    for into in (phone, disk / "new"):
        assert not run(*asked, into)
        assert Client(url, "letters", into).current().version == "1.3.0"
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for into in (phone, disk / "other"):
        assert run(*asked, into) == 2
    assert Client(url, "letters", phone).current().content() is not None


def fill(filler: Path, left: int) -> None:
    """Leave so many bytes free."""
    told = os.statvfs(filler.parent)
    filler.write_bytes(bytes(max(0, told.f_bavail * told.f_frsize - left)))


def content(phone: Path) -> dict[str, bytes]:
    """What an app can read."""
    current = Client("http://127.0.0.1", "letters", phone).current()
    files = [phone / "current.json", *(one.path for one in current.files)]
    return {str(path): path.read_bytes() for path in files}


if __name__ == "__main__":
    where, root, device, disk = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=True)
    shutil.copytree(device, Path(disk) / "phone")
    fetching(where, Path(root), Path(disk))

"""A real browser without a window, driven over a pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PIPE = (3, 4)  # the descriptors that Chromium reads and writes
WAIT = 60  # seconds for a start or an answer, on a busy machine


class Browser:
    """One page in Chromium.

    Args:
        folder: where it may keep its profile.
    """

    def __init__(self, folder: Path) -> None:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip(f"no browser here; looked for {', '.join(NAMES)}")
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        # far above 3 and 4, which the child gives to others
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]

        def give() -> None:
            for end, number in zip(ends, PIPE, strict=True):
                os.dup2(end, number, inheritable=True)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        flags += ["--hide-scrollbars", f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [found, *flags, "about:blank"],
            preexec_fn=give,
            pass_fds=PIPE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*ends, theirs_in, theirs_out):
            os.close(end)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self._number, self._read = 0, b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        targets = self("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method; what else is told meanwhile is kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return dict(found["result"])
            self.events.append(found)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            chunk = os.read(self._in.fileno(), 1 << 16)
            assert chunk, "the browser has ended"
            self._read += chunk
        first, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(first))

    def open(self, file: Path) -> None:
        """Go to a file and wait until it is there."""
        self.events.clear()
        self("Page.navigate", url=file.as_uri())
        while self.run("document.readyState + location.protocol") != "completefile:":
            pass

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def show(self, width: int, *, dark: bool = False, media: str = "") -> None:
        """What the page is shown on."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=media, features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **size)

    def pdf(self) -> bytes:
        """The page as printed."""
        return base64.b64decode(self("Page.printToPDF")["data"])

    def close(self) -> None:
        """End it."""
        self._session = None
        self("Browser.close")
        self._process.wait(WAIT)
        self._out.close()
        self._in.close()

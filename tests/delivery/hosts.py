"""Hosts on loopback: plain, with ranges, wicked, and a real one."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Trick = Callable[["_Handler", bytes], None]


class Host:
    """Serves a folder as `python -m http.server` does; `ranges` and `tricks` make it another.

    Attributes:
        ranges: answer Range and If-Range.
        tricks: (end of a path, what to do instead of serving it).
        requests: (path, Range, bytes of the body sent).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges = False
        self.tricks: list[tuple[str, Trick]] = []
        self.requests: list[tuple[str, str | None, int]] = []
        self.ended = threading.Event()

    def __enter__(self) -> Host:
        host = self

        class Handler(_Handler):
            def __init__(self, *arguments, **named) -> None:
                self.host = host
                super().__init__(*arguments, directory=str(host.folder), **named)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more connections."""
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def trick(self, suffix: str, do: Trick) -> None:
        """Answer requests for paths that end so in another way."""
        self.tricks.append((suffix, do))

    def sent(self, suffix: str) -> int:
        """Bytes of bodies sent for paths that end so."""
        return sum(count for path, _, count in self.requests if path.endswith(suffix))


class _Handler(SimpleHTTPRequestHandler):
    host: Host

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        data = file.read_bytes() if file.is_file() else b""
        for suffix, do in self.host.tricks:
            if self.path.endswith(suffix):
                with contextlib.suppress(OSError):  # the other side has hung up
                    do(self, data)
                self.close_connection = True
                return
        if not file.is_file():
            self.send_error(404)
            return
        self.body(data)

    def body(self, data: bytes, most: int | None = None) -> None:
        """The file or the range asked for; of that no more than `most` bytes, then hang up."""
        asked, tag = self.headers.get("Range"), f'"{hash(data):x}"'
        start = 0
        if asked and self.host.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.host.ranges:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:] if most is None else data[start : start + most]
        self.host.requests.append((self.path, asked, len(rest)))
        self.wfile.write(rest)
        self.close_connection = True

    def endless(self, _: bytes) -> None:
        """Zeros until the other side hangs up."""
        self.send_response(200)
        self.end_headers()
        while not self.host.ended.is_set():
            self.wfile.write(bytes(1 << 16))
            self.host.requests.append((self.path, None, 1 << 16))

    def trickle(self, data: bytes) -> None:
        """A byte now and then: never so late that a socket times out."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.host.ended.wait(0.05):
                return

    def trickle_head(self, _: bytes) -> None:
        """The head of an answer, a byte now and then, for ever."""
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-A: ")
        while not self.host.ended.wait(0.05):
            self.wfile.write(b"a")


def status(code: int) -> Trick:
    """Answers with an error."""
    return lambda handler, _: handler.send_error(code)


def leads_to(path: str) -> Trick:
    """Answers with a redirect."""

    def do(handler: _Handler, _: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", path)
        handler.end_headers()

    return do


def instead(data: bytes) -> Trick:
    """Serves something else."""
    return lambda handler, _: handler.body(data)


def in_gzip(packed: Callable[[bytes], bytes] = gzip.compress) -> Trick:
    """Serves it in gzip to those who ask for that, or what is said to be gzip."""

    def do(handler: _Handler, data: bytes) -> None:
        assert "gzip" in handler.headers["Accept-Encoding"]
        body = packed(data)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.host.requests.append((handler.path, None, len(body)))
        handler.wfile.write(body)

    return do


def cut(most: int) -> Trick:
    """Hangs up after so many bytes."""
    return lambda handler, data: handler.body(data, most)


NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
_SETTINGS = """
daemon off;
master_process off;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 1024; }}
http {{
  log_format bytes '$status $body_bytes_sent $uri';
  access_log {work}/access.log bytes;
  client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;
  uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
  types {{ application/json json; }}
  gzip on; gzip_comp_level 9; gzip_types application/json;
  server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}
}}
"""


@dataclass(frozen=True)
class Served:
    """What nginx has answered with; `bytes` are of all bodies but those of errors."""

    requests: int
    partial: int
    bytes: int
    files: dict[str, int]  # path -> times


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    url: str
    log: Path

    def served(self) -> Served:
        """Until now."""
        rows = [line.split(" ", 2) for line in self.log.read_text().splitlines()]
        good = [(int(count), path) for status, count, path in rows if status.startswith("2")]
        files: dict[str, int] = {}
        for _, path in good:
            files[path] = files.get(path, 0) + 1
        partial = sum(status == "206" for status, _, _ in rows)
        return Served(len(rows), partial, sum(count for count, _ in good), files)

    def forget(self) -> None:
        """Begin to count anew."""
        with self.log.open("r+") as file:
            file.truncate()


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Nginx]:
    """nginx, which must be installed, serves a folder, metadata in gzip to those who ask for it."""
    assert NGINX is not None
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = work / "nginx.conf"
        settings.write_text(_SETTINGS.format(work=work, port=port, root=root))
        server = subprocess.Popen([NGINX, "-p", work, "-c", settings], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end and server.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield Nginx(f"http://127.0.0.1:{port}", work / "access.log")
        finally:
            server.terminate()
            server.wait(10)


@contextlib.contextmanager
def nginx_or_skip(root: Path) -> Iterator[Nginx]:
    """In a test."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    with nginx(root) as host:
        yield host


endless: Trick = _Handler.endless
trickle: Trick = _Handler.trickle
trickle_head: Trick = _Handler.trickle_head

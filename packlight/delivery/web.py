"""HTTP with bounds: on waiting, on slowness, on redirects, on what comes back.

A host can be slow, endless, or lead in circles; none of that may keep a device busy. Lengths are
bounded by those who know them (`downloads`, `trust`), everything else here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import packlight
from packlight.errors import BadInput

if TYPE_CHECKING:
    import urllib3

REDIRECTS = 5
CHUNK = 1 << 16  # bytes read at once


class Unreachable(BadInput):
    """The host can not be reached or does not serve now; trying later may help."""


class NotServed(BadInput):
    """The host answered with an error.

    Args:
        message: for the user.
        status: HTTP's number.
    """

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Limits:
    """How long a device is patient.

    Args:
        wait: seconds for a connection, for the head of an answer, and between two bytes.
        rate: bytes per second that must arrive on average once `grace` seconds have passed.
        grace: seconds.
    """

    wait: float = 20.0
    rate: float = 1000.0
    grace: float = 20.0


@dataclass(frozen=True)
class Answer:
    """An answer whose body is still to come; `chunks` may end early where the host ended it."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Web:
    """Asks for one URL after the other.

    Attributes:
        received: bytes of all bodies so far.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.received = 0
        self._pools: dict[str, urllib3.PoolManager] = {}

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """An answer, its body not read yet.

        Raises:
            Unreachable: there is no connection, or it is too slow, or the host has a fault (5xx).
            NotServed: the host answered with another error.
            BadInput: the URL is none, or leads in circles.
        """
        asked = {"Accept-Encoding": "identity"} | dict(headers or {})
        response = self._followed(url, asked)
        try:
            if response.status >= 500:
                raise Unreachable(f"{url} is not served now (HTTP {response.status})")
            if response.status >= 400 and response.status != 416:
                raise NotServed(
                    f"{url} is not there (HTTP {response.status}); check the address, and that "
                    "the host has all of the repository",
                    response.status,
                )
            yield Answer(response.status, response.headers, self._chunks(response, url))
        finally:
            response.close()

    def _followed(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer at the end of a few redirects, whose bodies nobody reads."""
        at = url
        for _ in range(REDIRECTS + 1):
            response = self._asked(at, headers)
            to = response.get_redirect_location()
            if not to:
                return response
            response.close()
            to = urljoin(at, to)
            if urlsplit(at).scheme == "https" and urlsplit(to).scheme != "https":
                raise BadInput(f"{url} leads from https to {to}; check the host")
            at = to
        raise BadInput(f"{url} leads on and on ({REDIRECTS} redirects); check the host")

    def _asked(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        import urllib3

        wait = urllib3.Timeout(connect=self.limits.wait, read=self.limits.wait)
        retries = urllib3.Retry(total=None, connect=1, read=0, redirect=0, other=0)
        try:
            return self._pool(url).request(
                "GET",
                url,
                headers=headers,
                redirect=False,
                preload_content=False,
                decode_content=False,
                retries=retries,
                timeout=wait,
            )
        except (urllib3.exceptions.LocationValueError, UnicodeError) as problem:
            raise BadInput(f"{url} is no address; write for instance https://host/folder") from (
                problem
            )
        except urllib3.exceptions.HTTPError as problem:
            raise Unreachable(f"{_host(url)} can not be reached ({_why(problem)})") from problem

    def _chunks(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        import urllib3

        start, count = time.monotonic(), 0
        body = cast("urllib3.HTTPResponse", response)
        while True:
            try:
                chunk = body.read1(CHUNK)
            except urllib3.exceptions.TimeoutError as problem:
                raise Unreachable(f"{_host(url)} stopped sending {url}") from problem
            except (urllib3.exceptions.HTTPError, OSError):
                return  # cut off: the length tells
            if not chunk:
                return
            count += len(chunk)
            self.received += len(chunk)
            took = time.monotonic() - start
            if took > self.limits.grace and count < self.limits.rate * took:
                raise Unreachable(
                    f"{_host(url)} sends {url} at {count / took:,.0f} bytes per second, fewer "
                    f"than {self.limits.rate:,.0f}"
                )
            yield chunk

    def _pool(self, url: str) -> urllib3.PoolManager:
        """By the proxy that the environment names."""
        import urllib3

        try:
            parts = urlsplit(url)
        except ValueError as problem:
            raise BadInput(f"{url} is no address: {problem}") from problem
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url} is no address; write for instance https://host/folder")
        proxy = "" if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme, "")
        if proxy not in self._pools:
            agent = {"User-Agent": f"packlight/{packlight.__version__}"}
            pool = (
                urllib3.ProxyManager(proxy, headers=agent)
                if proxy
                else (urllib3.PoolManager(headers=agent))
            )
            pool.pool_classes_by_scheme = _watched(self.limits.wait)
            self._pools[proxy] = pool
        return self._pools[proxy]


def _watched(wait: float) -> dict[str, Any]:
    """Connections that hang up when the head of an answer takes longer than `wait` as a whole.

    The timeout of a socket starts again with every byte.
    """
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

    def answer(connection: Any, kind: Any) -> Any:
        sock = connection.sock
        alarm = threading.Timer(wait, _hang_up, [sock])
        alarm.daemon = True
        alarm.start()
        try:
            return kind.getresponse(connection)
        finally:
            alarm.cancel()

    class Plain(HTTPConnection):
        def getresponse(self) -> Any:
            return answer(self, HTTPConnection)

    class Secure(HTTPSConnection):
        def getresponse(self) -> Any:
            return answer(self, HTTPSConnection)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _hang_up(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _host(url: str) -> str:
    return urlsplit(url).netloc or url


def _why(problem: Exception) -> str:
    import urllib3

    reason = getattr(problem, "reason", None) or problem
    match reason:
        case urllib3.exceptions.NameResolutionError():
            return "the name is not known"
        case urllib3.exceptions.SSLError():
            return f"its certificate is not accepted: {reason}"
        case urllib3.exceptions.NewConnectionError():
            return "no connection"
        case urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case _:
            return "the connection broke"

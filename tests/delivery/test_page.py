"""What docs/delivery.md tells to type is typed here, word by word; only the port is a free one."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import run
from tests.delivery.nets import write_network

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text()


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def page(tmp_path, monkeypatch) -> str:
    """The page, where a fit lies in `small`."""
    write_network(tmp_path / "small" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return PAGE.replace("8000", str(free_port()))


def free_port() -> int:
    """Of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_every_command_and_the_example_run(page, tmp_path, monkeypatch, capsys):
    servers = []
    try:
        for line in "".join(blocks("sh", page)).splitlines():
            words = shlex.split(line)
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
            elif words[-1] == "&":
                assert words[0] == ".venv/bin/python"
                servers.append(
                    subprocess.Popen([sys.executable, *words[1:-1]], stderr=subprocess.DEVNULL)
                )
                waited_for(int(words[-2]))
            else:
                assert words[0] == ".venv/bin/packlight"
                assert not run(*words[1:]), line
                assert capsys.readouterr().out.strip()
        (example,) = blocks("python", page)
        exec(compile(example, "example", "exec"), {})
        assert capsys.readouterr().out.startswith("1.0.0 ")
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    assert servers
    assert (tmp_path / "device" / "current.json").is_file()


def waited_for(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def test_the_cron_line_has_options_that_there_are(capsys):
    (line,) = re.findall(r"^    17 .*? (packlight repo refresh .*)$", PAGE, re.MULTILINE)
    assert re.findall(r"--\w+", line) == ["--keys"]
    assert not run("repo", "refresh", "--help")
    assert "--keys DIR" in capsys.readouterr().out


def test_the_limits_told_are_those_of_the_code():
    from packlight.delivery.publishing import BASES, WORTH
    from packlight.delivery.repository import LIFETIME
    from packlight.delivery.store import KEPT
    from packlight.delivery.web import REDIRECTS, Limits

    days = {role: time.days for role, time in LIFETIME.items()}
    assert days == {"root": 365, "targets": 90, "snapshot": 7, "timestamp": 1}
    assert Limits() == Limits(wait=20, rate=1000, grace=20)
    assert (BASES, WORTH, KEPT, REDIRECTS) == (3, 0.75, 2, 5)
    for told in ("last three versions", "less\nthan 75 %", "the two before it", "five redirects"):
        assert told in PAGE
    for told in ("| 1 year |", "| 90 days |", "| 7 days |", "| 1 day |", "1,000 bytes per second"):
        assert told in PAGE

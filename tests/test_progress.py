"""What long work tells, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

WORK = (
    "import time\n"
    "from packlight.cli.output import progress_for\n"
    "for _ in progress_for(False).each('counting', range(3)):\n"
    "    time.sleep(0.15)\n"
)


def test_a_stage_is_one_line_where_nobody_watches():
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"counting +[\d.]+ s\n", done.stderr)
    assert not done.stdout


def test_a_stage_is_a_moving_bar_on_a_terminal():
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how Linux says that the other side has closed
            pass
        assert process.wait() == 0
    os.close(ours)
    assert "━".encode() in shown
    assert re.search(rb"counting +[\d.]+ s\r\n", shown)

"""Freed memory is kept for as long as it is asked for, and given back afterwards."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
from packlight.memory import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"." * (1 << 26)  # 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

usual = faults()
before = resident()
with freed_memory_kept():
    with freed_memory_kept():
        pass
    kept = faults()
    held = resident() - before
given_back = resident() - before
print(usual, kept, held, given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_freed_memory_is_kept_and_then_given_back():
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    usual, kept, held, given_back, after = map(int, run.stdout.split())
    assert usual > 10 * 16  # where pages are large; else 163,840
    assert kept < usual / 4
    assert held > 1 << 25 > given_back
    assert after > kept


HEAPS = """
import ctypes, sys, threading
from packlight.cli import main

sys.argv = ["packlight", "--version"]
if {ours}:
    try:
        main()
    except SystemExit:
        pass
meet = threading.Barrier(5)

def take():
    held = b"." * (1 << 16)
    meet.wait()
    meet.wait()

for _ in range(4):
    threading.Thread(target=take).start()
meet.wait()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(library.fopen({file!r}.encode(), b"w"))
library.malloc_info(0, file)
library.fclose(file)
meet.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_the_command_line_has_one_heap_for_all_threads(tmp_path):
    heaps = []
    for ours in (True, False):
        file = tmp_path / "heaps.xml"
        script = HEAPS.format(ours=ours, file=str(file))
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        heaps.append(file.read_text().count("<heap nr="))
    assert heaps[0] == 1
    assert heaps[1] > 1

"""The decoder is the same with the processor's vector instructions and without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from packlight.coding.packing import compress
from tests.coding.samples import trellis
from tests.native.compiling import DECODER, INCLUDE, NATIVE, run, tool
from tests.native.test_build import EXAMPLES, STRICT

#: compiler, its flags, and what runs the program
BUILDS = {
    "plain": ("cc", ("-DPLT_PLAIN",), ()),
    "vectors": ("cc", (), ()),
    "Arm": ("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static",)),
    "Arm, plain": ("aarch64-linux-gnu-gcc", ("-static", "-DPLT_PLAIN"), ("qemu-aarch64-static",)),
}

#: of each 17 numbers, x and w of eight and a step, everything that plt_eight.h does
EIGHT = """
#include "plt_eight.h"
#include <stdio.h>
#include <string.h>

int main(int count, char **names)
{
    FILE *in = count > 1 ? fopen(names[1], "rb") : NULL;
    int16_t n[17], out[8];
    while (in && fread(n, sizeof n, 1, in)) {
        uint64_t halves[2];
        memcpy(halves, n, sizeof halves);
        plt_eight x = plt_eight_of(halves[0], halves[1]), w = plt_eight_load(n + 8);
        plt_eight scaled = plt_eight_scaled(x, n[16]), small = plt_eight_scaled(x, 4096);
        plt_eight_store(out, scaled);
        fwrite(out, sizeof out, 1, stdout);
        plt_eight_store(out, plt_eight_add(w, scaled));
        fwrite(out, sizeof out, 1, stdout);
        plt_sums sums = plt_sums_add(plt_sums_begin(), small, w);
        int32_t total = plt_sums_total(plt_sums_add(sums, x, plt_eight_scaled(w, 4096)));
        fwrite(&total, sizeof total, 1, stdout);
    }
    return 0;
}
"""


@pytest.fixture(params=BUILDS)
def build(request, tmp_path):
    """Makes a program of a source; gives the command that runs it."""
    compiler, flags, runner = BUILDS[request.param]
    paths = [tool(name) for name in runner]

    def make(source: str, *others: Path) -> list[str | Path]:
        (tmp_path / "program.c").write_text(source)
        run(tool(compiler), "-O2", *STRICT[:3], *flags, f"-I{INCLUDE}", f"-I{NATIVE / 'src'}",
            tmp_path / "program.c", *others, "-o", tmp_path / "program")  # fmt: skip
        return [*paths, tmp_path / "program"]

    return make


def test_eight_numbers_at_once_are_the_same_as_one_by_one(build, tmp_path):
    rng = np.random.default_rng(3)
    numbers = rng.integers(-(2**15), 2**15, (4000, 17)).astype(np.int16)
    extreme = rng.choice([-(2**15), -(2**15) + 1, -1, 0, 1, 2**15 - 1], (4000, 17))
    numbers = np.where(rng.random((4000, 17)) < 0.2, extreme, numbers).astype("<i2")
    (tmp_path / "numbers").write_bytes(numbers.tobytes())
    found = np.frombuffer(
        run(*build(EIGHT), tmp_path / "numbers", binary=True),
        [("scaled", "<i2", 8), ("added", "<i2", 8), ("total", "<i4")],
    )

    wide = numbers.astype(np.int64)
    x, w, step = wide[:, :8], wide[:, 8:16], wide[:, 16:17]
    assert (found["scaled"] == scaled(x, step)).all()
    assert (found["added"] == np.clip(w + scaled(x, step), -(2**15), 2**15 - 1)).all()
    assert (found["total"] == (w * scaled(x, 4096) + x * scaled(w, 4096)).sum(axis=1)).all()


def scaled(x, step):
    return (x * step + 2**15) >> 16


def test_files_unpack_the_same(build, tmp_path):
    rng = np.random.default_rng(5)
    kernels = np.round(rng.normal(0, 9, (24, 16, 3, 3))).astype(np.int8)
    tensors = [kernels, trellis((96, 64)), rng.normal(0, 0.1, (40, 33)).astype("<f4")]
    command = build(EXAMPLES[0], *DECODER)
    for tensor in tensors:
        np.save(tmp_path / "tensor.npy", tensor)
        raw = (tmp_path / "tensor.npy").read_bytes()
        (tmp_path / "tensor.plt").write_bytes(compress(raw, "max"))
        assert run(*command, tmp_path / "tensor.plt", binary=True) == raw

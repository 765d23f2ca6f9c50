"""Fuzzing for half a minute each way; native/fuzz/README.md tells of longer runs."""

from __future__ import annotations

import subprocess

import pytest

from tests.native.compiling import DECODER, INCLUDE, NATIVE, run, tool
from tests.native.seeds import SMALL_TABLES

SECONDS = 30
CHECKS = ("-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined")
#: half of the time would go into noting what is compared with what
QUICK = ("-fno-sanitize-coverage=trace-cmp", SMALL_TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unpack", "chunk"])
def test_no_input_makes_the_decoder_misbehave(tmp_path, name):
    clang = tool("clang")
    probe = tmp_path / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const char *p, long n) { return !p && n; }\n")
    if subprocess.run(
        [clang, *CHECKS, probe, "-o", tmp_path / "probe"], capture_output=True
    ).returncode:
        pytest.skip("needs libFuzzer, which this clang comes without")
    # fuzz_chunk.c includes the container's source, to make work memory of its own
    sources = [s for s in DECODER if name == "unpack" or s.name != "plt_file.c"]
    target = tmp_path / f"fuzz_{name}"
    run(clang, *CHECKS, *QUICK, f"-I{INCLUDE}", f"-I{NATIVE / 'src'}",
        NATIVE / "fuzz" / f"fuzz_{name}.c", *sources, "-o", target)  # fmt: skip
    found, seeds = tmp_path / "found", NATIVE / "fuzz" / "corpus" / name
    found.mkdir()
    limits = (f"-max_total_time={SECONDS}", "-max_len=600", "-timeout=20", "-rss_limit_mb=2000")
    run(target, *limits, "-print_final_stats=1", found, seeds, cwd=tmp_path)


def test_seeds_are_small():
    seeds = list((NATIVE / "fuzz" / "corpus").rglob("*"))
    assert len(seeds) > 20
    assert sum(seed.stat().st_size for seed in seeds if seed.is_file()) < 100_000

"""Codecs in turns, each in a process of its own: what is measured, kept, compared and told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks import history, lossless
from benchmarks.history import Change
from benchmarks.lossless import UNIT, changes, measure
from benchmarks.lossless_pages import DETAILS, MARKS, PAGE, best_peer, markdown, publish, summary
from benchmarks.peers import NotInstalled, Peer
from benchmarks.subjects import Subject, integers


def network() -> bytes:
    """An int8 tensor, one of few floats, one of many."""
    generator = np.random.default_rng(0)
    shared = generator.choice(np.array([-0.5, 0.0, 0.25, 1.5], np.float32), (32, 16))
    values = {
        "int8": generator.integers(-128, 128, (16, 32), np.int8),
        "shared": shared,
        "free": generator.normal(size=(32, 16)).astype(np.float32),
    }
    kept = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 16])
    nodes = [helper.make_node("Identity", ["shared"], ["y"])]
    return helper.make_model(helper.make_graph(nodes, "g", [], [y], kept)).SerializeToString()


def subject(folder: Path, old: bool = False) -> Subject:
    path = folder / "net.onnx"
    path.write_bytes(network())
    return Subject("net", "update" if old else "fp32", "float32", path, path if old else None)


def row(codec: str, size: int) -> dict[str, Any]:
    figures = {"speed": 2.0, "seconds": 0.001, "memory": 1_500_000}
    ways = {f"{name}_{way}": value for name, value in figures.items() for way in ("in", "out")}
    return {"codec": codec, "bytes": size, "turns": 1, **ways}


def record(ours: int = 600, base: int = 100, sha256: str = "a", written: str = "1") -> Any:
    failed = {"codec": "zpaq -m5", "failed": "no room"}
    alone = [row(UNIT, 800), row("xz -9e", 700), failed, row("packlight max", ours)]
    update = [row("bsdiff", 300), row("packlight max, alone", ours), row("packlight --base", base)]
    return {
        "date": "2026-01-02",
        "written": written,
        "commit": f"abc{written}",
        "machine": "2 cores",
        "versions": {"packlight": "0.1"},
        "subjects": {
            "net": {"kind": "fp32", "bytes": 1000, "sha256": sha256, "rows": alone},
            "a -> b": {"kind": "update", "bytes": 1000, "sha256": sha256, "rows": update},
        },
    }


def test_codecs_take_turns_and_one_that_fails_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Peer("Absent", "coders.py", ("absent==1",))

    def environment(peer: Peer, cache: Path) -> Path:
        raise NotInstalled(f"could not be installed: no {peer.name}")

    codecs = {
        UNIT: ("zstd", None),
        "packlight fast": ("packlight fast", None),
        "unknown": ("unknown", None),
        "peer": ("zipnn", absent),
        "slow": ("zlib", None),
    }
    monkeypatch.setattr(lossless, "CODECS", codecs)
    monkeypatch.setattr(lossless, "environment", environment)
    found = measure(subject(tmp_path), tmp_path, 2, {"slow": "left out"})
    rows = {each["codec"]: each for each in found["rows"]}
    assert list(rows) == list(codecs)
    assert rows[UNIT]["speed_in"] == rows[UNIT]["speed_out"] == 1.0
    assert rows[UNIT]["turns"] == rows["packlight fast"]["turns"] == 2
    assert rows["packlight fast"]["bytes"] < found["bytes"] == len(network())
    assert rows["packlight fast"]["seconds_in"] > 0
    assert rows["packlight fast"]["memory_in"] >= 0
    assert rows["unknown"]["failed"] == "ValueError: there is no codec 'unknown'"
    assert rows["peer"]["failed"] == "could not be installed: no Absent"
    assert rows["slow"]["failed"] == "left out"


def test_an_update_is_packed_from_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (UNIT, "packlight max, alone", "packlight --base")
    chosen = {name: lossless.UPDATES[name] for name in names}
    monkeypatch.setattr(lossless, "UPDATES", chosen)
    _, alone, base = measure(subject(tmp_path, old=True), tmp_path, 1)["rows"]
    assert base["bytes"] < alone["bytes"] / 4


def test_a_codec_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "CODECS", {UNIT: ("zstd", None)})
    monkeypatch.setattr(lossless, "TIMEOUT", 0.01)
    (only,) = measure(subject(tmp_path), tmp_path, 1)["rows"]
    assert only["failed"] == "was stopped after 0 seconds"


def test_integers_and_the_rest_are_the_whole_file() -> None:
    raw = network()
    found, rest = integers(raw)
    assert [value.shape for value in found.values()] == [(16, 32), (32, 16)]
    eight, places = found.values()
    table = np.array([-0.5, 0.0, 0.25, 1.5], "<f4")
    assert set(np.unique(places)) == {-1, 0, 1, 2}
    parts = eight.astype(np.int8).tobytes(), table[places + 1].tobytes()
    without = rest.replace(table.tobytes(), b"")
    assert len(without) + sum(map(len, parts)) == len(raw)
    starts = [raw.index(part) for part in parts]
    assert without[: starts[0]] == raw[: starts[0]]
    assert without[-100:] == raw[-100:]


def test_a_file_without_integers_is_all_rest() -> None:
    raw = np.random.default_rng(0).bytes(5000)
    assert integers(raw) == ({}, raw)


def test_ours_is_compared_with_the_newest_record_of_the_very_same_file() -> None:
    kept = [record(ours=500), record(ours=600)]
    assert changes(kept, record(ours=603)) == [
        Change("net, packlight max", 600, 603),
        Change("a -> b, packlight max, alone", 600, 603),
        Change("a -> b, packlight --base", 100, 100),
    ]
    assert changes(kept, record(sha256="another")) == []
    assert not Change("net", 1000, 1005).is_regression
    assert Change("net", 1000, 1006).is_regression


def test_a_run_in_which_ours_grew_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = subject(tmp_path)
    measured = record(ours=650)["subjects"]["net"]
    monkeypatch.setattr(lossless, "measure", lambda *_: measured)
    history.keep("lossless", record_of(net, ours=600), tmp_path)
    arguments = ["lossless", str(net.new), "--against", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as ended:
        lossless.main()
    assert ended.value.code == lossless.GREW


def record_of(net: Subject, ours: int) -> Any:
    kept = record(ours=ours)
    kept["subjects"] = {net.new.name: kept["subjects"]["net"]}
    return kept


def test_records_are_kept_and_come_oldest_first(tmp_path: Path) -> None:
    for written in ("2", "1", "3"):
        history.keep("lossless", record(written=written), tmp_path)
    history.keep("weigh", record(written="0"), tmp_path)
    assert [each["written"] for each in history.records("lossless", tmp_path)] == ["1", "2", "3"]


def test_the_page_has_ours_beside_the_smallest_of_the_others(tmp_path: Path) -> None:
    for name in (PAGE, DETAILS):
        (tmp_path / name).write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    publish([record(ours=650), record()], tmp_path)
    page, details = ((tmp_path / name).read_text() for name in (PAGE, DETAILS))
    assert "| net | fp32 | 1,000 | 700 xz -9e | 600 | – | – | 85.7 % |" in page
    assert "| a -> b | 600 | 300 bsdiff | 100 | 33.3 % |" in page.replace("&gt;", ">")
    assert "- net, packlight max: −7.69 %" in page
    assert "old" not in page + details
    assert "- zpaq -m5: no room" in details


def test_where_ours_is_not_smallest_the_table_says_so() -> None:
    text = summary([record(ours=710, base=310)])
    assert "101.4 % (not smallest)" in text
    assert "103.3 % (not smallest)" in text
    assert best_peer(record()["subjects"]["net"]) == ("xz -9e", 700)


def test_every_codec_has_its_ratios_first() -> None:
    text = markdown("net", record()["subjects"]["net"])
    assert "| xz -9e | 700 | 1.429 | 2x | 2x | 1 | 1 | 1.5 MB | 1.5 MB |" in text

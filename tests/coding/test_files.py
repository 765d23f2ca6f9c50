"""pack and unpack on disk: nothing is overwritten, half written, or written elsewhere."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

from packlight.coding import container
from packlight.coding.container import STORED, Chunk, Member
from packlight.coding.files import pack, unpack
from packlight.errors import BadInput
from tests.coding.samples import external_onnx, onnx_model, weights


@pytest.fixture
def model(tmp_path):
    external_onnx(tmp_path, {"w": weights((16, 8, 3, 3))})
    (tmp_path / "model.onnx").rename(tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def tree(folder) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_file_comes_back_under_its_name(model):
    raw = model.read_bytes()
    packed = pack(model)
    assert packed.name == "m.onnx.plt"
    with pytest.raises(BadInput, match="--force"):
        unpack(packed)
    model.unlink()
    assert unpack(packed) == model
    assert model.read_bytes() == raw


def test_a_folder_comes_back_with_empty_files_and_folders(tmp_path):
    bundle = tmp_path / "net.mlpackage"
    (bundle / "Data" / "weights").mkdir(parents=True)
    (bundle / "empty folder").mkdir()
    (bundle / "Manifest.json").write_text("{}")
    (bundle / "Data" / "nothing").write_bytes(b"")
    (bundle / "Data" / "weights" / "weight.bin").write_bytes(weights((50, 50)).tobytes())
    expected = tree(bundle)
    packed = pack(bundle)
    out = unpack(packed, tmp_path / "again")
    assert tree(out) == expected


def test_several_paths_become_one_archive(model, tmp_path):
    packed = pack([model, model.parent / "weights.bin"], tmp_path / "both.plt")
    assert set(tree(unpack(packed))) == {"m.onnx", "weights.bin"}
    with pytest.raises(BadInput, match="one archive"):
        pack([model, model])
    with pytest.raises(BadInput, match=r"called m\.onnx"):
        pack([model, model], tmp_path / "twice.plt")


def test_nothing_is_replaced_without_force(model):
    packed = pack(model)
    before = packed.read_bytes()
    with pytest.raises(BadInput, match="--force"):
        pack(model, level="max")
    assert packed.read_bytes() == before
    pack(model, level="fast", force=True)
    assert packed.read_bytes() != before


def test_links_are_not_followed_out_of_the_folder(tmp_path):
    (tmp_path / "f").mkdir()
    os.symlink("/etc/passwd", tmp_path / "f" / "link")
    with pytest.raises(BadInput, match="is a link"):
        pack(tmp_path / "f")


def test_what_is_not_there_or_no_packed_file_is_told(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        pack(tmp_path / "nothing.onnx")
    (tmp_path / "text.plt").write_text("no packed file at all")
    with pytest.raises(BadInput, match=r"not a \.plt"):
        unpack(tmp_path / "text.plt")
    with pytest.raises(BadInput, match="is a folder"):
        unpack(tmp_path)
    (tmp_path / "short").write_bytes(b"\x9cPL")
    with pytest.raises(BadInput, match="-o"):
        unpack(tmp_path / "short")
    with pytest.raises(BadInput, match="ends too early"):
        unpack(tmp_path / "short", tmp_path / "x")


def test_a_limit_on_the_output_is_checked_before_anything_is_allocated(model, tmp_path):
    packed = pack(model)
    with pytest.raises(BadInput, match="--max-output"):
        unpack(packed, tmp_path / "x", max_output=100)
    lie = container.write(b"", [], None)
    lie = lie[:10] + b"\xff" * 6 + b"\x0f" + lie[11:]
    lie = lie[:6] + struct.pack("<I", len(lie)) + lie[10:]
    import zlib

    lie = lie[:-4] + struct.pack("<I", zlib.crc32(lie[:-4]))
    (tmp_path / "lie.plt").write_bytes(lie)
    with pytest.raises(BadInput):
        unpack(tmp_path / "lie.plt", tmp_path / "x")
    assert not (tmp_path / "x").exists()


ESCAPES = {
    "absolute": "/etc/cron.d/x",
    "up": "../x",
    "up in the middle": "a/../../x",
    "here": "a/./x",
    "empty part": "a//x",
    "empty": "",
    "drive": "C:/x",
    "backslash": "a\\..\\x",
    "device": "nul",
    "device with suffix": "con.onnx",
    "port": "a/COM1",
    "trailing dot": "a./x",
    "trailing space": "x ",
    "stream": "x:y",
    "line feed": "x\ny",
    "zero": "x\0y",
}


@pytest.mark.parametrize("name", ESCAPES.values(), ids=ESCAPES.keys())
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    packed = container.write(b"data", [Chunk(STORED, 4, b"data")], [Member(name, 0, 4)])
    (tmp_path / "a.plt").write_bytes(packed)
    before = set(tmp_path.parent.rglob("*"))
    with pytest.raises(BadInput):
        unpack(tmp_path / "a.plt", tmp_path / "out")
    assert set(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("names", [("a", "A"), ("a", "a"), ("a", "a/b")])
def test_names_that_meet_on_some_systems_are_refused(tmp_path, names):
    members = [Member(name, 2 * i, 2) for i, name in enumerate(names)]
    packed = container.write(b"data", [Chunk(STORED, 4, b"data")], members)
    (tmp_path / "a.plt").write_bytes(packed)
    with pytest.raises(BadInput, match=r"are named|has files below it"):
        unpack(tmp_path / "a.plt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_can_not_be_written_to_is_told(model, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="can be written to"):
        pack(model, tmp_path / "no such folder" / "x.plt")


def test_only_the_difference_to_an_older_version_is_packed(tmp_path):
    old, new = tmp_path / "old.onnx", tmp_path / "new.onnx"
    first, second = weights((64, 64, 3, 3)), weights((32, 64), "int8", seed=1)
    old.write_bytes(onnx_model({"a": first, "b": second}))
    new.write_bytes(onnx_model({"c": second, "a": first, "d": second[:4] + 1}))
    packed = pack(new, base=old)
    assert packed.stat().st_size < 700
    raw = new.read_bytes()
    new.unlink()
    with pytest.raises(BadInput, match="--base"):
        unpack(packed)
    with pytest.raises(BadInput, match="another one was given"):
        unpack(packed, base=packed)
    assert not new.exists()
    unpack(packed, base=old)
    assert new.read_bytes() == raw
    with pytest.raises(BadInput, match="default or max"):
        pack(new, tmp_path / "x", base=old, level="fast")


def test_a_difference_between_files_of_any_kind(tmp_path):
    generator = np.random.default_rng(0)
    parts = [generator.bytes(3000) for _ in range(8)]
    (tmp_path / "old").write_bytes(b"".join(parts))
    moved = [parts[i] for i in (3, 0, 1, 7, 6)]
    (tmp_path / "new").write_bytes(b"few new bytes".join(moved))
    packed = pack(tmp_path / "new", base=tmp_path / "old")
    assert packed.stat().st_size < 400
    unpack(packed, tmp_path / "back", base=tmp_path / "old")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "new").read_bytes()


def test_a_folder_as_the_difference_to_a_folder(tmp_path):
    for name, seed in (("v1", 0), ("v2", 1)):
        (tmp_path / name).mkdir()
        external_onnx(
            tmp_path / name, {"w": weights((50, 60)), "head": weights((9, 50), seed=seed)}
        )
    packed = pack(tmp_path / "v2", base=tmp_path / "v1")
    alone = pack(tmp_path / "v2", tmp_path / "alone.plt")
    assert packed.stat().st_size < alone.stat().st_size / 3
    out = unpack(packed, tmp_path / "out", base=tmp_path / "v1")
    assert tree(out) == tree(tmp_path / "v2")


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1000, 1000), (2400, 1000)])
def test_long_runs_of_one_value(tmp_path, value, shape):
    np.save(tmp_path / "a.npy", np.full(shape, value, np.float32))
    packed = pack(tmp_path / "a.npy")
    assert packed.stat().st_size < 1000
    unpack(packed, tmp_path / "b.npy")
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


def test_an_empty_folder_and_an_empty_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert unpack(pack(tmp_path / "folder"), tmp_path / "again").is_dir()
    assert unpack(pack(tmp_path / "file"), tmp_path / "too").read_bytes() == b""

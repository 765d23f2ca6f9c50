"""Of a version's files, a device takes the one that asks for the most it can give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

from packlight.coding.container import Member
from packlight.delivery import Client, publish
from packlight.delivery.choosing import Device
from packlight.delivery.index import Packed, Release, Variant
from packlight.delivery.inputs import parse_shape, read_inputs, takes
from packlight.delivery.names import Version, checked_licence
from packlight.delivery.repository import open_repository
from packlight.errors import BadInput
from tests.commands import run
from tests.delivery.nets import SECRET, write_network
from tests.shared import shared

GB = 10**9


def variant(file: str, **told) -> Variant:
    told = {"runtime": "onnx", "precision": None, "size": 9} | told
    return Variant(file=file, sha256=file, full=Packed(file, 9), **told)


def taken(*variants: Variant, **device) -> list[str]:
    release = Release(Version("1.0.0"), variants, "")
    return [one.file for one in Device(**device).variants("letters", release)]


CLASSES = (variant("s"), variant("m", min_ram=3 * GB), variant("l", min_ram=6 * GB))


@pytest.mark.parametrize(
    ("ram", "file"),
    [(None, "s"), (GB, "s"), (3 * GB - 1, "s"), (3 * GB, "m"), (4 * GB, "m"), (12 * GB, "l")],
)
def test_the_highest_ram_class_is_taken(ram, file):
    assert taken(*CLASSES, ram=ram) == [file]


def test_no_file_is_for_a_device_with_less_ram_or_that_does_not_tell():
    for ram in (None, GB):
        assert taken(*CLASSES[1:], ram=ram) == []


def test_of_equal_ram_the_newer_system_is_taken_and_then_any():
    old, new = variant("old", min_os="android-26"), variant("new", min_os="android-33")
    big = variant("big", min_ram=GB)
    assert taken(variant("any"), old, new, os="android-34") == ["new"]
    assert taken(variant("any"), old, new, os="android-30") == ["old"]
    assert taken(old, new, big, os="android-34", ram=GB) == ["big"]
    assert taken(variant("a"), variant("b")) == ["a", "b"]


def test_an_input_is_asked_for_only_where_files_of_one_class_differ():
    small = variant("small", inputs=((None, 3, 96, 96),))
    large = variant("large", inputs=((1, 3, 224, 224), (1,)))
    batch = variant("batch", inputs=((1, 3, 96, 96),))
    with pytest.raises(BadInput, match=r"inputs of \?x3x96x96 or 1x3x224x224, 1; say which with"):
        taken(small, large)
    assert taken(small, large, input_shape=(3, 224, 224)) == ["large"]
    assert taken(small, large, input_shape=(1, 3, 96, 96)) == ["small"]
    assert taken(small, large, input_shape=(3, 100, 100)) == []
    assert taken(small, batch) == ["small", "batch"]
    assert taken(small, variant("silent")) == ["small", "silent"]
    assert taken(variant("silent"), input_shape=(3, 96, 96)) == []
    class_ = variant("class", min_ram=GB, inputs=large.inputs)
    assert taken(small, class_, ram=GB) == ["class"]


def test_an_open_size_takes_any():
    assert takes([(None, 3, None, None)], (3, 20, 30))
    assert not takes([(None, 3, None, None)], (1, 20, 30))
    assert not takes([(None, 3, None, None)], (3, 20))
    assert not takes(None, (3, 20))


@pytest.mark.parametrize(
    ("shape", "wanted", "suits"),
    [
        ((None, 1, 28, 28), (1, 1, 28, 28), True),
        ((None, 1, 28, 28), (1, 28, 28), True),  # the 1 is a channel
        ((None, 1, 28, 28), (28, 28), False),
        ((1, 28, 28), (28, 28), True),
        ((28, 28), (1, 28, 28), True),
        ((2, 28, 28), (28, 28), False),
        ((2, 28, 28), (2, 28, 28), True),
        ((), (1,), True),
    ],
)
def test_only_the_batch_may_be_left_out(shape, wanted, suits):
    assert takes([shape], wanted) == suits


@pytest.mark.parametrize("text", ["", "3x", "x", "3x-1", "0x3", "3,4", "?x3"])
def test_what_is_no_shape_is_one_sentence(text):
    with pytest.raises(BadInput, match="is no shape of an input"):
        parse_shape(text)


def test_inputs_are_read_from_the_file(tmp_path):
    data = write_network(tmp_path / "model.onnx", width=32).read_bytes()
    assert read_inputs("onnx", data, None) == ((1, 32),)
    for runtime in ("onnx", "litert", "coreml", "executorch", "ort"):
        assert read_inputs(runtime, b"\xff" * 40, None) is None
        assert read_inputs(runtime, data[: len(data) // 2], None) is None


def test_inputs_of_a_core_ml_package():
    """The specification was written by coremltools 9: a colour image of 224x100, and an array."""
    specification = bytes.fromhex(
        "080712340a120a05696d6167651a09220708e001106418140a110a01781a0c2a0a0a040103141e10a08004520b"
        "0a01791a062a040a020105"
    )
    members = [
        Member("Data/com.apple.CoreML/model.mlmodel", 2, len(specification)),
        Member("Manifest.json", 0, 2),
    ]
    told = read_inputs("coreml", b"{}" + specification, members)
    assert told == ((3, 100, 224), (1, 3, 20, 30))


def test_inputs_of_real_files():
    lite = shared("models", "mobilenet_v2_1.0_224_quant.tflite").read_bytes()
    assert read_inputs("litert", lite, None) == ((1, 224, 224, 3),)
    voice = shared("models", "silero_vad.onnx").read_bytes()
    ports = onnx.load_model_from_string(voice).graph.input
    told = tuple(
        tuple(dim.dim_value or None for dim in port.type.tensor_type.shape.dim) for port in ports
    )
    assert read_inputs("onnx", voice, None) == told


@pytest.fixture
def classes(repo, host, tmp_path):
    """1.0.0 of `sized`: a small network for all, a large one for 3 GB; and a device to make."""
    folder = tmp_path / "in"
    write_network(folder / "model.onnx", width=32)
    write_network(folder / "model-large.onnx", width=48)
    files = [folder / "model.onnx", folder / "model-large.onnx"]
    net = ("--name", "sized", "--version", "1.0.0", "--licence", "Apache-2.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKLIGHT_PASSPHRASE", SECRET)
        asked = ["publish", *files, "--repo", repo, *net, "--min-ram", "model-large.onnx=3GB"]
        assert not run(*asked, "--quiet")
    return ["fetch", host.url, "sized", "--trust", repo / "metadata" / "1.root.json", "--quiet"]


def test_fetch_takes_the_class_of_the_device_and_tells_the_licence(classes, tmp_path, capsys):
    capsys.readouterr()
    for options, file in (
        ((), "model.onnx"),
        (("--ram", "2GB"), "model.onnx"),
        (("--ram", "3GB"), "model-large.onnx"),
        (("--ram", "8GB", "--input", "1x32"), "model.onnx"),
    ):
        assert not run(*classes, "--into", tmp_path / "phone", *options, "--json")
        told = json.loads(capsys.readouterr().out)
        assert Path(told["after"]["path"]).name == file
        assert told["record"] == {"licence": "Apache-2.0"}
    asked = ("--into", tmp_path / "phone", "--input", "7x7")
    assert not run(*classes, *asked)
    assert "no other version is for this device" in capsys.readouterr().out
    assert run(*classes, "--into", tmp_path / "phone", "--ram", "0") == 2
    assert "--ram '0' is not possible" in capsys.readouterr().err


def test_status_tells_needs_inputs_and_licence(classes, repo, capsys):
    assert not run("repo", "status", repo, "--quiet")
    told = capsys.readouterr().out
    assert "  Apache-2.0  model.onnx " in told
    assert "from 3 GB of RAM, takes 1x48" in told


def test_what_is_not_used_is_not_in_the_index(published):
    data = open_repository(published / "networks").index("letters", "stable").to_bytes()
    for key in (b"min_ram", b"min_os", b"parts", b"record", b"licence"):
        assert key not in data


@pytest.mark.parametrize(
    "text", ["Apache-2.0", "GPL-2.0+", "MIT OR (Apache-2.0 AND BSD-3-Clause)", "LicenseRef-Ours"]
)
def test_licences_have_the_form_of_spdx(text):
    assert checked_licence(text) == text


@pytest.mark.parametrize("text", ["", "my own", "MIT OR", "(MIT", "MIT\x1b[2J", "a" * 300, 7, None])
def test_what_is_no_licence_is_one_sentence(text):
    with pytest.raises(BadInput, match="is no licence; write its SPDX identifier"):
        checked_licence(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"licence": "my own"}, "is no licence"),
        ({"min_ram": {"litert": GB}}, "there is no file for litert, which --min-ram speaks of"),
        ({"min_os": {"other.onnx": "ios-17"}}, "no file for other.onnx, which --min-os speaks"),
        ({"min_ram": {"onnx": 0}}, "a need of 0 bytes of RAM"),
        ({"tags": {"../heads": ["a"]}}, "is no tag"),
        ({"tags": {"heads": "again/model.onnx"}}, "two of the files are called model.onnx"),
    ],
)
def test_what_can_not_be_published_is_one_sentence(options, said, repo, tmp_path, monkeypatch):
    file = write_network(tmp_path / "in" / "model.onnx", changed=5)
    monkeypatch.chdir(tmp_path)
    shutil.copytree("in", "again")
    before = sorted(repo.rglob("*"))
    with pytest.raises(BadInput, match=said):
        publish(file, repo, name="letters", version="2.0.0", secret=SECRET, **options)
    assert sorted(repo.rglob("*")) == before


@pytest.mark.parametrize("words", [("--min-ram", "3GB"), ("--tag", "heads="), ("--min-os", "=x")])
def test_half_a_pair_is_one_sentence(words, capsys):
    assert run("publish", "x", "--repo", "r", "--name", "n", "--version", "1.0.0", *words) == 2
    assert "takes two words with = between them, like " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ram": 0}, "a need of 0 bytes"),
        ({"input_shape": (3, -1)}, "inputs of"),
        ({"os": "android"}, "is no system"),
    ],
)
def test_a_device_that_can_not_be_is_one_sentence(options, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        Client("http://127.0.0.1:9", "letters", tmp_path / "phone", **options)

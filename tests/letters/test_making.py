"""`packlight letters`: what it writes is what it says, and bad input is told at once."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from packlight.coding.packing import decompress
from packlight.errors import BadInput, BudgetNotMet
from packlight.files import replace_file
from packlight.judge import proportion
from packlight.letters import CHARSET, Bounds, make, making, render
from packlight.letters.learning import JUDGING
from packlight.letters.making import read
from packlight.shrink.fit import FitResult
from tests.commands import run
from tests.shrink.brief import briefly

QUICK = {"steps": 60, "lessons": 9_000, "images": 1000, "judges": 500}
SMALL = QUICK | {"size": 16, "steps": 2}
PAGE = (Path(__file__).parents[2] / "docs" / "letters.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page's commands are typed, with less training and fewer images."""
    folder = tmp_path_factory.mktemp("it's here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making.make, "__kwdefaults__", making.make.__kwdefaults__ | QUICK)
        briefly(patch)
        patch.chdir(folder)
        lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
        typed = [line for line in lines if line.startswith(".venv/bin/packlight ")]
        assert typed
        for line in typed:
            assert not run(*shlex.split(line)[1:]), line
    return folder


def test_the_files_are_there_and_fit(folder):
    reader = folder / "reader"
    assert sorted(path.name for path in reader.iterdir()) == [
        "labels.txt",
        "model.onnx",
        "model.onnx.plt",
        "report.html",
        "report.json",
        "trained.onnx",
    ]
    packed = (reader / "model.onnx.plt").read_bytes()
    assert len(packed) <= 10_000
    assert decompress(packed) == (reader / "model.onnx").read_bytes()
    assert (reader / "labels.txt").read_text().split("\n") == [*CHARSET, ""]


def test_it_reads_images_that_nothing_has_seen_far_above_chance(folder):
    images, labels = render(500, (JUDGING, 0))
    right = (read(folder / "reader" / "model.onnx", images) == labels).mean()
    report = json.loads((folder / "reader" / "report.json").read_text())
    assert report["accuracy"]["n"] == 500
    assert report["accuracy"]["compressed"]["top1"] == pytest.approx(right, abs=0.01)
    assert right > 0.08  # chance is 0.03


def test_the_python_example_runs(folder, monkeypatch, capsys):
    (example,) = blocks("python")
    monkeypatch.chdir(folder)
    exec(compile(example, "example", "exec"), {})
    assert "%" in capsys.readouterr().out


def test_what_was_asked_is_in_the_report(folder):
    asked = json.loads((folder / "reader" / "report.json").read_text())["asked"]
    assert asked["lessons"] == QUICK["lessons"]
    assert asked["target_size"] == 10_000


def test_a_run_that_is_cut_off_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("packlight.fit", _stop)
    with pytest.raises(RuntimeError, match="it has come to this"):
        make("AB", "2KB", out=tmp_path, **SMALL)
    trained = (tmp_path / "trained.onnx").read_bytes()
    monkeypatch.setattr(making, "train", lambda *_, **__: pytest.fail("trained again"))
    with pytest.raises(RuntimeError, match="it has come to this"):
        make("AB", "2KB", out=tmp_path, **SMALL)
    assert (tmp_path / "trained.onnx").read_bytes() == trained


def test_what_is_told_is_measured_on_the_written_file(tmp_path, monkeypatch):
    def fitted(model, *_, out, **__):
        path = replace_file(out / "model.onnx", Path(model).read_bytes())
        return FitResult(path, replace_file(out / "model.onnx.plt", b"12"), {}, True, None)

    monkeypatch.setattr("packlight.fit", fitted)
    made = make("AHOX", "2KB", out=tmp_path, **SMALL)
    images, labels = render(500, (JUDGING, 0), charset="AHOX", size=16)
    wrong = read(tmp_path / "model.onnx", images) != labels
    assert made.accuracy == proportion(int((~wrong).sum()), 500)
    assert 0 < sum(count for _, _, count in made.confused) <= wrong.sum()
    assert made.notes == []
    assert f"{made.accuracy.value:.2%} of 500 unseen images" in str(made)
    assert "2 bytes to download" in str(made)
    assert not any(path.name.startswith(".packlight") for path in tmp_path.iterdir())


def test_clean_glyphs_repeat_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "packlight.fit", lambda model, *_, **__: FitResult(model, model, {}, True, None)
    )
    made = make("AB", "2KB", bounds=Bounds().times(0), out=tmp_path, **SMALL)
    assert made.notes == [
        "500 of the unseen images equal one that was learnt: the bounds vary little"
    ]


def _stop(*_, **__):
    raise RuntimeError("it has come to this")


def test_bounds_and_fonts_reach_the_images(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("packlight.fit", lambda _, data, **__: seen.append(data.train) or _stop())
    with pytest.raises(RuntimeError):
        make("AB", "2KB", bounds=Bounds().times(0), out=tmp_path, **SMALL)
    clean = {image.tobytes() for image in seen[0].arrays()[0]}
    assert len(clean) <= 2 * 2 * 4  # classes, dark or light, typefaces
    assert np.bincount(seen[0].labels).tolist() == [500, 500]


def test_a_size_that_not_even_an_empty_network_fits_is_told_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(making, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(BudgetNotMet, match="takes more than 536 B without any weights"):
        make("A-Z0-9", 500, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_refused_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(making, "train", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match=r"already holds mine\.txt"):
        make("AB", "3KB", out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--charset", "Z-A"], 2, "runs backwards"),
        (["--charset", "Aあ"], 2, "Aileron can not draw 'あ' (U+3042)"),
        (["--charset", "AB", "--font", "nowhere.ttf"], 2, "nowhere.ttf does not exist"),
        (["--charset", "AB", "--rotation", "90"], 2, "rotation is 90"),
        (["--charset", "AB", "--size", "4"], 2, "size is 4; images of 8 to 256"),
        (["--charset", "AB", "--seed", "-1"], 2, "seed is -1"),
        (["--charset", "AB", "--target-size", "much"], 2, "target-size 'much' is not a size"),
        (["--charset", "AB", "--target-size", "100"], 3, "ask for more"),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(
    arguments, code, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--target-size" in arguments else [*arguments, "--target-size", "5KB"]
    assert run("letters", *given) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("packlight: ")
    assert said.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_command_hands_on_what_is_typed_and_says_what_was_made(monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(making, "make", lambda *given, **more: asked.update(more, of=given))
    code = run(
        *("letters", "--charset", "AHOX", "--target-size", "3KB", "--size", "16", "--quiet"),
        *("--rotation", "5", "--font", "a.ttf", "--font", "b.otf", "--out", "there"),
    )
    said = capsys.readouterr()
    assert (code or 0, said.err, said.out) == (0, "", "None\n")
    assert asked["of"] == ("AHOX", "3KB")
    assert asked["bounds"] == Bounds(rotation=5)
    assert asked["fonts"] == (Path("a.ttf"), Path("b.otf"))
    assert (asked["size"], asked["out"], asked["seed"]) == (16, Path("there"), 0)

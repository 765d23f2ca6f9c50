"""`packlight letters`: what it writes is what it says, and bad input is told at once."""

import json
from pathlib import Path

import numpy as np
import pytest

from packlight.coding.packing import decompress
from packlight.errors import BadInput, BudgetNotMet
from packlight.judge import proportion
from packlight.letters import Bounds, make, making, render
from packlight.letters.learning import JUDGING
from packlight.letters.making import read
from tests.commands import run

QUICK = {"size": 16, "steps": 60, "lessons": 13_000, "images": 1000, "judges": 500}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make("AHOX", "3KB", out=tmp_path_factory.mktemp("made") / "it's", **QUICK)


def test_the_files_are_there_and_fit(made):
    folder = made.fitted.model.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "labels.txt",
        "model.onnx",
        "model.onnx.plt",
        "report.html",
        "report.json",
        "trained.onnx",
    ]
    assert made.fitted.packed.stat().st_size <= 3000
    assert decompress(made.fitted.packed.read_bytes()) == made.fitted.model.read_bytes()
    assert (folder / "labels.txt").read_text() == "A\nH\nO\nX\n"


def test_the_accuracy_told_is_that_of_the_written_file_on_unseen_images(made):
    images, labels = render(500, (JUDGING, 0), charset="AHOX", size=16)
    answers = read(made.fitted.model, images)
    assert made.accuracy == proportion(int((answers == labels).sum()), 500)
    assert made.accuracy.value == pytest.approx(
        made.fitted.report["accuracy"]["compressed"]["top1"], abs=0.01
    )
    assert made.accuracy.value > 0.8  # chance is 0.25
    wrong = sum(count for _, _, count in made.confused)
    assert 0 <= (answers != labels).sum() - wrong < 100
    assert f"{made.accuracy.value:.2%} of 500 unseen images" in str(made)


def test_what_was_asked_is_in_the_report(made):
    asked = json.loads((made.fitted.model.parent / "report.json").read_text())["asked"]
    assert asked["lessons"] == QUICK["lessons"]
    assert asked["target_size"] == 3000


def test_a_run_that_is_cut_off_goes_on_where_it_was(tmp_path, monkeypatch, made):
    def cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("packlight.fit", cut)
        with pytest.raises(KeyboardInterrupt):
            make("AHOX", "3KB", out=tmp_path, **QUICK)
    monkeypatch.setattr(making, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("packlight.fit", _stop)
    with pytest.raises(RuntimeError, match="it has come to this"):
        make("AHOX", "3KB", out=tmp_path, **QUICK)
    trained = made.fitted.model.with_name("trained.onnx").read_bytes()
    assert (tmp_path / "trained.onnx").read_bytes() == trained


def _stop(*_, **__):
    raise RuntimeError("it has come to this")


def test_bounds_and_fonts_reach_the_images(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("packlight.fit", lambda _, data, **__: seen.append(data.train) or _stop())
    with pytest.raises(RuntimeError):
        make("AB", "2KB", bounds=Bounds().times(0), out=tmp_path, **QUICK | {"steps": 1})
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


def test_the_command_hands_on_what_is_typed_and_says_what_was_made(made, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(making, "make", lambda *given, **more: asked.update(more, of=given) or made)
    code = run(
        *("letters", "--charset", "AHOX", "--target-size", "3KB", "--size", "16", "--quiet"),
        *("--rotation", "5", "--font", "a.ttf", "--font", "b.otf", "--out", "there"),
    )
    said = capsys.readouterr()
    assert (code or 0, said.err) == (0, "")
    assert asked["of"] == ("AHOX", "3KB")
    assert asked["bounds"] == Bounds(rotation=5)
    assert asked["fonts"] == (Path("a.ttf"), Path("b.otf"))
    assert (asked["size"], asked["out"], asked["seed"]) == (16, Path("there"), 0)
    assert "of 500 unseen images" in said.out
    assert str(made.fitted.packed) in said.out

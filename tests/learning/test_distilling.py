"""`distill`: what a student learns, takes and answers, and what is written about it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import packlight
from packlight.learning import training
from packlight.learning.distilling import distill
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from tests.commands import run
from tests.learning.quarters import quarters
from tests.networks import settled

STUDENT = "resnet8:0.25"


class Brightest(nn.Module):
    """Probabilities for which quarter of (n, 3, 16, 16), 0..255, is the brightest; knows it."""

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.head = nn.Linear(4, 4)
        self.last = last
        with torch.no_grad():
            self.conv.weight.fill_(1 / 64)
            self.conv.bias.zero_()
            self.head.weight.copy_(torch.eye(4))
            self.head.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        image = image.permute(0, 3, 1, 2) if self.last else image
        pooled = nn.functional.avg_pool2d(self.conv(image), 8).flatten(1)
        return self.head(pooled).softmax(1)


class Normed(nn.Module):
    """A student with batch norms, (n, 3, 16, 16) -> (n, 4) logits."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(image / 255)))
        return self.head(nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A teacher, one with its channels last, and pictures."""
    folder = tmp_path_factory.mktemp("distill")
    for name, last in (("teacher", False), ("last", True)):
        shape = (2, 16, 16, 3) if last else (2, 3, 16, 16)
        network = Network.from_module(
            Brightest(last), (torch.rand(shape),), input_names=["picture"], output_names=["chance"]
        )
        onnx_file.write(network, folder / f"{name}.onnx")
    x, y = quarters(640, 0)
    x_test, y_test = quarters(200, 1)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return folder


@pytest.fixture(scope="module")
def unfit(tmp_path_factory):
    """What no student, teacher or picture can be."""
    folder = tmp_path_factory.mktemp("unfit")
    (folder / "words.txt").write_text("words")
    for name, classes, dynamic in (("ten", 10, True), ("single", 4, False)):
        example = (torch.rand(2, 3, 16, 16),)
        network = Network.from_module(Normed(classes).eval(), example, dynamic_batch=dynamic)
        onnx_file.write(network, folder / f"{name}.onnx")
    x, y = quarters(80, 2)
    for name, count, labels in (("few", 3, y), ("wrong", 40, y * 0 + 7), ("unlabelled", 40, None)):
        parts = {"x_train": x[:count], "x_test": x[40 : 40 + count]}
        if labels is not None:
            parts |= {"y_train": labels[:count], "y_test": labels[:count]}
        np.savez(folder / f"{name}.npz", **parts)
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr("packlight.learning.course.BATCH", 64)
    monkeypatch.setattr("packlight.learning.distilling.LEAST_STEPS", 1)


def options(**changes):
    scaled = packlight.Preprocess(scale=1)
    return {"epochs": 2, "preprocess": scaled} | changes


def answers(file, x: np.ndarray) -> np.ndarray:
    session = Session(file)
    return session.over([(x.astype(np.float32),)])[0]


def test_a_recipe_learns_to_answer_as_its_teacher(folder, tmp_path):
    result = distill(
        folder / "teacher.onnx",
        STUDENT,
        folder / "data.npz",
        out=tmp_path / "out",
        **options(epochs=14, rate=2e-2),
    )
    x, y = quarters(200, 1)
    chances = answers(result.model, x.transpose(0, 3, 1, 2))
    session = Session(result.model)
    assert session.input_names == ["picture"]
    assert session.output_names == ["chance"]
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-4)
    right = float((chances.argmax(1) == y).mean())
    assert right > 0.6
    report = json.loads((tmp_path / "out" / "distill.json").read_bytes())
    assert report["student"]["top1"]["value"] == pytest.approx(right)
    assert report["student"]["top1"]["n"] == 200
    assert report["student"]["bytes"] == result.model.stat().st_size
    assert report["teacher"]["top1"]["value"] > 0.95
    assert report["training"]["loss"][-1][1] < report["training"]["loss"][0][1]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "distill.json",
        "student.onnx",
        "student.pt2",
    ]


def test_a_student_learns_on_from_its_program(folder, tmp_path):
    first = distill(
        folder / "teacher.onnx", STUDENT, folder / "data.npz", out=tmp_path / "a", **options()
    )
    second = distill(
        folder / "teacher.onnx", first.program, folder / "data.npz", out=tmp_path / "b", **options()
    )
    losses = [one.report["training"]["loss"] for one in (first, second)]
    assert losses[1][0][1] < losses[0][0][1]
    assert second.report["asked"]["student"] == "student.pt2"


def test_a_cut_is_not_seen_afterwards(folder, tmp_path, monkeypatch):
    """The bytes of the student are those of a training that nothing interrupted."""
    monkeypatch.setattr("packlight.learning.checkpoints.EVERY", 0.0)

    def taught(out, **changes):
        return distill(
            folder / "teacher.onnx",
            STUDENT,
            folder / "data.npz",
            out=out,
            **options(epochs=5, **changes),
        )

    whole = taught(tmp_path / "whole", labels=True)
    look = training._Training._look

    def killed(self):
        if self.step > 20:
            raise KeyboardInterrupt
        look(self)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_look", killed)
        with pytest.raises(KeyboardInterrupt):
            taught(tmp_path / "cut", labels=True)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".packlight"]
    steps = []
    advance = training._Training._advance
    monkeypatch.setattr(
        training._Training, "_advance", lambda self: (steps.append(self.step), advance(self))[1]
    )
    again = taught(tmp_path / "cut", labels=True)
    assert steps[0] >= 20
    assert again.model.read_bytes() == whole.model.read_bytes()


@pytest.mark.parametrize("features", [False, True])
def test_a_file_learns_for_a_teacher_whose_channels_come_last(folder, tmp_path, features):
    student = Network.from_module(settled(Normed()), (torch.rand(2, 3, 16, 16),))
    onnx_file.write(student, tmp_path / "student.onnx")
    result = distill(
        folder / "last.onnx",
        tmp_path / "student.onnx",
        folder / "data.npz",
        features=features,
        labels=True,
        out=tmp_path / "out",
        **options(epochs=6, rate=1e-2),
    )
    x, y = quarters(200, 1)
    chances = answers(result.model, x)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-4)
    assert float((chances.argmax(1) == y).mean()) > 0.6
    assert (tmp_path / "out" / "student.onnx").stat().st_size < 20_000  # no bridge in it


def test_features_are_matched_by_a_recipe(folder, tmp_path):
    result = distill(
        folder / "teacher.onnx",
        STUDENT,
        folder / "data.npz",
        features=True,
        out=tmp_path / "out",
        **options(),
    )
    loss = result.report["training"]["loss"]
    assert loss[-1][1] < loss[0][1]


def test_a_network_that_does_not_classify_learns_the_outputs(tmp_path):
    torch.manual_seed(0)

    def coder(width):
        return nn.Sequential(nn.Linear(12, width), nn.Tanh(), nn.Linear(width, 12))

    example = (torch.randn(2, 12),)
    onnx_file.write(Network.from_module(coder(32), example), tmp_path / "teacher.onnx")
    onnx_file.write(Network.from_module(coder(16), example), tmp_path / "student.onnx")
    frames = np.random.default_rng(0).standard_normal((600, 12)).astype(np.float32)
    result = distill(
        tmp_path / "teacher.onnx",
        tmp_path / "student.onnx",
        frames,
        epochs=60,
        rate=1e-2,
        out=tmp_path / "out",
    )
    assert result.report["student"]["against_teacher"]["sqnr_db"] > 8
    assert result.report["student"]["top1"] is None
    with pytest.raises(packlight.BadInput, match="--labels needs a teacher that classifies"):
        distill(tmp_path / "teacher.onnx", tmp_path / "student.onnx", frames, labels=True)


def test_a_student_is_fitted_into_a_size(folder, tmp_path, capsys):
    code = run(
        *("distill", folder / "teacher.onnx", "--student", STUDENT, "--data"),
        *(folder / "data.npz", "--scale", 1, "--epochs", 2, "--target-size", "12KB"),
        *("--out", tmp_path / "out", "--quiet"),
    )
    said = capsys.readouterr()
    assert not code, said.err
    assert "fitted" in said.out
    report = json.loads((tmp_path / "out" / "distill.json").read_bytes())
    fitted = tmp_path / "out" / "fitted" / "model.onnx"
    assert report["fitted"]["bytes"] == fitted.stat().st_size
    assert report["fitted"]["packed_bytes"] <= 12_000 < report["student"]["packed_bytes"]
    assert not (tmp_path / "out" / ".packlight").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"student": "resnet9"}, "there is no 'resnet9' in the zoo"),
        ({"student": "words.txt"}, "words.txt can not be a student"),
        ({"teacher": "words.txt"}, "words.txt ends in .txt"),
        ({"student": "ten.onnx"}, "ten.onnx takes .* answers .*10.* its teacher teacher.onnx"),
        ({"student": "single.onnx"}, "takes 2 samples at a time"),
        ({"epochs": 0}, "--epochs 0 is not possible"),
        ({"temperature": float("nan")}, "--temperature nan is not possible"),
        ({"balance": 1.5}, "--balance 1.5 is not possible"),
        ({"rate": -1.0}, "--rate -1 is not possible"),
        ({"target_size": "big"}, "'big' is not a size"),
        ({"data": "few.npz"}, "has 3 samples to learn from and 3 to judge"),
        ({"data": "wrong.npz"}, "has the label 7, the network has 4"),
        ({"data": "unlabelled.npz", "labels": True}, "these have none"),
    ],
)
def test_what_can_not_be_used_is_told_in_a_sentence(
    folder, unfit, tmp_path, monkeypatch, changes, said
):
    monkeypatch.chdir(unfit)
    given = {"teacher": folder / "teacher.onnx", "student": STUDENT, "data": folder / "data.npz"}
    given |= options() | {"out": tmp_path / "out"} | changes
    with pytest.raises(packlight.BadInput, match=said):
        distill(**given)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_files_is_left_alone(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(packlight.BadInput, match=r"already holds mine.txt"):
        distill(folder / "teacher.onnx", STUDENT, folder / "data.npz", out=tmp_path, **options())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

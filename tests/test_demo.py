"""The demo: its network learns, its images are apart, and the whole journey arrives."""

import numpy as np
import pytest
import torch

from packlight import demo as demo_module
from packlight.demo import demo, train, write_images
from packlight.errors import BadInput
from packlight.letters import CHARSET


def test_the_network_is_small_enough_to_train_and_large_enough_to_be_worth_fitting():
    network = train(steps=1)
    size = 4 * sum(weight.numel() for weight in network.parameters())
    assert 100_000 < size < 300_000
    assert network(torch.zeros(3, 1, 32, 32)).shape == (3, len(CHARSET))


def test_the_data_is_written_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "FIT_IMAGES", 40)
    monkeypatch.setattr(demo_module, "JUDGE_IMAGES", 50)
    first, second = (write_images(tmp_path / name, 0) for name in ("a.npz", "b.npz"))
    assert first.read_bytes() == second.read_bytes()
    with np.load(first) as data:
        shapes = {name: (data[name].shape, str(data[name].dtype)) for name in data}
    assert shapes == {
        "x_train": ((40, 1, 32, 32), "uint8"),
        "y_train": ((40,), "int64"),
        "x_test": ((50, 1, 32, 32), "uint8"),
        "y_test": ((50,), "int64"),
        "class_names": ((36,), "<U1"),
    }


def test_a_folder_that_holds_something_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "train", lambda **_: pytest.fail("trained"))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match=r"already holds mine\.txt"):
        demo(tmp_path)
    with pytest.raises(BadInput, match="is a file; give a folder"):
        demo(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.slow
def test_the_whole_journey_arrives_at_a_tenth(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "STEPS", 300)
    monkeypatch.setattr(demo_module, "FIT_IMAGES", 400)
    monkeypatch.setattr(demo_module, "JUDGE_IMAGES", 600)
    result = demo(tmp_path / "it's here")
    size = result.model.stat().st_size
    assert result.fitted.met
    assert result.fitted.packed.stat().st_size <= size // 10
    assert result.fitted.model.with_name("report.html").is_file()
    assert result.checked.verdict.n >= 600
    before, after = result.checked.verdict.top1
    assert before > 0.9
    assert after > before - 0.05
    assert str(result.fitted.packed) in result.guide
    assert "packlight fit '" in result.guide  # a folder with a space is quoted

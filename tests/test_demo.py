"""The demo: its network learns, its images are apart, and the whole journey arrives."""

from functools import partial

import numpy as np
import pytest
import torch

from packlight import demo as demo_module
from packlight.demo import FITTING, JUDGING, TRAINING, LetterNet, demo, train, write_images
from packlight.errors import BadInput
from packlight.letters import CHARSET, render
from packlight.progress import Progress


def accuracy_of(network, seed=7):
    images, labels = render(1000, seed)
    with torch.no_grad():
        answers = network(torch.from_numpy(images) / 255).argmax(1).numpy()
    return (answers == labels).mean()


def test_a_few_seconds_of_training_reach_far_above_chance():
    network = train(steps=40)
    assert not network.training
    assert accuracy_of(LetterNet().eval()) < 0.15
    assert accuracy_of(network) > 0.5  # chance is 0.03


def test_training_is_the_same_for_the_same_seed_and_leaves_torch_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train(steps=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    second = train(steps=3).state_dict()
    third = train(seed=1, steps=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classify.weight"], third["classify.weight"])


def test_every_batch_is_counted():
    class Counting(Progress):
        def each(self, name, items, total=None):
            self.told = (name, total)
            return super().each(name, items, total)

    progress = Counting()
    train(steps=2, progress=progress)
    assert progress.told == ("train", 2)
    assert progress.seconds["train"] > 0


def test_the_network_is_small_enough_to_train_and_large_enough_to_be_worth_fitting():
    size = 4 * sum(weight.numel() for weight in LetterNet().parameters())
    assert 100_000 < size < 300_000
    assert LetterNet()(torch.zeros(3, 1, 32, 32)).shape == (3, len(CHARSET))


def test_the_streams_of_images_share_none():
    streams = [(TRAINING, 0, 1), (TRAINING, 0, 2), (FITTING, 0), (JUDGING, 0), (JUDGING, 1)]
    seen = [{image.tobytes() for image in render(200, stream)[0]} for stream in streams]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 1000


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
    with pytest.raises(BadInput, match="can not be used as a folder"):
        demo(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.slow
def test_the_whole_journey_arrives_at_a_tenth(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "train", partial(train, steps=150))
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

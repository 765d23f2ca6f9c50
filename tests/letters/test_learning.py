"""A recogniser learns, the same way every time, from images drawn ahead of it."""

import threading

import numpy as np
import pytest
import torch

from packlight.learning.checkpoints import Checkpoints
from packlight.letters import LetterNet, render, train
from packlight.letters.learning import FITTING, JUDGING, TRAINING, Ahead, Sight
from packlight.progress import Progress


def accuracy_of(network, sight):
    images, labels = sight.draw(1000, 7)
    with torch.no_grad():
        answers = network(torch.from_numpy(images) / 255).argmax(1).numpy()
    return (answers == labels).mean()


def test_a_few_seconds_of_training_reach_far_above_chance():
    sight = Sight("AHOX")
    network = train(sight, channels=[8, 16, 16], steps=60)
    assert not network.training
    assert accuracy_of(LetterNet(4, [8, 16, 16]).eval(), sight) < 0.5
    assert accuracy_of(network, sight) > 0.8  # chance is 0.25


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


def test_a_training_that_is_cut_off_goes_on_to_the_same_end(tmp_path):
    class Cut(Checkpoints):
        def keep(self, training):
            self.keep_now(training)
            if training.step == 4:
                raise KeyboardInterrupt

    sight = Sight("AB", 16)
    with pytest.raises(KeyboardInterrupt):
        train(sight, steps=6, memory=Cut(tmp_path / "part"))
    steps = []

    class Counting(Sight):
        def draw(self, count, seed):
            steps.append(seed[-1])
            return super().draw(count, seed)

    resumed = train(Counting("AB", 16), steps=6, memory=Checkpoints(tmp_path / "part"))
    whole = train(sight, steps=6)
    assert steps == [5, 6]
    assert all(torch.equal(a, b) for a, b in zip(*map(weights_of, (resumed, whole)), strict=True))


def weights_of(network):
    return network.state_dict().values()


def test_every_batch_is_counted():
    class Counting(Progress):
        def stage(self, name, total=None):
            self.told = (name, total)
            return super().stage(name, total)

    progress = Counting()
    train(Sight("AB", 8), steps=2, progress=progress)
    assert progress.told == ("train", 2)


def test_the_streams_of_images_share_none():
    streams = [(TRAINING, 0, 1), (TRAINING, 0, 2), (FITTING, 0), (JUDGING, 0), (JUDGING, 1)]
    seen = [{image.tobytes() for image in render(200, stream)[0]} for stream in streams]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 1000


def test_what_is_made_ahead_is_what_each_step_asked_for():
    here, makers = threading.current_thread(), set()

    def make(step):
        makers.add(threading.current_thread())
        return np.full(3, step)

    with Ahead(make, 9) as batches:
        assert [int(batches(step)[0]) for step in range(2, 9)] == list(range(2, 9))
    assert here not in makers


def test_an_error_while_drawing_ahead_is_told():
    def fail(step):
        raise ValueError("no ink")

    with Ahead(fail, 3) as batches, pytest.raises(ValueError, match="no ink"):
        batches(0)

"""What a student learns: the loss by hand, views by a slow loop, samples as bytes or floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import packlight
from packlight import data as samples_of
from packlight.graph import aten, is_call
from packlight.judge import Task
from packlight.learning.lessons import Lesson
from packlight.learning.parting import part
from packlight.learning.pupils import Dress, Pupil
from packlight.learning.shelves import Held, Read, open_pixels, shelve
from packlight.learning.students import learnable
from packlight.learning.teachers import Teacher
from packlight.learning.views import Views, find_views
from packlight.network import Network, flat
from packlight.progress import Progress
from tests.networks import images, plain


class Answers(nn.Module):
    """Scores that are the inputs."""

    def forward(self, x):
        return x * 1.0


def lesson(balance: float, labels: bool) -> tuple[Lesson, Pupil]:
    network = Network.from_module(Answers(), (torch.rand(2, 3),))
    teacher = Teacher(network, Task(True, False, 3))
    shelf = Held((torch.zeros(1, 3),), None)
    pupil = Pupil(nn.Linear(3, 3), Dress(shape=(3,)))
    return Lesson(teacher, shelf, 2.0, balance, labels), pupil


def by_hand(logits, wanted, labels, balance, hot=2.0) -> float:
    """Hinton et al., arXiv:1503.02531, sample by sample."""
    total = 0.0
    for own, other, label in zip(logits, wanted, labels, strict=True):
        p = np.exp(other / hot) / np.exp(other / hot).sum()
        q = np.exp(own / hot) / np.exp(own / hot).sum()
        taught = hot**2 * (p * np.log(p / q)).sum()
        told = np.log(np.exp(own).sum()) - own[label]
        weight = balance if label < 0 or other.argmax() == label else 0.0
        total += taught if label < 0 else weight * taught + (1 - weight) * told
    return total / len(logits)


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("labels", [True, False])
def test_the_loss_is_what_the_paper_says(balance, labels):
    made, pupil = lesson(balance, labels)
    torch.manual_seed(1)
    x, y = torch.randn(16, 3), torch.randint(3, (16,))
    value = made(pupil, (x, y) if labels else (x,)).detach()
    logits = pupil(x)[0].detach().double().numpy()
    told = y.numpy() if labels else np.full(16, -1)
    assert float(value) == pytest.approx(by_hand(logits, x.double().numpy(), told, balance), 1e-5)


def test_a_teacher_that_is_always_wrong_changes_nothing():
    made, pupil = lesson(0.7, True)
    x = torch.randn(16, 3)
    y = (x.argmax(1) + 1) % 3
    value, wanted = made(pupil, (x, y)), nn.functional.cross_entropy(pupil(x)[0], y)
    assert float(value.detach()) == pytest.approx(float(wanted.detach()), 1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_views_are_whole_pixels_moved_and_mirrored(last):
    pictures = torch.arange(6 * 3 * 8 * 9, dtype=torch.int32).reshape(6, 3, 8, 9)
    given = pictures.permute(0, 2, 3, 1) if last else pictures
    made = Views(2, True, last)(given, torch.Generator().manual_seed(0))
    made = made.permute(0, 3, 1, 2) if last else made
    padded = nn.functional.pad(pictures.float(), (2, 2, 2, 2), mode="reflect").int()
    seen = set()
    for view, wide in zip(made, padded, strict=True):
        places = [
            (down, right, mirrored)
            for down in range(5)
            for right in range(5)
            for mirrored in (False, True)
            if torch.equal(view, _cut(wide, down, right, mirrored))
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) > 3


def _cut(wide, down, right, mirrored):
    cut = wide[:, down : down + 8, right : right + 9]
    return cut.flip(2) if mirrored else cut


def test_views_that_cost_answers_are_left_out():
    x = torch.rand(64, 3, 16, 16)
    sides = x[..., :8].mean((1, 2, 3)) > x[..., 8:].mean((1, 2, 3))

    def good(pictures):
        left = pictures[..., :8].mean((1, 2, 3)) > pictures[..., 8:].mean((1, 2, 3))
        return float((left == sides).double().mean())

    assert not find_views(x, False, good, 0).mirrored
    assert find_views(x, False, lambda pictures: 1.0, 0) == Views(2, True)
    assert find_views(torch.rand(64, 3, 8, 8), False, lambda pictures: 1.0, 0) == Views()
    assert Views(4, True).fading(0.5) == Views(2, True)
    assert Views(4, True).fading(1.0) == Views(0, True)


@pytest.mark.parametrize("last", [False, True])
def test_bytes_make_the_numbers_that_data_makes(last):
    shape = (2, 6, 5, 3) if last else (2, 3, 6, 5)
    inputs = Network.from_module(Answers(), (torch.rand(shape),)).inputs
    how = packlight.Preprocess(scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 3.0, 5.0), bgr=True)
    source = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    dataset = samples_of.open_data(source, inputs, how)
    opened = open_pixels(source, dataset, inputs, how)
    assert opened is not None
    pixels, scaling = opened
    held = shelve(dataset.test, (pixels.test, scaling), Progress())
    assert isinstance(held, Held)
    assert held.values[0].dtype == torch.uint8
    read = shelve(dataset.test, (pixels.test, scaling), Progress(), most=100)
    assert isinstance(read, Read)
    chosen = torch.tensor([3, 0, 39])
    made = [shelf.numbers(shelf.take(chosen))[0] for shelf in (held, read)]
    assert torch.equal(*made)


def test_floats_that_look_like_bytes_stay_floats():
    inputs = Network.from_module(Answers(), (torch.rand(2, 3, 6, 5),)).inputs
    source = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 5)).astype(np.float32)
    how = packlight.Preprocess()
    assert open_pixels(source, samples_of.open_data(source, inputs, how), inputs, how) is None


def test_no_sample_is_in_two_parts():
    inputs = Network.from_module(Answers(), (torch.rand(2, 3),)).inputs
    source = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    parts = part(samples_of.open_data(source, inputs), 0)
    counts = [len(one) for one in (parts.learn, parts.held, parts.judge)]
    assert counts == [152, 8, 40]
    marks = [set(one.fingerprints()) for one in (parts.learn, parts.held, parts.judge)]
    assert len(set.union(*marks)) == 200


def test_a_graph_that_learns_answers_as_before_and_its_norms_learn_again():
    network = plain()
    module, cut = learnable(network, cut_softmax=True)
    assert not cut
    assert not [n for n in module.graph.nodes if is_call(n, aten.batch_norm)]
    x = images(8)
    with torch.no_grad():
        (wanted,) = network(x)
        torch.testing.assert_close(flat(module.eval()(x))[0], wanted)
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(norms) == 2
    before = [one.running_mean.clone() for one in norms]
    module.train()(x)
    assert all(not torch.equal(a, b.running_mean) for a, b in zip(before, norms, strict=True))

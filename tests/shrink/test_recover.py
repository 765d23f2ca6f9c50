"""Training through discrete weights: what it reaches, that it repeats and that it goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from packlight.coding import rate
from packlight.fuse import fuse
from packlight.network import Network
from packlight.shrink import augment, discrete, recover
from packlight.shrink.augment import Distortion
from packlight.shrink.layers import find_layers, value_of_name
from packlight.shrink.student import Student, left_of
from packlight.shrink.thinning import macs_by_weight
from tests.networks import images, plain

INPUTS = images(256, seed=3)
LOSS = recover.classifier_loss(False)


@pytest.fixture(scope="module", autouse=True)
def seldom():
    """Trainings as short as these choose less often, and do not wait for what died."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recover, "CHOICES", 25)
        patch.setattr(discrete, "FADED", np.inf)
        yield


def _cost(solved: list[recover.Solved]) -> float:
    return sum(rate.estimate(one.levels) for one in solved)


def _run(network, budget, steps=400, **more):
    plan = recover.Plan(budget, steps, 32, Distortion(), 0)
    lesson = recover.Lesson(network, (INPUTS,), LOSS)
    return recover.recover(network, find_layers(network), lesson, plan, _cost, **more)


def _filled(network, solved):
    copy = network.copy()
    with torch.no_grad():
        for layer, one in zip(find_layers(copy), solved, strict=True):
            shape = [-1 if axis == layer.axis else 1 for axis in range(len(layer.shape))]
            weight = one.levels * one.scale.reshape(shape)
            value_of_name(copy, layer.weight).copy_(torch.from_numpy(weight))
            if one.bias is not None:
                value_of_name(copy, layer.bias).copy_(torch.from_numpy(one.bias))
    return copy


def _distance(network, other, x) -> float:
    with torch.no_grad():
        return float(LOSS(other(x), network(x)))


@pytest.fixture(scope="module")
def network():
    return fuse(plain()).network


@pytest.fixture(scope="module")
def trained(network):
    """Half a bit for a weight."""
    count = sum(np.prod(layer.shape) for layer in find_layers(network))
    return _run(network, 0.5 * count)


def test_the_budget_holds(network, trained):
    count = sum(np.prod(layer.shape) for layer in find_layers(network))
    assert _cost(trained) <= 0.5 * count


def test_training_answers_nearer_than_rounding_to_as_few_bits(network, trained):
    x = images(128, seed=9)
    rounded = []
    for layer in find_layers(network):
        weight = value_of_name(network, layer.weight).detach().numpy()
        low, high = 0.0, 100.0 * float(np.abs(weight).max())
        goal = _cost([one for one in trained if one.levels.shape == layer.shape])
        for _ in range(40):
            step = (low + high) / 2
            levels = np.clip(np.rint(weight / step), -127, 127).astype(np.int8)
            low, high = (step, high) if rate.estimate(levels) > goal else (low, step)
        bias = value_of_name(network, layer.bias).detach().double().numpy()
        scale = np.full(layer.shape[layer.axis], high, np.float32)
        rounded.append(recover.Solved(levels, scale, bias, 0.0))
    near = _distance(network, _filled(network, trained), x)
    assert near < 0.5 * _distance(network, _filled(network, rounded), x)


def test_the_same_seed_gives_the_same_levels(network):
    first, second = (_run(network, 2000.0, steps=60) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.levels, other.levels)
        np.testing.assert_array_equal(one.bias, other.bias)


def test_a_training_that_was_cut_off_goes_on_to_the_same_levels(network):
    class Cut(Exception):
        pass

    class Memory:
        def __init__(self, cut: int | None, state=None) -> None:
            self.cut, self.state = cut, state

        def restore(self, training) -> None:
            if self.state is not None:
                training.load_state(self.state)

        def keep(self, training) -> None:
            if training.step == self.cut:
                self.state = torch.load(_saved(training.state()), weights_only=True)
                raise Cut

    def _saved(state):
        import io

        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        return buffer

    whole = _run(network, 800.0, steps=80)
    memory = Memory(70)
    with pytest.raises(Cut):
        _run(network, 800.0, steps=80, memory=memory)
    assert memory.state["places"]  # channels are gone by then
    rest = _run(network, 800.0, steps=80, memory=Memory(None, memory.state))
    for one, other in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(one.levels, other.levels)
        np.testing.assert_array_equal(one.bias, other.bias)


def test_labels_are_learnt_from_beside_the_original(network):
    """Labels that contradict the original's answers are taken up only where they are given."""
    with torch.no_grad():
        wrong = (network(INPUTS)[0].argmax(1) + 1) % 6
    learnt = {}
    for labels in (None, wrong):
        lesson = recover.Lesson(network, (INPUTS,), LOSS, labels)
        plan = recover.Plan(0.0, 150, 32)
        values = recover.distil(network, lesson, plan)
        taught = network.copy()
        with torch.no_grad():
            for name, value in values.items():
                value_of_name(taught, name).copy_(value)
            learnt[labels is None] = float((taught(INPUTS)[0].argmax(1) == wrong).float().mean())
    assert learnt[True] < 0.02
    assert learnt[False] > 0.2


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_lie_with_channels_last_however_they_are_distorted(channels, monkeypatch):
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))
    x = torch.randn(8, channels, 16, 16)
    network = Network.from_module(module, (x,))
    seen = []
    call = Student.__call__
    monkeypatch.setattr(
        Student, "__call__", lambda one, x: seen.append(x.stride(1)) or call(one, x)
    )
    lesson, plan = recover.Lesson(network, (x,), LOSS), recover.Plan(1e5, 3, 4, Distortion(1.0), 0)
    recover.recover(network, find_layers(network), lesson, plan, _cost)
    assert seen == [1, 1, 1]


def test_the_budget_shrinks_in_equal_ratios_to_what_is_asked():
    assert recover.scheduled(1e6, 1e3, 0.0) == pytest.approx(1e6)
    assert recover.scheduled(1e6, 1e3, 1.0) == pytest.approx(1e3)
    values = [recover.scheduled(1e6, 1e3, done) for done in np.linspace(0, 1, 20)]
    assert values == sorted(values, reverse=True)


def test_the_softened_divergence_is_zero_only_for_the_same_answers():
    logits = torch.randn(8, 10)
    assert float(LOSS((logits,), (logits + 3.0,))) == pytest.approx(0.0, abs=1e-5)
    probabilities = recover.classifier_loss(True)
    both = (logits.softmax(1),), (logits.flip(0).softmax(1),)
    assert float(probabilities(*both)) == pytest.approx(
        float(LOSS((logits,), (logits.flip(0),))), rel=1e-4
    )


def test_a_distortion_fades_to_nothing_while_training_goes_on():
    whole = Distortion(1.0, mirrored=True)
    strengths = [whole.fading(done).strength for done in (0.0, 0.25, 0.5, 1.0)]
    assert strengths == [1.0, 0.75, 0.5, 0.0]
    assert whole.fading(1.0).mirrored
    batch = torch.rand(4, 1, 8, 8)
    faded = Distortion(1.0).fading(1.0)(batch, torch.Generator())
    assert torch.equal(faded, batch)


def test_a_distortion_is_only_as_strong_as_the_answers_stand():
    x = torch.rand(64, 1, 28, 28)

    def brightest_corner(batch: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(batch, 14).flatten(1).argmax(1)

    def brightness(batch: torch.Tensor) -> torch.Tensor:
        return (batch.mean((1, 2, 3)) > 2.0).long()

    assert not augment.find_distortion((x,), brightest_corner, 0).mirrored
    assert augment.find_distortion((x,), brightness, 0) == Distortion(1.0, True)
    assert augment.find_distortion((x[:, :, :1],), brightness, 0) == Distortion()
    assert augment.find_distortion((x, x), brightness, 0) == Distortion()


def _half_dead(network) -> Student:
    """A student with two dead rows in every layer but the last."""
    student = Student(network, find_layers(network))
    for weight in list(student.weights.values())[:-1]:
        weight.kept[:2] = False
    student.round(True)
    return student


def test_what_is_dead_goes_and_nothing_else_changes(network):
    student = _half_dead(network)
    narrow, places = student.narrowed((INPUTS[:32],))
    assert places
    assert sum(macs_by_weight(narrow.network).values()) < sum(macs_by_weight(network).values())
    for one, other in zip(student(INPUTS), narrow(INPUTS), strict=True):
        torch.testing.assert_close(one, other)
        one.square().sum().backward()
        other.square().sum().backward()
    for name, weight in narrow.weights.items():
        whole = student.weights[name].shadow.grad
        torch.testing.assert_close(
            weight.shadow.grad, left_of(places, name, whole), rtol=1e-3, atol=1e-5
        )
    for one, other in zip(student.solved(), narrow.solved(), strict=True):
        np.testing.assert_array_equal(one.levels * _read(one, other), other.levels)
        assert one.scale.shape == other.scale.shape
        assert one.bias.shape == other.bias.shape


def test_a_row_that_died_lately_is_left_to_come_back(network, monkeypatch):
    monkeypatch.setattr(discrete, "FADED", 1e-3)
    student = _half_dead(network)
    for weight in student.weights.values():
        weight.fisher += 1.0
    assert not student.narrowed((INPUTS[:32],))[1]
    for weight in student.weights.values():
        weight.fisher[:2] = 1e-6
    assert student.narrowed((INPUTS[:32],))[1]


def _read(one, other) -> np.ndarray:
    """Columns that some layer wrote: the others' weights went with what they read."""
    gone = (other.levels == 0).all(axis=tuple(a for a in range(other.levels.ndim) if a != 1))
    shape = [1, -1] + [1] * (one.levels.ndim - 2)
    return ~gone.reshape(shape)


def test_a_training_that_narrows_has_more_steps_for_the_same_work(network):
    ticks, steps, places = [], [], []

    class Watch:
        def restore(self, training) -> None:
            pass

        def keep(self, training) -> None:
            steps.append(training.step)
            places.append(training.state()["places"])

    _run(network, 800.0, steps=80, memory=Watch(), tick=lambda: ticks.append(1))
    assert places[-1]
    assert not places[0]
    assert len(ticks) == 80 < steps[-1]

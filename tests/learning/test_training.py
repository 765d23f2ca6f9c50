"""The training loop: what it returns, where it stops, and that a cut is not seen afterwards."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from packlight.errors import BadInput, PacklightError
from packlight.learning.checkpoints import Checkpoints
from packlight.learning.memory_order import fastest_order
from packlight.learning.schedule import share_of_rate
from packlight.learning.threads import WORTH, threads_for
from packlight.learning.training import Plan, train
from packlight.network import Network
from tests.learning import task
from tests.learning.task import Small, batch_of, cross_entropy

PLAN = Plan(steps=30, rate=1e-2, every=10)


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def states_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def accuracy(module: torch.nn.Module) -> float:
    assert not module.training
    images, labels = batch_of(10_000, 200)
    return float((module(images).argmax(1) == labels).double().mean())


def test_a_network_learns_and_is_left_in_eval_mode():
    module = small()
    before = accuracy(module.eval())
    history = train(module, batch_of, cross_entropy, Plan(steps=100, rate=1e-2))
    assert accuracy(module) > before + 0.2
    assert len(history.losses) == 100
    assert not history.stopped
    points = history.curve(7)
    assert points[-1][0] == 100
    assert len(points) <= 7


def test_the_best_validated_weights_are_handed_out():
    seen = []

    def validate(module):
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return [0.1, 0.9, 0.3][len(seen) - 1]

    module = small()
    history = train(module, batch_of, cross_entropy, PLAN, validate=validate)
    assert history.best == 20
    assert history.scores == [(10, 0.1), (20, 0.9), (30, 0.3)]
    assert all(torch.equal(value, seen[1][name]) for name, value in module.state_dict().items())


def test_it_stops_when_validations_gain_nothing():
    history = train(
        small(),
        batch_of,
        cross_entropy,
        Plan(steps=1000, every=3, patience=2),
        validate=lambda module: 0.5,
    )
    assert history.stopped
    assert len(history.losses) == 9


class Cut(Exception):
    """A kill."""


@pytest.mark.parametrize("after", [1, 14])
def test_a_training_that_was_cut_off_ends_in_the_same_weights(tmp_path, monkeypatch, after):
    monkeypatch.setattr("packlight.learning.checkpoints.EVERY", 0.0)
    whole, cut = small(), small()
    wanted = train(whole, batch_of, cross_entropy, PLAN, validate=accuracy)

    def cut_off(step):
        if step == after:
            raise Cut
        return batch_of(step)

    memory = Checkpoints(tmp_path / "train.part")
    with pytest.raises(Cut):
        train(cut, cut_off, cross_entropy, PLAN, validate=accuracy, memory=memory)
    other, asked = small(seed=5), []  # what it began with no longer counts

    def watched(step):
        asked.append(step)
        return batch_of(step)

    history = train(other, watched, cross_entropy, PLAN, validate=accuracy, memory=memory)
    assert asked[0] == after
    assert states_equal(whole, other)
    assert history == wanted


def test_a_checkpoint_of_another_plan_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("packlight.learning.checkpoints.EVERY", 0.0)
    memory = Checkpoints(tmp_path / "train.part")
    train(small(), batch_of, cross_entropy, PLAN, memory=memory)
    asked = []

    def watched(step):
        asked.append(step)
        return batch_of(step)

    train(small(), watched, cross_entropy, Plan(steps=4), memory=memory)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_with_one_sentence(tmp_path, where):
    def broken(module, batch):
        value = cross_entropy(module, batch)
        calls.append(0)
        if len(calls) < 5:
            return value
        return value * float("nan") if where == "loss" else (value - value.detach()).sqrt()

    calls: list[int] = []
    memory = Checkpoints(tmp_path / "train.part")
    with pytest.raises(PacklightError, match=r"step 5 of 30; try a lower --rate") as raised:
        train(small(), batch_of, broken, PLAN, memory=memory)
    assert str(memory.path) in str(raised.value)
    kept = torch.load(memory.path, weights_only=True)
    assert kept["step"] == 4
    assert all(value.isfinite().all() for value in kept["module"].values())


def test_biases_and_norms_do_not_decay():
    module = small()
    with torch.no_grad():
        module.norm.bias.fill_(1.0)
    wanted = {name: value.clone() for name, value in module.named_parameters()}

    def nothing(module, batch):
        return sum(value.sum() for value in module.parameters()) * 0.0

    train(module, batch_of, nothing, Plan(steps=5, weight_decay=0.5, average=0.0))
    for name, value in module.named_parameters():
        assert torch.equal(value, wanted[name]) == (value.ndim <= 1), name


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    shares = [share_of_rate(step, 100, 0.1) for step in range(100)]
    assert shares[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.5)
    assert 0 < shares[-1] < 1e-3
    assert share_of_rate(0, 100, 0.0) == 1.0


@pytest.mark.parametrize(
    "setting", [{"steps": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"average": 1.0}]
)
def test_a_plan_that_is_not_possible_is_refused(setting):
    with pytest.raises(BadInput):
        Plan(**{"steps": 1} | setting)


def test_two_processes_learn_as_one(tmp_path):
    """The same losses, weights and batch norm statistics, from slices of unequal size."""
    script, root = Path(task.__file__), Path(__file__).parents[2]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path / "two.json")],
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=240,
    )
    one, two = task.learnt(), json.loads((tmp_path / "two.json").read_text())
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["losses"][-1] < two["losses"][0]
    for name, values in one["state"].items():
        assert two["state"][name] == pytest.approx(values, abs=1e-4), name


def test_strided_pointwise_convolutions_of_few_channels_keep_the_usual_order():
    """In the other order, torch's gradient of one writes outside its memory."""
    for channels, stride, kernel, wanted in (
        (4, 2, 1, torch.contiguous_format),
        (4, 1, 1, torch.channels_last),
        (16, 2, 1, torch.channels_last),
        (4, 2, 3, torch.channels_last),
    ):
        layer = nn.Conv2d(channels, 8, kernel, stride)
        graph = Network.from_module(layer, (torch.rand(2, channels, 8, 8),)).module
        assert fastest_order(nn.Sequential(layer)) == wanted
        assert fastest_order(graph) == wanted


def test_a_trained_module_has_the_strides_of_a_fresh_one():
    """Also where its sizes leave two orders possible, which torch.export would tell apart."""
    module = nn.Sequential(nn.Conv2d(1, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))

    def loss(module, batch):
        return module(batch[0][:, :1]).square().mean()

    train(module, batch_of, loss, Plan(steps=2))
    assert module[0].weight.stride() == torch.empty(16, 1, 3, 3).stride()


def test_little_work_is_not_shared_among_threads_and_their_number_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for macs, threads in [(0, 1), (3 * WORTH, 3), (100 * WORTH, 4), (math.inf, 4)]:
            with threads_for(macs):
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)

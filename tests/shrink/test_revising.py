"""A fit that starts from an earlier one."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import packlight
from packlight import files
from packlight.coding.packing import compress
from packlight.errors import BadInput
from packlight.judge import Verdict
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from packlight.shrink.budget import Budget
from packlight.shrink.layers import find_layers, value_of_name
from packlight.shrink.revising import ANEW, TRIALS, WEIGHTS, near
from packlight.shrink.search import Point, Visit
from tests.networks import plain
from tests.schemas import conforms

SIZE = 3500
FEW = 100  # samples to fit on


class Versions:
    """A network, its last layer trained on, and data; the first version is fitted."""

    def __init__(self, model, data, folder):
        self.old, self.data = model, data
        network = plain()
        last = value_of_name(network, find_layers(network)[-1].weight)
        with torch.no_grad():
            last += 0.01 * last.std() * torch.randn(last.shape, generator=torch.Generator())
        self.new = onnx_file.write(network, folder / "new.onnx")
        self.first = packlight.fit(
            self.old, self.data, target_size=SIZE, calibrate=FEW, out=folder / "first"
        )
        self.folder = folder

    def fit(self, **options):
        return packlight.fit(
            self.new,
            self.data,
            target_size=SIZE,
            calibrate=FEW,
            base=self.first.model.parent,
            **options,
        )


@pytest.fixture(scope="module")
def versions(model, data, tmp_path_factory):
    return Versions(model, data, tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="module")
def second(versions):
    return versions.fit(out=versions.folder / "second")


def test_the_update_is_small_and_the_answers_are_those_of_a_fit_without_it(versions, second):
    anew = packlight.fit(
        versions.new,
        versions.data,
        target_size=SIZE,
        calibrate=FEW,
        out=versions.folder / "without",
    )
    earlier = versions.first.model.read_bytes()
    update, whole = (
        len(compress(one.model.read_bytes(), "max", base=earlier)) for one in (second, anew)
    )
    assert update < 0.6 * whole
    assert update < 0.2 * second.packed.stat().st_size
    assert second.packed.stat().st_size <= SIZE
    exact, other = (one.report["accuracy"]["sqnr_db"] for one in (second, anew))
    assert exact > other - 1.5


def test_the_report_tells_what_whoever_has_the_earlier_version_downloads(versions, second):
    report = json.loads((second.model.parent / "report.json").read_text())
    conforms("report", report)
    earlier = versions.first.model.read_bytes()
    assert report["update"] == {
        "base": "model.onnx",
        "sha256": files.sha256(earlier),
        "bytes": len(compress(second.model.read_bytes(), "max", base=earlier)),
    }
    assert report["asked"]["base"] == "first"
    assert "Update, packed" in second.model.with_name("report.html").read_text()
    assert versions.first.report["update"] is None


def test_the_file_of_the_base_serves_as_well_and_gives_the_same_bytes(versions, second, tmp_path):
    again = packlight.fit(
        versions.new,
        versions.data,
        target_size=SIZE,
        calibrate=FEW,
        base=versions.first.model,
        out=tmp_path / "out",
    )
    assert again.model.read_bytes() == second.model.read_bytes()


def test_a_size_far_below_the_base_is_met_without_it(versions, tmp_path):
    found = packlight.fit(
        versions.new,
        versions.data,
        target_size=SIZE // 2,
        calibrate=FEW,
        base=versions.first.model.parent,
        out=tmp_path / "out",
    )
    assert found.packed.stat().st_size <= SIZE // 2
    assert any("fitted without it" in note for note in found.report["notes"])
    assert found.report["update"]["bytes"] > 0


def test_a_base_with_weights_in_float_is_left_alone(versions, tmp_path):
    model = onnx.load(versions.first.model)
    for one in model.graph.initializer:
        if one.name == "conv2.weight_quantized":
            one.name = "conv2.weight"
    onnx.save(model, tmp_path / "partly.onnx")
    found = packlight.fit(
        versions.new,
        versions.data,
        target_size=SIZE,
        calibrate=FEW,
        base=tmp_path / "partly.onnx",
        out=tmp_path / "out",
    )
    assert any("weights in float: fitted without it" in note for note in found.report["notes"])


def test_what_can_be_no_base_is_told_in_one_sentence(versions, tmp_path):
    narrow = onnx.load(versions.first.model)
    for one in narrow.graph.initializer:
        if one.name == "conv2.weight_quantized":
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[:20], one.name))
    onnx.save(narrow, tmp_path / "narrow.onnx")
    large = onnx.load(versions.first.model)
    for one in large.graph.initializer:
        if one.name == "conv2.weight_quantized":
            levels = np.where(numpy_helper.to_array(one) > 0, 65, 0).astype(np.int8)
            one.CopyFrom(numpy_helper.from_array(levels, one.name))
    onnx.save(large, tmp_path / "large.onnx")
    empty = tmp_path / "empty"
    empty.mkdir()
    for base, words in (
        (tmp_path / "narrow.onnx", "20x.*in this network; a base is an earlier fit of the same"),
        (tmp_path / "large.onnx", "go up to 65 .* take 64 at most; give --activations float"),
        (versions.old, "holds no int8 weights of this network"),
        (empty, "model.onnx can not be read"),
        (tmp_path / "missing", "can not be read"),
        (versions.first.packed, "is packed; give the folder of the fit"),
    ):
        with pytest.raises(BadInput, match=words):
            packlight.fit(
                versions.new,
                versions.data,
                target_size=SIZE,
                calibrate=FEW,
                base=base,
                out=tmp_path / "out",
            )
    for options in ({"effort": "normal"}, {"only": "prune"}, {"speedup": 2.0}):
        with pytest.raises(BadInput, match="--base keeps the integers"):
            versions.fit(out=tmp_path / "out", **options)


class Made:
    """Networks whose sizes and distances are known: (weight) -> bytes, distance, drop."""

    def __init__(self, packed, distances, drop=0.0, larger=1.0):
        self.packed, self.distances, self.dropped = packed, distances, drop
        self.larger = larger  # than solved anew, what is near to the base
        self.asked: list[tuple[float, float]] = []

    def build(self, coarseness, weight):
        self.asked.append((coarseness, weight))
        verdict = Verdict(1, None, None, None, None, None, 0.0)
        packed = self.packed * (1 if weight == ANEW else self.larger) / coarseness
        visit = Visit(coarseness, 0, int(packed), verdict)
        return Point(visit, b"", weight, None)

    def distance(self, point):
        return self.distances[WEIGHTS.index(point.packed)]

    def drop(self, point):
        return self.dropped * point.visit.coarseness

    def near(self, budget, coarseness=1.0):
        return near(self.build, self.distance, self.drop, budget, coarseness)


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ((1.0, 1.0, 1.0, 1.0), WEIGHTS[0]),
        ((1.3, 1.1, 1.0, 1.0), WEIGHTS[1]),
        ((9.0, 8.0, 1.1, 1.0), WEIGHTS[2]),
        ((9.0, 8.0, 7.0, 1.0), WEIGHTS[2]),
    ],
)
def test_an_update_weighs_as_much_as_the_answers_allow(distances, expected):
    _, weight, _ = Made(1000, distances).near(Budget(target_size=1000))
    assert weight == expected


def test_a_file_that_is_too_large_gets_coarser_and_one_that_loses_too_much_finer():
    made = Made(1100, (1.0,) * 4, drop=0.01)
    point, _, visited = made.near(Budget(target_size=1000))
    assert point.visit.packed_bytes <= 1000
    assert [visit.coarseness for visit in visited] == sorted(c for c, _ in made.asked)
    point, _, _ = made.near(Budget(max_drop=0.009))
    assert made.drop(point) <= 0.009


def test_what_is_near_but_misses_the_budget_is_not_taken():
    made = Made(1000, (1.0,) * 4, larger=1.01)
    point, _, visited = made.near(Budget(target_size=1000))
    assert point is None
    assert len(visited) == len(WEIGHTS)


def test_where_nothing_near_meets_the_budget_there_is_no_point():
    made = Made(5000, (1.0,) * 4)
    point, _, visited = made.near(Budget(target_size=1000))
    assert point is None
    assert len(visited) == TRIALS


def test_integers_in_the_second_file_are_those_of_the_first_but_for_a_few(versions, second):
    first, later = (Session(one.model.read_bytes()) for one in (versions.first, second))
    x = versions.data[0][:64]
    answers = [session.over([(x,)])[0] for session in (first, later)]
    assert not np.array_equal(*answers)  # the new network's answers, not the old one's

"""`fit` with effort: retraining is tried, and taken where it helps."""

from __future__ import annotations

import numpy as np
import pytest

import packlight
from packlight.errors import BadInput
from packlight.shrink import teaching
from tests.shrink.brief import briefly


@pytest.fixture
def brief(monkeypatch) -> None:
    """Retraining sees few samples, too."""
    monkeypatch.setitem(teaching.SAMPLES, "normal", 5_000)
    briefly(monkeypatch)


@pytest.mark.usefixtures("brief")
def test_retraining_is_tried_into_the_size_asked_for_and_never_taken_for_worse(
    model, data, tmp_path
):
    rounded, taught = (
        packlight.fit(
            model, data[0], target_size="1KB", calibrate=100, effort=effort, out=tmp_path / effort
        )
        for effort in ("fast", "normal")
    )
    assert taught.met
    assert taught.packed.stat().st_size <= 1000
    (visit,) = _retrained(taught)
    assert visit["packed_bytes"] <= 1000
    agreement = [r.report["accuracy"]["agreement"]["value"] for r in (rounded, taught)]
    assert agreement[1] >= agreement[0] - 0.03


@pytest.mark.usefixtures("brief")
def test_retraining_finds_a_smaller_network_with_the_same_drop(model, data, tmp_path):
    rounded, taught = (
        packlight.fit(
            model, data[0], max_drop=0.2, calibrate=100, effort=effort, out=tmp_path / effort
        )
        for effort in ("fast", "normal")
    )
    assert taught.met
    assert taught.packed.stat().st_size <= rounded.packed.stat().st_size
    assert len(_retrained(taught)) >= 2


def test_lessons_are_as_many_as_asked_and_as_they_are(model, data, tmp_path, monkeypatch):
    seen = []

    def teach(network, layers, lesson, plan, cost, **rest):
        seen.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(teaching.recover, "recover", teach)
    monkeypatch.setattr(teaching, "find_distortion", lambda *_: pytest.fail("distorted"))
    with pytest.raises(KeyboardInterrupt):
        packlight.fit(
            *(model, data[0]),
            target_size="1KB",
            calibrate=100,
            effort="normal",
            lessons=128 * 500,
            out=tmp_path,
        )
    (plan,) = seen
    assert plan.steps * plan.batch == 128 * 500


@pytest.mark.parametrize(("effort", "lessons"), [("fast", 1000), ("normal", 0)])
def test_lessons_that_make_no_sense_are_refused(effort, lessons, model, data, tmp_path):
    with pytest.raises(BadInput, match="give 1 or more, and the effort normal or best"):
        packlight.fit(model, data, target_size=9000, effort=effort, lessons=lessons, out=tmp_path)


def _retrained(result) -> list[dict]:
    return [visit for visit in result.report["visited"] if np.isnan(visit["tradeoff"])]

"""The picture of live memory: well-formed, complete, readable without colour."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from packlight.report.timeline import timeline
from packlight.weighing.memory import Live, Timeline, memory_of
from tests.weighing.memory.graphs import concatenating_cell, mobilenet_v2


def texts(svg: str) -> list[str]:
    return [item.text or "" for item in ElementTree.fromstring(svg).iter("text")]


def test_the_peak_and_its_tensors_are_named():
    memory = memory_of(mobilenet_v2())
    words = texts(timeline(memory.timeline))
    assert "peak: 6.02 MB in depthwise11" in words
    for tensor in memory.timeline.at_peak:
        assert tensor.name in words


def test_a_better_order_is_a_dashed_line_with_words():
    memory = memory_of(concatenating_cell())
    assert memory.reordered is not None
    svg = timeline(memory.timeline, memory.reordered.timeline)
    assert ElementTree.fromstring(svg).find("polyline") is not None
    assert "dashed: a better order, peak 602 KB" in texts(svg)
    assert "in 3 more" in texts(svg)


def test_steps_that_share_a_pixel_are_drawn_as_the_highest_of_them():
    live = [64 + index % 97 for index in range(10_000)]
    live[7013] = 9000
    line = Timeline(tuple(map(str, range(10_000))), tuple(live), (Live("a", 9000),))
    area = ElementTree.fromstring(timeline(line)).find("polygon").get("points").split()
    corners = [tuple(map(float, corner.split(","))) for corner in area]
    assert len(corners) < 2 * 800
    left, right = corners[-1][0], corners[-3][0]
    (peak, _) = min(corners, key=lambda corner: corner[1])
    assert (peak - left) / (right - left) == pytest.approx(0.7013, abs=0.002)


def test_names_from_a_file_are_no_markup():
    line = Timeline(("</svg><script>",), (64,), (Live("<b>&\u202e", 64),))
    svg = timeline(line)
    assert "<script>" not in svg
    assert "\u202e" not in svg
    assert "<b>&\ufffd" in texts(svg)


def test_a_network_without_steps_has_a_picture():
    ElementTree.fromstring(timeline(Timeline((), (), ())))

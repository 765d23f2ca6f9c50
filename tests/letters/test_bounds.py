"""Bounds that grow and shrink together."""

import pytest

from packlight.errors import BadInput
from packlight.letters import Bounds


def test_once_is_the_same_and_nothing_is_still():
    assert Bounds().times(1) == Bounds()
    assert Bounds().times(0) == Bounds(0, 0, 0, 0, 0, 1, 0)


def test_twice_is_twice_as_far_and_no_further_than_is_allowed():
    assert Bounds().times(2).rotation == 24
    assert Bounds().times(1.5).contrast == pytest.approx(0.1)
    assert Bounds().times(100) == Bounds(45, 0.25, 0.5, 4, 0.5, 0.05, 1)


@pytest.mark.parametrize("factor", [-1, float("nan")])
def test_a_factor_that_makes_no_sense_is_refused(factor):
    with pytest.raises(BadInput, match="give 0 or more"):
        Bounds().times(factor)

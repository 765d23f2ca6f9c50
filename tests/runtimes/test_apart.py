"""Calls in another process: answers, errors and ends all come back."""

from __future__ import annotations

import os
import pickle
import sys

import pytest

from packlight.errors import BudgetNotMet, MissingExtra, UnsupportedOperator
from packlight.runtimes.apart import apart


def _double(number):
    print("a converter's chatter")
    print("and its complaints", file=sys.stderr)
    return 2 * number


def _refuse():
    raise BudgetNotMet("a bag is too small")


def _stumble():
    raise KeyError("first line\nsecond line")


def _die():
    print("assertion failed", file=sys.stderr)
    sys.stderr.flush()
    os.abort()


def test_the_answer_comes_back_and_the_chatter_does_not(capfd):
    assert apart("no", _double, 21) == 42
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_what_packlight_raises_is_raised_here():
    with pytest.raises(BudgetNotMet, match="a bag is too small"):
        apart("no", _refuse)


def test_other_errors_become_one_sentence():
    with pytest.raises(ValueError, match=r"^it can not be done: .*first line") as caught:
        apart("it can not be done", _stumble)
    assert "\n" not in str(caught.value)


def test_a_process_that_ends_is_reported_with_its_last_words():
    with pytest.raises(ValueError, match=r"^no: the process ended with code -6: assertion failed"):
        apart("no", _die)


@pytest.mark.parametrize(
    "error",
    [MissingExtra("executorch", "executorch"), UnsupportedOperator("Odd", "node", 18, "why")],
)
def test_errors_arrive_as_they_were_raised(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)

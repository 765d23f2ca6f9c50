"""Fonts that the user chooses."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from packlight.errors import BadInput
from packlight.letters import Bounds, render, twins, typefaces

FILES = Path(find_spec("font_caladea").origin).parent / "files"
REGULAR, BOLD = FILES / "Caladea-Regular.ttf", FILES / "Caladea-Bold.ttf"
STILL = Bounds().times(0)


def test_clean_glyphs_are_those_of_the_fonts_given_and_no_others():
    both = {image.tobytes() for image in render(3000, 0, bounds=STILL, fonts=[REGULAR, BOLD])[0]}
    one = {image.tobytes() for image in render(1500, 0, bounds=STILL, fonts=[REGULAR])[0]}
    shipped = {image.tobytes() for image in render(6000, 0, bounds=STILL)[0]}
    assert len(one) == 2 * 36  # dark on light, and light on dark
    assert one < both <= shipped
    assert len(both) > 1.9 * len(one)


def test_the_four_that_ship_are_the_default_and_files_are_named_by_what_they_hold():
    assert len(typefaces()) == 4
    assert [face.name for face in typefaces([REGULAR, str(BOLD)])] == ["Caladea", "Caladea Bold"]


def test_fonts_change_nothing_else():
    shipped, own = render(50, 3), render(50, 3, fonts=[BOLD])
    assert np.array_equal(shipped[1], own[1])


@pytest.mark.parametrize("name", ["nowhere.ttf", "text.ttf", "folder.ttf"])
def test_what_is_no_font_is_refused_by_name(name, tmp_path):
    (tmp_path / "text.ttf").write_text("no font")
    (tmp_path / "folder.ttf").mkdir()
    with pytest.raises(BadInput, match=rf"{name} (does not exist|holds no font).*\.ttf or \.otf"):
        render(1, 0, fonts=[tmp_path / name])
    with pytest.raises(BadInput, match="no font was given"):
        render(1, 0, fonts=[])


def test_a_character_that_a_font_lacks_is_named_with_the_font():
    with pytest.raises(BadInput, match=r"Caladea Bold can not draw 'あ' \(U\+3042\)"):
        render(1, 0, charset="Aあ", fonts=[BOLD])


def squares(*sides, page=64):
    """A typeface of squares, (1, characters, page, page)."""
    sheet = torch.zeros(1, len(sides), page, page)
    for glyph, side in zip(sheet[0], sides, strict=True):
        start = (page - side) // 2
        glyph[start : start + side, start : start + side] = 1
    return sheet


@pytest.mark.parametrize(
    ("scale", "found"), [(0, ["AC"]), (0.1, ["AB", "AC", "BC"]), (0.5, ["AB", "AC", "BC"])]
)
def test_shapes_are_one_where_their_sizes_meet(monkeypatch, scale, found):
    sheets = squares(40, 34, 40, 4)
    sheets[0, 3, 30:34, 10:54] = 1  # a bar
    monkeypatch.setattr("packlight.letters.fonts.inked", lambda *_: sheets)
    assert twins("ABCD", 32, [REGULAR], scale) == [(pair, "Caladea") for pair in found]


def test_the_default_letters_and_digits_have_no_twins():
    assert twins("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 32, scale=0.15) == []

"""Charsets as people write them."""

import pytest

from packlight.errors import BadInput
from packlight.letters import CHARSET, parse_charset


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("A-Z0-9", CHARSET),
        ("a-cXYZ", "abcXYZ"),
        ("a-c-", "abc-"),
        ("-+", "-+"),
        (r"a\-c", "a-c"),
        (r"\\-_", "\\]^_"),
        (r"A\\", "A\\"),
        ("あいう", "あいう"),
        ("а-г", "абвг"),
        ("😀-😂", "😀😁😂"),
        ("A-A0", "A0"),
    ],
)
def test_a_pattern_stands_for_its_characters_in_order(text, characters):
    assert parse_charset(text) == characters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 characters; 2 to"),
        ("A", "1 characters; 2 to"),
        ("Z-A", "runs backwards; write A-Z"),
        ("A-ZM", "'M' twice"),
        ("\u0100-\uffff", "up to 5000"),
        ("A\\", "ends in a backslash"),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        parse_charset(text)

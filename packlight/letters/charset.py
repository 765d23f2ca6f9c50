"""The classes of a recogniser, as people write them: A-Z0-9, or the characters themselves.

A hyphen between two characters is a range, as in a regular expression; at the start or the end it
is itself. A backslash takes the next character as it is.
"""

from __future__ import annotations

from string import ascii_uppercase, digits

from packlight.errors import BadInput

CHARSET = ascii_uppercase + digits
MOST = 5000  # classes: no small network tells more apart


def parse_charset(text: str) -> str:
    r"""The characters that a pattern stands for, in its order.

    Args:
        text: as "A-Z0-9", "0-9.,\-" or "あいうえお".
    Returns:
        Distinct characters, at least two.
    Raises:
        BadInput: a range that runs backwards, a character named twice, too few or too many.
    """
    characters: list[str] = []
    marks = _marks(text)
    at = 0
    while at < len(marks):
        first, _ = marks[at]
        if at + 2 < len(marks) and marks[at + 1] == ("-", False):
            last, _ = marks[at + 2]
            if ord(last) < ord(first):
                raise BadInput(
                    f"charset {text!r} has the range {first}-{last}, which runs backwards; "
                    f"write {last}-{first}"
                )
            if ord(last) - ord(first) >= MOST:
                raise BadInput(
                    f"charset {text!r} has the range {first}-{last} of {ord(last) - ord(first) + 1}"
                    f" characters; up to {MOST} in all are possible"
                )
            characters += map(chr, range(ord(first), ord(last) + 1))
            at += 3
        else:
            characters.append(first)
            at += 1
    seen: set[str] = set()
    for character in characters:
        if character in seen:
            raise BadInput(f"charset {text!r} has {character!r} twice; name each character once")
        seen.add(character)
    if not 2 <= len(characters) <= MOST:
        raise BadInput(
            f"charset {text!r} is {len(characters)} characters; 2 to {MOST} can be told apart"
        )
    return "".join(characters)


def _marks(text: str) -> list[tuple[str, bool]]:
    """Characters, and whether a backslash stood before them."""
    marks, escaped = [], False
    for character in text:
        if character == "\\" and not escaped:
            escaped = True
            continue
        marks.append((character, escaped))
        escaped = False
    if escaped:
        raise BadInput(rf"charset {text!r} ends in a backslash; write \\ for the character itself")
    return marks

"""Letter recognisers made to measure: images drawn within bounds, a network for the size asked.

    charset -> drawing -> learning -> fit

Names are imported when they are first used, so that the command line need not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packlight.letters.bounds import Bounds as Bounds
    from packlight.letters.charset import CHARSET as CHARSET
    from packlight.letters.charset import parse_charset as parse_charset
    from packlight.letters.drawing import SIZE as SIZE
    from packlight.letters.drawing import render as render
    from packlight.letters.fonts import Typeface as Typeface
    from packlight.letters.fonts import twins as twins
    from packlight.letters.fonts import typefaces as typefaces
    from packlight.letters.learning import train as train
    from packlight.letters.making import Recogniser as Recogniser
    from packlight.letters.making import make as make
    from packlight.letters.network import LetterNet as LetterNet

_HOME = {
    "Bounds": "bounds",
    "CHARSET": "charset",
    "LetterNet": "network",
    "Recogniser": "making",
    "SIZE": "drawing",
    "Typeface": "fonts",
    "make": "making",
    "parse_charset": "charset",
    "render": "drawing",
    "train": "learning",
    "twins": "fonts",
    "typefaces": "fonts",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'packlight.letters' has no attribute {name!r}")
    return getattr(import_module(f"packlight.letters.{_HOME[name]}"), name)

"""ExecuTorch's runtime without its compiler, which it imports for the class of one warning.

The compiler takes twice as long to import as torch does and its memory would count as the file's.
Whoever wants it imports it as ever, before or after.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_COMPILER = "executorch.exir"


def _without_compiler() -> None:
    """Import the runtime while the compiler's package is one that imports nothing."""
    spec = find_spec("executorch")
    assert spec is not None
    bare = ModuleType(_COMPILER)
    bare.__path__ = [f"{folder}/exir" for folder in spec.submodule_search_locations or ()]
    sys.modules[_COMPILER] = bare
    try:
        import_module("executorch.runtime")
    finally:
        del sys.modules[_COMPILER]


if _COMPILER not in sys.modules:
    _without_compiler()

from executorch.extension.pybindings import portable_lib  # noqa: E402
from executorch.runtime import Runtime  # noqa: E402

__all__ = ["Runtime", "portable_lib"]

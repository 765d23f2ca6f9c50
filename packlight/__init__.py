"""packlight fits trained neural networks onto phones.

    load -> weigh -> fit -> check -> pack

Names are imported when they are first used, so that `import packlight` costs nothing and
`packlight --help` never waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from packlight import zoo as zoo
    from packlight.benching import bench as bench
    from packlight.checking import check as check
    from packlight.coding.files import pack as pack
    from packlight.coding.files import unpack as unpack
    from packlight.data import Preprocess as Preprocess
    from packlight.errors import BadInput as BadInput
    from packlight.errors import BudgetNotMet as BudgetNotMet
    from packlight.errors import PacklightError as PacklightError
    from packlight.exporting import export as export
    from packlight.founding import new as new
    from packlight.learning.distilling import distill as distill
    from packlight.network import Network as Network
    from packlight.parity import check_folder as check_folder
    from packlight.readers import load as load
    from packlight.shrink.fit import fit as fit
    from packlight.tuning import tune as tune
    from packlight.weighing import weigh as weigh
    from packlight.weighing.memory.reorder import reorder as reorder

_HOME = {
    "BadInput": "packlight.errors",
    "BudgetNotMet": "packlight.errors",
    "Network": "packlight.network",
    "PacklightError": "packlight.errors",
    "Preprocess": "packlight.data",
    "bench": "packlight.benching",
    "check": "packlight.checking",
    "check_folder": "packlight.parity",
    "distill": "packlight.learning.distilling",
    "export": "packlight.exporting",
    "fit": "packlight.shrink.fit",
    "load": "packlight.readers",
    "new": "packlight.founding",
    "pack": "packlight.coding.files",
    "unpack": "packlight.coding.files",
    "tune": "packlight.tuning",
    "reorder": "packlight.weighing.memory.reorder",
    "weigh": "packlight.weighing",
}

__all__ = ["__version__", *sorted(_HOME), "zoo"]


def __getattr__(name: str) -> Any:
    if name == "zoo":
        return import_module("packlight.zoo")
    if name not in _HOME:
        raise AttributeError(f"module 'packlight' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

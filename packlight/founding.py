"""`new`: the largest compact network inside every bound, ready to be trained.

1. The zoo is searched: see `packlight.zoo.searching`.
2. What was found is written: the module as a Python file with its first weights, the same as ONNX
   with its batch norms, so that either can be trained, and its table as `weigh` has it.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from packlight.errors import BadInput, BudgetNotMet
from packlight.files import replace_file
from packlight.network import Network
from packlight.plain import to_json
from packlight.progress import Progress
from packlight.runtimes import onnx as onnx_file
from packlight.weighing import weigh
from packlight.zoo.recipes import parse_shape
from packlight.zoo.searching import (
    Bounds,
    Candidate,
    Grid,
    Shape,
    best_of,
    families_of,
    smallest_of,
)

if TYPE_CHECKING:
    from rich.table import Table

MODULE, WEIGHTS, MODEL, RECORD = "network.py", "weights.pt", "model.onnx", "new.json"
TABLE, VALUES = "weigh.txt", "weigh.json"
FOLDER = "packlight-new"

_MODULE = '''"""{recipe} of packlight's zoo: {shape} images in, {classes} classes out."""

from pathlib import Path

import torch

from packlight.zoo.recipes import Recipe

INPUT_SHAPE, CLASSES = {input_shape}, {classes}
WEIGHTS = Path(__file__).with_name("{weights}")


def network(weights: Path = WEIGHTS) -> torch.nn.Module:
    """The network with its first weights, or others of the same shapes."""
    module = Recipe.parse("{recipe}").build(INPUT_SHAPE, CLASSES)
    module.load_state_dict(torch.load(weights, weights_only=True))
    return module
'''


@dataclass(frozen=True)
class NewResult:
    """What was found and written.

    Args:
        folder: with network.py, weights.pt, model.onnx, weigh.txt, weigh.json and new.json.
        chosen: the network written.
        rows: the best network of each family that has one inside the bounds, the best first.
        bounds: as asked for.
        asked_shape: of the images as asked for; the chosen network may take smaller ones.
        classes: of its logits.
    """

    folder: Path
    chosen: Candidate
    rows: tuple[Candidate, ...]
    bounds: Bounds
    asked_shape: Shape
    classes: int

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    @property
    def module(self) -> Path:
        """The Python file."""
        return self.folder / MODULE

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "chosen": self.chosen.to_dict(),
            "bounds": {
                "target_size": self.bounds.size,
                "max_macs": self.bounds.macs,
                "max_ram": self.bounds.ram,
            },
            "filled": self.bounds.shares(self.chosen.sketch),
            "asked_shape": list(self.asked_shape),
            "classes": self.classes,
            "families": [row.to_dict() for row in self.rows],
        }

    def __rich__(self) -> Table:
        from packlight.report.founded import table

        return table(self)


def new(
    *,
    classes: int,
    input_shape: str | Shape,
    target_size: str | int | None = None,
    max_macs: str | int | None = None,
    max_ram: str | int | None = None,
    family: str | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> NewResult:
    """Find the largest compact network inside every bound, and write it.

    Args:
        classes: of the logits.
        input_shape: channels, height and width of the app's images: "3x96x96" or (3, 96, 96).
            The network found may take smaller ones.
        target_size: bound on the weights in int8, as `packlight zoo` counts them: kernels in a
            byte each, a scale and a bias per output channel. Training makes the download smaller.
        max_macs: bound on multiplications of one image.
        max_ram: bound on RAM as `fit` means it: weights and planned values, here all in int8.
        family: search only this one; default: all of `packlight.zoo.predicting.FAMILIES`.
        out: folder to write to; default: packlight-new.
        seed: for the weights.
        force: write into a folder that holds files.
        progress: told of every depth of every family.
    Raises:
        BadInput: an argument is not possible, or the folder can not be used.
        BudgetNotMet: no network meets the bounds; tells the one that comes nearest.
    """
    progress = progress or Progress()
    bounds = Bounds.parse(target_size, max_macs, max_ram)
    shape = parse_shape(input_shape) if isinstance(input_shape, str) else _shape(input_shape)
    grids = [Grid.of(one, shape) for one in families_of(family)]
    folder = Path(out or FOLDER)
    _check_free(folder, force)
    rows = []
    with progress.stage("search the zoo", sum(len(grid.depths) for grid in grids)) as tick:
        for grid in grids:
            found = best_of(grid, classes, bounds, tick)
            rows += [] if found is None else [found]
    if not rows:
        raise BudgetNotMet(_unmet(smallest_of(grids, classes, bounds), bounds))
    rows.sort(key=lambda row: -row.score)
    result = NewResult(folder, rows[0], tuple(rows), bounds, shape, classes)
    with progress.stage("write"):
        _write(result, seed)
    return result


def _shape(given: Any) -> Shape:
    return parse_shape("x".join(map(str, given)))


def _unmet(nearest: Candidate, bounds: Bounds) -> str:
    from packlight.report.founded import filled

    size = "x".join(map(str, nearest.input_shape))
    return (
        f"no network here meets the bounds; the smallest, {nearest.recipe} for {size} images, has "
        f"{filled(nearest, bounds)}"
    )


def _check_free(folder: Path, force: bool) -> None:
    try:
        held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as problem:
        raise BadInput(f"{folder} can not be used as a folder ({problem.strerror})") from problem
    if held and not force:
        raise BadInput(f"{folder} already holds {held[0]}; give another folder, or --force")


def _write(result: NewResult, seed: int) -> None:
    """Everything is made before anything is written."""
    chosen, folder = result.chosen, result.folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = chosen.recipe.build(chosen.input_shape, result.classes)
    weights = io.BytesIO()
    torch.save(module.state_dict(), weights)
    network = Network.from_module(
        module, (torch.zeros(1, *chosen.input_shape),), input_names=["image"],
        output_names=["logits"],
    )  # fmt: skip
    text = _MODULE.format(
        recipe=chosen.recipe,
        shape="x".join(map(str, chosen.input_shape)),
        input_shape=chosen.input_shape,
        classes=result.classes,
        weights=WEIGHTS,
    )
    model = onnx_file.to_trainable_bytes(network)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{folder} can not be made ({problem.strerror})") from problem
    replace_file(folder / MODULE, text.encode())
    replace_file(folder / WEIGHTS, weights.getvalue())
    replace_file(folder / MODEL, model)
    table = weigh(folder / MODEL)
    replace_file(folder / TABLE, (table.text() + "\n").encode())
    replace_file(folder / VALUES, to_json(table.to_dict()))
    replace_file(folder / RECORD, to_json(result.to_dict()))

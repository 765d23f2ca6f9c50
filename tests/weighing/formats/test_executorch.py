"""ExecuTorch programs: tensors, and what is said about the rest."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.weighing import weigh
from tests.coding.samples import executorch, weights, xnnpack

TENSORS = {"conv.weight": weights((6, 4, 3, 3)), "fc.weight": np.zeros((5, 7), np.int8)}


def test_constants_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(executorch(TENSORS))
    table = weigh(path)
    assert {row.layer: row.shape for row in table.rows} == {
        name: value.shape for name, value in TENSORS.items()
    }
    assert table.totals.bytes == sum(value.nbytes for value in TENSORS.values())
    assert {row.layer: row.zeros for row in table.rows}["fc.weight"] == 35
    assert "no layers" in table.notes[0]


def test_what_delegates_hold_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    delegate = xnnpack({"w": weights((8, 3))})
    path.write_bytes(executorch(TENSORS, delegates=[delegate]))
    table = weigh(path)
    assert (8, 3) in {row.shape for row in table.rows}
    assert "a delegate" in table.notes[1]


@pytest.mark.usefixtures("without_packing")
def test_damage_is_refused_or_weighed(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    whole, flips = executorch(TENSORS), random.Random(0)
    for turn in range(400):
        damaged = bytearray(whole)
        damaged[flips.randrange(len(whole))] = flips.randrange(256)
        damaged[flips.randrange(600)] = flips.choice((0, 1, 255))
        path.write_bytes(damaged[: flips.randrange(len(whole))] if turn % 3 == 0 else damaged)
        with contextlib.suppress(BadInput):
            weigh(path)

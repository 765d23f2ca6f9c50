"""Files that hold tensors and no network."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from packlight.errors import BadInput
from packlight.weighing import weigh
from tests.coding.samples import gguf, safetensors

ARRAYS = {
    "layer.weight": np.round(np.random.default_rng(0).normal(size=(6, 4, 3, 3))).astype(np.float32),
    "layer.bias": np.zeros(6, np.float32),
    "half": np.ones((5, 2), np.float16),
}


def written(folder: Path, kind: str) -> Path:
    path = folder / f"weights.{kind}"
    if kind == "safetensors":
        path.write_bytes(safetensors(ARRAYS))
    elif kind == "gguf":
        path.write_bytes(gguf(ARRAYS))
    elif kind == "npz":
        np.savez_compressed(path, **ARRAYS)
    else:
        torch.save({name: torch.tensor(array) for name, array in ARRAYS.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "npz", "pt"])
def test_each_tensor_is_a_row(kind: str, tmp_path: Path) -> None:
    table = weigh(written(tmp_path, kind))
    rows: dict[str, Any] = {row.layer: row for row in table.rows}
    assert {name: row.shape for name, row in rows.items()} == {
        name: array.shape for name, array in ARRAYS.items()
    }
    assert table.totals.bytes == sum(array.nbytes for array in ARRAYS.values())
    assert table.totals.elements == table.totals.macs == 0
    assert rows["half"].bits_per_weight == 16
    assert "no network" in table.notes[0]
    if kind != "npz":
        assert rows["layer.weight"].zeros == int((ARRAYS["layer.weight"] == 0).sum())


def test_blocks_of_gguf_have_their_scales_in_their_bits(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf({}, blocks={"q": np.zeros((3, 2, 34), np.uint8)}))
    (row,) = weigh(path).rows
    assert (row.shape, row.parameter_count, row.bytes) == ((3, 64), 192, 204)
    assert row.bits_per_weight == 8.5


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "npz", "pt"])
@pytest.mark.usefixtures("without_packing")
def test_damage_is_refused_or_weighed(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    whole, flips = path.read_bytes(), random.Random(0)
    for turn in range(300):
        damaged = bytearray(whole)
        if turn % 3:
            for _ in range(4):
                damaged[flips.randrange(min(400, len(whole)))] = flips.randrange(256)
        path.write_bytes(damaged[: flips.randrange(len(whole))] if turn % 3 == 0 else damaged)
        with contextlib.suppress(BadInput):
            weigh(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.touch()
    with pytest.raises(BadInput, match=r"empty\.safetensors is empty; download"):
        weigh(path)

"""Every kind of source, opened for a network's inputs.

- a folder or zip of images: class sub-folders, train/ and test/ above them, a labels.csv, or flat;
- .npz with x, y or x_train, y_train, x_test, y_test, or with the network's input names, and
  perhaps class_names; .npy;
- arrays, (inputs, labels), a dict by input name, any iterable of such batches;
- `random` or `random:512`: noise, to try things with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from packlight.data.arrays import from_arrays, open_arrays, open_object
from packlight.data.images import Preprocess
from packlight.data.inputs import is_float, numpy_dtype, short
from packlight.data.pictures import open_folder, open_zip
from packlight.data.samples import Dataset
from packlight.errors import BadInput

RANDOM_SAMPLES = 512


def open_data(source: Any, inputs: Sequence[Any], preprocess: Preprocess | None = None) -> Dataset:
    """Open a source for a network.

    Args:
        source: see this module.
        inputs: the network's inputs, each with name, shape (None: may vary) and dtype.
        preprocess: for bytes; floats are taken as they are.
    Raises:
        BadInput: what is wrong with which file, sample or array, and what would be right.
    """
    how = preprocess or Preprocess()
    if isinstance(source, Dataset):
        return source
    if isinstance(source, (str, Path)):
        text = str(source)
        if text == "random" or text.startswith("random:"):
            return random_data(inputs, _count(text), seed=0)
        return _open_path(Path(source), inputs, how)
    return open_object(source, inputs, how)


def random_data(inputs: Sequence[Any], n: int, seed: int) -> Dataset:
    """Noise: standard normal for float inputs, any byte for uint8, zeros for the others."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in inputs:
        shape = (n, *(size or 1 for size in spec.sample_shape))
        if spec.value is not None:
            arrays[spec.name] = np.full(shape, spec.value, numpy_dtype(spec))
        elif is_float(spec):
            arrays[spec.name] = generator.standard_normal(shape, dtype=np.float32)
        elif numpy_dtype(spec) == np.uint8:
            arrays[spec.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        else:
            arrays[spec.name] = np.zeros(shape, numpy_dtype(spec))
    return Dataset(None, from_arrays(arrays, None, inputs, Preprocess(), "noise"), f"{n} x noise")


def _count(text: str) -> int:
    number = text.partition(":")[2]
    if not number:
        return RANDOM_SAMPLES
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= 1_000_000:
        raise BadInput(f"{text!r} is not random or random:N with N samples, as in random:512")
    return int(number)


def _open_path(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if path.is_dir():
        return open_folder(path, inputs, how)
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return open_zip(path, inputs, how)
    if suffix in (".npz", ".npy"):
        try:
            with path.open("rb") as file:
                if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
                    raise ValueError("it begins unlike one")  # NumPy would speak of pickles
            loaded = np.load(path, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except Exception as problem:
            raise BadInput(
                f"{path.name} is not a NumPy file of plain arrays ({short(problem)}); "
                "write it with numpy.savez, without objects"
            ) from problem
        return open_arrays(arrays, inputs, how, path.name)
    raise BadInput(
        f"{path.name} is of no kind that can be read; give a folder or .zip of images, "
        ".npz, .npy or random"
    )

"""Every kind of source, opened for a network's inputs.

- a folder or zip of images: class sub-folders, train/ and test/ above them, a labels.csv, or flat;
- .npz with x, y or x_train, y_train, x_test, y_test, or with the network's input names; .npy;
- arrays, (inputs, labels), a dict by input name, any iterable of such batches;
- `random` or `random:512`: noise, to try things with.
"""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from packlight.data.images import (
    Decoder,
    Layout,
    Preprocess,
    check_scaling,
    to_inputs,
    to_numbers,
)
from packlight.data.samples import Read, Samples
from packlight.errors import BadInput
from packlight.types import Array

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation")
RANDOM_SAMPLES = 512
LABELS = "labels.csv"
FILE_BYTES = (
    256 * 2**20
)  # of one file in a zip once unpacked; a camera's largest image is far below


@dataclass(frozen=True)
class Dataset:
    """What a source holds.

    Args:
        train: None where the source is not split.
        test: the test part, or everything.
        name: of the source, for messages.
    """

    train: Samples | None
    test: Samples
    name: str = "the data"


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
    return _open_object(source, inputs, how)


def random_data(inputs: Sequence[Any], n: int, seed: int) -> Dataset:
    """Noise: standard normal for float inputs, any byte for uint8, zeros for the others."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in inputs:
        shape = (n, *(size or 1 for size in spec.sample_shape))
        if spec.value is not None:
            arrays[spec.name] = np.full(shape, spec.value, _numpy_dtype(spec))
        elif _is_float(spec):
            arrays[spec.name] = generator.standard_normal(shape, dtype=np.float32)
        elif _numpy_dtype(spec) == np.uint8:
            arrays[spec.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        else:
            arrays[spec.name] = np.zeros(shape, _numpy_dtype(spec))
    return Dataset(None, _from_arrays(arrays, None, inputs, Preprocess(), "noise"), f"{n} x noise")


def _count(text: str) -> int:
    number = text.partition(":")[2]
    if not number:
        return RANDOM_SAMPLES
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= 1_000_000:
        raise BadInput(f"{text!r} is not random or random:N with N samples, as in random:512")
    return int(number)


# --- files ---------------------------------------------------------------------------------------


def _open_path(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if path.is_dir():
        return _open_folder(path, inputs, how)
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _open_zip(path, inputs, how)
    if suffix in (".npz", ".npy"):
        try:
            with path.open("rb") as file:
                if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
                    raise ValueError("it begins unlike one")  # NumPy would speak of pickles
            loaded = np.load(path, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except Exception as problem:
            raise BadInput(
                f"{path.name} is not a NumPy file of plain arrays ({_short(problem)}); "
                "write it with numpy.savez, without objects"
            ) from problem
        return _open_arrays(arrays, inputs, how, path.name)
    raise BadInput(
        f"{path.name} is of no kind that can be read; give a folder or .zip of images, "
        ".npz, .npy or random"
    )


def _open_folder(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return _open_tree(names, lambda name: (path / name).read_bytes(), inputs, how, path.name)


def _open_zip(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as problem:
        raise BadInput(f"{path.name} is not a zip file, or it is damaged ({problem})") from problem
    names = sorted(
        name
        for name in archive.namelist()
        if not name.endswith("/")
        and not PurePosixPath(name).name.startswith(".")
        and not name.startswith("__MACOSX/")
    )
    lock = threading.Lock()  # one file handle, read from wherever the samples are needed

    def read(name: str) -> bytes:
        size = archive.getinfo(name).file_size  # reading stops there, whatever follows
        if size > FILE_BYTES:
            raise BadInput(
                f"{path.name}: {name} unpacks to {size} bytes; at most {FILE_BYTES} are read"
            )
        with lock:
            return archive.read(name)

    return _open_tree(names, read, inputs, how, path.name)


def _open_tree(
    names: list[str],
    read: Callable[[str], bytes],
    inputs: Sequence[Any],
    how: Preprocess,
    source: str,
) -> Dataset:
    """Files with paths: find images, classes and splits in their names."""
    images = [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise BadInput(f"{source} holds no images ({len(names)} other files); give .jpg or .png")
    layout = _image_layout(inputs, how, source)
    tables = [name for name in names if PurePosixPath(name).name == LABELS]
    if tables:
        return _open_labelled(tables[0], read, layout, how, source, set(names))
    images, prefix = _below_common_folder(images)
    train, test = _part(images, TRAIN), _part(images, TEST)
    if train and test:
        parts = [[name.partition("/")[2] for name in part] for part in (train, test)]
        classes = _classes([*parts[0], *parts[1]], source)
        folders = (train[0].split("/")[0], test[0].split("/")[0])
        opened = [
            _image_samples(part, f"{prefix}{folder}/", read, classes, layout, how)
            for part, folder in zip(parts, folders, strict=True)
        ]
        return Dataset(opened[0], opened[1], source)
    return Dataset(
        None, _image_samples(images, prefix, read, _classes(images, source), layout, how), source
    )


def _part(images: list[str], folders: Sequence[str]) -> list[str]:
    """The images in the first of these folders that there is: test before val."""
    for folder in folders:
        inside = [name for name in images if "/" in name and name.split("/")[0].lower() == folder]
        if inside:
            # Test and test are two folders to a zip; one of them is enough
            head = inside[0].split("/")[0]
            return [name for name in inside if name.startswith(f"{head}/")]
    return []


def _below_common_folder(names: list[str]) -> tuple[list[str], str]:
    """Strip folders that hold everything; one folder of images is no class."""
    prefix = ""
    while True:
        heads = {name.split("/")[0] for name in names}
        deep = all("/" in name for name in names)
        if len(heads) != 1 or not deep:
            return names, prefix
        (head,) = heads
        prefix += f"{head}/"
        names = [name.partition("/")[2] for name in names]


def _classes(names: list[str], source: str) -> dict[str, int] | None:
    """Class folder -> number, in alphabetical order; None for flat images."""
    flat = [name for name in names if "/" not in name]
    if len(flat) == len(names):
        return None
    if flat:
        raise BadInput(
            f"{source}: {len(flat)} images (first: {flat[0]}) lie beside the class folders; move "
            "them into one, or all images out of them"
        )
    return {folder: i for i, folder in enumerate(sorted({name.split("/")[0] for name in names}))}


def _image_samples(
    names: list[str],
    prefix: str,
    read: Callable[[str], bytes],
    classes: dict[str, int] | None,
    layout: Layout,
    how: Preprocess,
) -> Samples:
    labels = None
    if classes is not None:
        labels = np.array([classes[name.split("/")[0]] for name in names], dtype=np.int64)
    full = [prefix + name for name in names]
    return Samples(Decoder(full, read, layout, how), np.arange(len(full)), labels, full)


def _open_labelled(
    table: str,
    read: Callable[[str], bytes],
    layout: Layout,
    how: Preprocess,
    source: str,
    present: set[str],
) -> Dataset:
    try:
        text = read(table).decode("utf-8-sig", errors="replace")
        rows = list(csv.DictReader(io.StringIO(text)))
    except BadInput:
        raise
    except Exception as problem:
        raise BadInput(f"{source}: {table} can not be read ({_short(problem)})") from problem
    columns = list(rows[0]) if rows else []
    if "filename" not in columns or "class_index" not in columns:
        raise BadInput(
            f"{source}: {table} has the columns {', '.join(map(str, columns)) or 'of nothing'}; "
            "it needs filename and class_index"
        )
    folder = table[: -len(LABELS)]
    names, labels = [], []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        name, index = folder + str(row["filename"]), str(row["class_index"]).strip()
        if name not in present:
            raise BadInput(f"{source}: {table} line {number} names {name}, which is not there")
        if name in seen:
            raise BadInput(f"{source}: {table} line {number} names {name} again; keep one line")
        seen.add(name)
        if not (index.isascii() and index.isdigit() and len(index) <= 9):
            raise BadInput(
                f"{source}: {table} line {number} has class_index {index!r}, not a number from 0"
            )
        names.append(name)
        labels.append(int(index))
    order = np.arange(len(names))
    decoder = Decoder(names, read, layout, how)
    return Dataset(None, Samples(decoder, order, np.array(labels, np.int64), names), source)


# --- arrays --------------------------------------------------------------------------------------


def _open_object(source: Any, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    name = f"the {type(source).__name__} given"
    if _is_array(source):
        return _open_arrays({"x": _array(source)}, inputs, how, name)
    if isinstance(source, Mapping):
        return _open_arrays({str(k): _array(v) for k, v in source.items()}, inputs, how, name)
    if (
        isinstance(source, tuple)
        and len(source) == 2
        and (_is_array(source[0]) or isinstance(source[0], Mapping))
        and not isinstance(source[1], Mapping)
    ):
        return _open_arrays(_named(source, inputs, name), inputs, how, name)
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        raise BadInput(
            f"a {type(source).__name__} is no data; give a path, arrays, or batches of arrays"
        )
    return _open_arrays(_joined(source, inputs, name), inputs, how, name)


def _joined(source: Any, inputs: Sequence[Any], name: str) -> dict[str, Array]:
    """Batches (or a map-style data set's samples) joined along the samples, in memory."""
    single = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    items = (source[index] for index in range(len(source))) if single else iter(source)
    columns: dict[str, list[Array]] = {}
    for item in items:
        parts = _named(item, inputs, name)
        rank = len(inputs[0].shape)
        main = parts.get("x", parts.get(inputs[0].name))
        if main is None:
            raise BadInput(f"{name} holds {', '.join(parts)}; expected x or the input's name")
        label = parts.get("y") if inputs[0].name != "y" else None
        if main.ndim == rank - 1 if label is None else label.ndim == 0:
            # one sample at a time, as data sets give them
            parts = {key: value[None] for key, value in parts.items()}
        for key, value in parts.items():
            columns.setdefault(key, []).append(np.atleast_1d(value))
    if not columns:
        raise BadInput(f"{name} holds no samples")
    for key, values in columns.items():
        types = list(dict.fromkeys(str(value.dtype) for value in values))
        if len(types) > 1 and "uint8" in types and key != "y":  # pixels would pass for numbers
            raise BadInput(f"{name}: its batches hold {' and '.join(types)}; give all of one type")
    try:
        return {key: np.concatenate(values) for key, values in columns.items()}
    except ValueError as problem:
        raise BadInput(f"{name}: its batches do not fit together ({_short(problem)})") from problem


def _named(item: Any, inputs: Sequence[Any], name: str) -> dict[str, Array]:
    """A batch by name: x, (x, y), a dict, (dict, y), or the inputs in order, then perhaps y."""
    if isinstance(item, Mapping):
        return {str(key): _array(value) for key, value in item.items()}
    if not isinstance(item, (tuple, list)):
        return {"x": _array(item)}
    if len(item) == 2 and isinstance(item[0], Mapping):
        return {**_named(item[0], inputs, name), "y": _array(item[1])}
    wanted = [spec.name for spec in inputs if spec.value is None]
    if len(wanted) <= 1:
        wanted = ["x"]
    if not len(wanted) <= len(item) <= len(wanted) + 1:
        raise BadInput(
            f"{name} holds batches of {len(item)} parts; expected {len(wanted)}, one per input of "
            "the network, then perhaps the labels"
        )
    return {key: _array(value) for key, value in zip([*wanted, "y"], item, strict=False)}


def _open_arrays(
    arrays: dict[str, Array], inputs: Sequence[Any], how: Preprocess, name: str
) -> Dataset:
    names = [spec.name for spec in inputs]
    keys = ", ".join(arrays) or "nothing"
    needed = [spec.name for spec in inputs if spec.value is None] or names

    def samples(given: dict[str, Array], labels: Array | None, part: str) -> Samples:
        return _from_arrays(_filled(given, inputs, name), labels, inputs, how, part)

    if len(needed) == 1:
        (only,) = needed
        if "x_train" in arrays and "x_test" in arrays:
            train, test = (
                samples({only: arrays[f"x_{part}"]}, arrays.get(f"y_{part}"), f"{name} {part}")
                for part in ("train", "test")
            )
            return Dataset(train, test, name)
        if "x" in arrays and (only == "y" or only not in arrays):
            # x, y is the pair of inputs and labels, whatever the input is called
            others = {key: arrays[key] for key in names if key in arrays and key != only}
            return Dataset(
                None, samples({only: arrays["x"], **others}, arrays.get("y"), name), name
            )
    if all(key in arrays for key in needed):
        labels = arrays.get("y") if "y" not in names else None
        chosen = {key: arrays[key] for key in names if key in arrays}
        return Dataset(None, samples(chosen, labels, name), name)
    if len(needed) > 1:
        raise BadInput(
            f"the network has {len(names)} inputs ({', '.join(names)}) and {name} holds {keys}; "
            "give an .npz or a dict with these names"
        )
    raise BadInput(
        f"{name} holds {keys}; expected x and y, or x_train, y_train, x_test and y_test, or "
        f"{needed[0]}"
    )


def _filled(arrays: dict[str, Array], inputs: Sequence[Any], name: str) -> dict[str, Array]:
    """Every input's samples; a scalar input's one value is repeated for every sample."""
    count = next((len(value) for value in arrays.values() if value.ndim), 0)
    filled = {}
    for spec in inputs:
        value = arrays.get(spec.name)
        if value is None:
            filled[spec.name] = np.full(count, spec.value, _numpy_dtype(spec))
        elif value.ndim:
            filled[spec.name] = value
        elif spec.sample_shape == () and count:
            filled[spec.name] = np.full(count, value)
        else:
            raise BadInput(f"{name} holds a single number; expected samples along the first axis")
    return filled


def _from_arrays(
    arrays: dict[str, Array],
    labels: Array | None,
    inputs: Sequence[Any],
    how: Preprocess,
    name: str,
) -> Samples:
    counts = {key: len(value) if value.ndim else 0 for key, value in arrays.items()}
    n = next(iter(counts.values()))
    if len(set(counts.values())) != 1 or n == 0:
        raise BadInput(f"{name}: the arrays hold {counts} samples; give equally many, at least 1")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
            raise BadInput(
                f"{name}: labels are {labels.dtype} of shape {labels.shape}; expected {n} whole "
                "numbers, one per sample"
            )
        labels = labels.astype(np.int64)
    pixels = [value.dtype == np.uint8 for value in arrays.values()]
    if how.touches_size:
        raise BadInput(
            f"{name} holds arrays, which keep their size; resize and crop are for image files"
        )
    if how.touches_numbers and not any(pixels):
        types = ", ".join(sorted({str(value.dtype) for value in arrays.values()}))
        raise BadInput(
            f"{name} holds {types} values, which are taken as they are; scale, mean, std and "
            "bgr are for uint8 images"
        )
    readers = [_reader(arrays[spec.name], spec, how, name) for spec in inputs]

    def read(indices: Array) -> tuple[Array, ...]:
        return tuple(reader(indices)[0] for reader in readers)

    return Samples(read, np.arange(n), labels)


def _reader(array: Array, spec: Any, how: Preprocess, name: str) -> Read:
    wanted = tuple(spec.sample_shape)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{name} holds {array.dtype} values; expected numbers")
    dtype = _numpy_dtype(spec)
    if array.dtype == np.uint8:
        check_scaling(dtype, how)
    if array.dtype == np.uint8 and len(wanted) in (2, 3):
        layout = _layout(spec)
        if layout is not None:
            pixels = _as_pixels(array, layout, spec, name)
            return lambda indices: (to_inputs(pixels[indices], layout, how),)
    if len(wanted) == 3 and array.ndim == 3 and 1 in (wanted[0], wanted[-1]):
        array = array[:, None] if wanted[0] == 1 else array[..., None]
    array = _channels_where_wanted(array, wanted)
    shape = array.shape[1:]
    if len(shape) != len(wanted) or any(
        want is not None and have != want for have, want in zip(shape, wanted, strict=True)
    ):
        raise BadInput(
            f"{name} holds samples of shape {_sizes(shape)}, the network's input {spec.name} takes "
            f"{_sizes(wanted)}"
        )
    from_bytes = array.dtype == np.uint8 and np.issubdtype(dtype, np.floating)

    def read(indices: Array) -> tuple[Array, ...]:
        values = array[indices]
        if from_bytes:
            return (to_numbers(values, dtype, how),)
        with np.errstate(invalid="ignore", over="ignore"):  # both are looked for below
            values = np.asarray(values.astype(dtype, copy=False), order="C")
        if not np.issubdtype(dtype, np.floating) and not np.array_equal(values, array[indices]):
            raise BadInput(
                f"{name} holds {array.dtype} values that the network's input {spec.name} can not "
                f"hold ({dtype}); give whole numbers in its range"
            )
        if np.issubdtype(dtype, np.floating) and not np.isfinite(values).all():
            bad = int(indices[~np.isfinite(values).reshape(len(values), -1).all(1)][0])
            raise BadInput(f"{name}: sample {bad} holds NaN or infinity; remove or repair it")
        return (values,)

    return read


def _channels_where_wanted(array: Array, wanted: tuple[int | None, ...]) -> Array:
    """A view with the channels moved to the other side, where just that makes the shape fit."""
    shape = array.shape[1:]
    if len(shape) != 3 or len(wanted) != 3 or shape == wanted:
        return array
    if wanted[0] in (1, 3, 4) and (shape[2], shape[0], shape[1]) == wanted:
        return array.transpose(0, 3, 1, 2)
    if wanted[2] in (1, 3, 4) and (shape[1], shape[2], shape[0]) == wanted:
        return array.transpose(0, 2, 3, 1)
    return array


def _as_pixels(array: Array, layout: Layout, spec: Any, name: str) -> Array:
    """uint8 of any common layout as (n, H, W, C)."""
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[1:] == (layout.channels, layout.height, layout.width):
        array = array.transpose(0, 2, 3, 1)
    if array.shape[1:] != (layout.height, layout.width, layout.channels):
        raise BadInput(
            f"{name} holds images of shape {_sizes(array.shape[1:])}, the network's input "
            f"{spec.name} takes {layout}"
        )
    return array


# --- what the network takes ----------------------------------------------------------------------


def _image_layout(inputs: Sequence[Any], how: Preprocess, source: str) -> Layout:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise BadInput(
            f"the network has {len(inputs)} inputs ({names}) and {source} holds images; "
            "give an .npz with these names"
        )
    layout = _layout(inputs[0])
    if layout is None:
        raise BadInput(
            f"the network's input {inputs[0]} is no image, and {source} holds images; give an .npz"
        )
    check_scaling(layout.dtype, how)
    return layout


def _layout(spec: Any) -> Layout | None:
    """How the input holds an image; None if it does not."""
    sizes = spec.sample_shape
    if len(sizes) != 3 or None in sizes:
        return None
    dtype = _numpy_dtype(spec)
    if not (np.issubdtype(dtype, np.floating) or dtype == np.uint8):
        return None
    if sizes[0] in (1, 3, 4):
        return Layout(sizes[0], sizes[1], sizes[2], last=False, dtype=dtype)
    if sizes[2] in (1, 3, 4):
        return Layout(sizes[2], sizes[0], sizes[1], last=True, dtype=dtype)
    return None


def _numpy_dtype(spec: Any) -> np.dtype[Any]:
    name = str(spec.dtype).removeprefix("torch.")
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = None
    # with ml_dtypes imported NumPy knows bfloat16 by name, but can not calculate with it
    if dtype is None or dtype.kind not in "biuf":
        raise BadInput(
            f"the network's input {spec.name} is {name}, which arrays can not hold; give a "
            "network that takes float32"
        )
    return dtype


def _is_float(spec: Any) -> bool:
    return bool(np.issubdtype(_numpy_dtype(spec), np.floating))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (hasattr(value, "__array__") and hasattr(value, "ndim"))


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none; float32 holds each of its values
            value = value.float()
    try:
        return np.asarray(value)
    except ValueError as problem:
        raise BadInput(f"the data holds no regular array ({_short(problem)})") from problem


def _sizes(shape: Sequence[Any]) -> str:
    return "x".join("N" if size is None else str(size) for size in shape) or "one number"


def _short(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:120]

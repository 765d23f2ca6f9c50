"""Arrays in any form: one, several by name, (inputs, labels), or batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from packlight.data.images import Layout, Preprocess, check_scaling, to_inputs, to_numbers
from packlight.data.inputs import layout_of, numpy_dtype, short, sizes_text
from packlight.data.samples import Dataset, Read, Samples
from packlight.errors import BadInput
from packlight.types import Array

CLASS_NAMES = "class_names"  # array of texts, what the labels 0, 1, ... stand for


def open_object(source: Any, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    name = f"the {type(source).__name__} given"
    if _is_array(source):
        return open_arrays({"x": _array(source)}, inputs, how, name)
    if isinstance(source, Mapping):
        return open_arrays({str(k): _array(v) for k, v in source.items()}, inputs, how, name)
    if (
        isinstance(source, tuple)
        and len(source) == 2
        and (_is_array(source[0]) or isinstance(source[0], Mapping))
        and not isinstance(source[1], Mapping)
    ):
        return open_arrays(_named(source, inputs, name), inputs, how, name)
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        raise BadInput(
            f"a {type(source).__name__} is no data; give a path, arrays, or batches of arrays"
        )
    return open_arrays(_joined(source, inputs, name), inputs, how, name)


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
        raise BadInput(f"{name}: its batches do not fit together ({short(problem)})") from problem


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


def open_arrays(
    arrays: dict[str, Array], inputs: Sequence[Any], how: Preprocess, name: str
) -> Dataset:
    names = [spec.name for spec in inputs]
    keys = ", ".join(arrays) or "nothing"
    needed = [spec.name for spec in inputs if spec.value is None] or names
    classes = {} if CLASS_NAMES in names else _classes(arrays.get(CLASS_NAMES), name)

    def samples(given: dict[str, Array], labels: Array | None, part: str) -> Samples:
        found = from_arrays(_filled(given, inputs, name), labels, inputs, how, part)
        return replace(found, classes=classes)

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


def _classes(called: Array | None, name: str) -> dict[int, str]:
    """What classes are called, in the order of their numbers, where the source says so."""
    if called is None:
        return {}
    if called.ndim != 1 or called.dtype.kind != "U":
        raise BadInput(
            f"{name}: {CLASS_NAMES} is {called.dtype} of shape {called.shape}; give one text per "
            "class, or leave it out"
        )
    return {number: str(text) for number, text in enumerate(called)}


def _filled(arrays: dict[str, Array], inputs: Sequence[Any], name: str) -> dict[str, Array]:
    """Every input's samples; a scalar input's one value is repeated for every sample."""
    count = next((len(value) for value in arrays.values() if value.ndim), 0)
    filled = {}
    for spec in inputs:
        value = arrays.get(spec.name)
        if value is None:
            filled[spec.name] = np.full(count, spec.value, numpy_dtype(spec))
        elif value.ndim:
            filled[spec.name] = value
        elif spec.sample_shape == () and count:
            filled[spec.name] = np.full(count, value)
        else:
            raise BadInput(f"{name} holds a single number; expected samples along the first axis")
    return filled


def from_arrays(
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

    def content(index: int) -> bytes:
        return b"".join(arrays[spec.name][index].tobytes() for spec in inputs)

    return Samples(read, np.arange(n), labels, content=content)


def _reader(array: Array, spec: Any, how: Preprocess, name: str) -> Read:
    wanted = tuple(spec.sample_shape)
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{name} holds {array.dtype} values; expected numbers")
    dtype = numpy_dtype(spec)
    if array.dtype == np.uint8:
        check_scaling(dtype, how)
    if array.dtype == np.uint8 and len(wanted) in (2, 3):
        layout = layout_of(spec)
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
            f"{name} holds samples of shape {sizes_text(shape)}, the network's input {spec.name} "
            f"takes {sizes_text(wanted)}"
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
            f"{name} holds images of shape {sizes_text(array.shape[1:])}, the network's input "
            f"{spec.name} takes {layout}"
        )
    return array


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
        raise BadInput(f"the data holds no regular array ({short(problem)})") from problem

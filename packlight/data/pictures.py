"""Folders and zips of images: classes and splits from their paths, or from a labels.csv."""

from __future__ import annotations

import csv
import io
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from packlight.data.images import Decoder, Layout, Preprocess
from packlight.data.inputs import image_layout, short
from packlight.data.samples import Dataset, Samples
from packlight.errors import BadInput
from packlight.types import Array

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation")
LABELS = "labels.csv"
NAMES = ("name", "class_name")  # columns of it that may say what a class is called
FILE_BYTES = (
    256 * 2**20
)  # of one file in a zip once unpacked; a camera's largest image is far below


def open_folder(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return _open_tree(names, lambda name: (path / name).read_bytes(), inputs, how, path.name)


def open_zip(path: Path, inputs: Sequence[Any], how: Preprocess) -> Dataset:
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
    layout = image_layout(inputs, how, source)
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
    called = {number: name for name, number in (classes or {}).items()}
    return _decoded(full, read, labels, layout, how, called)


def _decoded(
    names: list[str],
    read: Callable[[str], bytes],
    labels: Array | None,
    layout: Layout,
    how: Preprocess,
    classes: Mapping[int, str],
) -> Samples:
    return Samples(
        Decoder(names, read, layout, how),
        np.arange(len(names)),
        labels,
        names,
        content=lambda index: read(names[index]),
        classes=classes,
    )


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
        raise BadInput(f"{source}: {table} can not be read ({short(problem)})") from problem
    columns = list(rows[0]) if rows else []
    if "filename" not in columns or "class_index" not in columns:
        raise BadInput(
            f"{source}: {table} has the columns {', '.join(map(str, columns)) or 'of nothing'}; "
            "it needs filename and class_index"
        )
    folder = table[: -len(LABELS)]
    names, labels = [], []
    called = next((column for column in NAMES if column in columns), None)
    classes: dict[int, str] = {}
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
        if called and row[called]:
            classes.setdefault(int(index), str(row[called]))
    samples = _decoded(names, read, np.array(labels, np.int64), layout, how, classes)
    below, _ = _below_common_folder(names)
    parts = [set(_part(below, folders)) for folders in (TRAIN, TEST)]
    if not all(parts):
        return Dataset(None, samples, source)
    train, test = (
        samples.take(i for i, name in enumerate(below) if name in part) for part in parts
    )
    return Dataset(train, test, source)

"""Every kind of source, and what is said of those that can not be used."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from packlight.data import Preprocess, check_labels, open_data
from packlight.errors import BadInput
from packlight.runtimes.onnxruntime import Session
from packlight.specs import TensorSpec
from tests.shared import shared

RGB = [TensorSpec("image", (None, 3, 8, 8), "float32")]
GREY = [TensorSpec("image", (None, 1, 8, 8), "float32")]
FLAT = [TensorSpec("features", (None, 5), "float32")]
TWO = [TensorSpec("a", (None, 2), "float32"), TensorSpec("b", (None, 3), "float32")]


def picture(colour, size=(8, 8), kind="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(buffer, kind)
    return buffer.getvalue()


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def as_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


CLASSES = {"cat/1.png": picture((255, 0, 0)), "ant/1.png": picture((0, 255, 0)),
           "ant/2.png": picture((0, 0, 255))}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_are_numbered_in_alphabetical_order(tmp_path, packed):
    source = as_zip(tmp_path / "d.zip", CLASSES) if packed else write(tmp_path / "d", CLASSES)
    samples = open_data(source, RGB).test
    assert samples.names == ["ant/1.png", "ant/2.png", "cat/1.png"]
    assert samples.labels.tolist() == [0, 0, 1]
    (x,) = samples.arrays()
    assert x.shape == (3, 3, 8, 8)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[0, :, 0, 0], [0, 1, 0])


def test_train_and_test_folders_are_kept_apart_and_share_classes(tmp_path):
    files = {f"data/train/{name}": content for name, content in CLASSES.items()}
    files["data/test/cat/9.png"] = picture((255, 0, 0))
    dataset = open_data(as_zip(tmp_path / "d.zip", files), RGB)
    assert len(dataset.train) == 3
    assert dataset.test.labels.tolist() == [1]
    assert dataset.test.classes[1] == "cat"
    assert dataset.test.take([0]).classes == dataset.train.classes


def test_flat_images_have_no_labels(tmp_path):
    samples = open_data(write(tmp_path, {"b.png": picture(7), "a.png": picture(9)}), GREY).test
    assert samples.labels is None
    assert samples.names == ["a.png", "b.png"]


def test_a_table_gives_labels_and_order(tmp_path):
    table = "filename,class_index,name\nb.png,4,x\na.png,0,y\n"
    files = {"labels.csv": table, "a.png": picture(1), "b.png": picture(2)}
    samples = open_data(as_zip(tmp_path / "d.zip", files), GREY).test
    assert samples.names == ["b.png", "a.png"]
    assert samples.labels.tolist() == [4, 0]
    assert samples.classes == {4: "x", 0: "y"}


def test_a_table_above_train_and_test_keeps_them_apart(tmp_path):
    table = "filename,class_index\ntest/b.png,4\ntrain/a.png,0\ntrain/c.png,4\n"
    files = {"d/labels.csv": table}
    files |= {f"d/{name}.png": picture(9) for name in ("train/a", "test/b", "train/c")}
    dataset = open_data(as_zip(tmp_path / "d.zip", files), GREY)
    assert dataset.train.names == ["d/train/a.png", "d/train/c.png"]
    assert dataset.train.labels.tolist() == [0, 4]
    assert dataset.test.labels.tolist() == [4]


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1), (6, 1, 8, 8)])
def test_bytes_of_any_layout_become_scaled_floats(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=pixels, y=np.arange(6))
    samples = open_data(tmp_path / "d.npz", GREY).test
    (x,) = samples.arrays()
    np.testing.assert_allclose(x.reshape(6, 64), pixels.reshape(6, 64) / 255, rtol=1e-6)
    assert samples.labels.tolist() == list(range(6))


def test_arrays_may_say_what_classes_are_called(tmp_path):
    pixels, labels = np.zeros((2, 8, 8), np.uint8), np.array([1, 0])
    np.savez(tmp_path / "d.npz", x=pixels, y=labels, class_names=np.array(["no", "yes"]))
    assert open_data(tmp_path / "d.npz", GREY).test.classes == {0: "no", 1: "yes"}
    assert open_data((pixels, labels), GREY).test.classes == {}
    for wrong in (np.arange(2), np.array([["no", "yes"]])):
        np.savez(tmp_path / "d.npz", x=pixels, y=labels, class_names=wrong)
        with pytest.raises(BadInput, match="give one text per class"):
            open_data(tmp_path / "d.npz", GREY)


def test_named_inputs_are_found_by_name(tmp_path):
    np.savez(tmp_path / "d.npz", b=np.ones((4, 3), np.float32), a=np.zeros((4, 2), np.float32))
    a, b = open_data(tmp_path / "d.npz", TWO).test.arrays()
    assert a.shape == (4, 2)
    assert b.shape == (4, 3)


def test_arrays_pairs_loaders_and_generators_are_data():
    x, y = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32), np.arange(10) % 3
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=4
    )
    sources = [x, torch.from_numpy(x), (x, y), {"features": x}, loader, loader.dataset]
    sources.append(x[i : i + 3] for i in range(0, 10, 3))
    for source in sources:
        (made,) = open_data(source, FLAT).test.arrays()
        np.testing.assert_array_equal(made, x)
    assert open_data(loader, FLAT).test.labels.tolist() == y.tolist()


def test_noise_is_the_same_every_time():
    first, second = (open_data("random:30", TWO).test.arrays() for _ in range(2))
    assert len(first[0]) == 30
    np.testing.assert_array_equal(first[1], second[1])


def test_batches_cover_the_samples_once(tmp_path):
    x = np.arange(35, dtype=np.float32).reshape(7, 5)
    samples = open_data(x, FLAT).test
    parts = [batch[0] for batch in samples.batches(3)]
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(parts), x)
    np.testing.assert_array_equal(samples.take([5, 0]).arrays()[0], x[[5, 0]])


HEAD = "filename,class_index\n"
BAD_FILES = {
    "no images": ({"readme.txt": b"hello"}, RGB, "holds no images"),
    "empty": ({}, RGB, "holds no images"),
    "bad image": ({"a.png": b"not an image"}, RGB, r"a\.png is not an image"),
    "column missing": ({"labels.csv": "file,label\n", "a.png": picture(1)}, RGB, "class_index"),
    "file missing": ({"labels.csv": HEAD + "x.png,1", "a.png": picture(1)}, RGB, "line 2"),
    "class a word": ({"labels.csv": HEAD + "a.png,cat", "a.png": picture(1)}, RGB, "cat"),
    "two inputs": ({"a.png": picture(1)}, TWO, "2 inputs"),
    "no image input": ({"a.png": picture(1)}, FLAT, "is no image"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_folders_and_zips_are_told_in_one_sentence(tmp_path, case, packed):
    files, inputs, message = BAD_FILES[case]
    source = as_zip(tmp_path / "d.zip", files) if packed else write(tmp_path / "d", files)
    source.mkdir(exist_ok=True) if not packed else None
    with pytest.raises(BadInput, match=message) as problem:
        open_data(source, inputs).test.arrays()
    assert "\n" not in str(problem.value)


BAD_ARRAYS = {
    "shape": (np.zeros((4, 6), np.float32), FLAT, "take.* 5"),
    "image shape": (np.zeros((4, 9, 9), np.uint8), GREY, "9x9x1"),
    "nan": (np.full((4, 5), np.nan, np.float32), FLAT, "NaN"),
    "objects": (np.array([["a"] * 5] * 4), FLAT, "expected numbers"),
    "empty": (np.zeros((0, 5), np.float32), FLAT, "at least 1"),
    "labels too few": ((np.zeros((4, 5), np.float32), np.arange(3)), FLAT, "labels"),
    "labels float": ((np.zeros((4, 5), np.float32), np.zeros(4)), FLAT, "labels"),
    "wrong keys": ({"images": np.zeros((4, 5), np.float32)}, FLAT, "holds images; expected"),
    "one of two": ({"a": np.zeros((4, 2), np.float32)}, TWO, "2 inputs"),
    "nothing": ([], FLAT, "no samples"),
    "a number": (7, FLAT, "is no data"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_told_in_one_sentence(case):
    source, inputs, message = BAD_ARRAYS[case]
    with pytest.raises(BadInput, match=message):
        open_data(source, inputs).test.arrays()


def test_files_that_are_not_what_they_say_are_refused(tmp_path):
    for name in ("d.npz", "d.npy", "d.zip", "d.txt"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(BadInput, match=name):
            open_data(tmp_path / name, RGB)
    with pytest.raises(BadInput, match="does not exist"):
        open_data(tmp_path / "absent.zip", RGB)
    np.save(tmp_path / "pickled.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(BadInput, match="without objects"):
        open_data(tmp_path / "pickled.npy", FLAT)


def test_an_image_that_claims_to_be_huge_is_refused(tmp_path):
    write(tmp_path, {"bomb.png": picture(0, size=(20_000, 6_000))})
    with pytest.raises(BadInput, match=r"bomb\.png"):
        open_data(tmp_path, GREY).test.arrays()


def test_scaling_floats_is_refused_since_they_are_taken_as_they_are():
    with pytest.raises(BadInput, match="taken as they are"):
        open_data(np.zeros((4, 5), np.float32), FLAT, Preprocess(scale=1))


def test_labels_beyond_the_classes_are_named():
    samples = open_data((np.zeros((3, 5), np.float32), np.array([0, 7, 1])), FLAT).test
    check_labels(samples, 8)
    with pytest.raises(BadInput, match=r"sample 1 has the label 7.*3 classes"):
        check_labels(samples, 3)


def test_real_data_is_read_as_its_notes_say():
    cifar = open_data(
        shared("data", "cifar10.zip"), [TensorSpec("x", (None, 3, 32, 32), "float32")]
    )
    assert (len(cifar.train), len(cifar.test)) == (50_000, 5_000)
    assert np.bincount(cifar.test.labels).tolist() == [500] * 10
    mnist = open_data(shared("data", "mnist.npz"), [TensorSpec("x", (None, 1, 28, 28), "float32")])
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)


def test_preprocessing_gives_the_published_accuracy():
    spec = [TensorSpec("image", (None, 3, 227, 227), "float32")]
    how = Preprocess(resize=256, crop=227, scale=1)
    samples = open_data(shared("data", "imagenet500.zip"), spec, how).test
    session = Session(shared("models", "squeezenet1_1.onnx"))
    (scores,) = session.over(samples.batches(25))
    assert (scores.argmax(1) == samples.labels).mean() == pytest.approx(0.632, abs=0.0021)

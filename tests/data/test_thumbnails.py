"""Pictures of inputs: the pixels that went in come out, and they stay small."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from packlight.data.arrays import from_arrays
from packlight.data.images import Layout, Preprocess, to_inputs
from packlight.data.thumbnails import MOST_BYTES, SIDE, thumbnails, to_pixels
from packlight.specs import TensorSpec

HOWS = [
    Preprocess(),
    Preprocess(scale=1.0),
    Preprocess(mean=(0.5,), std=(0.25,)),
    Preprocess(scale=1 / 127.5, mean=(1.0,)),
]
COLOUR = [
    *HOWS,
    Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), bgr=True),
]


def noise(n: int, side: int, channels: int) -> np.ndarray:
    pixels = np.random.default_rng(side).integers(0, 256, (n, side, side, channels), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    return pixels


def spec(channels: int, side: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", (None, channels, side, side), dtype, True, None)


def shown(files: list[bytes]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("channels", "how"), [*((3, how) for how in COLOUR), *((1, how) for how in HOWS)]
)
def test_preprocessing_is_undone(channels, how, last):
    pixels = noise(3, 9, channels)
    layout = Layout(channels, 9, 9, last, np.dtype(np.float32))
    found = to_pixels(to_inputs(pixels, layout, how), layout, how)
    np.testing.assert_array_equal(found, pixels)


def test_bytes_are_shown_as_they_are():
    layout = Layout(3, 9, 9, False, np.dtype(np.uint8))
    dim = noise(2, 9, 3) // 8
    found = to_pixels(to_inputs(dim, layout, Preprocess()), layout, Preprocess())
    np.testing.assert_array_equal(found, dim)


def test_numbers_that_were_no_pixels_reach_from_black_to_white():
    layout = Layout(1, 5, 5, False, np.dtype(np.float32))
    values = np.random.default_rng(0).normal(size=(3, 1, 5, 5)).astype(np.float32)
    values[2] = 7.0  # all alike
    found = to_pixels(values, layout, Preprocess())
    for picture, value in zip(found[:2], values[:2], strict=True):
        assert picture.min() == 0
        assert picture.max() == 255
        assert picture.reshape(-1).argmax() == value.reshape(-1).argmax()
    assert not found[2].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_every_pixel(channels):
    pixels = noise(2, 32, channels)
    samples = from_arrays({"x": pixels}, None, [spec(channels, 32)], Preprocess(), "noise")
    found = shown(thumbnails(samples, [spec(channels, 32)], Preprocess()))
    np.testing.assert_array_equal(np.stack(found).reshape(pixels.shape), pixels)


def test_large_ones_shrink_and_all_together_stay_small():
    pixels = noise(60, 160, 3)
    samples = from_arrays({"x": pixels}, None, [spec(3, 160)], Preprocess(), "noise")
    files = thumbnails(samples, [spec(3, 160)], Preprocess())
    assert 12 < len(files) < 60  # noise is what packs worst
    assert sum(map(len, files)) <= MOST_BYTES
    assert {Image.open(io.BytesIO(file)).size for file in files} == {(SIDE, SIDE)}


@pytest.mark.parametrize(
    "shapes", [[(None, 4, 8, 8)], [(None, 12)], [(None, 3, 2, 9)], [(None, 1, 8, 8)] * 2]
)
def test_what_is_no_picture_is_not_shown(shapes):
    inputs = [
        TensorSpec(name, shape, "float32", True, None)
        for name, shape in zip("ab", shapes, strict=False)
    ]
    arrays = {one.name: np.zeros((2, *one.shape[1:]), np.float32) for one in inputs}
    samples = from_arrays(arrays, None, inputs, Preprocess(), "zeros")
    assert thumbnails(samples, inputs, Preprocess()) == []

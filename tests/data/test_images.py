"""Pixels by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from packlight.data import Preprocess, open_data
from packlight.errors import BadInput
from packlight.specs import TensorSpec


def opened(tmp_path, pixels, shape, how=None, dtype="float32"):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    spec = [TensorSpec("image", shape, dtype)]
    return open_data(tmp_path, spec, how).test.arrays()[0][0]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_scale_mean_and_std_apply_in_that_order(tmp_path, pixels):
    how = Preprocess(scale=0.5, mean=(10, 20, 30), std=(2, 4, 8))
    made = opened(tmp_path, pixels, (None, 3, 6, 8), how)
    wanted = (pixels * 0.5 - [10, 20, 30]) / [2, 4, 8]
    np.testing.assert_allclose(made, wanted.transpose(2, 0, 1), rtol=1e-6)


def test_blue_comes_first_when_asked(tmp_path, pixels):
    made = opened(tmp_path, pixels, (None, 3, 6, 8), Preprocess(scale=1, bgr=True))
    np.testing.assert_array_equal(made, pixels[:, :, ::-1].transpose(2, 0, 1))


def test_channels_come_last_where_the_network_wants_them_last(tmp_path, pixels):
    made = opened(tmp_path, pixels, (None, 6, 8, 3), Preprocess(scale=1))
    np.testing.assert_array_equal(made, pixels)


def test_a_network_of_bytes_gets_bytes(tmp_path, pixels):
    made = opened(tmp_path, pixels, (None, 6, 8, 3), dtype="uint8")
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, pixels)


def test_a_crop_is_the_centre(tmp_path, pixels):
    made = opened(tmp_path, pixels, (None, 3, 4, 4), Preprocess(crop=4, scale=1))
    np.testing.assert_array_equal(made, pixels[1:5, 2:6].transpose(2, 0, 1))


def test_resize_sets_the_short_side(tmp_path):
    flat = np.full((10, 20, 3), 77, np.uint8)
    made = opened(tmp_path, flat, (None, 3, 5, 10), Preprocess(resize=5, scale=1))
    assert made.shape == (3, 5, 10)
    assert (made == 77).all()


def test_without_sizes_images_are_brought_to_the_networks(tmp_path):
    flat = np.full((40, 90, 3), 50, np.uint8)
    assert opened(tmp_path, flat, (None, 3, 16, 16)).shape == (3, 16, 16)


def test_sizes_that_do_not_fit_the_network_are_named(tmp_path, pixels):
    with pytest.raises(BadInput, match="6x6 after resize and crop, the network takes 16x16"):
        opened(tmp_path, pixels, (None, 3, 16, 16), Preprocess(crop=6))


def test_grey_images_serve_colour_networks_and_back(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    made = opened(tmp_path, grey, (None, 3, 6, 8), Preprocess(scale=1))
    np.testing.assert_array_equal(made, np.broadcast_to(grey, (3, 6, 8)))
    colour = np.stack([grey] * 3, -1)
    np.testing.assert_array_equal(
        opened(tmp_path, colour, (None, 1, 6, 8), Preprocess(scale=1)), grey[None]
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [({"resize": 0}, "resize 0"), ({"crop": -3}, "crop -3"), ({"std": (1, 0, 1)}, "std holds a 0")],
)
def test_impossible_settings_are_refused_at_once(how, message):
    with pytest.raises(BadInput, match=message):
        Preprocess(**how)


def test_means_must_match_the_channels(tmp_path, pixels):
    with pytest.raises(BadInput, match="2 numbers, the network takes 3 channels"):
        opened(tmp_path, pixels, (None, 3, 6, 8), Preprocess(mean=(1, 2)))

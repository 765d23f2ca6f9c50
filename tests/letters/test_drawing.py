"""Rendered letters: the same for the same seed, and never further out than their bounds."""

from dataclasses import fields, replace

import numpy as np
import pytest

from packlight.errors import BadInput
from packlight.letters import CHARSET, Bounds, render, typefaces

STILL = Bounds(rotation=0, shift=0, scale=0, blur=0, noise=0, contrast=1, background=0)


def ink_of(images):
    """Ink in 0..1, (n, side, side), of images without noise, shade or loss of contrast."""
    light = images[:, 0].astype(np.float64) / 255
    paper = light[:, :1, :1]  # a glyph never reaches the corner
    return np.abs(light - paper)


def moments_of(ink):
    """Mass (n,), centroid in pixels right and down of the middle (n, 2), covariance (n, 2, 2)."""
    at = np.arange(ink.shape[-1]) - (ink.shape[-1] - 1) / 2
    down, right = np.meshgrid(at, at, indexing="ij")
    mass = ink.sum((1, 2))
    where = np.stack([right, down])
    centre = np.einsum("nhw,chw->nc", ink, where) / mass[:, None]
    second = np.einsum("nhw,chw,dhw->ncd", ink, where, where) / mass[:, None, None]
    return mass, centre, second - centre[:, :, None] * centre[:, None, :]


def leanings_of(images):
    """Degrees between each glyph's long axis and the vertical, -90..90."""
    _, _, spread = moments_of(ink_of(images))
    angle = 0.5 * np.arctan2(2 * spread[:, 0, 1], spread[:, 1, 1] - spread[:, 0, 0])
    return np.degrees(angle)


def test_the_same_seed_gives_the_same_bytes():
    first, second = render(2500, 3), render(2500, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("other", [4, 2**32 + 3, (3, 1), (1, 3)])
def test_another_seed_gives_other_images(other):
    ours = {image.tobytes() for image in render(500, 3)[0]}
    assert not ours & {image.tobytes() for image in render(500, other)[0]}


def test_nothing_outside_decides_what_is_drawn():
    torch = pytest.importorskip("torch")
    first = render(20, 0)[0]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert np.array_equal(first, render(20, 0)[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size", [8, 28, 32, 65])
def test_images_and_labels_have_the_shapes_and_types_that_are_promised(size):
    images, labels = render(10, 0, size=size)
    assert (images.shape, images.dtype) == ((10, 1, size, size), np.uint8)
    assert (labels.shape, labels.dtype) == ((10,), np.int64)


def test_no_images_are_an_empty_answer():
    images, labels = render(0, 0)
    assert images.shape == (0, 1, 32, 32)
    assert labels.shape == (0,)


def test_every_class_appears_equally_often():
    _, labels = render(36 * 7 + 5, 0)
    counts = np.bincount(labels, minlength=36)
    assert set(counts) == {7, 8}
    assert counts.sum() == len(labels)


def test_labels_follow_the_charset_that_is_given():
    forwards, backwards = (render(400, 0, charset=text, bounds=STILL) for text in ("IO", "OI"))
    round_ones = ink_of(forwards[0][forwards[1] == 1]).any(1).sum(1).mean()
    assert round_ones > 1.5 * ink_of(forwards[0][forwards[1] == 0]).any(1).sum(1).mean()
    assert round_ones == pytest.approx(
        ink_of(backwards[0][backwards[1] == 0]).any(1).sum(1).mean(), rel=0.1
    )


def test_bounds_of_zero_leave_the_clean_glyphs_alone():
    images, labels = render(4000, 0, bounds=STILL)
    for index in range(len(CHARSET)):
        pictures = {image.tobytes() for image in images[labels == index]}
        assert len(pictures) == 2 * len(typefaces())  # dark on light and light on dark


def test_a_rotation_bound_of_zero_gives_no_rotation():
    images, _ = render(300, 0, charset="I", bounds=STILL)
    assert np.abs(leanings_of(images)).max() < 0.5


def test_rotation_reaches_its_bound_on_both_sides_and_no_further():
    images, _ = render(600, 0, charset="I", bounds=replace(STILL, rotation=20))
    leaning = leanings_of(images)
    assert 18 < leaning.max() < 20.5
    assert -20.5 < leaning.min() < -18


def test_shift_reaches_its_bound_on_every_side_and_no_further():
    _, home, _ = moments_of(ink_of(render(400, 0, charset="O", bounds=STILL)[0]))
    shifted = render(400, 0, charset="O", bounds=replace(STILL, shift=0.1))[0]
    moved = moments_of(ink_of(shifted))[1]
    play = np.abs(home).max() + 0.05
    assert play < 0.5
    assert np.abs(moved).max() < 3.2 + play
    assert (moved.max(0) > 2.9).all()
    assert (moved.min(0) < -2.9).all()


def test_turned_glyphs_are_still_shifted_along_the_axes_of_the_image():
    bounds = replace(STILL, shift=0.1, rotation=45, scale=0.3)
    _, moved, _ = moments_of(ink_of(render(400, 0, charset="O", bounds=bounds)[0]))
    assert np.abs(moved).max() < 3.2 + 0.6


def test_scale_reaches_its_bound_on_both_sides_and_no_further():
    areas = {}
    for name, bounds in (("still", STILL), ("scaled", replace(STILL, scale=0.2))):
        images, _ = render(3000, 0, charset="H", bounds=bounds)
        _, _, spread = moments_of(ink_of(images))
        areas[name] = np.sqrt(spread[:, 1, 1])  # height
    still = areas["still"]
    assert areas["scaled"].max() < 1.22 * still.max()
    assert areas["scaled"].min() > 0.78 * still.min()
    assert areas["scaled"].max() > 1.1 * still.max()
    assert areas["scaled"].min() < 0.9 * still.min()


def test_glyphs_stay_inside_the_frame_at_the_default_bounds():
    bounds = replace(STILL, rotation=12, shift=0.08, scale=0.15)
    ink = ink_of(render(3000, 0, bounds=bounds)[0])
    edge = np.concatenate([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], axis=1)
    assert (edge.max(1) > 0.5).mean() < 0.01


def test_blur_keeps_the_ink_and_spreads_it():
    sharp, soft = (
        moments_of(ink_of(render(200, 0, charset="I", bounds=replace(STILL, blur=blur))[0]))
        for blur in (0, 1.5)
    )
    assert soft[0].mean() == pytest.approx(sharp[0].mean(), rel=0.05)
    widened = soft[2][:, 0, 0].mean() - sharp[2][:, 0, 0].mean()
    assert widened == pytest.approx(1.5**2 / 3, rel=0.35)  # sigma is uniform in 0..1.5


def test_noise_is_no_stronger_than_its_bound():
    quiet, noisy = (
        render(300, 0, charset="I", bounds=replace(STILL, contrast=0.05, noise=noise))[0]
        for noise in (0, 0.1)
    )
    middling = (quiet > 80).all((1, 2, 3)) & (quiet < 175).all((1, 2, 3))  # nothing is clipped
    assert middling.sum() > 10
    strength = (noisy[middling].astype(float) - quiet[middling]).std((1, 2, 3)) / 255
    assert 0.07 < strength.max() < 0.11
    assert strength.min() < 0.03


def test_contrast_is_never_below_its_bound():
    for contrast in (0.3, 0.8):
        images, _ = render(500, 0, charset="O", bounds=replace(STILL, contrast=contrast))
        span = np.ptp(images.reshape(500, -1).astype(float), axis=1) / 255
        assert span.min() > 0.85 * contrast  # a thin stroke does not fill a pixel
        assert span.min() < contrast + 0.15


def test_background_slopes_no_more_than_its_bound():
    bounds = replace(STILL, contrast=0.05, background=0.3)
    images, _ = render(500, 0, charset="I", bounds=bounds)
    light = images[:, 0].astype(float) / 255
    across = np.abs(light[:, :, -1] - light[:, :, 0]).max(1)
    assert 0.2 < across.max() < 0.31


@pytest.mark.parametrize(
    ("charset", "message"),
    [
        ("", "one or more characters"),
        ("ABA", "each once"),
        ("A B", r"can not draw ' ' \(U\+0020\)"),
        ("Aあ", r"can not draw 'あ' \(U\+3042\)"),
        ("A\n", r"can not draw '\\n' \(U\+000A\)"),
    ],
)
def test_a_charset_that_can_not_be_drawn_is_refused(charset, message):
    with pytest.raises(BadInput, match=message):
        render(1, 0, charset=charset)


@pytest.mark.parametrize("name", [field.name for field in fields(Bounds)])
@pytest.mark.parametrize("value", [-0.01, 90, float("nan"), float("inf")])
def test_a_bound_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(BadInput, match=f"^{name} is "):
        Bounds(**{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1, "seed": 0}, "count is -1"),
        ({"count": 1, "seed": -1}, "seed is -1"),
        ({"count": 1, "seed": 0.5}, "seed is 0.5"),
        ({"count": 1, "seed": 0, "size": 7}, "size is 7"),
        ({"count": 1, "seed": 0, "size": 257}, "size is 257"),
    ],
)
def test_other_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(BadInput, match=message):
        render(**arguments)


def test_a_typeface_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr("packlight.letters.fonts.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install font-caladea"):
        render(1, 0, charset="QXZ")  # a charset that is not cached yet

"""Sources that once gave wrong samples without a word, or ended in a traceback."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from packlight.data import Preprocess, open_data, split
from packlight.errors import BadInput
from packlight.specs import TensorSpec


def spec(*sample, name="x", dtype="float32"):
    return TensorSpec(name, (None, *sample), dtype)


RGB = [spec(3, 8, 8)]
GREY = [spec(1, 8, 8)]
TWO = [spec(3, name="a"), spec(2, name="b")]
A, B = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)
HEAD = "filename,class_index\n"


def png(colour=0, size=(8, 8), mode="RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def packed(tmp_path):
    def pack(files):
        path = tmp_path / "d.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return pack


# --- images --------------------------------------------------------------------------------------


def test_a_validation_folder_beside_a_test_folder_is_left_alone(packed):
    files = {"train/a.png": png((1, 1, 1)), "val/b.png": png((2, 2, 2)), "test/c.png": png()}
    data = open_data(packed(files), RGB)
    assert data.test.names == ["test/c.png"]
    assert len(data.train) == 1


def test_a_validation_folder_judges_where_there_is_no_test_folder(packed):
    data = open_data(packed({"Train/a.png": png(), "Val/b.png": png((255, 255, 255))}), RGB)
    assert data.test.names == ["Val/b.png"]
    assert data.test.arrays()[0].min() == 1


def test_images_beside_class_folders_are_refused(packed):
    with pytest.raises(BadInput, match=r"a\.png.*beside"):
        open_data(packed({"a.png": png(), "cat/b.png": png(), "dog/c.png": png()}), RGB)


def test_a_crop_larger_than_the_image_is_refused_not_padded(packed):
    source = packed({"small.png": png((255, 255, 255), size=(6, 4))})
    with pytest.raises(BadInput, match=r"small\.png is 4x6.*crop 8x8.*resize"):
        open_data(source, RGB, Preprocess(crop=8)).test.arrays()


def test_a_network_of_four_channels_gets_four(packed):
    source = packed({"a.png": png((10, 20, 30, 40), mode="RGBA")})
    for bgr, wanted in ((False, [10, 20, 30, 40]), (True, [30, 20, 10, 40])):
        how = Preprocess(scale=1, bgr=bgr)
        assert open_data(source, [spec(4, 8, 8)], how).test.arrays()[0][0, :, 0, 0].tolist() == (
            wanted
        )


def test_pixels_come_in_the_networks_own_float_type(packed):
    half = [spec(3, 8, 8, dtype="float16")]
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    for source in (packed({"a.png": png()}), pixels):
        assert open_data(source, half).test.arrays()[0].dtype == np.float16


def test_a_network_of_bytes_refuses_scaling(packed):
    source = packed({"a.png": png()})
    bytes_in = [spec(3, 8, 8, dtype="uint8")]
    open_data(source, bytes_in, Preprocess(scale=1))
    for how in (Preprocess(scale=0.5), Preprocess(mean=(1,)), Preprocess(std=(2,))):
        with pytest.raises(BadInput, match="uint8"):
            open_data(source, bytes_in, how)


def test_more_than_eight_bits_are_refused_not_clipped(packed):
    with pytest.raises(BadInput, match=r"deep\.png.*8 bits"):
        open_data(packed({"deep.png": png(300, mode="I;16")}), GREY).test.arrays()


def test_only_image_formats_are_opened(packed):
    """Postscript would start another program."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"
    with pytest.raises(BadInput, match="cannot identify"):
        open_data(packed({"a.png": script}), RGB).test.arrays()


def test_a_file_that_unpacks_to_far_too_much_is_refused(packed, monkeypatch):
    monkeypatch.setattr("packlight.data.pictures.FILE_BYTES", 1000)
    with pytest.raises(BadInput, match=r"a\.png.*5000 bytes"):
        open_data(packed({"a.png": bytes(5000)}), RGB).test.arrays()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_settings_that_are_not_finite_are_refused(value):
    for how in ({"scale": value}, {"mean": (value,)}, {"std": (value,)}):
        with pytest.raises(BadInput):
            Preprocess(**how)
    with pytest.raises(BadInput, match="scale 0"):
        Preprocess(scale=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,²\n", "line 2.*class_index"),
        ("a.png,99999999999999999999\n", "line 2.*class_index"),
        ("a.png,1\na.png,2\n", r"line 3 names a\.png again"),
    ],
)
def test_tables_that_do_not_settle_the_class_are_refused(packed, rows, message):
    with pytest.raises(BadInput, match=message):
        open_data(packed({"a.png": png(), "labels.csv": HEAD + rows}), RGB)


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored: the text stands in the file as it is
        archive.writestr("labels.csv", HEAD + "a.png,1\n")
        archive.writestr("a.png", png())
    path.write_bytes(path.read_bytes().replace(b"a.png,1", b"a.png,2", 1))
    with pytest.raises(BadInput, match=r"labels\.csv.*CRC"):
        open_data(path, RGB)


# --- arrays --------------------------------------------------------------------------------------


def test_bytes_that_are_no_picture_are_normalised_too():
    how = Preprocess(scale=1, mean=(5,), std=(10,))
    made = open_data(np.full((2, 6), 255, np.uint8), [spec(6)], how).test.arrays()[0]
    np.testing.assert_array_equal(made, np.full((2, 6), 25, np.float32))


def test_floats_may_have_their_channels_on_the_other_side():
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        open_data(x, RGB).test.arrays()[0], np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    )
    swapped = open_data(x.transpose(0, 3, 1, 2), [spec(8, 8, 3)]).test.arrays()[0]
    np.testing.assert_array_equal(swapped, x)


@pytest.mark.parametrize("how", [Preprocess(resize=8), Preprocess(crop=8)])
def test_arrays_are_neither_resized_nor_cropped(how):
    for dtype in (np.uint8, np.float32):
        with pytest.raises(BadInput, match="image files"):
            open_data(np.zeros((2, 3, 8, 8), dtype), RGB, how)


def test_settings_for_pixels_may_stand_beside_other_inputs():
    inputs = [spec(3, 8, 8, name="image"), spec(2, name="extra")]
    source = {"image": np.full((4, 8, 8, 3), 7, np.uint8), "extra": B}
    image, extra = open_data(source, inputs, Preprocess(scale=1, mean=(2,))).test.arrays()
    assert (image == 5).all()
    assert (extra == 1).all()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.full((2, 5), 1.5), "int64"),
        (np.full((2, 5), np.nan), "int64"),
        (np.full((2, 5), -1), "uint8"),
        (np.full((2, 5), 2**40), "int32"),
    ],
)
def test_numbers_the_networks_type_can_not_hold_are_refused(values, dtype):
    with pytest.raises(BadInput, match="can not hold"):
        open_data(values, [spec(5, dtype=dtype)]).test.arrays()


def test_complex_numbers_and_single_numbers_are_no_samples(tmp_path):
    np.save(tmp_path / "one.npy", np.float32(3))
    with pytest.raises(BadInput, match="complex"):
        open_data(np.zeros((2, 5), complex), [spec(5)])
    with pytest.raises(BadInput, match="single number"):
        open_data(tmp_path / "one.npy", [spec(5)])


@pytest.mark.parametrize("known_by_name", [False, True])
def test_types_numpy_can_not_hold_are_read_or_named(known_by_name):
    if known_by_name:
        pytest.importorskip("ml_dtypes")  # registers the name bfloat16 for good
    made = open_data(torch.ones(2, 5, dtype=torch.bfloat16), [spec(5)]).test.arrays()[0]
    assert (made == 1).all()
    with pytest.raises(BadInput, match="x is bfloat16"):
        open_data(np.zeros((2, 5)), [spec(5, dtype="bfloat16")])


def test_text_named_as_arrays_is_called_what_it_is(tmp_path):
    (tmp_path / "d.npz").write_text("hello")
    with pytest.raises(BadInput, match=r"d\.npz is not a NumPy file") as problem:
        open_data(tmp_path / "d.npz", RGB)
    assert "pickle" not in str(problem.value)


def test_labels_beside_a_dict_are_kept():
    data = open_data(({"a": A, "b": B}, [3, 2, 1, 0]), TWO).test
    assert data.labels.tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(data.arrays()[0], A)
    pair = open_data((A, [0, 1, 2, 3]), [spec(3)]).test
    assert pair.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("labelled", [False, True])
def test_loaders_of_several_inputs_give_them_in_order(labelled):
    parts = [torch.from_numpy(A), torch.from_numpy(B)] + [torch.arange(4)] * labelled
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*parts), batch_size=3)
    data = open_data(loader, TWO).test
    np.testing.assert_array_equal(data.arrays()[0], A)
    np.testing.assert_array_equal(data.arrays()[1], B)
    assert (data.labels is not None) == labelled


def test_batches_with_too_many_parts_are_refused():
    with pytest.raises(BadInput, match="3 parts"):
        open_data([(A, A, A)], [spec(3)])


def test_batches_of_bytes_and_floats_are_not_mixed():
    with pytest.raises(BadInput, match="uint8 and float32"):
        open_data([np.zeros((2, 5), np.uint8), np.zeros((2, 5), np.float32)], [spec(5)])


def test_grey_batches_without_a_channel_axis_are_batches():
    grey = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    data = open_data([(grey[:4], np.arange(4)), (grey[4:], np.arange(2))], GREY).test
    assert data.arrays()[0].shape == (6, 1, 8, 8)
    assert data.labels.tolist() == [0, 1, 2, 3, 0, 1]


def test_an_input_named_y_is_not_fed_with_labels():
    data = open_data((A, np.arange(4)), [spec(3, name="y")]).test
    np.testing.assert_array_equal(data.arrays()[0], A)
    assert data.labels.tolist() == [0, 1, 2, 3]


def test_an_input_with_a_value_of_its_own_may_be_left_out_or_given_once():
    rate = TensorSpec("sr", (), "int64", batched=False, value=16000)
    inputs = [spec(3, name="input"), rate]
    for source, wanted in (
        (A, 16000),
        ((A, np.arange(4)), 16000),
        ({"input": A}, 16000),
        ({"x": A, "sr": np.int64(8000)}, 8000),
    ):
        data = open_data(source, inputs).test.arrays()
        np.testing.assert_array_equal(data[0], A)
        assert data[1].tolist() == [wanted] * 4


# --- counting ------------------------------------------------------------------------------------


def test_noise_for_a_network_of_bytes_covers_the_bytes():
    made = open_data("random:8", [spec(3, 8, 8, dtype="uint8")]).test.arrays()[0]
    assert made.min() < 10
    assert made.max() > 245


def test_counts_that_make_no_sense_are_refused():
    data = open_data("random:100", [spec(3)])
    with pytest.raises(BadInput, match="random:N"):
        open_data("random:²", [spec(3)])
    with pytest.raises(BadInput, match="calibrate -5"):
        split(data, -5)
    for size in (0, -1):
        with pytest.raises(BadInput, match="batch"):
            list(data.test.batches(size))


def test_importing_the_module_does_not_bring_torch():
    code = "import sys, packlight.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

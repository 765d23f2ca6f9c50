"""Integers in fewer bits, and onnxruntime's own format: the same answers from other bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

import packlight
from packlight.errors import BadInput
from packlight.readers import load
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import ort
from packlight.runtimes.narrow import narrowed
from packlight.runtimes.onnxruntime import Session
from packlight.shrink.palettize import Codebook
from packlight.shrink.sharing import shared
from tests.commands import run
from tests.networks import images, wide
from tests.runtimes.quantised import quantised


@pytest.fixture(scope="module")
def rounded() -> bytes:
    """`wide` with int8 weights as a fit leaves them: most of them small, a few large."""
    model = onnx_file.to_proto(quantised(wide(), images(32)))
    noise = np.random.default_rng(0)
    levels = {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.int8 and value.ndim > 1:
            small = noise.integers(-2, 2, value.shape, np.int8)
            levels[tensor.name] = np.where(noise.random(value.shape) < 0.003, value, small)
    return onnx_file.refilled(model, levels).SerializeToString()


def answers(model: bytes | Path) -> np.ndarray[Any, Any]:
    (made,) = Session(model, threads=1)(images(8, seed=3).numpy())
    return made


def types(data: bytes) -> set[int]:
    return {tensor.data_type for tensor in onnx.load_from_string(data).graph.initializer}


@pytest.mark.parametrize(("bits", "share"), [(4, 0.6), (2, 0.4)])
def test_fewer_bits_are_fewer_bytes_and_the_same_answers(rounded, bits, share):
    made = narrowed(rounded, bits)
    assert len(made) < share * len(rounded)
    np.testing.assert_array_equal(answers(made), answers(rounded))
    onnx.checker.check_model(onnx.load_from_string(made))


def test_the_kernels_are_those_of_eight_bits(rounded, tmp_path):
    kernels = []
    for number, data in enumerate((rounded, narrowed(rounded, 2))):
        path = ort.from_onnx(data, tmp_path / f"{number}.ort")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / f"{number}.onnx")
        onnxruntime.InferenceSession(data, options)
        graph = onnx.load(options.optimized_model_filepath).graph
        kernels.append(Counter(node.op_type for node in graph.node))
        np.testing.assert_array_equal(answers(path), answers(rounded))
    assert kernels[0] == kernels[1]
    assert kernels[0]["QLinearConv"] == 3


def test_packlight_reads_fewer_bits_back(rounded, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(narrowed(rounded, 2))
    x = images(8, seed=3)
    np.testing.assert_allclose(load(path)(x)[0].detach(), answers(rounded), atol=1e-3)


def test_indices_of_small_codebooks_take_their_bits():
    noise = np.random.default_rng(0)
    network = wide()
    codebook = Codebook(
        noise.normal(size=(1, 4, 1)).astype(np.float32),
        noise.integers(0, 4, (64, 64, 3, 3)).astype(np.uint8),
        0,
        64,
    )
    data = onnx_file.to_bytes(shared(network, {"b.weight": codebook}))
    made = narrowed(data, 2)
    assert TensorProto.UINT2 in types(made)
    assert len(data) - len(made) > 0.7 * 64 * 64 * 9
    np.testing.assert_array_equal(answers(made), answers(data))


def test_wide_integers_and_floats_stay_what_they_are():
    data = onnx_file.to_bytes(wide())
    assert narrowed(data, 2) == data
    plain = onnx_file.to_bytes(quantised(wide(), images(8)))
    assert narrowed(plain, 4) == plain


def test_a_network_that_later_versions_read_otherwise_is_refused(rounded):
    model = onnx.load_from_string(rounded)
    model.graph.node.add(op_type="GroupNormalization", input=["a"], output=["b"])
    with pytest.raises(BadInput, match=r"GroupNormalization.* export without --bits"):
        narrowed(model.SerializeToString(), 4)
    with pytest.raises(BadInput, match="--bits 3 is none of 8, 4, 2"):
        narrowed(rounded, 3)


def test_a_file_of_onnxruntime_s_own_format_runs(tmp_path):
    made = ort.write(wide(), tmp_path / "net.ort")
    np.testing.assert_allclose(
        answers(made), wide()(images(8, seed=3))[0].detach(), rtol=1e-4, atol=1e-5
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.ort"]


def test_what_no_session_takes_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"can not be written as \.ort: "):
        ort.from_onnx(b"\x00\x01garbage", tmp_path / "net.ort")
    assert not list(tmp_path.iterdir())


def test_bits_are_a_setting_of_onnx(rounded, tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(rounded)
    assert run("export", path, "--to", "ort", "--bits", "4") == 2
    assert "--bits is a setting of onnx" in capsys.readouterr().err
    result = packlight.export(path, "onnx,ort", tmp_path / "out", bits=2)
    assert [one.file.name for one in result.files] == ["model.onnx", "model.ort"]
    assert result.files[0].size < 0.5 * len(rounded)

"""Tensors that are nearly the same, in one file."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from packlight.coding import planning
from packlight.coding.container import FAST, read
from packlight.coding.likeness import find_like
from packlight.coding.openers import find_tensors
from packlight.coding.packing import compress, decompress
from packlight.coding.planning import CHUNK_LIMIT
from tests.coding.samples import safetensors, weights
from tests.reference import plt


def averaged(array, share=0.01, seed=1):
    """As a running mean of the weights: near them, and nowhere the same."""
    generator = np.random.default_rng(seed)
    moved = array + generator.normal(size=array.shape) * np.abs(array).mean() * share
    return moved.astype(array.dtype)


def floats(**shapes):
    return {
        name: weights(shape, "float32", seed=i) for i, (name, shape) in enumerate(shapes.items())
    }


def integers(tensors):
    return {name: np.round(value * 30 / np.abs(value).max()).astype("i1")
            for name, value in tensors.items()}  # fmt: skip


def both(tensors, others):
    return safetensors({**tensors, **{f"mean.{name}": value for name, value in others.items()}})


SHAPES = {"a": (64, 32, 3, 3), "b": (64, 32, 3, 3), "head": (50, 300), "bias": (300,)}


@pytest.mark.parametrize("level", ["default", "max"])
def test_weights_and_their_running_means_cost_little_more_than_the_weights(level):
    one = floats(**SHAPES)
    mean = {name: averaged(value) for name, value in one.items()}
    alone = [len(compress(safetensors(part), level, verify=False)) for part in (one, mean)]
    raw = both(one, mean)
    packed = compress(raw, level, verify=False)
    assert decompress(packed) == raw
    assert len(packed) < alone[0] + 0.8 * alone[1]

    one, mean = integers(one), integers(mean)
    alone = [len(compress(safetensors(part), level, verify=False)) for part in (one, mean)]
    raw = both(one, mean)
    packed = compress(raw, level, verify=False)
    assert decompress(packed) == raw
    assert len(packed) < alone[0] + 0.4 * alone[1]


@pytest.mark.parametrize("dtype", ["float32", "float16", ">f4", "int8", "int16"])
def test_the_plain_decoder_restores_them(dtype):
    one = {"a": weights((12, 9, 3, 3)), "b": weights((12, 9, 3, 3), seed=5)}
    mean = {name: averaged(value) for name, value in one.items()}
    if dtype.startswith("int"):
        one, mean = integers(one), integers(mean)
    parts = [{name: value.astype(dtype.lstrip(">")) for name, value in part.items()}
             for part in (one, mean)]  # fmt: skip
    raw = both(*parts)
    packed = compress(raw, "max", verify=False)
    assert plt.decode(packed) == raw
    assert len(packed) < 0.95 * sum(
        len(compress(safetensors(p), "max", verify=False)) for p in parts
    )


def test_each_finds_the_one_it_is_like():
    one = floats(**SHAPES)
    mean = {name: averaged(value) for name, value in one.items()}
    raw = both(one, mean)
    found = find_tensors(raw, None)
    like = find_like(raw, found, CHUNK_LIMIT)
    names = {tensor.offset: tensor.name for tensor in found}
    assert {names[new]: names[old] for new, old in like.items()} == {
        f"mean.{name}": name for name in one
    }


def test_what_is_too_far_or_unlike_is_not_found():
    one = weights((40, 40), "float32")
    tensors = {"a": one, "b": weights((40, 40), "float32", seed=3), "c": -averaged(one)}
    tensors["d"] = np.full((40, 40), np.nan, np.float32)
    tensors["e"] = averaged(one)
    raw = safetensors(tensors)
    found = find_tensors(raw, None)
    place = {tensor.name: tensor.offset for tensor in found}
    assert find_like(raw, found, CHUNK_LIMIT) == {place["e"]: place["a"]}
    assert find_like(raw, found, 4 * one.nbytes) == {}


def test_tensors_that_a_chunk_parts_stand_alone():
    one = floats(a=(30, 30), b=(30, 30))
    raw = both(one, {name: averaged(value) for name, value in one.items()})
    with mock.patch.object(planning, "CHUNK_LIMIT", 9000):
        packed = compress(raw, "max", verify=False)
    assert len(read(packed).chunks) > 1
    assert decompress(packed) == raw


def test_level_default_keeps_both_of_a_pair_in_modelled_chunks():
    levels = integers(floats(a=(64, 64, 3, 3)))
    near = {"a": levels["a"] + np.random.default_rng(0).choice([0, 0, 0, 1], levels["a"].shape)}
    raw = both(levels, {"a": near["a"].astype("i1")})
    packed = compress(raw, "default", verify=False)
    assert FAST not in {chunk.codec for chunk in read(packed).chunks}
    assert decompress(packed) == raw

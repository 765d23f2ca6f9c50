"""Recipes: texts that name a network, and the networks they build."""

from __future__ import annotations

import pytest
import torch

from packlight import zoo
from packlight.errors import BadInput
from packlight.zoo.blocks import deepened, repeats
from packlight.zoo.recipes import NETWORKS, Recipe

DEEP = [name for name in NETWORKS if not name.startswith(("alex", "vgg", "lenet", "squeeze"))]


@pytest.mark.parametrize(
    "text",
    [
        *NETWORKS,
        "mobilenet_v2:0.35",
        "mobilenet_v2:0.123456789012345",
        "mobilenet_v2:1,depth=0.5",
        "shufflenet_v1:0.5,depth=2,groups=4",
        "condensenet:0.5,condensation=4,groups=4",
        "squeezenet1_1:2,bypass=1",
    ],
)
def test_a_recipe_comes_back_from_its_text(text):
    recipe = Recipe.parse(text)
    assert str(recipe) == text
    assert Recipe.parse(str(recipe)) == recipe


def test_the_same_network_has_the_same_recipe():
    same = ["mobilenet_v2:0.5", "mobilenet_v2:width=0.5", " mobilenet_v2: 0.50 , depth=1 "]
    assert {str(Recipe.parse(text)) for text in same} == {"mobilenet_v2:0.5"}
    assert Recipe.parse("shufflenet_v1:1,groups=3") == Recipe.parse("shufflenet_v1")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mobilenet_v9", "mobilenet_v2"),
        ("condensed", "condensenet"),
        ("mobilenet_v2:wide", "'wide'"),
        ("mobilenet_v2:0", "above 0"),
        ("mobilenet_v2:nan", "above 0"),
        ("mobilenet_v2:17", "16 at most"),
        ("mobilenet_v2:1,groups=2", "depth="),
        ("mobilenet_v2:1,0.5", "depth="),
        ("mobilenet_v2:1,width=0.5", "twice"),
        ("shufflenet_v1:1,groups=1.5", "whole"),
        ("shufflenet_v1:1,groups=5", "1, 2, 3, 4, 8"),
        ("squeezenet1_1:1,depth=2", "bypass="),
        ("alexnet:1,resolution=96", "width="),
        ("", "alexnet"),
    ],
)
def test_what_is_not_possible_is_told(text, word):
    with pytest.raises(BadInput, match=word), torch.device("meta"):
        Recipe.parse(text).build()


def test_a_recipe_builds_what_its_function_does():
    torch.manual_seed(0)
    built = Recipe.parse("shufflenet_v1:0.5,groups=4").build((1, 64, 64), 7)
    torch.manual_seed(0)
    made = zoo.shufflenet_v1(width=0.5, groups=4, resolution=64, channels=1, classes=7)
    for own, other in zip(built.parameters(), made.parameters(), strict=True):
        assert own.equal(other)


@pytest.mark.parametrize("name", DEEP)
def test_images_need_not_be_square_where_a_network_ends_in_a_mean(name):
    with torch.device("meta"):
        network = Recipe.parse(name).build((3, 32, 64), 5).eval()
        assert network.input_shape == (3, 32, 64)
        assert network(torch.empty(1, 3, 32, 64)).shape == (1, 5)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "lenet5", "lenet_300_100"])
def test_networks_that_read_positions_want_squares(name):
    with pytest.raises(BadInput, match="64x96"), torch.device("meta"):
        Recipe.parse(name).build((3, 64, 96))


@pytest.mark.parametrize("name", DEEP)
def test_depth_changes_the_number_of_blocks_and_nothing_else(name):
    def convolutions(depth: str) -> list[torch.nn.Module]:
        with torch.device("meta"):
            network = Recipe.parse(f"{name}:1,depth={depth}").build((3, 64, 64))
            output = network.eval()(torch.empty(1, 3, 64, 64))
        assert output.shape == (1, 10)
        return [one for one in network.modules() if isinstance(one, torch.nn.Conv2d)]

    flat, plain, deep = convolutions("0.01"), convolutions("1"), convolutions("2")
    assert len(flat) <= len(plain) < len(deep)
    assert len(flat) < len(plain) or name == "resnet8"  # which has one block a stage
    halved = [sum(max(one.stride) > 1 for one in layers) for layers in (flat, plain, deep)]
    assert len(set(halved)) == 1


def test_blocks_are_rounded_up_and_never_gone():
    assert [repeats(4, depth) for depth in (0.01, 0.25, 0.3, 0.5, 1, 1.1, 2)] == [
        *(1, 1, 2, 2, 4, 5, 8)
    ]
    assert repeats(10, 1.1) == 11
    rows = [("a", 8, 2), ("b", 8, 1), ("c", 16, 2)]
    assert deepened(rows, 1, lambda row: row[1]) == rows
    assert deepened(rows, 0.5, lambda row: row[1]) == [rows[0], rows[2]]
    assert deepened(rows, 2, lambda row: row[1]) == [
        *(rows[0], rows[1], rows[1], rows[1], rows[2], ("c", 16, 1))
    ]

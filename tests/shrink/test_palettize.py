"""Shared weights: codebooks of tensors, in the graph and in the file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from packlight.errors import BadInput
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session
from packlight.shrink import quantize
from packlight.shrink.curvature import Curvature
from packlight.shrink.layers import find_layers, weight_array
from packlight.shrink.palettize import handed_on, importance_of, palettize, recognise, shift_of
from packlight.shrink.sharing import shared
from tests.networks import images, plain
from tests.shared import shared as real_file
from tests.shrink.test_quantize import correlated, damped


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("group_size", "vector"), [(None, 1), (4, 1), (3, 1), (None, 2), (4, 4)])
def test_every_weight_gets_the_nearest_centre_of_its_codebook(axis, group_size, vector):
    w = weight(8, 8, 3, 3)
    book = palettize(w, 7, axis=axis, group_size=group_size, vector=vector)
    decoded = np.moveaxis(book.decoded(), axis, 0)
    for channel, made in enumerate(decoded):
        centres = book.centres[channel // (group_size or 8)]
        assert np.isin(made, centres).all()
    if vector == 1:
        for channel, wanted in enumerate(np.moveaxis(w, axis, 0)):
            centres = book.centres[channel // (group_size or 8), :, 0].astype(np.float64)
            nearest = np.abs(wanted.ravel()[:, None] - centres).min(1)
            np.testing.assert_allclose(
                np.abs(decoded[channel].ravel() - wanted.ravel()), nearest, atol=1e-7
            )


def test_more_groups_and_more_centres_err_less():
    w = weight(16, 40) * np.geomspace(0.1, 10, 16)[:, None]
    errors = [
        np.square(palettize(w, k, group_size=size).decoded() - w).sum()
        for k, size in ((4, None), (8, None), (8, 4))
    ]
    assert errors[0] > errors[1] > errors[2]


def test_pruned_weights_stay_pruned():
    w = weight(8, 50)
    w[np.abs(w) < 1] = 0
    book = palettize(w, 6, group_size=2, zero=True)
    assert (book.decoded()[w == 0] == 0).all()
    priced = palettize(w, 6, zero=True, price=0.05)
    assert (priced.decoded()[w == 0] == 0).all()


def test_important_weights_err_less():
    w, importance = weight(4, 200), np.ones((4, 200))
    importance[:, :20] = 100
    errors = [
        np.square(palettize(w, 8, importance=cost).decoded() - w)[:, :20].sum()
        for cost in (None, importance)
    ]
    assert errors[1] < errors[0]


def test_a_price_on_bits_lowers_the_entropy():
    w = weight(16, 100)

    def entropy(book):
        share = np.bincount(book.indices.ravel()) / book.indices.size
        share = share[share > 0]
        return -(share * np.log2(share)).sum()

    free, priced = palettize(w, 16), palettize(w, 16, price=0.05)
    assert entropy(priced) < 0.9 * entropy(free)


def test_few_values_are_recognised_to_the_bit():
    centres = np.array([-0.0, 0.0, 1e-30, -3.5, 0.1], np.float32)
    w = np.random.default_rng(0).choice(centres, (6, 5, 3, 3))
    book = recognise(w)
    assert book is not None
    assert book.decoded().tobytes() == w.tobytes()
    again = palettize(w, 256)  # as many centres as values: nothing to cluster
    np.testing.assert_array_equal(again.decoded(), w)


@pytest.mark.parametrize(
    "w",
    [
        weight(40, 40).astype(np.float32),
        np.arange(4, dtype=np.float32).reshape(2, 2),  # the codebook would outweigh it
        np.full((20, 20), np.nan, np.float32),
        np.zeros((20, 20)),  # float64
    ],
    ids=["many values", "small", "not finite", "not float32"],
)
def test_what_a_codebook_can_not_keep_is_left_alone(w):
    assert recognise(w) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "0 centres were asked for; a codebook has 1 to 256"),
        ({"k": 257}, "257 centres"),
        ({"k": 4, "vector": 3}, "can not be taken 3 at a time"),
        ({"k": 4, "vector": 2, "group_size": 3}, "in groups of 3"),
        ({"k": 4, "vector": 2, "zero": True}, "neither zero nor price"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        palettize(weight(8, 8), **arguments)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(BadInput, match="not finite"):
        palettize(np.array([[1.0, np.inf]]), 2)


LAYERS = {
    "linear": (nn.Linear(24, 8), (2, 24)),
    "conv": (nn.Conv2d(3, 8, 3), (2, 3, 6, 6)),
    "groups": (nn.Conv2d(8, 16, 3, groups=2), (2, 8, 6, 6)),
    "conv_transpose": (nn.ConvTranspose2d(16, 8, 2), (2, 16, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("group_size", "vector"), [(None, 1), (4, 1), (None, 2)])
def test_errors_handed_on_do_less_harm(name, group_size, vector):
    module, shape = LAYERS[name]
    network = Network.from_module(module, (torch.zeros(shape),))
    (layer,) = find_layers(network)
    losses = np.zeros(2)
    for seed in range(5):
        stored = weight(*layer.shape, seed=seed)
        weights = layer.rows(stored)
        moments = correlated(len(weights), weights.shape[2], seed)
        importance = importance_of(layer, Curvature((moments,), np.zeros(0), 1.0))
        book = palettize(
            stored, 8, axis=layer.axis, group_size=group_size, vector=vector, importance=importance
        )
        factors = [quantize.factorize(moments)]
        if name == "conv_transpose" and vector > 1:
            with pytest.raises(BadInput, match="use vectors of 1"):
                handed_on(layer, weights, factors, book)
            return
        solved = handed_on(layer, weights, factors, book)
        np.testing.assert_array_equal(solved.centres, book.centres)
        for at, made in enumerate((book, solved)):
            lost = weights - layer.rows(made.decoded())
            losses[at] += np.einsum("grn,gnm,grm->", lost, damped(moments), lost)
    assert losses[1] < 0.8 * losses[0]


def test_importance_is_the_diagonal_of_the_moments():
    network = Network.from_module(nn.Conv2d(4, 6, 3, groups=2), (torch.randn(2, 4, 6, 6),))
    (layer,) = find_layers(network)
    moments = (correlated(2, 10, 1), correlated(2, 8, 2))
    cost = layer.rows(importance_of(layer, Curvature(moments, np.zeros(0), 1.0)))
    for group in range(2):
        expected = [*np.diag(moments[0][group]), *np.diag(moments[1][group])]
        np.testing.assert_array_equal(cost[group], np.tile(expected, (3, 1)))


@pytest.fixture(scope="module")
def books():
    """Codebooks of every kind for the three layers of `plain`."""
    network = plain()
    kinds = ({"group_size": 5}, {"vector": 2, "group_size": 8}, {"zero": True})
    return {
        layer.weight: palettize(weight_array(network, layer.weight), 16, axis=layer.axis, **kind)
        for layer, kind in zip(find_layers(network), kinds, strict=True)
    }


def test_the_graph_reads_the_codebooks_and_answers_as_the_decoded_weights(books):
    network = plain()
    plainly = network.copy()
    for name, book in books.items():
        plainly.module.get_parameter(name).data = torch.from_numpy(book.decoded())
    made = shared(network, books)
    x = images(4)
    torch.testing.assert_close(made(x)[0], plainly(x)[0], rtol=0, atol=0)
    assert not set(books) & set(dict(made.module.named_parameters()))
    assert find_layers(made) == []  # a codebook is no layer
    made(x)[0].sum().backward()
    assert made.module.get_parameter("fc.weight_codebook").grad.abs().sum() > 0


def test_the_bias_takes_over_what_the_mean_input_loses():
    torch.manual_seed(0)
    network = Network.from_module(nn.Linear(12, 8), (torch.randn(2, 12),))
    (layer,) = find_layers(network)
    x = torch.randn(500, 12) + 5
    weights = layer.rows(weight_array(network, "weight"))
    curvature = Curvature((np.eye(12)[None],), x.double().mean(0).numpy()[None], 1.0)
    book = palettize(weights[0], 3)
    shift = shift_of(layer, weights, book, curvature)
    made = shared(network, {"weight": book}, {"bias": shift})
    gap = (made(x)[0] - network(x)[0]).detach()
    assert gap.mean(0).abs().max() < 1e-3 * gap.abs().max()


def test_the_file_holds_bytes_and_onnxruntime_answers_the_same(books):
    network = plain()
    made = shared(network, books)
    model = onnx_file.to_proto(made)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, book in books.items():
        np.testing.assert_array_equal(held[f"{name}_indices"], book.indices)
        assert name not in held
    data = model.SerializeToString()
    assert len(data) < len(onnx_file.to_bytes(network)) / 3
    x = images(5)
    np.testing.assert_allclose(Session(data)(x.numpy())[0], made(x)[0].detach(), atol=1e-5)


def test_small_codebooks_are_not_computed_ahead_by_the_exporter():
    module = nn.Linear(4, 4)
    network = Network.from_module(module, (torch.randn(2, 4),))
    book = palettize(weight_array(network, "weight"), 3)
    graph = onnx_file.to_proto(shared(network, {"weight": book})).graph
    assert "Gather" in [node.op_type for node in graph.node]


def test_a_weight_read_twice_is_shared_for_both_readers():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(torch.relu(self.fc(x)))

    network = Network.from_module(Twice(), (torch.randn(2, 4),))
    made = shared(network, {"fc.weight": palettize(weight_array(network, "fc.weight"), 4)})
    assert "fc.weight" not in dict(made.module.named_parameters())


def test_a_codebook_of_another_tensor_is_refused():
    network = plain()
    with pytest.raises(BadInput, match=r"no parameter 'fc2\.weight'"):
        shared(network, {"fc2.weight": palettize(weight(2, 2), 2)})
    with pytest.raises(BadInput, match=r"fc\.weight has shape \(6, 512\)"):
        shared(network, {"fc.weight": palettize(weight(6, 511), 2)})


def test_a_network_that_was_weight_shared_elsewhere_is_recognised_in_every_layer():
    model = onnx.load(real_file("models", "squeezenet1_0_deepcompressed.onnx"))
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    found = [(w, recognise(w)) for w in weights if w.ndim == 4]
    assert len(found) == 26
    for w, book in found:
        assert book is not None
        assert book.decoded().tobytes() == w.tobytes()

"""What becomes a row, under which name, and what is counted in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from packlight.graph import quantized, set_value
from packlight.network import Network
from packlight.weighing import LayerRow, weigh
from tests.reference.macs import conv_macs, conv_transpose_macs, recurrent_macs


class Do(nn.Module):
    """A function and the layers it uses, as a module."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def rows(module: nn.Module, *shape: int, **options: Any) -> list[LayerRow]:
    """The rows after the input's."""
    return list(weigh(Network.from_module(module, (torch.zeros(shape),), **options)).rows[1:])


def words(found: list[LayerRow]) -> list[tuple[str, str, str]]:
    return [(row.type, row.activation, row.shape_text) for row in found]


@pytest.mark.parametrize(
    ("options", "size", "text", "kind"),
    [
        ({}, (5, 4), "3x2x4x6+6", "Conv2D"),
        ({"stride": 2, "padding": 1}, (5, 7), "3x2x4x6+6", "Conv2D"),
        ({"dilation": 2, "bias": False}, (7, 6), "3x2x4x6", "Conv2D"),
        ({"groups": 2}, (5, 4), "3x2x2x6+6", "Conv2D"),
    ],
)
def test_convolutions_count_as_one_by_one(
    options: dict[str, Any], size: tuple[int, int], text: str, kind: str
) -> None:
    (row,) = rows(nn.Conv2d(4, 6, (3, 2), **options), 1, 4, *size)
    counted = {key: value for key, value in options.items() if key != "bias"}
    assert row.macs == conv_macs(1, 4, size, 6, (3, 2), **counted)
    assert (row.parameters, row.type) == (text, kind)


def test_a_depthwise_convolution_has_one_kernel_per_channel() -> None:
    single, double = rows(
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Conv2d(4, 8, 3, groups=4)),
        *(1, 4, 7, 7),
    )
    assert (single.type, single.parameters, single.parameter_count) == (
        "DepthwiseConv2D",
        "3x3x4",
        36,
    )
    assert (double.type, double.parameters, double.parameter_count) == (
        *("DepthwiseConv2D", "3x3x4x2+8", 80),
    )
    assert single.macs == conv_macs(1, 4, (7, 7), 4, (3, 3), groups=4)
    assert double.macs == conv_macs(1, 4, (5, 5), 8, (3, 3), groups=4)


def test_a_transposed_convolution_counts_its_inputs() -> None:
    (row,) = rows(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), 1, 4, 3, 5)
    assert row.type == "Conv2DTranspose"
    assert row.macs == conv_transpose_macs(4, (3, 5), 6, (3, 3), groups=2)


def test_sequences_and_volumes_have_channels_last_too() -> None:
    assert words(rows(nn.Conv1d(3, 5, 2), 1, 3, 9)) == [("Conv1D", "", "8x5")]
    assert words(rows(nn.Conv3d(3, 5, 2), 1, 3, 4, 5, 6)) == [("Conv3D", "", "3x4x5x5")]


@pytest.mark.parametrize(
    ("layer", "kind", "gates"), [(nn.LSTM, "LSTM", 4), (nn.GRU, "GRU", 3), (nn.RNN, "SimpleRNN", 1)]
)
def test_recurrent_layers_count_each_step(layer: Any, kind: str, gates: int) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return self.net(x)[0]

    once, both = layer(3, 5, batch_first=True), layer(3, 5, batch_first=True, bidirectional=True)
    (row,) = rows(Do(run, net=once), 1, 7, 3)
    assert (row.layer, row.type, row.shape) == ("net", kind, (7, 5))
    assert row.macs == recurrent_macs(7, 3, 5, gates)
    assert row.parameter_count == sum(value.numel() for value in once.parameters())
    assert rows(Do(run, net=both), 1, 7, 3)[0].macs == 2 * row.macs


def test_matrix_products_count_rows_times_columns_times_depth() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        q, k = self.q(x), self.k(x)
        score = torch.softmax(q @ k.transpose(1, 2), -1)
        return torch.einsum("bij,bjd->bid", score, x)

    found = rows(Do(run, q=nn.Linear(6, 4), k=nn.Linear(6, 4)), 1, 5, 6)
    macs = {row.layer: row.macs for row in found if row.macs}
    assert macs == {"q": 5 * 6 * 4, "k": 5 * 6 * 4, "matmul": 5 * 4 * 5, "einsum": 5 * 5 * 6}


def test_attention_counts_both_of_its_products() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        heads = x.reshape(x.shape[0], 5, 2, 4).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    row = rows(Do(run), 1, 5, 8)[-1]
    assert (row.type, row.shape, row.macs) == ("Attention", (2, 5, 4), 2 * (5 * 5 * 4 + 5 * 5 * 4))


@pytest.mark.parametrize("batch_first", [True, False])
def test_figures_are_per_sample_wherever_the_batch_hides(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

    def run(self: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        x = attention_of(self, x)
        return x if batch_first else x.transpose(0, 1)

    def attention_of(self: Any, x: Tensor) -> Tensor:
        return self.net(x, x, x)[0]

    module = Do(run, net=attention)
    varying = Network.from_module(module, (torch.zeros(2, 5, 8),))
    fixed = Network.from_module(module, (torch.zeros(3, 5, 8),), dynamic_batch=False)
    assert varying.batch is None
    assert fixed.batch == 3
    expected = 5 * 8 * 24 + 2 * (5 * 5 * 4) * 2 + 5 * 8 * 8
    for network in (varying, fixed):
        table = weigh(network)
        assert table.totals.macs == expected
        assert table.rows[0].elements == table.rows[-1].elements == 40
        assert table.rows[0].shape == (5, 8)


def test_a_network_without_a_batch_is_taken_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0))
    network = Network.from_module(module, (torch.zeros(3, 5, 5),), dynamic_batch=False)
    assert [row.elements for row in weigh(network).rows] == [75, 36, 36]


def test_activations_join_the_row_above() -> None:
    module = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 1), nn.Dropout(), nn.Hardswish()),
        *(nn.Conv2d(4, 4, 1), nn.LeakyReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.GELU()),
    )
    assert words(rows(module, 1, 3, 2, 2)) == [
        ("Conv2D", activation, "2x2x4")
        for activation in ("ReLU6", "HardSwish", "LeakyReLU", "GELU")
    ]


def test_an_activation_of_the_input_or_beside_another_reader_is_a_row() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        y = self.conv(torch.tanh(x))
        return torch.relu(y) + y

    found = rows(Do(run, conv=nn.Conv2d(3, 4, 1)), 1, 3, 2, 2)
    assert [row.type for row in found] == ["Tanh", "Conv2D", "ReLU", "Add"]


def test_swish_is_recognised_when_spelt_out() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * torch.sigmoid(y)

    (row,) = rows(Do(run, conv=nn.Conv2d(3, 4, 1)), 1, 3, 2, 2)
    assert (row.type, row.activation) == ("Conv2D", "SiLU")


def test_squeeze_and_excite_keeps_its_product() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))

    found = rows(Do(run, conv=nn.Conv2d(3, 3, 1)), 1, 3, 4, 4)
    assert words(found) == [
        ("GlobalAveragePool2D", "", "1x1x3"),
        ("Conv2D", "Sigmoid", "1x1x3"),
        ("Multiply", "", "4x4x3"),
    ]


def test_what_moves_nothing_is_no_row() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(x.contiguous(), 4)
        first, _ = x.chunk(2, 1)
        return first.unsqueeze(1).squeeze(1).reshape(x.shape[0], -1).flatten(1)

    assert words(rows(Do(run), 1, 6, 4, 4)) == [("Split", "", "4x4x3"), ("Flatten", "", "48")]


def test_split_counts_all_parts_and_pooling_not_its_indices() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        _, second = x.split([2, 4], 1)
        pooled, _ = nn.functional.max_pool2d(second, 2, return_indices=True)
        return pooled

    split, pool = rows(Do(run), 1, 6, 4, 4)
    assert split.elements == 6 * 4 * 4
    assert (pool.type, pool.elements, pool.data_bytes) == ("MaxPool2D", 16, 64)


def test_channels_last_inputs_are_shown_as_they_come() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2))

    table = weigh(Network.from_module(Do(run, conv=nn.Conv2d(3, 4, 1)), (torch.zeros(1, 6, 5, 3),)))
    assert [row.shape for row in table.rows] == [(6, 5, 3), (6, 5, 3), (6, 5, 4)]


def test_a_shared_parameter_counts_once() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return self.net(self.net(x))

    first, second = rows(Do(run, net=nn.Linear(5, 5)), 1, 5)
    assert (first.parameter_count, first.bytes, first.macs) == (30, 120, 25)
    assert (second.parameter_count, second.bytes, second.macs) == (0, 0, 25)
    assert second.parameters == "as net"


def test_what_only_prepares_constants_belongs_to_its_reader() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(5, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x + (self.table * 2).unsqueeze(0) + torch.arange(4)

    first, second = rows(Scaled(), 1, 5, 4)
    assert (first.layer, first.type, first.parameters, first.bytes) == ("table", "Add", "5x4", 80)
    assert second.type == "Add"


def test_a_matrix_is_written_as_inputs_x_outputs_however_it_is_stored() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(6, 4))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.matrix.t())

    (row,) = rows(Turned(), 1, 6)
    assert (row.type, row.parameters, row.macs) == ("Dense", "6x4", 24)


def test_batch_norm_embedding_and_layer_norm_are_written_out() -> None:
    norm, *_ = rows(nn.BatchNorm2d(6), 1, 6, 2, 2)
    assert (norm.type, norm.parameters, norm.parameter_count) == ("BatchNormalization", "4x6", 24)
    module = nn.Sequential(nn.Embedding(11, 4), nn.LayerNorm(4))
    network = Network.from_module(module, (torch.zeros(2, 3, dtype=torch.int64),))
    _, embedding, norm = weigh(network).rows
    assert (embedding.type, embedding.parameters, embedding.macs) == ("Embedding", "11x4", 0)
    assert (norm.type, norm.parameters, norm.shape) == ("LayerNormalization", "2x4", (3, 4))


def test_a_size_only_a_run_can_tell_is_said() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return torch.nonzero(x)

    table = weigh(Network.from_module(Do(run), (torch.zeros(2, 3),)))
    assert table.rows[-1].shape_text == "?x2"
    assert "only known when the network runs" in table.notes[-1]
    assert "?x2" in str(table)


def quantized_conv() -> Network:
    """conv -> relu with int8 weights, an int32 bias, and values on a grid in between."""
    network = Network.from_module(
        Do(lambda self, x: torch.relu(self.conv(x)), conv=nn.Conv2d(3, 4, 3)),
        (torch.zeros(1, 3, 5, 5),),
    )
    module, graph = network.module, network.module.graph
    (conv,) = [node for node in graph.nodes if node.name == "conv2d"]
    set_value(
        module, "conv.weight_quantized", torch.ones(4, 3, 3, 3, dtype=torch.int8), trainable=False
    )
    set_value(module, "conv.weight_scale", torch.ones(4), trainable=False)
    set_value(module, "conv.weight_zero_point", torch.zeros(4, dtype=torch.int64), trainable=False)
    weight = conv.args[1]
    with graph.inserting_before(weight):
        parts = [
            graph.get_attr(f"conv.weight_{part}") for part in ("quantized", "scale", "zero_point")
        ]
        whole = graph.call_function(
            quantized.dequantize_per_channel.default, (*parts, 0, -127, 127, torch.int8)
        )
    weight.replace_all_uses_with(whole)
    graph.erase_node(weight)
    grid = (0.1, 0, -128, 127, torch.int8)
    with graph.inserting_after(conv):
        rounded = graph.call_function(quantized.quantize_per_tensor.default, (conv, *grid))
    with graph.inserting_after(rounded):
        back = graph.call_function(quantized.dequantize_per_tensor.default, (rounded, *grid))
    conv.replace_all_uses_with(back, delete_user_cb=lambda user: user is not rounded)
    return network.retraced()


def test_quantised_weights_are_the_layers_parameters() -> None:
    (row,) = weigh(quantized_conv()).rows[1:]
    assert (row.layer, row.type, row.activation) == ("conv", "Conv2D", "ReLU")
    assert (row.parameters, row.parameter_count) == ("3x3x3x4+4", 112)
    # int8 weights, a float scale per channel, a float bias; zero points that are 0 are not stored
    assert row.bytes == 108 + 16 + 16
    assert row.macs == 9 * 108

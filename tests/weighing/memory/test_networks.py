"""The memory of networks: what papers publish, and what views, norms and grids do to it."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from packlight.errors import BadInput
from packlight.network import Network
from packlight.weighing.memory import memory_of
from packlight.weighing.memory.lifetimes import lifetimes
from packlight.weighing.program import Program, Step, Value, program_of
from tests.networks import Blocks, Plain, images, plain, settled
from tests.reference.memory import overlaps
from tests.weighing.memory.graphs import Builder, mobilenet_v1, mobilenet_v2

MIB = 1 << 20


@pytest.mark.parametrize(
    ("network", "activations", "bound"),
    [(mobilenet_v1, 19.248, 4.594), (mobilenet_v2, 26.31, 5.742)],
)
def test_mobilenets_need_what_is_published_and_the_plan_reaches_the_bound(
    network, activations, bound
):
    """Table 2 of arXiv:2001.03288 (naive, and lower bound); it leaves out the input."""
    memory = memory_of(network())
    assert memory.activation_bytes / MIB == pytest.approx(activations, abs=2e-3)
    assert memory.lower_bound / MIB == pytest.approx(bound, abs=5e-4)
    assert memory.input_bytes == 224 * 224 * 3 * 4
    assert memory.peak == memory.lower_bound
    assert memory.plan.proved
    assert memory.reordered is None


def test_norms_and_activations_lie_over_the_convolution_and_a_flatten_takes_nothing():
    found = lifetimes(program_of(plain()))
    assert found.values == (
        ("image",),
        ("conv2d", "batch_norm", "relu"),
        ("conv2d_1", "batch_norm_1", "relu_1"),
        ("max_pool2d", "flatten"),
        ("linear",),
    )
    assert [buffer.size for buffer in found.buffers] == [3072, 16384, 8192, 2048, 64]
    assert found.activation_bytes == 16384 + 8192 + 2048 + 64


def test_a_sum_lies_over_what_dies_there_but_counts_among_the_activations():
    found = lifetimes(program_of(Network.from_module(settled(Blocks()), (images(2),))))
    assert ("conv2d_4", "add", "relu_3") in found.values
    separate = sum(buffer.size for buffer in found.buffers) - found.input_bytes
    assert found.activation_bytes == separate + 16 * 16 * 16 * 4


def test_the_batch_multiplies_what_is_alive():
    one, three = (memory_of(program_of(plain(), batch=batch)) for batch in (1, 3))
    assert three.peak == 3 * one.peak
    with pytest.raises(BadInput, match="batch of 0"):
        program_of(plain(), batch=0)


def test_a_fixed_batch_is_taken_as_it_is_and_no_other():
    network = Network.from_module(settled(Plain()), (images(4),), dynamic_batch=False)
    assert memory_of(program_of(network)).peak == 4 * memory_of(program_of(plain())).peak
    with pytest.raises(BadInput, match="takes 4"):
        program_of(network, batch=1)


def test_another_input_size_is_traced_anew():
    network = Network.from_module(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (images(2),))
    name = network.input_names[0]
    program = program_of(network, input_shapes={name: (1, 3, 32, 20)})
    assert program.values[program.outputs[0]].shape == (1, 8, 30, 18)
    with pytest.raises(BadInput, match="does not run with"):
        program_of(plain(), input_shapes={"image": (1, 3, 32, 20)})
    with pytest.raises(BadInput, match="not an input"):
        program_of(plain(), input_shapes={"other": (1, 3, 32, 20)})


def test_only_the_results_that_are_used_take_memory():
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            left, _, right = x.chunk(3, dim=1)
            return left + right

    program = program_of(Network.from_module(Halves(), (images(2),)))
    (split, add) = program.steps
    assert len(split.writes) == 2
    assert add.reads == split.writes


def test_quantised_activations_count_as_the_integers_that_kernels_hold():
    values = {}
    for name, dtype in (("x", "float32"), ("q", "uint8"), ("d", "float32"), ("c", "float32")):
        values[name] = Value(name, (100,), dtype, 400 if dtype == "float32" else 100)
    for name, dtype in (("r", "float32"), ("q2", "uint8"), ("d2", "float32"), ("y", "float32")):
        values[name] = Value(name, (100,), dtype, 400 if dtype == "float32" else 100)
    steps = (
        Step("in", "quantize_per_tensor", ("x",), ("q",)),
        Step("in", "dequantize_per_tensor", ("q",), ("d",)),
        Step("conv", "conv2d", ("d",), ("c",)),
        Step("relu", "relu", ("c",), ("r",), may_overwrite=("c",)),
        Step("out", "quantize_per_tensor", ("r",), ("q2",)),
        Step("out", "dequantize_per_tensor", ("q2",), ("d2",)),
        Step("fc", "linear", ("d2",), ("y",)),
    )
    from packlight.weighing.integers import on_integers

    program = on_integers(Program(values, steps, ("x",), ("y",)))
    # the last layer stays float, so its input is dequantised in memory
    held = {name: value.bytes for name, value in program.values.items()}
    assert held == {
        "x": 400,
        "q": 100,
        "d": 100,
        "c": 100,
        "r": 100,
        "q2": 100,
        "d2": 400,
        "y": 400,
    }
    found = lifetimes(program, alignment=1)
    assert ("q", "d") in found.values
    assert ("c", "r", "q2") in found.values


def test_the_timeline_names_what_is_alive_at_the_peak():
    memory = memory_of(mobilenet_v1())
    line = memory.timeline
    assert line.peak == memory.lower_bound == sum(item.bytes for item in line.at_peak)
    assert line.steps[line.peak_step] == "pointwise2"
    assert [item.name for item in line.at_peak] == ["pointwise2", "depthwise1"]
    assert len(line.live) == len(line.steps)


def test_a_plan_of_a_network_has_no_overlap():
    for network in (mobilenet_v1, mobilenet_v2):
        found = lifetimes(network())
        assert not overlaps(found.buffers, memory_of(network()).plan.offsets)


def test_a_step_that_reads_what_nobody_wrote_is_told():
    net = Builder(4)
    x = net.layer("conv", [net.input], 4)
    late = Step("late", "relu", (net.layer("relu", [x], 4),), ())
    program = net.program(x)
    broken = Program(program.values, (late, *program.steps), program.inputs, program.outputs)
    with pytest.raises(BadInput, match="before it is written"):
        memory_of(broken)
    with pytest.raises(BadInput, match="alignment"):
        memory_of(program, alignment=0)


def test_a_network_without_steps_needs_what_its_input_takes():
    value = Value("x", (10,), "float32", 40)
    memory = memory_of(Program({"x": value}, (), ("x",), ("x",)))
    assert memory.peak == 64
    assert memory.to_dict()["timeline"]["peak"] == 0


def test_plans_become_plain_values():
    import json

    net = Builder(64)
    memory = memory_of(net.program(net.layer("fc", [net.input], 16)))
    plain_values = json.loads(json.dumps(memory.to_dict()))
    assert plain_values["peak"] == 64 * 4 + 16 * 4
    assert plain_values["plan"]["verdict"] == "proved optimal"
    assert plain_values["timeline"]["at_peak"][0] == {"name": "input", "bytes": 256}

"""The ONNX file: the same answers, the same names, nothing superfluous."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _registration

from packlight.errors import BadInput
from packlight.fuse import fuse
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes.onnxruntime import Session, latencies
from tests.networks import Headed, Plain, blocks, images, plain, settled
from tests.runtimes.quantised import quantised


def test_onnxruntime_gives_what_the_graph_gives_at_any_batch():
    network = plain()
    session = Session(onnx_file.to_bytes(network))
    for size in (1, 2, 7):
        x = images(size, seed=size)
        np.testing.assert_allclose(session(x.numpy())[0], network(x)[0].detach(), atol=1e-5)


def test_names_and_metadata_survive():
    module = settled(Plain())
    network = Network.from_module(
        module, (images(2),), input_names=["data:0"], output_names=["scores/x"], metadata={"a": "b"}
    )
    model = onnx_file.to_proto(network)
    assert [value.name for value in model.graph.input] == ["data:0"]
    assert [value.name for value in model.graph.output] == ["scores/x"]
    assert {item.key: item.value for item in model.metadata_props} == {"a": "b"}
    assert {"conv1.weight", "fc.bias"} <= {tensor.name for tensor in model.graph.initializer}


class _Numbered(nn.Module):
    """Weights that are called as torch calls the values that it computes on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, groups=4)
        for number in range(12):
            self.register_parameter(f"val_{number}", nn.Parameter(torch.randn(8, 1, 1)))

    def forward(self, image):
        x = self.first(image)
        for number in range(12):
            x = nn.functional.prelu(x + getattr(self, f"val_{number}"), self.val_0.flatten())
        n, c, h, w = x.shape
        shuffled = x.reshape(n, 4, 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.second(shuffled).mean((2, 3))


def test_weights_may_be_called_as_torch_calls_values():
    network = Network.from_module(settled(_Numbered()), (images(2),))
    model = onnx_file.to_proto(network)
    onnx.checker.check_model(model, full_check=True)
    names = {f"val_{number}" for number in range(12)}
    assert names <= {tensor.name for tensor in model.graph.initializer}
    x = images(3, seed=3)
    made = Session(model.SerializeToString())(x.numpy())[0]
    np.testing.assert_allclose(made, network(x)[0].detach(), atol=1e-5)


class _Anchored(nn.Module):
    """Gives its input, a value and a stored tensor, the last two twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.anchors = nn.Parameter(torch.arange(8.0).reshape(4, 2))

    def forward(self, x):
        y = self.layer(x)
        return x, y, y, self.anchors, self.anchors


def test_outputs_may_be_inputs_and_stored_tensors_and_come_twice():
    network = Network.from_module(_Anchored(), (torch.ones(2, 3),))
    with torch.no_grad():
        wanted = network(torch.ones(2, 3))
    session = Session(onnx_file.to_bytes(network))
    made = session(np.ones((2, 3), np.float32))
    assert session.input_names == ["x"]
    assert session.output_names == [f"output_{index}" for index in range(5)]
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-6)


def test_a_file_holds_little_besides_its_weights():
    network = plain()
    weights = sum(4 * value.numel() for value in network.module.state_dict().values())
    data = onnx_file.to_bytes(network)
    assert len(data) < weights + 2500
    assert b"stack_trace" not in data
    assert b".py" not in data


def test_what_only_the_exporter_named_is_numbered_in_the_order_of_its_use():
    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(12, 2)

        def forward(self, x):
            return self.last((x + 0.5).reshape(-1, 12))

    graph = onnx_file.to_proto(Network.from_module(Flat(), (torch.ones(2, 3, 4),))).graph
    numbers = [
        int(name[1:])
        for name in dict.fromkeys(name for node in graph.node for name in reads_and_makes(node))
        if name not in ("x", "last.weight", "last.bias", graph.output[0].name)
    ]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == 4  # the sum, its constant, the shape and what has it
    (reshape,) = [node for node in graph.node if node.op_type == "Reshape"]
    assert not reshape.attribute


def reads_and_makes(node: onnx.NodeProto) -> list[str]:
    return [*node.input, *node.output]


def test_a_template_takes_other_numbers():
    network = plain()
    template = onnx_file.to_proto(network)
    filled = onnx_file.refilled(template, {"fc.bias": np.full(6, 5.0, np.float32)})
    x = images(3).numpy()
    before, after = (Session(model.SerializeToString())(x)[0] for model in (template, filled))
    shift = 5.0 - network.module.get_parameter("fc.bias").detach().numpy()
    np.testing.assert_allclose(after - before, np.broadcast_to(shift, (3, 6)), atol=1e-5)


def test_a_fixed_batch_takes_any_number_of_samples():
    network = Network.from_module(settled(Plain()), (images(2),), dynamic_batch=False)
    session = Session(onnx_file.to_bytes(network))
    assert session.batch == 2
    x = images(5).numpy()
    (made,) = session.over([(x[:3],), (x[3:],)])
    np.testing.assert_allclose(made, settled(Plain())(torch.from_numpy(x)).detach(), atol=1e-5)


def test_a_file_that_is_no_network_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\xff\xd8\xff\xe0" * 100)
    with pytest.raises(BadInput, match=r"onnxruntime can not run photo\.onnx"):
        Session(path)


def test_latencies_come_in_the_order_of_the_networks():
    data = onnx_file.to_bytes(plain())
    measured = latencies([data, data], [images(1).numpy()], seconds=0.05)
    assert len(measured) == 2
    assert all(0 < one.median <= one.p95 for one in measured)


def test_writing_replaces_the_old_file_whole(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    onnx_file.write(plain(), path)
    onnx.checker.check_model(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]


def _unscaled() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False))


@pytest.mark.parametrize(
    ("make", "apart"),
    [
        (lambda: Network.from_module(_unscaled(), (images(2),)), True),
        (plain, False),
        (lambda: fuse(plain()).network, False),
        (blocks, False),
        (lambda: Network.from_module(settled(Headed()), (images(2),)), False),
        (lambda: quantised(blocks(), images(16)), False),
    ],
    ids=["norms that scale nothing", "batch norms", "fused", "blocks", "means", "int8"],
)
def test_graphs_are_taken_apart_only_where_something_is_to_be(make, apart, monkeypatch):
    network, asked = make(), []
    take_apart = torch.export.ExportedProgram.run_decompositions

    def counted(program, table):
        asked.append(table)
        return take_apart(program, table)

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", counted)
    found = onnx_file.to_proto(network)
    assert bool(asked) == apart
    monkeypatch.setattr(onnx_file, "_taken_apart_where_needed", lambda program: program)
    traced = onnx_file.to_proto(network)
    assert [node.op_type for node in found.graph.node] == [n.op_type for n in traced.graph.node]
    x = images(3, seed=1).numpy()
    made = [Session(model.SerializeToString())(x)[0] for model in (found, traced)]
    np.testing.assert_array_equal(*made)


def test_onnx_functions_are_read_for_the_first_file_only(monkeypatch):
    """And torch is left as it was."""
    registry, reads = _registration.ONNXRegistry, []
    before, found = registry.__dict__["from_torchlib"], _registration.onnxscript_apis
    operators = found.get_torchlib_ops
    monkeypatch.setattr(found, "get_torchlib_ops", lambda: reads.append(1) or operators())
    first, second = (onnx_file.to_bytes(plain()) for _ in range(2))
    assert first == second
    assert len(reads) <= 1
    assert registry.__dict__["from_torchlib"] is before
    assert registry.from_torchlib(18) is not registry.from_torchlib(18)

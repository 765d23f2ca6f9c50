"""The main job on small networks: every promise of `fit`, from Python."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import packlight
from packlight import files
from packlight.coding.packing import decompress
from packlight.errors import BadInput, BudgetNotMet
from packlight.network import Network
from packlight.runtimes.onnxruntime import Session
from packlight.shrink.measuring import Measuring
from tests.networks import blocks, images
from tests.readers.models import build, node
from tests.schemas import conforms


@pytest.fixture(scope="module")
def fitted(model, data, tmp_path_factory):
    """One fit that several tests look at."""
    out = tmp_path_factory.mktemp("fitted") / "out"
    return packlight.fit(model, data, target_size="8KB", out=out)


def test_the_download_is_within_the_size_asked_for(fitted, model):
    assert fitted.met
    assert fitted.packed.stat().st_size <= 8000
    assert fitted.packed.stat().st_size > 7000
    assert decompress(fitted.packed.read_bytes()) == fitted.model.read_bytes()
    assert fitted.model.stat().st_size < model.stat().st_size / 3


def test_every_figure_of_the_report_is_of_the_files_on_disk(fitted, model):
    report = json.loads((fitted.model.parent / "report.json").read_text())
    conforms("report", report)
    assert report["compressed"]["bytes"] == fitted.model.stat().st_size
    assert report["compressed"]["packed_bytes"] == fitted.packed.stat().st_size
    assert report["compressed"]["sha256"] == files.sha256(fitted.model)
    assert report["original"]["sha256"] == files.sha256(model)
    assert report["original"]["bytes"] == model.stat().st_size
    assert report["accuracy"]["n"] == 400
    assert {layer["name"] for layer in report["layers"]} == {"conv1", "conv2", "fc"}
    assert sum(visit["chosen"] for visit in report["visited"]) == 1


def test_the_accuracy_reported_is_what_onnxruntime_gives(fitted, model, data):
    split = packlight.data.split(packlight.data.open_data(data, packlight.load(model).inputs))
    answers = [
        Session(path).over(split.judge.batches(50))[0].argmax(1) for path in (model, fitted.model)
    ]
    agreement = float((answers[0] == answers[1]).mean())
    assert fitted.report["accuracy"]["agreement"]["value"] == pytest.approx(agreement)
    assert agreement > 0.8
    changed = {
        (int(split.judge.indices[at]), int(answers[0][at]), int(answers[1][at]))
        for at in np.flatnonzero(answers[0] != answers[1])
    }
    told = fitted.report["flips"]["samples"]
    assert {(one["index"], one["from"], one["to"]) for one in told} == changed
    assert fitted.report["flips"]["count"] == len(changed)


def test_the_page_pictures_what_the_changed_samples_look_like(fitted, data):
    page = (fitted.model.parent / "report.html").read_text()
    told = fitted.report["flips"]["samples"][:24]
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(shown) == len(told) > 0
    for one, coded in zip(told, shown, strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(coded)))
        grey = np.asarray(image.convert("L"), np.float64).reshape(-1)
        given = data[0][one["index"]].mean(0).reshape(-1)
        assert np.corrcoef(grey, given)[0, 1] > 0.5


def test_the_report_knows_the_memory_of_the_file_and_the_data(fitted, model, data, tmp_path):
    memory = fitted.report["memory"]
    assert memory["ram_bytes"] == packlight.weigh(fitted.model).ram_bytes
    assert memory["peak_bytes"] >= max(memory["live"])
    assert len(memory["steps"]) == len(memory["live"])
    ram = [limit for limit in fitted.report["delivery"]["limits"] if limit["measures"] == "ram"]
    assert {limit["compressed"] for limit in ram} == {memory["ram_bytes"]}
    assert {limit["original"] for limit in ram} == {packlight.weigh(model).ram_bytes}
    opened = packlight.data.open_data(data, packlight.load(model).inputs)
    split = packlight.data.split(opened)
    hashes = [hashlib.sha256(x.tobytes()).digest() for x in data[0][split.judge.indices]]
    expected = hashlib.sha256(b"".join(hashes)).hexdigest()
    assert fitted.report["data"]["judge"] == {"samples": 400, "sha256": expected}
    assert fitted.report["data"]["fit"]["samples"] == 300


def test_the_written_network_has_the_same_inputs_and_outputs(fitted, model):
    before, after = onnx.load(model), onnx.load(fitted.model)
    onnx.checker.check_model(after)
    for side in ("input", "output"):
        old, new = (list(getattr(m.graph, side)) for m in (before, after))
        assert [value.name for value in old] == [value.name for value in new]
        assert all(value.type.tensor_type.shape.dim[0].dim_param for value in new)
    assert after.opset_import[0].version >= 18
    int8 = [t for t in after.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    names = {t.name for t in int8 if not t.name.endswith("zero_point")}
    assert names == {f"{layer}.weight_quantized" for layer in ("conv1", "conv2", "fc")}
    biases = [t for t in after.graph.initializer if t.data_type == onnx.TensorProto.INT32]
    assert len(biases) == 3


def test_float_activations_are_nearer_to_the_original(fitted, model, data, tmp_path):
    nearer = packlight.fit(
        model, data, target_size="8KB", activations="float", calibrate=100, out=tmp_path
    )
    conforms("report", nearer.report)
    assert nearer.packed.stat().st_size <= 8000
    graph = onnx.load(nearer.model).graph
    assert "QuantizeLinear" not in {node.op_type for node in graph.node}
    assert {one.data_type for one in graph.initializer if one.name.endswith("_quantized")} == {
        onnx.TensorProto.INT8
    }
    assert {layer["activation"] for layer in nearer.report["layers"]} == {"float"}
    sqnr = [r.report["accuracy"]["sqnr_db"] for r in (fitted, nearer)]
    assert sqnr[1] > sqnr[0] + 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"activations": "int4"}, "'int4' are none of int8, float"),
        ({"activations": "float", "only": "palettize"}, "in float by themselves"),
        ({"activations": "float", "recipe": "deep-compression"}, "in float by themselves"),
    ],
)
def test_activations_that_can_not_be_had_are_refused(options, what, model, data, tmp_path):
    with pytest.raises(BadInput, match=what):
        packlight.fit(model, data, target_size="8KB", out=tmp_path, **options)


def test_the_graph_returned_computes_what_the_file_computes(fitted):
    x = images(20, seed=5)
    with torch.no_grad():
        (graph,) = fitted.network(x)
    (file,) = Session(fitted.model)(x.numpy())
    np.testing.assert_allclose(graph, file, atol=0.05)  # a level may round the other way
    assert (graph.numpy().argmax(1) == file.argmax(1)).all()


def test_nothing_but_the_result_is_left_in_the_folder(fitted):
    names = sorted(path.name for path in fitted.model.parent.iterdir())
    assert names == ["model.onnx", "model.onnx.plt", "report.html", "report.json"]


def test_the_same_seed_gives_the_same_bytes(fitted, model, data, tmp_path):
    again = packlight.fit(model, data, target_size=8000, out=tmp_path / "again")
    assert again.model.read_bytes() == fitted.model.read_bytes()


def test_a_drop_alone_gives_the_smallest_file_that_keeps_it(model, data, tmp_path):
    tight, loose = (
        packlight.fit(model, data, max_drop=drop, calibrate=100, out=tmp_path / name)
        for name, drop in (("tight", "2%"), ("loose", "15%"))
    )
    assert tight.report["accuracy"]["drop"]["top1"]["value"] <= 0.02
    assert loose.report["accuracy"]["drop"]["top1"]["value"] <= 0.15
    assert loose.packed.stat().st_size < tight.packed.stat().st_size


def test_where_the_judges_see_more_lost_the_grid_gets_finer_by_little_at_first(
    model, data, tmp_path, monkeypatch
):
    refusals = iter([False, False])
    monkeypatch.setattr(Measuring, "kept", lambda self, lost: next(refusals, True))
    result = packlight.fit(model, data, max_drop="15%", calibrate=60, out=tmp_path)
    *before, second, last = (visit["tradeoff"] for visit in result.report["visited"])
    assert last == pytest.approx(0.95**2 * second)
    assert any(second == pytest.approx(0.95 * one) for one in before)


def test_no_sample_to_fit_on_is_refused(model, data, tmp_path):
    with pytest.raises(BadInput, match="--calibrate 0 leaves no sample"):
        packlight.fit(model, data, target_size="8KB", calibrate=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_below_what_names_alone_need_ends_with_the_nearest(model, data, tmp_path):
    with pytest.raises(BudgetNotMet, match="smallest packed file is") as problem:
        packlight.fit(model, data, target_size=300, calibrate=100, out=tmp_path / "out")
    assert problem.value.exit_code == 3
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["nearest.onnx", "nearest.onnx.plt", "report.html", "report.json"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["met"] is False
    Session(tmp_path / "out" / "nearest.onnx")


def test_two_budgets_that_contradict_are_told_apart(model, data, tmp_path):
    with pytest.raises(BudgetNotMet, match="max-drop allows"):
        packlight.fit(
            model, data, target_size="3KB", max_drop="0.1%", calibrate=100, out=tmp_path / "out"
        )


def test_eval_fn_judges_in_place_of_accuracy(model, data, tmp_path):
    x, labels = data[0][:200], data[1][:200]

    def correct(run):
        return float((run(x)[0].argmax(1) == labels).mean())

    result = packlight.fit(
        model, data, max_drop="3%", eval_fn=correct, calibrate=100, out=tmp_path / "out"
    )
    scores = result.report["accuracy"]["eval_fn"]
    assert scores["original"] == 1.0
    assert scores["original"] - scores["compressed"] <= 0.03
    assert scores["compressed"] == correct(Session(result.model))


def test_a_network_that_does_not_classify_is_judged_by_its_noise(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(24, 32), nn.Tanh(), nn.Linear(32, 24))
    network = Network.from_module(module, (torch.randn(2, 24),))
    x = torch.randn(500, 24).numpy()
    result = packlight.fit(
        network, x, target_installed_size="5KB", calibrate=100, out=tmp_path / "out"
    )
    accuracy = result.report["accuracy"]
    assert accuracy["agreement"] is None
    assert accuracy["sqnr_db"] > 20
    with pytest.raises(BadInput, match="max-drop needs"):
        packlight.fit(network, x, max_drop="1%", out=tmp_path / "other")


def test_depthwise_residual_and_concatenated_blocks_fit(tmp_path):
    x = images(500, seed=2).numpy()
    result = packlight.fit(blocks(), x, target_size="6KB", calibrate=100, out=tmp_path / "out")
    assert result.report["accuracy"]["agreement"]["value"] > 0.8
    model = onnx.load(result.model)
    kinds = {node.op_type for node in model.graph.node}
    assert "QuantizeLinear" in kinds


def test_activations_that_int8_ruins_stay_float_and_are_named(tmp_path):
    class Outlier(nn.Module):
        """One channel 10,000 times larger than the rest, divided away again."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 5)
            self.first.weight.data[0] *= 1e4
            self.second.weight.data[:, 0] *= 1e-4

        def forward(self, x):
            x = torch.relu(self.second(torch.relu(self.first(x))))
            return self.head(x.mean((2, 3)))

    torch.manual_seed(1)
    network = Network.from_module(Outlier(), (images(2),))
    x = images(500, seed=3).numpy()
    result = packlight.fit(
        network, x, target_installed_size="20KB", calibrate=100, out=tmp_path / "out"
    )
    float_layers = [row for row in result.report["layers"] if row["activation"] == "float"]
    assert "second" in [row["name"] for row in float_layers]
    assert all("dB" in row["why_float"] for row in float_layers)
    assert any("stay float" in note for note in result.report["notes"])
    assert result.report["accuracy"]["sqnr_db"] > 10


def test_a_network_that_answers_no_numbers_is_refused(tmp_path):
    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.second(torch.log(self.first(x)))

    network = Network.from_module(Logarithm(), (torch.randn(2, 16),))
    x = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    with pytest.raises(BadInput, match=r"not finite \(NaN or infinity\)"):
        packlight.fit(network, x, target_size="3KB", calibrate=100, out=tmp_path / "out")


def test_a_network_without_weights_is_refused(tmp_path):
    network = Network.from_module(nn.ReLU(), (torch.randn(2, 3),))
    with pytest.raises(BadInput, match="no weights"):
        packlight.fit(network, np.zeros((400, 3), np.float32), max_drop="1%", out=tmp_path / "o")


def test_explain_blames_every_layer_with_the_bytes_that_mend_it(model, data, tmp_path):
    result = packlight.fit(
        model, data, target_size="5KB", explain=True, calibrate=100, out=tmp_path / "out"
    )
    rows = result.report["explain"]
    assert {row["layer"] for row in rows} == {"conv1", "conv2", "fc"}
    assert [row["damage"] for row in rows] == sorted((r["damage"] for r in rows), reverse=True)
    assert rows[0]["damage"] > 0
    assert rows[0]["bytes"] > 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Which layer breaks it" in page


def test_a_network_may_compute_all_of_its_weights(tmp_path):
    """A product and a sum over three dimensions are a layer whose weight is turned round."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(24, 32)), "b": rng.normal(size=32)}
    model = build(
        [node("MatMul", "x w", "p"), node("Add", "p b", "y")],
        {"x": ["n", 5, 24]},
        ["y"],
        {name: value.astype(np.float32) for name, value in weights.items()},
    )
    onnx.save(model, tmp_path / "products.onnx")
    x = rng.normal(size=(60, 5, 24)).astype(np.float32)
    result = packlight.fit(
        tmp_path / "products.onnx", x, target_size="1200", calibrate=30, out=tmp_path / "out"
    )
    assert result.met
    before, after = Session(str(tmp_path / "products.onnx"))(x)[0], Session(str(result.model))(x)[0]
    assert np.square(after - before).mean() < 0.01 * np.square(before).mean()

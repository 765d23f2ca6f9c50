"""The classic recipe: its pieces against the slow ones, its promises on a small network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

import packlight
from packlight.cli import cli
from packlight.errors import BadInput
from packlight.runtimes import onnx as onnx_file
from packlight.shrink import deep_compression as classic
from packlight.shrink import teaching
from packlight.shrink.palettize import Codebook
from packlight.shrink.tying import Masked, Shared
from tests.networks import images, plain
from tests.reference import deep_compression as reference
from tests.shrink.brief import briefly


def _codebook(seed: int, shape=(7, 40), share: float = 0.1) -> Codebook:
    draw = np.random.default_rng(seed)
    weight = draw.normal(size=shape).astype(np.float32)
    return classic.cluster(weight, draw.random(shape) < share, 3, 0)


@pytest.mark.parametrize("bits", [2, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_the_sparse_form_is_the_slow_ones(bits, share):
    codebook = _codebook(3, share=share)
    values = codebook.decoded().ravel().tolist()
    gaps, chosen = classic.sparse_form(codebook, bits)
    stored = list(zip(gaps.tolist(), codebook.centres.ravel()[chosen].tolist(), strict=True))
    assert stored == reference.sparse_form(values, bits)
    assert reference.restore(stored, len(values)) == values


@pytest.mark.parametrize("seed", range(4))
def test_huffman_bytes_are_those_of_codes_written_out(seed):
    codebook = _codebook(seed, share=0.3)
    gaps, chosen = (symbols.tolist() for symbols in classic.sparse_form(codebook, 3))
    written = ""
    tables = 0
    for symbols in (gaps, chosen):
        codes = reference.huffman_codes(symbols)
        written += "".join(codes[symbol] for symbol in symbols)
        tables += len(codes)
    centres = sum(1 for centre in codebook.centres.ravel() if centre != 0)
    assert classic.huffman_bytes(codebook, 3) == -(-len(written) // 8) + tables + 4 * centres


def test_survivors_are_counted_in_standard_deviations():
    weight = np.random.default_rng(0).normal(0, 2, (30, 30)).astype(np.float32)
    kept = classic.survivors(weight, 1.0)
    np.testing.assert_array_equal(kept, np.abs(weight) >= weight.std())
    assert classic.survivors(weight, 0.0).all()
    assert classic.survivors(weight, 1e9).sum() == 1


def test_clusters_leave_zeros_zero_and_others_not():
    weight = np.random.default_rng(1).normal(size=(20, 50)).astype(np.float32)
    kept = np.abs(weight) > 0.7
    codebook = classic.cluster(weight, kept, 5, 0)
    decoded = codebook.decoded()
    np.testing.assert_array_equal(decoded != 0, kept)
    assert np.count_nonzero(codebook.centres) <= 32
    # nearest centres, which are the means of those that chose them
    centres = codebook.centres.ravel()
    for centre in centres[centres != 0]:
        mine = kept & (decoded == centre)
        assert centre == pytest.approx(weight[mine].mean(), abs=1e-3)


def test_the_smallest_weights_go_first():
    codebook = _codebook(2, share=0.5)
    before, after = (np.abs(one.decoded()) for one in (codebook, _less(codebook)))
    gone = (before > 0) & (after == 0)
    assert gone.any()
    assert before[gone].max() < after[after > 0].min()
    np.testing.assert_array_equal(before[~gone], after[~gone])


def _less(codebook: Codebook) -> Codebook:
    return classic.without_smallest(codebook, 0.1)


def test_the_gradient_of_a_centre_is_the_sum_over_its_weights():
    codebook = _codebook(5, share=0.5)
    shared = Shared(codebook)
    pull = torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
    (shared() * pull).sum().backward()
    for number, centre in enumerate(codebook.centres.ravel()):
        wanted = float(pull[torch.from_numpy(codebook.indices == number)].sum()) if centre else 0.0
        assert float(shared.centres.grad[number, 0]) == pytest.approx(wanted, abs=1e-4)


def test_masked_weights_stay_zero_and_have_no_gradient():
    kept = torch.rand(4, 5) < 0.5
    masked = Masked(torch.randn(4, 5), kept)
    masked().square().sum().backward()
    assert not masked()[~kept].any()
    assert not masked.weight.grad[~kept].any()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return onnx_file.write(plain(), tmp_path_factory.mktemp("model") / "plain.onnx")


@pytest.fixture(scope="module")
def data():
    x = images(400, seed=1)
    with torch.no_grad():
        labels = plain()(x)[0].argmax(1)
    return x.numpy(), labels.numpy()


def _weights(file):
    tensors = {one.name: numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}
    found = {}
    for name in ("conv1.weight", "conv2.weight", "fc.weight"):
        if name in tensors:
            found[name] = tensors[name]
        else:
            book = tensors[f"{name}_codebook"].ravel()
            found[name] = book[tensors[f"{name}_indices"].astype(int)]
    return found


def test_retrained_the_network_fits_the_size_and_answers_nearer(model, data, tmp_path, monkeypatch):
    briefly(monkeypatch)
    monkeypatch.setitem(teaching.SAMPLES, "normal", 1.5e4)
    made = {}
    for effort in ("fast", "normal"):
        result = packlight.fit(
            model,
            data,
            recipe="deep-compression",
            effort=effort,
            target_size="3KB",
            calibrate=200,
            out=tmp_path / effort,
        )
        made[effort] = result.report["accuracy"]["agreement"]["value"]
        assert result.packed.stat().st_size <= 3000
        weights = _weights(result.model)
        assert all((weight == 0).any() for weight in weights.values())
        assert len(np.unique(weights["fc.weight"])) <= 33
        assert any("Deep Compression's own form" in note for note in result.report["notes"])
    assert made["normal"] > made["fast"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": "deep"}, "deep-compression"),
        ({"recipe": "deep-compression", "only": "prune"}, "without --only"),
        ({"labels": True}, "--effort normal or best"),
    ],
)
def test_what_does_not_go_together_is_said(model, data, tmp_path, options, said):
    with pytest.raises(BadInput, match=said):
        packlight.fit(model, data, target_size="3KB", out=tmp_path / "out", **options)


def test_labels_that_are_not_there_are_said(model, data, tmp_path):
    with pytest.raises(BadInput, match="samples with labels"):
        packlight.fit(
            model, data[0], target_size="3KB", effort="normal", labels=True, out=tmp_path / "out"
        )


def test_the_command_says_what_was_found(model, data, tmp_path):
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])
    command = ["fit", str(model), "--data", str(tmp_path / "data.npz"), "--target-size", "3KB"]
    more = ["--recipe", "nonsense", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*command, *more])
    assert isinstance(result.exception, BadInput)  # `packlight.cli.main` makes it exit code 2
    assert "there is deep-compression" in str(result.exception)

"""The .pte file: our integers, all of it in XNNPACK, the graph's answers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from packlight.coding.openers import executorch as opener
from packlight.errors import BadInput, MissingExtra
from packlight.network import Network
from packlight.runtimes import executorch as pte
from packlight.runtimes import onnx as onnx_file
from packlight.runtimes import onnxruntime as ort
from packlight.shrink.palettize import Codebook
from packlight.shrink.sharing import shared
from tests.networks import blocks, images, plain, settled
from tests.runtimes.at_once import at_once as in_this_process
from tests.runtimes.quantised import integers, program_holds, quantised

pytest.importorskip("executorch", reason="needs packlight[executorch]")


@pytest.fixture(scope="module")
def rounded():
    """A quantised network with residual, depthwise and concatenated layers, and its program."""
    network = quantised(blocks(), images(64))
    return network, pte.lower(network)


@pytest.fixture
def at_once(monkeypatch):
    """Conversion in this process: starting another takes longer than what it does."""
    monkeypatch.setattr(pte, "apart", in_this_process)


def _answers(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x))[0].numpy()


def _sizes_of_integers(lowered):
    tensors = opener.tensors(lowered.data)
    return [one.size for one in tensors if getattr(one, "dtype", "") == "int8"]


def test_xnnpack_takes_the_whole_quantised_graph(rounded):
    _, lowered = rounded
    assert lowered.outside == ()
    assert lowered.delegates == 1


def test_the_file_holds_our_integers(rounded):
    network, lowered = rounded
    ours = integers(network)
    assert ours
    for name, levels in ours.items():
        assert program_holds(lowered.data, levels), name


def test_constants_take_little_beside_their_own_bytes(rounded):
    network, lowered = rounded
    held = sum(
        value.numel() * value.element_size() for value in network.module.state_dict().values()
    )
    layers = len(integers(network))
    assert len(lowered.data) < held + 1500 * layers
    assert b"scale_" not in lowered.data  # what executorch calls scales that have a name


class _Between(nn.Module):
    """One large layer, used on both sides of a cumulative sum, which XNNPACK has not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)).cumsum(1))


def test_weights_that_two_delegates_read_are_held_once(at_once):
    network = Network.from_module(settled(_Between()), (torch.randn(2, 64),))
    lowered = pte.lower(network)
    assert lowered.delegates == 2
    assert len(lowered.data) < 1.5 * 64 * 64 * 4
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).numpy()
    (made,) = pte.Session(lowered.data, threads=1)(x)
    np.testing.assert_allclose(made, _answers(network, x), atol=1e-4)


def test_answers_are_those_of_the_onnx_file(rounded):
    network, lowered = rounded
    x = images(200, seed=5).numpy()
    (made,) = pte.Session(lowered.data, threads=1).over([(x,)])
    (judged,) = ort.Session(onnx_file.to_bytes(network), threads=1).over([(x,)])
    assert (made.argmax(1) == judged.argmax(1)).mean() >= 0.995
    near = np.abs(made - _answers(network, x)).max(axis=1) < 1e-5
    assert near.mean() > 0.95  # at a tie, a level may fall the other way and move the rest a little


def test_a_float_network_gives_the_same_answers_with_weights_in_a_codebook_too(at_once):
    rng = np.random.default_rng(0)
    book = Codebook(
        rng.normal(size=(1, 8, 1)).astype(np.float32), rng.integers(0, 8, (6, 512), np.uint8), 0, 6
    )
    network = shared(plain(), {"fc.weight": book})
    lowered = pte.lower(network)
    assert lowered.outside == ()
    x = images(5, seed=1).numpy()
    (made,) = pte.Session(lowered.data).over([(x,)])
    wanted = _answers(network, x)
    np.testing.assert_allclose(made, wanted, atol=1e-6 * np.abs(wanted).max())


class _Mixed(nn.Module):
    """Layers that no static integer kernel can take as they are, for (n, 3, 16, 16).

    A float input, a depthwise layer with a float output, weights whose output channels are their
    second axis, and a layer that runs on integers first and on floats then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.head = nn.Conv2d(8, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2)
        self.middle = nn.Parameter(torch.linspace(-1, 1, 32 * 16).sin().reshape(32, 16))
        self.last = nn.Parameter(torch.linspace(-9, 9, 16 * 5).cos().reshape(16, 5))
        self.same = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        x = nn.functional.silu(self.inner(self.stem(image)))
        turned = torch.relu(torch.relu(self.up(image.sin())) @ self.middle) @ self.last
        twice = self.same(torch.relu(self.same(image)).sin())
        return self.head(x), self.depthwise(x), turned, twice


def test_layers_that_no_static_kernel_takes_give_the_graph_s_answers(at_once):
    network = quantised(
        Network.from_module(settled(_Mixed()), (images(2),)), images(64), ["conv2d", "sin_1"]
    )
    lowered = pte.lower(network)
    assert lowered.outside == ()
    held = _sizes_of_integers(lowered)
    # `same`, `last` with a column for the end of its grid, `head` and `stem` with two channels each
    # for the ends, `middle`; the others are floats
    assert sorted(held) == [3 * 3 * 9, 5 * 17, 4 * 10 * 9, 8 * 5 * 9, 16 * 32]
    x = images(20, seed=3).numpy()
    made = pte.Session(lowered.data, threads=1).over([(x,)])
    with torch.no_grad():
        wanted = network(torch.from_numpy(x))
    for one, other in zip(made, wanted, strict=True):
        assert np.median(np.abs(one - other.numpy())) < 1e-5 * float(other.std())


class _Framed(nn.Module):
    """Adds a scalar to an image padded as it comes in; gives a constant and a curve as well."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Parameter(torch.arange(8.0).reshape(4, 2))

    def forward(self, image, level):
        curve = nn.functional.gelu(image, approximate="tanh")  # not the one by erf
        return nn.functional.pad(image, (1, 1, 2, -1)) + level, self.held * 1, curve


def test_inputs_may_be_scalars_or_padded_at_once_and_outputs_constant(at_once):
    network = Network.from_module(_Framed(), (torch.ones(2, 3, 4, 4), torch.tensor(2.0)))
    session = pte.Session(pte.lower(network).data, threads=1)
    image, level = images(1)[:, :, :4, :4].numpy(), np.array(2, np.float32)
    made, constant, curve = session.whole([image, level])
    np.testing.assert_array_equal(
        made, np.pad(image, [(0, 0), (0, 0), (2, 0), (1, 1)])[:, :, :-1] + 2
    )
    np.testing.assert_array_equal(constant, np.arange(8.0).reshape(4, 2))
    with torch.no_grad():
        wanted = network(torch.from_numpy(image), torch.from_numpy(level))[2].numpy()
    np.testing.assert_allclose(curve, wanted, atol=2e-6)


class _Signal(nn.Module):
    """Convolutions over a signal: static, transposed, depthwise, and one with a float output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1)
        self.deep = nn.Conv1d(6, 6, 3, groups=6)
        self.last = nn.Conv1d(6, 4, 3, dilation=2)

    def forward(self, signal):
        x = torch.relu(self.first(signal))
        return self.last(torch.relu(self.deep(torch.relu(self.up(x))))[..., 1:-1])


def _with_the_graph_s_answers(module, shape):
    """A rounded module's program, compared with the rounded graph."""
    noise = torch.Generator().manual_seed(0)
    samples = torch.randn(32, *shape, generator=noise)
    network = quantised(Network.from_module(settled(module), (samples[:2],)), samples)
    lowered = pte.lower(network)
    x = samples[:1].numpy()
    (made,) = pte.Session(lowered.data, threads=1)(x)
    wanted = _answers(network, x)
    assert np.median(np.abs(made - wanted)) < 1e-5 * np.abs(wanted).max()
    return lowered


def test_convolutions_over_signals_are_written(at_once):
    lowered = _with_the_graph_s_answers(_Signal(), (3, 20))
    held = _sizes_of_integers(lowered)
    assert 8 * 3 * 3 in held
    assert 4 * (6 + 1) * 3 in held  # the last one's, with a channel for the end of the grid


class _Smooth(nn.Module):
    """An activation that XNNPACK has in parts, behind a layer whose input is rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.up = nn.ConvTranspose2d(8, 8, 2, groups=2)

    def forward(self, image):
        return self.up(nn.functional.mish(self.first(image)))


class _Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, words):
        return self.head(torch.relu(self.table(words).mean(1)))


def test_tables_of_rows_stay_integers(at_once):
    words = torch.randint(0, 50, (32, 7), generator=torch.Generator().manual_seed(0))
    network = quantised(Network.from_module(_Words().eval(), (words[:2],)), words)
    lowered = pte.lower(network)
    assert program_holds(lowered.data, integers(network)["table.weight_quantized"])
    x = words[:1].numpy()
    (made,) = pte.Session(lowered.data, threads=1)(x)
    np.testing.assert_allclose(made, _answers(network, x), atol=1e-5)


def test_layouts_that_executorch_confuses_are_left_to_portable_operators(at_once):
    lowered = _with_the_graph_s_answers(_Smooth(), (3, 9, 8))
    assert any("exp" in call for call in lowered.outside)


def test_a_kernel_that_refuses_its_input_says_so_when_it_is_written(at_once):
    network = Network.from_module(settled(nn.Conv3d(1, 2, 2)), (torch.randn(2, 1, 4, 4, 4),))
    with pytest.raises(BadInput, match=r"operator aten::convolution.out: .*3-D or 4-D"):
        pte.lower(network)


def test_an_operator_without_a_kernel_is_named(at_once):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    network = Network.from_module(Odd(), (torch.ones(2, 3),))
    with pytest.raises(BadInput, match=r"can not be written for ExecuTorch: .*bessel_j0") as caught:
        pte.lower(network)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -100])
def test_a_damaged_file_is_refused_in_one_sentence(rounded, kept):
    with pytest.raises(BadInput, match="ExecuTorch can not run the written network: ") as caught:
        pte.Session(rounded[1].data[:kept])
    assert "\n" not in str(caught.value)


def test_other_shapes_and_types_are_refused(rounded):
    session = pte.Session(rounded[1].data)
    with pytest.raises(BadInput, match=r"takes \[1x3x16x16\] float32, not \[2x3x16x16\] float32"):
        session(images(2).numpy())
    with pytest.raises(BadInput, match=r"not .* float64"):
        session(images(1).numpy().astype(np.float64))


def test_sessions_with_different_threads_live_together(rounded):
    x = images(4).numpy()
    one, two = (pte.Session(rounded[1].data, threads=threads) for threads in (1, 2))
    first = one.over([(x,)])[0]
    for session in (two, one, two):
        np.testing.assert_array_equal(session.over([(x,)])[0], first)


def test_writing_replaces_the_old_file_whole(tmp_path, rounded, monkeypatch):
    monkeypatch.setattr(pte, "lower", lambda network: rounded[1])
    path = tmp_path / "net.pte"
    path.write_bytes(b"old")
    assert pte.write(rounded[0], path) == path
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.pte"]
    assert pte.Session(path).output_names == ["output_0"]


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(pte, "find_spec", lambda name: None)
    assert importlib.util.find_spec("executorch")
    for call in (lambda: pte.lower(plain()), lambda: pte.Session(b"")):
        with pytest.raises(MissingExtra, match=r"pip install 'packlight\[executorch\]'"):
            call()


def test_the_runtime_comes_without_the_compiler_which_comes_when_it_is_wanted():
    script = """
import sys
from packlight.runtimes.bare_executorch import Runtime
assert Runtime.get().backend_registry.is_available("XnnpackBackend")
assert "executorch.exir.program" not in sys.modules
from executorch.exir import to_edge
assert "executorch.exir.program" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

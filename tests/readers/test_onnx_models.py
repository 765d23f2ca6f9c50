"""The real files: the same answers as onnxruntime, the names kept, the batch left open."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import packlight
from packlight.graph import aten, is_call
from packlight.network import Network
from packlight.readers.shapes import examples_of
from tests.readers.models import disagreement, random_inputs
from tests.shared import shared

TOLERANCE = 1e-4  # of each output's largest value

IMAGE_NETS = ["squeezenet1_1", "squeezenet1_0_deepcompressed"]
CIFAR_NETS = ["resnet8_cifar10", "resnet8_cifar10_bn"]
DIGIT_NETS = ["lenet5_caffe", "lenet_300_100"]
OTHERS = ["kws_dscnn", "ad_autoencoder"]


def _pixels(archive: Path, count: int, crop: int) -> torch.Tensor:
    """RGB images (count, 3, crop, crop), 0..255, the center of each."""
    images = []
    with zipfile.ZipFile(archive) as opened:
        for name in [name for name in opened.namelist() if name.endswith(".jpg")][:count]:
            image = Image.open(io.BytesIO(opened.read(name))).convert("RGB")
            left, top = (image.width - crop) // 2, (image.height - crop) // 2
            images.append(np.asarray(image.crop((left, top, left + crop, top + crop))))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().contiguous()


def _realistic(name: str, network: Network) -> list[torch.Tensor]:
    if name in IMAGE_NETS:
        return [_pixels(shared("data", "imagenet500.zip"), 4, 227)]
    if name in CIFAR_NETS:
        return [_pixels(shared("data", "cifar10.zip"), 4, 32)]
    if name in DIGIT_NETS:
        digits = np.load(shared("data", "mnist.npz"))["x_test"][:4]
        return [torch.from_numpy(digits).float().unsqueeze(1) / 255]
    # speech features and log-mel energies lie around zero and spread over some tens
    return [30 * value for value in random_inputs(network, 4, seed=7)]


@pytest.mark.parametrize("name", IMAGE_NETS + CIFAR_NETS + DIGIT_NETS + OTHERS)
def test_a_real_network_answers_as_in_onnxruntime(name: str) -> None:
    path = shared("models", f"{name}.onnx")
    network = packlight.load(path)
    assert network.batch is None
    assert network.dynamic_batch == (True,)
    assert network.notes == ()
    for batch in (1, 4):
        assert disagreement(network, path, random_inputs(network, batch)) <= TOLERANCE
    assert disagreement(network, path, _realistic(name, network)) <= TOLERANCE


@pytest.mark.parametrize("name", IMAGE_NETS + CIFAR_NETS + DIGIT_NETS + OTHERS + ["face_rfb320"])
def test_weights_keep_their_names_shapes_and_numbers(name: str) -> None:
    path = shared("models", f"{name}.onnx")
    network = packlight.load(path)
    found = {**dict(network.module.named_parameters()), **dict(network.module.named_buffers())}
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
    }
    used = {name for node in onnx.load(path).graph.node for name in node.input}
    for key, array in stored.items():
        if array.dtype == np.float32 and key in used:
            assert tuple(found[key].shape) == array.shape
            np.testing.assert_array_equal(found[key].detach().numpy(), array)


@pytest.mark.parametrize("name", IMAGE_NETS + CIFAR_NETS + DIGIT_NETS)
def test_names_and_metadata_are_those_of_the_file(name: str) -> None:
    path = shared("models", f"{name}.onnx")
    network, model = packlight.load(path), onnx.load(path)
    assert network.input_names == tuple(value.name for value in model.graph.input)
    assert network.output_names == tuple(value.name for value in model.graph.output)
    assert network.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert network.source == path


def test_a_residual_network_is_made_of_high_level_operators() -> None:
    network = packlight.load(shared("models", "resnet8_cifar10_bn.onnx"))
    steps = list(network.module.graph.nodes)
    assert sum(is_call(step, aten.conv2d) for step in steps) == 9
    assert sum(is_call(step, aten.batch_norm) for step in steps) == 7
    assert sum(is_call(step, aten.linear) for step in steps) == 1


def test_statistics_of_batch_norms_are_not_trained() -> None:
    network = packlight.load(shared("models", "resnet8_cifar10_bn.onnx"))
    trained = dict(network.module.named_parameters())
    assert "batch_normalization.gamma" in trained
    assert "batch_normalization.mean" not in trained
    assert "batch_normalization.mean" in dict(network.module.named_buffers())


def test_the_face_detector_keeps_its_batch_of_one() -> None:
    """Opset 9, IR 4: its weights are listed as inputs as well, and shapes steer its heads."""
    path = shared("models", "face_rfb320.onnx")
    network = packlight.load(path)
    assert network.batch == 1
    assert network.input_names == ("input",)
    assert network.output_names == ("scores", "boxes")
    assert disagreement(network, path, random_inputs(network)) <= TOLERANCE
    pixels = _pixels(shared("data", "imagenet500.zip"), 1, 256)
    face = torch.nn.functional.interpolate(pixels, (240, 320)).sub(127).div(128)
    assert disagreement(network, path, [face]) <= TOLERANCE


def test_the_speech_detector_takes_one_branch() -> None:
    """Its weights sit in the branches of an If that compares the input sr with 16000."""
    path = shared("models", "silero_vad.onnx")
    examples = [torch.randn(1, 576) / 10, torch.zeros(2, 1, 128)]
    for rate, width, note in (
        (16000, 576, "input sr is taken as 16000: the other branch of If_0 is dropped"),
        (8000, 288, "input sr is taken as 8000"),
    ):
        inputs = [examples[0][:, :width], examples[1]]
        if rate == 16000:
            network = packlight.load(path, [*inputs, torch.tensor(16000)])
        else:
            network = packlight.load(path, inputs, constants={"sr": rate})
        assert note in network.notes
        assert network.input_names == ("input", "state", "sr")
        assert network.output_names == ("output", "stateN")
        assert network.batch == 1
        assert int(network.example_inputs[2]) == rate
        names = [name for name, _ in network.module.named_parameters()]
        branch = "then" if rate == 16000 else "else"
        assert names
        assert all(name.startswith(f"If_0_{branch}_branch") for name in names)
        assert any(name.endswith("decoder.rnn.weight_ih") for name in names)
        assert any(is_call(step, aten.lstm) for step in network.module.graph.nodes)
        _speak(path, network, rate, width)


def _speak(path: Path, network: Network, rate: int, width: int) -> None:
    """Five chunks of a chirp, the state of each fed to the next."""
    time = torch.arange(5 * width) / rate
    chirp = (0.5 * torch.sin(2 * torch.pi * (200 + 400 * time) * time)).reshape(5, 1, width)
    judge = onnxruntime.InferenceSession(path)
    ours = theirs = torch.zeros(2, 1, 128)
    for chunk in chirp:
        with torch.no_grad():
            voice, ours = network(chunk, ours, torch.tensor(rate))
        expected, state = judge.run(
            None, {"input": chunk.numpy(), "state": theirs.numpy(), "sr": np.array(rate)}
        )
        theirs = torch.from_numpy(state)
        np.testing.assert_allclose(voice.numpy(), expected, atol=TOLERANCE)
        np.testing.assert_allclose(ours.numpy(), state, atol=TOLERANCE * np.abs(state).max())


def test_the_speech_detector_asks_for_the_size_of_its_chunks() -> None:
    path = shared("models", "silero_vad.onnx")
    with pytest.raises(packlight.BadInput, match=r"'input' leaves dimension 1 open.*--input-shape"):
        packlight.load(path)
    examples = examples_of(path, {"input": (1, 576)})
    assert int(examples[2]) == 16000  # shapes alone choose no branch
    assert packlight.load(path, examples).output_names == ("output", "stateN")

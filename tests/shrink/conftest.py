"""A network and its data, which the tests of `fit` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from packlight.runtimes import onnx as onnx_file
from tests.networks import images, plain


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """`Plain` as an ONNX file."""
    return onnx_file.write(plain(), tmp_path_factory.mktemp("model") / "plain.onnx")


@pytest.fixture(scope="session")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images and what the network itself says they are."""
    x = images(700, seed=1)
    with torch.no_grad():
        labels = plain()(x)[0].argmax(1)
    return x.numpy(), labels.numpy()

"""Small networks as `fit` leaves them, for the tests of what is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import packlight
from packlight.network import Network
from packlight.runtimes import onnx as onnx_file
from tests.networks import images

SAMPLES = 600


def fitted(network: Network, folder: Path, size: str) -> Path:
    """A folder with the network, data and, in `fit`, what fitting to a download size left."""
    onnx_file.write(network, folder / "net.onnx")
    x = images(SAMPLES, seed=1)
    with torch.no_grad():
        labels = network(x)[0].argmax(1)
    np.savez(folder / "data.npz", x=x.numpy(), y=labels.numpy())
    packlight.fit(
        *(folder / "net.onnx", folder / "data.npz"),
        target_size=size,
        calibrate=100,
        out=folder / "fit",
    )
    return folder / "fit"

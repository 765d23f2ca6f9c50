"""Model files and objects -> rows of the layer table, one format per file.

A format lists its operations (`operations.py`) from what its file says; nothing is executed and no
weights are loaded that are not looked at. What is no format of its own goes through
`packlight.load` and `packlight.weighing.walk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.weighing.formats.operations import Listing

Shapes = Mapping[str, tuple[int, ...]]

_TENSORS = (".safetensors", ".gguf", ".npz", ".pt", ".pth", ".bin", ".ckpt")
_TAKEN = (".onnx", ".keras", ".mlpackage", ".mlmodel", ".pte", ".tflite", ".pt2", *_TENSORS)


def listing_of(
    model: Any, input_shapes: Shapes | None = None, constants: Mapping[str, Any] | None = None
) -> Listing | None:
    """What a format tells; None where only the network's graph can.

    Raises:
        BadInput: the file is damaged, or leaves sizes open that are needed.
    """
    if not isinstance(model, (str, Path)):
        from packlight.weighing.formats import keras

        return keras.read_model(model, input_shapes) if keras.is_model(model) else None
    path = Path(model)
    suffix = path.suffix.lower()
    if not (path.is_file() or (suffix == ".mlpackage" and path.is_dir())):
        if not path.is_dir():
            return None  # `packlight.load` has the words for it
        inside = path / "model.onnx"
        hint = f", or give {inside}" if inside.is_file() else ""
        raise BadInput(f"{path} is a folder; of folders, weigh takes .mlpackage alone{hint}")
    if suffix in _TAKEN and path.is_file() and not path.stat().st_size:
        raise BadInput(f"{path.name} is empty; download or export it again")
    match suffix:
        case ".onnx":
            from packlight.weighing.formats import onnx

            return onnx.read_listing(path, input_shapes, constants)
        case ".keras":
            from packlight.weighing.formats import keras

            return keras.read_file(path, input_shapes)
        case ".mlpackage" | ".mlmodel":
            from packlight.weighing.formats import coreml

            return coreml.read_listing(path)
        case ".pte":
            from packlight.weighing.formats import executorch

            return executorch.read_listing(path)
        case ".tflite":
            from packlight.weighing.formats import tflite

            return tflite.read_listing(path)
        case _ if suffix in _TENSORS:
            from packlight.weighing.formats import tensors

            return tensors.read_listing(path)
        case ".pt2":
            return None
        case ".plt":
            raise BadInput(f"{path.name} is packed; weigh what unpack makes of it")
    raise BadInput(
        f"{path.name} ends in {suffix or 'nothing'}; weigh takes .onnx, .pt2, .keras, .tflite, "
        ".mlpackage, .mlmodel, .pte, .safetensors, .gguf, .npz and PyTorch's .pt and .pth"
    )

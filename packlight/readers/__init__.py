"""Files and modules become one Network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packlight.errors import BadInput
from packlight.files import refuse_packed

if TYPE_CHECKING:
    from packlight.network import Network

__all__ = ["load"]


def load(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    constants: Mapping[str, Any] | None = None,
) -> Network:
    """Read a model into a Network.

    Args:
        model: a path to an `.onnx` or `.pt2` file, a `torch.nn.Module`, a
            `torch.export.ExportedProgram`, or a Network (returned as it is).
        example_inputs: one tensor or array per input; needed for a `torch.nn.Module`, and for a
            file whose inputs leave sizes other than the batch open.
        constants: values for inputs that steer the graph (`{"sr": 16000}`): branches that depend
            on them are resolved while reading.
    Raises:
        BadInput: not a model, damaged, or not of a kind that can be read.
        UnsupportedOperator: names the operator, its node and the opset.
    """
    from packlight.network import Network

    if isinstance(model, Network):
        return model
    if isinstance(model, (str, Path)):
        return _load_file(Path(model), example_inputs, constants)
    from packlight.readers import torch as torch_reader

    return torch_reader.read(model, example_inputs)


def _load_file(
    path: Path, example_inputs: Sequence[Any] | None, constants: Mapping[str, Any] | None
) -> Network:
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give a model file (.onnx or .pt2)")
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from packlight.readers.onnx.reader import read

        return read(path, example_inputs, constants)
    if suffix == ".pt2":
        from packlight.readers import torch as torch_reader

        return torch_reader.read_pt2(path)
    refuse_packed(path)
    raise BadInput(f"{path.name} ends in {suffix or 'nothing'}; .onnx and .pt2 files can be read")

"""PyTorch modules, exported programs and .pt2 files -> Network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from packlight.errors import BadInput
from packlight.network import Network, quiet_torch


def read(model: Any, example_inputs: Sequence[Any] | None) -> Network:
    """Read a `torch.nn.Module` (with example inputs) or an `ExportedProgram`.

    Raises:
        BadInput: neither of the two, no example inputs, or torch can not trace it.
    """
    if isinstance(model, torch.export.ExportedProgram):
        return _read_program(model, source=None)
    if not isinstance(model, nn.Module):
        raise BadInput(
            f"a {type(model).__name__} is not a model; give a path, a torch.nn.Module with "
            "example_inputs, or a torch.export.ExportedProgram"
        )
    if example_inputs is None:
        raise BadInput(
            "a torch.nn.Module needs example_inputs, for instance (torch.rand(1, 3, 224, 224),)"
        )
    if isinstance(example_inputs, (Tensor, np.ndarray)):
        example_inputs = (example_inputs,)
    return Network.from_module(model, [torch.as_tensor(value) for value in example_inputs])


def read_pt2(path: Path) -> Network:
    """Read a file that `torch.export.save` wrote.

    Raises:
        BadInput: the file is not one, or is damaged.
    """
    try:
        with quiet_torch():
            program = torch.export.load(path)
    except Exception as problem:
        raise BadInput(
            f"{path.name} is not a file that torch.export.save wrote, or it is damaged "
            f"({type(problem).__name__})"
        ) from problem
    return _read_program(program, source=path)


def _read_program(program: torch.export.ExportedProgram, source: Path | None) -> Network:
    examples = program.example_inputs
    if examples is None or examples[1]:
        raise BadInput("the exported program must hold its example inputs, all of them positional")
    placeholders = {
        node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"
    }
    names = program.graph_signature.user_inputs
    dynamic = [
        value.ndim > 0 and isinstance(value.shape[0], torch.SymInt)
        for value in (placeholders[name] for name in names)
    ]
    return Network.from_module(
        program.module(check_guards=False),
        examples[0],
        input_names=names,
        dynamic_batch=dynamic,
        source=source,
    )

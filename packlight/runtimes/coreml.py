"""Network -> .mlpackage for Core ML: an ML Program whose weights stay as small as `fit` made them.

    network -> traced with floats for weights -> coremltools -> floats replaced by what is stored

coremltools reads TorchScript. Before its own passes run, one of ours finds each float weight again
and replaces it: int8 levels and scales become `constexpr_affine_dequantize`, weights of few values
become `constexpr_lut_to_dense`. Both decompress to the very numbers of the network, in float32.

The file asks for the oldest system that can hold the network: iOS 16; iOS 17 where activations are
rounded (`quantize`, `dequantize`); iOS 18 where codebooks hold vectors or belong to groups of
channels. It takes one sample at a time. Core ML exists on Apple systems only: what is written here
was read back and evaluated operator by operator, never executed by Core ML; so there is no Session.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
from torch import fx

from packlight.errors import BadInput, MissingExtra
from packlight.files import replace_folder
from packlight.graph import (
    add_weight,
    aten,
    free_name,
    is_call,
    is_weight,
    quantized,
    set_value,
    value_of,
)
from packlight.network import Network, quiet_torch
from packlight.runtimes.apart import apart, first_line
from packlight.runtimes.lowering import (
    Lookup,
    constant,
    cut_where_padding_is_negative,
    lookups,
    read_lookup,
    spell_out,
    store_by_channel,
    with_one_sample,
)
from packlight.runtimes.rounded_once import round_once
from packlight.types import Array

SUFFIX = ".mlpackage"

_LOWEST = 16  # iOS
_ROUNDED = 17
_GROUPED = 18
_INPUTS = {  # what coremltools calls the types that an input may have
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.int32: np.int32,
    torch.int64: np.int32,  # Core ML has no other
}
#: what coremltools imports wherever it is installed, for seconds, and needs for other converters
_OTHERS = ("executorch", "sklearn", "tensorflow", "torchao", "transformers", "xgboost")
_MANIFEST = uuid.UUID("8f2f8d3e-6f0e-5c53-9a3f-0d1c1f0a7b52")  # names the parts of every package


@dataclass(frozen=True)
class Int8:
    """A weight's levels, (shape) int8, and scales, (channels,) float32, along an axis."""

    levels: Array = field(repr=False)
    scale: Array = field(repr=False)
    axis: int


@dataclass(frozen=True)
class Prepared:
    """A network with floats for weights.

    Args:
        network: takes one sample.
        stored: parameter name -> what stands for it in the file.
        ios: the oldest system that can hold it.
    """

    network: Network
    stored: dict[str, Int8 | Lookup] = field(repr=False)
    ios: int


def write(network: Network, path: str | os.PathLike[str], *, ios: int | None = None) -> Path:
    """Write a Network as an .mlpackage folder, in place of what was there once it is complete.

    Args:
        ios: the system that the file asks for, 16, 17 or 18, with the smallest form of weights
            that it can read; default: the oldest that can hold the network.
    Raises:
        MissingExtra: coremltools is not installed.
        BadInput: the network needs a newer system than `ios`.
        BadInput: coremltools can not convert the graph; names the operator.
    """
    if find_spec("coremltools") is None:
        raise MissingExtra("coremltools", "coreml")
    target = Path(path)
    for name, example in zip(network.input_names, network.example_inputs, strict=True):
        if example.dtype not in _INPUTS:
            raise BadInput(
                f"input {name} is {str(example.dtype).removeprefix('torch.')}, and Core ML takes "
                "float32, float16 or int32; convert it inside the network"
            )
    with tempfile.TemporaryDirectory(prefix="coreml-") as work:
        made = Path(work) / "network.mlpackage"
        apart("the network can not be written for Core ML", _convert, network, made, ios)
        return replace_folder(target, made)


def prepare(network: Network) -> Prepared:
    """A copy of a network with floats for weights, and what they stand for."""
    made = _without_scalars(with_one_sample(network))
    module = made.module
    cut_where_padding_is_negative(module)
    round_once(module)
    _part_from_outputs(module.graph)
    store_by_channel(module)
    stored: dict[str, Int8 | Lookup] = {}
    ios = _LOWEST
    for lookup in lookups(module):
        read = read_lookup(module, lookup)
        name = spell_out(module, lookup)
        if read is not None:
            stored[name] = read
            ios = _GROUPED
    for node in list(module.graph.nodes):
        if is_call(node, quantized.dequantize_per_channel):
            _to_floats(module, node, stored)
        elif is_call(node, quantized.quantize_per_tensor):
            ios = max(ios, _ROUNDED)
    module.graph.lint()
    module.recompile()
    return Prepared(made, stored, ios)


def _without_scalars(network: Network) -> Network:
    """Give inputs of no dimension one of size 1: Core ML takes no scalars."""
    graph = network.module.graph
    for node, example in zip(network.placeholders(), network.example_inputs, strict=True):
        if example.ndim == 0 and node.users:
            with graph.inserting_after(node):
                scalar = graph.call_function(aten.reshape.default, (node, []))
            scalar.meta = dict(node.meta)
            node.replace_all_uses_with(scalar, lambda user, own=scalar: user is not own)
    examples = tuple(value.reshape(value.shape or (1,)) for value in network.example_inputs)
    return replace(network, example_inputs=examples)


def _part_from_outputs(graph: fx.Graph) -> None:
    """Core ML gives inputs back under their own names only, and no stored tensors at all: let
    such an output be another value."""
    last = graph.output_node()
    for source in last.all_input_nodes:
        if source.op != "placeholder" and not is_weight(source):
            continue
        with graph.inserting_before(last):
            own = graph.call_function(aten.mul.Tensor, (source, 1))
        own.meta = dict(source.meta)
        last.replace_input_with(source, own)


def _to_floats(module: fx.GraphModule, restored: fx.Node, stored: dict[str, Int8 | Lookup]) -> None:
    source: Any = restored.args[0]
    if not is_weight(source):
        return
    name = free_name(module, str(source.target).removesuffix("_quantized"))
    levels, scale = value_of(module, source), constant(module, restored.args[1])
    floats = add_weight(module, restored, name, constant(module, restored))
    restored.replace_all_uses_with(floats)
    module.graph.erase_node(restored)
    if levels.dtype is torch.int8:
        stored[name] = Int8(levels.numpy(), scale.numpy(), int(restored.args[3]))


def _convert(network: Network, path: Path, ios: int | None) -> None:
    """Write the package; runs in a process of its own."""
    with _without(_OTHERS):
        import coremltools

    from packlight.runtimes import coreml_passes, coreml_rounding

    import_module("packlight.runtimes.coreml_operators")  # registers what coremltools lacks
    prepared = prepare(network)
    if ios is not None and ios < prepared.ios:
        raise BadInput(f"the network needs iOS {prepared.ios}; give --ios {prepared.ios}, or none")
    target = max(prepared.ios, ios or _LOWEST)
    traced = _traced(prepared.network)
    coreml_passes.register(
        [(_array(prepared.network, name), what) for name, what in prepared.stored.items()]
    )
    pipeline = coremltools.PassPipeline.DEFAULT
    pipeline.insert_pass(0, "common::const_elimination")  # weights that were split and turned
    pipeline.insert_pass(1, coreml_passes.NAME)
    pipeline.remove_passes([coreml_rounding.INEXACT])
    pipeline.append_pass(coreml_rounding.NAME)
    pipeline.append_pass("common::dead_code_elimination")  # of constants that it replaced
    try:
        model = coremltools.convert(
            traced,
            source="pytorch",
            inputs=[
                coremltools.TensorType(
                    name=name, shape=tuple(value.shape), dtype=_INPUTS[value.dtype]
                )
                for name, value in zip(
                    network.input_names, prepared.network.example_inputs, strict=True
                )
            ],
            outputs=[coremltools.TensorType(name=name) for name in network.output_names],
            minimum_deployment_target=getattr(coremltools.target, f"iOS{target}"),
            compute_precision=coremltools.precision.FLOAT32,
            pass_pipeline=pipeline,
            skip_model_load=True,
        )
    except Exception as problem:
        raise BadInput(
            f"the network can not be written for Core ML: {_operator(problem)}"
            f"{first_line(problem).rstrip('.')}, says coremltools; use another operator, or write "
            "it as ONNX"
        ) from None
    missing = coreml_passes.not_found()
    if missing:
        raise BadInput(
            f"the network can not be written for Core ML: coremltools changed {missing} of its "
            "compressed weights before they could be stored; write it as ONNX"
        )
    for key in list(model.user_defined_metadata):
        del model.user_defined_metadata[key]  # versions and the date of the conversion
    for key, text in network.metadata.items():
        model.user_defined_metadata[key] = text
    model.save(os.fspath(path))
    _settle(path)


def _operator(problem: Exception) -> str:
    """The operator at which coremltools stopped, with a colon; nothing where it can not be told."""
    names = [
        str(frame.f_locals["node"].kind)
        for frame, _ in walk_tb(problem.__traceback__)
        if hasattr(frame.f_locals.get("node"), "kind")
    ]
    if not names or isinstance(problem, NotImplementedError):
        return ""
    return f"operator {names[-1]}: "


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Packages, unless they are loaded already, look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _array(network: Network, name: str) -> Array:
    value: Array = network.module.get_parameter(name).detach().numpy()
    return value


def _traced(network: Network) -> torch.jit.ScriptModule:
    module = network.copy().module
    for node in module.graph.nodes:
        if is_weight(node) and not str(node.target).replace(".", "_").isidentifier():
            # TorchScript takes no name that begins with a digit, as numbered weights in ONNX do
            name = free_name(module, "weight_" + re.sub(r"\W", "_", str(node.target)))
            set_value(module, name, value_of(module, node))
            node.target = name
    module.graph.set_codegen(fx.graph.CodeGen())  # plain arguments, a plain tuple of results
    module.recompile()
    with quiet_torch(), torch.no_grad():
        traced: torch.jit.ScriptModule = torch.jit.trace(
            module, network.example_inputs, check_trace=False, strict=False
        )
    return traced


def _settle(package: Path) -> None:
    """Write a package's parts so that the same network makes the same bytes.

    coremltools names the parts by chance and writes the maps of a program in any order.
    """
    from coremltools.proto import Model_pb2

    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    names = {
        old: str(uuid.uuid5(_MANIFEST, entry["path"])).upper()
        for old, entry in content["itemInfoEntries"].items()
    }
    content["itemInfoEntries"] = {
        names[old]: entry for old, entry in content["itemInfoEntries"].items()
    }
    content["rootModelIdentifier"] = names[content["rootModelIdentifier"]]
    manifest.write_text(json.dumps(content, indent=4, sort_keys=True))
    for part in package.rglob("*.mlmodel"):
        program = Model_pb2.Model.FromString(part.read_bytes())
        part.unlink()  # it is only its owner's to read
        part.write_bytes(program.SerializeToString(deterministic=True))

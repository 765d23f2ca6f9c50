"""Keras models -> operations, from the configuration that every model can tell.

A `.keras` file is a zip whose config.json names layers, their settings and how they are joined.
Only that is read: nothing is deserialised, so a lambda in it is never run, and the weights stay
packed. A model object tells the same configuration, and its weights besides.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from packlight.errors import BadInput
from packlight.weighing.formats import keras_layers as layers
from packlight.weighing.formats.operations import BITS, Datum, Listing, Operation, Weight

#: bytes that a config.json may have, unpacked; real ones have a few hundred thousand
CONFIG_LIMIT = 1 << 26
#: layers of a network, those of networks within it included
_LAYER_LIMIT = 100_000

_NETWORKS = ("Functional", "Model", "Sequential")
_DEPTH = 50
_ODD = (*(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),)
Kept = Mapping[str, Sequence[Weight]]  # layer path -> its weights


def read_file(path: Path, input_shapes: Mapping[str, tuple[int, ...]] | None) -> Listing:
    """List the layers of a `.keras` file.

    Raises:
        BadInput: it is none, is damaged, or unpacks to more than a configuration can have.
    """
    config = _config_in(path)
    return _listing(config, path.name, dict(input_shapes or {}), None)


def is_model(model: Any) -> bool:
    """Whether an object is a Keras model; Keras is not imported to find out."""
    return any(
        base.__module__.startswith("keras.") and base.__name__ == "Model"
        for base in type(model).__mro__
    )


def read_model(model: Any, input_shapes: Mapping[str, tuple[int, ...]] | None) -> Listing:
    """List the layers of a Keras model, of any backend.

    Raises:
        BadInput: the model's layers are joined by Python code, which no configuration tells.
    """
    try:
        config = json.loads(model.to_json())
    except Exception as problem:
        config = None
        reason = str(problem).partition("\n")[0]
    if not isinstance(config, dict) or config.get("class_name") not in _NETWORKS:
        why = "" if config else f" ({reason})"
        raise BadInput(
            f"the layers of {model.name} are joined by Python code{why}; give a Sequential or "
            "Functional model, or export the model to ONNX or TFLite and weigh that"
        )
    kept = dict(_weights_of(model, ""))
    return _listing(config, model.name, dict(input_shapes or {}), kept)


def _config_in(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("config.json")
            if member.file_size > CONFIG_LIMIT:
                raise BadInput(
                    f"config.json of {path.name} would unpack to {member.file_size:,} bytes; at "
                    f"most {CONFIG_LIMIT:,} are read"
                )
            with archive.open(member) as stream:
                text = stream.read(CONFIG_LIMIT + 1)
    except KeyError:
        raise BadInput(f"{path.name} holds no config.json, so it is no .keras file") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as problem:
        raise BadInput(
            f"{path.name} is no .keras file, or it is cut off or damaged ({problem})"
        ) from None
    except Exception as problem:  # zlib's, lzma's and struct's own
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{path.name} is damaged ({type(problem).__name__})") from None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise BadInput(f"config.json of {path.name} is no JSON object; the file is damaged")
    return config


def _weights_of(model: Any, prefix: str) -> Iterator[tuple[str, list[Weight]]]:
    """Each layer's weights under the path that the configuration gives it."""
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if hasattr(layer, "layers") and is_model(layer):
            yield from _weights_of(layer, f"{path}/")
            continue
        weights = []
        for number, variable in enumerate(layer.weights):
            if str(variable.dtype).startswith("uint32"):
                continue  # the state of a random generator
            shape = tuple(int(size) for size in variable.shape)
            bits = BITS.get(str(variable.dtype), 32)
            zeros = _zeros(variable)
            size = (prod(shape) * bits + 7) // 8
            weights.append(Weight(f"{path}.{number}", shape, size, zeros))
        yield path, weights


def _zeros(variable: Any) -> int:
    import numpy as np

    try:
        values = variable.numpy()
    except Exception:
        return 0  # a weight without numbers, as on torch's meta device
    return int(values.size - np.count_nonzero(values))


def _listing(
    config: dict[str, Any],
    name: str,
    input_shapes: dict[str, tuple[int, ...]],
    kept: Kept | None,
) -> Listing:
    reader = _Reader(name, input_shapes, kept)
    try:
        if config.get("class_name") not in _NETWORKS:
            raise BadInput(
                f"{name} is a {config.get('class_name')!r}, whose layers are joined by Python "
                "code; save a Sequential or Functional model, or export to ONNX or TFLite"
            )
        outputs = reader.network(config, None, "", 0)
    except _ODD as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(
            f"the configuration of {name} contradicts itself ({type(problem).__name__}: "
            f"{str(problem)[:100]}); the file is damaged"
        ) from problem
    notes = list(reader.notes)
    if kept is None:
        notes.append("the weights in the file are not looked at: zeros are not counted")
    return Listing(reader.values, reader.operations, reader.inputs, outputs, notes)


class _Reader:
    """What is known so far about the layers, visited in order."""

    def __init__(
        self, model: str, input_shapes: dict[str, tuple[int, ...]], kept: Kept | None
    ) -> None:
        self.model = model
        self.input_shapes = input_shapes
        self.kept = kept
        self.values: dict[str, Datum] = {}
        self.operations: list[Operation] = []
        self.inputs: list[str] = []
        self.notes: dict[str, None] = {}
        self._layers = 0

    def network(
        self, network: dict[str, Any], given: list[str] | None, prefix: str, depth: int
    ) -> list[str]:
        """Visit a network's layers; gives the names of its outputs."""
        if depth > _DEPTH:
            raise ValueError("networks are nested too deep")
        config = network["config"]
        if network["class_name"] == "Sequential":
            return self._chain(config, given, prefix, depth)
        return self._graph(config, given, prefix, depth)

    def _chain(
        self, config: dict[str, Any], given: list[str] | None, prefix: str, depth: int
    ) -> list[str]:
        entries = config["layers"]
        current = given
        if current is None and entries and entries[0]["class_name"] != "InputLayer":
            shape = config.get("build_input_shape") or entries[0]["config"].get("batch_input_shape")
            if shape is None and self.input_shapes:
                shape = next(iter(self.input_shapes.values()))
            if shape is None:
                raise BadInput(
                    f"{self.model} does not say the shape of its input; build it before saving, or "
                    "give the shape (on the command line: --input-shape)"
                )
            current = [self._input(f"{prefix}input", {"batch_shape": shape}, 0)]
        for number, entry in enumerate(entries):
            if entry["class_name"] == "InputLayer":
                if current is None:
                    current = [self._input(f"{prefix}{_name(entry)}", entry["config"], 0)]
                continue
            after = entries[number + 1] if number + 1 < len(entries) else {}
            said = (after.get("build_config") or {}).get("input_shape")
            current = self._layer(entry, current or [], prefix, 0, said, depth)
        return current or []

    def _graph(
        self, config: dict[str, Any], given: list[str] | None, prefix: str, depth: int
    ) -> list[str]:
        made: dict[tuple[str, int, int], str] = {}
        said: dict[tuple[str, int, int], Any] = {}
        waiting = []
        sources = [*_ends(config["input_layers"])]
        for entry in config["layers"]:
            if entry["class_name"] == "InputLayer":
                key = (_name(entry), 0, 0)
                if given is None:
                    made[key] = self._input(f"{prefix}{key[0]}", entry["config"], 0)
                elif key in sources:
                    made[key] = given[sources.index(key)]
                continue
            for index, call in enumerate(entry["inbound_nodes"]):
                found = [*_read_in(call, 0)]
                for source, shape in found:
                    said.setdefault(source, shape)
                waiting.append((entry, index, [source for source, _ in found]))
        while waiting:
            still = []
            for entry, index, reads in waiting:
                if not all(source in made for source in reads):
                    still.append((entry, index, reads))
                    continue
                key = (_name(entry), index, 0)
                names = self._layer(
                    entry, [made[source] for source in reads], prefix, index, said.get(key), depth
                )
                made |= {(*key[:2], place): name for place, name in enumerate(names)}
            if len(still) == len(waiting):
                raise ValueError(f"layer {_name(still[0][0])!r} reads what no layer makes")
            waiting = still
        return [made[key] for key in _ends(config["output_layers"])]

    def _input(self, name: str, config: dict[str, Any], index: int) -> str:
        batch, *sizes = config.get("batch_shape") or config["batch_input_shape"]
        wanted = self.input_shapes.get(name) or self.input_shapes.get("")
        if wanted is not None:
            if len(wanted) != len(sizes) + 1 or any(
                size is not None and size != given
                for size, given in zip(sizes, wanted[1:], strict=True)
            ):
                raise BadInput(
                    f"input {name!r} of {self.model} can not have the shape "
                    f"{'x'.join(map(str, wanted))}; the model says {batch, *sizes}"
                )
            sizes = list(wanted[1:])
        for axis, size in enumerate(sizes):
            if size is None:
                raise BadInput(
                    f"input {name!r} leaves dimension {axis + 1} open, and only the batch may "
                    "vary; give its shape (on the command line: --input-shape)"
                )
        if any(int(size) < 0 for size in sizes):
            raise ValueError(f"input {name!r} has the sizes {sizes}")
        self.values[name] = Datum(tuple(int(n) for n in sizes), str(config.get("dtype", "float32")))
        self.inputs.append(name)
        return name

    def _layer(
        self,
        entry: dict[str, Any],
        reads: list[str],
        prefix: str,
        index: int,
        said: Any,
        depth: int,
    ) -> list[str]:
        """One call of a layer; gives the names of what it makes."""
        kind, config, path = str(entry["class_name"]), entry["config"], f"{prefix}{_name(entry)}"
        self._layers += 1
        if self._layers > _LAYER_LIMIT:
            raise ValueError(f"it has more than {_LAYER_LIMIT:,} layers")
        if kind in _NETWORKS:
            inner = f"{path}/" if not index else f"{path}:{index}/"
            return self.network(entry, reads, inner, depth + 1)
        shapes = [self.values[name].shape or () for name in reads]
        foreign = bool(entry.get("registered_name")) and not str(
            entry.get("module", "")
        ).startswith("keras.")
        ours = not foreign and kind != "Lambda" and bool(shapes)
        shape = layers.shape_after(kind, config, shapes) if ours else None
        if shape is None and isinstance(said, (list, tuple)):
            shape = tuple(None if size is None else int(size) for size in said[1:])
        stored = layers.kept_by(kind, config, shapes, shape) if ours else None
        weights = self._weights(path, config, stored)
        for sizes in (shape or (), *(weight.shape for weight in weights)):
            if not all(size is None or (isinstance(size, int) and size >= 0) for size in sizes):
                raise ValueError(f"layer {path!r} has the sizes {sizes}")
        if stored is None:
            what = "holds Python code that is never run" if kind == "Lambda" else "is not known"
            counted = "its bytes are counted" if self.kept else "its weights are not counted"
            self.notes[f"layer {path} ({kind}) {what}: {counted}"] = None
        compute, _ = _policy(config)
        name = path if not index else f"{path}:{index}"
        shown = layers.last_channels(config, shape) if shape is not None else None
        self.values[name] = Datum(shape, compute, shown)
        activation = layers.activation_of(kind, config)
        joins = kind in layers.ACTIVATION_LAYERS
        role = "silent" if kind in layers.SILENT else "activation" if joins else "layer"
        if joins and activation in ("Softmax", "LogSoftmax"):
            role, joins = "layer", True
        self.operations.append(
            Operation(
                name=path,
                type=(activation or kind) if joins else layers.type_of(kind),
                reads=tuple(reads),
                writes=(name,),
                role=role if activation or not joins else "silent",
                weights=tuple(weights),
                parameters=layers.written_out(kind, [weight.shape for weight in weights]),
                macs=None if stored is None else stored.macs,
                activation="" if joins else activation,
                is_view=kind in ("Flatten", "Reshape", *layers.SILENT),
                overwrites=kind in layers.ELEMENTWISE,
            )
        )
        return [name]

    def _weights(
        self, path: str, config: dict[str, Any], stored: layers.Kept | None
    ) -> Sequence[Weight]:
        plain = path.partition(":")[0]
        if self.kept is not None:
            return self.kept.get(plain, ())
        _, dtype = _policy(config)
        found = []
        for number, shape in enumerate(stored.weights if stored else ()):
            kind = dtype if dtype != "int8" or (len(shape) > 1 and not number) else "float32"
            size = (prod(shape) * BITS.get(kind, 32) + 7) // 8
            if kind == "int8":
                size += 4 * shape[-1]  # a scale for each output
            found.append(Weight(f"{plain}.{number}", shape, size))
        return found


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("name") or entry["config"]["name"])


def _policy(config: dict[str, Any]) -> tuple[str, str]:
    """(type of the data, type of the weights) that a layer's dtype policy means."""
    given = config.get("dtype")
    if isinstance(given, dict):
        given = given.get("config", {}).get("name")
    name = str(given or "float32")
    if name.startswith("mixed_"):
        return name.removeprefix("mixed_"), "float32"
    if name.startswith("int8_from_"):
        compute = name.removeprefix("int8_from_").removeprefix("mixed_")
        return compute if compute in BITS else "float32", "int8"
    return (name, name) if name in BITS else ("float32", "float32")


def _ends(listed: Any) -> list[tuple[str, int, int]]:
    """[name, node, tensor], or a list or dict of such."""
    if isinstance(listed, dict):
        return [end for item in listed.values() for end in _ends(item)]
    if len(listed) == 3 and isinstance(listed[0], str) and isinstance(listed[1], int):
        return [(listed[0], listed[1], int(listed[2]))]
    return [end for item in listed for end in _ends(item)]


def _read_in(call: Any, depth: int) -> Iterator[tuple[tuple[str, int, int], Any]]:
    """Tensors among a call's arguments, with the shapes that are said there."""
    if depth > _DEPTH:
        raise ValueError("arguments are nested too deep")
    if isinstance(call, dict):
        if call.get("class_name") == "__keras_tensor__":
            name, node, tensor = call["config"]["keras_history"]
            yield (str(name), int(node), int(tensor)), call["config"].get("shape")
        else:
            for item in call.values():
                yield from _read_in(item, depth + 1)
    elif isinstance(call, (list, tuple)):
        older = len(call) in (3, 4) and isinstance(call[0], str) and isinstance(call[1], int)
        if older:  # [name, node, tensor, arguments], as Keras 2 wrote it
            yield (call[0], call[1], int(call[2])), None
            yield from _read_in(call[3:], depth + 1)
        else:
            for item in call:
                yield from _read_in(item, depth + 1)

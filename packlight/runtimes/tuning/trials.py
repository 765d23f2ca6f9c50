"""Layers in other forms, each timed in the network that it belongs to.

A trial is a file with one layer changed against the file without. Layers of the same shape share a
trial, and what it told is kept for the next network. The layers that were faster are then all
changed at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

import packlight
from packlight.judge import Interval
from packlight.runtimes.tuning import cache
from packlight.runtimes.tuning.choices import Choice, race
from packlight.runtimes.tuning.forms import FORMS, constant_weights
from packlight.runtimes.tuning.graph import Graph
from packlight.runtimes.tuning.machine import processor, runtime_version

AT_ONCE = 8  # files that take turns with the one without changes
GAIN = 0.995  # times as long that the network may take with a form; mixes are raced once more
CLEAR = 0.05  # width of an interval around 1 that is worth keeping for the next network


@dataclass(frozen=True)
class Trial:
    """One form of one kind of layer.

    Args:
        form: its name.
        layers: outputs of the nodes of that kind.
        ratio: of the network's time with the first of them changed to that without.
        cached: whether that was measured in an earlier run.
    """

    form: str
    layers: tuple[str, ...]
    ratio: Interval
    cached: bool

    @property
    def better(self) -> bool:
        return self.ratio.value < GAIN


def with_constant_weights(data: bytes) -> bytes | None:
    """The file with weights that no caller can replace; None where it has no others."""
    graph = _graph(data)
    return graph.data() if constant_weights(graph) else None


def with_forms(data: bytes, chosen: Sequence[tuple[str, str]]) -> bytes:
    """The file with layers in other forms: (form, layer), in order; what does not fit is left."""
    graph = _graph(data)
    for form, layer in chosen:
        node = graph.maker(layer)
        if node is not None:
            FORMS[form](graph, node)
    return graph.data()


def kinds(data: bytes) -> dict[str, list[tuple[str, str]]]:
    """Every form that fits a layer, by kind: a key in text -> (form, layer) of that kind."""
    shapes = _shapes(data)
    found: dict[str, list[tuple[str, str]]] = {}
    whole = _graph(data)
    for node in whole.nodes:
        for form, change in FORMS.items():
            if node.op_type not in _STARTS[form]:
                continue
            graph = _graph(data)
            own = graph.maker(node.output[0])
            if own is not None and change(graph, own):
                found.setdefault(_kind(form, node, whole, shapes), []).append(
                    (form, node.output[0])
                )
    return found


def tried(
    base: Choice,
    most: int,
    seconds: float,
    folder: Path,
    fits: Callable[[Choice], bool],
    told: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Time every form that fits a layer of an ONNX file.

    Args:
        base: the file as it is, with the settings to time with.
        most: processors.
        seconds: to measure, all trials together.
        folder: for the files to time.
        fits: whether answers are still right.
        told: called after each race.
    """
    data = base.path.read_bytes()
    trials, open_ones = [], []
    for kind, places in kinds(data).items():
        form, layers = places[0][0], tuple(layer for _, layer in places)
        key = {
            "packlight": packlight.__version__,  # forms may change
            "kind": kind,
            "processor": processor(),
            "runtime": runtime_version("onnx"),
            "threads": base.threads,
            "settings": dict(base.settings),
        }
        ratio = cache.recall(key)
        if ratio is not None:
            trials.append(Trial(form, layers, ratio, cached=True))
        else:
            open_ones.append((key, form, layers))
    for start in range(0, len(open_ones), AT_ONCE):
        batch = []
        for number, (key, form, layers) in enumerate(open_ones[start : start + AT_ONCE]):
            changed = ((form, layers[0]),)
            path = folder / f"trial{number}.onnx"
            path.write_bytes(with_forms(data, changed))
            choice = replace(base, path=path, forms=(*base.forms, *changed))
            if fits(choice):
                batch.append((key, form, layers, choice))
        share = seconds * max(len(batch), 1) / len(open_ones)
        ratios = race([base, *(one[3] for one in batch)], most, share).ratios[1:] if batch else ()
        for (key, form, layers, _), measured in zip(batch, ratios, strict=True):
            if measured is not None:
                if not measured.low < 1 < measured.high or measured.high - measured.low < CLEAR:
                    cache.keep(key, measured)
                trials.append(Trial(form, layers, measured, cached=False))
        told()
    return trials


def combined(base: Choice, trials: Sequence[Trial], folder: Path) -> Iterator[Choice]:
    """The file with every layer in its fastest form, and with the forms of each name alone."""
    data = base.path.read_bytes()
    best: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda one: one.ratio.value, reverse=True):
        if trial.better:
            best |= dict.fromkeys(trial.layers, trial)
    everything = [(trial.form, layer) for layer, trial in best.items()]
    mixes = [everything]
    names = sorted({form for form, _ in everything})
    if len(names) > 1:
        mixes += [[one for one in everything if one[0] == name] for name in names]
    for number, mix in enumerate(mixes):
        if mix:
            path = folder / f"mix{number}.onnx"
            path.write_bytes(with_forms(data, mix))
            yield replace(base, path=path, forms=(*base.forms, *mix))


_STARTS = {  # the operators that a form begins at
    "padded": ("Conv",),
    "pad": ("Pad",),
    "conv": ("Gemm",),
    "factored": ("Gemm",),
    "merged": ("Gemm",),
}


def _graph(data: bytes) -> Graph:
    model = onnx.ModelProto()
    model.ParseFromString(data)
    return Graph(model)


def _shapes(data: bytes) -> dict[str, list[int]]:
    """Sizes of values, 0 where open; none where onnx can not tell."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it raises its own kinds of errors for odd graphs
        return {}
    ports = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {port.name: [one.dim_value for one in port.type.tensor_type.shape.dim] for port in ports}


def _kind(form: str, node: Any, graph: Graph, shapes: dict[str, list[int]]) -> str:
    """A layer's operator, attributes, sizes and numbers' type, and what reads it."""
    sizes: list[Any] = []
    for name in node.input:
        weight = graph.constant(name)
        sizes.append(
            shapes.get(name) if weight is None else [str(weight.dtype), *map(int, weight.shape)]
        )
    attributes = {one.name: str(helper.get_attribute_value(one)) for one in node.attribute}
    readers = sorted(one.op_type for one in graph.users(node.output[0]))
    if form == "merged" and (then := graph.only_user(node.output[0])) is not None:
        weight = graph.constant(then.input[1])
        sizes.append(None if weight is None else list(weight.shape))
    if form == "factored":
        sizes.append(node.output[0])  # the rank is of this matrix alone
    if form == "pad":
        around = graph.constant(node.input[1]) if len(node.input) > 1 else None
        sizes.append(None if around is None else [int(one) for one in around])
    return json.dumps([form, node.op_type, sizes, attributes, readers], sort_keys=True)

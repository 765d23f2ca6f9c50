"""Where a student comes from: a recipe of the zoo with fresh weights, or a file that learns on.

A file's batch norms run on fixed statistics once torch has exported them. While it learns they are
batch norms again, over the samples of a batch; its other parameters learn from where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from packlight import readers
from packlight.data.inputs import layout_of
from packlight.errors import BadInput
from packlight.graph import aten, is_call, is_weight, value_of
from packlight.judge import find_task
from packlight.learning.pupils import Dress, Pupil
from packlight.learning.teachers import Teacher
from packlight.network import Network
from packlight.specs import TensorSpec
from packlight.zoo.recipes import Recipe

FILES = (".onnx", ".pt2")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # by the axes behind the channels
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
MOMENTUM = 0.1  # of a batch norm's statistics


@dataclass(frozen=True)
class Student:
    """A student before it learns.

    Args:
        pupil: dressed to take and answer as the teacher.
        name: of the recipe or the file, for messages.
        fresh: whether its weights are random.
    """

    pupil: Pupil
    name: str
    fresh: bool


def student_of(
    model: Any, teacher: Teacher, named: str, inputs: Sequence[Tensor], *, seed: int = 0
) -> Student:
    """Make a student for a teacher.

    Args:
        model: a recipe as `mobilenet_v2:0.35`, or whatever `packlight.load` reads.
        teacher: what it is to take and to answer.
        named: the teacher's name, for messages.
        inputs: some of the samples, as the teacher takes them.
        seed: of fresh weights.
    Raises:
        BadInput: no such recipe or file, or its inputs or outputs are not the teacher's.
    """
    if not isinstance(model, (str, Path)) or Path(model).suffix.lower() in FILES:
        network = readers.load(model)
        name = network.source.name if network.source else "the student given"
        return Student(_from_network(network, name, teacher, named, inputs), name, fresh=False)
    if Path(model).exists():
        raise BadInput(
            f"{model} can not be a student; give a recipe as mobilenet_v2:0.35, or an .onnx or "
            ".pt2 file"
        )
    recipe = Recipe.parse(str(model))
    return Student(_from_recipe(recipe, teacher, named, inputs, seed), str(recipe), fresh=True)


def _from_recipe(
    recipe: Recipe, teacher: Teacher, named: str, inputs: Sequence[Tensor], seed: int
) -> Pupil:
    specs = teacher.network.inputs
    layout = layout_of(specs[0]) if len(specs) == 1 else None
    if layout is None or specs[0].dtype != "float32" or not teacher.task.classifier:
        raise BadInput(
            f"{recipe} takes a picture and answers with a score per class, and {named} "
            f"{_described(teacher.network)}; give a student's file"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = (layout.channels, layout.height, layout.width)
        body = recipe.build(shape, teacher.task.classes)
    size = float(inputs[0].square().mean().sqrt())
    return Pupil(
        body,
        Dress(
            permutation=TO_FIRST if layout.last else None,
            scale=1 / size if size > 0 else 1.0,
            softmax=teacher.task.probabilities,
            shape=_answer_shape(teacher),
        ),
    )


def _from_network(
    network: Network, name: str, teacher: Teacher, named: str, inputs: Sequence[Tensor]
) -> Pupil:
    ours, theirs = network.inputs, teacher.network.inputs
    permutation = _permutation(ours, theirs)
    taken = [value.permute(permutation) for value in inputs] if permutation else list(inputs)
    if permutation is None and [_taken(one) for one in ours] != [_taken(one) for one in theirs]:
        raise BadInput(_unlike(name, network, named, teacher))
    if network.batch is not None:
        raise BadInput(
            f"{name} takes {network.batch} samples at a time; a student learns from many at once, "
            "so give one whose batch may vary"
        )
    with torch.no_grad():
        outputs = network(*taken)
        wanted = teacher.network(*_few(inputs, teacher.network.batch))
    classifier = teacher.task.classifier
    sizes = [[tuple(value.shape[1:]) for value in values] for values in (outputs, wanted)]
    if classifier:
        found = find_task([v.numpy() for v in taken], [v.numpy() for v in outputs], labelled=True)
        fits = found.classes == teacher.task.classes and sizes[0][1:] == sizes[1][1:]
    else:
        fits = sizes[0] == sizes[1]
    if not fits:
        raise BadInput(_unlike(name, network, named, teacher))
    body, cut = learnable(network, cut_softmax=classifier)
    if not any(value.requires_grad for value in body.parameters()):
        raise BadInput(f"{name} has no weights that can learn; give another student")
    return Pupil(
        body,
        Dress(
            permutation=permutation,
            classifier=classifier,
            probabilities=classifier and found.probabilities and not cut,
            softmax=teacher.task.probabilities,
            shape=_answer_shape(teacher) if classifier else (),
        ),
    )


def learnable(network: Network, *, cut_softmax: bool = False) -> tuple[fx.GraphModule, bool]:
    """A network's graph as a module that trains: its batch norms learn from the batch again.

    Args:
        network: left as it is.
        cut_softmax: leave out a softmax that the first output ends in.
    Returns:
        The module, and whether a softmax was left out.
    """
    copied = network.copy()
    module = copied.module
    end = copied.results()[0]
    cut = cut_softmax and is_call(end, aten.softmax, aten._softmax)
    if cut:
        end.replace_all_uses_with(end.args[0])
    for node in list(module.graph.nodes):
        if is_call(node, aten.view, aten._unsafe_view):
            node.target = aten.reshape.default  # in training, channels lie last in memory
        if is_call(node, aten.batch_norm) and all(map(is_weight, node.args[3:5])):
            _set_norm_free(module, node)
    module.graph.eliminate_dead_code()
    trains = fx.GraphModule(module, module.graph)  # what torch exports refuses to train
    for value in trains.parameters():
        value.requires_grad_(value.is_floating_point())
    return trains, cut


def _set_norm_free(module: fx.GraphModule, node: fx.Node) -> None:
    """A batch norm of fixed statistics becomes a module with statistics of its own."""
    x, gamma, beta, mean, var = node.args[:5]
    dimensions = x.meta["val"].ndim
    kind = NORMS[max(dimensions - 3, 0)]
    held = value_of(module, mean)
    norm = kind(len(held), float(node.args[7]), MOMENTUM)
    with torch.no_grad():
        for target, source in (
            *((norm.weight, gamma), (norm.bias, beta)),
            *((norm.running_mean, mean), (norm.running_var, var)),
        ):
            if source is not None:
                target.copy_(value_of(module, source))
    name = f"norm_{node.name}"
    module.add_submodule(name, norm)
    with module.graph.inserting_before(node):
        free = module.graph.call_module(name, (x,))
    free.meta = dict(node.meta)
    node.replace_all_uses_with(free)
    module.graph.erase_node(node)


def _permutation(
    ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec]
) -> tuple[int, ...] | None:
    """How the teacher's only picture becomes the student's, if their channels lie elsewhere."""
    if len(ours) != 1 or len(theirs) != 1 or ours[0].dtype != theirs[0].dtype:
        return None
    own, other = ours[0].sample_shape, theirs[0].sample_shape
    if len(own) != 3 or len(other) != 3 or own == other:
        return None
    for permutation in (TO_FIRST, TO_LAST):
        if own == tuple(other[axis - 1] for axis in permutation[1:]):
            return permutation
    return None


def _taken(spec: TensorSpec) -> tuple[Any, ...]:
    return (*spec.sample_shape, spec.dtype)


def _few(inputs: Sequence[Tensor], batch: int | None) -> list[Tensor]:
    return [value[torch.arange(batch or len(value)) % len(value)] for value in inputs]


def _answer_shape(teacher: Teacher) -> tuple[int, ...]:
    value = teacher.network.results()[0].meta["val"]
    return tuple(int(size) for size in value.shape[1:])


def _unlike(name: str, network: Network, named: str, teacher: Teacher) -> str:
    return (
        f"{name} {_described(network)}, and its teacher {named} {_described(teacher.network)}; "
        "give a student with the teacher's inputs and outputs"
    )


def _described(network: Network) -> str:
    made = [
        "x".join("N" if not isinstance(size, int) else str(size) for size in node.meta["val"].shape)
        for node in network.results()
    ]
    taken = ", ".join(str(spec) for spec in network.inputs)
    answers = (f"{n} [{s}]" for n, s in zip(network.output_names, made, strict=True))
    return f"takes {taken} and answers {', '.join(answers)}"

"""The one internal form: a trainable ATen graph with the names its file had.

Readers produce a Network, passes rewrite its `module`, runtimes write it to files. The graph is
what `torch.export` gives: calls of ATen operators (`aten.conv2d`, `aten.linear`, ...), parameters
as `get_attr` nodes under the names they had in the file, one placeholder per input. Every node
carries the shape and dtype of its value in `node.meta["val"]`; a batch that may vary is symbolic.
"""

from __future__ import annotations

import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from packlight.errors import BadInput
from packlight.specs import TensorSpec, batched_inputs

_LOUD = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")  # loggers
EXAMPLE_BATCH = 2  # torch.export takes a batch of 1 for a constant, so examples hold two samples


@dataclass(frozen=True)
class Network:
    """A neural network as a trainable graph.

    Args:
        module: the graph, with its parameters and buffers; calling it runs the network.
        example_inputs: one tensor per input; two samples where the batch may vary.
        input_names, output_names: as in the file, in the file's order.
        dynamic_batch: per input, whether its first dimension may vary.
        metadata: the file's own key-value pairs, carried along and never interpreted.
        notes: what the reader had to decide, in sentences for the user.
        source: the file it was read from, if it was.
    """

    module: fx.GraphModule
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_batch: tuple[bool, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: Path | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the graph: one tensor per input in, a tuple of one tensor per output out."""
        made = flat(self.module(*inputs))
        if torch.is_grad_enabled():
            return made
        # an output may be a stored tensor itself, which asks for gradients all the same
        return tuple(value.detach() for value in made)

    def __reduce__(self) -> tuple[Any, ...]:
        """What goes to other processes: the graph as `torch.export` saves it."""
        file = io.BytesIO()
        with quiet_torch():
            torch.export.save(self.exported(), file)
        saved = ("module", "example_inputs")
        others = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name not in saved
        }
        return _received, (file.getvalue(), others)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and dtype of every input, in order."""
        shapes = [
            tuple(
                None if dynamic and axis == 0 else int(size)
                for axis, size in enumerate(example.shape)
            )
            for example, dynamic in zip(self.example_inputs, self.dynamic_batch, strict=True)
        ]
        return tuple(
            TensorSpec(name, shape, _dtype(example), batched, None if shape else example.item())
            for name, shape, example, batched in zip(
                self.input_names, shapes, self.example_inputs, batched_inputs(shapes), strict=True
            )
        )

    @property
    def batch(self) -> int | None:
        """The number of samples a run takes; None where it may vary."""
        return None if any(self.dynamic_batch) else _batch_of(self.example_inputs)

    def placeholders(self) -> list[fx.Node]:
        """The graph's input nodes, in the order of `input_names`."""
        return [node for node in self.module.graph.nodes if node.op == "placeholder"]

    def results(self) -> list[fx.Node]:
        """The graph's nodes whose values are the outputs, in the order of `output_names`."""
        (output,) = [node for node in self.module.graph.nodes if node.op == "output"]
        return [
            node for node in torch.utils._pytree.tree_leaves(output.args[0]) if node is not None
        ]

    def copy(self) -> Network:
        """A Network whose graph and parameters can be changed without touching this one."""
        with quiet_torch():
            return replace(self, module=copy.deepcopy(self.module))

    def retraced(self, program: torch.export.ExportedProgram | None = None) -> Network:
        """The same network from a program made of it, by default traced anew."""
        return replace(self, module=_trainable(program or self.exported()))

    def refreshed(self) -> Network:
        """This network once its graph was rewritten in place: shapes fresh, dead parameters gone.

        The graph is checked and compiled. It takes the inputs that it took, so nothing is traced.
        """
        self.module.graph.lint()
        _without_the_unread(self.module)
        _Shapes(self.module).infer()
        return self

    def exported(self) -> torch.export.ExportedProgram:
        """This network as the `ExportedProgram` that official converters take."""
        return _export(self.module, self.example_inputs, self.dynamic_batch)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        example_inputs: Sequence[Tensor],
        *,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        dynamic_batch: Sequence[bool] | bool = True,
        metadata: dict[str, str] | None = None,
        notes: Sequence[str] = (),
        source: Path | None = None,
    ) -> Network:
        """Trace a module into a Network.

        Args:
            module: takes the example inputs as positional arguments and returns a tensor, or a
                tuple, list or dict of tensors. Traced in eval mode; its own mode is left alone.
            example_inputs: tensors the module can run on.
            input_names: default: the names of `forward`'s arguments.
            output_names: default: the keys of a returned dict, otherwise `output` or `output_0`...
            dynamic_batch: which inputs' first dimension may vary; where the module turns out to
                need a fixed batch, it is fixed to the example's and a note says so.
        Raises:
            BadInput: the module can not be traced; the reason is torch's own.
        """
        examples = tuple(example_inputs)
        if isinstance(dynamic_batch, bool):
            dynamic_batch = [dynamic_batch and value.ndim > 0 for value in examples]
        dynamic = tuple(dynamic_batch)
        notes = list(notes)
        was_training = module.training
        exported = isinstance(module, fx.GraphModule)  # traced in eval mode; it has no other
        if not exported:
            module.eval()
        try:
            if any(dynamic):
                try:
                    program = _export(module, _two_samples(examples, dynamic), dynamic)
                    examples = _two_samples(examples, dynamic)
                except Exception as problem:
                    logging.getLogger(__name__).debug("fixed batch: %s", problem)
                    dynamic = (False,) * len(examples)
                    program = _export(module, examples, dynamic)
                    notes.append(f"the batch is fixed to {_batch_of(examples)}: {_line(problem)}")
            else:
                program = _export(module, examples, dynamic)
        except BadInput:
            raise
        except Exception as problem:
            raise BadInput(f"the network can not be traced: {_line(problem)}") from problem
        finally:
            if not exported:
                module.train(was_training)
        signature = program.graph_signature
        graph = _trainable(program)
        count = len(signature.user_outputs)
        return cls(
            module=graph,
            example_inputs=examples,
            input_names=tuple(input_names or signature.user_inputs),
            output_names=tuple(output_names or _output_names(program, count)),
            dynamic_batch=dynamic,
            metadata=dict(metadata or {}),
            notes=tuple(notes),
            source=source,
        )


def _received(program: bytes, others: dict[str, Any]) -> Network:
    with quiet_torch():
        loaded = torch.export.load(io.BytesIO(program))
    return Network(_trainable(loaded), loaded.example_inputs[0], **others)


def flat(outputs: Any) -> tuple[Tensor, ...]:
    """What a module returned (a tensor, a tuple, a dict ...) as a tuple of tensors."""
    return tuple(torch.utils._pytree.tree_leaves(outputs))


def _export(
    module: nn.Module, examples: tuple[Tensor, ...], dynamic: tuple[bool, ...]
) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} if varies else None for varies in dynamic)
    # forward(*inputs) wants its shapes nested once more than forward(a, b)
    nested = tuple(inspect.signature(module.forward).bind(*shapes).arguments.values())
    with quiet_torch():
        return torch.export.export(module, examples, dynamic_shapes=nested, strict=False)


def _trainable(program: torch.export.ExportedProgram) -> fx.GraphModule:
    module = program.module(check_guards=False)
    _without_the_unread(module)
    return module


def _without_the_unread(module: fx.GraphModule) -> None:
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    module.recompile()


class _Shapes(FakeTensorProp):
    """The shape and dtype of every value of a graph, from those of its inputs."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._inputs = [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")]
        super().__init__(module, self._inputs[0].fake_mode if self._inputs else None)

    def infer(self) -> None:
        with torch.no_grad(), enable_python_dispatcher(), quiet_torch():
            self.propagate_dont_convert_inputs(*self._inputs)

    def fetch_attr(self, target: str) -> Any:
        value = super().fetch_attr(target)
        if not torch.is_tensor(value):
            return value
        return self._mode.from_tensor(value, static_shapes=True)


def _two_samples(examples: tuple[Tensor, ...], dynamic: tuple[bool, ...]) -> tuple[Tensor, ...]:
    return tuple(
        torch.cat([value[:1]] * EXAMPLE_BATCH) if varies and value.shape[0] == 1 else value
        for value, varies in zip(examples, dynamic, strict=True)
    )


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _batch_of(examples: tuple[Tensor, ...]) -> int:
    return next((int(value.shape[0]) for value in examples if value.ndim), 1)


def _output_names(program: torch.export.ExportedProgram, count: int) -> list[str]:
    context: Any = program.call_spec.out_spec.context if program.call_spec.out_spec else None
    if (
        isinstance(context, list)
        and len(context) == count
        and all(isinstance(key, str) for key in context)
    ):
        return context
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _line(problem: Exception) -> str:
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:300]


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep torch's own warnings and log lines off the user's terminal.

    Nor does it note where in the source each node of a graph came from, or copy at each step all
    that a node was made of before: nobody here reads that, and it takes a fifth of the time of
    tracing and lowering.
    """
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)  # what fails is raised as well
        with warnings.catch_warnings(), _without_stack_traces(), _without_copied_pasts():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    name = "do_not_emit_stack_traces"
    before = getattr(fx.config, name, None)
    if before is None:  # a torch that has no such setting
        yield
        return
    setattr(fx.config, name, True)
    try:
        yield
    finally:
        setattr(fx.config, name, before)


@contextmanager
def _without_copied_pasts() -> Iterator[None]:
    past: Any = getattr(fx.traceback, "NodeSource", None)
    if past is None or hasattr(past, "__deepcopy__"):  # another torch, or done already
        yield
        return
    past.__deepcopy__ = lambda self, _: self  # it is never changed
    try:
        yield
    finally:
        del past.__deepcopy__

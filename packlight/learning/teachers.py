"""The big network that teaches: its answers, and the features that its last layer reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx, nn

from packlight.graph import argument, aten, is_call, is_weight
from packlight.judge import Task
from packlight.network import Network
from packlight.shrink.recover import logits_of

LAYERS = (aten.linear, aten.addmm, aten.matmul, aten.mm, aten.conv1d, aten.conv2d, aten.convolution)


class Teacher:
    """A network that only answers.

    Args:
        network: fused; its inputs count samples along their first axes.
        task: what its outputs mean.
        features: whether it also gives what its last layer reads.
    """

    def __init__(self, network: Network, task: Task, *, features: bool = False) -> None:
        self.network = network.copy()
        self.network.module.to(memory_format=torch.channels_last)  # as batches have them
        self.task = task
        self.tap = Tap() if features else None
        if self.tap is not None:
            tap_graph(self.network.module, self.tap)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Its outputs and its features (n, width).

        Of a network that classifies, the first output is (n, classes) logits, up to a constant of
        every sample.
        """
        answers: list[tuple[Tensor, ...]] = []
        features: list[Tensor] = []
        with torch.no_grad():
            for part, count in _runs(inputs, self.network.batch):
                answers.append(tuple(value[:count] for value in self.network(*part)))
                if self.tap is not None:
                    features.append(pooled(self.tap.seen)[:count])
        outputs = tuple(torch.cat(parts) for parts in zip(*answers, strict=True))
        if self.task.classifier:
            outputs = (logits_of(outputs[0], self.task.probabilities), *outputs[1:])
        return outputs, torch.cat(features) if features else None


class Tap(nn.Module):
    """Hands on what comes, and keeps it."""

    seen: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x


def pooled(features: Tensor) -> Tensor:
    """(n, channels, ...) features, the mean over all positions: (n, channels)."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def tap_graph(module: fx.GraphModule, tap: nn.Module) -> bool:
    """Let what the last layer with weights reads pass through a tap; whether there is one."""
    layers = [
        node
        for node in module.graph.nodes
        if is_call(node, *LAYERS) and any(is_weight(source) for source in node.all_input_nodes)
    ]
    if not layers:
        return False
    last = layers[-1]
    read = argument(last, 1 if is_call(last, aten.addmm) else 0, "input")
    module.add_submodule("tap", tap)
    with module.graph.inserting_before(last):
        tapped = module.graph.call_module("tap", (read,))
    last.replace_input_with(read, tapped)
    module.recompile()
    return True


def _runs(inputs: Sequence[Tensor], size: int | None) -> Iterator[tuple[tuple[Tensor, ...], int]]:
    """Inputs in runs of a fixed number of samples, the last filled up with its first ones."""
    count = len(inputs[0])
    if size is None or size == count:
        yield tuple(inputs), count
        return
    for start in range(0, count, size):
        part = [value[start : start + size] for value in inputs]
        held = len(part[0])
        places = torch.arange(size) % held
        yield tuple(value[places] for value in part), held

"""What layers of a module multiply, by the formula on paper, and condensation filter by filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Kernel height x width x inputs of a group x outputs x positions, layer by layer.

    Args:
        module: on the meta device.
        shape: of one input, with the batch of 1.
    """
    counted = []

    def watch(layer: nn.Module, _: object, out: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            high, wide = layer.kernel_size
            _, outputs, rows, columns = out.shape
            inputs = layer.in_channels // layer.groups
            counted.append(high * wide * inputs * outputs * rows * columns)
        elif isinstance(layer, nn.Linear):
            counted.append(layer.in_features * layer.out_features)

    hooks = [layer.register_forward_hook(watch) for layer in module.modules()]
    module.eval()(torch.empty(*shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def kept_inputs(weight: Tensor, groups: int, condensation: int) -> list[list[int]]:
    """The inputs that each group still has after all stages, in ascending order.

    Args:
        weight: (outputs, inputs).
    """
    outputs, inputs = weight.shape
    per_group = outputs // groups
    kept = []
    for group in range(groups):
        left = list(range(inputs))
        for _ in range(condensation - 1):
            norms = {}
            for column in left:
                norms[column] = 0.0
                for row in range(group * per_group, (group + 1) * per_group):
                    norms[column] += abs(float(weight[row, column]))
            worst = sorted(left, key=lambda column: norms[column])[: inputs // condensation]
            left = [column for column in left if column not in worst]
        kept.append(left)
    return kept


def grouped(weight: Tensor, kept: list[list[int]], x: Tensor) -> Tensor:
    """A 1x1 convolution whose groups of filters read only the inputs they kept: (n, c, h, w)."""
    outputs = weight.shape[0]
    per_group = outputs // len(kept)
    out = torch.zeros(x.shape[0], outputs, *x.shape[2:])
    for row in range(outputs):
        for column in kept[row // per_group]:
            out[:, row] += weight[row, column] * x[:, column]
    return out

"""Batch norms whose statistics are those of all processes' samples.

torch's SyncBatchNorm does not run on CPUs. The mean is added up first and the variance around it
then, each by an all-reduce that hands gradients back, so that outputs and gradients are those of
one process with all of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Sum(torch.autograd.Function):
    """The sum of all processes' tensors; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class GlobalBatchNorm(_BatchNorm):
    """A batch norm over the samples of all processes, with another's own parameters and buffers.

    Args:
        plain: the batch norm that it stands in for.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, False, False)
        self.affine, self.track_running_stats = plain.affine, plain.track_running_stats
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self.train(plain.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = _Sum.apply(torch.tensor(float(x.numel() // x.shape[1])))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if not self.affine:
            return scaled
        return scaled * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        part = self.momentum
        if part is None:  # the average of all batches so far
            part = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any shape with the channels second."""


@contextmanager
def over_all_processes(module: nn.Module, processes: int) -> Iterator[None]:
    """While it lasts, a module's batch norms see the samples of all processes.

    Args:
        module: changed in place, and changed back.
        processes: with one, nothing is changed.
    """
    found = [
        (owner, name, child)
        for owner in module.modules()
        for name, child in owner.named_children()
        if isinstance(child, _PLAIN) and processes > 1
    ]
    try:
        for owner, name, child in found:
            setattr(owner, name, GlobalBatchNorm(child))
        yield
    finally:
        for owner, name, child in found:
            child.train(getattr(owner, name).training)
            setattr(owner, name, child)

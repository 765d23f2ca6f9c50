"""CondenseNet: dense connections, of which training keeps the ones that matter.

In a DenseNet every layer reads all earlier ones, mostly in vain. The 1x1 convolutions here learn
which inputs each group of their filters needs: in stages of the training, every group drops those
of its inputs with the smallest weights, until one in C is left. Every group then has equally many
inputs, so what is left is an ordinary group convolution behind a selection of channels.
Source: Huang et al., arXiv:1711.09224.

    network = condensenet()
    for step in range(steps):
        condense_step(network, step / steps)      # masks, by the schedule
        loss = criterion(network(images), labels) + 1e-5 * group_lasso(network)
        ...
    small = condensed(network)                    # the same answers, 1/C of those weights
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from math import lcm

import torch
from torch import Tensor, nn

from packlight.errors import BadInput
from packlight.zoo.blocks import ImageClassifier, channel_shuffle, image_shape, repeats

_BLOCKS, _GROWTH = (4, 6, 8, 10, 8), (8, 16, 32, 64, 128)  # by stage: layers, channels of each
_BOTTLENECK = 4  # a 1x1 convolution makes this many times the growth
_CONDENSING = 0.5  # share of the training in which inputs are dropped (sec. 3.2)


def condensenet(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    channels: int = 3,
    groups: int = 8,
    condensation: int = 8,
    blocks: Sequence[int] = _BLOCKS,
) -> ImageClassifier:
    """CondenseNet for ImageNet, to be trained; `condensed` makes the network that is shipped.

    Args:
        width: factor on the growth rates, which stay multiples of `groups` and `condensation`.
        depth: factor on `blocks`.
        resolution, channels: of the images.
        groups: G, of all convolutions but the first.
        condensation: C; 1/C of the inputs of every group are kept. Of the classifier's, a half.
        blocks: layers in each stage; images are halved between stages.
    Raises:
        BadInput: an argument is not possible.
    """
    shape = image_shape(resolution, classes, channels, width=width, depth=depth)
    if not 1 <= len(blocks) <= len(_GROWTH) or min(blocks) < 1:
        raise BadInput(f"blocks={blocks!r} is not possible; give 1 to {len(_GROWTH)} counts >= 1")
    if groups < 1 or condensation < 1:
        raise BadInput(f"groups={groups} and condensation={condensation} must be at least 1")
    unit = lcm(groups, condensation)
    growth = [unit * max(1, round(width * rate / unit)) for rate in _GROWTH]
    inputs = 2 * growth[0]
    layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, 2, 1, bias=False)]
    for stage, count in enumerate(blocks):
        if stage:
            layers.append(nn.AvgPool2d(2))
        for _ in range(repeats(count, depth)):
            layers.append(DenseLayer(inputs, growth[stage], groups, condensation))
            inputs += growth[stage]
    classifier = nn.Sequential(
        *(nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        LearnedGroupConv(inputs, classes, groups=1, condensation=2, bias=True),
        nn.Flatten(1),
    )
    return ImageClassifier(nn.Sequential(*layers), classifier, shape)


def condense_step(network: nn.Module, progress: float) -> None:
    """Bring all masks to where the schedule has them; call it before every step of training.

    The first half of the training has C - 1 stages of equal length. At the end of each, every
    group drops 1/C of its inputs; the second half trains what is left (sec. 3.2, fig. 4).

    Args:
        progress: share of the training that is done, 0 to 1.
    Raises:
        BadInput: `progress` is not such a share, or lies behind an earlier one.
    """
    if not 0 <= progress <= 1:
        raise BadInput(f"progress={progress!r} is not possible; give a share from 0 to 1")
    for layer in _learned(network):
        layer.drop_until(min(int(progress / _CONDENSING * layer.stages), layer.stages))


def group_lasso(network: nn.Module) -> Tensor:
    """The sum over groups and their inputs of the l2 norm of the weights between the two.

    Added to the loss it drives whole inputs of a group to zero, so that dropping them costs little
    (sec. 3.1, "group-level sparsity"; the paper multiplies it with 1e-5).
    """
    terms = [layer.lasso() for layer in _learned(network)]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def condensed(network: nn.Module) -> nn.Module:
    """A copy in which learned group convolutions are a selection and an ordinary group convolution.

    Raises:
        BadInput: a layer's masks have not come to the last stage.
    """
    done = copy.deepcopy(network)
    for name, layer in list(done.named_modules()):
        if not isinstance(layer, LearnedGroupConv):
            continue
        if layer.stage < layer.stages:
            raise BadInput(
                f"{name or 'the layer'} still has {layer.kept} of {layer.in_channels} inputs per "
                f"group, not {layer.in_channels // layer.condensation}; train on, or call "
                "condense_step(network, 1.0)"
            )
        if not name:
            return CondensedConv(layer)
        done.set_submodule(name, CondensedConv(layer))
    return done


class DenseLayer(nn.Module):
    """BN, ReLU, learned 1x1; shuffle; BN, ReLU, 3x3 in groups: joined to all that was before."""

    def __init__(self, inputs: int, growth: int, groups: int, condensation: int) -> None:
        super().__init__()
        narrow = _BOTTLENECK * growth
        self.groups = groups
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.select = LearnedGroupConv(inputs, narrow, groups, condensation)
        self.inner = nn.Sequential(nn.BatchNorm2d(narrow), nn.ReLU())
        self.conv = nn.Conv2d(narrow, growth, 3, padding=1, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        made = channel_shuffle(self.select(self.relu(self.norm(x))), self.groups)
        return torch.cat([x, self.conv(self.inner(made))], 1)


class LearnedGroupConv(nn.Conv2d):
    """A 1x1 convolution whose groups of filters drop inputs while it is trained.

    Args:
        inputs: channels read, a multiple of `condensation`.
        outputs: channels made, a multiple of `groups`; group g makes the g-th run of them.
        groups: G.
        condensation: C; each group ends with inputs / C inputs.
    Raises:
        BadInput: channels that do not divide so.
    """

    mask: Tensor

    def __init__(
        self, inputs: int, outputs: int, groups: int, condensation: int, bias: bool = False
    ) -> None:
        if inputs % condensation or outputs % groups:
            raise BadInput(
                f"{inputs} inputs do not divide by a condensation of {condensation}, or {outputs} "
                f"outputs by {groups} groups; choose channels that do"
            )
        super().__init__(inputs, outputs, 1, bias=bias)
        self.filter_groups = groups
        self.condensation = condensation
        self.register_buffer("mask", torch.ones(groups, inputs))  # 1: the group reads the input
        self.stage = 0

    @property
    def stages(self) -> int:
        """How often inputs are dropped in all."""
        return self.condensation - 1

    @property
    def kept(self) -> int:
        """Inputs that every group still has."""
        return self.in_channels // self.condensation * (self.condensation - self.stage)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self._filter_mask(), self.bias)

    def drop_until(self, stage: int) -> None:
        """Drop inputs, those whose weights in the group have the smallest l1 norm, up to a stage.

        Dropped inputs stay dropped, whatever became of their weights since.

        Raises:
            BadInput: `stage` was passed already.
        """
        if stage < self.stage:
            raise BadInput(f"stage {stage} lies behind stage {self.stage}; masks never grow again")
        while self.stage < stage:
            self.stage += 1
            norms = self._by_group().abs().sum(1).masked_fill(self.mask == 0, -1.0)
            best = norms.topk(self.kept, dim=1).indices
            self.mask.zero_().scatter_(1, best, 1.0)

    def get_extra_state(self) -> int:
        """The stage, which a checkpoint has to hold beside the mask."""
        return self.stage

    def set_extra_state(self, state: int) -> None:
        self.stage = state

    def lasso(self) -> Tensor:
        """The group lasso of this layer, over inputs that are not dropped."""
        squares = self._by_group().square().sum(1)
        # the root has no slope at zero
        return (squares + 1e-12).sqrt().mul(self.mask).sum()

    def _by_group(self) -> Tensor:
        """The weights as (groups, filters of a group, inputs)."""
        return self.weight.view(self.filter_groups, -1, self.in_channels)

    def _filter_mask(self) -> Tensor:
        """The mask in the weight's shape."""
        filters = self.out_channels // self.filter_groups
        return self.mask.repeat_interleave(filters, 0)[:, :, None, None]


class CondensedConv(nn.Module):
    """What a `LearnedGroupConv` became: group by group the inputs it kept, then the convolution.

    With G groups and a condensation of C, G / C times the inputs are selected: some may be twice.
    """

    index: Tensor

    def __init__(self, learned: LearnedGroupConv) -> None:
        super().__init__()
        groups, kept = learned.filter_groups, learned.kept
        weight = learned.weight
        # the places of the ones in each row, in order; it runs without values too
        index = learned.mask.topk(kept, dim=1).indices.sort(1).values
        self.register_buffer("index", index.reshape(-1))
        self.conv = nn.Conv2d(
            groups * kept,
            learned.out_channels,
            1,
            groups=groups,
            bias=learned.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        rows = index.repeat_interleave(learned.out_channels // groups, 0)
        with torch.no_grad():
            self.conv.weight.copy_(weight[:, :, 0, 0].gather(1, rows)[:, :, None, None])
            if learned.bias is not None:
                self.conv.bias.copy_(learned.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.index_select(1, self.index))


def _learned(network: nn.Module) -> Iterator[LearnedGroupConv]:
    return (layer for layer in network.modules() if isinstance(layer, LearnedGroupConv))

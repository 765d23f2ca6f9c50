"""What a network of the zoo weighs, found without allocating its weights.

Modules are made on torch's meta device, where tensors have shapes and no values, and are weighed as
any other network. They are weighed as they ship: batch norms folded into the convolutions before
them, learned group convolutions condensed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from packlight import zoo
from packlight.errors import BadInput
from packlight.network import Network
from packlight.weighing.memory import memory_of
from packlight.weighing.program import program_of
from packlight.weighing.table import FLOAT32
from packlight.weighing.walk import rows_of
from packlight.zoo.published import PUBLISHED, Published

SECONDS = 0.2  # for the search of a better plan of memory
_PER_CHANNEL = 8  # bytes: a float32 scale and an int32 bias for every output channel


@dataclass(frozen=True)
class Measured:
    """One row of the table.

    Args:
        published: which network, and its accuracy.
        input_shape: channels, height, width.
        parameters: trainable ones, batch norms as they are trained.
        macs: of one image.
        fp32_bytes: of those parameters.
        int8_bytes: kernels in int8, a scale and a bias per output channel, batch norms folded.
        peak_bytes: of the images and activations of one run in float32, by the best plan of memory
            found; in int8 a quarter.
    """

    published: Published
    input_shape: tuple[int, int, int]
    parameters: int
    macs: int
    fp32_bytes: int
    int8_bytes: int
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        values = asdict(self)
        return {**values.pop("published"), **values, "input_shape": list(self.input_shape)}


def chosen(names: Sequence[str]) -> tuple[Published, ...]:
    """The networks of these names, in the table's order; all of them without names.

    Raises:
        BadInput: a name that the table does not have.
    """
    known = [one.name for one in PUBLISHED]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, cutoff=0.5) or known
            raise BadInput(
                f"there is no {name!r} in the zoo; did you mean {' or '.join(near)}?"
                if near != known
                else f"there is no {name!r} in the zoo; there are {', '.join(known)}"
            )
    return tuple(one for one in PUBLISHED if not names or one.name in names)


def measure(one: Published) -> Measured:
    """Build a network without values, and weigh it."""
    with torch.device("meta"):
        module = getattr(zoo, one.function or one.name)(**one.arguments)
        zoo.condense_step(module, 1.0)
        module = zoo.condensed(module).eval()
    parameters = sum(value.numel() for value in module.parameters())
    fold(module)
    image = torch.empty(1, *module.input_shape, device="meta")
    network = Network.from_module(module, (image,), dynamic_batch=False)
    rows, _ = rows_of(network)
    return Measured(
        published=one,
        input_shape=module.input_shape,
        parameters=parameters,
        macs=sum(row.macs for row in rows),
        fp32_bytes=FLOAT32 * parameters,
        int8_bytes=int8_bytes(module),
        peak_bytes=memory_of(program_of(network), seconds=SECONDS).peak,
    )


def fold(module: nn.Module) -> None:
    """Take out batch norms that stand behind a convolution, which gets a bias; values are void."""
    for parent in list(module.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for place in range(1, len(parent)):
            before = parent[place - 1]
            if isinstance(before, nn.Conv2d) and isinstance(parent[place], nn.BatchNorm2d):
                parent[place] = nn.Identity()
                if before.bias is None:
                    before.bias = nn.Parameter(_void(before.out_channels))


def _void(size: int) -> Tensor:
    return torch.empty(size, device="meta")


def int8_bytes(module: nn.Module) -> int:
    """Of a folded network; batch norms that are left keep a factor and an offset in float32."""
    total = 0
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            total += layer.weight.numel() + _PER_CHANNEL * layer.weight.shape[0]
        elif isinstance(layer, nn.BatchNorm2d):
            total += 2 * FLOAT32 * layer.num_features
    return total

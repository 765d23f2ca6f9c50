"""ExecuTorch's own static int8: torchao's PT2E with XNNPACKQuantizer, lowered as its guide says.

Source: ExecuTorch's documentation, "XNNPACK Backend: Quantization".
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from packlight.network import Network, quiet_torch
from packlight.runtimes.lowering import with_one_sample


def write(network: Network, samples: Iterable[tuple[Tensor, ...]], path: Path) -> None:
    """Quantise a network of floats and write it for ExecuTorch.

    Args:
        network: as loaded.
        samples: to calibrate on, one at a time.
        path: of the .pte file.
    """
    with quiet_torch():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from executorch.exir import to_edge_transform_and_lower
        from torch.export import export
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        alone = with_one_sample(network)
        quantizer = XNNPACKQuantizer()
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
        watched = prepare_pt2e(alone.exported().module(), quantizer)
        for sample in samples:
            watched(*sample)
        program = export(convert_pt2e(watched), alone.example_inputs)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

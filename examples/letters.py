"""Train a letter recogniser, fit it to a tenth of its size, and check it.

python examples/letters.py
"""

import torch

import packlight
from packlight.demo import train
from packlight.letters import render

network = train()  # any torch.nn.Module, ONNX file or .pt2 will do
photographs = render(5000, seed=7)  # images and labels; the labels only measure

result = packlight.fit(
    network,
    photographs,
    target_size="28KB",
    example_inputs=[torch.zeros(1, 1, 32, 32)],
    out="letters-fitted",
)
accuracy = result.report["accuracy"]
print(
    f"{result.packed}: {result.packed.stat().st_size} bytes, "
    f"{accuracy['compressed']['top1']:.2%} right (was {accuracy['original']['top1']:.2%}) "
    f"on {accuracy['n']} photographs that nothing was fitted on"
)

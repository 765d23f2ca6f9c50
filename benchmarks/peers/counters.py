"""Parameters and multiply-adds of networks, as another tool counts them.

    python counters.py TOOL NETWORK...

A network is an .onnx file, or for tools that watch modules the name of one in packlight.zoo, which
is then imported beside the tool. Prints a JSON list with a row per network: `parameters`, `macs`
and `products`, those of convolutions and matrix products alone; or `failed`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any

INPUTS = {"lenet5": (1, 1, 28, 28)}  # of modules; the others take photographs
PHOTOGRAPH = (1, 3, 224, 224)


def main() -> None:
    """Count, print."""
    count = TOOLS[sys.argv[1]]
    rows = []
    for network in sys.argv[2:]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                rows.append(count(network))
        except Exception as problem:  # whatever a tool throws is its result
            rows.append({"failed": f"{type(problem).__name__}: {problem}".splitlines()[0][:200]})
    print(json.dumps(rows))


def _onnx_tool(path: str) -> dict[str, Any]:
    import numpy as np
    import onnx
    import onnx_tool

    model = onnx.load(path)
    held = {value.name for value in model.graph.initializer}
    inputs = {
        value.name: np.zeros([size.dim_value or 1 for size in value.type.tensor_type.shape.dim])
        for value in model.graph.input
        if value.name not in held
    }
    graph = onnx_tool.Model(path, {"verbose": False}).graph
    graph.shape_infer({name: value.astype(np.float32) for name, value in inputs.items()})
    graph.profile()
    products = [
        n.macs[0] for n in graph.nodemap.values() if n.op_type in ("Conv", "Gemm", "MatMul")
    ]
    return {
        "parameters": int(graph.params),
        "macs": int(graph.macs[0]),
        "products": int(sum(products)),
    }


def _torchinfo(name: str) -> dict[str, Any]:
    from torchinfo import summary

    module, example = _module(name)
    found = summary(module, input_data=[example], verbose=0)
    layers = [layer for layer in found.summary_list if layer.is_leaf_layer]
    products = [layer.macs for layer in layers if layer.class_name in ("Conv2d", "Linear")]
    return {
        "parameters": found.total_params,
        "macs": found.total_mult_adds,
        "products": sum(products),
    }


def _fvcore(name: str) -> dict[str, Any]:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    module, example = _module(name)
    found = FlopCountAnalysis(module, example)
    found.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = found.by_operator()
    return {
        "parameters": parameter_count(module)[""],
        "macs": int(found.total()),
        "products": int(sum(by_operator[each] for each in ("conv", "linear", "matmul"))),
    }


def _module(name: str) -> tuple[Any, Any]:
    import torch

    from packlight import zoo

    return getattr(zoo, name)().eval(), torch.zeros(INPUTS.get(name, PHOTOGRAPH))


TOOLS: dict[str, Callable[[str], dict[str, Any]]] = {
    "onnx-tool": _onnx_tool,
    "torchinfo": _torchinfo,
    "fvcore": _fvcore,
}

if __name__ == "__main__":
    main()

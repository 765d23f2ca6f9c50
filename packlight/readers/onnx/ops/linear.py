"""Matrix products.

A constant matrix becomes the weight of `aten.linear`, also where the file stores it the other way
round: the transposition is a node of the graph that constant folding removes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from packlight.readers.onnx.graph import Node
from packlight.readers.onnx.registry import op
from packlight.readers.onnx.values import Known, Value, as_tensor, is_integer


@op("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha A' B' + beta C, where ' may transpose."""
    if a.ndim != 2 or b.ndim != 2:
        raise node.bad(f"its matrices have {a.ndim} and {b.ndim} dimensions")
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if not (a.is_floating_point() and b.is_floating_point()):
        product = (a.t() if node.get("transA") else a) @ (b.t() if node.get("transB") else b)
        return product if c is None else product + c
    if node.get("transA"):
        a = a.t()
    weight = b if node.get("transB") else b.t()
    if alpha != 1.0:
        weight = weight * alpha
    if c is None or beta == 0.0:
        return F.linear(a, weight)
    if beta != 1.0:
        c = c * beta
    outputs = b.shape[0] if node.get("transB") else b.shape[1]
    row = c.ndim == 1 or (c.ndim == 2 and is_integer(c.shape[0]) and c.shape[0] == 1)
    if row and c.shape[-1] == outputs:
        return F.linear(a, weight, c if c.ndim == 1 else c.reshape(-1))
    return F.linear(a, weight) + c


@op("MatMul", raw=[1])
def matmul(node: Node, a: Tensor, b: Value) -> Tensor:
    """Matrix product with numpy's broadcasting."""
    matrix = as_tensor(b)
    if isinstance(b, Known) and matrix.ndim == 2 and matrix.is_floating_point():
        return F.linear(a, matrix.t())
    return torch.matmul(a, matrix)


@op("Einsum")
def einsum(node: Node, *operands: Tensor) -> Tensor:
    """Einstein summation."""
    return torch.einsum(node.get("equation").replace(" ", ""), list(operands))


@op("MatMulInteger")
def matmul_integer(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """Product of integers, summed in 32 bits; float64 holds such sums exactly."""
    left, right = a.double(), b.double()
    if a_zero is not None:
        zero = a_zero.double()
        left = left - (zero.unsqueeze(-1) if zero.ndim else zero)
    if b_zero is not None:
        zero = b_zero.double()
        right = right - (zero.unsqueeze(-2) if zero.ndim else zero)
    return torch.matmul(left, right).to(torch.int32)


@op("Det")
def det(node: Node, x: Tensor) -> Tensor:
    """Determinant."""
    return torch.linalg.det(x)

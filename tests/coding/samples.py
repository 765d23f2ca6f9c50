"""Small model files of every kind that an opener knows, made here."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "float16", "float32"]


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def weights(shape, dtype="float32", seed=0):
    """Numbers distributed as weights are: scales by row and column, correlated taps."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape)
    for axis in range(min(2, len(shape))):
        ones = [1] * len(shape)
        ones[axis] = shape[axis]
        values = values * np.exp(generator.normal(size=ones) * 0.5)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return (values * 0.05).astype(dtype)
    limits = np.iinfo(dtype)
    centre = 0 if limits.min else (limits.max + 1) // 2
    reach = min(limits.max, 127)
    scaled = values / np.abs(values).max() * reach + centre
    return np.clip(np.round(scaled), limits.min, limits.max).astype(dtype)


def palette(shape, count=16, seed=0):
    """Floats of few distinct values."""
    generator = np.random.default_rng(seed)
    table = np.sort(generator.normal(size=count)).astype(np.float32)
    places = generator.choice(count, size=shape, p=generator.dirichlet(np.ones(count)))
    return table[places]


def onnx_model(tensors, in_subgraph=(), as_floats=()) -> bytes:
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    for name, value in dict(as_floats).items():
        initializers.append(
            helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.ravel().tolist())
        )
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    if in_subgraph:
        inner = [numpy_helper.from_array(value, name) for name, value in dict(in_subgraph).items()]
        output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        body = helper.make_graph([], "branch", [], [output], inner)
        nodes.append(
            helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body, name="if")
        )
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "g", [value], [result], initializers)
    return helper.make_model(graph).SerializeToString()


def external_onnx(folder, tensors) -> None:
    model = onnx.load_from_string(onnx_model(tensors))
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )


def safetensors(tensors) -> bytes:
    names = {"float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8", "int16": "I16"}
    header, body = {}, b""
    for name, value in tensors.items():
        data = value.tobytes()
        header[name] = {
            "dtype": names[str(value.dtype)],
            "shape": value.shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def gguf(tensors) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    kinds = {"float32": 0, "float16": 1, "int8": 24}
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3)
    out += text("general.name") + struct.pack("<I", 8) + text("tiny")
    out += text("general.alignment") + struct.pack("<II", 4, 64)
    out += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    body = b""
    for name, value in tensors.items():
        body += bytes(-len(body) % 64)
        shape = tuple(reversed(value.shape))
        out += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        out += struct.pack("<IQ", kinds[str(value.dtype)], len(body))
        body += value.tobytes()
    return out + bytes(-len(out) % 64) + body


def torch_zip(tensors) -> bytes:
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, file)
    return file.getvalue()

"""Small model files of every kind that an opener knows, made here."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.reference.trellis import levels_of

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


def gguf(tensors, blocks=()) -> bytes:
    """A GGUF file; `blocks` are Q8_0: rows x blocks x 34 bytes."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    kinds = {"float32": 0, "float16": 1, "int8": 24}
    blocks = dict(blocks)
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors) + len(blocks), 3)
    out += text("general.name") + struct.pack("<I", 8) + text("tiny")
    out += text("general.alignment") + struct.pack("<II", 4, 64)
    out += text("words") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    body = b""
    for name, value in (tensors | blocks).items():
        body += bytes(-len(body) % 64)
        shape = tuple(reversed(value.shape))
        if name in blocks:
            shape = 32 * shape[1], shape[2]
        out += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        kind = 8 if name in blocks else kinds[str(value.dtype)]
        out += struct.pack("<IQ", kind, len(body))
        body += value.tobytes()
    return out + bytes(-len(out) % 64) + body


def torch_zip(tensors) -> bytes:
    file = io.BytesIO()
    torch.save({name: torch.as_tensor(value) for name, value in tensors.items()}, file)
    return file.getvalue()


def torch_exported(tensors) -> bytes:
    """The members of torch.export.save's archive that hold weights."""
    kinds = {"float32": 7, "float16": 6, "int8": 2}
    entries, file = {}, io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for place, (name, value) in enumerate(tensors.items()):
            archive.writestr(f"net/data/weights/weight_{place}", value.tobytes())
            steps = [n // value.itemsize for n in value.strides]
            sizes, strides = ([{"as_int": n} for n in numbers] for numbers in (value.shape, steps))
            meta = {"dtype": kinds[str(value.dtype)], "sizes": sizes, "strides": strides}
            meta["storage_offset"] = {"as_int": 0}
            entry = {"path_name": f"weight_{place}", "use_pickle": False, "tensor_meta": meta}
            entries[name] = entry
        text = json.dumps({"config": entries})
        archive.writestr("net/data/weights/model_weights_config.json", text)
        archive.writestr("net/data/sample_inputs/model.pt", torch_zip({"input": np.ones((3, 5))}))
    return file.getvalue()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def proto(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message of numbers, texts and messages."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(content)) + content
    return out


def coreml_weights(tensors) -> bytes:
    """A weight.bin as coremltools' MILBlob writer lays it out."""
    kinds = {"float16": 1, "float32": 2, "uint8": 3, "int8": 4}
    out = struct.pack("<II56x", len(tensors), 2)
    for value in tensors.values():
        out += bytes(-len(out) % 64)
        record = kinds[str(value.dtype)], value.nbytes, len(out) + 64
        out += struct.pack("<IIQQ40x", 0xDEADBEEF, *record) + value.tobytes()
    return out


def _coreml_type(kind: int, shape) -> bytes:
    dimensions = [(3, proto((1, proto((1, length))))) for length in shape]
    return proto((1, proto((1, kind), (2, len(shape)), *dimensions)))


def coreml_program(tensors, flat=()) -> bytes:
    """An .mlmodel whose program names the blobs of `coreml_weights(tensors)`.

    Those in `flat` are a palette's indices: without a shape, which only the result has.
    """
    kinds = {"float16": 10, "float32": 11, "uint8": 31, "int8": 21}
    operations = []
    at = 64
    for name, value in tensors.items():
        kind = kinds[str(value.dtype)]
        listed = (value.size,) if name in flat else value.shape
        blob = proto((1, "@model_path/weights/weight.bin"), (2, at))
        held = proto((1, "val"), (2, proto((2, _coreml_type(kind, listed)), (5, blob))))
        result = proto((1, name), (2, _coreml_type(kind, value.shape)))
        operations.append((3, proto((1, "const"), (3, result), (5, held))))
        at = -(-(at + 64 + value.nbytes) // 64) * 64
    block = proto((1, "CoreML6"), (2, proto(*operations)))
    function = proto((1, "main"), (2, proto((2, "CoreML6"), (3, block))))
    return proto((1, 7), (2, proto((1, proto((1, "x"))))), (502, proto((1, 1), (2, function))))


def coreml_package(folder, tensors, **options) -> None:
    """An .mlpackage without its manifest."""
    inside = folder / "Data" / "com.apple.CoreML"
    (inside / "weights").mkdir(parents=True)
    (inside / "weights" / "weight.bin").write_bytes(coreml_weights(tensors))
    (inside / "model.mlmodel").write_bytes(coreml_program(tensors, **options))


def coreml_text(tensors) -> bytes:
    """A compiled model's model.mil that names the blobs of `coreml_weights(tensors)`."""
    kinds = {"float16": "fp16", "float32": "fp32", "uint8": "uint8", "int8": "int8"}
    lines = []
    at = 64
    for name, value in tensors.items():
        kind = f"tensor<{kinds[str(value.dtype)]}, {list(value.shape)}>"
        file = 'tensor<string, []>("@model_path/weights/weight.bin")'
        blob = f"BLOBFILE(path = {file}, offset = tensor<uint64, []>({at}))"
        text = f'tensor<string, []>("{name}")'
        lines.append(f"{kind} {name} = const()[name = {text}, val = {kind}({blob})];")
        at = -(-(at + 64 + value.nbytes) // 64) * 64
    return "\n".join(["program(1.0)", "{", *lines, "}"]).encode()


def coreml_network(convolution, product, half=False) -> bytes:
    """An .mlmodel of specification 1 that holds its weights."""

    def weights(value) -> bytes:
        if half:
            return proto((2, value.astype("float16").tobytes()))
        return proto((1, value.astype("float32").tobytes()))

    rows, channels, *taps = convolution.shape
    kernel = b"".join(map(_varint, taps))
    first = proto((1, rows), (2, channels), (10, 1), (20, kernel), (90, weights(convolution)))
    outputs, inputs = product.shape
    second = proto((1, inputs), (2, outputs), (20, weights(product)))
    layers = proto((1, "conv"), (2, "x"), (100, first)), proto((1, "linear"), (140, second))
    return proto((1, 1), (2, b""), (500, proto(*((1, layer) for layer in layers))))


def flatbuffer(table, identifier: bytes, header: bytes = b"") -> bytes:
    """A flatbuffer of tables by field number.

    A field is a table (dict), a vector of tables (list), of bytes (bytes, str) or of numbers
    (type, list), or a number (type, number).
    """
    out = bytearray(4) + identifier + header

    def align(width: int) -> None:
        out.extend(bytes(-len(out) % width))

    def write(value) -> int:
        """Where the content begins that an offset leads to."""
        if isinstance(value, dict):
            return write_table(value)
        align(4)
        if isinstance(value, list):
            at = len(out)
            out.extend(struct.pack("<I", len(value)) + bytes(4 * len(value)))
            for place, entry in enumerate(value):
                refer(at + 4 + 4 * place, entry)
            return at
        content = value.encode() if isinstance(value, str) else value
        items = len(content)
        if isinstance(content, tuple):
            kind, numbers = content
            items, content = len(numbers), struct.pack(f"<{len(numbers)}{kind}", *numbers)
        out.extend(bytes(-(len(out) + 4) % 16))
        out.extend(struct.pack("<I", items) + content)
        return len(out) - len(content) - 4

    def write_table(fields: dict) -> int:
        count = max(fields, default=-1) + 1
        align(2)
        vtable = len(out)
        out.extend(bytes(4 + 2 * count))
        align(8)
        at = len(out)
        out.extend(struct.pack("<i", at - vtable))
        later = []
        for number, value in fields.items():
            scalar = isinstance(value, tuple) and not isinstance(value[1], list)
            content = struct.pack("<" + value[0], value[1]) if scalar else bytes(4)
            align(len(content))
            struct.pack_into("<H", out, vtable + 4 + 2 * number, len(out) - at)
            if not scalar:
                later.append((len(out), value))
            out.extend(content)
        struct.pack_into("<HH", out, vtable, 4 + 2 * count, len(out) - at)
        for place, value in later:
            refer(place, value)
        return at

    def refer(place: int, value) -> None:
        struct.pack_into("<I", out, place, write(value) - place)

    refer(0, table)
    return bytes(out)


_EXECUTORCH_TYPES = {"uint8": 0, "int8": 1, "float16": 5, "float32": 6}


def executorch(tensors, named=(), delegates=(), inline=False) -> bytes:
    """A .pte with constants, data under names, and XNNPACK's programs as delegates.

    Those named "last" lie with their channels last.
    """
    values = [{0: ("B", 2), 1: {0: ("q", 7)}}]
    constants, offsets = bytes(16), [0]
    for number, (name, value) in enumerate(tensors.items(), 1):
        order = (0, 2, 3, 1) if name == "last" else range(value.ndim)
        tensor = {0: ("b", _EXECUTORCH_TYPES[str(value.dtype)]), 5: ("I", number), 9: {1: name}}
        tensor |= {2: ("i", list(value.shape)), 3: ("B", list(order))}
        values.append({0: ("B", 5), 1: tensor})
        offsets.append(len(constants))
        constants += value.transpose(order).tobytes()
        constants += bytes(-len(constants) % 16)
    parts = [constants, *dict(named).values(), *([] if inline else delegates)]
    segments, at = [], 0
    for part in parts:
        segments.append({0: ("Q", at), 1: ("Q", len(part))})
        at += len(part) + -len(part) % 128
    first = 0 if inline else len(parts) - len(delegates)
    held = [{1: {0: ("b", not inline), 1: ("I", first + i)}} for i in range(len(delegates))]
    program = {
        **{0: ("I", 0), 1: [{0: "forward", 2: values, 7: held}], 4: segments},
        5: {0: ("I", 0), 1: ("Q", offsets)},
        7: [{0: key, 1: ("I", place)} for place, key in enumerate(dict(named), 1)],
    }
    if inline:
        program[3] = [{0: delegate} for delegate in delegates]
    size = len(flatbuffer(program, b"ET12", bytes(32)))
    base = size + -size % 128
    header = b"eh00" + struct.pack("<IQQQ", 32, size, base, at)
    parts.insert(0, flatbuffer(program, b"ET12", header))
    return b"".join(part + bytes(-len(part) % 128) for part in parts)


def xnnpack(tensors, scales=(), keys=()) -> bytes:
    """A program of XNNPACK; constants lie behind it, or as named data if they have keys."""
    kinds = {"float32": 1, "float16": 2, "int8": 6}
    constants, entries, values = b"", [{0: ("Q", 0)}], []
    for name, value in (dict(tensors) | dict(scales)).items():
        if name in keys:
            entries.append({0: ("Q", (1 << 64) - 1), 1: ("Q", value.nbytes), 2: name})
            continue
        entries.append({0: ("Q", len(constants)), 1: ("Q", value.nbytes)})
        constants += value.tobytes() + bytes(-value.nbytes % 32)
    for number, value in enumerate(tensors.values(), 1):
        tensor = {0: ("h", kinds[str(value.dtype)]), 1: ("I", value.ndim)}
        tensor |= {2: ("I", list(value.shape)), 3: ("I", number)}
        if scales and value.dtype == np.int8:
            by = {2: ("I", len(tensors) + 1), 3: ("I", len(value))}
            values.append({0: ("B", 2), 1: {0: tensor, 1: ("B", 1), 2: by}})
        else:
            values.append({0: ("B", 1), 1: tensor})
    return _xnnpack({2: values, 8: entries}, constants)


def _xnnpack(table, constants: bytes) -> bytes:
    graph = flatbuffer(table, b"XN01")
    graph += bytes(-len(graph) % 32)
    header = struct.pack("<4x4sHIIIQ", b"XH00", 30, 32, len(graph), 32 + len(graph), len(constants))
    return header + bytes(2) + graph + constants


def xnnpack_layer(weights, scales, factor: float, inside=False) -> bytes:
    """A fully connected layer of XNNPACK in 8 bits; its bias has the scales times the factor.

    The scales lie inside the graph, or behind it as the other constants do.
    """
    bias = np.arange(len(weights), dtype=np.int32)
    constants, entries = b"", [{0: ("Q", 0)}]
    of_bias = scales * np.float32(factor)
    for value in (weights, bias) if inside else (weights, bias, scales, of_bias):
        entries.append({0: ("Q", len(constants)), 1: ("Q", value.nbytes)})
        constants += value.tobytes() + bytes(-value.nbytes % 32)

    def quantized(number: int, kind: int, shape, buffer: int, by: tuple[int, dict]) -> dict:
        tensor = {0: ("h", kind), 2: ("I", list(shape)), 3: ("I", buffer), 6: ("I", number)}
        return {0: ("B", 2), 1: {0: tensor, 1: ("B", by[0]), 2: by[1]}}

    held = [{0: ("f", list(one))} for one in (scales, of_bias)]
    behind = [{2: ("I", buffer)} for buffer in (3, 4)]
    by, by_bias = held if inside else behind
    values = [
        quantized(0, 3, (1, weights.shape[1]), 0, (2, {0: ("f", factor)})),
        quantized(1, 6, weights.shape, 1, (1, by)),
        quantized(2, 7, bias.shape, 2, (1, by_bias)),
    ]
    nodes = [{0: ("B", 2), 1: {i: ("I", i) for i in range(3)}}]
    return _xnnpack({1: nodes, 2: values, 8: entries}, constants)


def tflite(weights, axis: int, limits) -> bytes:
    """One int8 weight with scales along an axis, and what it reached: (lowest, largest)."""
    lowest, largest = limits
    scales = np.maximum(-lowest, largest) / np.float32(127)
    fields = {2: scales, 0: lowest, 1: largest}  # in the order they are written
    quantization = {number: ("f", value.tolist()) for number, value in fields.items()}
    quantization[6] = ("i", axis)
    tensor = {0: ("i", list(weights.shape)), 1: ("b", 9), 2: ("I", 1), 3: "w", 4: quantization}
    return flatbuffer({4: [{}, {0: weights.tobytes()}], 2: [{0: [tensor]}]}, b"TFL3")


def tflite_layer(weights, scales, factor: float, *, bias_first: bool = False) -> bytes:
    """A dense layer whose bias has the scales of its int8 weights, times that of its input."""

    def tensor(shape, kind: int, buffer: int, values) -> dict[int, object]:
        quantization = {2: ("f", np.float32(values).tolist())}
        return {0: ("i", list(shape)), 1: ("b", kind), 2: ("I", buffer), 3: "t", 4: quantization}

    x = tensor((1, weights.shape[1]), 9, 0, [factor])
    weight = tensor(weights.shape, 9, 1, scales)
    bias = tensor(scales.shape, 2, 2, scales * np.float32(factor))
    tensors = [x, bias, weight] if bias_first else [x, weight, bias]
    operator = {1: ("i", [0, 2, 1] if bias_first else [0, 1, 2])}
    buffers = [{}, {0: weights.tobytes()}, {0: np.arange(len(scales), dtype=np.int32).tobytes()}]
    return flatbuffer({4: buffers, 2: [{0: tensors, 3: [operator]}]}, b"TFL3")


def quantised(shape, axis: int):
    """int8 weights with a scale for each place of an axis, and the limits they had before."""
    floats = np.random.default_rng(5).normal(0, 0.1, shape).astype(np.float32)
    others = tuple(i for i in range(len(shape)) if i != axis)
    limits = floats.min(others), floats.max(others)
    scales = np.maximum(-limits[0], limits[1]) / np.float32(127)
    along = [-1 if i == axis else 1 for i in range(len(shape))]
    return np.rint(floats / scales.reshape(along)).astype(np.int8), limits


def trellis(shape: tuple[int, ...], spread: float = 1.0) -> np.ndarray:
    """int8 levels along a trellis down the first axis."""
    generator = np.random.default_rng(shape)
    wanted = np.rint(generator.laplace(size=(shape[0], int(np.prod(shape[1:])))) * spread)
    columns = [levels_of(column.tolist())[0] for column in wanted.astype(int).clip(-63, 63).T]
    return np.ascontiguousarray(np.array(columns, np.int8).T).reshape(shape)

"""A report as `fit` writes it, with figures that could be true."""

from __future__ import annotations

from math import exp
from typing import Any


def example(layers: int = 26, points: int = 14) -> dict[str, Any]:
    """A report of that many layers and visited points."""
    return {
        "packlight": "0.1.0",
        "asked": {
            "target_size": 600_000,
            "target_installed_size": None,
            "max_drop": 0.01,
            "calibrate": 300,
            "seed": 0,
            "model": "squeezenet1_1.onnx",
            "data": "imagenet500.zip",
            "preprocess": {
                "size": 224,
                "resize": 256,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "layout": "NCHW",
            },
        },
        "met": True,
        "why": "",
        "binding": "target_size",
        "original": {
            "file": "squeezenet1_1.onnx",
            "sha256": "4bd2b7c9c0a1d6f0" * 4,
            "bytes": 4_954_781,
            "packed_bytes": 4_563_912,
            "parameters": 1_235_496,
            "macs": 349_151_936,
        },
        "compressed": {
            "file": "model.onnx",
            "sha256": "90aa11fe00bc73d2" * 4,
            "bytes": 1_302_554,
            "packed_file": "model.onnx.plt",
            "packed_sha256": "07c1e55d8e1f2a60" * 4,
            "packed_bytes": 598_112,
        },
        "accuracy": {
            "n": 200,
            "metric": "top1",
            "original": {"top1": 0.637, "top5": 0.86},
            "compressed": {"top1": 0.63, "top5": 0.855},
            "drop": {
                "top1": {"value": 0.007, "low": -0.01, "high": 0.03},
                "top5": {"value": 0.005, "low": -0.011, "high": 0.021},
            },
            "agreement": {"value": 0.91, "low": 0.862, "high": 0.943},
            "sqnr_db": 18.2,
            "looks": 2,
            "judged_on": "200 samples of imagenet500.zip that nothing was fitted on",
        },
        "flips": _flips(),
        "latency_ms": {
            "original": {"median": 21.04, "p95": 25.3},
            "compressed": {"median": 10.41, "p95": 12.2},
            "ratio": 0.495,
            "threads": 1,
            "batch": 1,
            "runtime": "onnxruntime 1.32.0",
        },
        "memory": _memory(2 * layers),
        "delivery": {
            "downloads": [
                {
                    "megabits_per_second": speed,
                    "original_seconds": 8 * 4_954_781 / (1e6 * speed),
                    "compressed_seconds": 8 * 598_112 / (1e6 * speed),
                }
                for speed in (1, 10, 50)
            ],
            "limits": [_limit("download", 200_000_000, True), _limit("ram", 3_000_000, False)],
        },
        "data": {
            "fit": {"samples": 300, "sha256": "5d1f00aa" * 8},
            "judge": {"samples": 200, "sha256": "c0ffee11" * 8},
        },
        "layers": [_layer(index) for index in range(layers)],
        "visited": [_visit(index, points) for index in range(points)],
        "notes": [
            "batch norm: 26",
            "activations at cat_3 stay float: int8 there alone leaves 11.3 dB of SQNR",
            "weights rounded without seeing their inputs: embedding",
        ],
        "stages": [
            {"name": "curvature", "seconds": 11.21},
            {"name": "activations", "seconds": 4.07},
            {"name": "search", "seconds": 48.9},
            {"name": "judge", "seconds": 6.3},
        ],
        "environment": {
            "python": "3.11.2",
            "torch": "2.13.0",
            "onnxruntime": "1.32.0",
            "numpy": "2.3.1",
            "machine": "x86_64, 2 cores",
        },
        "command": "packlight fit squeezenet1_1.onnx --data imagenet500.zip --target-size 600KB "
        "--max-drop 1%",
    }


def _flips() -> dict[str, Any]:
    return {
        "count": 18,
        "lost": 6,
        "won": 4,
        "pairs": [
            {"from": 3, "to": 5, "count": 10, "lost": 6, "won": 2},
            {"from": 5, "to": 7, "count": 8, "lost": 0, "won": 2},
        ],
        "samples": [
            {"index": 12, "name": "test/cat/12.jpg", "from": 3, "to": 5, "label": 3},
            {"index": 40, "name": None, "from": 5, "to": 7, "label": 9},
        ],
        "classes": {"3": "cat", "5": "dog"},
    }


def _memory(steps: int) -> dict[str, Any]:
    live = [1_600_000 // (1 + abs(step - 5)) for step in range(steps)]
    return {
        "peak_bytes": max(live),
        "weights_bytes": 1_260_000,
        "ram_bytes": max(live) + 1_260_000,
        "steps": [f"features.{step // 2}.{('conv', 'relu')[step % 2]}" for step in range(steps)],
        "live": live,
        "at_peak": [{"name": "features.2.conv_out", "bytes": max(live)}],
    }


def _limit(measures: str, at_most: int, met: bool) -> dict[str, Any]:
    return {
        "name": f"a store's limit of {measures}",
        "measures": measures,
        "at_most": at_most,
        "original": 4_954_781,
        "compressed": 598_112 if met else 3_100_000,
        "met": met,
        "source": "a store's page",
        "as_of": "2026",
    }


def _layer(index: int) -> dict[str, Any]:
    outputs, inputs, side = 16 + 16 * (index % 9), 16 + 8 * (index // 2 % 24), 3 if index % 3 else 1
    weights = outputs * inputs * side * side
    return {
        "name": f"features.{index}.{('squeeze', 'expand1x1', 'expand3x3')[index % 3]}",
        "kind": "conv",
        "shape": [outputs, inputs, side, side],
        "weights": weights,
        "bytes_before": 4 * (weights + outputs),
        "bytes_after": weights + 8 * outputs,
        "bits_per_weight": 2.2 + (index * 7 % 11) / 5,
        "step": 0.003 + index / 4000,
        "zeros": 0.18 + (index * 5 % 13) / 40,
        "levels": 25 + index * 3 % 90,
        "activation": "float" if index % 12 == 3 else "int8",
        "why_float": "int8 alone leaves the outputs 11.3 dB above its noise"
        if index % 12 == 3
        else None,
        "damage": 0.0021 * exp(-(index * 7 % 23) / 5),
    }


def _visit(index: int, points: int) -> dict[str, Any]:
    # the search closes in: far steps first, then ever nearer to the budget
    far = (1 if index % 2 else -0.45) * 0.82**index
    packed = round(598_112 * (1 + far)) if index < points - 1 else 598_112
    return {
        "stage": "search",
        "tradeoff": 1e-3 * (600_000 / packed) ** 3,
        "packed_bytes": packed,
        "bytes": 1_302_554 + packed // 50,
        "metric": "agreement",
        "score": 0.985 - 0.27 * exp(-packed / 300_000) * 2 + (index % 3) / 250,
        "on": "steer",
        "chosen": index == points - 1,
    }

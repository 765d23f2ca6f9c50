"""Keras models: from the object with its weights, and from the file without running anything."""

from __future__ import annotations

import contextlib
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from packlight.errors import BadInput
from packlight.weighing import LayerTable, weigh
from tests.later import later

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = later("keras", "Keras is not installed")
layers = later("keras.layers", "Keras is not installed")


def branching() -> Any:
    """One of most kinds of layers."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(y)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.Add()([x, y]))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="valid")(layers.MaxPooling2D()(x))
    x = layers.Cropping2D(1)(layers.UpSampling2D()(x))
    x = layers.LayerNormalization()(layers.Concatenate()([x, x]))
    s = layers.LSTM(4)(layers.GRU(5, return_sequences=True)(layers.Reshape((-1, 8))(x)))
    z = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.Dropout(0.3)(s)])
    head = [keras.Input((12,)), layers.Dense(6, activation="tanh", name="dense")]
    head = keras.Sequential(head, name="head")
    shared = layers.Dense(6, name="shared")
    return keras.Model(image, layers.Softmax()(shared(shared(head(z)))), name="branching")


def comparable(table: LayerTable) -> list[tuple[Any, ...]]:
    return [
        (row.layer, row.type, row.activation, row.shape, row.parameters, row.bytes, row.macs)
        for row in table.rows
    ]


def saved(config: Any, folder: Path, **more: bytes) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        for name, data in more.items():
            archive.writestr(name, data)
    return path


def config_of(model: Any) -> dict[str, Any]:
    return json.loads(model.to_json())


def test_the_file_tells_what_the_object_does(tmp_path: Path) -> None:
    model = branching()
    model.save(tmp_path / "model.keras")
    kept, told = weigh(model), weigh(tmp_path / "model.keras")
    assert comparable(kept) == comparable(told)
    assert told.totals.parameter_count == kept.totals.parameter_count == model.count_params()
    assert told.model == "model.keras"
    assert "zeros are not counted" in told.notes[-1]


def test_shapes_are_those_that_keras_infers() -> None:
    model = branching()
    rows = {row.layer: row for row in weigh(model).rows}
    for layer in model.layers:
        row = rows.get(layer.name)
        if row is not None and layer.name != "shared":
            assert row.shape == tuple(layer.output.shape[1:]), layer.name
    assert rows["head/dense"].activation == "Tanh"
    assert [row.activation for row in rows.values() if row.type == "BatchNormalization"] == [
        "ReLU6"
    ]


def test_a_layer_used_twice_counts_once() -> None:
    first, second = [row for row in weigh(branching()).rows if row.layer == "shared"]
    assert (first.parameter_count, second.parameter_count) == (42, 0)
    assert second.parameters == "as shared"
    assert first.macs == second.macs == 36


def test_zeros_of_an_object_are_counted() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, kernel_initializer="zeros")])
    assert weigh(model).rows[-1].zeros == 12 + 4


def test_channels_first_is_shown_channels_last() -> None:
    model = keras.Sequential(
        [keras.Input((3, 8, 6)), layers.Conv2D(5, 3, data_format="channels_first")]
    )
    row = weigh(model).rows[-1]
    assert (row.shape, row.parameters) == ((6, 4, 5), "3x3x3x5+5")


def test_a_lambda_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def trap(x: Any) -> Any:
        ran.touch()
        return x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Lambda(trap, output_shape=(4,))(inputs)))
    model.save(tmp_path / "model.keras")
    ran.unlink(missing_ok=True)
    table = weigh(tmp_path / "model.keras")
    assert not ran.exists()
    assert [row.type for row in table.rows] == ["InputLayer", "Lambda", "Dense"]
    assert [row.shape for row in table.rows] == [(4,), (4,), (2,)]
    assert "never run" in table.notes[0]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = saved(b" " * (1 << 27), tmp_path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BadInput, match="would unpack to 134,217,728 bytes"):
        weigh(path)


def test_open_sizes_are_asked_for(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, None, 3), name="image"), layers.Conv2D(2, 3)])
    path = saved(config_of(model), tmp_path)
    with pytest.raises(BadInput, match=r"leaves dimension 1 open.*--input-shape"):
        weigh(path)
    assert weigh(path, input_shapes={"image": (1, 9, 8, 3)}).rows[-1].shape == (7, 6, 2)


def test_layers_that_code_joins_are_refused() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(BadInput, match="joined by Python code"):
        weigh(Own())


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"{}", b"[" * 100_000, b'{"class_name":"Model"}']
)
def test_odd_configurations_are_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        weigh(saved(text, tmp_path))


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, layers.Dense(4, name="b")(layers.Dense(4, name="a")(inputs)))
    text = json.dumps(config_of(model)).replace('"keras_history": ["x"', '"keras_history": ["b"')
    with pytest.raises(BadInput, match="reads what no layer makes"):
        weigh(saved(text.encode(), tmp_path))


@pytest.mark.usefixtures("without_packing")
def test_every_truncation_is_refused_and_nothing_else_is_raised(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    path = saved(config_of(model), tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BadInput):
            weigh(path)


@pytest.mark.usefixtures("without_packing")
def test_damaged_configurations_are_refused_or_weighed(tmp_path: Path) -> None:
    text = json.dumps(config_of(branching()))
    places: list[list[Any]] = []

    def walk(part: Any, path: list[Any]) -> None:
        keys = (
            part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        )
        for key in keys:
            places.append([*path, key])
            walk(part[key], places[-1])

    walk(json.loads(text), [])
    choose = random.Random(0)
    for _ in range(300):
        config = json.loads(text)
        *path, last = choose.choice(places)
        owner = config
        for key in path:
            owner = owner[key]
        owner[last] = choose.choice((None, 0, -1, 10**30, "x", [], {}, [1], True, 1.5))
        with contextlib.suppress(BadInput):
            str(weigh(saved(config, tmp_path)))

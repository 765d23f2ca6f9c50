"""The table on a terminal: views, sorting, what fits, and what is said below."""

from __future__ import annotations

from dataclasses import replace

import pytest

from packlight.errors import BadInput
from packlight.weighing import LayerRow, LayerTable
from packlight.weighing.bytes import FileBytes, FileTensor
from packlight.weighing.shown import VIEWS

CONV = LayerRow(
    *("net.conv", "Conv2D", "ReLU", (8, 8, 8), 512, 2048, "3x3x8x8+8", 584, 36864, 2336),
    read_bytes=2048,
    tensors=("net.conv.weight", "net.conv.bias"),
)
DENSE = LayerRow(
    *("net.fc", "Dense", "", (10,), 10, 40, "512x10+10", 5130, 5120, 20520),
    read_bytes=2048,
    zeros=2565,
    tensors=("net.fc.weight",),
)
POOL = LayerRow("net.pool", "MaxPool2D", "", (4, 4, 8), 128, 512, "", 0, 0, 0, read_bytes=2048)
FILE = FileBytes(
    30_000,
    12_000,
    (
        FileTensor("net.conv.weight", "float32", (8, 8, 3, 3), 2304, 2000),
        FileTensor("net.conv.bias", "float32", (8,), 32, 32),
        FileTensor("net.fc.weight", "float32", (10, 512), 20480, 9000),
    ),
)
TABLE = LayerTable((CONV, POOL, DENSE), "m.onnx", file=FILE)


def lines(text: str) -> list[list[str]]:
    """The words of each row, the header first."""
    body, _, _ = text.partition("\n\n")
    return [line.split() for line in body.splitlines() if not line.startswith("--")]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_a_hundred_columns_and_ends_with_the_total(view) -> None:
    long = replace(DENSE, layer=".".join(["encoder"] * 9), parameters="+".join(["768x768"] * 9))
    for table in (TABLE, replace(TABLE, rows=(CONV, long)), LayerTable(())):
        text = table.text(view)
        assert max(map(len, text.splitlines())) <= 100
        assert lines(text)[-1][0] == "total"


def test_the_layers_view_reads_as_the_chapter_has_it() -> None:
    header, conv, *_ = lines(TABLE.text())
    assert header[:8] == ["layer", "type", "output", "data", "parameters", "number", "MACs", "size"]
    assert " ".join(conv[:9]) == "conv Conv2D 8x8x8 512 3x3x8x8+8 584 36,864 2.34 KB"


def test_shares_and_bars_follow_the_bytes() -> None:
    rows = {words[0]: words for words in lines(TABLE.text()) if words[0] in ("conv", "fc")}
    assert rows["fc"][-2] == "89.8%"
    assert len(rows["fc"][-1]) > 5 * len(rows["conv"][-1])


def test_shares_give_way_where_the_table_is_full() -> None:
    wide = replace(TABLE, rows=tuple(replace(row, parameters="9" * 50) for row in TABLE.rows))
    assert "share" not in wide.text()
    assert "9" * 50 in wide.text()


def test_the_bytes_view_shows_what_each_layer_packs_to() -> None:
    text = TABLE.text("bytes")
    rows = {words[0]: words for words in lines(text)}
    assert "pool" not in rows
    assert " ".join(rows["conv"][:9]) == "conv Conv2D 584 2.34 KB 2.34 KB 2.03 KB"
    assert " ".join(rows["fc"][7:10]) == "9 KB 14.04"
    assert "50%" in rows["fc"]
    assert "?" in replace(TABLE, file=None).text("bytes")


def test_the_arithmetic_view_marks_what_waits_for_memory() -> None:
    rows = {words[0]: words for words in lines(TABLE.text("arithmetic"))}
    assert "memory" in rows["fc"]
    assert "memory" not in rows["conv"]
    assert CONV.intensity == 36864 / (2048 + 2048 + 2336)
    assert POOL.intensity is None
    assert replace(CONV, read_bytes=None).intensity is None


@pytest.mark.parametrize(
    ("column", "first"),
    [
        *(("bytes", "fc"), ("packed", "fc"), ("parameters", "fc"), ("macs", "conv")),
        *(("data", "conv"), ("reuse", "conv"), ("intensity", "conv")),
    ],
)
def test_rows_are_sorted_largest_first(column: str, first: str) -> None:
    assert lines(TABLE.text(sort=column))[1][0] == first


def test_columns_and_views_that_are_not_known_are_refused() -> None:
    with pytest.raises(BadInput, match=r"'size'.*bytes, packed"):
        TABLE.text(sort="size")
    with pytest.raises(BadInput, match=r"'ram'.*layers, bytes, arithmetic"):
        TABLE.text("ram")  # type: ignore[arg-type]


def test_repeated_blocks_are_shown_once_unless_all_are_wanted() -> None:
    rows = [replace(row, layer=f"b{i}.{row.layer}") for i in range(4) for row in (CONV, POOL)]
    table = LayerTable(tuple(rows))
    assert "x 4" in table.text()
    assert "b0–3.net.conv" in table.text()
    assert len(lines(table.text(fold=False))) == 8 + 2
    assert lines(table.text())[-1][-1] == lines(table.text(fold=False))[-1][-1]


def test_below_stands_only_what_there_is_to_say() -> None:
    text = TABLE.text()
    assert "30 KB in this file, about 12 KB packed (2.5x smaller)" in text
    assert "net.fc.weight 20.5 KB (68%)" in text
    for word in ("copies", "dead", "memory  "):
        assert word not in text
    assert LayerTable((POOL,)).text().splitlines()[-1].startswith("total")


def test_the_names_all_have_in_common_are_said_once() -> None:
    assert "Names begin with net." in TABLE.text()
    assert "net." not in TABLE.text().partition("\n\n")[0]


def test_a_batch_grows_data_and_arithmetic_and_leaves_weights() -> None:
    eight = TABLE.for_batch(8)
    assert eight.totals.macs == 8 * TABLE.totals.macs
    assert eight.totals.data_bytes == 8 * TABLE.totals.data_bytes
    assert eight.totals.bytes == TABLE.totals.bytes
    first, second = eight.rows[2].intensity, TABLE.rows[2].intensity
    assert first is not None
    assert second is not None
    assert first > second

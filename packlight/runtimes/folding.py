"""A flatbuffer written anew, with whatever is alike in it written once.

flatc writes a vector, a text or a table as often as it occurs. Readers follow offsets, and nothing
keeps two of these from leading to one place: equal dimensions, empty vectors and equal tables are
shared here. Which bytes are offsets only the schema tells, so it is read as well, as compiled by
`flatc --binary --schema`.

Source: flatbuffers.dev, "Internals", and reflection.fbs of google/flatbuffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_IDENTIFIER = slice(4, 8)
#: reflection.BaseType -> bytes of a number; floats are copied as their bits
_WIDTHS = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 4, 8: 4, 9: 8, 10: 8, 11: 4, 12: 8}
_TEXT, _VECTOR, _TABLE, _UNION = 13, 14, 15, 16
_OFFSET_WIDTH = 4
#: fields of the tables in reflection.fbs, by number
_SCHEMA_OBJECTS, _SCHEMA_ENUMS, _SCHEMA_ROOT = 0, 1, 4
_OBJECT_FIELDS, _OBJECT_IS_STRUCT = 1, 2
_FIELD_TYPE, _FIELD_NUMBER = 1, 2
_TYPE_BASE, _TYPE_ELEMENT, _TYPE_INDEX = 0, 1, 2
_ENUM_CASES, _CASE_VALUE, _CASE_TYPE = 1, 1, 3


@dataclass(frozen=True)
class _Field:
    """A field of a table: its number, and what it is.

    Args:
        base: a reflection.BaseType.
        element: that of a vector's items.
        index: of the table or the union among those of the schema.
    """

    number: int
    base: int
    element: int
    index: int

    @property
    def width(self) -> int:
        """Bytes in the table."""
        return _WIDTHS.get(self.base, _OFFSET_WIDTH)


def folded(data: bytes, schema: bytes) -> bytes:
    """The same contents in fewer bytes.

    Args:
        data: a flatbuffer with an identifier.
        schema: its compiled schema, without structs, vectors of unions and forced alignment.
    """
    from flatbuffers import Builder
    from flatbuffers.table import Table

    fields, unions, root = _read_schema(schema)
    copy = _Copy(Builder(len(data)), fields, unions)
    place = copy.table(Table(data, _unsigned(data, 0, 4)), root)
    copy.builder.Finish(place, file_identifier=data[_IDENTIFIER])
    return bytes(copy.builder.Output())


class _Copy:
    """What was written so far, by its contents: of tables, numbers and places of what they hold."""

    def __init__(
        self, builder: Any, fields: Sequence[Sequence[_Field]], unions: Sequence[dict[int, int]]
    ) -> None:
        self.builder = builder
        self._fields, self._unions = fields, unions
        self._written: dict[tuple[Any, ...], int] = {}

    def table(self, source: Any, index: int) -> int:
        """Write a table, or find it; of the kind that the schema describes at an index."""
        held = [
            (field, self._value(source, field))
            for field in self._fields[index]
            if source.Offset(_slot(field.number))
        ]
        return self._once((index, *held), lambda: self._write_table(held))

    def _value(self, source: Any, field: _Field) -> int:
        """A field's number, or where what it leads to lies."""
        at = source.Offset(_slot(field.number))
        if field.base in _WIDTHS:
            return _unsigned(source.Bytes, source.Pos + at, field.width)
        if field.base == _TEXT:
            text = source.String(source.Pos + at)
            return self._once((_TEXT, text), lambda: int(self.builder.CreateString(text)))
        if field.base == _VECTOR:
            return self._vector(source, at, field)
        index = field.index
        if field.base == _UNION:  # the field before it says which table it is
            kind = source.Offset(_slot(field.number - 1))
            index = self._unions[index][_unsigned(source.Bytes, source.Pos + kind, 1)]
        return self.table(_table_at(source, source.Pos + at), index)

    def _vector(self, source: Any, at: int, field: _Field) -> int:
        start, count = source.Vector(at), source.VectorLen(at)
        width = _WIDTHS.get(field.element, _OFFSET_WIDTH)
        places = range(start, start + count * width, width)
        if field.element == _TABLE:
            # a builder writes from the end: the last first, so that they lie in their order
            items = [self.table(_table_at(source, place), field.index) for place in places[::-1]]
            items.reverse()
        else:
            items = [_unsigned(source.Bytes, place, width) for place in places]
        key = (_VECTOR, field.element, *items)
        return self._once(key, lambda: self._write_vector(items, width, field.element == _TABLE))

    def _once(self, key: tuple[Any, ...], write: Callable[[], int]) -> int:
        if key not in self._written:
            self._written[key] = write()
        return self._written[key]

    def _write_table(self, held: Sequence[tuple[_Field, int]]) -> int:
        self.builder.StartObject(max((field.number for field, _ in held), default=-1) + 1)
        for field, value in sorted(held, key=lambda one: -one[0].width):  # no gaps
            self._prepend(value, field.width, leads=field.base not in _WIDTHS)
            self.builder.Slot(field.number)
        return int(self.builder.EndObject())

    def _write_vector(self, items: Sequence[int], width: int, leads: bool) -> int:
        self.builder.StartVector(width, len(items), width)
        for item in reversed(items):
            self._prepend(item, width, leads)
        return int(self.builder.EndVector())

    def _prepend(self, value: int, width: int, leads: bool) -> None:
        if leads:
            self.builder.PrependUOffsetTRelative(value)
        else:
            getattr(self.builder, f"PrependUint{8 * width}")(value)


def _read_schema(data: bytes) -> tuple[list[list[_Field]], list[dict[int, int]], int]:
    """The fields of every table, the tables of every union by their number, and the root."""
    from flatbuffers.table import Table

    top = Table(data, _unsigned(data, 0, 4))
    objects = list(_tables(top, _SCHEMA_OBJECTS))
    fields = [[_field(field) for field in _tables(one, _OBJECT_FIELDS)] for one in objects]
    unions = [
        {
            _number(case, _CASE_VALUE, 8): _number(kind, _TYPE_INDEX, 4)
            for case in _tables(enum, _ENUM_CASES)
            if (kind := _table(case, _CASE_TYPE)) is not None
        }
        for enum in _tables(top, _SCHEMA_ENUMS)
    ]
    root = _table(top, _SCHEMA_ROOT)
    return fields, unions, [one.Pos for one in objects].index(root.Pos)


def _field(field: Any) -> _Field:
    kind = _table(field, _FIELD_TYPE)
    return _Field(
        _number(field, _FIELD_NUMBER, 2),
        _number(kind, _TYPE_BASE, 1),
        _number(kind, _TYPE_ELEMENT, 1),
        _number(kind, _TYPE_INDEX, 4),
    )


def _slot(number: int) -> int:
    """Where a vtable says where a field lies."""
    return 4 + 2 * number


def _number(table: Any, number: int, width: int) -> int:
    at = table.Offset(_slot(number))
    return _unsigned(table.Bytes, table.Pos + at, width) if at else 0


def _table(table: Any, number: int) -> Any:
    at = table.Offset(_slot(number))
    return _table_at(table, table.Pos + at) if at else None


def _tables(table: Any, number: int) -> Iterator[Any]:
    at = table.Offset(_slot(number))
    start, count = (table.Vector(at), table.VectorLen(at)) if at else (0, 0)
    for place in range(start, start + 4 * count, 4):
        yield _table_at(table, place)


def _table_at(source: Any, place: int) -> Any:
    """The table that the offset at a place leads to."""
    return type(source)(source.Bytes, source.Indirect(place))


def _unsigned(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")

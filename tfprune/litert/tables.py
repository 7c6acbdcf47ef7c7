"""FlatBuffers by field numbers: metadata tables to bytes and back, and one more buffer in a model.

The numbers are those of TensorFlow Lite's `metadata_schema.fbs` and `schema.fbs`, which only ever grow at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flatbuffers
from flatbuffers import number_types as numbers
from flatbuffers.table import Table

# Fields in their order. A union is a table with the number of its kind; that number stands in the field before it.
SCHEMA: dict[str, tuple[tuple[str, str], ...]] = {
    "ModelMetadata": (
        *(("name", "string"), ("description", "string"), ("version", "string")),
        *(("subgraph_metadata", "[SubGraphMetadata]"), ("author", "string"), ("license", "string")),
        *(("associated_files", "[AssociatedFile]"), ("min_parser_version", "string")),
    ),
    "SubGraphMetadata": (
        *(("name", "string"), ("description", "string")),
        *(("input_tensor_metadata", "[TensorMetadata]"), ("output_tensor_metadata", "[TensorMetadata]")),
    ),
    "TensorMetadata": (
        *(("name", "string"), ("description", "string"), ("dimension_names", ""), ("content", "Content")),
        *(("process_units", "[ProcessUnit]"), ("stats", ""), ("associated_files", "[AssociatedFile]")),
    ),
    "AssociatedFile": (("name", "string"), ("description", "string"), ("type", "byte"), ("locale", "string")),
    "Content": (("", ""), ("image", "ImageProperties=2"), ("range", "")),
    "ImageProperties": (("color_space", "byte"), ("default_size", "ImageSize")),
    "ImageSize": (("width", "uint"), ("height", "uint")),
    "ProcessUnit": (("", ""), ("normalization", "NormalizationOptions=1")),
    "NormalizationOptions": (("mean", "[float]"), ("std", "[float]")),
}

_MODEL = {"version": 0, "buffers": 4, "metadata": 6}
_MODEL_FIELDS = 10
_ALIGNED = 16  # as kernels want the data of a buffer to lie


def write_table(values: dict[str, Any], kind: str, identifier: bytes) -> bytes:
    """A flatbuffer of a table, given as nested dicts; a field that is not given is left out."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, values, kind), identifier)
    return bytes(builder.Output())


def read_table(content: bytes, kind: str) -> dict[str, Any]:
    """What `write_table` has written, or another writer by the same schema; unknown fields are passed over."""
    return _values(Table(content, _uint(content, 0)), kind)


def buffer_of(model: bytes, name: str) -> bytes | None:
    """The buffer of a model that its `metadata` names so."""
    root = Table(model, _uint(model, 0))
    for entry in _elements(root, _MODEL["metadata"]):
        if _string(entry, 0) == name:
            place = entry.Offset(6)
            index = entry.Get(numbers.Uint32Flags, entry.Pos + place) if place else 0
            return _bytes(list(_elements(root, _MODEL["buffers"]))[index])
    return None


def with_buffer(model: bytes, name: str, data: bytes) -> bytes:
    """A model with one more buffer, named in its `metadata`.

    The model stays as it is, byte by byte, behind a new root and new lists of its buffers and metadata. So tensors,
    signatures and what this schema does not know survive, and data stays aligned.

    Raises:
        ValueError: its buffers lie outside of the flatbuffer, by places counted from the start of the file.
    """
    model += bytes(-len(model) % _ALIGNED)
    root = Table(model, _uint(model, 0))
    buffers = list(_elements(root, _MODEL["buffers"]))
    if any(each.Offset(6) for each in buffers):
        raise ValueError("buffers outside of the flatbuffer")
    builder = flatbuffers.Builder(len(model) + len(data) + 4096)
    builder.Prep(_ALIGNED, len(model))
    builder.head -= len(model)
    builder.Bytes[builder.head : builder.head + len(model)] = model

    def moved(position: int) -> int:
        return len(model) - position  # a builder counts from the end

    builder.Prep(_ALIGNED, len(data))
    place = builder.CreateByteVector(data)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, place, 0)
    buffer = builder.EndObject()
    title = builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, title, 0)
    builder.PrependUint32Slot(1, len(buffers), 0)
    entry = builder.EndObject()
    lists = {
        _MODEL["buffers"]: _vector(builder, [*(moved(each.Pos) for each in buffers), buffer]),
        _MODEL["metadata"]: _vector(
            builder, [*(moved(each.Pos) for each in _elements(root, _MODEL["metadata"])), entry]
        ),
    }
    builder.StartObject(_MODEL_FIELDS)
    version = root.Offset(4)
    builder.PrependUint32Slot(0, root.Get(numbers.Uint32Flags, root.Pos + version) if version else 0, 0)
    for number in range(1, _MODEL_FIELDS):
        own = root.Offset(4 + 2 * number)
        offset = lists.get(number) or (moved(root.Indirect(root.Pos + own)) if own else 0)
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    builder.Finish(builder.EndObject(), model[4:8])
    return bytes(builder.Output())


# ------------------------------------------------------------------------------------------- writing


def _table(builder: flatbuffers.Builder, values: dict[str, Any], kind: str) -> int:
    fields = [(number, values[name], how) for number, (name, how) in enumerate(SCHEMA[kind]) if name in values]
    places = {number: _child(builder, value, how) for number, value, how in fields if how not in ("byte", "uint")}
    builder.StartObject(len(SCHEMA[kind]))
    for number, value, how in fields:
        if how == "byte":
            builder.PrependInt8Slot(number, value, 0)
        elif how == "uint":
            builder.PrependUint32Slot(number, value, 0)
        else:
            if "=" in how:
                builder.PrependUint8Slot(number - 1, int(how.partition("=")[2]), 0)
            builder.PrependUOffsetTRelativeSlot(number, places[number], 0)
    return int(builder.EndObject())


def _child(builder: flatbuffers.Builder, value: Any, how: str) -> int:
    if how == "string":
        return int(builder.CreateString(value))
    if how == "[float]":
        builder.StartVector(4, len(value), 4)
        for each in reversed(value):
            builder.PrependFloat32(each)
        return int(builder.EndVector())
    if how.startswith("["):
        return _vector(builder, [_table(builder, each, how[1:-1]) for each in value])
    return _table(builder, value, how.partition("=")[0])


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for each in reversed(offsets):
        builder.PrependUOffsetTRelative(each)
    return int(builder.EndVector())


# ------------------------------------------------------------------------------------------- reading


def _values(table: Table, kind: str) -> dict[str, Any]:
    found = {}
    for number, (name, how) in enumerate(SCHEMA[kind]):
        if how and table.Offset(4 + 2 * number):
            value = _value(table, number, how)
            if value is not None:
                found[name] = value
    return found


def _value(table: Table, number: int, how: str) -> Any:
    place = table.Pos + table.Offset(4 + 2 * number)
    if how == "string":
        return _string(table, number)
    if how in ("byte", "uint"):
        return table.Get(numbers.Int8Flags if how == "byte" else numbers.Uint32Flags, place)
    if how == "[float]":
        start, count = table.Vector(place - table.Pos), table.VectorLen(place - table.Pos)
        return [table.Get(numbers.Float32Flags, start + 4 * each) for each in range(count)]
    if how.startswith("["):
        return [_values(each, how[1:-1]) for each in _elements(table, number)]
    name, _, wanted = how.partition("=")
    if wanted:
        before = table.Offset(2 + 2 * number)
        if not before or table.Get(numbers.Uint8Flags, table.Pos + before) != int(wanted):
            return None
    return _values(Table(table.Bytes, table.Indirect(place)), name)


def _elements(table: Table, number: int) -> Iterator[Table]:
    own = table.Offset(4 + 2 * number)
    if own:
        start = table.Vector(own)
        for each in range(table.VectorLen(own)):
            yield Table(table.Bytes, table.Indirect(start + 4 * each))


def _string(table: Table, number: int) -> str:
    own = table.Offset(4 + 2 * number)
    return table.String(table.Pos + own).decode("utf-8") if own else ""


def _bytes(table: Table) -> bytes:
    own = table.Offset(4)
    return bytes(table.Bytes[table.Vector(own) :][: table.VectorLen(own)]) if own else b""


def _uint(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "little")

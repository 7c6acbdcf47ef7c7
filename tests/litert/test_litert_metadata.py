"""Metadata in LiteRT files: read back by field numbers, by unzip, and by nobody noticing in the model."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from flatbuffers import number_types as numbers
from flatbuffers.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import keras
from tfprune.errors import ExportError, ModelError
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.metadata import read_metadata, with_metadata
from tfprune.litert.runtime import opened, schema
from tfprune.litert.session import Session
from tfprune.litert.tables import buffer_of

layers = keras.layers
LABELS = ["zero", "eins und ein", "δύο", "3"]
IMAGES = np.random.default_rng(0).random((16, 8, 8, 3), np.float32)


def classifier() -> keras.Model:
    """Small, with weights that are mostly zero."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="picture"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, "softmax", name="answer"),
        ]
    )
    for layer in model.layers[:2]:
        kernel, bias = layer.get_weights()
        layer.set_weights([np.where(np.random.default_rng(1).random(kernel.shape) < 0.9, 0, kernel), bias])
    return model


@dataclass(frozen=True)
class Pair:
    """A file, and the same with metadata."""

    plain: bytes
    told: bytes


@pytest.fixture(scope="module", params=["float", "int8", "sparse", "float16"])
def pair(request: pytest.FixtureRequest) -> Pair:
    def examples():
        return iter([{"picture": each[None]} for each in IMAGES])

    conversion = {
        "float": Conversion(),
        "int8": Conversion("int8", examples, integer_io=True),
        "sparse": Conversion(sparse=True),
        "float16": Conversion("float16"),
    }[request.param]
    plain = convert(classifier(), conversion)
    return Pair(plain, with_metadata(plain, name="numbers", labels=LABELS, mean=[1, 2, 3], std=255, version="v7"))


@pytest.fixture(scope="module")
def content() -> bytes:
    return convert(classifier())


def test_it_is_read_back(pair):
    found = read_metadata(pair.told)
    assert (found.name, found.version, found.inputs, found.outputs) == ("numbers", "v7", ("picture",), ("answer",))
    assert (found.mean, found.std, found.image) == ((1, 2, 3), (255,), (8, 8, 3))
    assert found.labels == tuple(LABELS)


def test_the_model_answers_and_looks_as_before(pair):
    plain, told = Session(pair.plain), Session(pair.told)
    np.testing.assert_array_equal(told.ask(IMAGES)["answer"], plain.ask(IMAGES)["answer"])
    before, after = opened(pair.plain), opened(pair.told)
    assert after.get_signature_list() == before.get_signature_list()
    for one, other in zip(before.get_tensor_details(), after.get_tensor_details(), strict=True):
        np.testing.assert_equal(other, one)  # names, shapes, quantization, sparsity


def test_the_model_lies_in_the_file_byte_by_byte_and_aligned(pair):
    place = pair.told.find(pair.plain)
    assert place > 0
    assert place % 16 == 0


def test_buffers_and_metadata_of_before_keep_their_numbers(pair):
    before, after = (schema.ModelT.InitFromPackedBuf(each, 0) for each in (pair.plain, pair.told))
    assert [(each.name, each.buffer) for each in after.metadata[:-1]] == [
        (each.name, each.buffer) for each in before.metadata
    ]
    assert (after.metadata[-1].name, after.metadata[-1].buffer) == (b"TFLITE_METADATA", len(before.buffers))
    for one, other in zip(before.buffers, after.buffers[:-1], strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    assert (after.version, after.description) == (before.version, before.description)


def test_unzip_gives_the_labels(pair):
    with zipfile.ZipFile(io.BytesIO(pair.told)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED


def test_fields_lie_where_the_published_schema_has_them(pair):
    data = buffer_of(pair.told, "TFLITE_METADATA")
    assert data[4:8] == b"M001"

    def down(table: Table, slot: int) -> Table:
        return Table(data, table.Indirect(table.Pos + table.Offset(4 + 2 * slot)))

    def first(table: Table, slot: int) -> Table:
        return Table(data, table.Indirect(table.Vector(table.Offset(4 + 2 * slot))))

    def scalar(table: Table, slot: int, flags: type) -> int:
        return table.Get(flags, table.Pos + table.Offset(4 + 2 * slot))

    root = Table(data, int.from_bytes(data[:4], "little"))
    graph = first(root, 3)  # subgraph_metadata
    tensor = first(graph, 2)  # input_tensor_metadata
    unit = first(tensor, 4)  # process_units
    assert scalar(unit, 0, numbers.Uint8Flags) == 1  # NormalizationOptions
    options = down(unit, 1)
    assert options.VectorLen(options.Offset(4)) == 3  # mean
    content = down(tensor, 3)
    assert scalar(content, 0, numbers.Uint8Flags) == 2  # ImageProperties
    image = down(content, 1)
    assert scalar(image, 0, numbers.Int8Flags) == 1  # RGB
    assert scalar(down(image, 1), 0, numbers.Uint32Flags) == 8  # width
    file = first(first(graph, 3), 6)  # associated_files of output_tensor_metadata
    assert file.String(file.Pos + file.Offset(4)) == b"labels.txt"
    assert scalar(file, 2, numbers.Int8Flags) == 2  # TENSOR_AXIS_LABELS
    assert root.String(root.Pos + root.Offset(4 + 2 * 7)) == b"1.0.0"  # min_parser_version


def test_without_labels_there_is_no_archive(content):
    told = with_metadata(content, name="numbers")
    assert not zipfile.is_zipfile(io.BytesIO(told))
    assert read_metadata(told).labels == ()


def test_it_is_the_same_each_time(content):
    one, other = (with_metadata(content, name="numbers", labels=LABELS) for _ in range(2))
    assert one == other


def test_of_several_inputs_images_are_normalized_and_the_fitting_output_is_labelled():
    picture, numbers_in = keras.Input((8, 8, 1), name="picture"), keras.Input((5,), name="numbers")
    both = layers.Concatenate()([layers.Flatten()(picture), numbers_in])
    outputs = [layers.Dense(4, name="answer")(both), layers.Dense(2, name="other")(both)]
    found = read_metadata(
        with_metadata(convert(keras.Model([picture, numbers_in], outputs)), name="two", labels=LABELS, std=2.0)
    )
    assert set(found.inputs) == {"picture", "numbers"}
    assert set(found.outputs) == {"answer", "other"}
    assert (found.std, found.image, found.labels) == ((2.0,), (8, 8, 1), tuple(LABELS))


@settings(max_examples=40, deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8"), max_size=40),
    labels=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: len(text.splitlines()) == 1), min_size=4
    ).map(lambda all_of_them: all_of_them[:4]),
    mean=st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=3, max_size=3),
    std=st.floats(2.0**-10, 2.0**20, width=32),
)
def test_whatever_is_taken_is_read_back(content, name, labels, mean, std):
    labels = [label.strip("\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029") or "x" for label in labels]
    told = with_metadata(content, name=name, labels=labels, mean=mean, std=std)
    found = read_metadata(told)
    assert (found.name, found.labels, found.mean, found.std) == (name, tuple(labels), tuple(mean), (std,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": ["a", "b"]}, "got 2 names, but the model answers 4 numbers"),
        ({"labels": ["a", "b", "c\nd", "e"]}, r"got 'c\\nd', expected a name on one line"),
        ({"labels": ["a", "b", "", "e"]}, "got '', expected a name on one line"),
        ({"labels": ["a", "b", 3, "e"]}, "got 3, expected a name on one line"),
        ({"std": 0.0}, "std is .0.0., expected numbers above 0"),
        ({"mean": [1.0, float("nan"), 1.0]}, "mean is .*, expected finite numbers"),
        ({"mean": 1e300}, "mean is .inf., expected finite numbers"),
        ({"std": 1e-300}, "std is .0.0., expected numbers above 0"),
        ({"mean": [1.0, 2.0]}, "mean has 2 values, expected 1 or 3, one a channel"),
    ],
)
def test_what_cannot_be_is_one_line(content, given, message):
    with pytest.raises(ExportError, match=message) as caught:
        with_metadata(content, name="numbers", **given)
    assert "\n" not in str(caught.value)


def test_other_files_and_files_with_metadata_are_refused(content):
    with pytest.raises(ModelError, match="not a LiteRT file"):
        with_metadata(b"PK\x03\x04 and so on", name="numbers")
    with pytest.raises(ModelError, match="has metadata already"):
        with_metadata(with_metadata(content, name="numbers"), name="numbers")
    with pytest.raises(ModelError, match="has no metadata"):
        read_metadata(content)


def test_labels_that_would_fill_the_memory_are_refused(content):
    bomb = io.BytesIO(with_metadata(content, name="numbers", labels=LABELS))
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("labels.txt", bytes(20_000_000))
    with pytest.raises(ModelError, match="labels take more than 16,000,000 bytes"):
        read_metadata(bomb.getvalue())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(content, data):
    broken = bytearray(with_metadata(content, name="numbers", labels=LABELS))
    for _ in range(data.draw(st.integers(1, 4))):
        # Root, lists and metadata lie in front, the archive at the end; between them are weights.
        place = data.draw(st.integers(0, 900) | st.integers(len(broken) - 200, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(broken)))
    for read in (read_metadata, lambda each: with_metadata(each, name="numbers")):
        try:
            read(bytes(broken[:cut]))
        except ModelError as error:
            assert "\n" not in str(error)

"""Where the examples come from: one section a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfprune.recipe.base import Arguments, Count, FunctionName, OpenShare, Positive, Section, Share


class DataSection(Section):
    """What every data source has in common.

    Attributes:
        validation: share of the training examples held out to decide with.
        test: share held out for the one look at the end; unused where the source has a test part of its own.
        classes: names of the classes; by default what the source knows, or the numbers.
        divide_by: inputs are divided by this (255 for bytes).
        shuffle_buffer: examples in the shuffle window of a source that streams.
        metadata: names of columns that travel with the examples, to cut slices by: columns of `metadata_file`, or of
            the source itself where it has some. Where it is empty, all columns of the file travel, and all that
            Python code hands over.
        metadata_file: a CSV file with a header and one line an example, in the order of the source.
        metadata_validation_file: the same for the validation part, where the source has one of its own.
        metadata_test_file: the same for the test part.
    """

    _newer: ClassVar = frozenset(("metadata", "metadata_file", "metadata_validation_file", "metadata_test_file"))

    validation: OpenShare = 0.15
    test: Share = 0.15
    classes: tuple[str, ...] | None = None
    divide_by: Positive = 1.0
    shuffle_buffer: Count = 10_000
    metadata: tuple[str, ...] = ()
    metadata_file: Path | None = None
    metadata_validation_file: Path | None = None
    metadata_test_file: Path | None = None

    @model_validator(mode="after")
    def _leaves_training_examples(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on; "
                "their sum must be under 1"
            )
        return self


class DigitsData(DataSection):
    """scikit-learn's 1,797 scans of 8x8 pixels, scaled to [0, 1]; needs no file and no network."""

    source: Literal["digits"]


class NpzData(DataSection):
    """A NumPy archive with arrays `x` and `y`, and `x_test`/`y_test` where it has a test part.

    `metadata` names further arrays of it, with one value an example; ``<name>_test`` is that of the test part.
    """

    source: Literal["npz"]
    path: Path
    x: str = "x"
    y: str = "y"


class ImagesData(DataSection):
    """A folder with one folder of images a class; `test_path` names a second such folder.

    A `metadata_file` with a column ``file``, the path below the folder, may have its lines in any order; without that
    column they follow the sorted paths. `metadata` may also name ``width`` and ``height``, those of the file in pixels.
    """

    source: Literal["images"]
    path: Path
    test_path: Path | None = None
    size: tuple[Count, Count]
    channels: Literal[1, 3] = 3


class TFRecordData(DataSection):
    """TFRecord files (globs allowed) of tf.train.Example with an image and an int64 label.

    `encoding` is ``image`` for JPEG, PNG or BMP bytes, ``raw`` for uint8 bytes in `shape`. `metadata` names further
    features with a single value.
    """

    source: Literal["tfrecord"]
    path: str
    test_path: str | None = None
    image: str = "image"
    label: str = "label"
    encoding: Literal["image", "raw"] = "image"
    shape: tuple[Count, Count, Count]


class CsvData(DataSection):
    """A CSV file: numeric `features`, or one or more `text` columns joined by a space.

    The first line names the columns, unless `columns` does, as for a file without such a line. Text becomes token
    ids through a TextVectorization layer that is adapted to the training part. `metadata` names columns that are kept
    as they are; where `features` is not given, these are not among them.
    """

    source: Literal["csv"]
    path: Path
    test_path: Path | None = None
    label: str
    columns: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    text: tuple[str, ...] | None = None
    vocabulary: Count = 10_000
    length: Count = 64

    @model_validator(mode="after")
    def _text_or_features(self) -> Self:
        if self.text and self.features:
            raise ValueError("'text' and 'features' exclude each other; give one of them")
        return self


class KerasData(DataSection):
    """A data set of keras.datasets by name, e.g. ``mnist``; the first use needs a network."""

    source: Literal["keras"]
    name: str


class TfdsData(DataSection):
    """A data set of tensorflow-datasets by name; needs that package and, the first time, a network."""

    source: Literal["tfds"]
    name: str
    directory: Path | None = None


class FunctionData(DataSection):
    """``package.module:function``, called with `arguments`.

    It returns arrays ``(x, y)``, or a dict with ``train`` and optionally ``validation``, ``test`` (arrays, or
    unbatched finite tf.data.Dataset of (x, label)). A third item holds metadata: columns by name or a DataFrame
    beside arrays, a dict of scalars in a Dataset.
    """

    source: Literal["function"]
    function: FunctionName
    arguments: Arguments = {}


AnyData = Annotated[
    DigitsData | NpzData | ImagesData | TFRecordData | CsvData | KerasData | TfdsData | FunctionData,
    Field(discriminator="source"),
]

DATA_SOURCES: dict[str, type[DataSection]] = {
    "digits": DigitsData,
    "npz": NpzData,
    "images": ImagesData,
    "tfrecord": TFRecordData,
    "csv": CsvData,
    "keras": KerasData,
    "tfds": TfdsData,
    "function": FunctionData,
}

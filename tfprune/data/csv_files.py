"""CSV files: numeric columns, or text that becomes token ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tfprune.backend import keras
from tfprune.data.arrays import as_numbers, split_arrays
from tfprune.data.digests import digest_files
from tfprune.data.labels import class_indices, indices_of_names, ordered_names
from tfprune.data.metadata import Brought
from tfprune.data.tables import Cells, Table, read_table
from tfprune.errors import DataError

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import CsvData


def load_csv(section: CsvData, seed: int) -> Data:
    """Read a CSV file, and a second one for the test part where `test_path` names it.

    Labels that are words become classes in sorted order. Whole numbers are class indices; numbers 1..n count as
    the n classes, for that is how many files number them.

    Raises:
        DataError: a file, column, number or label that cannot be read; says where.
    """
    paths = {"train": section.path} | ({"test": section.test_path} if section.test_path else {})
    tables = {part: read_table(path, section.columns) for part, path in paths.items()}
    labels, names = _labels({part: table.column(section.label) for part, table in tables.items()}, section.classes)
    encode = partial(_encode, section=section) if section.text else None
    inputs = {part: _inputs(table, part, section) for part, table in tables.items()}
    if not section.features and len({x.shape[1:] for x in inputs.values()}) > 1:
        raise DataError(f"{section.test_path}: has other columns than {section.path}; name them in 'features'")
    parts = {part: (inputs[part], labels[part]) for part in tables}
    brought = {part: _columns(table, section) for part, table in tables.items()}
    digest = digest_files(paths.values())
    return split_arrays(parts, section, seed, names, encode=encode, digest=digest, brought=brought)


def _columns(table: Table, section: CsvData) -> Brought:
    here = [name for name in section.metadata if name in table.header]
    return Brought({name: Cells(table.column(name)) for name in here}, table.header)


def _inputs(table: Table, part: str, section: CsvData) -> np.ndarray:
    if section.text:
        return np.array([" ".join(texts) for texts in zip(*map(table.column, section.text), strict=True)], object)
    others = (section.label, *section.metadata)
    names = section.features or tuple(name for name in table.header if name not in others)
    if not names:
        besides = f"the label {section.label!r}{' and metadata' if section.metadata else ''}"
        raise DataError(f"{table.path}: no column besides {besides}")
    return as_numbers(np.stack([_numbers(table, name) for name in names], axis=1), part)


def _numbers(table: Table, name: str) -> np.ndarray:
    texts = table.column(name)
    try:
        return np.array(texts, np.float64)
    except ValueError:
        for text, line in zip(texts, table.lines, strict=True):
            try:
                float(text)
            except ValueError:
                raise DataError(
                    f"{table.path}, line {line}: column {name!r} has {text!r}, which is not a number"
                ) from None
        raise


def _labels(
    texts: dict[str, list[str]], given: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Class indices by part, and the names of the classes where the file knows them."""
    found = set(texts["train"])
    try:
        numbers = {part: np.array(column, np.float64) for part, column in texts.items()}
    except ValueError:
        numbers = {}
    if not numbers or (given and found <= set(given)):
        names = ordered_names(list(found), given)
        return {part: indices_of_names(column, names, part) for part, column in texts.items()}, names
    labels = {part: class_indices(column, part) for part, column in numbers.items()}
    top = int(labels["train"].max())
    counts_from_one = set(labels["train"].tolist()) == set(range(1, top + 1)) and len(given or range(top)) == top
    if not counts_from_one:
        return labels, None
    for part, values in labels.items():
        if (values == 0).any():
            raise DataError(f"label 0 in the {part} part, but labels of the train part count from 1")
    return {part: values - 1 for part, values in labels.items()}, tuple(str(number) for number in range(1, top + 1))


def _encode(texts: dict[str, np.ndarray], *, section: CsvData) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Token ids by split, int64 of shape (n, length), and the vocabulary, learnt from the training texts."""
    layer = keras.layers.TextVectorization(max_tokens=section.vocabulary, output_sequence_length=section.length)
    layer.adapt(texts["train"].astype(str))
    ids = {name: np.asarray(layer(values.astype(str)), np.int64) for name, values in texts.items()}
    return ids, tuple(layer.get_vocabulary())

"""Data that lies in memory: arrays are checked, split and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.data.assign import check_parts, plan
from tfprune.data.digests import digest_arrays, with_columns
from tfprune.data.labels import class_indices
from tfprune.data.metadata import Brought, gather, rows
from tfprune.data.splits import ArraySplit, Data
from tfprune.errors import DataError

if TYPE_CHECKING:
    from tfprune.recipe import DataSection

Arrays = tuple[Any, Any]


def data_from_arrays(
    parts: Mapping[str, Arrays],
    section: DataSection,
    seed: int,
    names: Sequence[str] | None = None,
    *,
    brought: Mapping[str, Brought] | None = None,
) -> Data:
    """Check and split arrays.

    Args:
        parts: (x, y) by part, as `plan` takes them; x has shape (n, ...), y is what `class_indices` takes.
        section: shares, class names, `divide_by` and metadata.
        seed: decides the splits.
        names: class names that the source knows.
        brought: metadata of the source itself, by part.

    Raises:
        DataError: x is not one finite numeric array, does not fit y, the parts do not fit each other, or metadata does
            not fit the examples.
    """
    check_parts(parts)
    checked = {part: checked_pair(x, y, part) for part, (x, y) in parts.items()}
    shapes = {part: x.shape[1:] for part, (x, _) in checked.items()}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise DataError(f"examples of the {part} part have shape {shape}, but those of train {shapes['train']}")
    return split_arrays(checked, section, seed, names, brought=brought)


def split_arrays(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    section: DataSection,
    seed: int,
    names: Sequence[str] | None = None,
    *,
    encode: Callable[[dict[str, np.ndarray]], tuple[dict[str, np.ndarray], tuple[str, ...]]] | None = None,
    digest: str | None = None,
    brought: Mapping[str, Brought] | None = None,
) -> Data:
    """Split arrays that have been checked.

    Args:
        parts: (x, class indices) by part.
        section: shares, class names, `divide_by` and metadata.
        seed: decides the splits.
        names: class names that the source knows.
        encode: turns the x of all splits into numbers and a vocabulary; it may learn from ``train`` only.
        digest: over the content, where the source has a better one than over the arrays.
        brought: metadata of the source itself, by part.
    """
    classes, places = plan({part: y for part, (_, y) in parts.items()}, section, seed, names)
    columns = gather(section, {part: len(y) for part, (_, y) in parts.items()}, brought or {})
    inputs = {name: parts[place.part][0][place.ordinals] for name, place in places.items()}
    vocabulary = None
    if encode is not None:
        inputs, vocabulary = encode(inputs)
    divide_by = 1.0 if vocabulary else section.divide_by
    splits = {}
    for name, place in places.items():
        metadata = rows(columns[place.part], place.ordinals)
        splits[name] = ArraySplit(name, inputs[name], place.labels, divide_by=divide_by, metadata=metadata)
    digest = with_columns(digest or digest_arrays(parts), columns)
    return Data(splits["train"], splits["validation"], splits["test"], classes, digest, vocabulary)


def checked_pair(x: Any, y: Any, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x as a numeric array (floats as float32) and y as class indices.

    Raises:
        DataError: see `data_from_arrays`.
    """
    inputs = as_numbers(x, part)
    labels = class_indices(y, part)
    if len(inputs) != len(labels):
        raise DataError(f"the {part} part has {len(inputs)} examples in x, but {len(labels)} labels in y")
    return inputs, labels


def as_numbers(x: Any, part: str, *, start: int = 0) -> np.ndarray:
    """Return x as a finite numeric array of shape (n, ...); `start` is the number of its first example.

    Raises:
        DataError: x is ragged, not numeric, or holds NaN or infinite values; says how many and where.
    """
    try:
        inputs = np.asarray(x)
    except ValueError:
        inputs = np.zeros(0, object)
    if inputs.dtype == object:
        raise DataError(f"x of the {part} part is not one array: its examples differ in shape or are not numbers")
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"x of the {part} part holds {inputs.dtype}; expected numbers (for text, use source csv)")
    if inputs.ndim < 2:
        raise DataError(f"x of the {part} part has shape {inputs.shape}; expected (examples, ...)")
    if inputs.dtype.kind == "f":
        with np.errstate(over="ignore"):
            inputs = inputs.astype(np.float32, copy=False)
        check_finite(inputs, part, start=start)
    return inputs


def check_finite(x: np.ndarray, part: str, *, start: int = 0) -> None:
    """Raise DataError when x holds NaN or infinite values."""
    bad = ~np.isfinite(x)
    if bad.any():
        first = start + int(np.argmax(bad.reshape(len(x), -1).any(axis=1)))
        raise DataError(
            f"x of the {part} part has {int(bad.sum())} NaN or infinite values, the first at example {first}"
        )

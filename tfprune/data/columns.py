"""Columns of metadata: whatever a source holds becomes numbers, yes/no or text, one value an example."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np

from tfprune.data.tables import Cells
from tfprune.errors import DataError

_EXACT = 2**53  # float64 holds every whole number up to here
_TRUTH = {"false": 0, "true": 1}
_KINDS = {"b": "yes/no", "f": "numbers", "O": "text"}
_ABSENT = ("NAType", "NaTType")  # what pandas has in place of a value


def typed(name: str, parts: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """One column of all parts of a source, of the same kind in each.

    Args:
        name: of the column, for messages.
        parts: its values by part: cells of a CSV file, or anything that NumPy takes as an array of one axis.
        counts: examples by part.

    Returns:
        By part an array of shape (examples,): float64, where a value that is missing is NaN; bool; or str objects,
        where it is empty. Cells are numbers, or true and false, where all are. Yes and no count as 1 and 0 where some
        are missing. Whole numbers beyond 2**53 are text, for float64 cannot tell them apart.

    Raises:
        DataError: not one value an example, or not the same kind in each part.

    Example:
        >>> typed("age", {"train": Cells(["61", "", "7"])}, {"train": 3})["train"]
        array([61., nan,  7.])
    """
    kind = _kind_of_cells(set(chain(*(values for values in parts.values() if isinstance(values, Cells)))))
    found = {}
    for part, values in parts.items():
        column = f"metadata column {name!r} of the {part} part"
        array = _from_cells(values, kind) if isinstance(values, Cells) else _from_objects(values, column)
        if len(array) != counts[part]:
            raise DataError(f"{column} has {len(array)} values, but there are {counts[part]} examples")
        found[part] = array
    if {array.dtype.kind for array in found.values()} == {"b", "f"}:
        found = {part: array.astype(np.float64) for part, array in found.items()}
    kinds = {part: _KINDS[array.dtype.kind] for part, array in found.items()}
    first, kind = next(iter(kinds.items()))
    for part, each in kinds.items():
        if each != kind:
            raise DataError(f"metadata column {name!r} holds {kind} in the {first} part, but {each} in the {part} part")
    return found


def _kind_of_cells(cells: set[str]) -> str:
    words = {cell.strip().lower() for cell in cells}
    present = words - {""}
    if not present:
        return "O"
    if present <= _TRUTH.keys():
        return "b" if present == words else "f"
    return "f" if all(map(_is_number, present)) else "O"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    digits = word.lstrip("+-")
    return "_" not in word and not (digits.isdecimal() and len(digits) > 15 and int(digits) > _EXACT)


def _from_cells(cells: Cells, kind: str) -> np.ndarray:
    if kind == "O":
        return np.array(cells, object)
    words = [cell.strip().lower() for cell in cells]
    numbers = [float(_TRUTH.get(word, word)) if word else np.nan for word in words]
    return np.array(numbers, bool if kind == "b" else np.float64)


def _from_objects(values: Any, column: str) -> np.ndarray:
    """Values that Python code hands over; arrays keep their kind, lists are looked at one by one."""
    values = values.to_numpy() if hasattr(values, "to_numpy") else values
    try:
        array = np.asarray(values) if hasattr(values, "dtype") else np.array(values, object)
    except ValueError as error:
        raise DataError(f"{column} is ragged; expected one value an example") from error
    if array.ndim != 1:
        raise DataError(f"{column} has shape {array.shape}; expected one value an example")
    if array.dtype.kind == "b":
        return array.astype(bool)
    if array.dtype.kind in "iu" and array.size and max(int(array.max()), -int(array.min())) > _EXACT:
        return array.astype(str).astype(object)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    return _from_list(array.tolist() if array.dtype.kind in "OSU" else array.astype(str).tolist(), column)


def _from_list(values: list[Any], column: str) -> np.ndarray:
    absent = [value is None or type(value).__name__ in _ABSENT or _is_nan(value) for value in values]
    present = [value for value, is_absent in zip(values, absent, strict=True) if not is_absent]
    bad = next((i for i, value in enumerate(values) if hasattr(value, "__len__") and not _is_text(value)), None)
    if bad is not None:
        raise DataError(f"{column} has a {type(values[bad]).__name__} at example {bad}; expected one value an example")
    if present and all(isinstance(value, bool | np.bool_) for value in present) and not any(absent):
        return np.array(values, bool)
    is_exact = all(abs(int(value)) <= _EXACT for value in present if isinstance(value, int | np.integer))
    if is_exact and all(isinstance(value, Real | np.bool_) for value in present):
        return np.array([np.nan if no else float(value) for value, no in zip(values, absent, strict=True)], np.float64)
    once: dict[str, str] = {}  # most values come again, and need not lie in memory as often
    texts = ["" if no else _text(value, column) for value, no in zip(values, absent, strict=True)]
    return np.array([once.setdefault(text, text) for text in texts], object)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _text(value: Any, column: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise DataError(f"{column} has bytes that are not UTF-8 text: {value[:20]!r}") from error

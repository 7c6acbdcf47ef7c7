"""Labels: whatever a source holds becomes class indices, or one line that says why not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.errors import DataError, nearest


def class_indices(y: object, part: str = "train") -> np.ndarray:
    """Return labels as int64 class indices, shape (examples,).

    Args:
        y: integers of shape (n,) or (n, 1), or one-hot rows of shape (n, classes).
        part: the part of the data they belong to, for messages.

    Raises:
        DataError: a label is not an integer, is negative, or a row is not one-hot; says which and where.

    Example:
        >>> class_indices([[0, 1], [1, 0]])
        array([1, 0])
    """
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "biuf":
        shown = (
            repr(values.flat[0].item() if hasattr(values.flat[0], "item") else values.flat[0])
            if values.size
            else "none"
        )
        raise DataError(f"labels{_of(part)} must be integers, but the first is {shown}")
    if values.ndim == 2:
        return _from_one_hot(values, part)
    if values.ndim != 1:
        raise DataError(
            f"labels{_of(part)} have shape {values.shape}; expected (examples,) or one-hot (examples, classes)"
        )
    whole = np.isfinite(values) & (values == np.floor(values))
    _refuse(values, ~whole, part, "is not an integer; a label is the number of a class, from 0")
    _refuse(values, values < 0, part, "is negative; classes are numbered from 0")
    return values.astype(np.int64)


def class_names(labels: np.ndarray, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the classes of a training part: the given ones, or numbers.

    Raises:
        DataError: a label lies outside the given names, a class has no example, or there is only one class.
    """
    present = np.unique(labels)
    count = len(given) if given else int(present[-1]) + 1
    check_range(labels, count)
    if len(present) < count:
        absent = int(np.flatnonzero(np.append(present, -1) != np.arange(len(present) + 1))[0])
        shown = f"{absent} ({given[absent]})" if given else str(absent)
        raise DataError(f"class {shown} has no example to train on; labels must use every number 0..{count - 1}")
    if count == 1:
        raise DataError(f"all {len(labels)} examples are of one class; expected two classes or more")
    return tuple(given) if given else tuple(str(index) for index in range(count))


def check_range(labels: np.ndarray, classes: int, part: str = "train") -> None:
    """Raise DataError when a label is no class index, naming the first one."""
    _refuse(labels, labels >= classes, part, f"is outside the {classes} classes 0..{classes - 1}")


def indices_of_names(names: Sequence[str], known: Sequence[str], part: str = "train") -> np.ndarray:
    """Turn class names into indices in `known`.

    Raises:
        DataError: a name is not known; says which, where, and the nearest one.
    """
    positions = {name: index for index, name in enumerate(known)}
    for index, name in enumerate(names):
        if name not in positions:
            where = f"at example {index}{_of(part)}"
            raise DataError(f"label {name!r} {where} is not one of the {len(known)} classes{nearest(name, known)}")
    return np.array([positions[name] for name in names], np.int64)


def ordered_names(found: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names a source found, sorted, or in the order of `given` where that holds the same names.

    A recipe that lists the names of folders in another order means that order, not a renaming.
    """
    found = sorted(set(found))
    return tuple(given) if given and set(found) <= set(given) else tuple(found)


def _from_one_hot(rows: np.ndarray, part: str) -> np.ndarray:
    one_hot = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    if not one_hot.all():
        raise DataError(
            f"labels{_of(part)} have shape {rows.shape} but row {int(np.argmin(one_hot))} is not one-hot; "
            "expected class numbers, or rows with a single 1"
        )
    return rows.argmax(axis=1).astype(np.int64)


def _refuse(values: np.ndarray, bad: np.ndarray, part: str, complaint: str) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        raise DataError(f"label {values[index]} at example {index}{_of(part)} {complaint}")


def _of(part: str) -> str:
    return "" if part == "train" else f" of the {part} part"

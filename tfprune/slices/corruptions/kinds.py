"""Which corruption is for which kind of data."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tfprune.errors import SliceError, nearest
from tfprune.slices.corruptions.images import IMAGES
from tfprune.slices.corruptions.tables import TABLES
from tfprune.slices.corruptions.text import TEXTS

KINDS: dict[str, tuple[str, ...]] = {"image": tuple(IMAGES), "text": tuple(TEXTS), "table": tuple(TABLES)}
"""Kind of data -> names of the corruptions that fit it."""

NAMES: tuple[str, ...] = tuple(name for names in KINDS.values() for name in names)


def kind_of(shape: tuple[int | None, ...], dtype: DTypeLike) -> str:
    """Tell the kind of data by one example.

    Args:
        shape: of an example, without the batch axis; None where a size is open.
        dtype: of its values.

    Returns:
        ``image`` for floats (height, width, channels), ``text`` for integers (length,) and ``table`` for floats
        (columns,).

    Raises:
        SliceError: anything else.

    >>> kind_of((32, 32, 3), "float32"), kind_of((None,), "int64"), kind_of((13,), "float32")
    ('image', 'text', 'table')
    """
    known = {(3, "f"): "image", (1, "i"): "text", (1, "u"): "text", (1, "f"): "table"}
    dtype = np.dtype(dtype)
    kind = known.get((len(shape), dtype.kind))
    if kind is None:
        raise SliceError(
            f"corruptions: an example of shape {tuple(shape)} and type {dtype} is neither an image (floats of height, "
            "width, channels) nor a text (integers of one axis) nor a table's row (floats of one axis); "
            "leave the corruptions out, or give the data in one of these forms"
        )
    return kind


def check(name: str, kind: str) -> None:
    """Refuse a corruption that does not exist or is for another kind of data.

    Raises:
        SliceError: one line that names the corruptions that fit.

    >>> check("blur", "image")
    >>> check("blur", "text")
    Traceback (most recent call last):
    tfprune.errors.SliceError: corruption 'blur' is for image data, not for text data; choose token_drop or token_swap
    """
    if kind not in KINDS:
        raise SliceError(f"kind of data {kind!r}: expected one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    fitting = KINDS[kind]
    if name not in NAMES:
        raise SliceError(
            f"corruption {name!r} is not known; for {kind} data there are {_listed(fitting)}{nearest(name, NAMES)}"
        )
    if name not in fitting:
        meant = next(each for each, names in KINDS.items() if name in names)
        raise SliceError(
            f"corruption {name!r} is for {meant} data, not for {kind} data; choose {_listed(fitting, 'or')}"
        )


def _listed(names: tuple[str, ...], word: str = "and") -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}"

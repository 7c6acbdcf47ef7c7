"""Real numbers as a LiteRT file stores them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfprune.errors import ModelError


def check_shape(value: np.ndarray, count: int, name: str, detail: dict[str, Any]) -> None:
    """Refuse what is not `count` examples, at least one, of the shape that an input has.

    Raises:
        ModelError: says both shapes.
    """
    if value.shape != (count, *detail["shape"][1:]) or not count:
        expected = shape_words((count or "examples", *map(int, detail["shape"][1:])))
        raise ModelError(f"input {name!r} of the file: got shape {value.shape}, expected {expected}")


def stored(value: np.ndarray, name: str, detail: dict[str, Any]) -> np.ndarray:
    """Numbers as an input stores them: by its scale and zero point where it has them, else cast.

    Args:
        value: real numbers; token ids for an integer input without a scale.
        name: of the input.
        detail: of the input, from the interpreter.

    Raises:
        ModelError: no numbers, or some that an integer input cannot hold.
    """
    dtype = np.dtype(detail["dtype"])
    if not (np.issubdtype(value.dtype, np.number) or value.dtype == bool):
        raise ModelError(f"input {name!r} of the file: got {value.dtype}, expected numbers")
    if not np.issubdtype(dtype, np.integer):
        return value.astype(dtype, copy=False)
    quantization = detail["quantization_parameters"]
    if len(quantization["scales"]):
        if not np.isfinite(value).all():
            raise ModelError(f"input {name!r} of the file stores {dtype}, but got numbers that are not finite")
        steps = np.rint(value / quantization["scales"][0]) + quantization["zero_points"][0]
        return np.clip(steps, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    with np.errstate(invalid="ignore"):
        cast = value.astype(dtype, copy=False)
    if not np.array_equal(cast, value):
        raise ModelError(f"input {name!r} of the file stores {dtype}, but got numbers that are not of that type")
    return cast


def real(value: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """What an output stores, as real numbers.

    >>> detail = {"quantization_parameters": {"scales": [0.5], "zero_points": [-3]}}
    >>> real(np.array([-3, 1], np.int8), detail).tolist()
    [0.0, 2.0]
    """
    quantization = detail["quantization_parameters"]
    if not len(quantization["scales"]) or not np.issubdtype(value.dtype, np.integer):
        return value
    return ((value.astype(np.float64) - quantization["zero_points"][0]) * quantization["scales"][0]).astype(np.float32)


def filled(value: np.ndarray, count: int) -> np.ndarray:
    """Repeat the last example until there are `count`."""
    return value if len(value) == count else np.concatenate([value, np.repeat(value[-1:], count - len(value), axis=0)])


def shape_words(sizes: Sequence[Any]) -> str:
    """``(1, 8, 8)``, of whatever the sizes are."""
    return f"({', '.join(map(str, sizes))}{',' * (len(sizes) == 1)})"

"""Rules that say in words, and tell of any split, which examples belong to a group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tfprune.errors import SliceError


@dataclass(frozen=True)
class Range:
    """What a rule asks of a column of numbers: ``low < value <= high`` (None: no bound), or missing (NaN)."""

    column: str
    low: float | None = None
    high: float | None = None
    known: bool = True
    missing: bool = False

    def matches(self, column: Any) -> np.ndarray:
        numbers = numbers_of(np.asarray(column))
        if numbers is None:
            raise SliceError(f"column {self.column!r} holds text, but the rule {str(self)!r} expects numbers")
        absent = np.isnan(numbers)
        inside = ~absent & self.known
        if self.low is not None:
            inside &= numbers > self.low
        if self.high is not None:
            inside &= numbers <= self.high
        return inside | (absent & self.missing)

    def __str__(self) -> str:
        if not self.known:
            return f"{self.column} is missing"
        bounds = [
            f"{self.column} {sign} {_short(bound)}"
            for sign, bound in ((">", self.low), ("<=", self.high))
            if bound is not None
        ]
        text = " and ".join(bounds) or f"{self.column} is known"
        return f"({text} or {self.column} is missing)" if self.missing else text


@dataclass(frozen=True)
class Category:
    """What a rule asks of a column of text or booleans: one value, or none of some."""

    column: str
    value: str | None = None
    excluded: tuple[str, ...] = ()

    def matches(self, column: Any) -> np.ndarray:
        texts = texts_of(np.asarray(column))
        return ~np.isin(texts, self.excluded) if self.value is None else texts == self.value

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.column} = {self.value}"
        return " and ".join(f"{self.column} != {value}" for value in self.excluded)


def check_columns(columns: Mapping[str, np.ndarray], n: int) -> None:
    """Raise a SliceError unless every column has n values that a rule can ask about."""
    for name, column in columns.items():
        shape, kind = np.shape(column), np.asarray(column).dtype.kind
        if shape != (n,):
            raise SliceError(
                f"column {name!r} has shape {shape}, but there are {n} examples; give one value an example"
            )
        if kind not in "biufUSOT":
            raise SliceError(
                f"column {name!r} holds {np.asarray(column).dtype}, expected numbers, text or booleans; convert it"
            )


def numbers_of(column: np.ndarray) -> np.ndarray | None:
    """Float64 with NaN for what is missing, or None for text and booleans."""
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    if column.dtype.kind == "O" and all(v is None or (isinstance(v, Real) and not isinstance(v, bool)) for v in column):
        return column.astype(np.float64)
    return None


def texts_of(column: np.ndarray) -> np.ndarray:
    """Values as text; ``missing`` for None and NaN."""
    return np.array([_text(value) for value in column.tolist()], dtype=np.str_)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _short(number: float) -> str:
    return repr(number).removesuffix(".0")

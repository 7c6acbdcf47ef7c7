"""Groups of examples by a column of metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfprune.errors import SliceError, nearest

if TYPE_CHECKING:
    from tfprune.recipe import Column

_MOST_VALUES = 50

Group = tuple[str, np.ndarray]
"""A name, and bool (n,)."""


def groups_of_column(
    spec: Column, metadata: Mapping[str, np.ndarray], train_metadata: Mapping[str, np.ndarray], split: str
) -> list[Group]:
    """The groups that a column is cut into.

    Args:
        spec: names the column and the condition.
        metadata: columns of the split.
        train_metadata: of the training part, which says where quantiles lie; without it the split does.
        split: its name, for messages.

    Raises:
        SliceError: no such column, or values of another type than the condition's.
    """
    name = spec.column
    values = column(metadata, name, split)
    if spec.equals is not None:
        return [(f"{name}_{_plain(spec.equals)}", _equal(values, spec.equals, name))]
    if spec.among is not None:
        members = np.any([_equal(values, each, name) for each in spec.among], axis=0)
        return [(f"{name}_{'_'.join(map(_plain, spec.among))}", members)]
    if spec.range is not None:
        return [_within(_numbers(values, name), *spec.range, name)]
    if spec.quantiles is not None:
        reference = train_metadata.get(name, values)
        return _quantiles(_numbers(values, name), _numbers(reference, name), spec.quantiles, name)
    return _each_value(values, name, split)


def column(metadata: Mapping[str, np.ndarray], name: str, split: str) -> np.ndarray:
    """One column of metadata.

    Raises:
        SliceError: it does not exist; names the nearest.
    """
    if name not in metadata:
        there = f"there are {', '.join(metadata)}" if metadata else "the data has no metadata; see data.metadata"
        raise SliceError(f"the {split} split has no metadata column {name!r}; {there}{nearest(name, metadata)}")
    return metadata[name]


def _equal(values: np.ndarray, wanted: str | float | bool, name: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        return np.asarray(values.astype(str) == _plain(wanted))
    if values.dtype.kind == "b" and str(wanted).lower() in ("true", "false"):
        return np.asarray(values == (str(wanted).lower() == "true"))
    try:
        return np.asarray(values == float(wanted))
    except ValueError:
        raise SliceError(f"metadata column {name!r} holds numbers, but the slice asks for {wanted!r}") from None


def _within(values: np.ndarray, low: float | None, high: float | None, name: str) -> Group:
    is_above = np.ones(len(values), bool) if low is None else values >= low
    is_below = np.ones(len(values), bool) if high is None else values < high
    ends = [f"from_{_plain(low)}" if low is not None else "", f"under_{_plain(high)}" if high is not None else ""]
    return "_".join([name, *filter(None, ends)]), is_above & is_below & ~np.isnan(values)


def _quantiles(values: np.ndarray, reference: np.ndarray, count: int, name: str) -> list[Group]:
    if np.isnan(reference).all():
        raise SliceError(f"metadata column {name!r} holds no number to take quantiles of; leave the slice out")
    bounds = np.nanquantile(reference, np.arange(1, count) / count)
    places = np.searchsorted(bounds, values, side="left")
    return [(f"{name}_q{place + 1}", (places == place) & ~np.isnan(values)) for place in range(count)]


def _each_value(values: np.ndarray, name: str, split: str) -> list[Group]:
    is_numeric = values.dtype.kind in "biuf"
    known = values[~np.isnan(values)] if is_numeric else values.astype(str)
    distinct = np.unique(known[known != ""] if not is_numeric else known)
    if not len(distinct):
        raise SliceError(f"metadata column {name!r} holds no value in the {split} split; leave it out")
    if len(distinct) > _MOST_VALUES:
        raise SliceError(
            f"metadata column {name!r} has {len(distinct)} values, and at most {_MOST_VALUES} become one slice each; "
            "give the slice equals, among, range or quantiles"
        )
    return [(f"{name}_{_plain(each.item())}", _equal(values, each.item(), name)) for each in distinct]


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise SliceError(
            f"metadata column {name!r} holds words such as {str(values[0])!r}, and range and quantiles need numbers; "
            "use equals or among"
        )
    return values.astype(np.float64)


def _plain(value: str | float | bool) -> str:
    """A value as it stands in a name: 60.0 as 60, and no digit lost."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

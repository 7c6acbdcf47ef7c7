"""The labels of one tensor, axis by axis, and what reshaping, transposing and broadcasting make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.structure.labels import Labels, Rows

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """A tensor as labels.

    Attributes:
        shape: static, batch axis first.
        rows: for each axis the labels of its indices, or None where none can be removed.
    """

    shape: Shape
    rows: tuple[Rows | None, ...]

    @classmethod
    def plain(cls, shape: Shape) -> Channels:
        """A tensor from which nothing can be removed."""
        return cls(tuple(shape), (None,) * len(shape))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def labelled(self) -> bool:
        """Whether anything can be removed."""
        return any(each is not None for each in self.rows)

    def only(self, shape: Shape, axis: int, rows: Rows | None) -> Channels:
        """A tensor of another shape that has labels on one axis alone."""
        return Channels.plain(shape).replaced(axis, rows)

    def replaced(self, axis: int, rows: Rows | None) -> Channels:
        """The same tensor with other labels on one axis."""
        axis %= self.rank
        size = self.shape[axis] if rows is None else len(rows)
        return Channels(
            (*self.shape[:axis], size, *self.shape[axis + 1 :]), (*self.rows[:axis], rows, *self.rows[axis + 1 :])
        )

    def transposed(self, order: Sequence[int]) -> Channels:
        """Axes in another order."""
        return Channels(tuple(self.shape[i] for i in order), tuple(self.rows[i] for i in order))

    def inserted(self, axis: int) -> Channels:
        """With a new axis of one."""
        return Channels((*self.shape[:axis], 1, *self.shape[axis:]), (*self.rows[:axis], None, *self.rows[axis:]))

    def without(self, axes: Sequence[int]) -> Channels:
        """Without some axes."""
        dropped = {axis % self.rank for axis in axes}
        keep = [axis for axis in range(self.rank) if axis not in dropped]
        return self.transposed(keep)


def joined(axes: Sequence[Rows | None], sizes: Sequence[int]) -> Rows | None:
    """Rows of an axis of which others are parts, one after the other."""
    if all(rows is None for rows in axes):
        return None
    width = max(rows.shape[1] for rows in axes if rows is not None)
    parts = []
    for rows, size in zip(axes, sizes, strict=True):
        part = np.zeros((size, width), np.int64)
        if rows is not None:
            part[:, : rows.shape[1]] = rows
        parts.append(part)
    return np.concatenate(parts)


def product(axes: Sequence[Rows | None], sizes: Sequence[int]) -> Rows | None:
    """Rows of an axis into which others are merged, the first one outermost."""
    if all(rows is None for rows in axes):
        return None
    total, inside, columns = math.prod(sizes), math.prod(sizes), []
    for rows, size in zip(axes, sizes, strict=True):
        inside //= size
        if rows is not None:
            columns.append(rows[(np.arange(total) // inside) % size])
    return np.concatenate(columns, axis=1)


def reshaped(labels: Labels, x: Channels, shape: Shape, family: str) -> Channels:
    """The labels of a tensor after a reshape in row-major order.

    Axes are matched from the last; labels on axes that are not told apart from unknown ones are kept for good.

    Args:
        labels: new ones are made where an axis falls into two.
        x: before.
        shape: after; unknown sizes are None.
        family: a name for new labels.
    """
    out: list[Rows | None] = [None] * len(shape)
    for old, new in _groups(x.shape, shape):
        rows = [x.rows[axis] for axis in old]
        if all(each is None for each in rows):
            continue
        sizes = [x.shape[axis] for axis in old]
        if new is None or any(size is None for size in sizes):
            for each in rows:
                if each is not None:
                    labels.freeze(each)
            continue
        merged = product(rows, [size for size in sizes if size is not None])
        assert merged is not None
        parts = labels.split(merged, [shape[axis] or 1 for axis in new], family)
        for axis, part in zip(new, parts, strict=True):
            out[axis] = part if part.shape[1] else None
    return Channels(tuple(shape), tuple(out))


def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int] | None]]:
    """Which axes become which, from the last ones; what an unknown size leaves open goes with None."""
    found: list[tuple[list[int], list[int] | None]] = []
    i, j = len(before) - 1, len(after) - 1
    while i >= 0 and j >= 0:
        old, new = [i], [j]
        while True:
            a, b = [before[axis] for axis in old], [after[axis] for axis in new]
            if None in a or None in b:
                same = a == b == [None]
                rest = (old, new) if same else (list(range(i + 1)), None)
                found.append(rest)
                if not same:
                    return found
                break
            left, right = math.prod(a), math.prod(b)  # type: ignore[arg-type]
            if left == right:
                found.append((old, new))
                break
            if left < right:
                if old[0] == 0:
                    return [*found, (list(range(i + 1)), None)]
                old.insert(0, old[0] - 1)
            else:
                if new[0] == 0:
                    return [*found, (list(range(i + 1)), None)]
                new.insert(0, new[0] - 1)
        i, j = old[0] - 1, new[0] - 1
    return found  # axes of one are left over


def broadcast(labels: Labels, tensors: Sequence[Channels]) -> Channels:
    """The labels of an element-wise operation on several tensors, aligned at the last axis.

    What meets leaves together; where one tensor has a fixed size that labels meet, they are kept for good.
    """
    rank = max(each.rank for each in tensors)
    shape: list[int | None] = []
    rows: list[Rows | None] = []
    for axis in range(-rank, 0):
        here = [each for each in tensors if each.rank >= -axis]
        wide = [each for each in here if each.shape[axis] != 1]
        shape.append(wide[0].shape[axis] if wide else 1)
        for each in here:
            if wide and each.shape[axis] == 1 and each.rows[axis] is not None:
                labels.freeze(each.rows[axis])  # type: ignore[arg-type]
        rows.append(met(labels, [each.rows[axis] for each in (wide or here)]))
    return Channels(tuple(shape), tuple(rows))


def met(labels: Labels, axes: Sequence[Rows | None]) -> Rows | None:
    """What an axis bears where several meet index by index: all leave together, or none where one is fixed."""
    known = [each for each in axes if each is not None]
    if len(known) < len(axes):
        for each in known:
            labels.freeze(each)
        return None
    for each in known[1:]:
        labels.unite(known[0], each)
    return known[0]

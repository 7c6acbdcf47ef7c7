"""Labels of channels, and what must leave together.

A label stands for a question: is this removed? An index of an axis bears a row of labels, and leaves when any of
them is removed; label 0 never is. Two indices that must leave together have their rows united. Where an axis is a
product of two, as heads by sizes behind a reshape, a label becomes *either of two others*, so that a head
and a place in every head can leave by themselves, and whatever bore the old label bears the two new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Rows = np.ndarray
"""int64 (size of the axis, labels an index): which labels an index of an axis bears, 0 for none."""

KEPT = 0
KINDS = ("filters", "groups", "heads", "key_size")
OUTER, INNER = "outer", "inner"  # ends of the families of an axis that fell into two


class Labels:
    """Every label there is, by number."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, np.int64)
        self._either = np.zeros((1, 2), np.int64)  # what a label stands for; zeros for itself
        self._kind = np.zeros(1, np.int8)
        self._inexact = np.zeros(1, bool)
        self._family = np.zeros(1, np.int64)
        self._size = 1
        self.families: list[str] = [""]
        self._family_parent = [0]
        self._halved: list[tuple[np.ndarray, np.ndarray]] = []  # what axes fell into, outer and inner labels

    # --- making

    def fresh(self, size: int, family: str, kind: str = "filters") -> Rows:
        """Return rows for a new axis: one new label an index.

        Args:
            size: of the axis.
            family: a name for these labels; those of one family are ranked against each other.
            kind: what an index is, one of `KINDS`.
        """
        self.families.append(family)
        self._family_parent.append(len(self.families) - 1)
        return self._new(size, len(self.families) - 1, KINDS.index(kind))[:, None]

    def _new(self, size: int, family: int, kind: int | np.ndarray) -> np.ndarray:
        first, self._size = self._size, self._size + size
        while self._size > len(self._parent):
            for name in ("_parent", "_kind", "_inexact", "_family", "_either"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        new = np.arange(first, self._size)
        self._parent[new], self._family[new], self._kind[new] = new, family, kind
        return new

    # --- reading

    def __len__(self) -> int:
        return self._size

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The label that now stands for each."""
        roots = self._parent[labels]
        while True:
            further = self._parent[roots]
            if np.array_equal(further, roots):
                break
            roots = further
        self._parent[labels] = roots
        return roots

    def resolve(self, rows: Rows) -> Rows:
        """Rows in terms of labels that stand for themselves; columns that say nothing are left out."""
        columns = [self.find(column) for column in rows.T]
        done: list[np.ndarray] = []
        while columns:
            column = columns.pop(0)
            if not column.any():
                continue
            either = self._either[column]
            if either.any():
                own = ~either.any(axis=1)
                columns[:0] = [self.find(np.where(own, column, either[:, 0])), self.find(either[:, 1])]
            elif not any(np.array_equal(column, other) for other in done):
                done.append(column)
        return np.stack(done, axis=1) if done else np.zeros((len(rows), 0), np.int64)

    def kind_of(self, labels: np.ndarray) -> np.ndarray:
        """Index into `KINDS` of labels that stand for themselves."""
        return self._kind[labels]

    def is_inexact(self, labels: np.ndarray) -> np.ndarray:
        """Whether removing them changes what others compute, of labels that stand for themselves."""
        return self._inexact[labels]

    def family_of(self, labels: np.ndarray) -> np.ndarray:
        """Number of the family of each, the same for families that are united."""
        roots = np.array([self._family_root(each) for each in range(len(self.families))])
        return roots[self._family[labels]]

    # --- what is known of them

    def freeze(self, rows: Rows) -> bool:
        """Keep all of these; tells whether that is news."""
        labels = np.unique(self.resolve(rows))
        labels = labels[labels != KEPT]
        self._parent[labels] = KEPT
        return bool(labels.size)

    def mark(self, rows: Rows, *, inexact: bool = False, kind: str | None = None) -> None:
        """Say that removing these is inexact, or of what kind they are."""
        labels = np.unique(self.resolve(rows))
        labels = labels[labels != KEPT]
        self._inexact[labels] |= inexact
        if kind is not None:
            self._kind[labels] = KINDS.index(kind)

    def find_groups(self) -> None:
        """Call groups what stands around filters that can leave by themselves; with both, too little would be left."""
        for outer, inner in self._halved:
            inside, around = np.unique(self.resolve(inner[:, None])), np.unique(self.resolve(outer[:, None]))
            inside, around = inside[inside != KEPT], around[around != KEPT]
            if inside.size > 1 and not self._inexact[inside].any() and not self._kind[inside].any():
                self._kind[around] = np.maximum(self._kind[around], KINDS.index("groups"))

    # --- what leaves together

    def unite(self, first: Rows, second: Rows) -> None:
        """Let each index of one axis leave together with the same index of another."""
        one, other = self._columns(first), self._columns(second)
        if len(one) == 1 and len(other) == 1:
            self._equal(one[0], other[0])
            return
        for column in list(one):  # columns that divide the axis alike mean the same thing
            match = next((each for each in other if _same_division(column, each)), None)
            if match is not None:
                one = [each for each in one if each is not column]
                other = [each for each in other if each is not match]
                self._equal(column, match)
        one, other = self._columns(_stacked(one, len(first))), self._columns(_stacked(other, len(first)))
        for single, several in ((one, other), (other, one)):
            if len(single) == 1 and self._explain(single[0], _stacked(several, len(first))):
                return
        for column in one + other:
            self.freeze(column[:, None])

    def split(self, rows: Rows, sizes: Sequence[int], family: str) -> list[Rows]:
        """Rows of several axes that an axis falls into, the first one outermost.

        Args:
            rows: of the axis.
            sizes: of the new axes; their product is the size of the old one.
            family: a name for what is new.
        """
        found: list[list[np.ndarray]] = [[] for _ in sizes]
        for axis, size in enumerate(sizes[:-1]):
            rest: list[np.ndarray] = []
            for column in self._columns(rows):
                outer, inner = self._halves(column.reshape(size, -1), family)
                found[axis] += outer
                rest += inner
            rows = _stacked(rest, math.prod(sizes[axis + 1 :]))
        found[-1] = list(rows.T)
        return [self.resolve(_stacked(columns, size)) for columns, size in zip(found, sizes, strict=True)]

    def _columns(self, rows: Rows) -> list[np.ndarray]:
        return list(self.resolve(rows).T)

    def _equal(self, one: np.ndarray, other: np.ndarray) -> None:
        while True:
            a, b = self.find(one), self.find(other)
            apart = a != b
            if not apart.any():
                return
            low, high = np.minimum(a, b)[apart], np.maximum(a, b)[apart]
            pairs = np.unique(np.stack([low, high], axis=1), axis=0)
            low, high = pairs.T
            _, first = np.unique(high, return_index=True)  # a label gets one parent at a time
            low, high = low[first], high[first]
            real = low != KEPT
            np.logical_or.at(self._inexact, low[real], self._inexact[high[real]])
            np.maximum.at(self._kind, low[real], self._kind[high[real]])
            for a_family, b_family in np.unique(
                np.stack([self._family[low[real]], self._family[high[real]]], axis=1), axis=0
            ):
                self._join_families(int(a_family), int(b_family))
            self._parent[high] = low

    def _explain(self, column: np.ndarray, rows: Rows) -> bool:
        """Let each label of a column stand for a row of others; False where one would stand for several rows."""
        labels, first, inverse = np.unique(column, return_index=True, return_inverse=True)
        meant = rows[first]
        if not np.array_equal(meant[inverse], rows) or np.isin(labels[labels != KEPT], rows).any():
            return False
        if (labels == KEPT).any():
            self.freeze(meant[labels == KEPT])
        free = labels != KEPT
        self._define(labels[free], meant[free])
        return True

    def _define(self, labels: np.ndarray, meant: Rows) -> None:
        """Let labels stand for rows of others."""
        for column in meant.T:
            real = column != KEPT
            np.logical_or.at(self._inexact, column[real], self._inexact[labels[real]])
            np.maximum.at(self._kind, column[real], self._kind[labels[real]])
        while meant.shape[1] > 2:  # two at a time
            pair = self._new(len(meant), 0, 0)
            self._either[pair] = meant[:, :2]
            meant = np.concatenate([pair[:, None], meant[:, 2:]], axis=1)
        self._either[labels] = meant if meant.shape[1] == 2 else np.pad(meant, ((0, 0), (0, 2 - meant.shape[1])))
        nothing = labels[~self._either[labels].any(axis=1)]
        self._parent[nothing] = KEPT
        flipped = (self._either[labels, 0] == KEPT) & (self._either[labels, 1] != KEPT)
        self._either[labels[flipped]] = self._either[labels[flipped]][:, ::-1]

    def _halves(self, column: np.ndarray, family: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """A column over two axes as columns of the first and columns of the second."""
        if (column == column[:1]).all():
            return [], [column[0]]
        if (column == column[:, :1]).all():
            return [column[:, 0]], []
        labels, pattern = np.unique(column[0], return_inverse=True)
        first = np.array([np.flatnonzero(pattern == each)[0] for each in range(len(labels))])
        free = column[:, first]
        regular = np.array_equal(free[:, pattern], column) and np.unique(free).size == free.size and free.all()
        if not regular:  # some other division: only whole slices of the first axis can leave
            for place in range(1, column.shape[1]):
                self._equal(column[:, 0], column[:, place])
            return [self.find(column[:, 0])], []
        kind = KINDS[int(self._kind[free].max())]
        outer = self.fresh(len(column), f"{family}/{OUTER}", kind)[:, 0]
        inner = self.fresh(len(labels), f"{family}/{INNER}", kind)[:, 0]
        rows = np.stack(np.meshgrid(outer, inner, indexing="ij"), axis=-1).reshape(-1, 2)
        self._define(free.ravel(), rows)
        self._halved.append((outer, inner))
        return [outer], [inner[pattern]]

    # --- families

    def _family_root(self, family: int) -> int:
        while self._family_parent[family] != family:
            family = self._family_parent[family]
        return family

    def _join_families(self, one: int, other: int) -> None:
        a, b = self._family_root(one), self._family_root(other)
        self._family_parent[max(a, b)] = min(a, b)


def _same_division(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two columns put the same indices together, and keep the same ones."""
    if not np.array_equal(one == KEPT, other == KEPT):
        return False
    pairs = np.unique(np.stack([one, other], axis=1), axis=0)
    return len(pairs) == np.unique(one).size == np.unique(other).size


def _stacked(columns: Sequence[np.ndarray], size: int) -> Rows:
    return np.stack(columns, axis=1) if columns else np.zeros((size, 0), np.int64)

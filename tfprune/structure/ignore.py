"""Units that are ignored: zero in the model as it stands, so that it answers what it would answer without them.

To build a model anew, and to trace it, takes seconds; to set weights to zero and back takes as long as a copy of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import SelectionError
from tfprune.importance.scores import Score
from tfprune.structure.analysis import Analysis
from tfprune.structure.ranking import Limits, Ranking, check_units
from tfprune.structure.scores import score_units

_NO_BLOCKS = (
    "units: blocks cannot be set to zero, as what a branch adds may not be zero where its weights are; leave them out, "
    "or remove them with tfprune.shrink"
)


@contextmanager
def ignored(analysis: Analysis, removed: np.ndarray) -> Iterator[None]:
    """Set every part of every weight to zero that would leave with some units; afterwards all is as it was.

    Where the removal is exact, the model answers meanwhile what it would answer without these units. Of ``hidden``
    units it does not: what normalizes over them counts the zeros too.

    Args:
        analysis: of the model.
        removed: bool (units + 1,); the first is False.

    Raises:
        SelectionError: whole branches are among the units, and what a branch adds is not zero when its weights are.
    """
    if any(removed[unit] for unit in analysis.blocks):
        raise SelectionError(_NO_BLOCKS)
    held: list[tuple[Any, np.ndarray, np.ndarray]] = []
    for weight, axes in analysis.weights:
        gone = [None if rows is None else removed[rows].any(axis=1) for rows in axes]
        if any(each is not None and each.any() for each in gone):
            value = weight.variable.numpy()
            left = value.copy()
            for axis, each in enumerate(gone):
                if each is not None:
                    np.moveaxis(left, axis, 0)[each] = 0
            held.append((weight.variable, value, left))
    try:
        for variable, _, left in held:
            variable.assign(left)
        yield
    finally:
        for variable, value, _ in held:
            variable.assign(value)


class UnitMask:
    """A model whose couplings can be tried without their least important units, one trial after the other.

    The model is analysed and its units are scored once. What it answers in a trial is what `shrink` would give, for
    couplings whose removal is exact; it stays the same model, which needs no new trace.

    Args:
        model: as for `shrink`, and so is the rest.
        importance: of units.
        data: for scores that need examples.
        batches: how many of it.
        ignore: names or patterns of layers that keep all they make.
        units: kinds of units, all but ``blocks``.
        seed: of the random score.

    Attributes:
        names: couplings that may lose something, in the order of the model.
        sizes: how many units of each may fall.

    Raises:
        ModelError, SurgeryError, SelectionError, ImportanceError: as `shrink`.

    Example:
        >>> first = keras.layers.Dense(4, input_shape=(3,), name="a")
        >>> model = keras.Sequential([first, keras.layers.Dense(2, name="b")])
        >>> mask = UnitMask(model)
        >>> mask.names, mask.sizes
        (('a',), {'a': 4})
        >>> with mask.without({"a": 0.5}) as half:
        ...     int((half.get_layer("a").kernel.numpy() == 0).all(axis=0).sum())
        2
        >>> bool((model.get_layer("a").kernel.numpy() == 0).any())
        False
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        importance: str | Score = "l2",
        data: Any = None,
        batches: int = 8,
        ignore: Sequence[str] = (),
        units: Sequence[str] = ("filters", "heads"),
        seed: int = 0,
    ) -> None:
        if "blocks" in units:
            raise SelectionError(_NO_BLOCKS)
        self._units = tuple(units)
        limits = Limits(units=self._units)
        self._analysis = Analysis(model, [ignore] if isinstance(ignore, str) else ignore)
        check_units(self._analysis, limits)
        self._scores = score_units(self._analysis, importance, data, batches, seed)
        self.sizes = {name: size for name, size in Ranking(self._analysis, self._scores, limits).sizes.items() if size}
        self.names = tuple(self.sizes)

    @contextmanager
    def without(self, shares: Mapping[str, float]) -> Iterator[keras.Model]:
        """The model without the lowest-scored units of some couplings, until the block ends.

        Args:
            shares: by name or pattern of a coupling, in [0, 1); to the nearest unit, of halves the smaller. What is not
                named keeps all, and no coupling loses its last unit.

        Raises:
            SelectionError: a name that is no coupling's, or a share out of its range.
        """
        if not any(shares.values()):
            yield self._analysis.model
            return
        ranking = Ranking(self._analysis, self._scores, Limits(shares, self._units))
        with ignored(self._analysis, ranking.along(1.0)):
            yield self._analysis.model

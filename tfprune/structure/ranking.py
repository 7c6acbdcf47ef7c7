"""Which units fall: ranked by score, within a coupling or over the model, down to a ratio or a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal, get_args

import numpy as np

from tfprune.errors import SelectionError, SurgeryError, nearest
from tfprune.structure.analysis import Analysis, Group, count
from tfprune.structure.costs import Cost
from tfprune.structure.labels import KINDS
from tfprune.structure.makers import made_with
from tfprune.structure.proportions import Proportions

Scope = Literal["layer", "global"]
UNITS = (*KINDS, "hidden", "blocks")


@dataclass(frozen=True)
class Limits:
    """What may fall, and how much of it.

    Attributes:
        scope: ``layer`` takes the same share of every coupling, ``global`` the lowest scores of the model, a mapping
            each coupling's own share, in proportion.
        units: kinds of units that may fall, of `UNITS`.
        multiple_of: widths that are left are multiples of this, where a coupling has as many filters.
        minimum: least width of any coupling.
        ceiling: greatest share of a coupling that may fall, in (0, 1].
    """

    scope: Scope | Mapping[str, float] | Proportions = "layer"
    units: tuple[str, ...] = ("filters", "heads")
    multiple_of: int = 1
    minimum: int = 1
    ceiling: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.scope, Mapping):
            object.__setattr__(self, "scope", Proportions(dict(self.scope)))
        elif not isinstance(self.scope, Proportions) and self.scope not in get_args(Scope):
            known = ", ".join(get_args(Scope))
            raise SelectionError(f"scope must be one of {known}, or shares by coupling, but got {self.scope!r}")
        if isinstance(self.units, str):
            raise SelectionError(f"units must be a list of {', '.join(UNITS)}, but got {self.units!r}")
        if not self.units:
            raise SelectionError(f"units must be of {', '.join(UNITS)}, but got none")
        for each in self.units:
            if each not in UNITS:
                raise SelectionError(
                    f"units must be of {', '.join(UNITS)}, but got {each!r}{nearest(str(each), UNITS)}"
                )
        for name in ("multiple_of", "minimum"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise SelectionError(f"{name} must be a whole number of 1 or more, but got {value!r}")
        if isinstance(self.ceiling, bool) or not isinstance(self.ceiling, int | float) or not 0 < self.ceiling <= 1:
            raise SelectionError(f"ceiling must be over 0 and at most 1, but got {self.ceiling!r}")

    @property
    def proportions(self) -> Proportions | None:
        """Shares by coupling, where there are some."""
        return self.scope if isinstance(self.scope, Proportions) else None

    def least(self, group: Group) -> int:
        """The width that a coupling keeps whatever the budget."""
        size = len(group.units)
        width = math.ceil(size * (1 - self.ceiling) - 1e-9)
        if group.kind == "blocks":
            return width
        width = max(self.minimum, width, 1)
        return min(size, self.rounded(group, width, up=True))

    def rounded(self, group: Group, width: int, *, up: bool = False) -> int:
        """The nearest width that may be left; of two as near ones the smaller."""
        size, step = len(group.units), self.multiple_of
        if group.kind not in ("filters", "hidden") or size < step or step == 1:
            return width
        steps = math.ceil(width / step) if up else math.ceil(width / step - 0.5)
        return min(size, max(step, steps * step))


class Ranking:
    """The order in which units fall, and how far down it a share goes.

    Args:
        analysis: of the model.
        scores: float (units + 1,), higher for what is more worth keeping.
        limits: what may fall.
        costs: of each unit, to rank by score per cost over the model; None ranks by score.

    Raises:
        SelectionError: shares for couplings that there are not.
    """

    def __init__(self, analysis: Analysis, scores: np.ndarray, limits: Limits, costs: np.ndarray | None = None) -> None:
        self._analysis, self._limits = analysis, limits
        self.groups = [group for group in analysis.groups if group.kind in limits.units and _can_lose(group)]
        proportions = limits.proportions
        if proportions is not None and proportions.unmatched(names := [group.name for group in self.groups]):
            proportions.check(names, made_with(analysis))
        # Worst first; of equal scores the one that comes first in the model.
        free = [group.units[~analysis.ignored[group.units]] for group in self.groups]
        self._orders = [units[np.argsort(scores[units], kind="stable")] for units in free]
        self._spare = [
            0
            if proportions is not None and not proportions.of(group.name)
            else min(len(order), len(group.units) - limits.least(group))
            for group, order in zip(self.groups, self._orders, strict=True)
        ]
        self._scores = scores
        self.candidates = sum(len(order) for order in self._orders)
        values = [
            self._comparable(order, costs)
            if limits.scope == "global"
            else _shares(len(order))
            if proportions is None
            else proportions.places(group.name, len(order))
            for group, order in zip(self.groups, self._orders, strict=True)
        ]
        taken = [each[:spare] for each, spare in zip(values, self._spare, strict=True)]
        places = np.concatenate([np.full(len(each), place) for place, each in enumerate(taken)] or [np.zeros(0)])
        ranks = np.concatenate(taken or [np.zeros(0)])
        order = np.argsort(ranks, kind="stable")
        self._order, self._values = places[order].astype(np.int64), ranks[order]

    def _comparable(self, order: np.ndarray, costs: np.ndarray | None) -> np.ndarray:
        """What makes couplings comparable: each unit's score as a share of what its coupling has left when it falls.

        So does LAMP for weights (Lee et al. 2021): the fewer are left, the dearer is the next, and no coupling is
        used up while others are whole. With costs, it is this share per cost.
        """
        scores = np.maximum(np.where(np.isfinite(self._scores[order]), self._scores[order], 0.0), 0.0)
        left = np.cumsum(scores[::-1])[::-1]
        values = np.divide(scores, left, out=np.zeros_like(scores), where=left > 0)
        if costs is not None:
            values = values / np.maximum(costs[order], 1e-12)
        return np.maximum.accumulate(values)  # a coupling gives its units in their order, whatever they cost

    @property
    def spare(self) -> int:
        """How many units may fall at most."""
        return sum(self._spare)

    @property
    def sizes(self) -> dict[str, int]:
        """How many units of each coupling are not to stay whatever their score."""
        return {group.name: len(order) for group, order in zip(self.groups, self._orders, strict=True)}

    def removed(self, share: float) -> np.ndarray:
        """Remove a share of the units, to the nearest unit of each coupling or of the model: bool (units + 1,).

        Of halves the smaller falls.

        Raises:
            SurgeryError: the couplings that have shares of their own have fewer units than that.
        """
        if self._limits.scope == "layer":
            return self.along(share)
        number = math.ceil(share * self.candidates - 0.5 - 1e-9)
        if self._limits.proportions is not None and number > self.spare:
            raise SurgeryError(
                f"ratio {share:.4g} is out of reach: of the {self.candidates} units, scope and limits let at most "
                f"{self.spare} fall, a ratio of {math.floor(1000 * self.spare / self.candidates) / 1000:g}; ask for "
                "less, or let more fall (scope, minimum, ceiling, multiple_of)"
            )
        return self.first(number)

    def along(self, place: float) -> np.ndarray:
        """Remove all that falls up to a place on the way: a share of every coupling, or with shares of their own 1.

        Returns:
            bool (units + 1,).
        """
        return self.first(int(np.searchsorted(self._values, place - 1e-9, "right")))

    def first(self, number: int, last: int = 0) -> np.ndarray:
        """Remove the first units in the order in which they fall, as far as limits allow: bool (units + 1,).

        Args:
            number: how many.
            last: place of one more in this order, counted from 1, with those of its coupling that fall before it.
        """
        wanted = np.bincount(self._order[:number], minlength=len(self.groups))
        if last > number:
            wanted[self._order[last - 1]] = np.count_nonzero(self._order[:last] == self._order[last - 1])
        removed = np.zeros(self._analysis.size + 1, bool)
        for group, order, spare, fall in zip(self.groups, self._orders, self._spare, wanted, strict=True):
            width = self._limits.rounded(group, len(group.units) - int(fall))
            fall = min(len(group.units) - width, int(np.isfinite(self._scores[order]).sum()), spare)
            removed[order[:fall]] = True
        self._guard(removed)
        return removed

    def _guard(self, removed: np.ndarray) -> None:
        """Leave no axis empty that bears a part of a coupling: bring back its best index."""
        for rows in self._analysis.axes:
            if removed[rows].any() and not count(rows, removed):
                best = np.argmax(np.where(rows > 0, self._scores[rows], np.inf).min(axis=1))
                removed[rows[best]] = False


def within(ranking: Ranking, cost: Cost, budget: float) -> np.ndarray | None:
    """The least removal whose cost is within a budget; None where not even the greatest is.

    Args:
        ranking: says what falls next.
        cost: of what is left.
        budget: upper bound.
    """
    if cost(ranking.first(ranking.spare)) > budget:
        return None

    def least(most: int, last: int = 0) -> int:
        low, high = 0, most
        while low < high:
            middle = (low + high) // 2
            if cost(ranking.first(middle, last)) <= budget:
                high = middle
            else:
                low = middle + 1
        return high

    # The last to fall may be a whole branch; with it, others need not fall.
    last = least(ranking.spare)
    return ranking.first(least(last, last), last)


def _can_lose(group: Group) -> bool:
    """Whether something is left when a unit falls: of a coupling another one, behind a branch its shortcut."""
    return len(group.units) > 1 or group.kind == "blocks"


def _shares(size: int) -> np.ndarray:
    """At which share of a coupling each of its units falls, worst first: half a unit before it is whole."""
    return (np.arange(1, size + 1) - 0.5) / size


def check_units(analysis: Analysis, limits: Limits) -> None:
    """Refuse a model from which nothing may be removed.

    Raises:
        SurgeryError: it says what holds it.
    """
    scores = np.zeros(analysis.size + 1)
    if Ranking(analysis, scores, limits).spare:
        return
    within_limits = f"within minimum={limits.minimum}, ceiling={limits.ceiling} and multiple_of={limits.multiple_of}"
    if limits.proportions is not None and Ranking(analysis, scores, replace(limits, scope="layer")).spare:
        raise SurgeryError(
            f"model {analysis.model.name!r} has nothing to remove in the couplings that scope gives a share, "
            f"{within_limits}; let more fall"
        )
    open_ = [group for group in analysis.groups if _can_lose(group) and not analysis.ignored[group.units].all()]
    if any(group.kind in limits.units for group in open_):
        raise SurgeryError(f"model {analysis.model.name!r} has nothing to remove {within_limits}; let more fall")
    others = sorted({group.kind for group in open_} - set(limits.units))
    held = [f"{name} ({why})" for name, why in list(analysis.findings.frozen.items())[:4]]
    reason = (
        f"there are {' and '.join(others)}, which units={list(limits.units)} leaves out"
        if others
        else (f"what holds it: {', '.join(held)}" if held else "it has no layer with two units or more")
    )
    raise SurgeryError(f"model {analysis.model.name!r} has nothing to remove; {reason}")

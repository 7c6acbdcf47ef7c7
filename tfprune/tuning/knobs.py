"""What an oracle turns: few knobs for many layers, each within what is worth a try."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from tfprune.results import Sensitivity, SensitivityCurve

Shares = Mapping[str, float]
"""Share that is pruned, by layer or coupling: of its weights, or of its units."""

_MARGIN = math.log(1.5)
_DENSEST, _SPARSEST = 1.0, 1e-4
_WORST = 1e4  # a loss that is no number counts as worse than any


@dataclass(frozen=True)
class Knob:
    """One number that the oracle sets: how much denser its layers are than their reference, as a logarithm.

    Attributes:
        name: of its first layer, and how many more there are.
        members: layers or couplings that share it.
        low: least value.
        high: greatest value.
    """

    name: str
    members: tuple[str, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Board:
    """All knobs of a search.

    Attributes:
        knobs: in the model's order.
        reference: density of each layer where all knobs are at 0.
    """

    knobs: tuple[Knob, ...]
    reference: dict[str, float]

    def densities(self, values: Mapping[str, float]) -> dict[str, float]:
        """What knobs at these values ask for, before it is brought onto the budget."""
        return {
            member: self.reference[member] * math.exp(values[knob.name])
            for knob in self.knobs
            for member in knob.members
        }

    def values(self, shares: Shares) -> dict[str, float] | None:
        """Where an allocation stands on the board; None where that is beyond the reach of some knob."""
        found = {knob.name: _offset(knob.members, self.reference, shares) for knob in self.knobs}
        is_within = all(knob.low <= found[knob.name] <= knob.high for knob in self.knobs)
        return found if is_within else None


def make_board(
    groups: Sequence[Sequence[str]],
    starts: Mapping[str, Shares],
    objectives: Mapping[str, float],
    sensitivity: Sensitivity,
    most: int,
) -> Board:
    """Lay out knobs: one for each group of layers, or for neighbouring groups that are alike where these are too many.

    All knobs at 0 are the best starting allocation. A knob reaches as far as the better half of the starting
    allocations do, and half as far again in density.

    Args:
        groups: layers that belong together, in the model's order.
        starts: the starting allocations by name.
        objectives: of those that came to a result, at least one.
        sensitivity: says which neighbours are alike.
        most: knobs at most.
    """
    curves = {curve.name: curve for curve in sensitivity.curves}
    joined = _join([tuple(group) for group in groups], curves, sensitivity.loss, most)
    ranked = sorted(objectives, key=lambda name: -objectives[name])
    better = ranked[: max(2, math.ceil(len(ranked) / 2))]
    reference = {member: _density(share) for member, share in starts[ranked[0]].items()}
    knobs = []
    for group in joined:
        offsets = [_offset(group, reference, starts[name]) for name in better]
        name = group[0] if len(group) == 1 else f"{group[0]}+{len(group) - 1}"
        knobs.append(Knob(name, group, min(offsets) - _MARGIN, max(offsets) + _MARGIN))
    return Board(tuple(knobs), reference)


def _offset(group: Sequence[str], reference: Mapping[str, float], shares: Shares) -> float:
    """How much denser the layers of a group are than their reference, on average, as a logarithm."""
    return float(np.mean([math.log(_density(shares[member]) / reference[member]) for member in group]))


def least_densities(starts: Mapping[str, Shares], sensitivity: Sensitivity) -> dict[str, float]:
    """The lowest density that is worth a try, by layer.

    A layer that alone, at some share, costs the model more than half of its accuracy is not pruned farther than that,
    unless a starting allocation does so.
    """
    found = {}
    for curve in sensitivity.curves:
        held = [
            ratio for ratio, score in zip(curve.ratios, curve.scores, strict=True) if score >= sensitivity.score / 2
        ]
        is_never_lost = len(held) == len(curve.ratios)
        most = 1.0 if is_never_lost else max(held, default=0.0)
        found[curve.name] = max(0.0, 1 - max([most, *(shares[curve.name] for shares in starts.values())]))
    return found


def even_losses(sensitivity: Sensitivity, sizes: Mapping[str, int], pruned: float) -> dict[str, float]:
    """The allocation at which every layer alone costs the same: as sparse as the budget asks for, where it can be.

    Args:
        sensitivity: curves of all layers.
        sizes: weights or units of each.
        pruned: how many of them fall over all.
    """
    low, high = 0.0, max(max(_rises(curve, sensitivity.loss)) for curve in sensitivity.curves)
    for _ in range(60):
        middle = (low + high) / 2
        shares = {curve.name: _share_at(curve, sensitivity.loss, middle) for curve in sensitivity.curves}
        low, high = (middle, high) if sum(shares[name] * sizes[name] for name in shares) < pruned else (low, middle)
    return {curve.name: _share_at(curve, sensitivity.loss, high) for curve in sensitivity.curves}


def _share_at(curve: SensitivityCurve, dense_loss: float, rise: float) -> float:
    """The greatest share at which a layer alone raises the loss by no more than this; between two tries linearly."""
    return float(np.interp(rise, _rises(curve, dense_loss), [0.0, *curve.ratios]))


def _rises(curve: SensitivityCurve, dense_loss: float) -> np.ndarray:
    """By how much a layer alone raises the loss, from nothing on, each time more, so that it can be read backwards."""
    losses = np.nan_to_num(np.array(curve.losses), nan=_WORST, posinf=_WORST)
    rises = np.maximum.accumulate([0.0, *(losses - dense_loss)])
    return np.minimum(rises, _WORST) + 1e-9 * np.arange(len(rises))


def _density(share: float) -> float:
    return min(_DENSEST, max(_SPARSEST, 1 - share))


def _join(
    groups: list[tuple[str, ...]], curves: Mapping[str, SensitivityCurve], dense_loss: float, most: int
) -> list[tuple[str, ...]]:
    """Join neighbours whose losses rise alike until no more than so many groups are left."""
    if len(groups) <= most:
        return groups
    rises = [np.mean([np.subtract(curves[name].losses, dense_loss) for name in group], axis=0) for group in groups]
    features = np.log1p(np.maximum(np.nan_to_num(rises, nan=_WORST, posinf=_WORST), 0.0))
    size = len(groups)
    neighbours = np.eye(size, k=1) + np.eye(size, k=-1)
    if most == 1:
        return [tuple(name for group in groups for name in group)]
    found = AgglomerativeClustering(most, connectivity=neighbours).fit_predict(features)
    joined: dict[int, list[str]] = {}
    for group, label in zip(groups, found, strict=True):  # the first of each says where it stands
        joined.setdefault(int(label), []).extend(group)
    return [tuple(names) for names in joined.values()]

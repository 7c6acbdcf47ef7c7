"""From scores to masks: exact counts, zeros that stay zeros, no tensor emptied.

A mask is float32 of its weight's shape, 1 where the weight is kept and 0 where it is pruned. Inside, every unit of the
pattern has a *rank*: its score, or -inf where it has to fall, or +inf where it has to stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.masking.budget import layer_sparsities
from tfprune.masking.patterns import Axes, Pattern, pattern_of
from tfprune.masking.selection import Selection

Arrays = list[np.ndarray]
_CHUNK = 1 << 18
_FEW = 1 << 20
_ROUNDING = 1e-6  # of a unit


@dataclass(frozen=True)
class Tensor:
    """A prunable tensor as it is ranked.

    Attributes:
        layer: name of its layer.
        scores: of its weights, finite; higher = keep.
        mask: as it is.
        axes: its input and output axis, where it has them.
        growth: scores by which fallen weights may come back; None where nothing may.
    """

    layer: str
    scores: np.ndarray
    mask: np.ndarray
    axes: Axes | None = None
    growth: np.ndarray | None = None


@dataclass
class _Ranked:
    """What is left of a tensor once its units are ranked: memory holds one number a unit, whatever it came from.

    Attributes:
        layer: as in `Tensor`, and so are axes and growth.
        ranks: one a unit.
        shape: of the tensor.
        fallen: which weights are zero already, where some lie in units that are not.
        unheld: ranks that leave out what the pattern holds, where weights may come back.
    """

    layer: str
    ranks: np.ndarray
    shape: tuple[int, ...]
    axes: Axes | None
    fallen: np.ndarray | None = None
    unheld: np.ndarray | None = None
    growth: np.ndarray | None = None


def next_masks(
    tensors: Iterable[Tensor], selection: Selection, sparsity: float, progress: float = 1.0
) -> Iterator[np.ndarray]:
    """Prune to a sparsity.

    Args:
        tensors: all that are pruned together; each is dropped once it is ranked.
        selection: scope, pattern and limits.
        sparsity: share of zeros to reach, in [0, 1): in each tensor or over all, as the scope says; met to within half
            a unit, one weight unless the pattern has blocks. Zeros of today's masks stay, and every tensor keeps a
            unit, as an empty one would cut the model in two.
        progress: which share of the final sparsity that is, in [0, 1]; limits by layer grow with it.

    Yields:
        A new mask for each tensor.
    """
    pattern = pattern_of(selection.pattern)
    generator = np.random.default_rng(selection.seed)
    ranked = [_rank(each, pattern, selection, progress) for each in tensors]
    if selection.scope == "global":
        groups = [ranked]
        zeros = [round(sparsity * sum(each.ranks.size for each in ranked))]
    else:
        groups = [[each] for each in ranked]
        shares = layer_sparsities(selection.scope, [(each.layer, each.shape) for each in ranked], sparsity, progress)
        zeros = [round(share * each.ranks.size) for share, each in zip(shares, ranked, strict=True)]
    for group, count in zip(groups, zeros, strict=True):
        if selection.regrow:
            keeps = _fall_and_grow(group, count, selection.regrow, pattern, generator)
        else:
            keeps = _fall([each.ranks for each in group], count, generator)
        for each, keep in zip(group, keeps, strict=True):
            mask = pattern.spread(keep.reshape(each.ranks.shape), each.shape, each.axes)
            if each.fallen is not None:
                mask[each.fallen] = False
            yield mask


def _rank(tensor: Tensor, pattern: Pattern, selection: Selection, progress: float) -> _Ranked:
    """Rank the units: what has fallen is down for good, the best and what the pattern holds cannot fall."""
    alive = pattern.pool(tensor.mask, tensor.axes)
    # The minimum with inf or -inf: np.where is ten times slower, as no processor can guess a mask's branches.
    ceiling = ((alive > 0) - np.float32(0.5)) * np.float32(np.inf)
    ranks = np.minimum(pattern.pool(tensor.scores, tensor.axes), ceiling).astype(np.float32, order="C", copy=False)
    unheld = None if tensor.growth is None else ranks.copy()
    held = pattern.held(ranks, tensor.axes)
    if held is not None:
        np.putmask(ranks, held & ~np.isneginf(ranks), np.inf)
    if selection.scope == "global":
        _make_comparable(ranks, selection, progress)
    best = np.argmax(ranks)
    if not np.isneginf(ranks.flat[best]):
        for each in [ranks] if unheld is None else [ranks, unheld]:
            each.flat[best] = np.inf
    # Zeros from before the pattern was there; where weights may come back, they do so by whole units.
    mixed = pattern.unit > 1 and tensor.growth is None and ((alive > 0) & (alive < 1)).any()
    fallen = tensor.mask == 0 if mixed else None
    return _Ranked(tensor.layer, ranks, tensor.mask.shape, tensor.axes, fallen, unheld, tensor.growth)


def _make_comparable(ranks: np.ndarray, selection: Selection, progress: float) -> None:
    """Apply normalization, floor and ceiling to the ranks of one tensor."""
    flat = ranks.reshape(-1)
    if selection.normalize:
        mean = np.abs(flat, where=np.isfinite(flat), out=np.zeros_like(flat)).sum(dtype=np.float64)
        mean /= max(1, np.count_nonzero(np.isfinite(flat)))
        if mean > 0:
            np.divide(flat, mean, out=flat, casting="same_kind")
    least = math.floor(selection.floor * progress * flat.size + _ROUNDING)
    most = math.floor(selection.ceiling * flat.size + _ROUNDING)
    if least:
        low = np.argpartition(flat, least - 1)[:least]
        flat[low] = np.where(np.isposinf(flat[low]), np.inf, -np.inf)
    if most < flat.size:
        high = np.argpartition(flat, most)[most:]
        flat[high] = np.where(np.isneginf(flat[high]), -np.inf, np.inf)


def _fall(ranks: Arrays, zeros: int, generator: np.random.Generator) -> Arrays:
    """Which units stay when exactly so many of all given fall, the lowest first, ties by lot."""
    limit, spare = _cut(ranks, zeros)
    keeps = [(rank > limit).reshape(-1) for rank in ranks]
    if spare:
        ties = [np.flatnonzero(rank == limit) for rank in ranks]
        lot = np.zeros(sum(tie.size for tie in ties), bool)
        lot[generator.permutation(lot.size)[:spare]] = True
        lots = np.split(lot, np.cumsum([tie.size for tie in ties])[:-1])
        for keep, tie, stays in zip(keeps, ties, lots, strict=True):
            keep[tie[stays]] = True
    return keeps


def _fall_and_grow(
    group: Sequence[_Ranked], zeros: int, share: float, pattern: Pattern, generator: np.random.Generator
) -> Arrays:
    """Let more units fall than asked for, and as many grow where gradients are largest (RigL, Evci et al. 2020).

    The pattern decides on what falls for good and on what has to grow; in between it holds nothing, or full groups
    would never change.
    """
    alive = sum(each.ranks.size for each in group) - zeros
    left = []
    for each, keep in zip(group, _fall([each.ranks for each in group], zeros, generator), strict=True):
        assert each.unheld is not None
        left.append(np.where(keep.reshape(each.unheld.shape), each.unheld, -np.inf))
    chances = []
    for each, keep in zip(group, _fall(left, zeros + round(share * alive), generator), strict=True):
        assert each.growth is not None
        growth = pattern.pool(each.growth, each.axes).astype(np.float32, order="C")
        growth[keep.reshape(growth.shape)] = np.inf
        held = pattern.held(growth, each.axes)
        if held is not None:
            growth[held] = np.inf
        chances.append(growth)
    return _fall(chances, zeros, generator)


def _cut(ranks: Arrays, zeros: int) -> tuple[float, int]:
    """The highest rank that falls when so many units do, and how many units of that rank stay nevertheless.

    What has to fall or to stay does so, whatever `zeros` says. Of many ranks the cut is found without a copy of them:
    counting by the upper half of their bits leaves few to sort.
    """
    total, before = sum(rank.size for rank in ranks), 0
    if total <= _FEW:
        # Not np.partition, which is slow where many are equal, as all are that fell before.
        order = np.sort(np.concatenate([rank.reshape(-1) for rank in ranks]))
        must, may = np.searchsorted(order, -np.inf, "right"), np.searchsorted(order, np.inf, "left")
        zeros = max(int(must), min(zeros, int(may)))
    else:
        counts = np.zeros(1 << 16, np.int64)
        for chunk in _chunks(ranks):
            counts += np.bincount(_upper_bits(chunk), minlength=counts.size)
        must, stay = counts[_upper_bits(np.array([-np.inf, np.inf], np.float32))]
        zeros = max(int(must), min(zeros, total - int(stay)))
        ends = np.cumsum(counts)
        bucket = int(np.searchsorted(ends, zeros))
        before = int(ends[bucket] - counts[bucket])
        order = np.sort(np.concatenate([chunk[_upper_bits(chunk) == bucket] for chunk in _chunks(ranks)]))
    if not zeros:
        return -np.inf, 0
    limit = order[zeros - before - 1]
    return float(limit), before + int(np.searchsorted(order, limit, "right")) - zeros


def _chunks(ranks: Arrays) -> Iterator[np.ndarray]:
    for rank in ranks:
        flat = rank.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            yield flat[start : start + _CHUNK]


def _upper_bits(values: np.ndarray) -> np.ndarray:
    """The upper 16 bits of float32 values as numbers that sort as the values do."""
    positive = values + np.float32(0)  # -0.0 equals 0.0
    upper = (positive.view(np.uint32) >> 16).astype(np.uint16)
    return upper ^ np.where(upper & 0x8000, np.uint16(0xFFFF), np.uint16(0x8000))

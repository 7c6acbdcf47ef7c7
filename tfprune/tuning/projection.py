"""Densities onto a budget: what each tensor keeps, so that exactly as many weights stay as were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.errors import SelectionError

_HALVINGS = 200


@dataclass(frozen=True)
class Layer:
    """A layer as a budget sees it.

    Attributes:
        name: of the layer.
        sizes: of its prunable tensors.
        least: the lowest density it may have, in (0, 1].
        zeros: weights that are zero already, and stay so.
    """

    name: str
    sizes: tuple[int, ...]
    least: float = 0.0
    zeros: int = 0

    @property
    def size(self) -> int:
        """Weights that may be pruned."""
        return sum(self.sizes)

    @property
    def floor(self) -> int:
        """Weights that stay at least: of every tensor one."""
        least = int(np.ceil(self.least * self.size - 1e-6))  # a ratio read back is off by a bit
        return min(self.most, max(len(self.sizes), least))

    @property
    def most(self) -> int:
        """Weights that stay at most."""
        return self.size - self.zeros

    def kept(self, sparsity: float) -> int:
        """What masks of a sparsity leave: they count the zeros of each tensor by themselves."""
        return sum(size - min(round(sparsity * size), size - 1) for size in self.sizes)


def project(layers: Sequence[Layer], densities: Mapping[str, float], kept: int) -> dict[str, float]:
    """Scale densities by one factor so that all together keep so many weights.

    Where a density reaches 1, or its layer's least, the others make up for it.

    Args:
        layers: that share the budget.
        densities: of each, over 0; only their proportions count.
        kept: weights that stay, over all.

    Returns:
        Sparsity by layer. Masks of these keep `kept` weights to the weight, as long as some layer of a single tensor is
        not at its limits; elsewhere to within half a weight for each tensor, as masks round in each, or a whole one
        for each that would be emptied.

    Raises:
        SelectionError: no factor leads there; the line names what each layer keeps at least.

    Example:
        >>> two = [Layer("a", (100,)), Layer("b", (300,))]
        >>> project(two, {"a": 0.4, "b": 0.1}, 80)
        {'a': 0.54, 'b': 0.8866666666666667}
    """
    floors, sizes = np.array([each.floor for each in layers]), np.array([each.size for each in layers])
    tops = np.array([each.most for each in layers])
    if not floors.sum() <= kept <= tops.sum():
        raise out_of_reach(layers, kept)
    wanted = np.array([densities[each.name] for each in layers], np.float64) * sizes

    def at(log_factor: float) -> np.ndarray:
        return np.clip(wanted * np.exp(log_factor), floors, tops)

    low, high = -60.0, 60.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() < kept else (low, middle)
    counts = _whole(at(high), floors, tops, kept)
    found = {each.name: 1 - int(count) / each.size for each, count in zip(layers, counts, strict=True)}
    return _to_the_weight(layers, found, kept)


def _whole(counts: np.ndarray, floors: np.ndarray, tops: np.ndarray, kept: int) -> np.ndarray:
    """Counts as whole numbers of the same sum: those that lose most by it are rounded up."""
    whole = np.maximum(np.floor(counts + 1e-9).astype(np.int64), floors)
    left = kept - int(whole.sum())
    order = np.argsort(-(counts - whole), kind="stable")
    while left > 0:
        for place in order:
            if left and whole[place] < tops[place]:
                whole[place] += 1
                left -= 1
    return whole


def _to_the_weight(layers: Sequence[Layer], found: dict[str, float], kept: int) -> dict[str, float]:
    """Make up for what rounding in layers of several tensors has changed, in the largest layer of a single one."""
    off = sum(each.kept(found[each.name]) for each in layers) - kept
    single = [each for each in layers if len(each.sizes) == 1]
    for each in sorted(single, key=lambda each: -each.size):
        if not off:
            break
        count = int(np.clip(each.kept(found[each.name]) - off, each.floor, each.most))
        off -= each.kept(found[each.name]) - count
        found[each.name] = 1 - count / each.size
    return found


def out_of_reach(layers: Sequence[Layer], kept: int) -> SelectionError:
    """Why no allocation keeps so many weights: what each layer keeps at least."""
    total, least = sum(each.size for each in layers), sum(each.floor for each in layers)
    if (zeros := sum(each.zeros for each in layers)) > total - kept:
        return SelectionError(
            f"no allocation keeps {kept:,} of {total:,} weights: {zeros:,} are zero already, and stay so; ask for more "
            "sparsity"
        )
    named = sorted(layers, key=lambda each: -each.floor)
    floors = ", ".join(f"{each.name} {each.floor:,} of {each.size:,}" for each in named[:4])
    more = f" and {len(named) - 4} more" if len(named) > 4 else ""
    return SelectionError(
        f"no allocation keeps {kept:,} of {total:,} weights: the layers keep {least:,} at least ({floors}{more}); "
        "ask for less sparsity"
    )

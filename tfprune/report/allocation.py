"""Where the winner of a search prunes, layer by layer, against the allocations it started from: numbers, then bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.report.figures import COLOURS, GREY, Figure, give_title, shortened
from tfprune.results import Trial

_MOST_LAYERS = 80
_MARKERS = "Ds^vPX"


@dataclass(frozen=True, eq=False)
class Allocation:
    """Ratios by layer or coupling.

    Attributes:
        names: of the layers or couplings.
        winner: float (names,), in [0, 1].
        label: of the winner's trial, and where it comes from.
        others: the same of the starting allocations, by origin; NaN where one does not know a layer.
        left_out: how many layers, those whose ratios differ least, are not among them.
    """

    names: tuple[str, ...]
    winner: np.ndarray
    label: str
    others: dict[str, np.ndarray]
    left_out: int = 0


def allocation_of(winner: Trial, trials: Sequence[Trial], most: int = _MOST_LAYERS) -> Allocation:
    """The winner's ratios beside those of the starting allocations.

    Args:
        winner: of the search.
        trials: among which the starting allocations are found; failed ones have ratios too.
        most: layers; beyond, those on which all agree best are left out.
    """
    names = tuple(winner.ratios)
    starts: dict[str, Trial] = {}
    for each in trials:
        if each.origin not in ("oracle", winner.origin):
            starts.setdefault(each.origin, each)
    own = np.array([winner.ratios[name] for name in names], float)
    others = {
        origin: np.array([each.ratios.get(name, np.nan) for name in names], float) for origin, each in starts.items()
    }
    known = np.array([own, *(np.where(np.isnan(values), own, values) for values in others.values())])
    kept = np.sort(np.argsort(-np.ptp(known, axis=0), kind="stable")[:most])
    return Allocation(
        names=tuple(names[at] for at in kept),
        winner=own[kept],
        label=f"{winner.label}, {winner.origin}",
        others={origin: values[kept] for origin, values in others.items()},
        left_out=len(names) - len(kept),
    )


def draw_allocation(allocation: Allocation, title: str = "", method: str = "masking") -> Figure:
    """A bar a layer for the winner, a sign for each starting allocation.

    Args:
        allocation: as `allocation_of` makes it.
        title: of the picture.
        method: ``masking`` or ``structured``, what the ratios count.
    """
    count = max(1, len(allocation.names))
    row, size = (0.32, 8) if count <= 40 else (0.18, 6)
    figure = Figure(figsize=(8, max(2.6, row * count + 1.7)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(allocation.names))
    bars = [axes.barh(places, 100 * allocation.winner, color=COLOURS[4], alpha=0.4, height=0.7, label=allocation.label)]
    for place, value in enumerate(100 * allocation.winner):
        axes.text(101, place, f"{value:.0f}%", va="center", size=size, color=GREY)
    signs: list[Any] = []
    colours = [colour for colour in COLOURS if colour != COLOURS[4]]
    for turn, (origin, values) in enumerate(allocation.others.items()):
        signs += axes.plot(
            100 * values, places, linestyle="", color=colours[turn % len(colours)],
            marker=_MARKERS[turn % len(_MARKERS)], markersize=size - 2, markeredgewidth=0, label=origin,
        )  # fmt: skip
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the layer's units removed (%)" if method == "structured" else "sparsity of the layer (%)")
    axes.set_yticks(places, [shortened(name, 40) for name in allocation.names], size=size, parse_math=False)
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        bars + signs,
        [each.get_label() for each in bars + signs],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=8,
    )
    give_title(figure, title)
    if allocation.left_out:
        words = f"{allocation.left_out:,} layers on which they differ less are left out"
        figure.supxlabel(words, x=0.01, ha="left", size=8, color=GREY)
    return figure

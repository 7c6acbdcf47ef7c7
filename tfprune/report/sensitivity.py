"""What it costs to prune one layer alone: as a table, and as lines or, for many layers, as a heatmap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from tfprune.report.figures import COLOURS, GREY, Figure, give_title, shortened
from tfprune.report.words import drop_words, score_words
from tfprune.results import Sensitivity, SensitivityCurve

_MOST_COLUMNS = 9  # of five characters each, beside a name, in 80 columns
_MOST_LINES = 12
_MOST_ROWS = 80
_MARKERS = "osD^vP"
_STYLES = ("-", "--")
_CLOSEST = 0.055  # between labels, as a share of the height of the axes
_LEAST_LIMIT = 0.02
_WHAT = {"masking": "sparsity of the layer", "structured": "share of its units removed"}


def drops_of(sensitivity: Sensitivity) -> tuple[tuple[float, ...], np.ndarray]:
    """The ratios of all curves, and what pruning each layer to each costs.

    Returns:
        The ratios, rising; and float (curves, ratios): accuracy lost, NaN where a curve has no such ratio.
    """
    ratios = tuple(sorted({ratio for curve in sensitivity.curves for ratio in curve.ratios}))
    drops = np.full((len(sensitivity.curves), len(ratios)), np.nan)
    for row, curve in enumerate(sensitivity.curves):
        for ratio, score in zip(curve.ratios, curve.scores, strict=True):
            drops[row, ratios.index(ratio)] = sensitivity.score - score
    return ratios, drops


def sensitivity_table(sensitivity: Sensitivity) -> Table:
    """A row a layer or coupling, a column a ratio: points lost against the dense model."""
    ratios, drops = drops_of(sensitivity)
    shown = _spread(len(ratios), _MOST_COLUMNS)
    notes = ["points lost against the dense model; this one alone is pruned, and nothing is trained"]
    if len(shown) < len(ratios):
        notes.append(f"{len(ratios) - len(shown)} more ratios are left out")
    dense = f"dense accuracy {score_words(sensitivity.score)} on {sensitivity.examples:,} examples"
    table = Table(
        title=f"sensitivity to {sensitivity.method}; {dense}",
        caption="; ".join(notes), caption_justify="left", padding=0,
    )  # fmt: skip
    table.add_column(_WHAT.get(sensitivity.method, "ratio"), overflow="fold")
    for place in shown:
        table.add_column(_percent(ratios[place]), justify="right", no_wrap=True)
    for curve, row in zip(sensitivity.curves, drops, strict=True):
        table.add_row(escape(curve.name), *(_cell(row[place]) for place in shown))
    return table


def draw_sensitivity(sensitivity: Sensitivity, title: str = "") -> Figure:
    """Accuracy against what is pruned of one layer alone; points lost as a heatmap where lines would be too many."""
    if len(sensitivity.curves) <= _MOST_LINES:
        return _draw_lines(sensitivity, title)
    return _draw_heatmap(sensitivity, title)


# ------------------------------------------------------------------------------------------------- few: lines


def _draw_lines(sensitivity: Sensitivity, title: str) -> Figure:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(100 * sensitivity.score, color=GREY, linestyle=":", linewidth=1, zorder=1)
    ends = []
    for place, curve in enumerate(sensitivity.curves):
        colour, marker, style = _look(place)
        known = _known(curve)
        heights = [100 * score for score in (sensitivity.score, *(score for _, score in known))]
        widths = [0.0, *(100 * ratio for ratio, _ in known)]  # nothing pruned is the dense model
        axes.plot(widths, heights, style, marker=marker, color=colour, markersize=4, linewidth=1.5)
        ends.append((widths[-1], heights[-1]))
    axes.set_xlim(0, max([100.0, *(width for width, _ in ends)]))
    axes.margins(y=0.08)
    axes.autoscale_view(scalex=False)
    axes.set_xlabel(f"{_WHAT.get(sensitivity.method, 'ratio')} (%), no other is pruned")
    axes.set_ylabel("accuracy (%), without training")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _name_lines(axes, sensitivity, ends)
    give_title(figure, title)
    dense = f"dotted: the dense model, {score_words(sensitivity.score)} on {sensitivity.examples:,} examples"
    figure.supxlabel(dense, x=0.01, ha="left", size=8, color=GREY)
    return figure


def _look(place: int) -> tuple[str, str, str]:
    """Colour, marker and style of a line; colours come again dashed."""
    turn = place // len(COLOURS) % len(_STYLES)
    return COLOURS[place % len(COLOURS)], _MARKERS[place % len(_MARKERS)], _STYLES[turn]


def _known(curve: SensitivityCurve) -> list[tuple[float, float]]:
    """Points with a finite score: a broken model has none."""
    pairs = zip(curve.ratios, curve.scores, strict=True)
    return [(ratio, score) for ratio, score in pairs if math.isfinite(score)]


def _name_lines(axes: Any, sensitivity: Sensitivity, ends: Sequence[tuple[float, float]]) -> None:
    """Names to the right of the axes, as high as their lines end or as near to it as there is room."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # where the names are reckoned from
    span = (high - low) or 1.0
    heights = apart([(height - low) / span for _, height in ends], _CLOSEST)
    for place, (curve, end, height) in enumerate(zip(sensitivity.curves, ends, heights, strict=True)):
        colour, _, style = _look(place)
        axes.annotate(
            shortened(curve.name, 32), xy=end, xytext=(1.04, height), textcoords="axes fraction",
            va="center", size=8, color=colour, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linestyle": style, "linewidth": 0.6, "alpha": 0.6},
        )  # fmt: skip


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights in [0, 1] moved so that no two are closer than `least`, in the same order; equal ones keep theirs.

    More than fit are spread evenly.

    Example:
        >>> apart([0.5, 0.5, 0.0], 0.25)
        [0.5, 0.75, 0.0]
    """
    least = min(least, 1 / max(1, len(heights) - 1))
    order = sorted(range(len(heights)), key=lambda at: heights[at])
    found = [min(1.0, max(0.0, height)) for height in heights]
    for lower, upper in pairwise(order):  # upwards, then down from the top
        found[upper] = max(found[upper], found[lower] + least)
    ceiling = 1.0
    for at in reversed(order):
        found[at] = min(found[at], ceiling)
        ceiling = found[at] - least
    return found


# ------------------------------------------------------------------------------------------------ many: heatmap


def _draw_heatmap(sensitivity: Sensitivity, title: str) -> Figure:
    ratios, drops = drops_of(sensitivity)
    rows = _most_sensitive(drops)
    drops, names = drops[rows], [sensitivity.curves[row].name for row in rows]
    columns = _spread(len(ratios), 25)
    drops = drops[:, columns]
    figure = Figure(figsize=(min(12, 4.5 + 0.55 * len(columns)), 0.2 * len(rows) + 1.7), layout="constrained")
    axes = figure.add_subplot()
    limit = 100 * _limit(drops)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(100 * drops), cmap="OrRd", vmin=0, vmax=limit, edgecolors="white", linewidth=0.5
    )
    axes.set_facecolor("0.85")
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(names)) + 0.5, [shortened(name, 40) for name in names], size=7, parse_math=False)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(columns)) + 0.5, [_percent(ratios[place]) for place in columns], size=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(columns) <= 14:
        _write_drops(axes, drops, mesh)
    bar = figure.colorbar(mesh, ax=axes, extend=_ends(100 * drops, limit), shrink=0.3, aspect=12, pad=0.02)
    bar.set_label("drop (points)", size=8)
    bar.ax.tick_params(labelsize=8)
    give_title(figure, title)
    notes = [f"columns: {_WHAT.get(sensitivity.method, 'ratio')}, no other is pruned"]
    if len(rows) < len(sensitivity.curves):
        notes.append(f"{len(sensitivity.curves) - len(rows)} less sensitive ones are left out")
    dense = f"dense model: {score_words(sensitivity.score)} on {sensitivity.examples:,} examples"
    figure.supxlabel(f"{'; '.join(notes)}\n{dense}", x=0.01, ha="left", size=8, color=GREY)
    return figure


def _most_sensitive(drops: np.ndarray) -> list[int]:
    """Rows to show, in the model's order: those that lose most on average where there are too many."""
    means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else -np.inf for row in drops])
    return sorted(np.argsort(-means, kind="stable")[:_MOST_ROWS].tolist())


def _limit(drops: np.ndarray) -> float:
    """Where colours end: noise is not made bright."""
    sizes = np.abs(drops[np.isfinite(drops)])
    return max(float(np.quantile(sizes, 0.98)), _LEAST_LIMIT) if sizes.size else _LEAST_LIMIT


def _ends(values: np.ndarray, limit: float) -> str:
    """At which ends of the colours there is more: what pruning made better is as pale as what it left alone."""
    below, above = bool((values < 0).any()), bool((values > limit).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _write_drops(axes: Any, drops: np.ndarray, mesh: Any) -> None:
    colours = mesh.cmap(mesh.norm(np.nan_to_num(100 * drops)))
    light = colours[..., :3] @ (0.299, 0.587, 0.114) > 0.5
    for row, column in np.argwhere(np.isfinite(drops)):
        text = drop_words(float(drops[row, column]))
        colour = "black" if light[row, column] else "white"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=6, color=colour)


# ---------------------------------------------------------------------------------------------------- parts


def _spread(count: int, most: int) -> list[int]:
    """At most so many places of `count`, the first and the last among them, evenly."""
    if count <= most:
        return list(range(count))
    return [round(at) for at in np.linspace(0, count - 1, most)]


def _percent(ratio: float) -> str:
    """``50%``, or ``97.5%`` where it takes a digit more."""
    return f"{100 * ratio:.3g}%"


def _cell(drop: float) -> str:
    return drop_words(float(drop)) if math.isfinite(drop) else ""

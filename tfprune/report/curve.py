"""What accuracy is left at which size: the rounds of workflows as points, and as a picture with the gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from tfprune.errors import DataError
from tfprune.report.figures import COLOURS, GREY, Figure, give_title, shortened
from tfprune.report.words import drop_words, unit_of
from tfprune.results import Measurement, Round, best_round

Size = Literal["nonzero", "parameters", "macs"]

_SIZES: dict[Size, tuple[str, Callable[[Measurement], int]]] = {
    "nonzero": ("nonzero weights", lambda weight: weight.nonzero),
    "parameters": ("parameters", lambda weight: weight.parameters),
    "macs": ("multiply-accumulates for one example", lambda weight: weight.macs),
}
_MARKERS = "osD^vP"
_LOG_FROM = 4
_MOST_NAMED = 8


@dataclass(frozen=True)
class CurvePoint:
    """One round of a workflow.

    Attributes:
        label: of the round.
        size: at least 1.
        score: accuracy in percent, or the mean absolute error.
        worst: the largest drop of a judged slice, in points or as an error; None where there is no slice.
        passed: its gates.
        best: the furthest that passed, which is not the dense model.
        parent: place of the round it started from among the points.
    """

    label: str
    size: int
    score: float
    worst: float | None
    passed: bool
    best: bool
    parent: int


@dataclass(frozen=True)
class SizeCurves:
    """Score against size.

    Attributes:
        size: what the sizes count.
        measure: ``accuracy`` or ``error``.
        lines: points of each workflow, the dense model first.
    """

    size: Size
    measure: str
    lines: dict[str, tuple[CurvePoint, ...]]


def size_curves(workflows: Mapping[str, Sequence[Round]], size: Size | None = None) -> SizeCurves:
    """Score against size of the rounds of workflows.

    Args:
        workflows: rounds by name, the dense model first, at least one workflow.
        size: what to count; by default parameters where all workflows rebuild the model, else the weights that are
            not zero, which both kinds of pruning lower.

    Raises:
        DataError: some workflows have an accuracy and others an error.
    """
    measures = {name: rounds[0].evaluation.measure for name, rounds in workflows.items()}
    if len(set(measures.values())) > 1:
        told = ", ".join(f"{name} has {measure}" for name, measure in measures.items())
        raise DataError(f"{told}; compare workflows of one kind of task")
    every = [each for rounds in workflows.values() for each in rounds]
    size = size or ("parameters" if all(each.method == "structured" for each in every) else "nonzero")
    return SizeCurves(
        size,
        every[0].evaluation.measure,
        {name: _points(rounds, _SIZES[size][1]) for name, rounds in workflows.items()},
    )


def _points(rounds: Sequence[Round], count: Callable[[Measurement], int]) -> tuple[CurvePoint, ...]:
    best = best_round(rounds).number
    places = {each.number: place for place, each in enumerate(rounds)}
    points = []
    for each in rounds:
        scale = 100 if each.evaluation.measure == "accuracy" else 1
        worst = each.evaluation.worst
        drop = None if worst is None or worst.drop is None else scale * worst.drop
        if worst is not None and not each.number:
            drop = 0.0  # against itself
        outcome = (each.verdict.passed, bool(each.number) and each.number == best, places[each.parent])
        score = scale * each.evaluation.score
        points.append(CurvePoint(each.label, max(1, count(each.measurement)), score, drop, *outcome))
    return tuple(points)


def draw_curves(
    curves: SizeCurves, *, max_drop: float | None = None, max_slice_drop: float | None = None, title: str = ""
) -> Figure:
    """Score against size, and beneath it the drop of the worst slice where slices were looked at.

    Args:
        curves: as `size_curves` makes them.
        max_drop: the gate of the whole, as a fraction (of an error, in its unit); drawn beneath the dense model.
        max_slice_drop: the gate of slices, likewise.
        title: of the picture.
    """
    has_slices = any(point.worst is not None for line in curves.lines.values() for point in line)
    figure = Figure(figsize=(8, 6.5 if has_slices else 4.5), layout="constrained")
    ratios = (3, 2)[: 1 + has_slices]
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)
    axes = panels[0, 0]
    percent, scale = (" (%)", 100) if curves.measure == "accuracy" else ("", 1)
    _draw_lines(axes, curves, [[point.score for point in line] for line in curves.lines.values()], name=True)
    axes.set_ylabel(f"{curves.measure}{percent}")
    if max_drop is not None:
        _draw_floors(axes, curves, max_drop)
    if has_slices:
        under = panels[1, 0]
        _draw_lines(under, curves, [[_or_nan(point.worst) for point in line] for line in curves.lines.values()])
        under.set_ylabel(f"drop of the worst slice\n({'points' if scale == 100 else 'error'})")
        if max_slice_drop is not None:
            under.axhline(max_slice_drop * scale, color=GREY, linestyle="--", linewidth=1, zorder=1)
            _name_gate(under, max_slice_drop * scale, f"gate: {_limit(max_slice_drop, curves)} of a slice")
    _scale_sizes(panels[-1, 0], curves)
    give_title(figure, title)
    _legend(figure, axes, curves)
    return figure


def _draw_lines(axes: Any, curves: SizeCurves, heights: Sequence[Sequence[float]], name: bool = False) -> None:
    named: set[Any] = set()
    for place, (line, values) in enumerate(zip(curves.lines.values(), heights, strict=True)):
        colour, marker = COLOURS[place % len(COLOURS)], _MARKERS[place % len(_MARKERS)]
        sizes = [point.size for point in line]
        for at, point in enumerate(line):  # each hangs on the round it started from
            ends = [sizes[point.parent], sizes[at]], [values[point.parent], values[at]]
            axes.plot(*ends, color=colour, linestyle="-" if point.passed else ":", linewidth=1.5 if point.passed else 1)
        passed = [at for at, point in enumerate(line) if point.passed]
        failed = [at for at, point in enumerate(line) if not point.passed]
        axes.plot([sizes[at] for at in passed], [values[at] for at in passed], marker, color=colour, markersize=5)
        axes.plot([sizes[at] for at in failed], [values[at] for at in failed], "x", color=colour, markersize=7)
        for at in (at for at, point in enumerate(line) if point.best):
            axes.plot(sizes[at], values[at], "o", markersize=13, fillstyle="none", color=colour, markeredgewidth=1.5)
        if name:
            _name_rounds(axes, line, values, colour, named)
    axes.margins(x=0.06, y=0.12)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _name_rounds(axes: Any, line: Sequence[CurvePoint], values: Sequence[float], colour: str, named: set[Any]) -> None:
    """Labels beside the points: all of a short workflow, of a long one the dense model and the best."""
    for point, value in zip(line, values, strict=True):
        is_new = (point.label, point.size, value) not in named
        if is_new and (len(line) <= _MOST_NAMED or point.best or point is line[0]):
            named.add((point.label, point.size, value))  # workflows may share a dense model
            # What it started from lies to the right, so a round that failed is named on its left.
            offset, ha, va = ((0, 9), "center", "bottom") if point.passed else ((-7, 0), "right", "center")
            place = {"xy": (point.size, value), "xytext": offset, "textcoords": "offset points"}
            axes.annotate(point.label, **place, color=colour, size=8, ha=ha, va=va)


def _draw_floors(axes: Any, curves: SizeCurves, max_drop: float) -> None:
    """The worst score that the gate lets pass, once for all workflows that start alike."""
    offset = -100 * max_drop if curves.measure == "accuracy" else max_drop
    floors: dict[float, list[int]] = {}
    for place, line in enumerate(curves.lines.values()):
        floors.setdefault(round(line[0].score + offset, 6), []).append(place)
    for floor, places in floors.items():
        colour = GREY if len(floors) == 1 else COLOURS[places[0] % len(COLOURS)]
        axes.axhline(floor, color=colour, linestyle="--", linewidth=1, zorder=1)
    # Rounds cross the gate at the small sizes; at the large ones what lies beyond it is empty.
    height, side = (min(floors), -1) if offset < 0 else (max(floors), 1)
    _name_gate(axes, height, f"gate: {_limit(max_drop, curves)} from the dense model", side)


def _limit(drop: float, curves: SizeCurves) -> str:
    return f"{drop_words(drop, curves.measure)} {unit_of(curves.measure)}".strip()


def _name_gate(axes: Any, height: float, text: str, side: int = 1) -> None:
    """Words at the right end of a gate: above it, or on side -1 under it."""
    place = {
        "xy": (1, height),
        "xycoords": axes.get_yaxis_transform(),
        "xytext": (0, 2 * side),
        "textcoords": "offset points",
    }
    axes.annotate(text, **place, ha="right", va="bottom" if side > 0 else "top", size=8, color=GREY)


def _scale_sizes(axes: Any, curves: SizeCurves) -> None:
    """Sizes that differ much stand on a logarithmic axis, with marks where half is gone, and half again."""
    sizes = [point.size for line in curves.lines.values() for point in line]
    axes.set_xlabel(_SIZES[curves.size][0])
    if max(sizes) < _LOG_FROM * min(sizes):
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_formatter(lambda value, _: _short_count(value))
        return
    axes.set_xscale("log", base=2)
    halvings = range(math.floor(math.log2(max(sizes) / min(sizes))) + 1)
    shown = halvings[:: -(-len(halvings) // 8)]
    ticks = [max(sizes) / 2**power for power in shown]
    labels = [f"{_short_count(tick)}\n1/{2**power:,}" for tick, power in zip(ticks, shown, strict=True)]
    labels[0] = _short_count(ticks[0])
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())


def _short_count(value: float) -> str:
    """Three digits and a unit: 21.3k, 1.2M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _legend(figure: Figure, axes: Any, curves: SizeCurves) -> None:
    """Workflows by colour where there are several, and what the signs mean, under the picture."""
    handles, labels = [], []
    if len(curves.lines) > 1:
        for place, name in enumerate(curves.lines):
            colour, marker = COLOURS[place % len(COLOURS)], _MARKERS[place % len(_MARKERS)]
            handles.append(Line2D([], [], color=colour, marker=marker, markersize=5))
            labels.append(shortened(name, 40))
    points = [point for line in curves.lines.values() for point in line]
    if any(point.best for point in points):
        handles.append(Line2D([], [], color=GREY, marker="o", markersize=11, fillstyle="none", linestyle=""))
        labels.append("best round")
    if not all(point.passed for point in points):
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle=":"))
        labels.append("failed its gates")
    if handles:
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value

"""Which trials are worth a choice: those that no other equals or beats in everything. Marked, as a table, drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from rich.markup import escape
from rich.table import Table

from tfprune.report.figures import COLOURS, GREY, Figure, give_title
from tfprune.report.sizes import SizeScale, size_scale
from tfprune.report.words import score_words
from tfprune.results import Trial

_FROM_ORACLE, _FROM_START = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class ParetoPoint:
    """One trial among others.

    Attributes:
        number: of the trial.
        label: of the trial.
        origin: a starting allocation by name, or ``oracle``.
        accuracy: in [0, 1].
        worst: the lowest accuracy of a judged slice; None where there is no slice.
        size: bytes; None where nothing was measured.
        latency: milliseconds; None where nothing was measured.
        dominated: some other trial is at least as good in everything and better in something.
        gzipped: whether `size` is after gzip.
    """

    number: int
    label: str
    origin: str
    accuracy: float
    worst: float | None
    size: int | None
    latency: float | None
    dominated: bool
    gzipped: bool = True


def front(trials: Sequence[Trial]) -> list[ParetoPoint]:
    """Trials that were evaluated, in their order, those marked that another one dominates.

    Accuracy and worst slice are better higher, size and latency lower. Equal ones do not dominate each other. What no
    trial has does not count; what only some have counts as the worst there is for those that do not, so that
    dominance stays an order. Failed trials are left out.

    Args:
        trials: of one search.
    """
    told = [each for each in trials if each.status != "failed" and each.evaluation is not None]
    # Bytes before and after gzip are not compared with each other.
    measured = [each.measurement for each in told if each.measurement is not None]
    gzipped = all(each.gzipped_bytes is not None for each in measured)
    points = [_point(each, gzipped) for each in told]
    costs = _costs(points)
    return [
        ParetoPoint(**{**vars(point), "dominated": _is_dominated(costs, place)}) for place, point in enumerate(points)
    ]


def _point(trial: Trial, gzipped: bool) -> ParetoPoint:
    evaluation, weight = trial.evaluation, trial.measurement
    assert evaluation is not None
    worst = evaluation.worst_scored
    return ParetoPoint(
        number=trial.number,
        label=trial.label,
        origin=trial.origin,
        accuracy=evaluation.accuracy,
        worst=None if worst is None else worst.score,
        size=None if weight is None else weight.gzipped_bytes if gzipped else weight.bytes,
        latency=trial.latency_ms,
        dominated=False,
        gzipped=gzipped,
    )


def _costs(points: Sequence[ParetoPoint]) -> np.ndarray:
    """Float (points, axes): lower is better, infinite where unknown, which an axis without any value is for all."""
    found = np.full((len(points), 4), np.inf)
    for row, each in enumerate(points):
        values = (-each.accuracy, None if each.worst is None else -each.worst, each.size, each.latency)
        found[row] = [np.inf if value is None else value for value in values]
    return found


def _is_dominated(costs: np.ndarray, place: int) -> bool:
    own = costs[place]
    return bool(((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any())


# ---------------------------------------------------------------------------------------------------- as a table


def pareto_columns(rows: Sequence[ParetoPoint]) -> tuple[str, ...]:
    """What is worth a column: what some trial has."""
    found = ["trial", "origin", "accuracy"]
    if any(each.worst is not None for each in rows):
        found.append("worst slice")
    if any(each.size is not None for each in rows):
        found.append(sizes_of(rows).header)
    if any(each.latency is not None for each in rows):
        found.append("ms")
    return tuple(found)


def sizes_of(rows: Sequence[ParetoPoint]) -> SizeScale:
    """How the sizes of the points are told, in table and figure."""
    return size_scale([each.size for each in rows], gzipped=all(each.gzipped for each in rows))


def pareto_cells(each: ParetoPoint, columns: Sequence[str], scale: SizeScale) -> list[str]:
    """The cells of one trial; `scale` is of all points."""
    cells = {
        "trial": each.label,
        "origin": each.origin,
        "accuracy": score_words(each.accuracy),
        "worst slice": "" if each.worst is None else score_words(each.worst),
        scale.header: scale.words(each.size),
        "ms": "" if each.latency is None else f"{each.latency:.3g}",
    }
    return [cells[column] for column in columns]


def on_front(rows: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Those that are not dominated, the smallest first."""
    return sorted(
        (each for each in rows if not each.dominated), key=lambda each: (_or_infinite(each.size), each.number)
    )


def pareto_table(rows: Sequence[ParetoPoint], title: str = "Pareto front, validation split") -> Table:
    """The trials on the front, the smallest first."""
    shown = on_front(rows)
    left = len(rows) - len(shown)
    caption = f"{left} more: another trial is as good in everything and better in something" if left else None
    table = Table(title=escape(title), caption=caption, caption_justify="left", padding=0)
    columns, scale = pareto_columns(rows), sizes_of(rows)
    for column in columns:
        table.add_column(column, justify="left" if column in ("trial", "origin") else "right", overflow="fold")
    for each in shown:
        table.add_row(*map(escape, pareto_cells(each, columns, scale)))
    return table


# ------------------------------------------------------------------------------------------------------ as a picture


def draw_pareto(rows: Sequence[ParetoPoint], title: str = "") -> Figure:
    """Score against size, beneath it the worst slice; beside it against latency where that varies.

    Filled points are on the front over all axes at once; the line is the best there is at each size or latency.
    """
    costs: list[tuple[str, Callable[[ParetoPoint], float | None]]] = []
    if any(each.size is not None for each in rows) or not rows:
        scale = sizes_of(rows)
        costs.append((scale.header, lambda each: None if each.size is None else scale.value(each.size)))
    if len({each.latency for each in rows if each.latency is not None}) > 1:
        costs.append(("latency (ms)", lambda each: each.latency))
    costs = costs or [("trial", lambda each: float(each.number))]
    gains: list[tuple[str, Callable[[ParetoPoint], float | None]]] = [("accuracy (%)", lambda each: each.accuracy)]
    if any(each.worst is not None for each in rows):
        gains.append(("accuracy of the worst slice (%)", lambda each: each.worst))
    figure = Figure(figsize=(2 + 5.5 * len(costs), 1 + 3.2 * len(gains)), layout="constrained")
    panels = figure.subplots(len(gains), len(costs), sharex="col", sharey="row", squeeze=False)
    for line, (height, gain) in zip(panels, gains, strict=True):
        line[0].set_ylabel(height)
        for axes, (_, cost) in zip(line, costs, strict=True):
            _draw_panel(axes, rows, cost, gain)
    for axes, (width, _) in zip(panels[-1], costs, strict=True):
        axes.set_xlabel(width)
    give_title(figure, title)
    _legend(figure, rows)
    return figure


def _draw_panel(
    axes: Any,
    rows: Sequence[ParetoPoint],
    cost: Callable[[ParetoPoint], float | None],
    gain: Callable[[ParetoPoint], float | None],
) -> None:
    places = [(each, cost(each), gain(each)) for each in rows]
    known = [(each, x, y) for each, x, y in places if x is not None and y is not None]
    best = _best_at_each([(x, y) for _, x, y in known])
    if best:
        xs, ys = zip(*best, (max(x for _, x, _ in known), best[-1][1]), strict=True)
        axes.step(xs, [100 * y for y in ys], where="post", color=GREY, linewidth=1, zorder=1)
    for each, x, y in sorted(known, key=lambda told: (not told[0].dominated, told[0].origin != "oracle")):
        is_start = each.origin != "oracle"
        colour = _FROM_START if is_start else _FROM_ORACLE
        fill = "white" if each.dominated else colour
        axes.plot(x, 100 * y, "D" if is_start else "o", color=colour, markerfacecolor=fill, markersize=6)
    _name_starts(axes, [(each, x, 100 * y) for each, x, y in known if each.origin != "oracle"])
    axes.margins(x=0.14, y=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _best_at_each(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points with a better height than every one at most as wide."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or y > found[-1][1]:
            found.append((x, y))
    return found


def _name_starts(axes: Any, places: Sequence[tuple[ParetoPoint, float, float]]) -> None:
    """Starting allocations by name; those that lie on one spot share a label."""
    spots: dict[tuple[float, float], list[str]] = {}
    for each, x, y in places:
        spots.setdefault((x, y), []).append(each.origin)
    for turn, ((x, y), names) in enumerate(sorted(spots.items())):
        above = turn % 2 == 0  # neighbours are named on different sides
        axes.annotate(
            ", ".join(dict.fromkeys(names)), xy=(x, y), xytext=(0, 7 if above else -7), textcoords="offset points",
            ha="center", va="bottom" if above else "top", size=8, color=_FROM_START, parse_math=False, zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _legend(figure: Figure, rows: Sequence[ParetoPoint]) -> None:
    shown = {(each.origin != "oracle", each.dominated) for each in rows}
    handles, labels = [], []
    for is_start, is_dominated in sorted(shown):
        colour, marker = (_FROM_START, "D") if is_start else (_FROM_ORACLE, "o")
        fill = "white" if is_dominated else colour
        handles.append(Line2D([], [], color=colour, marker=marker, markerfacecolor=fill, linestyle="", markersize=6))
        what = "starting allocation" if is_start else "from the oracle"
        labels.append(f"{what}, {'dominated' if is_dominated else 'on the front'}")
    if handles:
        handles.append(Line2D([], [], color=GREY, linewidth=1))
        labels.append("best so far, from the left")
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value

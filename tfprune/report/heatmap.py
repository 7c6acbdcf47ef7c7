"""Which slices paid in which round: drops as an array, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.report.figures import GREY, Figure, give_title, shortened
from tfprune.report.words import drop_words
from tfprune.results import Round, SliceScore, best_round

_ROWS = 40
_LEAST_LIMIT = 0.02
_CELL_HEIGHT, _CELL_WIDTH, _NARROWEST = 0.27, 0.62, 0.38  # inches; a number needs the last
_WIDEST = 12.0


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Drops by slice and round.

    Attributes:
        slices: names; first ``all``, then the judged slices by their worst drop, then those that gate nothing.
        supports: number of examples of each, the most in any round.
        rounds: labels, without the dense model.
        drops: float (slices, rounds), fractions or errors; NaN where a round has no such slice.
        small: bool (slices,), fewer examples than gates ask for.
        passed: bool (rounds,).
        best: place of the best round, None where none passed.
        left_out: how many slices are not shown.
        limit: drops of this size and beyond have the strongest colour.
        min_support: examples from which on a slice is judged.
        measure: ``accuracy`` or ``error``.
    """

    slices: tuple[str, ...]
    supports: tuple[int, ...]
    rounds: tuple[str, ...]
    drops: np.ndarray
    small: np.ndarray
    passed: np.ndarray
    best: int | None
    left_out: int
    limit: float
    min_support: int
    measure: str


def heatmap_of(rounds: Sequence[Round], most: int = _ROWS) -> Heatmap | None:
    """Drops by slice and round; None where no round was compared with a dense model.

    Args:
        rounds: of one workflow, the dense model first.
        most: rows; the slices with the smallest drops are left out beyond.
    """
    told = [each for each in rounds if each.evaluation.drop is not None]
    if not told:
        return None
    least = max(each.evaluation.min_support for each in told)
    known = [{"all": each.evaluation.whole, **{one.name: one for one in each.evaluation.slices}} for each in told]
    names = list(dict.fromkeys(name for scores in known for name in scores))
    drops = np.array([[_drop(scores.get(name)) for scores in known] for name in names])
    supports = np.array([max(scores[name].support for scores in known if name in scores) for name in names])
    judged = [any(scores[name].is_judged(least) for scores in known if name in scores) for name in names]
    small, worst = ~np.array(judged), np.nanmax(np.where(np.isnan(drops), -np.inf, drops), axis=1)
    order = sorted(range(len(names)), key=lambda at: (names[at] != "all", small[at], -worst[at], names[at]))
    shown = order[:most]
    best = best_round(rounds).number
    return Heatmap(
        slices=tuple(names[at] for at in shown),
        supports=tuple(int(supports[at]) for at in shown),
        rounds=tuple(each.label for each in told),
        drops=drops[shown],
        small=small[shown],
        passed=np.array([each.verdict.passed for each in told]),
        best=next((at for at, each in enumerate(told) if each.number == best), None),
        left_out=len(order) - len(shown),
        limit=_limit(drops[~small], told[0].evaluation.measure),
        min_support=least,
        measure=told[0].evaluation.measure,
    )


def _drop(score: SliceScore | None) -> float:
    return np.nan if score is None or score.drop is None else score.drop


def _limit(drops: np.ndarray, measure: str) -> float:
    """Where colours end: a single ruined slice does not make all others pale, nor is noise made bright."""
    sizes = np.abs(drops[~np.isnan(drops)])
    if not sizes.size:
        return _LEAST_LIMIT
    most = float(np.quantile(sizes, 0.98))
    return max(most, _LEAST_LIMIT) if measure == "accuracy" else most or float(sizes.max()) or 1.0


def draw_heatmap(heatmap: Heatmap, title: str = "") -> Figure:
    """Slices down, rounds across; red is worse than the dense model, blue is better, hatched gates nothing."""
    rows, columns = heatmap.drops.shape
    cell = min(_CELL_WIDTH, _WIDEST / columns)
    figure = Figure(figsize=(max(5.5, cell * columns + 4), _CELL_HEIGHT * rows + 1.9), layout="constrained")
    axes = figure.add_subplot()
    scale = 100 if heatmap.measure == "accuracy" else 1
    limit = scale * heatmap.limit
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(scale * heatmap.drops),
        cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.5,
    )  # fmt: skip
    axes.set_facecolor("0.92")
    axes.invert_yaxis()
    _hatch(axes, heatmap)
    if max(5.5 - 4, cell * columns) / columns >= _NARROWEST:
        _write_numbers(axes, heatmap, mesh)
    _name_rows(axes, heatmap)
    _name_columns(axes, heatmap)
    unit = "points" if scale == 100 else "error"
    beyond = np.abs(scale * heatmap.drops[~np.isnan(heatmap.drops)]) > limit
    ends = "both" if beyond.any() else "neither"
    bar = figure.colorbar(mesh, ax=axes, extend=ends, shrink=min(1.0, 2.2 / (_CELL_HEIGHT * rows)), aspect=12, pad=0.02)
    bar.set_label(f"drop ({unit})", size=8)
    bar.ax.tick_params(labelsize=8)
    give_title(figure, title)
    if notes := _notes(heatmap):
        figure.supxlabel(notes, x=0.01, ha="left", size=8, color=GREY)
    return figure


def _write_numbers(axes: Any, heatmap: Heatmap, mesh: Any) -> None:
    colours = mesh.cmap(mesh.norm(np.nan_to_num((100 if heatmap.measure == "accuracy" else 1) * heatmap.drops)))
    light = colours[..., :3] @ (0.299, 0.587, 0.114) > 0.5
    for row, column in np.argwhere(~np.isnan(heatmap.drops)):
        text = drop_words(float(heatmap.drops[row, column]), heatmap.measure)
        colour = "black" if light[row, column] else "white"
        place = (column + 0.5, row + 0.5)
        behind = {"facecolor": colours[row, column], "edgecolor": "none", "pad": 1.0} if heatmap.small[row] else None
        axes.text(*place, text, ha="center", va="center", size=7 if len(text) < 6 else 6, color=colour, bbox=behind)


def _hatch(axes: Any, heatmap: Heatmap) -> None:
    for row in np.flatnonzero(heatmap.small):
        axes.axhspan(row, row + 1, facecolor="none", edgecolor="0.5", hatch="////", linewidth=0, alpha=0.6)


def _name_rows(axes: Any, heatmap: Heatmap) -> None:
    labels = [f"{shortened(name, 30)}  ({n:,})" for name, n in zip(heatmap.slices, heatmap.supports, strict=True)]
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, size=8, parse_math=False)
    for label, is_small in zip(axes.get_yticklabels(), heatmap.small, strict=True):
        label.set_color(GREY if is_small else "black")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _name_columns(axes: Any, heatmap: Heatmap) -> None:
    axes.xaxis.tick_top()
    columns = len(heatmap.rounds)
    step = -(-columns // 25)
    shown = [at for at in range(columns) if at % step == 0 or at == heatmap.best]
    labels = [heatmap.rounds[at] + ("" if heatmap.passed[at] else "\nfailed") for at in shown]
    axes.set_xticks([at + 0.5 for at in shown], labels, size=8)
    for at, label in zip(shown, axes.get_xticklabels(), strict=True):
        label.set_fontweight("bold" if at == heatmap.best else "normal")
        if not heatmap.passed[at]:
            label.set_fontsize(7)


def _notes(heatmap: Heatmap) -> str:
    notes = ["examples in brackets"]
    if heatmap.best is not None:
        notes.append("best round bold")
    if heatmap.small.any():
        notes.append(f"hatched gates nothing: fewer than {heatmap.min_support} examples, or chosen by the answers")
    if heatmap.left_out:
        notes.append(f"{heatmap.left_out:,} slices with smaller drops are left out")
    return "; ".join(notes)

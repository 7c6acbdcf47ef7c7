"""Workflows side by side as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from tfprune.report.curve import draw_curves, size_curves
from tfprune.report.figures import Figure, figure_png
from tfprune.report.heatmap import draw_heatmap, heatmap_of
from tfprune.report.rows import (
    TEXT_COLUMNS,
    Workflows,
    comparison_rows,
    round_columns,
    round_row,
    slice_rows,
    told_round,
)
from tfprune.report.words import LEVEL, dense_score, drop_words, interval_words, mark_of, score_words
from tfprune.results import Round, SliceScore, best_round

_TEMPLATE = "compare.html.j2"
_DOTS = 100  # an inch: sharp enough, and light


def compare_html(workflows: Workflows, *, max_drop: float | None = None, max_slice_drop: float | None = None) -> str:
    """Workflows side by side: outcomes, best rounds, all rounds, every slice, and pictures.

    The file loads nothing from elsewhere; its tables can be sorted where scripts run, and are complete where not.

    Args:
        workflows: rounds, the dense model first, and outcome by name; at least one.
        max_drop: the gate of the whole, where it is to be drawn, as a fraction or an error.
        max_slice_drop: the gate of slices, likewise.
    """
    source = resources.files("tfprune.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    of_rounds = {name: rounds for name, (rounds, _) in workflows.items()}
    curves = draw_curves(size_curves(of_rounds), max_drop=max_drop, max_slice_drop=max_slice_drop)
    told = {name: told_round(rounds) for name, rounds in of_rounds.items()}
    return environment.from_string(source).render(
        title=f"Pruning compared: {', '.join(workflows)}",
        workflows=[_workflow(name, rounds, outcome) for name, (rounds, outcome) in workflows.items()],
        comparison=comparison_rows(workflows),
        curve=_embedded(curves),
        told={name: each.label for name, each in told.items()},
        slices=_slices(list(told.values())),
        min_support=max(each.evaluation.min_support for each in told.values()),
        has_marks=any(mark_of(one) for each in told.values() for one in each.evaluation.slices),
        level=LEVEL,
    )


def _workflow(name: str, rounds: Sequence[Round], outcome: str) -> dict[str, Any]:
    """What the page says of one workflow."""
    columns = round_columns(rounds)
    best = best_round(rounds)
    heatmap = heatmap_of(rounds)
    lines = [
        {
            "cells": round_row(each, columns),
            "kind": "best" if each is best and each.number else "" if each.verdict.passed else "failed",
        }
        for each in rounds
    ]
    return {
        "name": name,
        "outcome": outcome or "Not finished.",
        "best": best.label if best.number else "none: no round passed",
        "failed": sum(not each.verdict.passed for each in rounds),
        "tried": len(rounds) - 1,
        "columns": columns,
        "text": TEXT_COLUMNS,
        "lines": lines,
        "heatmap": None if heatmap is None else _embedded(draw_heatmap(heatmap)),
    }


def _slices(told: Sequence[Round]) -> list[dict[str, Any]]:
    """A row a slice, with cells for each workflow; the whole first."""
    rows = []
    for row in slice_rows([(each.evaluation.whole, *each.evaluation.slices) for each in told]):
        least = max(each.evaluation.min_support for each in told)
        known = [each for each in row.scores if each is not None]
        rows.append(
            {
                "name": row.name,
                "rules": list(dict.fromkeys(each.rule for each in known if each.rule)),
                "is_small": not any(each.is_judged(least) for each in known),
                "cells": [cell for each in row.scores for cell in _cells(each)],
            }
        )
    return rows


def _cells(score: SliceScore | None) -> list[dict[str, Any]]:
    """Support, score before and after, drop and its interval: each as words and as the number to sort by."""
    if score is None:
        return [{"words": "", "value": None}] * 5
    before, drop, measure = dense_score(score), score.drop, score.measure
    return [
        {"words": f"{score.support:,}", "value": score.support},
        {"words": "" if before is None else score_words(before, measure), "value": before},
        {"words": score_words(score.score, measure), "value": score.score},
        {"words": "" if drop is None else drop_words(drop, measure) + mark_of(score), "value": drop},
        {
            "words": interval_words(score.drop_interval, measure),
            "value": None if score.drop_interval is None else score.drop_interval[0],
        },
    ]


def _embedded(figure: Figure) -> str:
    """A picture as the address of itself."""
    return f"data:image/png;base64,{base64.b64encode(figure_png(figure, _DOTS)).decode('ascii')}"

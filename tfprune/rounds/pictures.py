"""The pictures of a workflow, from what its rounds came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.recipe import Recipe
from tfprune.report.curve import draw_curves, size_curves
from tfprune.report.gallery import draw_gallery, gallery_tiles
from tfprune.report.heatmap import draw_heatmap, heatmap_of
from tfprune.report.layers import draw_layers, layer_losses
from tfprune.results import Round
from tfprune.slices.exam import Examination
from tfprune.slices.score import Sitting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 24


def workflow_figures(
    name: str, rounds: Sequence[Round], recipe: Recipe, dense: keras.Model, pruned: keras.Model
) -> dict[str, Figure]:
    """Accuracy against size, drops by slice and round, and what the layers lost.

    Args:
        name: of the workflow.
        rounds: all of them, the dense model first.
        recipe: its gates are drawn.
        dense: plain.
        pruned: the best round's plain model.
    """
    stop = recipe.stop
    curves = draw_curves(
        size_curves({name: rounds}), max_drop=stop.max_drop, max_slice_drop=stop.max_slice_drop, title=name
    )
    figures = {"accuracy_and_size": curves}
    heatmap = heatmap_of(rounds)
    if heatmap is not None:
        figures["slices"] = draw_heatmap(heatmap, f"{name}: drop by slice and round")
    losses = layer_losses(measure(dense, gzipped=False), measure(pruned, gzipped=False))
    return {**figures, "layers": draw_layers(losses, f"{name}: what the layers lost")}


def newly_wrong(exam: Examination, now: Sitting) -> Figure | None:
    """Images that the dense model answers rightly and this one most wrongly; None where there are none, or no images.

    Args:
        exam: with the dense model's answers.
        now: the other model's answers.
    """
    facts = exam.facts
    if exam.dense is None or now is exam.dense or np.ndim(facts.first_input) != 4:
        return None
    before, after = exam.dense[""], now[""]
    lost = np.flatnonzero((before.score == 1) & (after.score == 0))
    rows = lost[np.argsort(after.margin[lost], kind="stable")][:_MOST]
    if not rows.size or np.shape(facts.first_input)[-1] not in (1, 3):
        return None
    names = facts.class_names()
    tiles = gallery_tiles(
        facts.inputs(rows),
        labels=[names[after.labels[row]] for row in rows],
        dense=[names[before.answer[row]] for row in rows],
        pruned=[names[after.answer[row]] for row in rows],
        margins=after.margin[rows].tolist(),
    )
    return draw_gallery(tiles, f"newly wrong: {len(lost)} of {facts.size} examples")

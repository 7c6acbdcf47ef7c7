"""Pictures, drawn from data that was computed before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from tfprune.errors import RecipeError
from tfprune.masking.schedule import round_schedule
from tfprune.recipe import Recipe
from tfprune.storage import replacing

_STEPS_A_ROUND = 1_000
_ENDINGS = (".png", ".svg", ".pdf")


def schedule_points(recipe: Recipe, targets: Sequence[float]) -> list[tuple[float, float]]:
    """Sparsity over the rounds of a recipe, as (rounds passed, sparsity).

    Args:
        recipe: its schedule section shapes each round.
        targets: sparsity before the first round and after each.
    """
    points: list[tuple[float, float]] = []
    for number, (initial, final) in enumerate(pairwise(targets)):
        schedule = round_schedule(recipe.prune.schedule, initial, final, _STEPS_A_ROUND)
        for step in range(_STEPS_A_ROUND + 1):
            due = schedule.update_at(step)
            points.append((number + step / _STEPS_A_ROUND, initial if due is None else schedule.sparsity(due)))
    return points


def draw_schedule(recipe: Recipe, points: Sequence[tuple[float, float]]) -> Figure:
    """Sparsity against rounds."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([x for x, _ in points], [100 * y for _, y in points])
    axes.set(
        xlabel="round",
        ylabel="sparsity of prunable weights (%)",
        title=f"{recipe.name}: planned sparsity",
        ylim=(0, 100),
    )
    axes.grid(alpha=0.3)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending decides the format.

    Raises:
        RecipeError: an ending that is no picture's.
        StorageError: the disk refuses.
    """
    if path.suffix not in _ENDINGS:
        raise RecipeError(f"{path}: the ending must be one of {', '.join(_ENDINGS)}, but is {path.suffix!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)

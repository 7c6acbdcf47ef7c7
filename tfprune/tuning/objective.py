"""What a search makes greater."""

from __future__ import annotations

from collections.abc import Mapping

from tfprune.errors import RecipeError
from tfprune.results import Evaluation


def objective_of(evaluation: Evaluation, weights: Mapping[str, float]) -> float:
    """The objective of a model, in [0, sum of the weights].

    Args:
        evaluation: of it.
        weights: of ``accuracy`` and ``worst_slice``.

    Raises:
        RecipeError: the worst slice counts, and none is large enough to be judged.
    """
    total = 0.0
    for name, weight in weights.items():
        if name == "accuracy":
            total += weight * evaluation.accuracy
            continue
        worst = evaluation.worst_scored
        if worst is None:
            raise no_judged_slice(evaluation.min_support)
        total += weight * worst.score
    return total


def no_judged_slice(least: int) -> RecipeError:
    """The worst slice counts, and none has so many examples."""
    return RecipeError(
        f"search.objective worst_slice needs a slice of {least} validation examples or more, and there is none; name "
        "some under slices, or lower stop.min_slice_size"
    )

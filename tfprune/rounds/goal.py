"""What a recipe's `prune` section asks of the masks, checked against the model before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import ImportanceError, RecipeError, nearest
from tfprune.importance.scores import importance_of
from tfprune.importing import load_function
from tfprune.masking.selection import Selection
from tfprune.masking.wrap import check_prunable
from tfprune.models.prunable import prunable_weights
from tfprune.recipe import Recipe


def selection_of(recipe: Recipe) -> Selection:
    """Which weights fall.

    Raises:
        ImportanceError: a function that cannot be imported, or takes other arguments than a score.
        SelectionError: values that do not go together.
    """
    prune = recipe.masking
    importance: Any = prune.importance
    if ":" in importance:
        importance = load_function(importance, "prune.importance", ImportanceError)
    most = prune.pattern_sparsity or 1.0
    scope = prune.scope
    return Selection(
        importance=importance,
        batches=prune.batches,
        scope={name: min(value, most) for name, value in scope.items()} if isinstance(scope, dict) else scope,
        floor=prune.floor,
        ceiling=prune.ceiling,
        normalize=prune.normalize,
        pattern=prune.pattern,
        regrow=prune.regrow,
        seed=recipe.seed,
    )


def final_sparsity(recipe: Recipe) -> float:
    """The recipe's target; of an N:M pattern the exact value, where the target was rounded."""
    return min(recipe.masking.target.sparsity, recipe.masking.pattern_sparsity or 1.0)


def on_the_way(selection: Selection, sparsity: float, final: float) -> Selection:
    """The selection of a round that leads to a sparsity before the final one: limits by layer shrink alike."""
    share, scope = min(1.0, sparsity / final), selection.scope
    if isinstance(scope, Mapping):
        scope = {name: value * share for name, value in scope.items()}
    return replace(selection, scope=scope, floor=min(selection.floor * share, sparsity))  # not a bit over it


def check_goal(recipe: Recipe, model: keras.Model, selection: Selection) -> None:
    """Refuse what would fail once masks are on.

    Raises:
        ModelError: layers that are not there, or nothing to prune.
        SelectionError: named layers that the pattern does not divide.
        RecipeError: a scope that names no layer.
        ImportanceError: a function that gives no scores.
    """
    layers = check_prunable(model, recipe.masking.layers, selection)
    names = [layer.name for layer in layers]
    for name in recipe.masking.scope if isinstance(recipe.masking.scope, dict) else ():
        if not any(fnmatchcase(layer, name) for layer in names):
            raise RecipeError(f"prune.scope: {name!r} matches no layer that is pruned{nearest(name, names)}")
    if callable(selection.importance):
        _try_function(recipe, selection, layers)


def _try_function(recipe: Recipe, selection: Selection, layers: list[keras.layers.Layer]) -> None:
    """Call a user's score on every tensor, with gradients of one, so that it fails before hours of training."""
    importance = importance_of(selection.importance)
    for layer in layers:
        for weight in prunable_weights(layer, recipe.masking.layers is not None)[0]:
            values = weight.numpy()
            with np.errstate(all="ignore"):
                scores = importance(values, np.ones_like(values)) if importance.needs_gradients else importance(values)
            if np.isfinite(values).all() and not np.isfinite(scores).all():
                raise ImportanceError(
                    f"prune.importance {recipe.masking.importance}: the scores of layer {layer.name!r} are not finite"
                )

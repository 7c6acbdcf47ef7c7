"""How much each layer can lose: pruned alone, at several shares, and evaluated without training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tfprune.backend import keras
from tfprune.data.splits import Split
from tfprune.masking.pruner import pruner_of
from tfprune.recipe import Recipe
from tfprune.report.watch import Watch
from tfprune.results import Sensitivity, SensitivityCurve
from tfprune.slices.answers import Question, answer
from tfprune.storage import write_text
from tfprune.structure.ignore import UnitMask
from tfprune.tuning.masks import sizes_of

_KNOWN = TypeAdapter(Sensitivity)
_FEW = 256

Alone = Callable[[str, float], AbstractContextManager[Any]]
"""Holds a layer at a share, and nothing else, for a while."""


def of_masks(recipe: Recipe, wrapped: keras.Model, split: Split, watch: Watch) -> Sensitivity:
    """Sensitivity of the layers of a wrapped model, by the scores of its recipe; the model is left as it came."""
    pruner = pruner_of(wrapped)
    tensors = pruner.scored()
    return _curves(
        "masking",
        wrapped,
        list(sizes_of(wrapped)),
        lambda name, ratio: pruner.alone(tensors, name, ratio),
        recipe,
        split,
        watch,
    )


def of_units(recipe: Recipe, dense: keras.Model, units: UnitMask, split: Split, watch: Watch) -> Sensitivity:
    """Sensitivity of the couplings of a model whose units are ignored; the model is left as it came."""
    return _curves(
        "structured", dense, list(units.names), lambda name, ratio: units.without({name: ratio}), recipe, split, watch
    )


def _curves(
    method: str, model: keras.Model, names: Sequence[str], alone: Alone, recipe: Recipe, split: Split, watch: Watch
) -> Sensitivity:
    """One model and one trace: only weights change between two evaluations."""
    ratios, batches = recipe.search.sensitivity, list(_sample(split, recipe.search.examples, recipe.seed))

    def look() -> tuple[float, float]:
        answers = answer(model, batches, Question("multiclass"))
        return float(answers.score.mean(dtype=np.float64)), float(answers.loss.mean(dtype=np.float64))

    score, loss = look()
    curves = []
    watch.phase("sensitivity of each layer", len(names) * len(ratios))
    try:
        for name in names:
            found = []
            for ratio in ratios:
                with alone(name, ratio):
                    found.append(look())
                watch.step()
            scores, losses = zip(*found, strict=True)
            curves.append(SensitivityCurve(name, ratios, scores, losses))
    finally:
        watch.phase_done()
    return Sensitivity(method, score, loss, sum(len(y) for _, y in batches), tuple(curves))


def _sample(split: Split, examples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first batches of a shuffled split, so that one that is sorted by class gives all classes."""
    left = min(examples, split.size)
    for x, y in split.epoch(min(_FEW, left), seed=seed, epoch=0):
        yield np.asarray(x)[:left], np.asarray(y)[:left]
        left -= min(left, len(y))
        if not left:
            return


# ---------------------------------------------------------------------------------- known from before


def key_of(recipe: Recipe, fingerprint: str) -> str:
    """What the sensitivity of a recipe's model hangs on, as 16 hex digits."""
    prune, search, train = recipe.prune, recipe.search, recipe.train
    is_untrained = recipe.model is not None and not recipe.model.is_trained  # the fingerprint is from before training
    assert not isinstance(prune, tuple)
    names = ("method", "importance", "batches", "layers", "pattern", "ignore", "units")
    about = {
        "prune": {name: getattr(prune, name) for name in names if hasattr(prune, name)},
        "ratios": search.sensitivity,
        "examples": search.examples,
        "seed": recipe.seed,
        "train": train.model_dump(mode="json") if is_untrained else train.batch_size,
        "precision": recipe.precision,
        "model and data": fingerprint,
        "tfprune": metadata.version("tfprune"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def may_be_known(recipe: Recipe) -> bool:
    """Whether curves are the same the next time: a score of the user's own may be another function by then."""
    assert not isinstance(recipe.prune, tuple)
    return ":" not in recipe.prune.importance


def read_known(path: Path) -> Sensitivity | None:
    """Curves that an earlier search has left; None where there are none, or none that can be read."""
    try:
        return _KNOWN.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_known(path: Path, sensitivity: Sensitivity) -> None:
    """Leave curves for later searches.

    Raises:
        StorageError: the disk refuses.
    """
    write_text(path, to_json(sensitivity))


def to_json(sensitivity: Sensitivity) -> str:
    """Curves as text."""
    return json.dumps(_KNOWN.dump_python(sensitivity), indent=1)  # where pydantic would write null for an infinite loss

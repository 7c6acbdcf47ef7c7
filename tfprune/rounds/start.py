"""A recipe becomes a workflow at work: data, model, records, and the folder that it is kept in."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, make_deterministic, tf
from tfprune.data.augment import augment
from tfprune.data.load import from_arrays, load_data
from tfprune.data.splits import Data
from tfprune.errors import DataError, Interrupted, RecipeError
from tfprune.importing import one_line
from tfprune.keras3.bridged import arrived, returned
from tfprune.masking.selection import Selection
from tfprune.models.checks import check_fits
from tfprune.models.sources import load_model
from tfprune.recipe import Recipe, StructuredSection, load, parse
from tfprune.report.watch import Watch
from tfprune.results import RunResult
from tfprune.rounds.checkpoint import open_workflow
from tfprune.rounds.delivery import check_export, divide_by_of
from tfprune.rounds.examine import check_slices, examination
from tfprune.rounds.finetune import now
from tfprune.rounds.goal import check_goal, selection_of
from tfprune.rounds.interrupt import stop_on_interrupt
from tfprune.rounds.loop import Loop
from tfprune.rounds.rebuilt import check_structured
from tfprune.rounds.teaching import check_teaching
from tfprune.tracking.metrics import renamed
from tfprune.tracking.workflows import Tracker


def run(
    recipe: Recipe | dict[str, Any] | str | Path, *, model: Any = None, data: Any = None, resume: bool = True
) -> RunResult:
    """Run a recipe: train or load the dense model, prune it in rounds, and record each.

    Args:
        recipe: a recipe, a mapping, a path, or the name of a shipped one.
        model: a built classifier in place of the recipe's model; it counts as trained and is not changed. Of one of
            Keras 3 the result's model is of Keras 3, too.
        data: arrays ``(x, y)``, or a dict of them under ``train`` and optionally ``validation`` and ``test``,
            in place of the recipe's source; shares, classes and `divide_by` are the recipe's.
        resume: go on with an unfinished run of the same recipe, data and model.

    Returns:
        All rounds, the best one's plain Keras model, and where everything is.

    Raises:
        TfpruneError: one line about what is wrong and what to do.

    Example:
        >>> import tfprune
        >>> result = tfprune.run("digits")  # doctest: +SKIP
        >>> result.best_round.sparsity  # doctest: +SKIP
        0.92
    """
    if isinstance(recipe, dict):
        recipe = parse(recipe)
    elif not isinstance(recipe, Recipe):
        recipe = load(recipe)
    model = arrived(model)
    result = execute(recipe, model=model, data=data, resume=resume)
    return replace(result, model=returned(result.model, model))


def execute(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    resume: bool = True,
    only: str | None = None,
    watch: Watch | None = None,
) -> RunResult:
    """`run` for a recipe that is read already, with somebody looking on; `only` names the workflow to go on with."""
    watch = watch or Watch()
    make_deterministic(recipe.seed)
    watch.note("loading data and model")
    parts = data_of(recipe, data)
    dense = model_of(recipe, model, parts)
    trained = recipe.model.is_trained if model is None and recipe.model else True
    validation, test = (examination(split, recipe, parts) for split in (parts.validation, parts.test))
    selections = _check_before_training(recipe, dense, parts, trained)
    for name, recorded in renamed(check_slices(recipe, validation, test)).items():
        watch.note(f"slice {name!r} is recorded as {recorded!r}, for MLflow does not take its name")
    # What was handed in is not what the recipe names, and is not recorded as that.
    given = {"model": model, "data": data}
    asked, recipe = recipe, recipe.model_copy(update={name: None for name, value in given.items() if value is not None})
    tracker = Tracker(recipe.track)
    fingerprint = fingerprint_of(dense, parts)
    opened = open_workflow(recipe, fingerprint, now(), resume=resume, only=only)
    with closing(opened) as workflow, stop_on_interrupt() as stop_asked:
        if workflow.ledger.rounds or (workflow.folder / "progress.npz").exists():
            watch.note(f"going on with {workflow.ledger.name}")
        about = {"data.digest": parts.digest, "data.train_examples": parts.train.size}
        try:
            tracker.begin(workflow.ledger.name, workflow.ledger.id, recipe, about)
            divide_by = divide_by_of(asked)
            loop = Loop(recipe, selections, parts, validation, test, workflow, tracker, watch, stop_asked, divide_by)
            return loop.run(dense, trained)
        except tf.errors.OpError as error:
            tracker.leave_open("FAILED")
            reason = one_line(error).split(" [[")[0]
            raise DataError(f"TensorFlow stopped in the middle of the data or the model: {reason}") from error
        except BaseException as error:
            tracker.leave_open("KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED")
            raise


def dense_model(recipe: Recipe) -> keras.Model:
    """The model that a recipe starts from, untrained where the recipe would train it."""
    return model_of(recipe, None, data_of(recipe, None))


def data_of(recipe: Recipe, given: Any) -> Data:
    """The data of a recipe, or arrays that were handed in in its place."""
    if given is not None:
        return from_arrays(given, section=recipe.data, seed=recipe.seed)
    if recipe.data is None:
        raise RecipeError("data: is missing; a recipe needs it, or pass data=(x, y) to tfprune.run")
    return load_data(recipe.data, recipe.seed)


def model_of(recipe: Recipe, given: keras.Model | None, data: Data) -> keras.Model:
    """The model that a recipe starts from, or the one that was handed in in its place, held against the data."""
    if given is not None:
        return check_fits(given, "model", data.input_shape, data.input_dtype, len(data.classes))
    if recipe.model is None:
        raise RecipeError("model: is missing; a recipe needs it, or pass model=... to tfprune.run")
    return load_model(
        recipe.model,
        input_shape=data.input_shape,
        input_dtype=data.input_dtype,
        classes=len(data.classes),
        vocabulary_size=len(data.vocabulary) if data.vocabulary else None,
    )


def _check_before_training(recipe: Recipe, model: keras.Model, data: Data, trained: bool) -> list[Selection | None]:
    """Refuse what would fail later: layers, scores, export path, augmentation; return a selection a phase."""
    if trained and recipe.rewind_to_epoch is not None:
        raise RecipeError("prune.rewind_to_epoch needs dense training, but the model that was given is trained already")
    selections = [_check_phase(phase, model) for phase in recipe.phases]
    check_teaching(recipe, model)
    check_export(recipe, model, data)
    augment(data.train.batches(1), recipe.train.augment, seed=0, epoch=0)
    return selections


def _check_phase(phase: Recipe, model: keras.Model) -> Selection | None:
    """Hold a phase against the dense model; which weights fall, or None where units do."""
    if isinstance(phase.prune, StructuredSection):
        check_structured(phase, model)
        return None
    selection = selection_of(phase)
    check_goal(phase, model, selection)
    return selection


def fingerprint_of(model: keras.Model, data: Data) -> str:
    """Of the data and of the model that the workflow starts from, its automatic names left out."""
    layers = [[type(layer).__name__, layer.get_config()] for layer in model.layers]
    config = json.dumps(layers, default=lambda value: type(value).__name__, sort_keys=True)
    digest = hashlib.sha256(f"{data.digest} {re.sub(r'_[0-9]+', '', config)}".encode())
    for each in model.get_weights():
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()[:16]

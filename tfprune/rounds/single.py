"""One step of structured pruning, and a look at what it could take, for the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfprune.backend import keras
from tfprune.cost.latency import latency
from tfprune.data.load import load_data
from tfprune.errors import ImportanceError, SelectionError, StorageError
from tfprune.importing import load_function
from tfprune.models.checks import check_fits
from tfprune.models.files import check_writable, save
from tfprune.recipe import Recipe
from tfprune.results import Coupling, Plan, SurgeryReport
from tfprune.rounds.finetune import compile_for_training, sample_of
from tfprune.structure.inspect import couplings
from tfprune.structure.shrink import apply
from tfprune.structure.shrink import shrink as shrink_model

_BY_WEIGHTS = ("l1", "l2", "fpgm", "bn_scale", "random")
_BUDGETS = "--ratio, --params, --macs, --latency-ms, --size-mb, --plan"

Load = Callable[[], keras.Model]


@dataclass(frozen=True)
class Choices:
    """What `tfprune.shrink` takes, as it was given: `budget` holds the budgets, the rest is named alike."""

    budget: dict[str, float]
    importance: str
    batches: int
    scope: str
    ignore: tuple[str, ...]
    units: tuple[str, ...]
    multiple_of: int
    minimum: int
    ceiling: float
    seed: int


def shrink_to(
    load: Load,
    path: Path,
    choices: Choices,
    recipe: Recipe | None,
    *,
    plan: Path | None = None,
    save_plan: Path | None = None,
) -> tuple[SurgeryReport, float | None]:
    """Shrink a model and write it.

    Args:
        load: gives the model; called once all that needs no model is checked.
        path: where the smaller one is written.
        choices: what falls.
        recipe: whose training data scores look at, and whose training says what the loss is.
        plan: a file that says what falls, in place of a budget.
        save_plan: where to write what fell.

    Returns:
        What was done; and the milliseconds that the original takes, where latency was the budget.

    Raises:
        SelectionError: not exactly one budget or plan.
        TfpruneError: as `tfprune.shrink`, or a file that cannot be read or written.
    """
    given = [*(f"--{name.replace('_', '-')}" for name in choices.budget), *(["--plan"] if plan else [])]
    if len(given) != 1:
        raise SelectionError(f"give exactly one of {_BUDGETS}, but got {' and '.join(given) or 'none'}")
    check_writable(path)
    _check_place(path)
    if save_plan is not None:
        if save_plan.is_dir() or save_plan.absolute() == path.absolute():
            what = "a folder" if save_plan.is_dir() else "the smaller model"
            raise StorageError(f"{save_plan}: {what} is in the way of the plan; give --save-plan another path")
        _check_place(save_plan)
    known = Plan.load(plan) if plan is not None else None
    model = load()
    if known is not None:
        small, report = apply(model, known)
    else:
        importance, data = _score(model, choices.importance, recipe)
        rest: dict[str, Any] = {**vars(choices), "importance": importance, "data": data}
        small, report = shrink_model(model, **rest.pop("budget"), **rest)
    save(small, path)
    if save_plan is not None:
        report.plan.save(save_plan)
    return report, latency(model).median_ms if report.latency_ms is not None else None


def couplings_of(load: Load, importance: str, recipe: Recipe | None) -> tuple[Coupling, ...]:
    """What can be removed from a model together, what it costs and what it is worth.

    Raises:
        TfpruneError: as `tfprune.shrink`, or a file that cannot be read.
    """
    model = load()
    score, data = _score(model, importance, recipe)
    return couplings(model, importance=score, data=data)


def _check_place(path: Path) -> None:
    """Refuse a place where nothing can be written, before the work that leads there: a file is made and removed."""
    missing: list[Path] = []
    try:
        missing = [each for each in path.absolute().parents if not each.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


def _score(model: keras.Model, importance: str, recipe: Recipe | None) -> tuple[Any, Any]:
    """A score and the examples that it looks at; a model without a loss is given that of the recipe's training."""
    score: Any = importance
    if ":" in importance:
        score = load_function(importance, "--importance", ImportanceError)
    if importance in _BY_WEIGHTS or recipe is None or recipe.data is None:
        return score, None
    parts = load_data(recipe.data, recipe.seed)
    check_fits(model, "model", parts.input_shape, parts.input_dtype, len(parts.classes))
    if getattr(model, "compiled_loss", None) is None:
        compile_for_training(model, recipe.train, sample_of(parts.train))
    return score, parts.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0)

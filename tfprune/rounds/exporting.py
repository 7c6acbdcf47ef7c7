"""An export as the command line is told to: of a model file, a workflow, or a model on record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfprune.backend import keras
from tfprune.data.load import load_data
from tfprune.deploy.calibration import calibration_of
from tfprune.deploy.choices import About, Choices, check_place
from tfprune.deploy.deliver import deliver, over_budget
from tfprune.deploy.export import plain_model
from tfprune.deploy.formats import Material, check_possible
from tfprune.deploy.qat import distilling
from tfprune.deploy.verify import verify, verify_at_random
from tfprune.errors import ExportError, RecipeError, nearest
from tfprune.masking.files import load as load_model
from tfprune.recipe import Recipe, TrackSection, load
from tfprune.results import ExportReport
from tfprune.rounds.assess import arrays_at, examination_at, inputs_from
from tfprune.rounds.delivery import calibrated
from tfprune.storage import home
from tfprune.tracking.recorded import model_on_record


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        model: plain.
        recipe: path of the recipe that it came from; empty where it is none's.
    """

    model: keras.Model
    recipe: str = ""


@dataclass(frozen=True)
class Examples:
    """Data of an export.

    Attributes:
        data: a recipe or a ``.npz`` file that the file is checked on; None takes the workflow's own, or random inputs.
        split: which part of a recipe's data.
        slices: as `tfprune evaluate` has them.
        calibration: a recipe, whose training part is meant, or a ``.npz`` file; None takes `data`.
        count: of calibration examples.
        qat_epochs: of training with fake quantization where that is needed; 0 for none.
    """

    data: str | None = None
    split: str = "validation"
    slices: Sequence[str] = ()
    calibration: str | None = None
    count: int = 300
    qat_epochs: int = 0


def source_at(name: str, uri: str | None = None) -> Source:
    """A model file, a finished workflow such as ``digits-1``, or ``runs:/…`` and ``models:/…`` on record.

    Raises:
        RecipeError: none of these.
        ModelError: a file that does not read.
        TrackingError: a record that is not there.
    """
    path, room = Path(name), home() / "workflows"
    if re.match(r"(runs|models):/", name):
        return Source(plain_model(model_on_record(TrackSection(uri=uri), name)))
    if path.exists() and not (path.is_dir() and (path / "ledger.json").is_file()):
        return Source(plain_model(load_model(path)))
    folder = path if (path / "ledger.json").is_file() else room / name
    if not (folder / "ledger.json").is_file():
        known = sorted(each.parent.name for each in room.glob("*/ledger.json"))
        there = f"workflows: {', '.join(known) or 'none'}{nearest(name, known)}"
        raise RecipeError(f"{name!r}: no model file, no workflow in {room}, and no runs:/ or models:/ URI; {there}")
    if not (folder / "model.keras").is_file():
        raise RecipeError(f"workflow {folder.name!r} is not finished; tfprune resume {folder.name} goes on with it")
    return Source(plain_model(load_model(folder / "model.keras")), str(folder / "recipe.yaml"))


def export_to(
    source: Source,
    path: Path,
    choices: Choices,
    examples: Examples,
    *,
    labels: bool = False,
    budget: tuple[float | None, float | None] = (None, None),
) -> ExportReport:
    """Export a model as the command line is told to.

    Args:
        source: what.
        path: where to.
        choices: how.
        examples: what it is calibrated with and checked on.
        labels: write classes and normalization of the data's recipe into the file.
        budget: megabytes and milliseconds, or None.

    Raises:
        TfpruneError: see `tfprune.export`.
    """
    found = choices.format_of(path)
    check_place(path, choices.force)
    if budget[1] is not None and found not in ("litert", "onnx"):
        raise ExportError(f"--latency-ms is measured in LiteRT and onnxruntime, but the format is {found}")
    model = source.model
    check_possible(found, model, choices)
    data = examples.data or source.recipe or None
    if labels:
        choices = replace(choices, about=_about(data))
    if data is None:
        question: Any = partial(verify_at_random, model)
    else:
        exam = examination_at(data, examples.slices, split=examples.split, inputs=model.input_names)
        question = partial(verify, model, exam=exam)
    material = _material(model, choices, examples, examples.calibration or data)
    return deliver(material, path, choices, question, lambda report, _: over_budget(report, *budget))


def _material(model: keras.Model, choices: Choices, examples: Examples, data: str | None) -> Material:
    if choices.quantize != "int8":
        return Material(model)
    if data is None:
        raise ExportError(
            "int8 needs a calibration set, some hundreds of training examples; give --data or --calibration, "
            "a recipe or a .npz file"
        )
    if not data.endswith(".npz"):
        recipe = _recipe_at(data)
        return calibrated(model, load_data(recipe.data, recipe.seed), recipe, examples.count, examples.qat_epochs)
    inputs = inputs_from(arrays_at(Path(data)), Path(data), model.input_names)
    ranges = calibration_of(model, inputs, examples.count)
    return Material(model, ranges, distilling(model, inputs, examples.qat_epochs) if examples.qat_epochs else None)


def _about(data: str | None) -> About:
    """What a recipe's data says of classes and scale."""
    if data is None or data.endswith(".npz"):
        raise ExportError("--labels writes the classes and the scale of a recipe's data; give --data RECIPE")
    recipe = _recipe_at(data)
    return About(load_data(recipe.data, recipe.seed).classes, 0.0, recipe.data.divide_by)


def _recipe_at(name: str) -> Any:
    recipe: Recipe = load(name)
    if recipe.data is None:
        raise RecipeError(f"{name}: the recipe names no data; give one that does, or a .npz file")
    return recipe

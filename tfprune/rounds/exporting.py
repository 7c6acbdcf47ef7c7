"""An export as the command line is told to: of a model file, a workflow, or a model on record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.load import load_data
from tfprune.deploy.calibration import calibration_of
from tfprune.deploy.choices import About, Choices, check_place
from tfprune.deploy.deliver import Question, deliver
from tfprune.deploy.export import material_of, plain_model
from tfprune.deploy.formats import Material
from tfprune.deploy.qat import distilling
from tfprune.deploy.verify import Verification, verify_at_random
from tfprune.errors import ExportError, RecipeError, nearest
from tfprune.masking.files import load as load_model
from tfprune.recipe import Recipe, TrackSection, load
from tfprune.results import ExportReport, Format
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
    recipe = folder / "recipe.yaml"  # which names no data where it was handed in from Python
    return Source(plain_model(load_model(folder / "model.keras")), str(recipe) if load(recipe).data else "")


def export_to(
    source: Source,
    path: Path,
    choices: Choices,
    examples: Examples,
    *,
    labels: bool = False,
) -> ExportReport:
    """Export a model as the command line is told to.

    Args:
        source: what.
        path: where to.
        choices: how.
        examples: what it is calibrated with and checked on.
        labels: write classes and normalization of the data's recipe into the file.

    Raises:
        TfpruneError: see `tfprune.export`.
    """
    found, model = choices.format_of(path), source.model
    check_place(path, found, choices.force)
    data = examples.data or source.recipe or None
    if labels:
        if found != "litert":
            raise ExportError(f"--labels goes with litert, but the format is {found}; leave it out")
        choices = replace(choices, about=_about(data))
    material, note = _material(model, found, choices, examples, data)
    question: Question = partial(verify_at_random, model)
    if data is not None:
        exam = examination_at(data, examples.slices, split=examples.split, inputs=model.input_names)
        question = Verification(model, exam)
    report = deliver(material, path, choices, question)
    return replace(report, notes=(*report.notes, note)) if note else report


def _material(
    model: keras.Model, found: Format, choices: Choices, examples: Examples, data: str | None
) -> tuple[Material, str]:
    """What the file is made of, and what should be known of that."""
    named, epochs = examples.calibration or data, examples.qat_epochs
    if choices.quantize != "int8" or named is None:
        return material_of(model, found, choices, examples.calibration, [] if epochs else None, epochs), ""
    if not named.endswith(".npz"):
        recipe = _recipe_at(named)
        return calibrated(model, load_data(recipe.data, recipe.seed), recipe, examples.count, epochs), ""
    if epochs and examples.calibration is None:
        raise ExportError("--qat-epochs would train on what the file is checked on; give --calibration other examples")
    inputs = inputs_from(arrays_at(Path(named)), Path(named), model.input_names)
    order = np.random.default_rng(0).permutation(len(tf.nest.flatten(inputs)[0]))
    shuffled = tf.nest.map_structure(lambda each: each[order], inputs)
    ranges = calibration_of(model, shuffled, examples.count)
    note = "" if examples.calibration else "Ranges are from examples that the file was then checked on: --calibration."
    return Material(model, ranges, distilling(model, shuffled, epochs) if epochs else None), note


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

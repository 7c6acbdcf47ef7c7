"""The file that a workflow ends with: made of the best round, checked on validation, shown on the test part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfprune.backend import keras
from tfprune.cost.latency import latencies
from tfprune.data.augment import augment
from tfprune.data.splits import Data
from tfprune.deploy.calibration import calibration_of
from tfprune.deploy.choices import About, Choices, check_place
from tfprune.deploy.deliver import deliver, over_budget
from tfprune.deploy.formats import Material, check_possible, opened
from tfprune.deploy.qat import distilling
from tfprune.deploy.verify import verify
from tfprune.errors import ExportError, ModelError, StorageError, ToleranceError
from tfprune.litert.convert import convert
from tfprune.litert.session import Session
from tfprune.recipe import ExportSection, Recipe
from tfprune.results import Delivery, Evaluation, ExportReport, Stage
from tfprune.rounds.stop import judge
from tfprune.slices.exam import Examination


@dataclass(frozen=True)
class Models:
    """What a workflow ends with, in float32.

    Attributes:
        dense: what it began with.
        pruned: the plain model of the best round.
    """

    dense: keras.Model
    pruned: keras.Model


def check_export(recipe: Recipe, dense: keras.Model, data: Data) -> None:
    """Refuse what could not be exported in the end, before training.

    Raises:
        ExportError: choices that do not go together.
        ModelError: an operation that the format lacks.
        StorageError: something is in the way.
        DependencyError: a package is missing.
    """
    if recipe.export is None:
        return
    choices = choices_of(recipe.export, data, recipe)
    found = choices.format_of(recipe.export.path)
    if recipe.export.latency_ms is not None and found not in ("litert", "onnx"):
        raise ExportError(
            f"export.latency_ms is measured in LiteRT and onnxruntime, but {recipe.export.path} is {found}"
        )
    check_place(recipe.export.path, force=True)
    check_possible(found, dense, choices)


def deliver_best(recipe: Recipe, data: Data, models: Models, validation: Examination, test: Examination) -> Delivery:
    """Export the best round's model, or say why there is no file.

    Args:
        recipe: with an `export` section.
        data: its training part calibrates.
        models: dense and pruned.
        validation: decides; has been held against the dense model.
        test: is looked at once; likewise.
    """
    section = recipe.export
    assert section is not None
    choices = choices_of(section, data, recipe)
    material = Material(models.pruned)
    if section.quantize == "int8":
        material = calibrated(models.pruned, data, recipe, section.calibration, section.qat_epochs)

    stages: list[Stage] = []

    def gate(report: ExportReport, path: Path) -> list[str]:
        file, dense = report.check.file, validation.dense
        assert file is not None and dense is not None
        if report.format == "litert":
            stages.extend(_stages(report, path, models, test))
        kept = judge(file, validation.evaluate(dense), recipe.stop)
        return [*over_budget(report, section.size_mb, section.latency_ms), *kept.reasons]

    question = partial(verify, models.pruned, exam=validation)
    try:
        report = deliver(material, section.path, choices, question, gate)
    except ToleranceError as error:
        return Delivery(error.report, str(error), tuple(stages))
    except (ModelError, StorageError) as error:  # what has been trained stays, and can be exported by itself
        return Delivery(None, f"{section.path} was not written: {error}")
    return Delivery(report, stages=tuple(stages))


def choices_of(section: ExportSection, data: Data, recipe: Recipe) -> Choices:
    """What a recipe asks of its export."""
    divide_by = recipe.data.divide_by if recipe.data is not None else 1.0
    return Choices(
        to=section.to,
        quantize=section.quantize,
        integer_io=section.integer_io,
        sparse=section.sparse,
        select_ops=section.select_ops,
        about=About(data.classes, 0.0, divide_by) if section.labels else None,
        agreement=section.agreement,
        difference=section.difference,
        force=True,
    )


def calibrated(model: keras.Model, data: Data, recipe: Recipe, examples: int, qat_epochs: int) -> Material:
    """What an int8 file is made of: ranges and training from the first epoch of a recipe's training part.

    Args:
        model: plain.
        data: of the recipe.
        recipe: says batches, seed and augmentation.
        examples: that ranges are taken from, not augmented.
        qat_epochs: of training where it is needed; 0 for none.
    """
    batches = data.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0)
    ranges = calibration_of(model, batches, examples)
    if not qat_epochs:
        return Material(model, ranges)
    augmented = augment(batches, recipe.train.augment, seed=recipe.seed, epoch=0)
    return Material(model, ranges, distilling(model, augmented, qat_epochs))


def _stages(report: ExportReport, path: Path, models: Models, test: Examination) -> list[Stage]:
    """Dense, pruned and exported, side by side; the file is at `path`."""
    files = [convert(models.dense), convert(models.pruned), path.read_bytes()]
    ask = opened("litert", path, models.pruned)
    sittings = [test.dense or test.sit(models.dense), test.sit(models.pruned), test.sit(models.pruned, ask=ask)]
    evaluations: list[Evaluation] = [test.evaluate(each) for each in sittings]
    times = latencies([Session(content) for content in files], seconds=6.0)
    exported = "pruned" if report.quantize == "none" else f"pruned, {report.quantize}"
    names = ("dense", "pruned", exported)[: 2 if report.quantize == "none" else 3]
    return [
        Stage(name, len(content), time, evaluation)
        for name, content, time, evaluation in zip(names, files, times, evaluations, strict=False)
    ]

"""The file that a workflow ends with: made of the best round, checked on validation, shown on the test part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfprune.backend import keras
from tfprune.cost.latency import latencies
from tfprune.data.augment import augment
from tfprune.data.splits import Data
from tfprune.deploy.calibration import calibration_of
from tfprune.deploy.choices import About, Choices, check_place
from tfprune.deploy.deliver import deliver
from tfprune.deploy.formats import Material, check_possible, opened
from tfprune.deploy.qat import distilling
from tfprune.deploy.verify import Verification
from tfprune.errors import Interrupted, TfpruneError, ToleranceError
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.flex import needs_flex, session_of
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
    choices = choices_of(recipe.export, data, divide_by_of(recipe))
    found = choices.format_of(recipe.export.path)
    check_place(recipe.export.path, found, force=True)
    check_possible(found, dense, choices)


@dataclass(frozen=True)
class Setting:
    """What an export has to do with of its workflow.

    Attributes:
        recipe: with an `export` section.
        data: its training part calibrates.
        divide_by: what inputs are divided by.
        validation: decides; has been held against the dense model.
        test: is looked at once; likewise.
        stop_asked: whether the user wants it to stop.
    """

    recipe: Recipe
    data: Data
    divide_by: float
    validation: Examination
    test: Examination
    stop_asked: Callable[[], bool]


def deliver_best(models: Models, setting: Setting) -> Delivery:
    """Export the best round's model, or say why there is no file."""
    recipe, section = setting.recipe, setting.recipe.export
    assert section is not None
    choices = choices_of(section, setting.data, setting.divide_by)
    stages: list[Stage] = []

    def gate(report: ExportReport, path: Path) -> list[str]:
        file, dense = report.check.file, setting.validation.dense
        assert file is not None and dense is not None
        if report.format == "litert":
            stages.extend(_stages(report, path, models, setting.test))
        return list(judge(file, setting.validation.evaluate(dense), recipe.stop).reasons)

    try:
        material = Material(models.pruned)
        if section.quantize == "int8":
            epochs = section.qat_epochs if choices.format_of(section.path) == "litert" else 0
            material = calibrated(
                models.pruned, setting.data, recipe, section.calibration, epochs, stop_asked=setting.stop_asked
            )
        question = Verification(models.pruned, setting.validation)
        report = deliver(material, section.path, choices, question, gate, setting.stop_asked)
    except Interrupted:
        raise
    except ToleranceError as error:
        for place, each in enumerate(stages[2:], 2):
            stages[place] = replace(each, name=f"{each.name} (not written)")
        return Delivery(error.report, f"{error}{_older(section.path)}", tuple(stages))
    except TfpruneError as error:  # what has been trained stays, and can be exported by itself
        return Delivery(None, f"{section.path} was not written: {error}{_older(section.path)}")
    return Delivery(report, stages=tuple(stages))


def _older(path: Path) -> str:
    return "; what is there is of an earlier run" if path.exists() else ""


def divide_by_of(recipe: Recipe) -> float:
    """What a recipe divides inputs by."""
    return recipe.data.divide_by if recipe.data is not None else 1.0


def choices_of(section: ExportSection, data: Data, divide_by: float) -> Choices:
    """What a recipe asks of its export."""
    return Choices(
        to=section.to,
        quantize=section.quantize,
        integer_io=section.integer_io,
        sparse=section.sparse,
        select_ops=section.select_ops,
        about=About(data.classes, 0.0, divide_by) if section.labels else None,
        agreement=section.agreement,
        difference=section.difference,
        size_mb=section.size_mb,
        latency_ms=section.latency_ms,
        force=True,
    )


def calibrated(
    model: keras.Model,
    data: Data,
    recipe: Recipe,
    examples: int,
    qat_epochs: int,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Material:
    """What an int8 file is made of: ranges and training from the first epoch of a recipe's training part.

    Args:
        model: plain.
        data: of the recipe.
        recipe: says batches, seed and augmentation.
        examples: that ranges are taken from, not augmented.
        qat_epochs: of training where it is needed; 0 for none.
        stop_asked: looked at before each batch of that training.
    """
    batches = data.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0)
    ranges = calibration_of(model, batches, examples)
    if not qat_epochs:
        return Material(model, ranges)
    augmented = augment(batches, recipe.train.augment, seed=recipe.seed, epoch=0)
    return Material(model, ranges, distilling(model, _Stoppable(augmented, stop_asked), qat_epochs))


@dataclass(frozen=True)
class _Stoppable:
    """Batches, until the user wants it to stop."""

    batches: Iterable[Any]
    stop_asked: Callable[[], bool]

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if self.stop_asked():
                raise Interrupted("stopped by the user before the export was done; nothing is written")
            yield batch


def _stages(report: ExportReport, path: Path, models: Models, test: Examination) -> list[Stage]:
    """Dense, pruned and exported, side by side; the file is at `path`."""
    exported = path.read_bytes()
    plain = Conversion(select_ops=needs_flex(exported))
    files = [convert(models.dense, plain), convert(models.pruned, plain), exported]
    ask = opened("litert", path, models.pruned)
    sittings = [test.dense or test.sit(models.dense), test.sit(models.pruned), test.sit(models.pruned, ask=ask)]
    evaluations: list[Evaluation] = [test.evaluate(each) for each in sittings]
    times = latencies([session_of(content) for content in files], seconds=6.0)
    names = ("dense", "pruned", f"pruned, {'exported' if report.quantize == 'none' else report.quantize}")
    return [
        Stage(name, len(content), time, evaluation)
        for name, content, time, evaluation in zip(names, files, times, evaluations, strict=True)
    ]

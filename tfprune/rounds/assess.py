"""A model that tfprune need not have pruned, held against its slices and against gates, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tfprune.backend import keras
from tfprune.data.load import load_data
from tfprune.data.npz import archive_at
from tfprune.errors import DataError, RecipeError, SliceError, nearest
from tfprune.importing import refuse_code
from tfprune.recipe import Recipe, SliceSpec, StopSection, load
from tfprune.recipe.functions import named_functions
from tfprune.recipe.reading import NOT_YAML, read_yaml
from tfprune.results import Evaluation, Verdict
from tfprune.rounds.examine import examination
from tfprune.rounds.stop import judge
from tfprune.slices.define import columns_in, parse_slices
from tfprune.slices.evaluate import as_batches, examine
from tfprune.slices.exam import Examination
from tfprune.slices.records import examples_pieces, write_examples

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Assessment:
    """What came of an evaluation.

    Attributes:
        evaluation: of the model.
        baseline: of the dense model, where there is one.
        verdict: of the gates, where some were given.
    """

    evaluation: Evaluation
    baseline: Evaluation | None = None
    verdict: Verdict | None = None


def assess(
    model: keras.Model,
    data: str,
    slices: Sequence[str],
    *,
    baseline: keras.Model | None = None,
    split: str = "validation",
    gates: StopSection | None = None,
    min_support: int = 20,
    examples: Path | None = None,
) -> Assessment:
    """Evaluate a model as the command line is told to.

    Args:
        model: to evaluate.
        data: a recipe, by path or name, whose data is meant; or a ``.npz`` file with arrays ``x`` and ``y``, whose
            further arrays of as many values are metadata.
        slices: each as a recipe writes it, in YAML; by default every class.
        baseline: the dense model.
        split: which part of a recipe's data; a file is taken whole.
        gates: to hold the drops against; they need a baseline.
        min_support: slices with fewer examples are shown, but gate nothing.
        examples: where to write the answers one by one, as Parquet.

    Raises:
        TfpruneError: data, slices or models that do not fit each other.
    """
    if gates is not None and baseline is None:
        raise RecipeError("gates hold a model against a dense one; add --baseline MODEL")
    exam = examination_at(data, slices, split=split, min_support=min_support, inputs=model.input_names)
    dense = None if baseline is None else exam.sit(baseline)
    before = None
    if dense is not None:
        exam.compare_with(dense)
        before = exam.evaluate(dense)
    now = exam.sit(model)
    evaluation = exam.evaluate(now)
    if examples is not None:
        write_examples(examples_pieces(now, dense, exam.slices(now), exam.facts.classes), examples)
    verdict = judge(evaluation, before, gates) if gates is not None and before is not None else None
    return Assessment(evaluation, before, verdict)


def examination_at(
    data: str, slices: Sequence[str], *, split: str = "validation", min_support: int = 20, inputs: Sequence[str] = ()
) -> Examination:
    """The slices of data that the command line names; see `assess`.

    Args:
        data: a recipe, or a ``.npz`` file.
        slices: each as a recipe writes it, in YAML.
        split: which part of a recipe's data.
        min_support: slices with fewer examples gate nothing.
        inputs: names of a model's inputs; a file without ``x`` may have arrays of all these names instead.
    """
    if data.endswith(".npz"):
        return _of_file(Path(data), slices, min_support, inputs)
    return _of_recipe(data, slices_from_words(slices), split, min_support)


def gates_of(
    max_drop: float | None, max_slice_drop: float | None, confidence: float | None, min_support: int
) -> StopSection | None:
    """Gates as the command line has them; None where no drop is limited.

    Raises:
        RecipeError: a number out of its range, or a confidence in nothing.
    """
    if max_drop is None and max_slice_drop is None:
        if confidence is not None:
            raise RecipeError("--confidence is that of a gate; add --max-drop or --max-slice-drop")
        return None
    given: dict[str, Any] = {"max_drop": max_drop, "max_slice_drop": max_slice_drop, "confidence": confidence}
    try:
        return StopSection(**given, min_slice_size=min_support)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        option = str(problem["loc"][0]).replace("_", "-")
        raise RecipeError(f"--{option}: got {problem['input']}, expected: {problem['msg'].lower()}") from error


def slices_from_words(words: Sequence[str]) -> tuple[SliceSpec, ...]:
    """Read slices as the command line has them: ``classes``, ``hardest: 0.1``, ``{column: age, range: [60, null]}``.

    Raises:
        SliceError: not YAML, or no slice.

    Example:
        >>> slices_from_words(["classes", "hardest: 0.1"])
        ('classes', Hardest(name=None, hardest=0.1, by='margin'))
    """
    found: list[Any] = []
    for word in words or ("classes",):
        try:
            read = read_yaml(word)
        except NOT_YAML as error:
            raise SliceError(f"--slices {word!r}: not YAML; write e.g. classes, 'hardest: 0.1'") from error
        found += read if isinstance(read, list) else [read]
    specs = parse_slices(found)
    for place, function in named_functions(specs, "--slices"):
        refuse_code(f"{place} {function}", SliceError)
    return specs


def _of_recipe(name: str, specs: tuple[SliceSpec, ...], split: str, min_support: int) -> Examination:
    recipe = load(name)
    if recipe.data is None:
        raise RecipeError(f"--data {name}: the recipe names no data; give one that does, or a .npz file")
    if split not in _SPLITS:
        raise DataError(f"--split: got {split!r}, expected one of {', '.join(_SPLITS)}{nearest(split, _SPLITS)}")
    parts = load_data(recipe.data, recipe.seed)
    stop = recipe.stop.model_copy(update={"min_slice_size": min_support})
    asked: Recipe = recipe.model_copy(update={"slices": specs, "stop": stop})
    return examination(getattr(parts, split), asked, parts)


def _of_file(path: Path, slices: Sequence[str], min_support: int, inputs: Sequence[str]) -> Examination:
    arrays = arrays_at(path)
    if "y" not in arrays:
        raise DataError(f"{path}: no array 'y'; it has {', '.join(arrays)}{nearest('y', arrays)}")
    x, y = inputs_from(arrays, path, inputs), arrays.pop("y")
    is_regression = y.dtype.kind == "f" and bool((y != np.round(y)).any())
    specs = () if is_regression and not slices else slices_from_words(slices)  # numbers have no classes
    metadata = {name: values for name, values in arrays.items() if values.ndim == 1}
    for name in columns_in(specs):  # what is not asked for may be anything
        if name in metadata and len(metadata[name]) != len(y):
            raise DataError(f"{path}: metadata column {name!r} has {len(metadata[name])} values for {len(y)} examples")
    metadata = {name: values for name, values in metadata.items() if len(values) == len(y)}
    return examine(as_batches((x, y)), specs, split=path.name, metadata=metadata, min_support=min_support)


def arrays_at(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file by name.

    Raises:
        DataError: no such file, or it is damaged.
    """
    with archive_at(path) as archive:
        return {name: archive[name] for name in archive.files}


def inputs_from(arrays: dict[str, np.ndarray], path: Path, inputs: Sequence[str]) -> Any:
    """Take the inputs out of a file's arrays: ``x``, or those that are named as a model's inputs are.

    Raises:
        DataError: neither is there.
    """
    if len(inputs) > 1:
        if missing := [name for name in inputs if name not in arrays]:
            wanted = f"one array for each input: {', '.join(inputs)}"
            raise DataError(f"{path}: no array {missing[0]!r}; expected {wanted}; it has {', '.join(arrays)}")
        return {name: arrays.pop(name) for name in inputs}
    if "x" not in arrays:
        raise DataError(f"{path}: no array 'x'; it has {', '.join(arrays)}{nearest('x', arrays)}")
    return arrays.pop("x")

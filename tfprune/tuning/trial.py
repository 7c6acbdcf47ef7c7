"""A trial: an allocation, a short fine-tune, an evaluation; and the worker that stays warm for all of them."""

from __future__ import annotations

import io
import json
import math
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, make_deterministic
from tfprune.cost.latency import latency
from tfprune.cost.measure import measure
from tfprune.data.augment import augment
from tfprune.data.splits import Data, Remembering
from tfprune.errors import ModelError, TfpruneError, TfpruneWarning
from tfprune.importing import one_line
from tfprune.masking.masked import masked_layers
from tfprune.masking.plan import round_schedule
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.schedule import ConstantSparsity, Schedule
from tfprune.masking.wrap import retarget, unwrap, wrap_with
from tfprune.models.clone import clone, with_precision
from tfprune.models.files import load
from tfprune.recipe import Recipe, StructuredSection
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, History, Plan, TeacherCost, Trial
from tfprune.rounds.checkpoint import optimizer_state, set_variables
from tfprune.rounds.examine import examination
from tfprune.rounds.finetune import Stretch, compile_for_training, finetune_rate, now, sample_of, train
from tfprune.rounds.goal import final_sparsity, selection_of
from tfprune.rounds.start import data_of
from tfprune.rounds.state import State
from tfprune.rounds.teaching import Teacher
from tfprune.structure.shrink import apply
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning.batchnorm import BatchStatistics
from tfprune.tuning.objective import objective_of

_STATISTICS = 16
"""Batches that the statistics of a pruned model are taken from."""
OBJECTIVE = "objective"
"""Under which name the history of a trial holds it, epoch by epoch."""


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Attributes:
        trial: without results.
        plan: units that fall, of a structured trial.
        bars: after which epoch the objective has to be at least how high, or the trial is cut short.
        start: weights, optimizer and history of a shorter trial, to go on from.
        is_final: fine-tuned as a round is, and the weights are wanted.
        keep: the weights are wanted, for a longer trial to go on from.
        again: it may be on record already, by a worker or a driver that died since.
    """

    trial: Trial
    plan: Plan | None = None
    bars: Mapping[int, float] = field(default_factory=dict)
    start: bytes | None = None
    is_final: bool = False
    keep: bool = False
    again: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        trial: with its results.
        weights: where they are wanted.
        unrecorded: why it could not be recorded; the search cannot go on then.
    """

    trial: Trial
    weights: bytes | None = None
    unrecorded: str = ""


@dataclass(frozen=True)
class TrialSpec:
    """All that a worker needs, wherever it is.

    Attributes:
        recipe: of the search, with a tracking URI that every worker can reach.
        dense: the trained model as the bytes of a .keras file.
        data: arrays that were handed in, in place of the recipe's source.
        name: of the search.
        identity: of the search, in the records.
    """

    recipe: Recipe
    dense: bytes = field(repr=False)
    data: Any = field(repr=False)
    name: str
    identity: str

    def build(self) -> TrialWorker:
        """Load data and model, once for all trials of a slot."""
        return TrialWorker(self)


class TrialWorker:
    """Holds data, model and trace; each trial starts from the dense weights.

    Args:
        spec: of the search.
    """

    def __init__(self, spec: TrialSpec) -> None:
        self._recipe = recipe = spec.recipe
        make_deterministic(recipe.seed)
        data = data_of(recipe, spec.data)
        train, validation = Remembering(data.train), Remembering(data.validation)
        self._data = replace(data, train=train, validation=validation)
        dense = with_precision(model_from(spec.dense), recipe.precision)
        self._exam = examination(self._data.validation, recipe, self._data)
        before = self._exam.sit(dense)
        self._exam.compare_with(before)
        self._dense = self._exam.evaluate(before)
        is_structured = isinstance(recipe.prune, StructuredSection)
        self._way: _Masks | _Widths = (_Widths if is_structured else _Masks)(recipe, dense, self._data)
        self._teacher = Teacher.of(recipe, dense, self._data.train)
        self._tracker = SearchTracker(recipe.track)
        self._tracker.attach(spec.name, spec.identity)

    def run(self, task: Task) -> Outcome:
        """Do a trial and record it; one that fails is recorded as that, with its message."""
        start = time.monotonic()
        trial, weights = task.trial, None
        try:
            trial, weights = self._results(task)
        except Exception as error:  # whatever Keras and TensorFlow raise: the search goes on without this one
            message = str(error) if isinstance(error, TfpruneError) else one_line(error)
            trial = replace(trial, status="failed", message=message)
        trial = replace(trial, seconds=round(time.monotonic() - start, 3), finished=now())
        record = self._tracker.record_final if task.is_final else self._tracker.record_trial
        try:
            record(trial, self._dense, again=task.again)
        except TfpruneError as error:
            return Outcome(trial, weights, str(error))
        return Outcome(trial, weights)

    def _results(self, task: Task) -> tuple[Trial, bytes | None]:
        model = self._way.begin(task)
        history = _restored(model, task.start) if task.start is not None else []
        history, evaluation = self._train(model, task, history)
        objective = objective_of(evaluation, self._recipe.search.weights)
        measurement = replace(measure(model), layers=())
        is_short = len(history) < task.trial.epochs
        trial = replace(
            task.trial,
            status="stopped" if is_short else "completed",
            message=f"hopeless after epoch {len(history)}" if is_short else "",
            epochs=len(history),
            objective=objective,
            evaluation=evaluation,
            sparsity=self._way.sparsity(model, measurement.sparsity),
            measurement=measurement,
            latency_ms=self._way.latency(model),
            history=tuple(history),
            teacher=self._teachers_cost(history) if task.is_final else None,
        )
        return trial, _kept(model, history) if task.keep or task.is_final else None

    def _train(self, model: keras.Model, task: Task, history: History) -> tuple[History, Evaluation]:
        """Epoch by epoch, as long as there is hope; of a final one only the end is looked at."""
        recipe, epochs = self._recipe, task.trial.epochs
        batches = None if task.is_final else recipe.search.steps
        stretch = Stretch("trial", epochs, finetune_rate(recipe), recipe.seed, batches)
        self._let_teach(model, task)
        while True:
            if len(history) < epochs:
                history = train(
                    model,
                    self._data.train,
                    recipe.train,
                    stretch,
                    history=history,
                    watch=Watch(),
                    stop_asked=lambda: False,
                    keep=lambda history: None,
                    until=epochs if task.is_final else len(history) + 1,
                )
            if not task.is_final:
                self._way.statistics(model).renew(self._examples())
            evaluation = self._exam.evaluate(self._exam.sit(model), tests=task.is_final)
            if not history:  # nothing is trained at all
                return history, evaluation
            objective = objective_of(evaluation, recipe.search.weights)
            history[-1] = {**history[-1], OBJECTIVE: objective}
            if len(history) == epochs or objective < task.bars.get(len(history), -math.inf):
                return history, evaluation

    def _let_teach(self, model: keras.Model, task: Task) -> None:
        """Let the dense model teach finals, as it does rounds; a trial is short, and is compared with others alike."""
        if self._teacher is not None:
            (self._teacher.teach if task.is_final else self._teacher.leave)(model)

    def _teachers_cost(self, history: History) -> TeacherCost | None:
        steps = math.ceil(self._data.train.size / self._recipe.train.batch_size)
        return self._teacher.cost(history, steps) if self._teacher is not None else None

    def _examples(self) -> Any:
        """Training batches for statistics: enough of them to be steady, and the same ones for every trial."""
        recipe = self._recipe
        batches = self._data.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0).take(_STATISTICS)
        return augment(batches, recipe.train.augment, seed=recipe.seed, epoch=0)


# ------------------------------------------------------------------------------------ the two ways


class _Masks:
    """One wrapped model for all trials: nothing is traced anew."""

    def __init__(self, recipe: Recipe, dense: keras.Model, data: Data) -> None:
        self._recipe, self._data = recipe, data
        self._model = wrapped_for_search(recipe, dense, data)
        self._fresh = State(self._model)
        self._statistics = BatchStatistics(self._model)

    def begin(self, task: Task) -> keras.Model:
        model, recipe = self._model, self._recipe
        self._fresh.restore()
        target = final_sparsity(recipe)
        schedule: Schedule = ConstantSparsity(final_sparsity=target)
        is_at_once = not task.is_final or not task.trial.epochs
        if not is_at_once:
            steps = task.trial.epochs * math.ceil(self._data.train.size / recipe.train.batch_size)
            schedule = round_schedule(recipe.masking.schedule, 0.0, target, steps)
        retarget(model, schedule, scope=task.trial.ratios, floor=0.0, ceiling=1.0, normalize=False)
        if is_at_once:
            pruner_of(model).update(target)
        return model

    def statistics(self, model: keras.Model) -> BatchStatistics:
        return self._statistics

    def sparsity(self, model: keras.Model, measured: float) -> float:
        return float(sparsity_of(masked_layers(model)))

    def latency(self, model: keras.Model) -> float | None:
        return None  # zeros leave it as it is


class _Widths:
    """Every trial builds its model, as no two have the same widths."""

    def __init__(self, recipe: Recipe, dense: keras.Model, data: Data) -> None:
        self._recipe, self._dense, self._sample = recipe, dense, sample_of(data.train)

    def begin(self, task: Task) -> keras.Model:
        assert task.plan is not None
        model, _ = apply(self._dense, task.plan)
        compile_for_training(model, self._recipe.train, self._sample)
        self._statistics = BatchStatistics(model)
        return model

    def statistics(self, model: keras.Model) -> BatchStatistics:
        return self._statistics

    def sparsity(self, model: keras.Model, measured: float) -> float:
        return measured

    def latency(self, model: keras.Model) -> float | None:
        try:
            return latency(with_precision(model, "float32")).median_ms
        except ModelError:  # LiteRT does not take every model, and no search hangs on it
            return None


def wrapped_for_search(recipe: Recipe, dense: keras.Model, data: Data) -> keras.Model:
    """A model with masks on, compiled, that trials and sensitivity start from."""
    selection, examples = selection_of(recipe), None
    if selection.needs_gradients:
        examples = data.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0)
    schedule = ConstantSparsity(final_sparsity=final_sparsity(recipe))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TfpruneWarning)  # of layers left dense
        wrapped = wrap_with(dense, schedule, selection, layers=recipe.masking.layers, data=examples)
    compile_for_training(wrapped, recipe.train, sample_of(data.train))
    return wrapped


def plain_model(recipe: Recipe, dense: keras.Model, data: Data, task: Task, weights: bytes) -> keras.Model:
    """The model of a finished trial, without masks and without an optimizer."""
    if task.plan is not None:
        model, _ = apply(dense, task.plan)
        _restored(model, weights)
        return clone(model, lambda layer: None)
    wrapped = wrapped_for_search(recipe, dense, data)
    _restored(wrapped, weights)
    return unwrap(wrapped)


# --------------------------------------------------------------------------------- in and out as bytes


def model_from(content: bytes) -> keras.Model:
    """A model from the bytes of a .keras file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dense.keras")
        path.write_bytes(content)
        return load(path, trust=True)  # the searching process has read it, and was told whether to trust it


def _kept(model: keras.Model, history: History) -> bytes:
    """Weights, masks, optimizer and history."""
    arrays: dict[str, Any] = {f"w{index}": each.numpy() for index, each in enumerate(model.weights)}
    arrays.update({f"o{index}": each.numpy() for index, each in enumerate(optimizer_state(model))})
    file = io.BytesIO()
    np.savez(file, history=np.array(json.dumps(history)), **arrays)
    return file.getvalue()


def _restored(model: keras.Model, content: bytes) -> History:
    """Set a model, and the optimizer of one that is compiled, to what was kept; return the history."""
    with np.load(io.BytesIO(content)) as arrays:
        set_variables(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])
        optimizer = optimizer_state(model) if getattr(model, "optimizer", None) is not None else []
        set_variables(optimizer, [arrays[f"o{index}"] for index in range(len(optimizer))])
        return json.loads(str(arrays["history"]))

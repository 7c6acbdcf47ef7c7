"""The workflow from recipe to result."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, make_deterministic
from tfprune.cost.measure import measure
from tfprune.data.load import from_arrays, load_data
from tfprune.data.splits import Data, Split
from tfprune.errors import Interrupted, RecipeError, SliceError, nearest
from tfprune.masking.masked import masked_layers
from tfprune.masking.schedule import ConstantSparsity, Schedule, round_schedule
from tfprune.masking.update import sparsity_of
from tfprune.masking.wrap import retarget, strip, wrap
from tfprune.models.checks import check_fits
from tfprune.models.clone import with_precision
from tfprune.models.files import save
from tfprune.models.sources import load_model
from tfprune.recipe import Recipe, load, parse
from tfprune.report.summary import outcome_sentence, workflow_markdown
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, Round, RunResult, Verdict
from tfprune.rounds.checkpoint import Workflow, open_workflow
from tfprune.rounds.finetune import (
    History,
    compile_for_training,
    finetune_rate,
    learning_rate,
    now,
    sample_of,
    train,
)
from tfprune.rounds.stop import Halt, Step, best_round, judge, next_step
from tfprune.slices.define import Slice, define_slices, slice_names
from tfprune.slices.evaluate import Answers, answer, score
from tfprune.tracking import Tracker


def run(
    recipe: Recipe | dict[str, Any] | str | Path, *, model: Any = None, data: Any = None, resume: bool = True
) -> RunResult:
    """Run a recipe: train or load the dense model, prune it in rounds, and record each.

    Args:
        recipe: a recipe, a mapping, a path, or the name of a shipped one.
        model: a built tf_keras classifier in place of the recipe's model; it counts as trained and is not changed.
        data: arrays ``(x, y)``, or a dict of them under ``train`` and optionally ``validation`` and ``test``,
            in place of the recipe's data.
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
    return execute(recipe, model=model, data=data, resume=resume)


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
    parts = _data(recipe, data)
    dense = _model(recipe, model, parts)
    _check_slices(recipe, parts)
    wrap(dense, ConstantSparsity(final_sparsity=0.0), layers=recipe.prune.layers)  # refuses before any training
    tracker = Tracker(recipe.track)
    fingerprint = _fingerprint(dense, parts)
    opened = open_workflow(recipe, fingerprint, now(), resume=resume, only=only)
    with closing(opened) as workflow, _interrupts() as stop_asked:
        if workflow.ledger.rounds or (workflow.folder / "progress.npz").exists():
            watch.note(f"going on with {workflow.ledger.name}")
        about = {"data.digest": parts.digest, "data.train_examples": parts.train.size}
        trained = recipe.model.is_trained if model is None and recipe.model else True
        try:
            tracker.begin(workflow.ledger.name, workflow.ledger.id, recipe, about)
            return _Run(recipe, parts, workflow, tracker, watch, stop_asked).all(dense, trained)
        except BaseException as error:
            tracker.leave_open("KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED")
            raise


def dense_model(recipe: Recipe) -> keras.Model:
    """The model that a recipe starts from, untrained where the recipe would train it."""
    return _model(recipe, None, _data(recipe, None))


@dataclass
class _Run:
    """One workflow at work."""

    recipe: Recipe
    data: Data
    workflow: Workflow
    tracker: Tracker
    watch: Watch
    stop_asked: Callable[[], bool]

    def all(self, dense: keras.Model, trained: bool) -> RunResult:
        """Go from wherever an earlier process stopped to the end."""
        dense = with_precision(dense, self.recipe.precision)
        history = self._reach_dense(dense, trained)
        baseline = self._answers(dense, self.data.validation)
        slices = self._slices(self.data.validation, baseline)
        prune = self.recipe.prune
        pruned = wrap(dense, self._schedule(0.0, 0.5, 2), layers=prune.layers, scope=prune.scope)
        compile_for_training(pruned, self.recipe.train, sample_of(self.data.train))
        fresh = _State(pruned)
        if not self.ledger.rounds:
            first = self._round(Step(0, 0.0, 0.0), pruned, score(baseline, slices), Verdict(True), history)
            self._settle(dense, first)
        while isinstance(step := next_step(self.ledger.rounds, self.recipe), Step):
            self._prune_round(step, pruned, fresh, baseline, slices)
        return self._finish(step, dense, pruned, fresh)

    @property
    def ledger(self) -> Any:
        return self.workflow.ledger

    # --- stretches of training

    def _reach_dense(self, dense: keras.Model, trained: bool) -> History:
        """Bring the dense model to where training leaves it, and return the history of that training."""
        if self.ledger.rounds:
            self.workflow.restore_round(0, dense)
            return list(self.ledger.rounds[0].history)
        if trained:
            return []
        compile_for_training(dense, self.recipe.train, sample_of(self.data.train))
        rate = partial(learning_rate, self.recipe.train)
        return self._train("dense", dense, self.recipe.train.epochs, rate, seed=self.recipe.seed)

    def _prune_round(
        self, step: Step, pruned: keras.Model, fresh: _State, baseline: Answers, slices: tuple[Slice, ...]
    ) -> None:
        number = len(self.ledger.rounds)
        fresh.restore(pruned)
        if step.parent:
            self.workflow.restore_round(step.parent, pruned)
        epochs = self.recipe.finetune_epochs
        steps = epochs * math.ceil(self.data.train.size / self.recipe.train.batch_size)
        retarget(pruned, self._schedule(self.ledger.rounds[step.parent].sparsity, step.target, steps))
        seed = self.recipe.seed + 1_000 * number
        history = self._train(f"r{number:02d}", pruned, epochs, finetune_rate(self.recipe), seed=seed)
        evaluation = score(self._answers(pruned, self.data.validation), slices, baseline)
        verdict = judge(evaluation, self.ledger.rounds[0].evaluation, self.recipe.stop)
        self._settle(pruned, self._round(step, pruned, evaluation, verdict, history))

    def _train(self, label: str, model: keras.Model, epochs: int, rate: Callable[[float], float], seed: int) -> History:
        split, batch_size = self.data.train, self.recipe.train.batch_size
        history = self.workflow.restore_progress(label, model)
        steps = math.ceil(split.size / batch_size)
        title = "training dense" if label == "dense" else f"{label}: pruning and fine-tuning"
        self.watch.phase(title, steps * epochs, steps * len(history))
        self.tracker.open_round(label)

        def keep(so_far: History) -> None:
            self.workflow.keep_progress(label, model, so_far)
            self.tracker.record_epochs(label, so_far)

        try:
            return train(
                model,
                split,
                epochs=epochs,
                batch_size=batch_size,
                rate=rate,
                seed=seed,
                history=history,
                watch=self.watch,
                stop_asked=self.stop_asked,
                keep=keep,
                augmentations=self.recipe.train.augment,
            )
        finally:
            self.watch.phase_done()

    # --- results

    def _round(
        self, step: Step, pruned: keras.Model, evaluation: Evaluation, verdict: Verdict, history: History
    ) -> Round:
        return Round(
            number=len(self.ledger.rounds),
            parent=step.parent,
            target=step.target,
            sparsity=sparsity_of(masked_layers(pruned)),
            share=step.share,
            evaluation=evaluation,
            # Of the plain model: masked weights may be -0.0, which is zero but compresses worse.
            measurement=replace(measure(self._plain(pruned)), layers=()),
            verdict=verdict,
            history=tuple(history),
            seconds=round(sum(each["seconds"] for each in history), 3),
            # Not the time now: a round that is settled again after a kill must be the same round.
            finished=int(history[-1]["ended"]) if history else self.ledger.created,
        )

    def _settle(self, model: keras.Model, finished: Round) -> None:
        """Keep a round. The ledger comes last: until it speaks of a round, all of this is done again."""
        rounds = (*self.ledger.rounds, finished)
        self.workflow.keep_round(finished.number, model)
        self.tracker.open_round(finished.label)
        self.tracker.record_epochs(finished.label, finished.history)
        plain = self._plain(model) if finished.verdict.passed else None
        note = workflow_markdown(self.ledger.name, rounds, "")
        self.tracker.record_round(rounds, plain, sample_of(self.data.validation, 1), note)
        self.ledger.rounds = rounds
        self.workflow.keep()
        self.watch.round(finished)

    def _finish(self, halt: Halt, dense: keras.Model, pruned: keras.Model, fresh: _State) -> RunResult:
        best = best_round(self.ledger.rounds)
        fresh.restore(pruned)
        if best.number:
            self.workflow.restore_round(best.number, pruned)
        plain = self._plain(pruned)
        test = self.data.test
        before, after = self._answers(dense, test), self._answers(plain, test)
        slices = self._slices(test, before)
        result = RunResult(
            workflow=self.ledger.name,
            outcome="",
            target_met=halt.target_met,
            rounds=self.ledger.rounds,
            best=best.number,
            test_dense=score(before, slices),
            test=score(after, slices, before),
            directory=self.workflow.folder,
            tracking_uri=self.tracker.uri,
            model=plain,
        )
        result = replace(result, outcome=outcome_sentence(result, halt.reason))
        save(plain, self.workflow.folder / "model.keras")
        if self.recipe.export is not None:
            save(plain, self.recipe.export.path)
        self.tracker.finish(result, workflow_markdown(result.workflow, result.rounds, result.outcome))
        self.ledger.test_dense, self.ledger.test = result.test_dense, result.test
        self.ledger.outcome, self.ledger.target_met = result.outcome, result.target_met
        self.workflow.keep()
        return result

    # --- small things

    def _plain(self, model: keras.Model) -> keras.Model:
        return with_precision(strip(model), "float32")

    def _answers(self, model: keras.Model, split: Split) -> Answers:
        return answer(model, split.batches(max(256, self.recipe.train.batch_size)))

    def _slices(self, split: Split, baseline: Answers) -> tuple[Slice, ...]:
        return define_slices(
            self.recipe.slices,
            classes=self.data.classes,
            labels=split.labels,
            train_labels=self.data.train.labels,
            margins=baseline.margin,
            split=split.name,
        )

    def _schedule(self, initial: float, final: float, steps: int) -> Schedule:
        return round_schedule(self.recipe.prune.schedule, initial, final, steps)


def _data(recipe: Recipe, given: Any) -> Data:
    if given is not None:
        return from_arrays(given, seed=recipe.seed)
    if recipe.data is None:
        raise RecipeError("data: is missing; a recipe needs it, or pass data=(x, y) to tfprune.run")
    return load_data(recipe.data, recipe.seed)


def _model(recipe: Recipe, given: keras.Model | None, data: Data) -> keras.Model:
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


def _check_slices(recipe: Recipe, data: Data) -> None:
    """Refuse slices without examples, and gates on slices that do not exist, before anything is trained."""
    known = slice_names(recipe.slices, data.classes)
    for name in recipe.stop.slice_drops:
        if name not in known:
            raise SliceError(
                f"stop.slice_drops: no slice is named {name!r}; there are {', '.join(known)}{nearest(name, known)}"
            )
    for split in (data.validation, data.test):
        define_slices(
            recipe.slices,
            classes=data.classes,
            labels=split.labels,
            train_labels=data.train.labels,
            margins=np.zeros(split.size, np.float32),
            split=split.name,
        )


def _fingerprint(model: keras.Model, data: Data) -> str:
    """Of the data and of the weights that the workflow starts from."""
    digest = hashlib.sha256(data.digest.encode())
    for each in model.get_weights():
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()[:16]


class _State:
    """Weights, masks and optimizer of a model that has not trained yet, to start each round from."""

    def __init__(self, model: keras.Model) -> None:
        self._values = [each.numpy() for each in self._variables(model)]

    def restore(self, model: keras.Model) -> None:
        for variable, value in zip(self._variables(model), self._values, strict=True):
            variable.assign(value)

    @staticmethod
    def _variables(model: keras.Model) -> list[Any]:
        return [*model.weights, *model.optimizer.variables]


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish that training asks for; the second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)

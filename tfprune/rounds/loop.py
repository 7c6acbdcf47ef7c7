"""Score, prune, fine-tune, evaluate, record: from the dense model to the furthest round that passed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.data.splits import Data, Split
from tfprune.errors import TrainingError
from tfprune.masking.masked import masked_layers
from tfprune.masking.schedule import Schedule, round_schedule
from tfprune.masking.update import sparsity_of
from tfprune.masking.wrap import retarget, strip, wrap
from tfprune.models.clone import with_precision
from tfprune.models.files import save
from tfprune.recipe import Recipe
from tfprune.report.summary import outcome_sentence, workflow_markdown
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, History, Round, RunResult, Verdict
from tfprune.rounds.checkpoint import Ledger, Workflow, optimizer_state
from tfprune.rounds.finetune import (
    Stretch,
    compile_for_training,
    finetune_rate,
    learning_rate,
    sample_of,
    train,
)
from tfprune.rounds.stop import Halt, Step, best_round, judge, next_step
from tfprune.slices.define import Slice, define_slices
from tfprune.slices.evaluate import Answers, answer, score
from tfprune.tracking.store import Tracker


@dataclass
class Loop:
    """One workflow at work."""

    recipe: Recipe
    data: Data
    workflow: Workflow
    tracker: Tracker
    watch: Watch
    stop_asked: Callable[[], bool]

    def run(self, dense: keras.Model, trained: bool) -> RunResult:
        """Go from wherever an earlier process stopped to the end."""
        dense = with_precision(dense, self.recipe.precision)
        history = self._reach_dense(dense, trained)
        baseline = self._answers(dense, self.data.validation)
        slices = slices_of(self.data.validation, self.recipe, self.data, baseline.margin)
        prune = self.recipe.prune
        pruned = wrap(dense, self._schedule(0.0, 0.5, 2), layers=prune.layers, scope=prune.scope)
        compile_for_training(pruned, self.recipe.train, sample_of(self.data.train))
        fresh = _State(pruned)
        if not self.ledger.rounds:
            self._settle(Step(0, 0.0, 0.0), dense, pruned, score(baseline, slices), Verdict(True), history)
        if self.ledger.rounds[0].evaluation.accuracy <= 1.2 / len(self.data.classes):
            self.watch.note(
                "the dense model is hardly better than chance: is it trained, and are its classes in this order: "
                f"{', '.join(self.data.classes[:12])}?"
            )
        step = next_step(self.ledger.rounds, self.recipe)
        while isinstance(step, Step):
            try:
                self._prune_round(step, pruned, fresh, baseline, slices)
            except TrainingError as error:  # the same again each time: what passed before is the result
                step = Halt(False, str(error))
            else:
                step = next_step(self.ledger.rounds, self.recipe)
        return self._finish(step, dense, pruned, fresh)

    @property
    def ledger(self) -> Ledger:
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
        return self._train(dense, Stretch("dense", self.recipe.train.epochs, rate, self.recipe.seed))

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
        stretch = Stretch(f"r{number:02d}", epochs, finetune_rate(self.recipe), self.recipe.seed + 1_000 * number)
        history = self._train(pruned, stretch)
        evaluation = score(self._answers(pruned, self.data.validation), slices, baseline)
        verdict = judge(evaluation, self.ledger.rounds[0].evaluation, self.recipe.stop)
        self._settle(step, pruned, pruned, evaluation, verdict, history)

    def _train(self, model: keras.Model, stretch: Stretch) -> History:
        """Train from where an earlier process left this stretch to its end."""
        label, train_split = stretch.label, self.data.train
        history = self.workflow.restore_progress(label, model)
        steps = math.ceil(train_split.size / self.recipe.train.batch_size)
        title = "training dense" if label == "dense" else f"{label}: pruning and fine-tuning"
        self.watch.phase(title, steps * stretch.epochs, steps * len(history))
        self.tracker.open_round(label)

        def keep(so_far: History) -> None:
            self.workflow.keep_progress(label, model, so_far)
            self.tracker.record_epochs(label, so_far)

        try:
            return train(
                model,
                train_split,
                self.recipe.train,
                stretch,
                history=history,
                watch=self.watch,
                stop_asked=self.stop_asked,
                keep=keep,
            )
        finally:
            self.watch.phase_done()

    # --- results

    def _settle(
        self,
        step: Step,
        trained: keras.Model,
        pruned: keras.Model,
        evaluation: Evaluation,
        verdict: Verdict,
        history: History,
    ) -> None:
        """Keep a round. The ledger comes last: until it speaks of a round, all of this is done again."""
        plain = self._plain(pruned)
        finished = Round(
            number=len(self.ledger.rounds),
            parent=step.parent,
            target=step.target,
            sparsity=sparsity_of(masked_layers(pruned)),
            share=step.share,
            evaluation=evaluation,
            # Of the plain model: masked weights may be -0.0, which is zero but compresses worse.
            measurement=replace(measure(plain), layers=()),
            verdict=verdict,
            history=tuple(history),
            seconds=round(sum(each["seconds"] for each in history), 3),
            # Not the time now: a round that is settled again after a kill must be the same round.
            finished=int(history[-1]["ended"]) if history else self.ledger.created,
        )
        rounds = (*self.ledger.rounds, finished)
        self.workflow.keep_round(finished.number, trained)
        self.tracker.open_round(finished.label)
        self.tracker.record_epochs(finished.label, finished.history)
        note = workflow_markdown(self.ledger.name, rounds, "")
        example = sample_of(self.data.validation, 1)
        self.tracker.record_round(rounds, plain if verdict.passed else None, example, note)
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
        before, after = self._answers(with_precision(dense, "float32"), test), self._answers(plain, test)
        slices = slices_of(test, self.recipe, self.data, before.margin)
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
        if self.recipe.export is not None and (best.number or halt.target_met):
            save(plain, self.recipe.export.path)
        self.tracker.finish(result, workflow_markdown(result.workflow, result.rounds, result.outcome))
        self.tracker.leave_open("FAILED")  # a round whose training came to nothing
        self.ledger.outcome = result.outcome
        self.workflow.keep()
        return result

    # --- small things

    def _plain(self, model: keras.Model) -> keras.Model:
        plain = strip(model)
        return plain if self.recipe.precision == "float32" else with_precision(plain, "float32")

    def _answers(self, model: keras.Model, split: Split) -> Answers:
        return answer(model, split.batches(max(256, self.recipe.train.batch_size)))

    def _schedule(self, initial: float, final: float, steps: int) -> Schedule:
        return round_schedule(self.recipe.prune.schedule, initial, final, steps)


def slices_of(split: Split, recipe: Recipe, data: Data, margins: np.ndarray) -> tuple[Slice, ...]:
    """The slices of a recipe on one split.

    Args:
        split: the validation or the test split.
        recipe: names the slices.
        data: its training part says which classes are rare.
        margins: float (split.size,), the dense model's.

    Raises:
        SliceError: a slice without an example.
    """
    return define_slices(
        recipe.slices,
        classes=data.classes,
        labels=split.labels,
        train_labels=data.train.labels,
        margins=margins,
        split=split.name,
    )


class _State:
    """Weights, masks and optimizer of a model that has not trained yet, to start each round from."""

    def __init__(self, model: keras.Model) -> None:
        self._values = [each.numpy() for each in self._variables(model)]

    def restore(self, model: keras.Model) -> None:
        for variable, value in zip(self._variables(model), self._values, strict=True):
            variable.assign(value)

    @staticmethod
    def _variables(model: keras.Model) -> list[Any]:
        return [*model.weights, *optimizer_state(model)]

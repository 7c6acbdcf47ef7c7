"""Score, prune, fine-tune, evaluate, record: from the dense model to the furthest round that passed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.data.splits import Data, Split
from tfprune.errors import TfpruneWarning, TrainingError, warn
from tfprune.masking.masked import masked_layers
from tfprune.masking.plan import round_schedule
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.schedule import ConstantSparsity, Schedule
from tfprune.masking.selection import Selection
from tfprune.masking.wrap import retarget, unwrap, wrap_with
from tfprune.models.clone import with_precision
from tfprune.models.files import save
from tfprune.recipe import Recipe
from tfprune.report.summary import outcome_sentence, workflow_markdown
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, History, Round, RunResult, Verdict
from tfprune.rounds.checkpoint import Ledger, Workflow
from tfprune.rounds.finetune import (
    Stretch,
    compile_for_training,
    finetune_rate,
    learning_rate,
    sample_of,
    train,
)
from tfprune.rounds.goal import final_sparsity, on_the_way
from tfprune.rounds.state import State, rewind
from tfprune.rounds.stop import Halt, Step, best_round, judge, next_step, progress
from tfprune.slices.define import Slice, define_slices
from tfprune.slices.evaluate import Answers, answer, score
from tfprune.tracking.store import Tracker


@dataclass
class Loop:
    """One workflow at work."""

    recipe: Recipe
    selection: Selection
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
        pruned = self._wrapped(dense)
        compile_for_training(pruned, self.recipe.train, sample_of(self.data.train))
        fresh = State(pruned)
        early = self._early_weights(dense)
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
                self._prune_round(step, pruned, fresh, early, baseline, slices)
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
        if self.recipe.prune.rewind_to_epoch == 0 and not self.workflow.restore_progress("dense", dense):
            self.workflow.keep_rewind(dense)
        rate = partial(learning_rate, self.recipe.train)
        return self._train(dense, Stretch("dense", self.recipe.train.epochs, rate, self.recipe.seed))

    def _wrapped(self, dense: keras.Model) -> keras.Model:
        """The dense model with masks, and with the examples that scores look at: the same ones at every update."""
        train, final = self.data.train, final_sparsity(self.recipe)
        data = None
        if self.selection.needs_gradients:
            # Shuffled, as a source may be sorted by class; of epoch 0, the order follows from the seed alone.
            data = train.epoch(self.recipe.train.batch_size, seed=self.recipe.seed, epoch=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TfpruneWarning)  # of layers left dense: told before training
            return wrap_with(
                dense,
                ConstantSparsity(final_sparsity=final),
                self.selection,
                layers=self.recipe.prune.layers,
                data=data,
            )

    def _early_weights(self, dense: keras.Model) -> list[np.ndarray] | None:
        """What a wrapped model is rewound to, variable by variable; None where nothing is."""
        if self.recipe.prune.rewind_to_epoch is None:
            return None
        trained = dense.get_weights()
        self.workflow.restore_rewind(dense)
        early = [each.numpy() for each in self._wrapped(dense).weights]
        dense.set_weights(trained)
        return early

    def _prune_round(
        self,
        step: Step,
        pruned: keras.Model,
        fresh: State,
        early: list[np.ndarray] | None,
        baseline: Answers,
        slices: tuple[Slice, ...],
    ) -> None:
        number, epochs = len(self.ledger.rounds), self.recipe.finetune_epochs
        fresh.restore(pruned)
        if step.parent:
            self.workflow.restore_round(step.parent, pruned)
        self._aim(step, pruned)
        if early is not None or not epochs:
            pruner_of(pruned).update(pruner_of(pruned).schedule.final_sparsity)
        if early is not None:
            rewind(pruned, early)
        history: History = []
        if epochs:
            rate, seed = finetune_rate(self.recipe), self.recipe.seed + 1_000 * number
            history = self._train(pruned, Stretch(f"r{number:02d}", epochs, rate, seed))
        evaluation = score(self._answers(pruned, self.data.validation), slices, baseline)
        verdict = judge(evaluation, self.ledger.rounds[0].evaluation, self.recipe.stop)
        self._settle(step, pruned, pruned, evaluation, verdict, history)

    def _aim(self, step: Step, pruned: keras.Model) -> None:
        """Give the masks the goal of a round; limits by layer grow with it."""
        final = final_sparsity(self.recipe)
        target = min(step.target, final)
        selection = on_the_way(self.selection, target, final)
        steps = self.recipe.finetune_epochs * math.ceil(self.data.train.size / self.recipe.train.batch_size)
        initial = min(progress(self.ledger.rounds[step.parent], self.recipe), target)
        schedule: Schedule = ConstantSparsity(final_sparsity=target)
        if steps and self.recipe.prune.rewind_to_epoch is None:
            schedule = round_schedule(self.recipe.prune.schedule, initial, target, steps)
        retarget(pruned, schedule, scope=selection.scope, floor=selection.floor)

    def _train(self, model: keras.Model, stretch: Stretch) -> History:
        """Train from where an earlier process left this stretch to its end."""
        label, train_split = stretch.label, self.data.train
        history = self.workflow.restore_progress(label, model)
        if history and masked_layers(model):  # an earlier process has made the updates so far
            pruner = pruner_of(model)
            pruner.goal = pruner.schedule, pruner.selection
        steps = math.ceil(train_split.size / self.recipe.train.batch_size)
        title = "training dense" if label == "dense" else f"{label}: {self._what_is_done}"
        self.watch.phase(title, steps * stretch.epochs, steps * len(history))
        self.tracker.open_round(label)

        def keep(so_far: History) -> None:
            if label == "dense" and len(so_far) == self.recipe.prune.rewind_to_epoch:
                self.workflow.keep_rewind(model)  # first: once this epoch counts as finished, it is not repeated
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
            sparsity=float(sparsity_of(masked_layers(pruned))),
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

    def _finish(self, halt: Halt, dense: keras.Model, pruned: keras.Model, fresh: State) -> RunResult:
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
        self._warn_if_untrained(best)
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
        plain = unwrap(model)
        return plain if self.recipe.precision == "float32" else with_precision(plain, "float32")

    def _answers(self, model: keras.Model, split: Split) -> Answers:
        return answer(model, split.batches(max(256, self.recipe.train.batch_size)))

    @property
    def _what_is_done(self) -> str:
        epoch = self.recipe.prune.rewind_to_epoch
        return "pruning and fine-tuning" if epoch is None else f"pruned, and training again from epoch {epoch}"

    def _warn_if_untrained(self, best: Round) -> None:
        if not self.recipe.finetune_epochs and best.number:
            after, before = best.evaluation.accuracy, self.ledger.rounds[0].evaluation.accuracy
            warn(
                f"pruned without training: accuracy {after:.1%}, {before:.1%} before, on the validation part; "
                "fine-tune it, or prune less"
            )


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

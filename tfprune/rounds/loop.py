"""Score, prune, fine-tune, evaluate, record: from the dense model to the furthest round that passed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.data.splits import Data
from tfprune.errors import SurgeryError, TrainingError, warn
from tfprune.masking.selection import Selection
from tfprune.models.clone import with_precision
from tfprune.models.files import save
from tfprune.recipe import Recipe
from tfprune.report.export import delivery_sentence
from tfprune.report.markdown import workflow_markdown
from tfprune.report.summary import asked_sentence, outcome_sentence
from tfprune.report.watch import Watch
from tfprune.results import History, Round, RunResult, TeacherCost, Verdict, best_round
from tfprune.rounds.checkpoint import Begun, Ledger, Workflow
from tfprune.rounds.delivery import Models, Setting, deliver_best
from tfprune.rounds.finetune import Stretch, compile_for_training, finetune_rate, learning_rate, sample_of, train
from tfprune.rounds.masked import MaskedRounds
from tfprune.rounds.method import Method, Phase
from tfprune.rounds.pictures import newly_wrong, workflow_figures
from tfprune.rounds.rebuilt import RebuiltRounds, amount_of
from tfprune.rounds.stop import Halt, Step, halt_of, judge, next_step
from tfprune.rounds.teaching import Teacher
from tfprune.slices.exam import Examination
from tfprune.slices.records import examples_pieces, write_examples
from tfprune.slices.score import Sitting
from tfprune.tracking.workflows import Tracker


@dataclass
class Loop:
    """One workflow at work.

    Attributes:
        recipe: what to do.
        selections: for each of its phases, which weights fall; None where units do.
        data: of the workflow.
        validation: slices of the split that decides.
        test: slices of the split that is looked at once.
        workflow: what is kept of it.
        tracker: what is recorded of it.
        watch: hears of progress.
        stop_asked: whether the user wants it to stop.
        divide_by: what inputs are divided by; the recipe may say nothing of data that were handed in.
    """

    recipe: Recipe
    selections: Sequence[Selection | None]
    data: Data
    validation: Examination
    test: Examination
    workflow: Workflow
    tracker: Tracker
    watch: Watch
    stop_asked: Callable[[], bool]
    divide_by: float = 1.0
    teacher: Teacher | None = field(default=None, init=False)

    def run(self, dense: keras.Model, trained: bool) -> RunResult:
        """Go from wherever an earlier process stopped to the end."""
        dense = with_precision(dense, self.recipe.precision)
        history = self._reach_dense(dense, trained)
        self.teacher = Teacher.of(self.recipe, dense, self.data.train)
        baseline = self.validation.sit(dense)
        self.validation.compare_with(baseline)
        model, best, halts = dense, 0, []
        for number in range(len(self.recipe.phases)):
            method = self._method(number, best, model)
            if not self.ledger.rounds:
                self._settle(method, Step(0, 0.0, 0.0), dense, baseline, history)
            if not number:
                self._note_if_untrained()
            halts.append(self._run_phase(method))
            best = best_round(method.rounds()).number  # of this phase: an earlier process may have been in the next
            model = method.plain(method.finished(best))
        return self._finish(_together(halts, self.recipe), dense, self._in_float32(model))

    @property
    def ledger(self) -> Ledger:
        return self.workflow.ledger

    # --- phases and rounds

    def _method(self, number: int, origin: int, model: keras.Model) -> Method:
        """The method of a phase, which begins with it unless an earlier process has begun it."""
        recipe, selection = self.recipe.phases[number], self.selections[number]
        if number == len(self.ledger.phases):
            amount = amount_of(recipe, model) if selection is None else 1.0
            self.ledger.phases = (*self.ledger.phases, Begun(origin, amount))
            self.workflow.keep()
        begun = self.ledger.phases[number]
        phase = Phase(recipe, number, begun.origin, self.data, self.workflow)
        if selection is None:
            return RebuiltRounds(phase, model, begun.amount)
        return MaskedRounds(phase, model, selection)

    def _run_phase(self, method: Method) -> Halt:
        """Try rounds until the target of a phase is met or a gate fails for good."""
        begun = self.ledger.phases[method.phase.number]
        if begun.halt is not None:
            return begun.halt
        step = next_step(method.rounds(), method.recipe, method.goal)
        while isinstance(step, Step):
            try:
                self._round(method, step)
            except (TrainingError, SurgeryError) as error:  # the same again each time: what passed before is the result
                self.workflow.drop_plan(len(self.ledger.rounds))
                step = halt_of(error, step, method.rounds(), method.goal)
            else:
                step = next_step(method.rounds(), method.recipe, method.goal)
        if method.phase.number + 1 < len(self.recipe.phases):
            begun.halt = step  # a round that came to nothing is not tried again among those of the next phase
            self.workflow.keep()
        return step

    def _round(self, method: Method, step: Step) -> None:
        number, epochs = len(self.ledger.rounds), self.recipe.finetune_epochs
        model = method.start(step, number)
        history: History = []
        if epochs:
            self._let_teach(model, number)
            rate, seed = finetune_rate(self.recipe), self.recipe.seed + 1_000 * number
            history = self._train(model, Stretch(f"r{number:02d}", epochs, rate, seed), method)
        self._settle(method, step, model, self.validation.sit(model), history)

    def _let_teach(self, model: keras.Model, number: int) -> None:
        """Let the dense model take part in the fine-tuning of a round, where the recipe wants it."""
        missing = () if self.teacher is None else self.teacher.teach(model)
        if missing:
            self.watch.note(f"r{number:02d} is taught without {', '.join(missing)}: its branch has been removed")

    # --- stretches of training

    def _reach_dense(self, dense: keras.Model, trained: bool) -> History:
        """Bring the dense model to where training leaves it, and return the history of that training."""
        if self.ledger.rounds:
            self.workflow.restore_round(0, dense)
            return list(self.ledger.rounds[0].history)
        if trained:
            return []
        compile_for_training(dense, self.recipe.train, sample_of(self.data.train))
        if self.recipe.rewind_to_epoch == 0 and not self.workflow.restore_progress("dense", dense):
            self.workflow.keep_rewind(dense)
        rate = partial(learning_rate, self.recipe.train)
        return self._train(dense, Stretch("dense", self.recipe.train.epochs, rate, self.recipe.seed))

    def _train(self, model: keras.Model, stretch: Stretch, method: Method | None = None) -> History:
        """Train from where an earlier process left this stretch to its end."""
        label, train_split = stretch.label, self.data.train
        history = (method or self.workflow).restore_progress(label, model)
        steps = math.ceil(train_split.size / self.recipe.train.batch_size)
        title = "training dense" if method is None else f"{label}: {method.title}"
        self.watch.phase(title, steps * stretch.epochs, steps * len(history))
        self.tracker.open_round(label)

        def keep(so_far: History) -> None:
            if method is None and len(so_far) == self.recipe.rewind_to_epoch:
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

    def _settle(self, method: Method, step: Step, trained: keras.Model, answers: Sitting, history: History) -> None:
        """Judge and keep a round. The ledger comes last: until it speaks of a round, all of this is done again."""
        number = len(self.ledger.rounds)
        evaluation = self.validation.evaluate(answers)
        verdict = judge(evaluation, self.ledger.rounds[0].evaluation, self.recipe.stop) if number else Verdict(True)
        plain = self._in_float32(method.plain(trained if number else method.begun))
        # Of the plain model: masked weights may be -0.0, which is zero but compresses worse.
        measurement = replace(measure(plain), layers=())
        figures = method.figures(trained, measurement) if number else method.at_origin
        finished = Round(
            number=number,
            parent=step.parent,
            target=step.target,
            sparsity=figures.sparsity,
            share=step.share,
            evaluation=evaluation,
            measurement=measurement,
            verdict=verdict,
            history=tuple(history),
            seconds=round(sum(each["seconds"] for each in history), 3),
            # Not the time now: a round that is settled again after a kill must be the same round.
            finished=int(history[-1]["ended"]) if history else self.ledger.created,
            method=method.name,
            phase=method.phase.number,
            removed=figures.removed,
            reached=figures.reached,
            teacher=self._teachers_cost(history) if number else None,
        )
        rounds = (*self.ledger.rounds, finished)
        self.workflow.keep_round(finished.number, trained)
        self.tracker.open_round(finished.label)
        self.tracker.record_epochs(finished.label, finished.history)
        example, kept = sample_of(self.data.validation, 1), self._keep_answers(number, answers)
        self.tracker.record_round(rounds, plain if verdict.passed else None, example, self._note(rounds), kept)
        gallery = newly_wrong(self.validation, answers)
        if gallery is not None:
            self.tracker.record_figures(finished.label, {"newly_wrong": gallery})
        self.ledger.rounds = rounds
        self.workflow.keep()
        self.watch.round(finished)

    def _keep_answers(self, number: int, answers: Sitting) -> Path:
        """Write what was answered to each example."""
        exam = self.validation
        before = exam.dense if number else None
        pieces = examples_pieces(answers, before, exam.slices(answers), self.data.classes)
        path = self.workflow.folder / f"round-{number:02d}.examples.parquet"
        write_examples(pieces, path)
        return path

    def _finish(self, halt: Halt, dense: keras.Model, plain: keras.Model) -> RunResult:
        best = best_round(self.ledger.rounds)
        before = self.test.sit(self._in_float32(dense))
        self.test.compare_with(before)
        result = RunResult(
            workflow=self.ledger.name,
            outcome="",
            target_met=halt.target_met,
            rounds=self.ledger.rounds,
            best=best.number,
            test_dense=self.test.evaluate(before),
            test=self.test.evaluate(self.test.sit(plain)),
            directory=self.workflow.folder,
            tracking_uri=self.tracker.uri,
            model=plain,
        )
        result = replace(result, outcome=outcome_sentence(result, halt.reason))
        self._warn_if_untrained(best)
        save(plain, self.workflow.folder / "model.keras")
        if self.recipe.export is not None and (best.number or halt.target_met):
            result = self._delivered(result, Models(self._in_float32(dense), plain))
        figures = workflow_figures(result.workflow, result.rounds, self.recipe, dense, plain)
        version = self.tracker.finish(result, self._note(result.rounds, result.outcome), figures)
        if version is not None:
            self.watch.note(
                f"registered as {self.recipe.track.register_as} version {version}, {self.recipe.track.alias}"
            )
        self.tracker.leave_open("FAILED")  # a round whose training came to nothing
        self.ledger.outcome = result.outcome
        self.workflow.keep()
        return result

    def _delivered(self, result: RunResult, models: Models) -> RunResult:
        """With what came of the export: the target is that of the file, so without one it is not met."""
        self.watch.note("exporting, and checking the file")
        setting = Setting(self.recipe, self.data, self.divide_by, self.validation, self.test, self.stop_asked)
        delivery = deliver_best(models, setting)
        outcome = f"{result.outcome} {delivery_sentence(delivery)}"
        met = result.target_met and not delivery.failure
        return replace(result, delivery=delivery, outcome=outcome, target_met=met)

    # --- small things

    def _teachers_cost(self, history: History) -> TeacherCost | None:
        steps = math.ceil(self.data.train.size / self.recipe.train.batch_size)
        return self.teacher.cost(history, steps) if self.teacher is not None else None

    def _in_float32(self, model: keras.Model) -> keras.Model:
        return model if self.recipe.precision == "float32" else with_precision(model, "float32")

    def _note(self, rounds: Sequence[Round], outcome: str = "") -> str:
        return workflow_markdown(self.ledger.name, rounds, outcome, asked=asked_sentence(self.recipe))

    def _note_if_untrained(self) -> None:
        if self.ledger.rounds[0].evaluation.accuracy <= 1.2 / len(self.data.classes):
            self.watch.note(
                "the dense model is hardly better than chance: is it trained, and are its classes in this order: "
                f"{', '.join(self.data.classes[:12])}?"
            )

    def _warn_if_untrained(self, best: Round) -> None:
        if not self.recipe.finetune_epochs and best.number:
            after, before = best.evaluation.accuracy, self.ledger.rounds[0].evaluation.accuracy
            warn(
                f"pruned without training: accuracy {after:.1%}, {before:.1%} before, on the validation part; "
                "fine-tune it, or prune less"
            )


def _together(halts: Sequence[Halt], recipe: Recipe) -> Halt:
    """How a workflow of several phases ended: every one is named, and each has to have met its target."""
    if len(halts) == 1:
        return halts[0]
    reasons = [f"{section.method}: {halt.reason}" for section, halt in zip(recipe.sections, halts, strict=True)]
    return Halt(all(halt.target_met for halt in halts), "; ".join(reasons))

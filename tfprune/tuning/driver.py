"""The driver of a search: it owns the oracle, keeps the state, and hands trials to an engine, all in one thread."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from tfprune.errors import TrackingError, TrainingError, warn
from tfprune.recipe import Recipe
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, Trial
from tfprune.rounds.finetune import now
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning.engines import Done, Engine, Failed, Lost
from tfprune.tuning.knobs import Board
from tfprune.tuning.oracle import LEVELS, WELL, Oracle
from tfprune.tuning.space import Allocation, Space
from tfprune.tuning.state import Asked, SearchFolder, unfinished
from tfprune.tuning.trial import OBJECTIVE, Outcome, Task

_FEWEST = 4
"""So many trials have to have passed an epoch before one is cut short for being worse than half of them."""
_RETRIES = 1
_LOST = "its worker died twice: {}"


class Driver:
    """A search at work.

    Args:
        recipe: of the search.
        space: allocations on the budget.
        folder: what is kept of it.
        tracker: records what no worker can: trials whose worker died.
        engine: where trials run.
        watch: hears of progress.
        dense: the dense model on validation.
    """

    def __init__(
        self,
        recipe: Recipe,
        space: Space,
        folder: SearchFolder,
        tracker: SearchTracker,
        engine: Engine,
        watch: Watch,
        dense: Evaluation,
    ) -> None:
        self._recipe, self._section, self._space = recipe, recipe.search, space
        self._folder, self._tracker, self._engine, self._watch = folder, tracker, engine, watch
        self._dense = dense
        self._log = folder.log
        self.trials = folder.trials()
        self.finals = folder.trials(kind="finals")
        self._flying: dict[int, Task] = {}
        self._oracle: Oracle | None = None
        self._waiting = unfinished(self._log.asked, self.trials)
        self._is_resumed = bool(self._log.asked)

    def run(self) -> None:
        """Try the starting allocations, then what the oracle asks; then fine-tune the best few."""
        self._fly(self._proposals())
        completed = [trial for trial in self.trials.values() if trial.objective is not None]
        if not completed:
            first = min(self.trials.values(), key=lambda trial: trial.number)
            raise TrainingError(f"none of {len(self.trials)} trials came to a result; the first: {first.message}")
        if not self._log.finals:
            self._log.finals = [trial.number for trial in self._best_few(completed)]
            self._folder.keep()
        epochs = self._recipe.finetune_epochs
        self._watch.note(f"the best {len(self._log.finals)} are fine-tuned as a round is, for {epochs} epochs")
        self._fly(self._final_tasks())

    @property
    def best(self) -> Trial:
        """The final with the greatest objective.

        Raises:
            TrainingError: none came to a result.
        """
        finals = [self.finals[number] for number in self._log.finals]  # of equals the first wins, whoever ended first
        done = [trial for trial in finals if trial.objective is not None]
        if not done:
            first = finals[0]
            raise TrainingError(f"none of the best {len(self.finals)} trials could be fine-tuned: {first.message}")
        return max(done, key=_objective)

    def task_of(self, trial: Trial) -> Task:
        """What a worker was told to do for a final."""
        return Task(trial, self._folder.plan(trial.number), is_final=True, again=self._is_resumed)

    # --- in and out of the engine

    def _fly(self, tasks: Iterator[Task | None]) -> None:
        """Keep every slot busy until there are no more tasks; None says that one may come once another is done."""
        is_over = False
        while True:
            while self._engine.free and not is_over:
                try:
                    task = next(tasks)
                except StopIteration:
                    is_over = True
                    break
                if task is None:
                    break
                self._submit(task)
            if not self._flying:
                if is_over:
                    return
                continue
            outcome = self._engine.wait()
            task = self._flying.pop(outcome.key)
            self._settle(task, outcome)

    def _submit(self, task: Task) -> None:
        self._flying[task.trial.number] = task
        self._engine.submit(task.trial.number, task)

    def _settle(self, task: Task, outcome: Done | Failed | Lost) -> None:
        if isinstance(outcome, Lost) and task.trial.attempts <= _RETRIES:
            self._watch.note(f"{task.trial.label}: {outcome.reason}; it is tried once more")
            self._submit(replace(task, trial=replace(task.trial, attempts=task.trial.attempts + 1)))
            return
        if isinstance(outcome, Done):
            done: Outcome = outcome.value
            if done.unrecorded:
                raise TrackingError(done.unrecorded)
            trial, weights = done.trial, done.weights
        else:
            message = _LOST.format(outcome.reason) if isinstance(outcome, Lost) else outcome.message
            trial, weights = replace(task.trial, status="failed", message=message, finished=now()), None
            record = self._tracker.record_final if task.is_final else self._tracker.record_trial
            record(trial, self._dense, again=True)
        self._keep(trial, weights, task.is_final)

    def _keep(self, trial: Trial, weights: bytes | None, is_final: bool) -> None:
        """Settle a trial: first its own file, then what the oracle is told."""
        known = self.finals if is_final else self.trials
        known[trial.number] = trial
        self._folder.keep_trial(trial, weights, kind="finals" if is_final else "trials")
        if not is_final:
            self._tell(trial)
        best = max((each.objective for each in known.values() if each.objective is not None), default=None)
        (self._watch.final if is_final else self._watch.trial)(trial, best)

    def _tell(self, trial: Trial) -> None:
        asked = self._asked(trial.number)
        if not asked.key or self._oracle is None:
            return
        self._oracle.tell(asked.key, trial.objective)
        self._log.events.append(("tell", asked.key, trial.objective))
        self._folder.keep()

    # --- what to try

    def _proposals(self) -> Iterator[Task | None]:
        """Trials that were in flight, the starting allocations, and then what the oracle asks."""
        waiting, self._waiting = [each for each in self._waiting if not each.key], self._waiting
        for each in waiting:
            yield self._task(each)
        begun = {each.origin for each in self._log.asked}
        for name in self._space.starts:
            if name not in begun:
                yield self._task(self._begin("", name, self._space.starts[name], self._longest))
        while any(not self._asked(number).key for number in self._flying):
            yield None  # the oracle learns from all of them
        yield from self._questions()

    def _questions(self) -> Iterator[Task | None]:
        """What the oracle asks; what it has asked before a restart is asked and told again first."""
        asked = [each for each in self._log.asked if each.key]
        board = self._board
        if board is None:
            return
        starts = [self.trials[each.number] for each in self._log.asked if not each.key]
        places = [(board.values(trial.ratios), trial.objective) for trial in starts]
        known = [(place, objective) for place, objective in places if place is not None and objective is not None]
        recorded = {each.key: each.knobs for each in asked}
        self._oracle = oracle = Oracle(self._section, board.knobs, self._recipe.seed, known, recorded)
        oracle.replay(self._log.events)
        told = {key for what, key, _ in self._log.events if what == "tell"}
        for each in asked:
            if each.key not in told and each.number in self.trials:  # the kill came between file and log
                self._tell(self.trials[each.number])
        for each in self._waiting:
            if each.key:
                yield from self._tried(each)
        while not oracle.is_done:
            question = oracle.ask()
            if question is None:
                if not self._flying:
                    return
                yield None
                continue
            self._log.events.append(("ask", question.key, None))
            number = next((each.number for each in self._log.asked if each.key == question.goes_on_from), None)
            found = self._space.on_budget(board.densities(question.knobs))
            epochs = min(question.epochs, self._longest)
            yield from self._tried(self._begin(question.key, "oracle", found, epochs, question.knobs, number))

    def _tried(self, asked: Asked) -> Iterator[Task]:
        """The task of a question; none where an earlier trial of the same allocation answers it."""
        task = self._task(asked)
        twin = self._twin(task.trial)
        if twin is None:
            yield task
            return
        trial = _like(twin, task.trial)
        self._tracker.record_trial(trial, self._dense, again=self._is_resumed)
        self._keep(trial, self._folder.weights(twin.label) if task.keep else None, False)

    def _begin(
        self,
        key: str,
        origin: str,
        allocation: Allocation,
        epochs: int,
        knobs: dict[str, float] | None = None,
        warm_start: int | None = None,
    ) -> Asked:
        """Settle what a trial is: a plan within milliseconds would be another one the next time."""
        asked = Asked(len(self._log.asked), key, origin, knobs or {}, allocation.ratios, epochs, warm_start)
        if allocation.plan is not None:
            self._folder.keep_plan(asked.number, allocation.plan)
        self._log.asked.append(asked)
        self._folder.keep()
        return asked

    def _task(self, asked: Asked) -> Task:
        start, warm = asked.warm_start, None
        if start is not None:
            warm = self._folder.weights(self.trials[start].label)
        trial = Trial(asked.number, asked.origin, asked.knobs, asked.ratios, asked.epochs, start)
        is_to_go_on = self._section.oracle == "hyperband" and asked.epochs < self._longest and bool(asked.key)
        bars, plan = self._bars(asked.epochs), self._folder.plan(asked.number)
        return Task(trial, plan, bars, warm, keep=is_to_go_on, again=self._is_resumed)

    @cached_property
    def _board(self) -> Board | None:
        """The knobs around the best starting allocation; None where none of them came to a result."""
        starts = [self.trials[each.number] for each in self._log.asked if not each.key]
        objectives = {trial.origin: trial.objective for trial in starts if trial.objective is not None}
        if not objectives:
            return None
        board = self._space.board(objectives)
        if self._section.oracle == "bayesian" and len(board.knobs) > WELL:
            warn(
                f"search.knobs leaves {len(board.knobs)} knobs: with over {WELL}, asking the bayesian oracle takes "
                "seconds, and a few dozen trials teach it little; lower search.knobs, or set search.oracle to random"
            )
        if self._section.oracle == "grid" and LEVELS ** len(board.knobs) > (self._section.most_trials or 0):
            warn(
                f"a grid of {len(board.knobs)} knobs has {LEVELS ** len(board.knobs):,} places, and only the last of "
                f"them move in {self._section.most_trials} trials; lower search.knobs, or raise search.trials"
            )
        return board

    def _asked(self, number: int) -> Asked:
        return self._log.asked[number]

    @property
    def _longest(self) -> int:
        return self._section.epochs if self._recipe.finetune_epochs else 0

    def _bars(self, epochs: int) -> dict[int, float]:
        """After which epoch a trial has to be how good: the median of those as long as it that have passed it."""
        if not self._section.stop_hopeless:
            return {}
        alike = [trial for trial in self.trials.values() if self._asked(trial.number).epochs == epochs]
        found = {}
        for epoch in range(1, epochs):
            passed = [trial.history[epoch - 1][OBJECTIVE] for trial in alike if len(trial.history) >= epoch]
            if len(passed) >= _FEWEST:
                found[epoch] = statistics.median(passed)
        return found

    def _twin(self, trial: Trial) -> Trial | None:
        """An earlier trial of the same allocation and length, which need not be repeated."""
        if trial.warm_start is not None:
            return None
        done = [each for each in self.trials.values() if each.status == "completed" and each.epochs == trial.epochs]
        return next((each for each in done if each.ratios == trial.ratios), None)

    # --- the best few

    def _best_few(self, completed: Sequence[Trial]) -> list[Trial]:
        """The best trials of different allocations, and the best starting allocation besides."""
        longest = max(trial.epochs for trial in completed)
        whole = [trial for trial in completed if trial.epochs == longest and trial.status == "completed"] or completed
        found: list[Trial] = []
        for trial in sorted(whole, key=lambda trial: (-_objective(trial), trial.number)):
            if len(found) < self._section.finalists and all(trial.ratios != each.ratios for each in found):
                found.append(trial)
        starts = [trial for trial in whole if trial.origin != "oracle"]
        if starts and not any(trial.origin != "oracle" for trial in found):
            found.append(max(starts, key=lambda trial: (_objective(trial), -trial.number)))
        return found

    def _final_tasks(self) -> Iterator[Task | None]:
        for number in self._log.finals:
            if number not in self.finals:
                trial = self.trials[number]
                fresh = Trial(number, trial.origin, trial.knobs, trial.ratios, self._recipe.finetune_epochs)
                yield self.task_of(fresh)


def _objective(trial: Trial) -> float:
    return float("-inf") if trial.objective is None else trial.objective


def _like(twin: Trial, trial: Trial) -> Trial:
    """A trial with the results of one that had the same allocation."""
    return replace(
        twin,
        number=trial.number,
        origin=trial.origin,
        knobs=trial.knobs,
        message=f"the same allocation as {twin.label}",
        seconds=0.0,
        finished=now(),
    )

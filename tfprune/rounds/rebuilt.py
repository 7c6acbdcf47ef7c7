"""Rounds of structured pruning: each builds its parent anew without some of its units."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from tfprune.backend import keras
from tfprune.cost.latency import latency
from tfprune.cost.measure import measure
from tfprune.errors import ImportanceError, TfpruneWarning
from tfprune.importing import load_function
from tfprune.models.clone import clone
from tfprune.recipe import Recipe
from tfprune.results import Measurement, Plan
from tfprune.rounds.finetune import compile_for_training, sample_of
from tfprune.rounds.method import Figures, Method, Phase
from tfprune.rounds.stop import NoWholeUnit, Step
from tfprune.rounds.target import Goal, goal_within
from tfprune.structure.analysis import Analysis
from tfprune.structure.proportions import Proportions
from tfprune.structure.ranking import Limits, Ranking
from tfprune.structure.shrink import apply, plan, shrink


class RebuiltRounds(Method):
    """Units out of the model.

    The architecture of a round is that of its origin with the plans along its line of parents applied; the weights
    are the kept ones.

    Args:
        phase: whose rounds they are.
        model: that of the origin; never changed.
        amount: what the target counts, in that model, see `amount_of`.
    """

    name: ClassVar[str] = "structured"

    def __init__(self, phase: Phase, model: keras.Model, amount: float) -> None:
        super().__init__(phase)
        self.begun = model
        self._amount = amount
        is_of_dense = phase.origin and self.recipe.structured.target.counted in ("params", "macs")
        dense = _counted(self.recipe, phase.ledger.rounds[0].measurement) if is_of_dense else amount
        self.goal = self._of_whole_units(goal_within(self.recipe, amount, dense))
        self.at_origin = Figures(measure(model, gzipped=False).sparsity, phase.removed, 0.0)
        # Of the round that was started last: its number and model, and the plans from the origin to it.
        self._latest: tuple[int, keras.Model] = (phase.origin, model)
        self._plans: list[Plan] = []

    @property
    def title(self) -> str:
        return "fine-tuning a smaller model"

    def start(self, step: Step, number: int) -> keras.Model:
        parent, files = self.finished(step.parent), self.phase.workflow
        sample, train = sample_of(self.phase.data.train), self.recipe.train
        if files.has_plan(number):
            model, surgery = apply(parent, files.restore_plan(number))
        else:
            compile_for_training(parent, train, sample)  # scores may need its loss
            with warnings.catch_warnings():  # that nothing fell is told below
                warnings.filterwarnings("ignore", "nothing was removed", TfpruneWarning)
                model, surgery = shrink(parent, **self._budget(step), **self._choices())
            if not surgery.removed:
                raise NoWholeUnit(f"a step of {step.share:.1%} of the {self.goal.noun} takes no whole unit")
            if surgery.latency_ms is not None:  # another measurement would give another figure
                self.phase.begun.times[number] = surgery.latency_ms
                files.keep()
            files.keep_plan(number, surgery.plan)  # before training: what is trained here would fit no other shape
        self._latest = (number, model)
        self._plans = [*map(files.restore_plan, self._line(step.parent)), surgery.plan]
        compile_for_training(model, train, sample)
        return model

    def finished(self, number: int) -> keras.Model:
        if self._latest[0] == number:  # trained in this process
            return self._latest[1]
        model = self.begun
        for each in self._line(number):
            model, _ = apply(model, self.phase.workflow.restore_plan(each))
        if number != self.phase.origin:
            self.phase.workflow.restore_round(number, model)
        return model

    def figures(self, model: keras.Model, measurement: Measurement) -> Figures:
        gone = sum(_count(each) for each in self._plans) / self._plans[0].units
        counted = self.recipe.structured.target.counted
        if counted == "ratio":
            reached = gone
        elif counted == "latency_ms":
            reached = 1 - self.phase.begun.times[self._latest[0]] / self._amount
        else:
            reached = 1 - _counted(self.recipe, measurement) / self._amount
        return Figures(measurement.sparsity, 1 - (1 - self.phase.removed) * (1 - gone), reached)

    def plain(self, model: keras.Model) -> keras.Model:
        return clone(model, lambda layer: None)  # without the optimizer of its training

    def _of_whole_units(self, goal: Goal) -> Goal:
        """A goal that knows by how much of all units a ratio may be missed, as they fall whole, or in multiples.

        A coupling comes to the nearest of its widths, so that half a step between two is the most that it misses. Less
        than its first unit takes, in the largest coupling, is no step.
        """
        section = self.recipe.structured
        if section.target.counted != "ratio":
            return goal
        analysis, ranking = self._at_begin
        total, missed, least = ranking.candidates, 0.0, goal.final
        for group in ranking.groups:
            size, multiple = len(group.units), section.multiple_of
            free = size - int(analysis.ignored[group.units].sum())
            if not free:
                continue
            step = multiple if group.kind in ("filters", "hidden") and size >= multiple else 1
            missed += step / 2
            # Units are counted first, to the nearest, and then the width is brought to the nearest multiple.
            first = 0.5 if size % step else max(1, step - 1) / 2
            least = min(least, first / total if section.scope != "layer" else (1 - goal.final) * first / free)
        return replace(goal, slack=missed / max(1, total), grain=max(0.0, least - 1e-9))

    @cached_property
    def _at_begin(self) -> tuple[Analysis, Ranking]:
        """What may fall of the model that the phase starts from."""
        section = self.recipe.structured
        analysis = Analysis(self.begun, section.ignore)
        return analysis, Ranking(analysis, np.zeros(analysis.size + 1), Limits(units=section.units))

    def _line(self, number: int) -> list[int]:
        """The rounds from the first after the origin to this one, each the parent of the next."""
        line: list[int] = []
        while number != self.phase.origin:
            line.insert(0, number)
            number = self.phase.ledger.rounds[number].parent
        return line

    def _budget(self, step: Step) -> dict[str, Any]:
        """What may be left after a step, as `shrink` takes it."""
        counted = self.recipe.structured.target.counted
        if counted == "ratio":
            gone = self.phase.ledger.rounds[step.parent].reached if step.parent != self.phase.origin else 0.0
            return {"ratio": 1 - (1 - step.target) / (1 - (gone or 0.0))}  # what whole units left open is made up for
        bound = max(self._amount * (1 - step.target), self.goal.bound)
        return {counted: int(bound) if counted in ("params", "macs") else bound}

    def _choices(self) -> dict[str, Any]:
        """The rest of what `shrink` takes; the examples are the same ones in every round."""
        train = self.phase.data.train
        data = train.epoch(self.recipe.train.batch_size, seed=self.recipe.seed, epoch=0)
        choices = {**choices_of(self.recipe), "data": data}
        if isinstance(choices["scope"], dict):  # shares count from where the phase began, however many rounds there are
            choices["scope"] = Proportions(choices["scope"], self._at_begin[1].sizes)
        return choices


def amount_of(recipe: Recipe, model: keras.Model) -> float:
    """What the target of a structured phase counts, in a model; 1 where that is units."""
    counted = recipe.structured.target.counted
    if counted == "ratio":
        return 1.0
    return latency(model).median_ms if counted == "latency_ms" else _counted(recipe, measure(model, gzipped=False))


def check_structured(recipe: Recipe, model: keras.Model) -> None:
    """Refuse what would fail once units are to fall: the target, the layers, the score.

    Raises:
        SurgeryError: nothing to remove, a target below what can be reached, a name that matches no layer.
        SelectionError: a scope that names no coupling.
        ImportanceError: a function that cannot be imported, or gives no scores.
    """
    target, choices = recipe.structured.target, choices_of(recipe)
    if not callable(choices["importance"]):
        choices["importance"] = "l2"  # the others may need data and a loss; what can be reached hangs on none
    bound = target.value
    if target.counted in ("params", "macs"):
        bound = int(bound * _counted(recipe, measure(model, gzipped=False)) if target.is_share else bound)
    budget: dict[str, Any] = {target.counted: bound}
    if target.counted == "latency_ms":
        budget = {"ratio": 1e-6}  # in place of what takes long to measure; the rest is checked all the same
    plan(model, **budget, **choices)


def choices_of(recipe: Recipe) -> dict[str, Any]:
    """What `shrink` is told of a recipe's choices, its budget and its data aside."""
    section = recipe.structured
    importance: Any = section.importance
    if ":" in importance:
        importance = load_function(importance, "prune.importance", ImportanceError)
    names = ("batches", "scope", "ignore", "units", "multiple_of", "minimum", "ceiling")
    return {"importance": importance, "seed": recipe.seed, **{name: getattr(section, name) for name in names}}


def _count(plan: Plan) -> int:
    """How many units a plan removes."""
    return sum(map(len, plan.removed.values())) + len(plan.blocks)


def _counted(recipe: Recipe, measurement: Measurement) -> float:
    """What the target counts, of a measurement."""
    counted = recipe.structured.target.counted
    return {
        "params": measurement.parameters,
        "macs": measurement.macs,
        "size_mb": measurement.bytes / 1e6,
    }[counted]

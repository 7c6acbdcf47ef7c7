"""What the loop asks of a way to prune: where a round starts, what becomes of it, what is left of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from tfprune.backend import keras
from tfprune.data.splits import Data
from tfprune.recipe import Recipe
from tfprune.results import History, Measurement, Round
from tfprune.rounds.checkpoint import Begun, Ledger, Workflow
from tfprune.rounds.stop import Step
from tfprune.rounds.target import Goal


@dataclass(frozen=True)
class Figures:
    """How far a model is.

    Attributes:
        sparsity: share of zeros among its prunable weights.
        removed: share of the dense model's prunable units that have left it.
        reached: of structured pruning, share of what the target counts that is gone since the phase began.
    """

    sparsity: float
    removed: float
    reached: float | None = None


@dataclass
class Phase:
    """One section of a recipe's `prune` at work.

    Attributes:
        recipe: with that section alone.
        number: of the section, from 0.
        origin: number of the round that the phase starts from.
        data: of the workflow.
        workflow: its files.
    """

    recipe: Recipe
    number: int
    origin: int
    data: Data
    workflow: Workflow

    @property
    def ledger(self) -> Ledger:
        return self.workflow.ledger

    @property
    def begun(self) -> Begun:
        """What the ledger says of it."""
        return self.ledger.phases[self.number]

    @property
    def removed(self) -> float:
        """Share of the dense model's prunable units that had left it before the phase began."""
        return self.ledger.rounds[self.origin].removed if self.origin else 0.0


class Method(ABC):
    """How the rounds of a phase come from their parents. A round's model is one that `model.fit` trains on.

    Attributes:
        name: as recipes write it.
        phase: whose rounds they are.
        begun: the model that the phase starts from, as the method holds it.
        at_origin: how far that one is.
        goal: where the phase ends.
        title: what a round does, for a progress bar.
    """

    name: ClassVar[str]

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.recipe = phase.recipe
        self.begun: keras.Model
        self.at_origin: Figures
        self.goal: Goal

    @property
    def title(self) -> str:
        return "pruning and fine-tuning"

    @abstractmethod
    def start(self, step: Step, number: int) -> keras.Model:
        """The model of a new round: its parent, pruned as far as that is done before training; compiled.

        Its optimizer starts anew: a round follows from its parent's weights and its step alone, whichever rounds were
        tried in between, and the learning rate starts anew as well.

        Raises:
            SurgeryError: nothing of the step can be done.
        """

    @abstractmethod
    def finished(self, number: int) -> keras.Model:
        """The model of a finished round of this phase, or of the one that it started from."""

    @abstractmethod
    def figures(self, model: keras.Model, measurement: Measurement) -> Figures:
        """How far the model of the round is that was started last; `measurement` is of the plain model."""

    @abstractmethod
    def plain(self, model: keras.Model) -> keras.Model:
        """A round's model as one that needs none of us, in the precision of training."""

    def restore_progress(self, label: str, model: keras.Model) -> History:
        """Set the model of a round to where an earlier process left its training."""
        return self.phase.workflow.restore_progress(label, model)

    def rounds(self) -> tuple[Round, ...]:
        """Those of the phase, and first the one that it started from, as the phase sees it."""
        ledger, phase = self.phase.ledger, self.phase
        origin = replace(
            ledger.rounds[phase.origin],
            target=0.0,
            sparsity=self.at_origin.sparsity,
            method=self.name,
            phase=phase.number,
            reached=self.at_origin.reached,
        )
        return (origin, *(each for each in ledger.rounds[phase.origin + 1 :] if each.phase == phase.number))

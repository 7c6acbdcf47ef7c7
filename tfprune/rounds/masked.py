"""Rounds of masking: one wrapped model, set to its parent's state before each round, so that nothing is traced anew."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tfprune.backend import keras
from tfprune.errors import TfpruneWarning
from tfprune.masking.masked import masked_layers
from tfprune.masking.plan import round_schedule
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.schedule import ConstantSparsity, Schedule
from tfprune.masking.selection import Selection
from tfprune.masking.wrap import retarget, unwrap, wrap_with
from tfprune.results import History, Measurement
from tfprune.rounds.finetune import compile_for_training, sample_of
from tfprune.rounds.goal import final_sparsity, on_the_way
from tfprune.rounds.method import Figures, Method, Phase
from tfprune.rounds.state import State, rewind
from tfprune.rounds.stop import Step, progress
from tfprune.rounds.target import goal_of


class MaskedRounds(Method):
    """Weights to zero.

    Args:
        phase: whose rounds they are.
        model: that of the origin, plain; never pruned itself.
        selection: which weights fall.
    """

    name: ClassVar[str] = "masking"

    def __init__(self, phase: Phase, model: keras.Model, selection: Selection) -> None:
        super().__init__(phase)
        self._selection = selection
        self.begun = self._wrapped(model)
        self.goal = replace(goal_of(self.recipe), slack=self._slack())
        compile_for_training(self.begun, self.recipe.train, sample_of(phase.data.train))
        self._fresh = State(self.begun)
        self._early = self._early_weights(model)
        self.at_origin = self.figures(self.begun)

    @property
    def title(self) -> str:
        epoch = self.recipe.rewind_to_epoch
        return super().title if epoch is None else f"pruned, and training again from epoch {epoch}"

    def start(self, step: Step, number: int) -> keras.Model:
        pruned = self.finished(step.parent)
        self._aim(step)
        if self._early is not None or not self.recipe.finetune_epochs:
            pruner_of(pruned).update(pruner_of(pruned).schedule.final_sparsity)
        if self._early is not None:
            rewind(pruned, self._early)
        return pruned

    def finished(self, number: int) -> keras.Model:
        self._fresh.restore()
        if number != self.phase.origin:
            self.phase.workflow.restore_round(number, self.begun)
        return self.begun

    def figures(self, model: keras.Model, measurement: Measurement | None = None) -> Figures:
        return Figures(float(sparsity_of(masked_layers(model))), self.phase.removed)

    def plain(self, model: keras.Model) -> keras.Model:
        return unwrap(model)

    def restore_progress(self, label: str, model: keras.Model) -> History:
        history = super().restore_progress(label, model)
        if history:  # an earlier process has made the updates so far
            pruner = pruner_of(model)
            pruner.goal = pruner.schedule, pruner.selection
        return history

    def _wrapped(self, dense: keras.Model) -> keras.Model:
        """The model with masks, and with the examples that scores look at: the same ones at every update."""
        train, data = self.phase.data.train, None
        if self._selection.needs_gradients:
            # Shuffled, as a source may be sorted by class; of epoch 0, the order follows from the seed alone.
            data = train.epoch(self.recipe.train.batch_size, seed=self.recipe.seed, epoch=0)
        schedule = ConstantSparsity(final_sparsity=final_sparsity(self.recipe))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TfpruneWarning)  # of layers left dense: told before training
            return wrap_with(dense, schedule, self._selection, layers=self.recipe.masking.layers, data=data)

    def _slack(self) -> float:
        """By how much the sparsity may be missed, as each tensor is pruned to its nearest whole weight."""
        if self.recipe.masking.pattern not in (None, "element"):
            return 0.0
        sizes = [mask.shape.num_elements() for layer in masked_layers(self.begun) for _, mask, _ in layer.pruning_vars]
        return 0.5 * len(sizes) / sum(sizes)

    def _early_weights(self, dense: keras.Model) -> list[np.ndarray] | None:
        """What a wrapped model is rewound to, variable by variable; None where nothing is."""
        if self.recipe.rewind_to_epoch is None:
            return None
        trained = dense.get_weights()
        self.phase.workflow.restore_rewind(dense)
        early = [each.numpy() for each in self._wrapped(dense).weights]
        dense.set_weights(trained)
        return early

    def _aim(self, step: Step) -> None:
        """Give the masks the goal of a round; limits by layer grow with it."""
        recipe, final = self.recipe, final_sparsity(self.recipe)
        target = min(step.target, final)
        selection = on_the_way(self._selection, target, final)
        steps = recipe.finetune_epochs * math.ceil(self.phase.data.train.size / recipe.train.batch_size)
        parent = next(each for each in self.rounds() if each.number == step.parent)
        initial = min(progress(parent, recipe), target)
        schedule: Schedule = ConstantSparsity(final_sparsity=target)
        if steps and recipe.rewind_to_epoch is None:
            schedule = round_schedule(recipe.masking.schedule, initial, target, steps)
        retarget(self.begun, schedule, scope=selection.scope, floor=selection.floor)

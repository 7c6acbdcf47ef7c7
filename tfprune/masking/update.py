"""Masks follow the schedule while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.importance import magnitude
from tfprune.masking.masked import Masked, masked_layers
from tfprune.masking.masks import RANKINGS


def prune_to(layers: Sequence[Masked], sparsity: float) -> None:
    """Score the weights of wrapped layers, renew their masks, and zero what fell.

    Args:
        layers: of one scope, ranked together where that is ``global``.
        sparsity: share of zeros to reach, in [0, 1); earlier zeros stay zero.
    """
    variables = [(weight, mask) for layer in layers for weight, mask, _ in layer.pruning_vars]
    weights = [weight.numpy() for weight, _ in variables]
    scores = [magnitude(weight) for weight in weights]
    masks = RANKINGS[layers[0].scope](scores, [mask.numpy() for _, mask in variables], sparsity)
    for (variable, mask_variable), weight, mask in zip(variables, weights, masks, strict=True):
        mask_variable.assign(mask)
        variable.assign(np.where(mask == 0, 0, weight))


def sparsity_of(layers: Sequence[Masked]) -> float:
    """Share of zeros among the weights that wrapped layers may prune, in [0, 1]."""
    weights = [weight for layer in layers for weight, _, _ in layer.pruning_vars]
    return sum(int(np.sum(weight.numpy() == 0)) for weight in weights) / sum(int(np.prod(w.shape)) for w in weights)


class MaskUpdate(keras.callbacks.Callback):
    """Renews the masks when the schedule says so, right after the batch.

    What later callbacks see (a checkpoint, a validation pass) is the pruned model. The step goes on from
    where an earlier fit left it; the first wrapped layer keeps it, so that saving and loading keep it too.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._layers = masked_layers(self.model)
        self._schedule = self._layers[0].schedule
        self._done: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not when training begins: there others still look at the dense model, or restore a later one.
        self._follow(max(0, self._step))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batch = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Several steps may pass between two calls (steps_per_execution).
        self._follow(self._step + batch + 1 - self._batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["sparsity"] = sparsity_of(self._layers)

    @property
    def finished(self) -> bool:
        """Whether the schedule's last update has been made."""
        return self._step >= self._schedule.last_step

    @property
    def _step(self) -> int:
        """Finished batches; -1 before training."""
        return int(self._layers[0].pruning_step.numpy())

    def _follow(self, step: int) -> None:
        due = self._schedule.update_at(step)
        if due is not None and due != self._done:
            prune_to(self._layers, self._schedule.sparsity(due))
            self._done = due
        self._layers[0].pruning_step.assign(step)

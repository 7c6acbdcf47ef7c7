"""Masks follow the schedule while a model trains."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.masking.pruner import pruner_of


class MaskUpdate(keras.callbacks.Callback):
    """Renews the masks when the schedule says so, right after the batch.

    What later callbacks see (a checkpoint, a validation pass) is the pruned model. The step goes on from
    where an earlier fit left it; the first wrapped layer keeps it, so that saving and loading keep it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._supports_tf_logs = True  # or Keras waits for each batch to have its logs as numbers

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._pruner = pruner_of(self.model)
        self._schedule = self._pruner.schedule
        self._variable = self._pruner.layers[0].pruning_step
        self._step = int(self._variable.numpy())
        self._done: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not when training begins: there others still look at the dense model, or restore a later one.
        self._step = int(self._variable.numpy())
        if self._schedule != self._pruner.schedule:  # another goal was set between two epochs
            self._schedule, self._done = self._pruner.schedule, None
        if self._step >= 0 and self._done is None and self._pruner.goal == (self._schedule, self._pruner.selection):
            self._done = self._schedule.update_at(self._step)  # in an earlier fit; again, regrowth would change more
        self._follow(max(0, self._step))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batch = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Several steps may pass between two calls (steps_per_execution).
        self._follow(self._step + batch + 1 - self._batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["sparsity"] = self._pruner.sparsity()

    @property
    def finished(self) -> bool:
        """Whether the schedule's last update has been made."""
        return self._step >= self._schedule.last_step

    def _follow(self, step: int) -> None:
        due = self._schedule.update_at(step)
        if due is not None and due != self._done:
            # What grows in the last update would stay zero.
            self._pruner.update(self._schedule.sparsity(due), regrow=due < self._schedule.last_step)
            self._done = due
        self._step = step
        self._variable.assign(step)

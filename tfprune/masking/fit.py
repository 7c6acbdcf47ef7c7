"""`fit` of a wrapped model: masks are updated first, and only pruned epochs count as best.

Keras gives a callback no say in its place in the list and no sight of the others, and an epoch before the
final sparsity is nearly always the most accurate one. So a wrapped model's own `fit` puts things in order.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.masking.update import MaskUpdate


class OnlyPrunedIsBest(keras.callbacks.Callback):
    """Until the final sparsity is reached, EarlyStopping and ModelCheckpoint start afresh after each epoch.

    Otherwise they would restore or keep a model that is not pruned yet.
    """

    def __init__(self, update: MaskUpdate, others: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self._update = update
        self._others = others

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._update.finished:
            return
        for other in self._others:
            if isinstance(other, keras.callbacks.EarlyStopping):
                self.model.stop_training = False
                other.on_train_begin()
            elif isinstance(other, keras.callbacks.ModelCheckpoint):
                other.best = np.inf if other.monitor_op == np.less else -np.inf


def order_callbacks(given: Any) -> list[keras.callbacks.Callback]:
    """The callbacks of a fit in an order that keeps every one of them right."""
    others = tf.nest.flatten(given) if given else []
    update = next((each for each in others if isinstance(each, MaskUpdate)), None) or MaskUpdate()
    others = [each for each in others if not isinstance(each, MaskUpdate)]
    return [update, *others, OnlyPrunedIsBest(update, others)]


def keep_masks_in_fit(model: keras.Model) -> keras.Model:
    """Give a wrapped model a `fit` that updates its masks, with or without `tfprune.callbacks`."""

    def fit(self: keras.Model, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        return type(self).fit(self, *args, callbacks=order_callbacks(callbacks), **kwargs)

    model.fit = MethodType(fit, model)
    return model

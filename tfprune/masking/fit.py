"""`fit` of a wrapped model: masks are updated first, and only pruned epochs count as best.

Keras gives a callback no say in its place in the list and no sight of the others, and an epoch before the
final sparsity is nearly always the most accurate one. So a wrapped model's own `fit` puts things in order.
"""

from __future__ import annotations

from functools import wraps
from inspect import signature
from types import MethodType
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.batches import Batches
from tfprune.errors import ModelError
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.optimizer import mask_gradients
from tfprune.masking.pruner import pruner_of
from tfprune.masking.update import MaskUpdate


class OnlyPrunedIsBest(keras.callbacks.Callback):
    """Until the final sparsity is reached, EarlyStopping and ModelCheckpoint forget what was best.

    Otherwise they would restore or keep a model that is not pruned yet.
    """

    def __init__(self, update: MaskUpdate, others: list[keras.callbacks.Callback]) -> None:
        super().__init__()
        self._supports_tf_logs = True
        self._update = update
        self._others = others

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._forget_saved()  # the best of dense training, where the same callback served there

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._forget_saved()  # a checkpoint may be written after any batch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._forget_saved()
        for other in self._unready(keras.callbacks.EarlyStopping):
            if other.stopped_epoch:  # another callback's wish to stop is none of ours
                self.model.stop_training = False
            other.on_train_begin()

    def _forget_saved(self) -> None:
        for other in self._unready(keras.callbacks.ModelCheckpoint):
            other.best = np.inf if other.monitor_op == np.less else -np.inf

    def _unready(self, kind: type) -> list[Any]:
        return [] if self._update.finished else [other for other in self._others if isinstance(other, kind)]


def order_callbacks(given: Any) -> list[keras.callbacks.Callback]:
    """The callbacks of a fit in an order that keeps every one of them right."""
    given = getattr(given, "callbacks", given)  # of a CallbackList
    others = tf.nest.flatten(given) if given else []
    update = next((each for each in others if isinstance(each, MaskUpdate)), None) or MaskUpdate()
    others = [each for each in others if not isinstance(each, MaskUpdate)]
    others.sort(key=lambda each: not getattr(each, "comes_first", False))  # it writes what others monitor
    return [update, *others, OnlyPrunedIsBest(update, others)]


def keep_masks_in_fit(model: keras.Model) -> keras.Model:
    """Give a wrapped model a `fit` that updates its masks, with or without `tfprune.callbacks`."""

    @wraps(type(model).fit)
    def fit(self: keras.Model, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        _check_optimizer(self)
        given = signature(type(self).fit).bind(self, *args, **kwargs)
        given.arguments["callbacks"] = order_callbacks(given.arguments.get("callbacks"))
        if getattr(self, "optimizer", None) is not None:
            mask_gradients(self.optimizer, masked_variables(self))
        pruner = pruner_of(self)
        x, y, sample_weight = (given.arguments.get(name) for name in ("x", "y", "sample_weight"))
        examples = Batches(x, y, sample_weight, given.arguments.get("batch_size") or 32)
        pruner.fit_data = examples.without_last(given.arguments.get("validation_split") or 0.0)
        try:
            return type(self).fit(*given.args, **given.kwargs)
        finally:
            pruner.fit_data = None

    pruner_of(model)  # it knows what has been done by now
    model.fit = MethodType(fit, model)
    return model


def _check_optimizer(model: keras.Model) -> None:
    """Legacy optimizers apply no constraint where a gradient is sparse, as an embedding's is."""
    if not isinstance(getattr(model, "optimizer", None), keras.optimizers.legacy.Optimizer):
        return
    name = type(model.optimizer).__name__
    for layer in masked_layers(model):
        if isinstance(layer.layer, keras.layers.Embedding):
            raise ModelError(
                f"keras.optimizers.legacy.{name} cannot hold the masks of embedding layer {layer.layer.name!r}; "
                f"compile with keras.optimizers.{name}"
            )

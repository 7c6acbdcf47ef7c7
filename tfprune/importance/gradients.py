"""Scores from gradients, summed up batch by batch, for all layers in one pass."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.batches import Batch
from tfprune.errors import ImportanceError, TrainingError
from tfprune.importance.scores import Importance
from tfprune.importing import call

_FLOAT16_SCALES = 1024.0, 1.0, 1 / 1024  # of the loss: small gradients would vanish, great ones overflow


class Gradients:
    """The gradients of a compiled model's loss, traced once.

    The model runs as in `predict`: no dropout, moving averages for statistics, nothing assigned.

    Args:
        model: compiled with a loss.
        weights: to derive by.
        names: of their layers, for messages.
        regularized: take `model.compute_loss`, regularizers and other added losses included; else what the answers
            cost alone. A model with a `compute_loss` of its own, or with added losses only, has no such part.
    """

    def __init__(
        self, model: keras.Model, weights: Sequence[tf.Variable], names: Sequence[str], *, regularized: bool = True
    ) -> None:
        self._model, self._weights, self._names = model, list(weights), names
        self._regularized = regularized or type(model).compute_loss is not keras.Model.compute_loss
        half = any(layer.dtype_policy.name == "mixed_float16" for layer in model._flatten_layers())
        self._scales = _FLOAT16_SCALES if half else (1.0,)
        self._of: Any = None
        self._loss: Any = None

    def scores(self, kinds: Sequence[Importance], batches: Iterable[Batch]) -> list[list[np.ndarray]]:
        """Mean scores over batches: for each kind, one array a weight.

        Raises:
            ImportanceError: no loss, or not a single batch.
            TrainingError: gradients that are not numbers.
        """
        weights = [weight.numpy().astype(np.float32, copy=False) for weight in self._weights]
        sums = [[np.zeros(weight.shape, np.float32) for weight in weights] for _ in kinds]
        count = 0
        with closing(self.each(batches, kinds[0].name)) as found:
            for gradients in found:
                count += 1
                for place, (weight, values) in enumerate(zip(weights, gradients, strict=True)):
                    for sum_, kind in zip(sums, kinds, strict=True):
                        sum_[place] += kind(weight, values)
        for sum_ in sums:
            for array in sum_:
                array /= count
        return sums

    def each(self, batches: Iterable[Batch], importance: str) -> Generator[list[np.ndarray], None, None]:
        """Gradients of the mean loss of each batch: float32 arrays, one a weight.

        The model's metrics are as they were once this is exhausted, closed, or has raised.

        Args:
            batches: at least one.
            importance: what they are for, for messages.

        Raises:
            ImportanceError: no loss, or not a single batch.
            TrainingError: gradients that are not numbers.
        """
        loss = getattr(self._model, "compiled_loss", None)
        no_loss = ImportanceError(f"importance {importance} needs a loss; compile the model with one first")
        if loss is None:
            raise no_loss
        if loss is not self._loss:  # compiled anew since it was traced
            self._of, self._loss = tf.function(self._of_replicas, reduce_retracing=True), loss
        state = {id(each): each.numpy() for metric in self._model.metrics for each in metric.variables}
        count = 0
        try:
            for batch in batches:
                count += 1
                where = f"importance {importance}: the model on its data"
                gradients = call(self._of_one, where, ImportanceError, batch)
                if not gradients:
                    raise no_loss
                for values, name in zip(gradients, self._names, strict=True):
                    if not np.isfinite(values).all():
                        raise TrainingError(
                            f"importance {importance}: the gradients of layer {name!r} are not finite; "
                            "lower the learning rate, or check the data"
                        )
                yield gradients
        finally:
            for metric in self._model.metrics:  # computing a loss counts it in the metrics, and makes them at first
                for variable in metric.variables:
                    variable.assign(state.get(id(variable), tf.zeros_like(variable)))
        if not count:
            raise ImportanceError(f"importance {importance} needs data, but there is not a single batch")

    def _of_one(self, batch: Batch) -> list[np.ndarray]:
        for scale in self._scales:
            gradients = [each.numpy().astype(np.float32) / scale for each in self._of(*batch, tf.constant(scale))]
            if all(np.isfinite(each).all() for each in gradients):
                break
        return gradients

    def _of_replicas(self, x: Any, y: Any, sample_weight: Any, scale: tf.Tensor) -> list[tf.Tensor]:
        strategy = self._model.distribute_strategy
        gradients = strategy.run(self._of_batch, args=(x, y, sample_weight, scale))
        return [strategy.experimental_local_results(each)[0] for each in gradients]

    def _of_batch(self, x: Any, y: Any, sample_weight: Any, scale: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._weights)
            answers = self._model(x, training=False)
            if self._regularized or not self._model.compiled_loss._user_losses:
                loss = self._model.compute_loss(x, y, answers, sample_weight)
            else:
                loss = self._model.compiled_loss(y, answers, sample_weight)
            if loss is None:
                return []  # an error raised here would come out in many lines
            loss *= tf.cast(scale, loss.dtype)
        gradients = tape.gradient(loss, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(each) for each in gradients]

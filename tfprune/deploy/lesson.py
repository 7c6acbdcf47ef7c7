"""One step of training at a time: by what another model answers, and by labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.slices.tasks import looks_like_probabilities

_Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Lesson:
    """Trains a model by a batch each time it is called with one; the first tells what the outputs mean.

    Args:
        teacher: never changed.
        model: trained in place.
        optimizer: not built yet.
        weight: of the teacher's part where there are labels.
        temperature: of the teacher's part where outputs are classes.
    """

    def __init__(
        self, teacher: keras.Model, model: keras.Model, optimizer: Any, weight: float, temperature: float
    ) -> None:
        self._teacher, self._model, self._optimizer = teacher, model, optimizer
        self._weight, self._temperature = weight, temperature
        self._step: Callable[..., tf.Tensor] | None = None

    def __call__(self, x: Any, y: Any) -> tf.Tensor:
        """The loss before the step."""
        if self._step is None:
            self._step = self._started(x, y)
        return self._step(x, y)

    def _started(self, x: Any, y: Any) -> Callable[..., tf.Tensor]:
        outputs = [np.asarray(each, np.float32) for each in tf.nest.flatten(self._teacher(x, training=False))]
        taught = [self._taught(each) for each in outputs]
        labelled = self._labelled(outputs, y)
        for layer in self._model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # it normalizes as the teacher does, not by each batch
        model, variables = self._model, self._model.trainable_variables
        self._optimizer.build(variables)

        @tf.function(reduce_retracing=True)
        def step(x: Any, y: Any) -> tf.Tensor:
            wanted = tf.nest.flatten(self._teacher(x, training=False))
            with tf.GradientTape() as tape:
                answers = [tf.cast(each, tf.float32) for each in tf.nest.flatten(model(x, training=True))]
                pairs = zip(taught, wanted, answers, strict=True)
                loss = tf.add_n([each(tf.cast(target, tf.float32), answer) for each, target, answer in pairs])
                if labelled is not None:
                    given = tf.reduce_mean(labelled(y, answers[0]))
                    loss = self._weight * loss + (1 - self._weight) * given
                whole = tf.add_n([loss, *model.losses])
            self._optimizer.apply_gradients(zip(tape.gradient(whole, variables), variables, strict=True))
            return whole

        return step

    def _taught(self, outputs: np.ndarray) -> _Loss:
        """The teacher's part of the loss, by one of its outputs."""
        flat = outputs.reshape(-1, outputs.shape[-1])
        probabilities = flat.shape[1] > 1 and looks_like_probabilities(flat)
        if not probabilities and not self._is_of_classes():
            return lambda wanted, answer: tf.reduce_mean(tf.square(wanted - answer))

        def softened(values: tf.Tensor) -> tf.Tensor:
            logits = tf.math.log(tf.clip_by_value(values, 1e-7, 1.0)) if probabilities else values
            return tf.nn.log_softmax(logits / self._temperature)

        def divergence(wanted: tf.Tensor, answer: tf.Tensor) -> tf.Tensor:
            target, reached = softened(wanted), softened(answer)
            # Its gradients shrink with the square of the temperature.
            return self._temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(target) * (target - reached), axis=-1))

        return divergence

    def _is_of_classes(self) -> bool:
        loss = getattr(self._teacher, "loss", None)
        name = str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)
        return "categoricalcrossentropy" in name.lower().replace("_", "")

    def _labelled(self, outputs: list[np.ndarray], y: Any) -> _Loss | None:
        """The labels' part; None where they are not there, or nobody says how they are to be taught."""
        if y is None or len(outputs) != 1 or isinstance(y, dict | list | tuple):
            return None
        given, columns = np.asarray(y), outputs[0].shape[-1]
        if np.issubdtype(given.dtype, np.integer) and columns > 1 and given.size * columns == outputs[0].size:
            logits = not looks_like_probabilities(outputs[0].reshape(-1, columns))
            classes = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
            return lambda wanted, answer: classes(tf.reshape(wanted, tf.shape(answer)[:-1]), answer)
        own = getattr(self._teacher, "loss", None)
        return None if own is None or given.shape != outputs[0].shape else keras.losses.get(own)

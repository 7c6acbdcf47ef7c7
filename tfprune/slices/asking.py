"""Asking a model: batches of arrays without copies, and outputs without Keras's overhead of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf


@dataclass(frozen=True)
class ArrayBatches:
    """Arrays, batch by batch, each time anew; a batch is a view.

    Attributes:
        arrays: (x, y) or (x, y, sample_weight), each an array or a nest of some, all of one length.
        batch_size: of all but the last.
    """

    arrays: tuple[Any, ...]
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        count = len(tf.nest.flatten(self.arrays)[0])
        for start in range(0, count, self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield tf.nest.map_structure(lambda each, rows=rows: each[rows], self.arrays)


def asker(model: keras.Model) -> Callable[[Any], Any]:
    """What gives a model's outputs for inputs of any batch size; it is traced once a model and kept with it.

    `predict_on_batch` makes a dataset of each batch, which takes longer than a small model.
    """
    if model.run_eagerly or getattr(model, "dynamic", False):
        return model.predict_on_batch
    known, ask = vars(model).get("_tfprune_asker", (None, None))
    # A layer more, another activation or a new compile is another graph; weights and masks are read as they are.
    state = (model.compiled_loss, [(layer, getattr(layer, "activation", None)) for layer in model._flatten_layers()])
    if ask is None or known != state:
        ask = _traced(model)
        object.__setattr__(model, "_tfprune_asker", (state, ask))  # Keras would track it as a part of the model
    return ask


def _traced(model: keras.Model) -> Callable[[Any], Any]:
    step = tf.function(lambda x: model.predict_step((x,)), reduce_retracing=True)
    traced: set[Any] = set()

    def ask(x: Any) -> Any:
        if any(isinstance(each, tf.RaggedTensor | tf.SparseTensor) for each in tf.nest.flatten(x)):
            return model.predict_on_batch(x)
        inputs = tf.nest.map_structure(_tensor, x)
        spec = tf.nest.map_structure(lambda each: tf.TensorSpec([None, *each.shape[1:]], each.dtype), inputs)
        key = tuple(tf.nest.flatten(spec))
        if key not in traced:  # once for all sizes of batches
            traced.add(key)
            step.get_concrete_function(spec)
        return tf.nest.map_structure(lambda each: each.numpy(), step(inputs))

    return ask


def _tensor(values: Any) -> tf.Tensor:
    """As Keras does: floats of NumPy in the precision of layers."""
    if isinstance(values, tf.Tensor):
        return values
    array = np.asarray(values)
    return tf.convert_to_tensor(array.astype(keras.backend.floatx()) if array.dtype.kind == "f" else array)

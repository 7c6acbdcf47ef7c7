"""Examples that tell a quantizer which values activations take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.deploy.names import inputs_and_labels, inputs_by_name
from tfprune.errors import DataError

EXAMPLES = 300

Named = dict[str, np.ndarray]


def calibration_of(model: keras.Model, given: Any, examples: int = EXAMPLES) -> list[Named]:
    """Calibration examples one by one, by the names of a model's inputs.

    Args:
        model: that takes them.
        given: inputs, an array or several in order or by name; batches of them, or of (x, y), as a tf.data.Dataset or
            another iterable has them.
        examples: how many are taken, at most, from the front.

    Raises:
        DataError: none at all, or of another shape than the model takes.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="scores")])
        >>> len(calibration_of(model, np.zeros((40, 3)), examples=16))
        16
    """
    found = list(islice(_one_by_one(model, given), examples))
    if not found:
        raise DataError("the calibration set is empty; int8 needs examples, some hundreds of the training data")
    for each in found:
        for name, value in each.items():
            if not np.isfinite(value.astype(np.float64)).all():
                raise DataError(f"input {name!r} of the calibration set holds NaN or infinite values; leave those out")
    return found


def _one_by_one(model: keras.Model, given: Any) -> Iterator[Named]:
    for batch in _batches(given):
        named = inputs_by_name(model, inputs_and_labels(model, batch)[0])
        for place in range(len(next(iter(named.values())))):
            yield {name: value[place : place + 1] for name, value in named.items()}


def _batches(given: Any) -> Iterable[Any]:
    """Arrays as one batch; a dataset, or whatever else is iterated over, as it is."""
    if isinstance(given, tf.data.Dataset):
        return given.as_numpy_iterator()
    is_arrays = hasattr(given, "shape") or isinstance(given, dict | list | tuple)
    return [given] if is_arrays else given

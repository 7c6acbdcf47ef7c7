"""Inputs and outputs by name, as files have them, and in the structure that the Keras model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError, nearest


def inputs_by_name(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    """Inputs as arrays of the dtypes that a model takes, by the names of its inputs.

    Args:
        model: Functional or Sequential.
        x: an array, several in the order of the model's inputs, or some by name; batch axis first.

    Raises:
        DataError: another number of inputs, a name that is none, or another shape; says what was expected.
    """
    names = list(model.input_names)
    if isinstance(x, Mapping):
        for name in names:
            if name not in x:
                raise DataError(f"inputs are named {', '.join(map(str, x))}, but not {name!r}{nearest(name, x)}")
        values = [x[name] for name in names]
    else:
        values = list(x) if isinstance(x, list | tuple) and len(names) > 1 else [x]
    if len(values) != len(names):
        raise DataError(f"got {len(values)} inputs, expected {len(names)}: {', '.join(names)}")
    return {
        name: _fitting(name, np.asarray(value), tensor)
        for name, value, tensor in zip(names, values, model.inputs, strict=True)
    }


def inputs_and_labels(model: keras.Model, batch: Any) -> tuple[Any, Any]:
    """A batch, or arrays, of inputs or of (x, y), taken apart; y is None where there are no labels.

    A tuple of arrays is the inputs of a model that has several, unless its first part holds those.
    """
    several = len(model.inputs) > 1
    if isinstance(batch, tuple) and len(batch) in (2, 3) and (not several or isinstance(batch[0], dict | list | tuple)):
        return batch[0], batch[1]
    return batch, None


def packed(model: keras.Model, named: Mapping[str, np.ndarray]) -> Any:
    """Inputs by name in the structure that the model takes."""
    return tf.nest.pack_sequence_as(model._nested_inputs, [named[name] for name in model.input_names])


def outputs_of(model: keras.Model, named: Mapping[str, np.ndarray]) -> Any:
    """Outputs by name in the structure that the model answers in."""
    return tf.nest.pack_sequence_as(model._nested_outputs, [named[name] for name in model.output_names])


def _fitting(name: str, value: np.ndarray, tensor: Any) -> np.ndarray:
    wanted = tuple(tensor.shape)[1:]
    fits = value.ndim == len(wanted) + 1 and all(
        want is None or want == got for want, got in zip(wanted, value.shape[1:], strict=True)
    )
    if not fits:
        raise DataError(f"input {name!r}: got examples of shape {value.shape[1:]}, expected {wanted}")
    return value.astype(tensor.dtype.as_numpy_dtype, copy=False)

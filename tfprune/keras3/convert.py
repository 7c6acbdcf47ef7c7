"""Models of Keras 3 as tf_keras models, and back."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.keras3.compiled import compile_twin
from tfprune.keras3.library import is_keras3
from tfprune.keras3.ways import FromKeras3, ToKeras3


def from_keras3(model: Any) -> keras.Model:
    """Return a tf_keras model that answers as a Keras 3 model does.

    Args:
        model: a Functional or Sequential model of Keras 3, nested ones included, of layers that both Kerases have
            and of `keras.ops`; never changed.

    Returns:
        A model of the same names and weights that shares nothing with `model`. It is compiled as `model` is, and its
        optimizer remembers the same, where both Kerases have optimizer, loss and metrics.

    Raises:
        ModelError: a subclassed model, or a layer or an operation without a counterpart, which is named.
        DependencyError: Keras 3 is not installed.

    Warns:
        UserWarning: the model comes back uncompiled; says why.

    Example:
        >>> from tfprune.keras3.library import library
        >>> keras3 = library()
        >>> model = from_keras3(keras3.Sequential([keras3.Input((3,)), keras3.layers.Dense(2, name="scores")]))
        >>> isinstance(model, keras.Model), model.layers[0].name, model.output_shape
        (True, 'scores', (None, 2))
    """
    if not is_keras3(model):
        raise ModelError(f"expected a Keras 3 model, but got {type(model).__name__}")
    way = FromKeras3()
    made = way.convert(model)
    compile_twin(model, made, way.weights, to_keras3=False)
    return made


def to_keras3(model: keras.Model) -> Any:
    """Return a Keras 3 model that answers as a tf_keras model does.

    Args:
        model: a Functional or Sequential tf_keras model without masks, nested ones included; never changed.

    Returns:
        A model of the same names and weights, which needs Keras 3 alone; slashes in names become underscores, as
        Keras 3 takes none. Compiled as `from_keras3` says.

    Raises:
        ModelError: a subclassed model, or a layer or an operation without a counterpart, which is named.
        DependencyError: Keras 3 is not installed.

    Warns:
        UserWarning: the model comes back uncompiled; says why.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="scores")])
        >>> there = to_keras3(model)
        >>> is_keras3(there), there.layers[0].name, there.output_shape
        (True, 'scores', (None, 2))
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"expected a tf_keras model, but got {type(model).__name__}")
    way = ToKeras3()
    made = way.convert(model)
    compile_twin(model, made, way.weights, to_keras3=True)
    return made

"""Functions that take a tf_keras model take one of Keras 3 as well, and give back what they were given.

At its start such a function says ``model = arrived(model)``, and at its end ``return returned(result, model)``.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from tfprune.backend import keras
from tfprune.keras3.convert import from_keras3, to_keras3
from tfprune.keras3.library import is_keras3

_GUESTS: WeakSet[keras.Model] = WeakSet()
"""Models of tf_keras that stand for one of Keras 3."""


def arrived(model: Any) -> Any:
    """A model as tf_keras has it; what is none of Keras 3 is left as it is.

    Raises:
        ModelError: a Keras 3 model that cannot be bridged.

    Example:
        >>> model = keras.Sequential()
        >>> arrived(model) is model
        True
    """
    if not is_keras3(model):
        return model
    guest = from_keras3(model)
    _GUESTS.add(guest)
    return guest


def returned(result: keras.Model, source: Any) -> Any:
    """What was made of a model, as Keras 3 where that model came from there.

    Args:
        result: a tf_keras model, or None.
        source: as `arrived` gave it, or as `stands_for` marked it.
    """
    return to_keras3(result) if result is not None and _is_guest(source) else result


def stands_for(result: keras.Model, source: Any) -> keras.Model:
    """Mark what was made of a model, so that what is made of that in turn goes back to where the model came from."""
    if _is_guest(source):
        _GUESTS.add(result)
    return result


def _is_guest(model: Any) -> bool:
    return isinstance(model, keras.Model) and model in _GUESTS

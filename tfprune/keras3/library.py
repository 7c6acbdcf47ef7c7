"""The one place where Keras 3 is loaded, and only when it is asked for: the package that is called `keras`."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

import numpy as np

from tfprune.backend import quiet_stderr
from tfprune.errors import DependencyError

_PIP = "pip install 'keras>=3'"


@functools.cache
def library() -> Any:
    """Keras 3 itself.

    Raises:
        DependencyError: it is not installed, or is Keras 2 under the same name.
    """
    with warnings.catch_warnings(), quiet_stderr():
        warnings.simplefilter("ignore")
        try:
            found = importlib.import_module("keras")
        except ImportError as error:
            raise DependencyError(f"Keras 3 models need the package keras ({error}); {_PIP}") from error
    version = str(getattr(found, "__version__", ""))
    if not version.startswith("3."):
        raise DependencyError(f"Keras 3 models need keras 3, but version {version or 'unknown'} is installed; {_PIP}")
    return found


def is_keras3(value: Any) -> bool:
    """Whether something is a model of Keras 3; does not load it.

    Example:
        >>> from tfprune.backend import keras
        >>> is_keras3(keras.Sequential())
        False
    """
    places = [(base.__module__.partition(".")[0], base.__name__) for base in type(value).__mro__]
    return ("keras", "Model") in places


def is_layer(value: Any) -> bool:
    """Whether a part of a Keras 3 graph is a layer, and not a bare operation."""
    return isinstance(value, library().layers.Layer)


def is_tensor(value: Any) -> bool:
    """Whether something stands for a value in a Keras 3 graph."""
    return isinstance(value, library().KerasTensor)


def has_graph(model: Any) -> bool:
    """Whether a Keras 3 model is Functional, or a Sequential that knows its input."""
    return hasattr(model, "_nodes_by_depth") or getattr(model, "_functional", None) is not None


def array_of(variable: Any) -> np.ndarray:
    """The value of a variable of Keras 3, whatever computes for it."""
    return np.asarray(variable.numpy())


def application_layers() -> dict[str, Any]:
    """Layers of keras.applications, which Keras 3 does not export."""
    convnext = importlib.import_module("keras.src.applications.convnext")
    inception = importlib.import_module("keras.src.applications.inception_resnet_v2")
    found = {"LayerScale": convnext, "StochasticDepth": convnext, "CustomScaleLayer": inception}
    return {name: getattr(module, name) for name, module in found.items() if hasattr(module, name)}

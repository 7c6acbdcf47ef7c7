"""What a logged model needs to be served: its signature, and a word on which Keras it is of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras

LARGEST_EXAMPLE = 20_000
"""Numbers in an example that is kept with a model: as JSON, those of a photo would outweigh a small model."""

Spec = tuple[np.dtype, tuple[int, ...], str | None]
"""An input or an output: type, shape with -1 for what is free, and name; one that is alone has none."""

Example = np.ndarray | Mapping[str, np.ndarray]
"""A batch of one; by name where a model has several inputs."""


def inputs_of(model: keras.Model, example: Example) -> list[Spec]:
    """The inputs of a model: types as the data has them, for others MLflow refuses; sizes as free as the model's.

    Example:
        >>> model = keras.Sequential([keras.layers.Embedding(10, 2, input_shape=(None,))])
        >>> inputs_of(model, np.zeros((1, 7), np.int64))
        [(dtype('int64'), (-1, -1), None)]
    """
    named = example if isinstance(example, Mapping) else dict.fromkeys(model.input_names, example)
    types = [named[name].dtype for name in model.input_names]
    return _specs(model.inputs, types, model.input_names)


def outputs_of(model: keras.Model) -> list[Spec]:
    """The outputs of a model."""
    types = [np.dtype(each.dtype.as_numpy_dtype) for each in model.outputs]
    return _specs(model.outputs, types, model.output_names)


def _specs(tensors: list[Any], types: list[np.dtype], names: list[str]) -> list[Spec]:
    shapes = [tuple(-1 if size is None else int(size) for size in each.shape) for each in tensors]
    return list(zip(types, shapes, names if len(names) > 1 else [None], strict=True))


def kept_example(example: Example) -> Example | None:
    """The example, unless it is large."""
    arrays = example.values() if isinstance(example, Mapping) else [example]
    return example if sum(each.size for each in arrays) <= LARGEST_EXAMPLE else None


def own_objects(model: keras.Model) -> dict[str, Any]:
    """The registered classes and functions that a model is made of and tf_keras does not bring, by name.

    Example:
        >>> own_objects(keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]))
        {}
    """
    config = json.dumps(keras.saving.serialize_keras_object(model), default=str)
    return {
        name: each
        for name, each in keras.saving.get_custom_objects().items()
        if not each.__module__.startswith("tf_keras.") and json.dumps(name) in config
    }


def bind_to_tf_keras(folder: Path, about: Any) -> None:
    """Let MLflow load a saved model with tf_keras itself, not with what ``tensorflow.keras`` means to the process.

    Without TF_USE_LEGACY_KERAS=1 in its environment, as a server has none, that is Keras 3, which cannot read the file.

    Args:
        folder: of the model, as `mlflow.tensorflow.save_model` left it.
        about: its MLflow model.
    """
    flavor = about.flavors["tensorflow"]
    flavor["keras_module"] = keras.__name__  # `mlflow.tensorflow.load_model` looks here
    about.save(folder / "MLmodel")
    data = folder / flavor["data"]
    (data / "keras_module.txt").write_text(keras.__name__, encoding="utf-8")  # and `mlflow.pyfunc.load_model` here
    # Everything that is registered, tfprune's own among it: the model would not load without tfprune.
    (data / "global_custom_objects.cloudpickle").unlink(missing_ok=True)

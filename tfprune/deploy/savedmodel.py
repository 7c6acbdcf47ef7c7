"""SavedModels for TensorFlow Serving: one signature, no Keras, and a runtime that answers through it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, quiet_stderr, tf
from tfprune.errors import ModelError, StorageError, nearest
from tfprune.importing import one_line
from tfprune.litert.convert import answers_by_name
from tfprune.models.clone import with_precision
from tfprune.storage import replacing

SIGNATURE = "serving_default"


def write_saved_model(model: keras.Model, path: str | Path) -> Path:
    """Write a SavedModel that answers in TensorFlow alone, whole or not at all; one that is there is replaced.

    It holds the weights and one function, the signature ``serving_default``: inputs and outputs have the names of the
    model's, the batch is free, and what was mixed precision is float32. There is neither Keras nor training in it, so
    `tfprune.load` does not read it.

    Args:
        model: Functional or Sequential, built; never changed. Masks are to be stripped before.
        path: of the folder. TensorFlow Serving takes ``NAME/1``, ``NAME/2`` …, the versions of a model.

    Returns:
        The path.

    Raises:
        ModelError: no graph, inputs that a signature cannot have, or a layer that TensorFlow cannot trace or save.
        StorageError: the disk is full or read-only, or something else is in the way.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="answers")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     answers = SavedModelRuntime(write_saved_model(model, f"{folder}/tiny/1"))(np.ones((5, 3)))
        >>> answers["answers"].shape
        (5, 2)
    """
    path = Path(path)
    _check_place(path)
    specs = _specs(model)
    if any(layer.dtype_policy.name.startswith("mixed_") for layer in model._flatten_layers()):
        model = with_precision(model, "float32")
    traced = _traced(model, specs)
    with replacing(path) as folder, quiet_stderr():
        try:
            tf.saved_model.save(_holder(model), str(folder), signatures={SIGNATURE: traced})
        except tf.errors.OpError as error:
            raise StorageError(
                f"cannot write {path}: {one_line(error)}; free some space or choose another place"
            ) from error
        except AssertionError as error:  # a layer has state that is no variable, and hides it
            raise ModelError(f"model {model.name!r} cannot be written as a SavedModel: {one_line(error)}") from error
    return path


class SavedModelRuntime:
    """A SavedModel, answering through its signature ``serving_default`` as TensorFlow Serving does.

    Args:
        path: of its folder.

    Attributes:
        inputs: shape, None for what is free, and type of each input by its name in the signature.
        outputs: the same of the outputs.

    Raises:
        ModelError: missing, damaged, or without that signature.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            with quiet_stderr():
                self._loaded = tf.saved_model.load(str(path))  # keeps the variables
        except Exception as error:  # TensorFlow raises a dozen types for a folder that it cannot read
            raise ModelError(f"{path}: missing, damaged or no SavedModel: {one_line(error)}") from error
        if SIGNATURE not in getattr(self._loaded, "signatures", {}):
            raise ModelError(f"{path}: a SavedModel without the signature {SIGNATURE!r}; write it with tfprune.export")
        self._answer = self._loaded.signatures[SIGNATURE]
        self.inputs = _described(self._answer.structured_input_signature[1])
        self.outputs = _described(self._answer.structured_outputs)

    def __call__(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer a batch.

        Args:
            inputs: an array where there is one input, else arrays by the names of the model's inputs; cast to the
                types of the signature.

        Raises:
            ModelError: other names, or a shape that the signature does not take.
        """
        given = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(self.inputs, inputs)
        named = {key_of(name): value for name, value in given.items()}
        if named.keys() != self.inputs.keys() or len(given) != len(named):
            strange = next((name for name in named if name not in self.inputs), "")
            raise ModelError(
                f"inputs given: {', '.join(given)}; the signature has {', '.join(self.inputs)}"
                f"{nearest(strange, self.inputs) if strange else ''}"
            )
        try:
            tensors = {name: tf.constant(value, self.inputs[name][1]) for name, value in named.items()}
            answers = self._answer(**tensors)
        except Exception as error:  # ValueError, TypeError or any OpError, by where it is noticed
            raise ModelError(f"the SavedModel does not take these inputs: {one_line(error)}") from error
        return {name: tensor.numpy() for name, tensor in answers.items()}


def key_of(name: str) -> str:
    """The key in a signature of an input: its name, where TensorFlow takes that for a parameter.

    Example:
        >>> [key_of(name) for name in ("image", "capital-gain", "class", "2nd")]
        ['image', 'capital_gain', 'class_', 'arg_2nd']
    """
    safe = re.sub(r"\W", "_", name, flags=re.ASCII)
    safe = safe if safe[:1].isalpha() else f"arg_{safe}"
    return f"{safe}_" if keyword.iskeyword(safe) or safe == "self" else safe


def _specs(model: keras.Model) -> list[tf.TensorSpec]:
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no graph of layers, so a signature cannot name its inputs; it must be a built "
            "Functional or Sequential model"
        )
    keys: dict[str, str] = {}
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if not isinstance(tensor.type_spec, tf.TensorSpec):
            raise ModelError(f"input {name!r} of model {model.name!r} is sparse or ragged; a signature has dense ones")
        key = key_of(name)
        same = next((keys[other] for other in keys if other.lower() == key.lower()), None)
        if same is not None:
            raise ModelError(
                f"inputs {same!r} and {name!r} of model {model.name!r} would be one in a signature, {key!r}; rename one"
            )
        keys[key] = name
    return [tf.TensorSpec(each.shape, each.dtype, key) for key, each in zip(keys, model.inputs, strict=True)]


def _traced(model: keras.Model, specs: list[tf.TensorSpec]) -> Any:
    try:
        with quiet_stderr():
            return tf.function(answers_by_name(model), autograph=False).get_concrete_function(*specs)
    except Exception as error:  # whatever a layer raises when it is traced
        raise ModelError(f"model {model.name!r} cannot be written as a SavedModel: {one_line(error)}") from error


def _holder(model: keras.Model) -> tf.Module:
    """What the function needs. The model itself would be saved with its layers, their functions and its optimizer."""
    holder = tf.Module()
    holder.weights = list(model.variables)
    holder.tables = [
        each
        for each in tf.train.TrackableView(model).descendants()
        if isinstance(each, tf.saved_model.experimental.TrackableResource)
    ]
    return holder


def _described(specs: Mapping[str, tf.TensorSpec]) -> dict[str, tuple[tuple[int | None, ...], tf.DType]]:
    return {name: (tuple(each.shape), each.dtype) for name, each in specs.items()}


def _check_place(path: Path) -> None:
    if path.is_file():
        raise StorageError(f"{path}: a file is in the way of a SavedModel folder; give another path or remove it")
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise StorageError(f"{path}: a folder of other things is in the way; give another path or remove it")

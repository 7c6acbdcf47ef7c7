"""A Keras model as a LiteRT flatbuffer in memory, and its interpreter; the only module that touches `tf.lite`."""

from __future__ import annotations

import re
import time
import warnings
from typing import Any

import numpy as np

from tfprune.backend import keras, quiet_stderr, tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.models.clone import with_precision


def convert(model: keras.Model) -> bytes:
    """Convert a model to a float32 LiteRT flatbuffer of batch size 1; no file is written for it.

    By way of one traced function it takes a quarter of the time that `from_keras_model` takes (MobileNet: 1.7 s
    against 6.4 s), as no Keras SavedModel is made of it; kernels and speed of the result are the same.

    Args:
        model: Functional or Sequential, built; never changed. Mixed precision becomes float32.

    Raises:
        ModelError: no graph, an input axis of unknown length, or an operation that LiteRT does not have.
    """
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no graph of layers, so it cannot be converted to LiteRT; it must be a built "
            "Functional or Sequential model"
        )
    _check_sizes(model)
    if any(layer.dtype_policy.name.startswith("mixed_") for layer in model._flatten_layers()):
        model = with_precision(model, "float32")
    holder = tf.Module()  # keeps the variables; the model itself would be saved with all its functions
    holder.weights = list(model.variables)
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = tf.function(lambda *inputs: model(_packed(model, inputs), training=False), autograph=False)
            traced = function.get_concrete_function(
                *(tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs)
            )
            return tf.lite.TFLiteConverter.from_concrete_functions([traced], holder).convert()
    except Exception as error:  # ConverterError, and whatever a layer raises when it is traced
        raise ModelError(f"model {model.name!r} cannot be converted to LiteRT: {_reason(error)}") from error


def _packed(model: keras.Model, inputs: tuple[Any, ...]) -> Any:
    """Inputs in the structure that the model was built with."""
    return tf.nest.pack_sequence_as(model._nested_inputs, inputs)


def _check_sizes(model: keras.Model) -> None:
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise ModelError(
                f"input {tensor.name!r} of model {model.name!r} has axes of unknown length, {tuple(tensor.shape)}; "
                "LiteRT runs one size: build the model with the input size that counts"
            )


def _reason(error: Exception) -> str:
    """One line; where operations are missing, their names."""
    lines = re.findall(r"(?:TF Select|Custom) ops: (.+)", str(error))
    if lines:
        return f"it has no operation {', '.join(lines)}; replace the layer that uses it, or measure in MACs"
    return one_line(error)


class Session:
    """A flatbuffer in its interpreter, with inputs that are set once.

    Args:
        content: the flatbuffer.
        threads: of the interpreter.

    Raises:
        ModelError: the interpreter does not take the file.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        try:
            with quiet_stderr(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its move to another package
                self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
                rng = np.random.default_rng(0)
                self.set_inputs(*(_example(each, rng) for each in self._interpreter.get_input_details()))
                self.seconds()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT cannot run the converted model: {one_line(error)}") from error

    def set_inputs(self, *values: np.ndarray) -> None:
        """Set the inputs of the next runs, batch axis first, in the order of the file."""
        for each, value in zip(self._interpreter.get_input_details(), values, strict=True):
            self._interpreter.set_tensor(each["index"], value)

    def seconds(self) -> float:
        """Run once and return the seconds it took."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def outputs(self) -> list[np.ndarray]:
        """What the last run gave."""
        return [self._interpreter.get_tensor(each["index"]) for each in self._interpreter.get_output_details()]


def _example(detail: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    # Zeros are token ids of every vocabulary; zeros as pixels could take shortcuts in kernels.
    if np.issubdtype(detail["dtype"], np.floating):
        return rng.random(detail["shape"]).astype(detail["dtype"])
    return np.zeros(detail["shape"], detail["dtype"])

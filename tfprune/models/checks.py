"""Whether a model is one that tfprune can handle and fits the data; the one place that decides."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.keras3.bridged import arrived

Shape = tuple[int | None, ...]


def check_fits(model: Any, label: str, input_shape: Shape, input_dtype: Any, classes: int) -> keras.Model:
    """Return a model that fits the data, built if it was a Sequential that waited for its input shape.

    Args:
        model: what a source gave; anything.
        label: opens the error line.
        input_shape: of one example, without the batch axis.
        input_dtype: of the examples: a NumPy or TensorFlow type, or its name.
        classes: number of classes.

    Raises:
        ModelError: no Keras model with a graph, one input and one output, or another shape or type.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
        >>> check_fits(model, "tiny", (4,), "float32", 3).input_shape
        (None, 4)
    """
    model = arrived(model)
    if not isinstance(model, keras.Model):
        raise ModelError(f"{label}: expected a tf_keras model, but got {type(model).__name__}")
    if isinstance(model, keras.Sequential) and not model._is_graph_network:
        _build(model, label, input_shape)
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(f"{label}: a subclassed model without a graph; build it as a Functional or Sequential model")
    for what, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(tensors) != 1:
            raise ModelError(
                f"{label}: has {len(tensors)} {what}; tfprune handles models with one input and one output"
            )
    _check_input(model, label, input_shape, tf.as_dtype(input_dtype))
    _check_output(model, label, classes)
    return model


def _build(model: keras.Model, label: str, input_shape: Shape) -> None:
    try:
        model.build((None, *input_shape))
    except Exception as error:  # layers raise what they like for a shape they cannot take
        reason = " ".join(str(error).split())[:150]
        raise ModelError(f"{label}: cannot be built for inputs {input_shape}: {reason}") from error


def _check_input(model: keras.Model, label: str, input_shape: Shape, input_dtype: tf.DType) -> None:
    takes = tuple(model.inputs[0].shape)[1:]
    fits = len(takes) == len(input_shape) and all(
        want is None or got is None or want == got for want, got in zip(takes, input_shape, strict=True)
    )
    if not fits:
        raise ModelError(
            f"{label}: model takes {takes}, the data gives {input_shape}; change the model's input or the data's shape"
        )
    wanted = model.inputs[0].dtype
    # Keras would cast in silence: token ids out of pixels, or zeros out of pixels scaled to [0, 1].
    if (wanted.is_integer and not input_dtype.is_integer) or (
        tf.string in (wanted, input_dtype) and wanted != input_dtype
    ):
        raise ModelError(f"{label}: model takes {wanted.name}, the data gives {input_dtype.name}; change one of them")


def _check_output(model: keras.Model, label: str, classes: int) -> None:
    answers = tuple(model.outputs[0].shape)[1:]
    if len(answers) != 1:
        raise ModelError(f"{label}: model answers {answers} an example; expected one answer a class, ({classes},)")
    if answers[0] != classes:
        raise ModelError(
            f"{label}: model answers {answers[0]} classes, the data has {classes}; give it {classes} outputs"
        )

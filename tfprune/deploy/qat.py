"""Quantization-aware training: a model that computes as its int8 file will, and is trained so.

TF-MOT puts fake quantization into the graph. What it leaves open is done here: ranges come from examples before the
first step, as its moving averages start at (-6, 6) and take thousands of steps to arrive; kinds of layers that it does
not know are rounded by their outputs, and named; and every zero of a kernel stays one, of depthwise
kernels too, because the optimizer applies a variable's constraint after each step. Zero is a level of the symmetric
weights, so what is held at zero in float is zero in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.deploy.annotate import Annotating
from tfprune.deploy.lesson import Lesson
from tfprune.deploy.names import inputs_and_labels
from tfprune.deploy.ranges import calibrate, hold_zeros, kernels
from tfprune.errors import DataError, ModelError, TrainingError, warn
from tfprune.importing import one_line
from tfprune.litert.pooling import with_mean_pooling
from tfprune.models.clone import check_unshared, with_precision
from tfprune.mot import quantize_apply, quantize_scope

_BATCH = 128

Fit = Callable[[keras.Model], Any]
"""Trains a model in place."""


@dataclass(frozen=True)
class QuantizationAware:
    """A model that computes as its int8 file will.

    Attributes:
        model: uncompiled; layers in the one graph, without nested models.
        unrounded: names of the layers, in the model that was given, whose weights train as they are; the converter
            rounds them, or leaves the layer in float.
    """

    model: keras.Model
    unrounded: tuple[str, ...]


def quantized(model: keras.Model, fit: Fit, calibration: Iterable[Any]) -> keras.Model:
    """Train a model with fake quantization, its zeros held.

    Args:
        model: as for `quantization_aware`; never changed.
        fit: given the model to train, compiles and trains it in place; see `distilling`.
        calibration: as for `quantization_aware`.

    Returns:
        The trained model, to be converted with ``optimizations=[tf.lite.Optimize.DEFAULT]`` and no calibration set.

    Raises:
        ModelError: the model cannot be made so.
        DataError: no example.
    """
    aware = quantization_aware(model, calibration)
    if aware.unrounded:
        warn(
            f"model {model.name!r}: TF-MOT does not know the kinds of layers {', '.join(aware.unrounded)}, so their "
            "weights train without rounding; look at how the file agrees"
        )
    fit(aware.model)
    for weight in kernels(aware.model):
        if weight.constraint is not None:  # whatever `fit` trained with
            weight.assign(weight.constraint(weight))
    return aware.model


def quantization_aware(model: keras.Model, calibration: Iterable[Any]) -> QuantizationAware:
    """Copy a model so that it computes with the rounding of int8.

    Args:
        model: built Functional or Sequential, without masks; never changed. Mixed precision becomes float32, nested
            models are opened.
        calibration: some batches of inputs, each in the structure that the model takes; the ranges of its values come
            from them.

    Returns:
        The copy, and what stays in float in it.

    Raises:
        ModelError: no graph, masks still on, a layer that is called more than once, nothing that can be quantized, or
            a layer that TF-MOT cannot copy.
        DataError: no example.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
        >>> aware = quantization_aware(model, [np.ones((2, 4), np.float32)])
        >>> aware.model.output_shape, aware.unrounded
        ((None, 3), ())
    """
    _check(model)
    if any(layer.dtype_policy.name.startswith("mixed_") for layer in model._flatten_layers()):
        model = with_precision(model, "float32")
    annotating = Annotating()
    annotated = annotating.model(with_mean_pooling(model))
    if not annotating.chosen:
        raise ModelError(f"model {model.name!r} has no layer that quantization-aware training knows; export it as int8")
    try:
        with quantize_scope():
            aware = quantize_apply(annotated)
    except Exception as error:  # TF-MOT and Keras raise what they like for a layer they cannot make anew
        raise ModelError(f"model {model.name!r} cannot be made quantization-aware: {one_line(error)}") from error
    aware.output_names = list(model.output_names)  # which signatures of files have
    for weight in kernels(aware):
        hold_zeros(weight)
    calibrate(aware, calibration)
    return QuantizationAware(aware, tuple(annotating.unrounded))


def _check(model: keras.Model) -> None:
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no graph of layers, so it cannot be made quantization-aware; it must be a "
            "built Functional or Sequential model"
        )
    check_unshared(model)
    if any(hasattr(layer, "pruning_vars") for layer in model._flatten_layers()):
        raise ModelError(f"model {model.name!r} still carries masks; take them off with tfprune.strip(model) first")


# ------------------------------------------------------------------------------------------ training


def distilling(
    teacher: keras.Model,
    batches: Any,
    epochs: int = 1,
    *,
    learning_rate: float = 1e-4,
    weight: float = 1.0,
    temperature: float = 2.0,
) -> Fit:
    """A plain fit for `quantized`: Adam, taught by what the float model answers and by labels where there are any.

    Classes are taught by the float model's softened answers (Hinton et al. 2015, arXiv 1503.02531), anything else by
    the mean squared difference from its outputs. Class indices are taught by a cross-entropy, other labels by the loss
    that the float model was compiled with; those of a model with several outputs are not used.

    Args:
        teacher: the float model; never changed.
        batches: a batched tf.data.Dataset, or another iterable that can be read again, of inputs or of (x, y); or
            arrays, x or (x, y), of which batches of 128 are made.
        epochs: over them.
        learning_rate: of Adam.
        weight: of the float model's part of the loss where there are labels, in [0, 1]. Labels may make a model
            better than the float one, which it then agrees with less.
        temperature: both answers' logits are divided by it.

    Returns:
        A function that trains a model in place; it raises a TrainingError when the loss is no longer a number.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> x, y = np.ones((8, 4), np.float32), np.arange(8) % 3
        >>> quantized(model, distilling(model, (x, y)), [x]).output_shape
        (None, 3)
    """

    def fit(model: keras.Model) -> None:
        lesson = Lesson(teacher, model, keras.optimizers.Adam(learning_rate), weight, temperature)
        for epoch in range(epochs):
            losses = [float(lesson(x, y)) for x, y in _labelled(teacher, batches, epoch)]
            if not losses:  # a generator can be read once
                raise DataError(f"there is no batch to train on in epoch {epoch + 1}; give arrays or a tf.data.Dataset")
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"the loss of quantization-aware training became {losses[-1]} in epoch {epoch + 1}; check the data "
                    "for NaN, or export without that training"
                )

    return fit


def _labelled(model: keras.Model, given: Any, epoch: int) -> Iterator[tuple[Any, Any]]:
    """Batches of (x, y), y None where there are no labels."""
    if isinstance(given, tf.data.Dataset):
        yield from (inputs_and_labels(model, each) for each in given.as_numpy_iterator())
    elif hasattr(given, "shape") or isinstance(given, dict | list | tuple):
        x, y = inputs_and_labels(model, given)
        order = np.random.default_rng(epoch).permutation(len(tf.nest.flatten(x)[0]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            taken = tf.nest.map_structure(lambda array, rows=rows: np.asarray(array)[rows], x)
            yield taken, None if y is None or isinstance(y, dict | list | tuple) else np.asarray(y)[rows]
    else:
        yield from (inputs_and_labels(model, each) for each in given)

"""What a quantization-aware model starts from: its zeros held, its ranges known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError
from tfprune.models.prunable import prunable_weights
from tfprune.mot import QuantizeLayer, QuantizeWrapper

_AT_ONCE = 64


def kernels(model: keras.Model) -> Iterator[tf.Variable]:
    """The kernels of a quantization-aware model; in a wrapped layer, tensors have taken their places."""
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            own = [weight for weight, _, _ in layer._weight_vars]
            yield from own or (prunable_weights(layer.layer, True)[0])
        else:
            yield from prunable_weights(layer, True)[0]


def hold_zeros(weight: tf.Variable) -> None:
    mask = tf.cast(tf.not_equal(weight, 0), weight.dtype)
    if not bool(tf.reduce_all(mask > 0)):
        own = weight.constraint
        weight._constraint = lambda value: (value if own is None else own(value)) * mask


class _Observer:
    """Stands in for TF-MOT's quantizers of activations: lets values pass and keeps their ranges."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[dict[str, tf.Variable], float, float]] = {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        # Zero is in every range: LiteRT pads with it.
        _, low, high = self._seen.get(id(weights["min_var"]), (weights, 0.0, 0.0))
        low, high = min(low, float(tf.reduce_min(inputs))), max(high, float(tf.reduce_max(inputs)))
        self._seen[id(weights["min_var"])] = weights, low, high
        return inputs

    def assign(self) -> None:
        """Set each range to what was seen, which TF-MOT's moving average goes on from."""
        for weights, low, high in self._seen.values():
            weights["min_var"].assign(low)
            weights["max_var"].assign(high)


def calibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set all ranges of a quantization-aware model: those of weights from the weights, the rest from examples.

    Raises:
        DataError: no example.
    """
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            for weight, quantizer, variables in layer._weight_vars:
                quantizer(weight, True, weights=variables)
    given = list(batches)
    if not sum(len(tf.nest.flatten(each)[0]) for each in given):
        raise DataError("the calibration set has no example; quantization-aware training takes its ranges from some")
    together = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *given)
    observer = _Observer()
    with _in_place_of_quantizers(model, observer):
        for start in range(0, len(tf.nest.flatten(together)[0]), _AT_ONCE):
            part = tf.nest.map_structure(lambda array, start=start: array[start : start + _AT_ONCE], together)
            model(part, training=False)  # eagerly, so the observer sees numbers
    observer.assign()


@contextmanager
def _in_place_of_quantizers(model: keras.Model, observer: _Observer) -> Iterator[None]:
    holders: list[tuple[Any, Any]] = []
    for layer in model.layers:
        if isinstance(layer, QuantizeLayer):
            holders.append((layer, layer.quantizer))
        elif isinstance(layer, QuantizeWrapper):
            holders += [(each, each.quantizer) for each in layer._quantize_activations]
    lists = [each._output_quantizers for each in model.layers if isinstance(each, QuantizeWrapper)]
    outputs = [(each, list(each)) for each in lists if each]
    try:
        for holder, _ in holders:
            holder.quantizer = observer
        for own, _ in outputs:
            own[:] = [observer]
        yield
    finally:
        for holder, quantizer in holders:
            holder.quantizer = quantizer
        for own, quantizers in outputs:
            own[:] = quantizers

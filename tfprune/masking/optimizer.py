"""The optimizer of a wrapped model: pruned weights have no gradient and no momentum.

Their gradients are masked before the optimizer sees them, so that clipping by norm counts only what trains, and what
it remembers of them is cleared when they fall, so that nothing pushes them if they come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tfprune.backend import keras, tf
from tfprune.models.optimizers import named_slots

Pairs = Iterable[tuple[tf.Variable, tf.Variable]]


def mask_gradients(optimizer: keras.optimizers.Optimizer, pairs: Pairs) -> None:
    """Make an optimizer multiply the gradients of some weights by their masks.

    Args:
        optimizer: of Keras, also a legacy one or one that scales the loss.
        pairs: weights with their masks.
    """
    apply = optimizer.apply_gradients
    if not hasattr(apply, "masks"):
        optimizer.apply_gradients = _Masking(apply)
    optimizer.apply_gradients.masks.update({_key(weight): mask for weight, mask in pairs})


class _Masking:
    """`apply_gradients` of an optimizer, with masks."""

    def __init__(self, apply: Any) -> None:
        self.masks: dict[Any, tf.Variable] = {}
        self._apply = apply

    def __call__(self, grads_and_vars: Iterable[tuple[Any, tf.Variable]], *args: Any, **kwargs: Any) -> Any:
        masked = [(self._mask(gradient, weight), weight) for gradient, weight in grads_and_vars]
        return self._apply(masked, *args, **kwargs)

    def _mask(self, gradient: Any, weight: tf.Variable) -> Any:
        mask = self.masks.get(_key(weight))
        if mask is None or gradient is None:
            return gradient
        if isinstance(gradient, tf.IndexedSlices):  # of an embedding
            values = gradient.values * tf.gather(mask, gradient.indices)
            return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        return gradient * mask


def memories(optimizer: Any, weight: tf.Variable) -> Iterator[tf.Variable]:
    """What an optimizer remembers of one weight and moves it by: momentum, second moments, averages.

    Sums of squares that only grow (Adagrad, FTRL) are left out: they divide, and move nothing by themselves.
    """
    for name, slot in named_slots(optimizer, weight):
        if "accumulator" not in name and slot.shape == weight.shape:
            yield slot


def _key(weight: Any) -> Any:
    return getattr(weight, "_variable", weight).ref()  # under a mixed policy Keras wraps it

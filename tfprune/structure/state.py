"""A compiled model's loss, metrics and optimizer, brought to a smaller copy with what the optimizer remembers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.models.optimizers import inner_optimizer, slots
from tfprune.structure.surgery import smaller


def compile_like(
    source: keras.Model, target: keras.Model, kept: dict[int, tuple[np.ndarray, ...]], pairs: list[tuple[Any, Any]]
) -> None:
    """Compile a model as another is, and slice the state of its optimizer as the weights were.

    Args:
        source: as it is where it is not compiled.
        target: its smaller copy.
        kept: for weights of the source that are smaller now, by the id of their variable, the indices of each axis.
        pairs: variables of the source with those of the target.
    """
    if getattr(source, "optimizer", None) is None:
        return
    arguments = source._get_compile_args(user_metrics=True)
    arguments["optimizer"] = type(source.optimizer).from_config(source.optimizer.get_config())
    for key in ("metrics", "weighted_metrics"):
        arguments[key] = tf.nest.map_structure(_fresh, arguments[key])
    target.output_names = list(source.output_names)  # losses may go by them
    target.compile(**arguments)
    pairs = [(one, other) for one, other in pairs if one.trainable]
    old, new = inner_optimizer(source.optimizer), inner_optimizer(target.optimizer)
    if not pairs or not list(slots(old, pairs[0][0])):
        return  # it has not stepped yet
    if hasattr(new, "build"):
        new.build(target.trainable_variables)
    else:
        new._create_all_weights(target.trainable_variables)
    for before, after in zip(_own(source.optimizer, old), _own(target.optimizer, new), strict=True):
        after.assign(before)
    for one, other in pairs:
        for before, after in zip(slots(old, one), slots(new, other), strict=True):
            after.assign(_sliced(before, one, kept.get(id(one))))


def _sliced(slot: tf.Variable, weight: tf.Variable, indices: tuple[np.ndarray, ...] | None) -> np.ndarray:
    """A slot of the weight's shape, or of the weight without its last or last but one axis, as Adafactor keeps."""
    value = slot.numpy()
    if indices is None:
        return value
    shape = tuple(weight.shape)
    for own in (indices, indices[:-1], (*indices[:-2], *indices[-1:])):
        axes = {id(each): size for each, size in zip(indices, shape, strict=True)}
        if value.shape == tuple(axes[id(each)] for each in own):
            return smaller(value, own)
    return value


def _own(outer: Any, inner: Any) -> list[tf.Variable]:
    """What an optimizer remembers that belongs to no weight: steps, rates, scales of the loss."""
    found = [inner.iterations]
    if outer is not inner and hasattr(outer, "dynamic_counter") and outer.dynamic:
        found += [outer.dynamic_counter, outer._loss_scale]
    if isinstance(getattr(inner, "_learning_rate", None), tf.Variable):
        found.append(inner._learning_rate)
    if isinstance(getattr(inner, "_u_product", None), tf.Variable):
        found.append(inner._u_product)
    return found


def _fresh(metric: Any) -> Any:
    """A metric of the same config, as two models would count in one."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

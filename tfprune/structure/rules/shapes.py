"""Layers that put the same numbers in another shape."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.structure.channels import Channels, reshaped
from tfprune.structure.visit import Visit, rule

layers = keras.layers


@rule(layers.Reshape)
def reshape(layer: Any, visit: Visit) -> Channels:
    """An axis that falls into two can lose indices of either."""
    output = reshaped(visit.labels, visit.x, visit.shape, visit.name)
    visit.set(
        target_shape=tuple(
            size if rows is None else rows for size, rows in zip(layer.target_shape, output.rows[1:], strict=True)
        )
    )
    return output


@rule(layers.Permute)
def permute(layer: Any, visit: Visit) -> Channels:
    """Axes in another order; `dims` counts from 1 and leaves the batch axis out."""
    return visit.x.transposed((0, *layer.dims))


@rule(layers.RepeatVector)
def repeat(layer: Any, visit: Visit) -> Channels:
    """The same vector many times."""
    return visit.output(-1, visit.x.rows[-1])


@rule(layers.TimeDistributed)
def time_distributed(layer: Any, visit: Visit) -> Channels:
    """The layer inside sees each step alone."""
    visit.freeze(visit.x.rows[1], "it works step by step")
    step, shape = visit.x.without([1]), visit.shape
    visit.part("layer", layer.layer)
    inside = visit.inner(layer.layer, [step], {}, [(shape[0], *shape[2:])])
    inside = inside[0] if isinstance(inside, list) else inside
    return Channels(shape, (inside.rows[0], None, *inside.rows[1:]))

"""Layers that work element by element, alone or on several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.structure.channels import Channels, joined
from tfprune.structure.labels import Rows
from tfprune.structure.visit import Visit, rule

layers = keras.layers
_SOFTMAXES = ("softmax", "log_softmax")


@rule(
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.LeakyReLU,
    layers.ReLU,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ThresholdedReLU,
)
def same(layer: Any, visit: Visit) -> Channels:
    """Channels go through as they come."""
    return visit.x


def activate(visit: Visit, function: Callable[..., Any] | None, rows: Rows | None) -> Rows | None:
    """What an activation that a layer applies along the last axis does to the channels of that axis.

    Args:
        visit: of the layer.
        function: the activation.
        rows: of the axis it is applied to.
    """
    if rows is None or is_elementwise(function):
        return rows
    if getattr(function, "__name__", "") in _SOFTMAXES:
        visit.inexact(rows, "softmax over the channels")
        return rows
    visit.freeze(rows, f"its activation {getattr(function, '__name__', function)} mixes channels")
    return None


@rule(layers.Activation)
def activation(layer: Any, visit: Visit) -> Channels:
    """An activation by itself; softmax works along the last axis."""
    if is_elementwise(layer.activation):
        return visit.x
    return visit.spatial(visit.x, -1).replaced(-1, activate(visit, layer.activation, visit.x.rows[-1]))


@rule(layers.Softmax)
def softmax(layer: Any, visit: Visit) -> Channels:
    """The others grow when one leaves."""
    for axis in tf.nest.flatten(layer.axis):
        visit.inexact(visit.x.rows[axis], "softmax over the channels")
    return visit.x


@rule(layers.Rescaling)
def rescaling(layer: Any, visit: Visit) -> Channels:
    """One factor for all; with a factor a channel it holds an array of fixed size."""
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        visit.freeze(visit.x.rows[-1], "its factors are an array of fixed size")
        return visit.x.replaced(-1, None)
    return visit.x


@rule(layers.PReLU)
def prelu(layer: Any, visit: Visit) -> Channels:
    """One slope for each index of the axes that are not shared."""
    shared = {axis - 1 for axis in layer.shared_axes or ()}
    visit.weight(layer.alpha, *(None if axis in shared else rows for axis, rows in enumerate(visit.x.rows[1:])))
    for axis, rows in enumerate(visit.x.rows[1:]):
        if axis in shared and layer.alpha.shape[axis] != 1:
            visit.freeze(rows, "its slopes are shared")
    return visit.x


@rule(layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)
def merge(layer: Any, visit: Visit) -> Channels:
    """Channels that meet leave together."""
    rank = max(each.rank for each in visit.inputs)
    aligned = []
    for each in visit.inputs:
        while each.rank < rank:  # Keras inserts axes behind the batch axis
            each = each.inserted(1)
        aligned.append(each)
    return visit.broadcast(aligned)


@rule(layers.Concatenate)
def concatenate(layer: Any, visit: Visit) -> Channels:
    """Channels one after the other."""
    return concatenated(visit, visit.inputs, layer.axis)


def concatenated(visit: Visit, tensors: list[Channels], axis: int) -> Channels:
    """Several tensors along an axis; on the other axes what meets leaves together."""
    axis %= tensors[0].rank
    rows = [
        visit.unite(*(each.rows[other] for each in tensors)) if other != axis else None
        for other in range(tensors[0].rank)
    ]
    sizes = [each.shape[axis] for each in tensors]
    if any(size is None for size in sizes):
        for each in tensors:
            visit.freeze(each.rows[axis], "it joins axes of unknown size")
    else:
        rows[axis] = joined([each.rows[axis] for each in tensors], [size or 0 for size in sizes])
    return Channels(visit.shape, tuple(rows))


def is_elementwise(function: Callable[..., Any] | None) -> bool:
    """Whether a function gives each element the same whatever stands beside it, found by trying."""
    if function is None:
        return True
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    try:
        whole = np.asarray(function(tf.constant(values)))
        parts = [np.asarray(function(tf.constant(values[:, :, i : i + 1]))) for i in range(values.shape[2])]
        rows = [np.asarray(function(tf.constant(values[:, i : i + 1]))) for i in range(values.shape[1])]
    except Exception:  # a user's function may raise anything when it is given another shape
        return False
    # Not equal to the bit: vectorized loops end in other instructions than they begin with.
    return whole.shape == values.shape and bool(
        np.allclose(np.concatenate(parts, 2), whole, 1e-5, 1e-6)
        and np.allclose(np.concatenate(rows, 1), whole, 1e-5, 1e-6)
    )


def _applications() -> None:
    """Layers that keras.applications define for themselves, and give no public name."""
    from_convnext = keras.applications.convnext.ConvNeXtTiny.__globals__
    from_inception = keras.applications.inception_resnet_v2.InceptionResNetV2.__globals__

    rule(from_convnext["StochasticDepth"])(same)
    rule(from_inception["CustomScaleLayer"])(merge)

    @rule(from_convnext["LayerScale"])
    def layer_scale(layer: Any, visit: Visit) -> Channels:
        """One factor a channel."""
        rows = visit.x.rows[-1]
        visit.weight(layer.gamma, rows)
        visit.set(projection_dim=layer.projection_dim if rows is None else rows)
        return visit.x


_applications()

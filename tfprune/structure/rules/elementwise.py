"""Layers that work element by element, alone or on several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.structure.channels import Channels, joined
from tfprune.structure.visit import Visit, rule

layers = keras.layers
_SOFTMAXES = (keras.activations.softmax, tf.nn.softmax, tf.nn.log_softmax)


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


def activate(visit: Visit, function: Callable[..., Any] | None, x: Channels) -> Channels:
    """What an activation does to the labels of what a layer has made.

    Args:
        visit: of the layer.
        function: the activation; softmax works along the last axis.
        x: what it is applied to.
    """
    if not x.labelled or is_elementwise(function, x.rank):
        return x
    if any(function is each for each in _SOFTMAXES):
        visit.inexact(x.rows[-1], "softmax over the channels")
        return x
    visit.freeze(x, f"its activation {getattr(function, '__name__', function)} mixes channels")
    return Channels.plain(x.shape)


@rule(layers.Activation)
def activation(layer: Any, visit: Visit) -> Channels:
    """An activation by itself."""
    return activate(visit, layer.activation, visit.x)


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


def is_elementwise(function: Callable[..., Any] | None, rank: int = 3) -> bool:
    """Whether a function gives each element the same whatever stands beside it, found by trying.

    Args:
        function: of a tensor.
        rank: of the tensors that it is to be given; every axis but that of the batch is tried, with small and with
            large numbers, as norms and bounds show only in some range.
    """
    if function is None or any(function is each for each in _ELEMENTWISE):
        return True
    shape = (2, 3, 4, 3, 2, 2)[:rank]
    try:
        for scale in (0.01, 1.0, 1000.0):
            values = (scale * np.random.default_rng(0).normal(size=shape)).astype(np.float32)
            whole = np.asarray(function(tf.constant(values)))
            if whole.shape != shape:
                return False
            for axis in range(1, rank):
                parts = [np.asarray(function(tf.constant(part))) for part in np.split(values, shape[axis], axis)]
                # Not equal to the bit: vectorized loops end in other instructions than they begin with.
                if not np.allclose(np.concatenate(parts, axis), whole, 1e-5, 1e-6, equal_nan=True):
                    return False
    except Exception:  # a user's function may raise anything when it is given another shape
        return False
    return rank <= len(shape)


_ELEMENTWISE = [
    getattr(keras.activations, name)
    for name in (
        *("elu", "exponential", "gelu", "hard_sigmoid", "linear", "mish", "relu", "selu"),
        *("sigmoid", "softplus", "softsign", "swish", "tanh"),
    )
]


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

"""Convolutions of every kind, pooling, padding, resizing."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.structure.channels import Channels, product
from tfprune.structure.labels import Rows
from tfprune.structure.rules.elementwise import activate
from tfprune.structure.visit import Visit, rule

layers = keras.layers


def channel_axis(layer: Any) -> int:
    """Where the channels of images stand, as the layer was told."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _made(layer: Any, visit: Visit, rows: Rows | None) -> Channels:
    """The output of a convolution with these filters, after its bias and activation."""
    visit.weight(layer.bias, rows)
    return activate(visit, layer.activation, visit.output(channel_axis(layer), rows))


def in_groups(visit: Visit, rows: Rows | None, groups: int) -> tuple[Rows | None, Rows | None]:
    """Labels of the groups that channels fall into, and of the places in a group."""
    if rows is None:
        return None, None
    outer, inner = visit.labels.split(rows, (groups, len(rows) // groups), visit.name)
    return (outer if outer.shape[1] else None), (inner if inner.shape[1] else None)


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(layer: Any, visit: Visit) -> Channels:
    """Kernels are (..., inputs of a group, filters); whole groups leave, or a place in every group."""
    axis = channel_axis(layer)
    x = visit.spatial(visit.x, axis)
    inputs, around = x.rows[axis], (None,) * layer.rank
    if layer.groups == 1:
        filters = visit.fresh(layer.filters)
        visit.weight(layer.kernel, *around, inputs, filters, reads=(-2,))
        visit.set(filters=filters)
        return _made(layer, visit, filters)
    groups, places = in_groups(visit, inputs, layer.groups)
    apiece = layer.filters // layer.groups
    made = product([groups, visit.fresh(apiece)], [layer.groups, apiece])
    visit.weight(layer.kernel, *around, places, made, reads=(-2,))
    visit.set(filters=made, groups=layer.groups if groups is None else groups)
    return _made(layer, visit, made)


@rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed(layer: Any, visit: Visit) -> Channels:
    """Kernels are (..., filters, inputs)."""
    axis = channel_axis(layer)
    x, filters = visit.spatial(visit.x, axis), visit.fresh(layer.filters)
    visit.weight(layer.kernel, *(None,) * layer.rank, filters, x.rows[axis], reads=(-1,))
    visit.set(filters=filters)
    return _made(layer, visit, filters)


def _multiplied(layer: Any, visit: Visit, inputs: Rows | None, kernel: Any) -> Rows | None:
    """The channels that a depthwise kernel makes: some of each input channel, side by side."""
    size, each = kernel.shape[-2:]
    multiples = visit.fresh(each, "multiplier") if each > 1 else None
    visit.weight(kernel, *(None,) * (len(kernel.shape) - 2), inputs, multiples)
    visit.set(depth_multiplier=each if multiples is None else multiples)
    return product([inputs, multiples], [size, each])


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(layer: Any, visit: Visit) -> Channels:
    """Output channels leave with the input channel that they are made of."""
    axis = channel_axis(layer)
    x = visit.spatial(visit.x, axis)
    return _made(layer, visit, _multiplied(layer, visit, x.rows[axis], layer.depthwise_kernel))


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(layer: Any, visit: Visit) -> Channels:
    """Depthwise first, then a mix of what that makes."""
    axis = channel_axis(layer)
    x = visit.spatial(visit.x, axis)
    between, filters = _multiplied(layer, visit, x.rows[axis], layer.depthwise_kernel), visit.fresh(layer.filters)
    visit.weight(layer.pointwise_kernel, *(None,) * layer.rank, between, filters, reads=(-2,))
    visit.set(filters=filters)
    return _made(layer, visit, filters)


@rule(
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.Resizing,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
def places(layer: Any, visit: Visit) -> Channels:
    """Each channel by itself."""
    axis = channel_axis(layer)
    return visit.output(axis, visit.spatial(visit.x, axis).rows[axis])


@rule(
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
def everywhere(layer: Any, visit: Visit) -> Channels:
    """Each channel by itself, at one place or without places."""
    axis = channel_axis(layer)
    rows = visit.spatial(visit.x, axis).rows[axis]
    return visit.output(1 if axis == 1 or len(visit.shape) == 2 else -1, rows)


@rule(layers.Flatten)
def flatten(layer: Any, visit: Visit) -> Channels:
    """Every place of a channel leaves with it; channels in front are put last before."""
    x = visit.x
    if x.rank == 1:
        return Channels.plain(visit.shape)
    if layer.data_format == "channels_first" and x.rank > 2:
        x = x.transposed((0, *range(2, x.rank), 1))
    if any(size is None for size in x.shape[1:]):
        visit.freeze(x, "it flattens axes of unknown size")
        return Channels.plain(visit.shape)
    sizes = [size or 1 for size in x.shape[1:]]
    return visit.output(-1, product(x.rows[1:], sizes))

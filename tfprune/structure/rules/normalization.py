"""Normalizations: over the examples, which leave channels apart, and over channels, which do not."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras, tf
from tfprune.structure.channels import Channels
from tfprune.structure.rules.convolutions import in_groups
from tfprune.structure.visit import Visit, rule

layers = keras.layers


@rule(layers.BatchNormalization, layers.experimental.SyncBatchNormalization)
def over_examples(layer: Any, visit: Visit) -> Channels:
    """One mean and variance a channel."""
    axes = [axis % visit.x.rank for axis in tf.nest.flatten(layer.axis)]
    rows = [visit.x.rows[axis] for axis in axes]
    if len(axes) > 1:  # weights have axes of one then
        rows = [each if axis in axes else None for axis, each in enumerate(visit.x.rows)]
    for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        visit.weight(weight, *rows)
    return visit.x


@rule(layers.LayerNormalization)
def over_channels(layer: Any, visit: Visit) -> Channels:
    """Mean and variance of what is normalized together change when an index of it leaves."""
    axes = [axis % visit.x.rank for axis in tf.nest.flatten(layer.axis)]
    rows = [visit.x.rows[axis] for axis in axes]
    for each in rows:
        visit.inexact(each, "its mean and variance are those of the channels that are left")
    visit.weight(layer.gamma, *rows)
    visit.weight(layer.beta, *rows)
    return visit.x


@rule(layers.GroupNormalization)
def over_groups(layer: Any, visit: Visit) -> Channels:
    """Whole groups leave unnoticed; a place in every group does not."""
    axis, rows = layer.axis, visit.x.rows[layer.axis]
    if rows is not None:
        groups, places = in_groups(visit, rows, layer.groups)
        visit.inexact(places, "mean and variance of a group are those of the channels that are left in it")
        visit.set(groups=layer.groups if groups is None else groups)
    for other, each in enumerate(visit.x.rows):
        if other != axis % visit.x.rank:
            visit.freeze(each, "it is normalized across this axis")
    visit.weight(layer.gamma, rows)
    visit.weight(layer.beta, rows)
    return visit.x.only(visit.x.shape, axis, rows)


@rule(layers.UnitNormalization)
def to_length(layer: Any, visit: Visit) -> Channels:
    """The length changes with every index."""
    for axis in tf.nest.flatten(layer.axis):
        visit.inexact(visit.x.rows[axis], "the length is that of the channels that are left")
    return visit.x

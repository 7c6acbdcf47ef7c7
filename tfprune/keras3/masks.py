"""Masks of a Keras 3 graph: which ones it hands on by itself, and which it loses on the way.

In its graph, Keras 3 writes down most masks that layers hand on as if they had been given. When the graph runs, an
attention of several heads takes the masks off its inputs, so that what comes later and is not written down goes
without. tf_keras does neither.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.keras3.library import is_layer, is_tensor, library

_SAME_TENSOR = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
"""Layers that return, at inference, the very tensor that they are given."""


def implied_mask(tensor: Any) -> Any:
    """The mask that Keras 3 keeps with a tensor and hands on by itself, or None."""
    return getattr(tensor, "_keras_mask", None)


def is_implied(layer: Any, args: tuple[Any, ...], key: str, kwargs: dict[str, Any]) -> bool:
    """Whether an argument of a call stands in the graph only because Keras 3 wrote it down by itself."""
    if key == "training":
        parameter = inspect.signature(layer.call).parameters.get("training")
        return parameter is not None and kwargs[key] == parameter.default
    if key != "mask" and not key.endswith("_mask"):
        return False
    names = list(inspect.signature(layer.call).parameters)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    owner = names[0] if key == "mask" else key.removesuffix("_mask")
    if owner not in given:
        return False
    masks, tensors = tf.nest.flatten(kwargs[key]), tf.nest.flatten(given[owner])
    return len(masks) == len(tensors) and all(
        mask is None or (_same(mask, implied_mask(tensor)) and not _merges(mask))
        for mask, tensor in zip(masks, tensors, strict=True)
    )


def lost_masks(nodes: Iterable[Any]) -> dict[int, set[int]]:
    """For each call, by the id of its node, the inputs (by id) that come without the mask that the graph shows.

    Args:
        nodes: of a Keras 3 graph in the order in which it runs.
    """
    has: dict[int, bool] = {}
    original: dict[int, int] = {}  # tensors that are one and the same when the graph runs
    lost: dict[int, set[int]] = {}

    def present(tensor: Any) -> bool:
        return has.get(original.get(id(tensor), id(tensor)), False)

    for node in nodes:
        layer, inputs = node.operation, node.arguments.keras_tensors
        kind = type(layer).__name__
        lost[id(node)] = {id(each) for each in inputs if implied_mask(each) is not None and not present(each)}
        shows = [implied_mask(each) is not None for each in node.outputs]
        first = [each for each in tf.nest.flatten(node.arguments.args[:1]) if is_tensor(each)]
        keeps = node.arguments.kwargs.get("mask") is not None or kind in ("Embedding", "Masking")
        comes = (any if kind == "Concatenate" else all)(map(present, first))
        for tensor, shown in zip(node.outputs, shows, strict=True):
            if kind in _SAME_TENSOR and first:
                original[id(tensor)] = original.get(id(first[0]), id(first[0]))
            else:
                has[id(tensor)] = is_layer(layer) and shown and (keeps or comes)
        if kind == "MultiHeadAttention" and attention_takes_masks_off():
            has.update({original.get(id(each), id(each)): False for each in inputs})
    return lost


@functools.cache
def attention_takes_masks_off() -> bool:
    """Whether this version of Keras 3 does."""
    keras3 = library()
    tokens = keras3.layers.Embedding(2, 1, mask_zero=True)(np.array([[1, 0]]))
    keras3.layers.MultiHeadAttention(1, 1)(tokens, tokens)
    return implied_mask(tokens) is None


def attention_mask_of(query: Any, value: Any, key: Any = None) -> Any:
    """What an attention of several heads may look at, from the masks of its inputs; None where there are none."""
    ops, found = library().ops, None
    for tensor, axis in ((query, -1), (value, -2), (key, -2)):
        mask = implied_mask(tensor)
        if mask is not None:
            mask = ops.expand_dims(mask, axis)
            found = mask if found is None else ops.logical_and(found, mask)
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two tensors are one, or are computed alike."""
    if one is other:
        return True
    if not (is_tensor(one) and is_tensor(other)):
        return type(one) is type(other) and not is_tensor(one) and bool(one == other)
    mine, its = _origin(one), _origin(other)
    if mine is None or its is None or type(mine.operation) is not type(its.operation) or is_layer(mine.operation):
        return False
    ours = tf.nest.flatten((mine.arguments.args, mine.arguments.kwargs))
    theirs = tf.nest.flatten((its.arguments.args, its.arguments.kwargs))
    return len(ours) == len(theirs) and all(_same(*pair) for pair in zip(ours, theirs, strict=True))


def _merges(mask: Any) -> bool:
    """Whether a mask joins different masks: Keras 3 joins them by or, tf_keras by and."""
    node = _origin(mask) if is_tensor(mask) else None
    if node is None or is_layer(node.operation):
        return False
    inputs = node.arguments.keras_tensors
    if type(node.operation).__name__ == "LogicalOr" and not _same(inputs[0], inputs[-1]):
        return True
    return any(_merges(each) for each in inputs)


def _origin(tensor: Any) -> Any:
    """The call that made a tensor of a graph."""
    history = getattr(tensor, "_keras_history", None)
    return (
        None if history is None or history.operation is None else history.operation._inbound_nodes[history.node_index]
    )

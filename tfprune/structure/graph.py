"""A model's graph, run with other values than tensors: labels, new Keras tensors, or examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tfprune.backend import keras, tf

Node = Any
"""One call of one layer, as Keras keeps it: `layer`, `call_args`, `call_kwargs`, `outputs`."""
Handler = Callable[[Node, tuple[Any, ...], dict[str, Any]], Any]


def follow(model: keras.Model, inputs: Sequence[Any], call: Handler) -> list[Any]:
    """Walk the calls of a Functional or Sequential model from its inputs to its outputs.

    Args:
        model: nested models are single calls; the handler may follow them in turn.
        inputs: one value for each of `model.inputs`.
        call: given a node and its arguments, values in place of tensors; returns a value for each output, in the
            structure that the layer gives or as a flat list.

    Returns:
        One value for each of `model.outputs`.
    """
    values: dict[int, Any] = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}

    def value(leaf: Any) -> Any:
        return values.get(id(leaf), leaf)

    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = tf.nest.map_structure(value, (tuple(node.call_args), dict(node.call_kwargs)))
            tensors, found = tf.nest.flatten(node.outputs), tf.nest.flatten(call(node, args, kwargs))
            values.update({id(tensor): each for tensor, each in zip(tensors, found, strict=True)})
    return [values[id(tensor)] for tensor in model.outputs]


def shape_of(tensor: Any) -> tuple[int | None, ...] | None:
    """The static shape of a Keras tensor, batch axis first; None where not even its rank is known."""
    return None if tensor.shape.rank is None else tuple(tensor.shape)

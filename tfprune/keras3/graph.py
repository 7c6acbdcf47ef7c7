"""The calls that make up a model of either Keras, in order, with what each library hands on by itself left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tfprune.backend import keras, tf
from tfprune.keras3.library import is_layer, is_tensor
from tfprune.keras3.masks import is_implied, lost_masks

_READS_MASKS = ("AdditiveAttention", "Attention", "MultiHeadAttention")


@dataclass(frozen=True)
class Call:
    """One call of a layer or an operation, on tensors of the model's own graph.

    Attributes:
        unmasked: inputs, by id, whose masks the other Keras must not look at.
    """

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    unmasked: frozenset[int] = frozenset()


def calls_of_keras3(model: Any) -> list[Call]:
    """Of a Keras 3 model.

    Masks that Keras 3 hands on by itself stand in its graph as if they were given, and so does the `training` that a
    layer has by default: both are left out, with the operations that make such masks.
    """
    graph = getattr(model, "_functional", None) or model
    nodes, calls = _in_order(graph), []
    lost = lost_masks(nodes)
    for node in nodes:
        args, layer = node.arguments.args, node.operation
        kwargs = {key: value for key, value in node.arguments.kwargs.items() if value is not None}
        unmasked: frozenset[int] = frozenset()
        if is_layer(layer):
            kwargs = {key: value for key, value in kwargs.items() if not is_implied(layer, args, key, kwargs)}
            unmasked = frozenset(lost[id(node)] if type(layer).__name__ in _READS_MASKS else ())
        calls.append(Call(layer, args, kwargs, list(node.outputs), unmasked))
    return _needed(calls, graph.outputs, is_tensor)


def calls_of_tf_keras(model: keras.Model) -> list[Call]:
    """Of a tf_keras model."""
    calls = []
    for node in _in_order(model):
        kwargs = {key: value for key, value in node.call_kwargs.items() if value is not None}
        calls.append(Call(node.layer, tuple(node.call_args), kwargs, tf.nest.flatten(node.outputs)))
    return _needed(calls, model.outputs, lambda value: hasattr(value, "_keras_history"))


def _in_order(graph: Any) -> list[Any]:
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth] if not node.is_input]


def _needed(calls: list[Call], outputs: Iterable[Any], is_symbol: Any) -> list[Call]:
    """The calls that the outputs follow from."""
    wanted, kept = {id(each) for each in outputs}, []
    for call in reversed(calls):
        if wanted.isdisjoint(map(id, call.outputs)):
            continue
        wanted |= {id(each) for each in tf.nest.flatten((call.args, call.kwargs)) if is_symbol(each)}
        kept.append(call)
    return kept[::-1]

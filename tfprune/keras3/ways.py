"""The two ways over the bridge: from Keras 3 to tf_keras, and back."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from tfprune.backend import keras, operation_layers, tf
from tfprune.errors import ModelError
from tfprune.keras3 import to_operations, to_tensorflow
from tfprune.keras3.bridge import Bridge
from tfprune.keras3.graph import Call, calls_of_keras3, calls_of_tf_keras
from tfprune.keras3.library import application_layers, has_graph, is_layer, library
from tfprune.keras3.masks import attention_mask_of, implied_mask

MERGES = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
"""Layers whose mask is that of all inputs together in tf_keras, and that of any in Keras 3, if all have one."""

_SUBCLASSED = "a subclassed model without a graph; build it as a Functional or Sequential model"


class FromKeras3(Bridge):
    """Keras 3 to tf_keras."""

    other = "tf_keras"
    leads_to_keras3 = False

    def check(self, model: Any) -> None:
        if not has_graph(model) and (not self.is_sequential(model) or model.built):
            raise ModelError(f"model {model.name!r} is a {type(model).__name__}, {_SUBCLASSED}")

    def classes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return keras3_layers(), tf_keras_layers()

    def is_model(self, layer: Any) -> bool:
        return isinstance(layer, library().Model)

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, library().Sequential)

    def is_operation(self, layer: Any) -> bool:
        return not is_layer(layer)

    def calls(self, model: Any) -> list[Call]:
        return calls_of_keras3(model)

    def ends(self, model: Any) -> tuple[Any, Any]:
        graph = getattr(model, "_functional", None) or model
        return graph._inputs_struct, graph._outputs_struct

    def input(self, tensor: Any) -> Any:
        layer = tensor._keras_history.operation
        if getattr(layer, "optional", False):
            raise ModelError(f"input {layer.name!r} is optional, which tf_keras does not have; make it a plain input")
        return keras.Input(
            batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=layer.name, sparse=bool(tensor.sparse)
        )

    def sequential(self, layers: list[Any], name: str) -> Any:
        return keras.Sequential(layers, name=name)

    def functional(self, inputs: Any, outputs: Any, name: str) -> Any:
        return keras.Model(inputs, outputs, name=name)

    def arguments(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        masks = [key for key in kwargs if key in ("query_mask", "value_mask", "key_mask")]
        if masks and type(layer).__name__ == "MultiHeadAttention":
            raise ModelError(
                f"layer {layer.name!r} (MultiHeadAttention) is called with {masks[0]}, which tf_keras does not have; "
                "give it an attention_mask"
            )
        return args, kwargs

    def without_mask(self, tensor: Any) -> Any:
        return tf.identity(tensor)

    def with_mask_of(self, call: Call, args: tuple[Any, ...], found: Any) -> Any:
        is_bare = type(call.layer).__name__ in MERGES and implied_mask(call.outputs[0]) is None
        return (
            self.without_mask(found) if is_bare and any(implied_mask(each) is not None for each in args[0]) else found
        )

    def operate(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return to_tensorflow.apply_in_tensorflow(call, args, kwargs)

    def activate(self, name: str, value: Any) -> Any:
        return to_tensorflow.ACTIVATIONS[name](value)


class ToKeras3(Bridge):
    """tf_keras to Keras 3."""

    other = "Keras 3"
    leads_to_keras3 = True

    def check(self, model: Any) -> None:
        if not getattr(model, "_is_graph_network", False) and (not self.is_sequential(model) or model.built):
            raise ModelError(f"model {model.name!r} is a {type(model).__name__}, {_SUBCLASSED}")

    def classes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return tf_keras_layers(), keras3_layers()

    def is_model(self, layer: Any) -> bool:
        return isinstance(layer, keras.Model)

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, keras.Sequential)

    def is_operation(self, layer: Any) -> bool:
        return isinstance(layer, operation_layers)

    def name(self, layer: Any) -> str:
        return str(layer.name).replace("/", "_")

    def calls(self, model: Any) -> list[Call]:
        return calls_of_tf_keras(model)

    def ends(self, model: Any) -> tuple[Any, Any]:
        return model._nested_inputs, model._nested_outputs

    def input(self, tensor: Any) -> Any:
        layer = tensor._keras_history.layer
        if getattr(layer, "ragged", False):
            raise ModelError(
                f"input {layer.name!r} is ragged, which the bridge does not carry; make it dense and padded"
            )
        return library().Input(
            batch_shape=tuple(tensor.shape), dtype=tensor.dtype.name, name=self.name(layer), sparse=layer.sparse
        )

    def sequential(self, layers: list[Any], name: str) -> Any:
        return library().Sequential(layers, name=name)

    def functional(self, inputs: Any, outputs: Any, name: str) -> Any:
        _tell_apart(outputs)
        return library().Model(inputs, outputs, name=name)

    def arguments(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        first, rest = args[0], args[1:]
        is_recurrent = isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)
        if is_recurrent and isinstance(first, list | tuple):
            first, *states = first
            if getattr(layer, "_num_constants", None):
                raise ModelError(f"layer {layer.name!r} is called with constants, which Keras 3 does not have")
            kwargs = {**kwargs, "initial_state": states}
        names = list(inspect.signature(layer.call).parameters)[1:]
        given = dict(zip(names, rest, strict=False))
        kwargs = {**{key: value for key, value in given.items() if value is not None}, **kwargs}
        return _with_masks(layer, first, kwargs)

    def with_mask_of(self, call: Call, args: tuple[Any, ...], found: Any) -> Any:
        if type(call.layer).__name__ in MERGES:
            masks = {id(mask): mask for mask in map(implied_mask, args[0]) if mask is not None}
            if masks:
                found._keras_mask = functools.reduce(library().ops.logical_and, masks.values())
        return found

    def operate(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return to_operations.apply_in_keras3(call, args, kwargs)

    def activate(self, name: str, value: Any) -> Any:
        return to_operations.ACTIVATIONS[name](library().ops, value)


def _with_masks(layer: Any, first: Any, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Masks said aloud to the layers for which Keras 3 may have lost them by the time that they are called."""
    if type(layer).__name__ == "MultiHeadAttention":
        value = kwargs.pop("value")
        mask = attention_mask_of(first, value, kwargs.get("key"))
        if mask is not None:
            given = kwargs.get("attention_mask")
            kwargs["attention_mask"] = mask if given is None else library().ops.logical_and(given, mask)
        return (first, value), kwargs
    if type(layer).__name__ in ("AdditiveAttention", "Attention") and "mask" not in kwargs:
        masks = [implied_mask(each) for each in first]
        if any(each is not None for each in masks):
            kwargs["mask"] = masks[:2]
    return (first,), kwargs


def tf_keras_layers() -> dict[str, Any]:
    """Classes of the layers that tf_keras has, by name."""
    return {
        **vars(keras.layers),
        "CustomScaleLayer": keras.src.applications.inception_resnet_v2.CustomScaleLayer,
        "LayerScale": keras.src.applications.convnext.LayerScale,
        "StochasticDepth": keras.src.applications.convnext.StochasticDepth,
    }


def keras3_layers() -> dict[str, Any]:
    """Classes of the layers that Keras 3 has, by name."""
    return {**vars(library().layers), **application_layers()}


def _tell_apart(outputs: Any) -> None:
    """Rename operations that bear the name of a layer: Keras 3 numbers them by themselves, and wants all to differ."""
    found: dict[tuple[int, int], Any] = {}
    waiting = library().tree.flatten(outputs)
    while waiting:
        history = getattr(waiting.pop(), "_keras_history", None)
        if history is None or history.operation is None:
            continue
        operation, index = history.operation, history.node_index
        if (key := (id(operation), index)) in found:
            continue
        found[key] = operation
        waiting += operation._inbound_nodes[index].input_tensors
    every = {id(each): each for each in found.values()}.values()
    taken = {each.name for each in every if is_layer(each)}
    for operation in every:
        if is_layer(operation):
            continue
        name, number = operation.name, 1
        while operation.name in taken:
            operation.name = f"{name}_op{number}"
            number += 1
        taken.add(operation.name)

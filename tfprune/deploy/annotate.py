"""A model in one graph, with a note to TF-MOT on each layer that it is to quantize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.models.clone import copy_weights
from tfprune.mot import (
    Default8BitQuantizeRegistry,
    MovingAverageQuantizer,
    QuantizeAnnotate,
    QuantizeLayer,
    quantize_annotate_layer,
)
from tfprune.structure.graph import Node, follow

layers = keras.layers

_SPLIT = (layers.SeparableConv1D, layers.SeparableConv2D)  # TF-MOT makes two layers of them
_FOLDED_INTO = (layers.Conv2D, layers.DepthwiseConv2D, *_SPLIT)
_ACTIVATIONS = ("gelu", "linear", "relu", "sigmoid", "softmax", "swish", "tanh")


class Annotating:
    """Copies a model into one graph, with a note to TF-MOT on each layer that it is to quantize."""

    def __init__(self) -> None:
        self.unrounded: list[str] = []
        self.chosen = 0
        self._registry = Default8BitQuantizeRegistry()
        self._names: set[str] = set()
        self._made: dict[int, list[Callable[..., Any]]] = {}

    def model(self, model: keras.Model) -> keras.Model:
        """The copy, with the same weights."""
        inputs = [
            keras.Input(each.shape[1:], batch_size=each.shape[0], dtype=each.dtype, name=self._name(each.node.layer))
            for each in model.inputs
        ]
        outputs = follow(model, _rounded(inputs), self._call)
        return keras.Model(
            tf.nest.pack_sequence_as(model._nested_inputs, inputs),
            tf.nest.pack_sequence_as(model._nested_outputs, outputs),
            name=model.name,
        )

    def _call(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = node.layer
        if isinstance(layer, keras.Model):
            return follow(layer, tf.nest.flatten(args), self._call)
        if any(isinstance(part, layers.RNN) for part in layer._flatten_layers()):
            raise ModelError(
                f"layer {layer.name!r} is recurrent, and LiteRT cannot take it from quantization-aware training; "
                "quantize the model after training instead"
            )
        try:
            steps = self._made[id(layer)] = self._made.get(id(layer)) or self._steps(layer)
            answer = steps[0](*args, **kwargs)
            for step in steps[1:]:
                answer = step(answer)
        except (AttributeError, TypeError, ValueError, NotImplementedError) as error:
            raise ModelError(f"layer {layer.name!r} cannot be copied: {one_line(error)}") from error
        copy_weights(layer, steps[0].layer if isinstance(steps[0], QuantizeAnnotate) else steps[0])
        return answer

    def _steps(self, layer: keras.layers.Layer) -> list[Callable[..., Any]]:
        """What a layer becomes: itself, and what comes after it where TF-MOT does not know it whole."""
        config = {**layer.get_config(), "name": self._name(layer)}
        if isinstance(layer, layers.BatchNormalization):
            known = _is_folded(layer)
        else:
            known = type(layer) in _SPLIT or self._registry.supports(layer)
        after: list[Callable[..., Any]] = [] if known else [_rounded]
        if known and getattr(getattr(layer, "activation", None), "__name__", "linear") not in _ACTIVATIONS:
            if isinstance(layer, layers.Activation):
                known = False
            else:
                config["activation"] = "linear"
                after = [layers.Activation(layer.activation, name=self._name(layer))]
            after.append(_rounded)
        self.chosen += known
        if not known and layer.weights:
            self.unrounded.append(layer.name)
        new = type(layer).from_config(config)
        return [quantize_annotate_layer(new) if known else new, *after]

    def _name(self, layer: keras.layers.Layer) -> str:
        """Layers of different nested models may have one name; in one graph they must not."""
        name, count = layer.name, 1
        while name in self._names:
            name, count = f"{layer.name}_{count}", count + 1
        self._names.add(name)
        return name


def _rounded(tensors: Any) -> Any:
    """Tensors rounded in ranges of their own, as after inputs and after layers that TF-MOT does not know."""
    return tf.nest.map_structure(
        lambda each: (
            QuantizeLayer(MovingAverageQuantizer(8, False, False, False))(each) if each.dtype.is_floating else each
        ),
        tensors,
    )


def _is_folded(layer: keras.layers.BatchNormalization) -> bool:
    """Whether a normalization becomes part of the layer before it, in TF-MOT's graph and in the file."""
    before = layer._inbound_nodes[0].inbound_layers
    return (
        type(before) in _FOLDED_INTO
        and len(before._outbound_nodes) == 1
        and before.activation is keras.activations.linear
    )

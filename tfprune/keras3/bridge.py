"""A model of one Keras made anew with the other: layers from their configs, called along the graph."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

from tfprune.backend import tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.keras3.config import config_for
from tfprune.keras3.graph import Call
from tfprune.keras3.weights import copy_frozen, copy_state

UNLIKE = {
    "RandomCrop": "at inference tf_keras crops, and Keras 3 leaves images whole; crop in the data, or use CenterCrop",
}
"""Layers that both Kerases have under one name, but that do not answer the same."""


class Bridge(ABC):
    """One way over. A layer or a model that stands in several places is made once.

    Attributes:
        weights: variables with those of their twins, once the model is converted.
    """

    other: str
    """What the Keras on the far side is called."""
    leads_to_keras3: bool

    def __init__(self) -> None:
        self.weights: list[tuple[Any, Any]] = []
        self._pairs: list[tuple[Any, Any]] = []
        self._made: dict[int, Any] = {}
        self._afters: dict[int, str | None] = {}
        self._models: list[tuple[Any, Any]] = []

    def convert(self, model: Any) -> Any:
        """The model of the other Keras, weights and what is frozen included.

        Raises:
            ModelError: a layer, an operation or a model without a counterpart, which is named.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = self._model(model)
            for source, target in self._pairs:
                self.weights += copy_state(source, target)
                copy_frozen(source, target)
            for source, target in self._models:
                if not source.trainable:
                    target._trainable = False  # its layers know for themselves
        return made

    def layer(self, layer: Any) -> Any:
        """The twin of a layer, not built yet; of a model, the whole."""
        if self.is_model(layer):
            return self._model(layer)
        if id(layer) not in self._made:
            twin, self._afters[id(layer)] = self._twin(layer)
            self._made[id(layer)] = twin
            self._pairs.append((layer, twin))
        return self._made[id(layer)]

    def after(self, layer: Any) -> str | None:
        """The activation that has to follow the twin of a layer."""
        return self._afters.get(id(layer))

    def name(self, layer: Any) -> str:
        """What its twin is called."""
        return str(layer.name)

    def _model(self, model: Any) -> Any:
        if id(model) not in self._made:
            self.check(model)
            try:
                made = self._sequential(model) or self._graph(model)
            except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
                raise ModelError(
                    f"model {model.name!r} cannot be built with {self.other}: {one_line(error)}"
                ) from error
            self._made[id(model)] = made
            self._models.append((model, made))
        return self._made[id(model)]

    def _sequential(self, model: Any) -> Any:
        """A Sequential of a Sequential, unless one of its layers becomes several."""
        if not self.is_sequential(model):
            return None
        layers = [self.layer(layer) for layer in model.layers]
        if any(self.after(layer) for layer in model.layers):
            return None
        inputs = [self.input(model.inputs[0])] if model.built else []
        return self.sequential([*inputs, *layers], self.name(model))

    def _graph(self, model: Any) -> Any:
        values = {id(tensor): self.input(tensor) for tensor in model.inputs}

        def value(leaf: Any) -> Any:
            return values.get(id(leaf), leaf)

        for call in self.calls(model):
            bare = {each: values[each] for each in call.unmasked}
            values.update({each: self.without_mask(tensor) for each, tensor in bare.items()})
            args, kwargs = tf.nest.map_structure(value, (call.args, call.kwargs))
            values.update(bare)
            found = self._call(call, args, kwargs)
            found = [found] if not isinstance(found, list | tuple | dict) else tf.nest.flatten(found)
            values.update({id(tensor): each for tensor, each in zip(call.outputs, found, strict=True)})
        inputs, outputs = tf.nest.map_structure(value, self.ends(model))
        return self.functional(inputs, outputs, self.name(model))

    def _call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.is_operation(call.layer):
            return self.operate(call, args, kwargs)
        twin = self.layer(call.layer)
        args, kwargs = self.arguments(call.layer, args, kwargs)
        try:
            found = twin(*args, **kwargs)
        except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError) as error:
            raise ModelError(
                f"layer {call.layer.name!r} ({type(call.layer).__name__}) cannot be called in {self.other} as it is "
                f"here: {one_line(error)}"
            ) from error
        found = self.with_mask_of(call, args, found)
        after = self.after(call.layer)
        return found if after is None else self.activate(after, found)

    def _twin(self, layer: Any) -> tuple[Any, str | None]:
        into = self._counterpart(layer)
        inner = getattr(layer, "layer", None)
        if inner is not None and self.is_model(inner):
            return into(self._model(inner), name=self.name(layer)), None
        if into.__name__ == "Lambda":
            return into(layer.function, arguments=dict(layer.arguments or {}), name=self.name(layer)), None
        config, after = config_for(layer, into, self.leads_to_keras3)
        if "name" in config:
            config["name"] = self.name(layer)
        try:
            # The one of tf_keras wants to be told shapes that nobody knows yet.
            make = into if into.__name__ == "MultiHeadAttention" else into.from_config  # type: ignore[attr-defined]
            return (make(**config) if make is into else make(config)), after
        except (TypeError, ValueError, NotImplementedError, KeyError) as error:
            raise ModelError(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be made with {self.other}: {one_line(error)}"
            ) from error

    def _counterpart(self, layer: Any) -> type:
        """The class of the other Keras."""
        mine, theirs = self.classes()
        kind = type(layer)
        if kind is mine.get(kind.__name__) and kind.__name__ in UNLIKE:
            raise ModelError(
                f"layer {layer.name!r} is a {kind.__name__}, which has no counterpart in {self.other}: "
                f"{UNLIKE[kind.__name__]}"
            )
        if kind is mine.get(kind.__name__) and kind.__name__ in theirs:
            found: type = theirs[kind.__name__]
            return found
        is_of_keras = any(kind is each for each in mine.values())  # some go by another name
        what = "which only one Keras has" if is_of_keras else "a class of your own"
        raise ModelError(
            f"layer {layer.name!r} is a {kind.__name__}, {what}, so it has no counterpart in {self.other}; replace it "
            "by layers that both Kerases have"
        )

    # ------------------------------------------------------------------------------ what each way knows

    @abstractmethod
    def check(self, model: Any) -> None:
        """Refuse a model without a graph."""

    @abstractmethod
    def classes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Layer classes of this side and of the other, by name."""

    @abstractmethod
    def is_model(self, layer: Any) -> bool: ...

    @abstractmethod
    def is_sequential(self, model: Any) -> bool: ...

    @abstractmethod
    def is_operation(self, layer: Any) -> bool: ...

    @abstractmethod
    def calls(self, model: Any) -> list[Call]: ...

    @abstractmethod
    def ends(self, model: Any) -> tuple[Any, Any]:
        """Inputs and outputs of a model in their structure."""

    @abstractmethod
    def input(self, tensor: Any) -> Any:
        """A new input of the other Keras, like one of this."""

    @abstractmethod
    def sequential(self, layers: list[Any], name: str) -> Any: ...

    @abstractmethod
    def functional(self, inputs: Any, outputs: Any, name: str) -> Any: ...

    @abstractmethod
    def arguments(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a layer is called with, as its twin takes it."""

    def without_mask(self, tensor: Any) -> Any:
        """The same values, of which nobody knows a mask."""
        return tensor

    def with_mask_of(self, call: Call, args: tuple[Any, ...], found: Any) -> Any:
        """What a twin gave, with the mask that the other Keras gives its layer's output, where they differ in that."""
        return found

    @abstractmethod
    def operate(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what a bare operation does."""

    @abstractmethod
    def activate(self, name: str, value: Any) -> Any:
        """Apply an activation that the other Keras does not know by this name."""

"""A model built anew without some of its units: configs with new widths, weights with fewer indices."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.models.clone import copy_frozen, finalize
from tfprune.structure.analysis import Analysis, count, kept
from tfprune.structure.graph import Node, follow
from tfprune.structure.labels import Rows
from tfprune.structure.rules.operations import arguments

_WRONG = (
    AttributeError,
    AssertionError,
    IndexError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)


_FUNCTIONS = ("activation", "regularizer", "constraint")


@dataclass(frozen=True)
class Rebuilt:
    """A smaller copy of a model.

    Attributes:
        model: uncompiled, of the same kind, name and layer names.
        pairs: variables of the original with those that they have become.
    """

    model: keras.Model
    pairs: list[tuple[tf.Variable, tf.Variable]]


def rebuild(analysis: Analysis, removed: np.ndarray) -> Rebuilt:
    """Build a copy of a model without some units and branches, weights included.

    Args:
        analysis: of the model, which is not changed.
        removed: bool (units + 1,); the first is False.

    Raises:
        ModelError: a layer that cannot be made from its config.
    """
    work = _Rebuilding(analysis, removed)
    return Rebuilt(work.model(analysis.model), work.pairs)


def kept_of(analysis: Analysis, removed: np.ndarray) -> dict[int, tuple[np.ndarray, ...]]:
    """For each weight that loses something, by the id of its variable, the kept indices of each axis."""
    found = {}
    for weight, axes in analysis.weights:
        if any(rows is not None and removed[rows].any() for rows in axes):
            found[id(weight.variable)] = tuple(
                np.arange(size) if rows is None else kept(rows, removed)
                for size, rows in zip(weight.variable.shape, axes, strict=True)
            )
    return found


class _Rebuilding:
    def __init__(self, analysis: Analysis, removed: np.ndarray) -> None:
        self._analysis, self._removed = analysis, removed
        blocks = [block for unit, block in analysis.blocks.items() if removed[unit]]
        self._stays = {block.node: block.stays for block in blocks}
        self._gone = frozenset[int]().union(*(block.inside for block in blocks))
        self.pairs: list[tuple[tf.Variable, tf.Variable]] = []
        self._kept = kept_of(analysis, removed)
        self._scales = {
            id(weight.variable): self._share(weight.scaled_by) ** 0.5
            for weight, _ in analysis.weights
            if weight.scaled_by is not None
        }
        self._new: dict[int, keras.layers.Layer] = {}

    def model(self, model: keras.Model) -> keras.Model:
        """Build a model, one inside another included, of new layers with the weights that stay."""
        inputs = [self._input(model, place) for place in range(len(model.inputs))]
        if isinstance(model, keras.Sequential):
            new = keras.Sequential([inputs[0], *(self._layer(layer) for layer in model.layers)], name=model.name)
        else:
            outputs = follow(model, inputs, self._call)
            new = keras.Model(
                _in_place_of(model._nested_inputs, model.inputs, inputs),
                _in_place_of(model._nested_outputs, model.outputs, outputs),
                name=model.name,
            )
        made = [(layer, self._new[id(layer)]) for layer in model.layers if id(layer) in self._new]
        known = {id(layer) for layer in new.layers}
        beside = [built for _, built in made if id(built) not in known]
        if beside:  # what leads to no output, but to a loss or a metric that was added to the model
            new._insert_layers(beside)
        for old, built in made:
            if not isinstance(old, keras.Model):
                self._fill(old, built)
        new._trainable = model._trainable  # of the model alone: the layers in it have what they had
        return new

    def _input(self, model: keras.Model, place: int) -> Any:
        tensor = model.inputs[place]
        axes = self._analysis.findings.config.get(id(model), {}).get("inputs")
        shape = list(tensor.shape)
        if axes is not None:
            shape = [size if rows is None else self._value(rows) for size, rows in zip(shape, axes[place], strict=True)]
        layer = tensor._keras_history.layer
        options = {"sparse": getattr(layer, "sparse", False), "ragged": getattr(layer, "ragged", False)}
        return keras.Input(
            shape[1:],
            batch_size=shape[0],
            name=layer.name,
            dtype=tensor.dtype,
            **{key: True for key, value in options.items() if value},
        )

    def _call(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(node) in self._gone:
            return node.outputs  # which nothing reads any more
        if id(node) in self._stays:
            tensors = [each for each in tf.nest.flatten((args, kwargs)) if hasattr(each, "_keras_history")]
            return tensors[self._stays[id(node)]]
        layer = self._layer(node.layer)
        changes = self._analysis.findings.arguments.get(id(node))
        if changes:
            bound = arguments(node.layer.function, args, kwargs)
            given = {key: value for key, value in bound.items() if key in changes}
            wanted = {key: self._value(spec, given[key]) for key, spec in changes.items()}
            args, kwargs = _with_arguments(node.layer.function, args, kwargs, wanted)
        try:
            return layer(*args, **kwargs)
        except _WRONG as error:
            raise ModelError(f"layer {node.layer.name!r} cannot be called anew: {one_line(error)}") from error

    # --- layers

    def _layer(self, old: keras.layers.Layer) -> keras.layers.Layer:
        if id(old) not in self._new:
            self._new[id(old)] = self.model(old) if isinstance(old, keras.Model) else self._from_config(old)
        return self._new[id(old)]

    def _from_config(self, old: keras.layers.Layer) -> keras.layers.Layer:
        try:
            return type(old).from_config(self._config(old))
        except _WRONG as error:
            raise ModelError(f"layer {old.name!r} cannot be made from its config: {one_line(error)}") from error

    def _config(self, old: keras.layers.Layer) -> dict[str, Any]:
        config = dict(old.get_config())
        for key in config:
            if key.endswith(_FUNCTIONS) and callable(function := getattr(old, key, None)):
                config[key] = function  # a user's own is not found by its name
        fields = self._analysis.findings.config.get(id(old), {})
        if any(self._changes(spec) for spec in tf.nest.flatten(list(fields.values()))):
            config.update({key: self._value(spec) for key, spec in fields.items()})
        for key, part in self._analysis.findings.parts.get(id(old), {}).items():
            made = self.model(part) if isinstance(part, keras.Model) else self._from_config(part)
            config[key] = keras.layers.serialize(made)
        return config

    def _changes(self, spec: Any) -> bool:
        return isinstance(spec, np.ndarray) and count(self._analysis.units(spec), self._removed) < len(spec)

    def _value(self, spec: Any, given: Any = None) -> Any:
        """What a config or an argument says anew; tensors in it are those of the new call."""
        if isinstance(spec, np.ndarray):
            return count(self._analysis.units(spec), self._removed)
        if isinstance(spec, dict):
            return {key: self._value(value) for key, value in spec.items()}
        if isinstance(spec, list | tuple):
            others = given if isinstance(given, list | tuple) and len(given) == len(spec) else [None] * len(spec)
            return type(spec)(self._value(each, other) for each, other in zip(spec, others, strict=True))
        return spec if given is None or not tf.is_tensor(given) else given

    # --- weights

    def _fill(self, old: keras.layers.Layer, new: keras.layers.Layer) -> None:
        try:
            copy_frozen(old, new)
            pairs = list(zip(old.weights, new.weights, strict=True))
            values = [self._smaller(weight) for weight, _ in pairs]
            if any(value.shape != tuple(target.shape) for value, (_, target) in zip(values, pairs, strict=True)):
                raise ValueError(f"{[value.shape for value in values]} where {[tuple(t.shape) for _, t in pairs]} fit")
            self.pairs += pairs
            keras.backend.batch_set_value([(target, value) for value, (_, target) in zip(values, pairs, strict=True)])
            finalize(new)
        except ValueError as error:
            raise ModelError(
                f"layer {old.name!r}: the weights of the {type(old).__name__} that its config makes do not fit: "
                f"{one_line(error)}"
            ) from error

    def _smaller(self, weight: tf.Variable) -> np.ndarray:
        value = weight.numpy()
        indices = self._kept.get(id(weight))
        if indices is not None:
            value = smaller(value, indices)
        scale = self._scales.get(id(weight), 1.0)
        return value if scale == 1.0 else (value * scale).astype(value.dtype)

    def _share(self, rows: Rows) -> float:
        return count(self._analysis.units(rows), self._removed) / len(rows)


def smaller(value: np.ndarray, indices: tuple[np.ndarray, ...]) -> np.ndarray:
    """An array with some indices of each axis."""
    for axis, own in enumerate(indices):
        if len(own) < value.shape[axis]:
            value = value.take(own, axis)
    return value


def _in_place_of(structure: Any, old: list[Any], new: list[Any]) -> Any:
    """A structure of tensors with others in their places."""
    places = {id(tensor): each for tensor, each in zip(old, new, strict=True)}
    return tf.nest.map_structure(lambda tensor: places[id(tensor)], structure)


def _with_arguments(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call with other values for some parameters, given as they were given."""
    names = list(inspect.signature(function).parameters)
    changed = [wanted.get(name, value) for name, value in zip(names, args, strict=False)] + list(args[len(names) :])
    rest = {key: value for key, value in wanted.items() if key not in names[: len(args)]}
    return tuple(changed), {**kwargs, **rest}

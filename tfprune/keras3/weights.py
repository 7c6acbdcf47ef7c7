"""Weights and what is frozen, from a layer of one Keras to its twin of the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.keras3.library import array_of

_IN_CONFIG = ("Discretization", "IntegerLookup", "StringLookup", "TextVectorization")
"""Layers whose config says all that they know; what they hold as weights are tables."""


def copy_state(source: Any, target: Any) -> list[tuple[Any, Any]]:
    """Give a built layer the weights of its twin, and let it know.

    Returns:
        The weights of the twin with those of the layer.

    Raises:
        ModelError: the twins have other weights; names the layer.
    """
    if type(source).__name__ in _IN_CONFIG:
        return []
    pairs: list[tuple[Any, Any]] = []
    try:
        _pair(source, target, pairs)
        if len({id(one) for one, _ in pairs}) != len({id(each) for each in source.weights}):
            raise ValueError(f"{len(source.weights)} weights, of which {len(pairs)} have a counterpart")
        for one, other in pairs:
            other.assign(_value(one))
        _finalize(target)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"layer {source.name!r} ({type(source).__name__}) does not hold the same weights in both Kerases: "
            f"{one_line(error)}"
        ) from error
    return pairs


def copy_frozen(source: Any, target: Any) -> None:
    """Freeze the parts of a layer or a model that are frozen in its twin."""
    target.trainable = source.trainable
    if type(source).__name__ in _IN_CONFIG:
        return
    for one, other in zip(_parts(source), _parts(target), strict=True):
        copy_frozen(one, other)


def _pair(source: Any, target: Any, pairs: list[tuple[Any, Any]]) -> None:
    ours, theirs = _own(source), _own(target)
    shared = ours.keys() & theirs.keys()
    if shared == ours.keys():
        found = [(ours[name], theirs[name]) for name in ours]
    else:
        found = list(zip(ours.values(), theirs.values(), strict=True))
    for one, other in found:
        if tuple(one.shape) != tuple(other.shape):
            raise ValueError(f"{_name(one)} has shape {tuple(one.shape)} here and {tuple(other.shape)} there")
    pairs += found
    for one, other in zip(_parts(source), _parts(target), strict=True):
        _pair(one, other, pairs)


def _finalize(layer: Any) -> None:
    """Let layers know that their weights were set: a Normalization computes with copies of them."""
    for part in _parts(layer):
        _finalize(part)
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _own(layer: Any) -> dict[str, Any]:
    """The weights that a layer holds itself, by their last name; the parts of it hold the rest."""
    if isinstance(layer, keras.layers.Layer):
        found = [*layer._trainable_weights, *layer._non_trainable_weights]
    else:
        found = [*layer._trainable_variables, *layer._non_trainable_variables]
    inner = {id(weight) for part in _parts(layer) for weight in part.weights}
    own = [each for each in found if id(each) not in inner]
    names = [_name(each) for each in own]
    return dict(zip(names if len(set(names)) == len(names) else map(str, range(len(own))), own, strict=True))


def _parts(layer: Any) -> list[Any]:
    """Layers in a layer that hold weights, in the order in which it made them."""
    if isinstance(layer, keras.layers.Layer):
        inner = list(layer._flatten_layers(recursive=False, include_self=False))
    else:
        inner = list(layer._layers)
    once = {id(each): each for each in inner if each.weights}
    return list(once.values())


def _name(weight: Any) -> str:
    return str(weight.name).rpartition("/")[2].partition(":")[0]


def _value(weight: Any) -> np.ndarray:
    return array_of(weight) if hasattr(weight, "path") else np.asarray(weight.numpy())

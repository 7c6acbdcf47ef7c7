"""A copy of a model with some layers replaced on the way."""

from __future__ import annotations

from collections.abc import Callable

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.importing import one_line


def clone(model: keras.Model, replace: Callable[[keras.layers.Layer], keras.layers.Layer | None]) -> keras.Model:
    """Copy a Functional or Sequential model, weights included; nothing is shared with the original.

    Args:
        model: built; never changed.
        replace: given a layer of the original (those of nested models included), returns the new, unbuilt layer
            to put in its place, or None for a copy of it. A replacement whose weights differ in number
            from the original's has to set them itself.

    Returns:
        An uncompiled model of the same name and layer order.

    Raises:
        ModelError: a subclassed or unbuilt model, a layer that cannot be made from its config, or two layers that
            share a weight, as where one stands by itself and in a `TimeDistributed`.
    """
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} is a {type(model).__name__}, not a built Functional or Sequential model, so its "
            "layers cannot be replaced; call it on keras.Input in a functional model, or give a Sequential its input"
        )
    check_unshared(model)
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
    copies: dict[int, keras.layers.Layer] = {}  # a layer may stand in several of the nested models

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if id(layer) not in copies:
            copies[id(layer)] = new_for(layer)
        return copies[id(layer)]

    def new_for(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=copy)
        new = replace(layer)
        if new is None:
            new = type(layer).from_config(layer.get_config())
            pairs.append((layer, new))
        return new

    try:
        cloned = keras.models.clone_model(model, clone_function=copy)
    except (AttributeError, TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(f"model {model.name!r} cannot be copied layer by layer: {one_line(error)}") from error
    for source, target in pairs:
        copy_weights(source, target)
    return cloned


def leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of the models in it, each once, models themselves left out."""
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        inner = leaves(layer) if isinstance(layer, keras.Model) else [layer]
        found.update({id(each): each for each in inner})
    return list(found.values())


def check_unshared(model: keras.Model) -> None:
    """Refuse two layers with one weight: a config does not tell whose weights a layer uses, a copy would train two.

    Raises:
        ModelError: it names both.
    """
    owners: dict[int, keras.layers.Layer] = {}
    for layer in leaves(model):
        for weight in layer.weights:
            owner = owners.setdefault(id(weight), layer)
            if owner is not layer:
                raise ModelError(
                    f"layers {owner.name!r} and {layer.name!r} share weight {weight.name!r}, which copies made from "
                    "their configs would not; call one and the same layer in both places"
                )


def copy_weights(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Give a layer made from another's config its weights, and freeze the parts in it that are frozen there.

    A config does not tell of parts, and Keras lists trainable weights first.

    Raises:
        ModelError: the config made a layer with other parts or weights.
    """
    try:
        copy_frozen(source, target)
        target.set_weights(source.get_weights())
        finalize(target)
    except ValueError as error:
        raise ModelError(
            f"layer {source.name!r} cannot be copied: its config makes another {type(source).__name__}: "
            f"{one_line(error)}"
        ) from error


def finalize(layer: keras.layers.Layer) -> None:
    """Let a layer, and those in it, know that their weights were set: a Normalization computes with copies of them."""
    for part in layer._flatten_layers():
        if hasattr(part, "finalize_state"):
            part.finalize_state()


def copy_frozen(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Freeze the parts of a layer that are frozen in another of the same build, of which its config does not tell."""
    for part, copied in zip(source._flatten_layers(), target._flatten_layers(), strict=True):
        copied.trainable = part.trainable


def with_precision(model: keras.Model, policy: str) -> keras.Model:
    """Copy a model so that its layers compute under another dtype policy.

    Weights stay float32 under the mixed policies, and so do the outputs, where rounding would cost accuracy.

    Args:
        model: built, Functional or Sequential; never changed.
        policy: ``float32``, ``mixed_bfloat16`` or ``mixed_float16``.
    """
    last = _last_layers(model)

    def change(layer: keras.layers.Layer) -> keras.layers.Layer | None:
        config = layer.get_config()
        current = layer.dtype_policy.name
        wanted = "float32" if layer in last else policy
        if current == wanted or current not in _POLICIES or layer.dtype != "float32" or "dtype" not in config:
            return None
        new = type(layer).from_config({**config, "dtype": wanted})
        pairs.append((layer, new))
        return new

    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
    copied = clone(model, change)
    for source, target in pairs:
        copy_weights(source, target)
    return copied


def _last_layers(model: keras.Model) -> set[keras.layers.Layer]:
    """The layers whose outputs are the model's, inside a nested model where that comes last."""
    found: set[keras.layers.Layer] = set()
    for layer in getattr(model, "_output_layers", ()):
        found |= _last_layers(layer) if isinstance(layer, keras.Model) else {layer}
    return found


_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")

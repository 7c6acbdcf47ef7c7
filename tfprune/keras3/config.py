"""What makes a layer of one Keras, as the other Keras takes it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.keras3.library import library

_RENAMED = {"alpha": "negative_slope", "negative_slope": "alpha"}  # of LeakyReLU

_ANY = object()
_DROPPED: dict[str, Any] = {
    # How it is computed or drawn, not what.
    "batch_input_shape": _ANY,
    "fill_mode": _ANY,  # of a Resizing that pads, which is refused below
    "fill_value": _ANY,
    "flash_attention": _ANY,
    "implementation": _ANY,
    "input_length": _ANY,
    "key_shape": _ANY,
    "kernel_constraint": _ANY,  # of a separable convolution, which has two other kernels
    "kernel_initializer": _ANY,
    "kernel_regularizer": _ANY,
    "lora_alpha": _ANY,
    "query_shape": _ANY,
    "renorm_clipping": _ANY,
    "renorm_momentum": _ANY,
    "rng_type": _ANY,
    "robust_masking": _ANY,  # tells only where all is masked
    "seed": _ANY,
    "softmax_robust_masking": _ANY,
    "trainable": _ANY,  # set on the layer itself
    "use_cudnn": _ANY,
    "value_range": _ANY,  # of augmentation
    "value_shape": _ANY,
    "vocabulary_size": _ANY,
    # What only one of the two can do, as long as it does not do it.
    "activity_regularizer": None,
    "antialias": False,
    "data_format": "channels_last",
    "dilation_rate": 1,
    "groups": 1,
    "keepdims": False,
    "lora_rank": None,
    "noise_shape": None,
    "oov_method": "floormod",
    "optional": False,
    "pad_to_aspect_ratio": False,
    "quantization_config": None,
    "renorm": False,
    "rms_scaling": False,
    "salt": None,
    "sliding_window": None,
    "sparse": False,
    "synchronized": False,
    "time_major": False,
    "use_gate": False,
    "zero_output_for_mask": False,
}
"""Arguments that only one Keras has, with the value at which the other's layer does the same."""

_TABLES = ("IntegerLookup", "StringLookup", "TextVectorization")
"""Layers whose type is that of their answers in tf_keras, and nothing in Keras 3."""

_DIFFERENT = {"hard_sigmoid"}
"""Activations of one name that are other functions: slope 1/5 in tf_keras, 1/6 in Keras 3."""


def config_for(layer: Any, into: type, to_keras3: bool) -> tuple[dict[str, Any], str | None]:
    """The config of a layer as the class `into` of the other Keras takes it.

    Returns:
        The config, and the name of an activation that has to be applied after the layer, as the other Keras has none
        of that name that does the same.

    Raises:
        ModelError: an argument without a counterpart; names layer and class.
    """
    config = {**layer.get_config(), **_unsaid(layer)}
    after = None
    activation = config.get("activation")
    is_last = not any(key.startswith("recurrent") for key in config)
    if is_last and isinstance(activation, str) and not _same_activation(activation):
        config["activation"], after = "linear", activation
    try:
        return _translated(config, into, to_keras3), after
    except _Misfit as error:
        other = "Keras 3" if to_keras3 else "tf_keras"
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}): {error}, which {other} does not have; build the layer "
            "without it"
        ) from None


class _Misfit(Exception):
    """An argument and its value."""


def _unsaid(layer: Any) -> dict[str, Any]:
    """What a layer knows but its config does not tell, or not in a form that stands by itself."""
    kind = type(layer).__name__
    found: dict[str, Any] = {}
    if kind == "BatchNormalization":
        found["synchronized"] = bool(getattr(layer, "synchronized", False))
        if isinstance(layer.axis, list | tuple) and len(layer.axis) == 1:
            found["axis"] = int(layer.axis[0])
    if kind in _TABLES:
        found.update(_vocabulary(layer))
    if kind == "Discretization" and layer.bin_boundaries:
        found.update(bin_boundaries=[float(each) for each in layer.bin_boundaries], num_bins=None)
    return found


def _vocabulary(layer: Any) -> dict[str, Any]:
    words = [
        each if isinstance(each, str) else int(each) for each in layer.get_vocabulary(include_special_tokens=False)
    ]
    if not words:
        return {}
    found: dict[str, Any] = {"vocabulary": words}
    lookup = getattr(layer, "_lookup_layer", layer)
    if lookup.output_mode == "tf_idf":
        first = lookup._token_start_index()
        found["idf_weights"] = np.asarray(lookup.idf_weights)[first : first + len(words)].tolist()
    return found


def _translated(config: Mapping[str, Any], into: type, to_keras3: bool) -> dict[str, Any]:
    if into.__name__ == "Bidirectional":
        config = _both_ways(config)
    found = {}
    for key, value in config.items():
        if into.__name__ == "LeakyReLU":
            key = _RENAMED.get(key, key)
        if key == "dtype":
            if into.__name__ not in _TABLES or "int" in str(_policy(value)):
                found[key] = _policy(value)
        elif accepts(into, key):
            found[key] = _plain(value, to_keras3)
        elif not _is_neutral(key, value):
            raise _Misfit(f"{key}={value!r}")
    for key in ("activation", "recurrent_activation"):
        if isinstance(found.get(key), str) and not _same_activation(found[key]):
            raise _Misfit(f"{key}={found[key]!r} of the same values")
    return found


def _both_ways(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Bidirectional whose layers bear the names that they were given, and a backward layer only where it differs."""

    def bare(part: dict[str, Any]) -> dict[str, Any]:
        inner = {key: each for key, each in part["config"].items() if key != "zero_output_for_mask"}
        return {**part, "config": {**inner, "name": inner["name"].removeprefix("forward_").removeprefix("backward_")}}

    def forward(part: dict[str, Any]) -> dict[str, Any]:
        return {**part["config"], "go_backwards": False, "name": ""}

    layer = bare(config["layer"])
    found = {**config, "layer": layer}
    found.pop("backward_layer", None)
    if config.get("backward_layer"):
        backward = bare(config["backward_layer"])
        if backward["class_name"] != layer["class_name"] or forward(backward) != forward(layer):
            found["backward_layer"] = backward
    return found


def _plain(value: Any, to_keras3: bool) -> Any:
    """Values of a config without wrappers of either library, and objects in it as the other library writes them."""
    if isinstance(value, Mapping) and "class_name" in value:
        return _thing(value, to_keras3)
    if isinstance(value, Mapping):
        return {key: _plain(each, to_keras3) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return (
            type(value)(_plain(each, to_keras3) for each in value)
            if type(value) is tuple
            else [_plain(each, to_keras3) for each in value]
        )
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _thing(written: Mapping[str, Any], to_keras3: bool) -> Any:
    """A layer, an initializer, a regularizer or a constraint inside of a config."""
    name, config = written["class_name"], written["config"]
    if name == "DTypePolicy" or name == "Policy":
        return _policy(written)
    if name == "SeedGenerator":
        return config.get("seed")
    if name == "function":
        raise _Misfit(f"the function {config!r}")
    target = library() if to_keras3 else keras
    for room in ("layers", "initializers", "regularizers", "constraints"):
        into = getattr(getattr(target, room), name, None)
        if not inspect.isclass(into):
            continue
        if room == "layers":
            inner = _translated(config, into, to_keras3)
        else:
            inner = {key: _plain(each, to_keras3) for key, each in config.items() if accepts(into, key)}
            lost = [key for key, each in config.items() if key not in inner and each is not None and key != "seed"]
            if lost:
                raise _Misfit(f"{name} with {lost[0]}={config[lost[0]]!r}")
        return {"module": f"keras.{room}", "class_name": name, "config": inner, "registered_name": None}
    raise _Misfit(f"the {name}")


def _policy(value: Any) -> Any:
    """The name of a dtype policy."""
    if isinstance(value, Mapping):
        name = value["config"].get("name")
        if value["class_name"] not in ("DTypePolicy", "Policy") or not isinstance(name, str):
            raise _Misfit(f"dtype {value['class_name']}")
        return name
    return value


def accepts(into: type, key: str) -> bool:
    """Whether a class takes an argument, of its own or through the classes that it hands the rest to."""
    for base in into.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        if key in parameters and key != "self":
            return True
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return False
        if base is keras.layers.Layer:
            return key == "activity_regularizer"
        if base is keras.layers.RNN and key == "zero_output_for_mask":
            return True
    return False


def _is_neutral(key: str, value: Any) -> bool:
    neutral = _DROPPED.get(key, _Misfit)
    if neutral is _ANY or value is None:
        return True
    if isinstance(value, list | tuple):
        return all(each == neutral for each in value)
    return bool(value == neutral)


def _same_activation(name: str) -> bool:
    """Whether both libraries mean the same function by a name."""
    if name in _DIFFERENT:
        return False
    for each in (keras, library()):
        try:
            each.activations.get(name)
        except (ValueError, TypeError):
            return False
    return True

"""What each layer adds to a model's latency, and what it would add with fewer channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.cost.count import macs
from tfprune.cost.latency import latency
from tfprune.cost.timing import in_turns
from tfprune.cost.walk import Call, calls
from tfprune.errors import ModelError, nearest
from tfprune.litert.convert import convert
from tfprune.litert.session import Session

Shares = tuple[float, float]
_FULL, _HALF = (1.0, 1.0), 0.5


@dataclass(frozen=True)
class LayerTimes:
    """What each layer adds to a model's latency, and what it would add with fewer channels.

    Attributes:
        whole_ms: measured median of the whole model.
        corners: by layer, its milliseconds with all and with half of its input channels (rows) and of its output
            channels (columns); those with all sum up to `whole_ms`. A layer that LiteRT merges into the one before it
            takes none.
        scale: `whole_ms` over the sum of what the layers took alone. Near 1 where the machine was quiet all the time.
    """

    whole_ms: float
    corners: Mapping[str, np.ndarray]
    scale: float = 1.0

    @property
    def full(self) -> dict[str, float]:
        """Milliseconds of each layer as it is."""
        return {name: float(corner[0, 0]) for name, corner in self.corners.items()}

    def layer(self, name: str, inputs: float, outputs: float) -> float:
        """Milliseconds of a layer that keeps these shares of its channels, linear in each between what was measured.

        Where inputs and outputs are the same channels, as in a depthwise convolution, the outputs count;
        a MultiHeadAttention's outputs are its heads.
        """
        weights = np.outer(*(_between(share) for share in (inputs, outputs)))
        return max(0.0, float(np.sum(weights * self.corners[name])))

    def predict(self, kept: Mapping[str, Shares]) -> float:
        """Milliseconds of the whole model with some layers narrowed.

        Args:
            kept: layer name -> shares of the input and of the output channels kept, in [0, 1]. Others stay.

        Raises:
            ModelError: no such layer.
        """
        for name in kept:
            if name not in self.corners:
                raise ModelError(f"no layer {name!r} was measured{nearest(name, self.corners)}")
        return sum(self.layer(name, *kept.get(name, _FULL)) for name in self.corners)


def _between(share: float) -> np.ndarray:
    """Weights of what was measured at all and at half of the channels; below half the line goes on."""
    return np.array([share - _HALF, 1 - share]) / (1 - _HALF)


def layer_times(model: keras.Model, *, threads: int = 1, seconds: float = 0.1) -> LayerTimes:
    """Measure every layer alone, and scale the sum to the measured whole.

    A layer is measured at all and at half of its input and output channels in models of one layer, each distinct one
    once. Layers that do little are not measured; their time follows from their work.

    Args:
        model: as in `latency`.
        threads: of the interpreter.
        seconds: for the runs of one layer at all its widths; conversion, about 0.1 s a width, comes on top.

    Raises:
        ModelError: as in `latency`.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(512, input_shape=(512,), name="a")])
        >>> times = layer_times(model)
        >>> times.full["a"] == times.predict({}) == times.whole_ms > times.predict({"a": (1.0, 0.5)})
        True
    """
    whole = latency(model, threads=threads).median_ms
    steps = list(calls(model))
    work = [0 if _is_merged(call.layer) else _work(call) for call in steps]
    least = _LUMPED * sum(work)
    measured: dict[str, np.ndarray | None] = {}
    corners: list[np.ndarray | None] = []
    for call, amount in zip(steps, work, strict=True):
        key = repr((type(call.layer), {**call.layer.get_config(), "name": ""}, call.args, call.kwargs))
        if amount > least and key not in measured:
            measured[key] = _measured(call, threads, seconds)
        corners.append(measured.get(key) if amount > least else None)
    known = sum(amount for amount, corner in zip(work, corners, strict=True) if corner is not None)
    rate = sum(corner[0, 0] for corner in corners if corner is not None) / known if known else 1.0
    found: dict[str, np.ndarray] = {}
    for call, amount, corner in zip(steps, work, corners, strict=True):
        mine = _estimated(call, rate * amount) if corner is None else corner
        found[call.name] = found.get(call.name, 0.0) + mine  # a shared layer has several calls
    scale = whole / (sum(corner[0, 0] for corner in found.values()) or 1.0)
    return LayerTimes(whole, {name: scale * corner for name, corner in found.items()}, scale)


_LUMPED = 0.003  # of all work; what does less is not measured, for its time would be noise
_ELEMENT = 10  # moving one element takes about as long as ten multiply-accumulates
_NARROWED = ("filters", "units", "num_heads", "output_dim")
_GONE = (keras.layers.InputLayer, keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)
_KERNELS = ("Conv", "Dense", "DepthwiseConv", "SeparableConv")


def _work(call: Call) -> float:
    """What a call does, in multiply-accumulates."""
    moved = sum(
        math.prod(size or 1 for size in shape[1:])
        for shape in _shapes([*call.args, *call.kwargs.values(), call.output])
    )
    return macs(call) + _ELEMENT * moved


def _is_merged(layer: keras.layers.Layer) -> bool:
    """Whether LiteRT computes a layer as a part of the one before or behind it, or not at all."""
    if isinstance(layer, _GONE) or type(layer).__name__ in ("SpatialDropout1D", "SpatialDropout2D", "GaussianNoise"):
        return True
    if isinstance(layer, keras.layers.ZeroPadding2D) and len(layer.outbound_nodes) == 1:
        return type(layer.outbound_nodes[0].layer).__name__.startswith(_KERNELS)
    before = layer.inbound_nodes[0].inbound_layers
    if isinstance(before, list) or len(before.outbound_nodes) != 1:
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        is_linear = getattr(before, "activation", None) in (None, keras.activations.linear)
        return is_linear and type(before).__name__.startswith(_KERNELS)
    is_clamp = isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and not layer.threshold
    if is_clamp or (getattr(layer, "activation", None) is keras.activations.relu and not layer.weights):
        return type(before).__name__.startswith((*_KERNELS, "Add", "BatchNormalization"))
    return False


def _estimated(call: Call, milliseconds: float) -> np.ndarray:
    """Corners of a layer that was not measured: its time goes with its work."""
    outputs = np.array([1.0, _HALF])
    return milliseconds * np.outer(outputs if macs(call) else np.ones(2), outputs)


def _measured(call: Call, threads: int, seconds: float) -> np.ndarray | None:
    """Corners of a layer; None where it cannot stand alone."""
    sessions: dict[str, Session] = {}
    keys: dict[Shares, str] = {}
    for inputs, outputs in itertools.product((1.0, _HALF), repeat=2):
        try:
            model = _alone(call, inputs, outputs)
            key = repr((model.input_shape, model.count_params(), model.output_shape))
            if key not in sessions:
                sessions[key] = Session(convert(model), threads)
        except Exception:  # a layer that takes but one width, or whose config is not all that it is made of
            continue
        keys[inputs, outputs] = key
    if _FULL not in keys:
        return None
    # The quickest: what else the machine does slows the others, and the whole's median makes up for the difference.
    runs = in_turns([*sessions.values()], 10, 200, seconds).milliseconds
    times = dict(zip(sessions, map(min, runs), strict=True))
    if len(keys) < 4:
        return _estimated(call, times[keys[_FULL]])
    corner = np.array([[times[keys[i, o]] for o in (1.0, _HALF)] for i in (1.0, _HALF)])
    return np.minimum.accumulate(np.minimum.accumulate(corner, 0), 1)  # fewer channels never cost more


def _alone(call: Call, inputs: float, outputs: float) -> keras.Model:
    """A model of one layer with these shares of its channels. All kernels are ones, so no random state is touched."""
    config = {**call.layer.get_config()}
    if isinstance(call.layer, (keras.layers.Wrapper, keras.layers.Lambda)) or type(call.layer).__name__.endswith(
        "OpLambda"
    ):
        raise ModelError(f"layer {call.name!r} is more than its config")
    if not any(key in config for key in _NARROWED) or config.get("groups", 1) > 1:
        inputs = outputs  # they are the same channels
    for key in (*_NARROWED, "groups"):
        if isinstance(config.get(key), int):
            config[key] = max(1, round(config[key] * outputs))
    for key in ("kernel", "depthwise", "pointwise", "recurrent", "embeddings", "alpha"):
        if f"{key}_initializer" in config:
            config[f"{key}_initializer"] = "ones"
    axis = 1 if config.get("data_format") == "channels_first" else -1
    dtype = "int32" if isinstance(call.layer, keras.layers.Embedding) else "float32"
    tensors: list[Any] = []

    def tensor(value: Any) -> Any:
        if _is_shape(value):
            shape = list(value[1:])
            if shape and dtype == "float32" and (shape[axis if len(shape) > 1 else 0] or 0) >= _FEW:
                place = axis - (axis > 0) if len(shape) > 1 else 0
                shape[place] = round(shape[place] * inputs)
            tensors.append(keras.Input(shape, dtype=dtype, name=f"input_of_{len(tensors)}"))
            return tensors[-1]
        if isinstance(value, (list, tuple)):
            return type(value)(tensor(part) for part in value)
        return {key: tensor(part) for key, part in value.items()} if isinstance(value, dict) else value

    args, kwargs = tensor(call.args), tensor(call.kwargs)
    return keras.Model(tensors, type(call.layer).from_config(config)(*args, **kwargs), name="alone")


_FEW = 4  # colours, and axes of one: no channels that could be halved


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) > (0 if value and value[0] is None else 1)
        and all(size is None or isinstance(size, int) for size in value)
    )


def _shapes(value: Any) -> Iterator[tuple[int | None, ...]]:
    """The shapes of all tensors in a structure."""
    if _is_shape(value):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _shapes(part)

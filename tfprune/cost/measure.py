"""What a model weighs: parameters, zeros, multiply-accumulates and bytes; and how long it takes here."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.cost.count import macs
from tfprune.cost.latency import measure_file
from tfprune.cost.traced import tensorflow_latency
from tfprune.cost.walk import calls
from tfprune.keras3.bridged import arrived
from tfprune.litert.convert import convert
from tfprune.litert.session import check_options
from tfprune.models.prunable import inner_layer, prunable_weights
from tfprune.results import LayerCost, Measurement


def measure(
    model: keras.Model, *, gzipped: bool = True, latency: bool = False, threads: int = 1, batch: int = 1
) -> Measurement:
    """Measure a model, plain or masked; the masks' own variables do not count.

    Nested models are taken apart. A shared layer is one entry with the multiply-accumulates of all its calls;
    a weight that several layers share belongs to the first. Compressing takes about 4 s for 100 MB of weights.

    Latency is that of random inputs, not copied in or out, on this machine's CPU, after a warm-up that ends when runs
    are alike: in LiteRT as a float32 file on XNNPACK, and in TensorFlow as a traced `tf.function` in the model's own
    precision. Each takes some seconds. `Latency.noisy` says where the machine did too much else.

    Args:
        model: Functional or Sequential, built; of tf_keras or Keras 3.
        gzipped: compress the weights as well.
        latency: measure latency, arena and peak memory as well. In TensorFlow a masked model applies its masks in every
            run; `strip` it first to measure what it will be.
        threads: that LiteRT, and each operation of TensorFlow, may use.
        batch: examples a run.

    Raises:
        ModelError: the model has no graph of layers; threads or batch below 1; or with `latency`, an input axis of
            unknown length, an operation that LiteRT does not have, or a model that does not run with this batch.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="out")])
        >>> model.set_weights([np.eye(3, 2), np.ones(2)])
        >>> cost = measure(model)
        >>> cost.parameters, cost.nonzero, cost.prunable, cost.zeros, cost.macs, cost.bytes
        (8, 4, 6, 4, 6, 32)
    """
    check_options(threads, batch)
    model = arrived(model)
    seen: dict[int, tuple[str, Any, tuple[int | None, ...]]] = {}
    work: dict[int, int] = {}
    for call in calls(model):
        key = id(call.layer)
        seen.setdefault(key, (call.name, call.layer, _without_batch(call.output)))
        work[key] = work.get(key, 0) + macs(call)
    values: dict[int, np.ndarray] = {}
    costs = [_layer_cost(name, layer, shape, work[key], values) for key, (name, layer, shape) in seen.items()]
    found = Measurement(
        parameters=sum(cost.parameters for cost in costs),
        nonzero=sum(cost.nonzero for cost in costs),
        prunable=sum(cost.prunable for cost in costs),
        zeros=sum(cost.zeros for cost in costs),
        macs=sum(work.values()),
        bytes=sum(value.nbytes for value in values.values()),
        gzipped_bytes=_gzipped(values.values()) if gzipped else None,
        layers=tuple(costs),
    )
    return _timed(found, model, threads, batch) if latency else found


def _timed(found: Measurement, model: keras.Model, threads: int, batch: int) -> Measurement:
    """Add how long a model takes."""
    file = measure_file(convert(model), threads=threads, batch=batch)
    return replace(
        found,
        litert=file.latency,
        tensorflow=tensorflow_latency(model, threads=threads, batch=batch),
        litert_bytes=file.bytes,
        arena_bytes=file.arena_bytes,
        peak_memory=file.peak_memory,
    )


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of a model for one example.

    >>> count_macs(keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]))
    6
    """
    return sum(macs(call) for call in calls(model))


def _layer_cost(
    name: str, layer: keras.layers.Layer, shape: tuple[int | None, ...], work: int, values: dict[int, np.ndarray]
) -> LayerCost:
    """Count one layer's weights that no layer before it has, and add them to `values`."""
    inner = inner_layer(layer)
    mine = {id(weight): weight.numpy() for weight in inner.weights if id(weight) not in values}
    values.update(mine)
    chosen, reason = prunable_weights(layer)
    prunable = [mine[id(weight)] for weight in chosen if id(weight) in mine]
    return LayerCost(
        # A wrapper is named after what it does; users know the layer by its own name.
        name=name.removesuffix(layer.name) + inner.name,
        kind=type(inner).__name__,
        output_shape=shape,
        parameters=sum(value.size for value in mine.values()),
        nonzero=sum(int(np.count_nonzero(value)) for value in mine.values()),
        prunable=sum(value.size for value in prunable),
        zeros=sum(value.size - int(np.count_nonzero(value)) for value in prunable),
        macs=work,
        reason=reason,
    )


def _without_batch(output: Any) -> tuple[int | None, ...]:
    return output[1:] if isinstance(output, tuple) and not any(isinstance(part, tuple) for part in output) else ()


def _gzipped(values: Iterable[np.ndarray]) -> int:
    # 31 makes zlib write a gzip stream; its time stamp is always zero, so equal weights give equal sizes.
    stream = zlib.compressobj(6, zlib.DEFLATED, 31)
    return sum(len(stream.compress(value.tobytes())) for value in values) + len(stream.flush())

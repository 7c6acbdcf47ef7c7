"""Multiply-accumulates of a layer for one example.

Counted are the products of inputs with weights, and of queries, keys and values with each other. Not counted:
biases, activations, normalization, pooling. An axis of unknown length counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tfprune.backend import keras
from tfprune.cost.walk import Call, Shape, calls

layers = keras.layers


def macs(call: Call) -> int:
    """Return the multiply-accumulates of one call for one example; 0 for a layer of unknown kind.

    Example:
        >>> model = keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(8, 8, 2))])
        >>> [macs(call) for call in calls(model)]  # 6*6 places, a kernel of 3*3*2*4
        [2592]
    """
    for kinds, count in _COUNTERS:
        if isinstance(call.layer, kinds):
            return count(call.layer, call)
    return 0


def _size(dimensions: Iterable[int | None]) -> int:
    return math.prod(1 if size is None else size for size in dimensions)


def _weights(*weights: Any) -> int:
    return sum(_size(weight.shape) for weight in weights)


def _places(shape: Shape, channels: int) -> int:
    """Positions of an image, wherever its channel axis is."""
    return max(1, _size(shape[1:]) // max(1, channels))


# ---------------------------------------------------------------------------------------- convolutions


def _convolution(layer: Any, call: Call) -> int:
    # The kernel of a grouped convolution is (..., inputs per group, filters): its size is the count a place.
    return _places(call.output, layer.filters) * _weights(layer.kernel)


def _transposed(layer: Any, call: Call) -> int:
    # Every input place spreads the whole kernel over the output. Kernels are (..., filters, inputs).
    return _places(call.input, layer.kernel.shape[-1]) * _weights(layer.kernel)


def _depthwise(layer: Any, call: Call) -> int:
    kernel = layer.depthwise_kernel
    return _places(call.output, kernel.shape[-1] * kernel.shape[-2]) * _weights(kernel)


def _separable(layer: Any, call: Call) -> int:
    return _places(call.output, layer.filters) * _weights(layer.depthwise_kernel, layer.pointwise_kernel)


def _locally_connected(layer: Any, call: Call) -> int:
    inputs = call.input[1 if layer.data_format == "channels_first" else -1]
    return _size(call.output[1:]) * _size(layer.kernel_size) * inputs


# ----------------------------------------------------------------------------------- dense and attention


def _dense(layer: Any, call: Call) -> int:
    return _size(call.input[1:-1]) * _weights(layer.kernel)


def _einsum(layer: Any, call: Call) -> int:
    kernel_axes = layer.equation.partition(",")[2].partition("->")[0]
    input_axes = layer.equation.partition(",")[0]
    if "..." in input_axes:
        # Stand-ins for the axes behind the dots, which no kernel axis can equal.
        hidden = len(call.input) - len(input_axes.replace("...", ""))
        input_axes = input_axes.replace("...", "." * hidden)
    pairs = list(zip(input_axes, call.input, strict=True))[1:]
    return _size(size for axis, size in pairs if axis not in kernel_axes) * _weights(layer.kernel)


def _attention(layer: Any, call: Call) -> int:
    query = call.argument(0, "query")
    value = call.argument(1, "value")
    key = call.argument(2, "key") or value
    config = layer.get_config()
    axes = config["attention_axes"] or range(1, len(query) - 1)
    length = _size(query[axis] for axis in axes)
    key_length = _size(key[axis] for axis in axes)
    apart = _size(query[1:-1]) // max(1, length)
    depth = config["key_dim"] + (config["value_dim"] or config["key_dim"])
    products = apart * length * key_length * config["num_heads"] * depth
    return (
        products
        + _size(query[1:-1]) * _weights(layer._query_dense.kernel, layer._output_dense.kernel)
        + _size(key[1:-1]) * _weights(layer._key_dense.kernel)
        + _size(value[1:-1]) * _weights(layer._value_dense.kernel)
    )


# ------------------------------------------------------------------------------------------- recurrence

_CELLS = (layers.GRUCell, layers.LSTMCell, layers.SimpleRNNCell)


def _recurrent(layer: Any, call: Call) -> int:
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    if not all(isinstance(cell, _CELLS) for cell in cells):
        return 0
    sequence = call.input[0] if isinstance(call.input[0], tuple) else call.input
    steps = sequence[0 if layer.time_major else 1]
    return _size([steps]) * sum(_weights(cell.kernel, cell.recurrent_kernel) for cell in cells)


def _convolutional_recurrent(layer: Any, call: Call) -> int:
    """Count both convolutions of each step; the recurrent one keeps the size of the states.

    >>> model = keras.Sequential([layers.ConvLSTM2D(2, 3, input_shape=(5, 8, 8, 1))])
    >>> [macs(call) for call in calls(model)]  # 5 steps, 6*6 places, kernels of 3*3*1*8 and 3*3*2*8
    [38880]
    """
    sequence = call.input[0] if isinstance(call.input[0], tuple) else call.input
    outputs = layer.compute_output_shape(sequence)  # inside Bidirectional, the call does not tell it
    last = outputs[0] if layer.return_state else outputs
    state = (last[0], *last[2:]) if layer.return_sequences else last
    weights = _weights(layer.cell.kernel, layer.cell.recurrent_kernel)
    return _size([sequence[1]]) * _places(state, layer.filters) * weights


def _bidirectional(layer: Any, call: Call) -> int:
    return sum(_inside(part, call, call.input, None) for part in (layer.forward_layer, layer.backward_layer))


def _time_distributed(layer: Any, call: Call) -> int:
    without_time = (call.input[0], *call.input[2:]), (call.output[0], *call.output[2:])
    return _size([call.input[1]]) * _inside(layer.layer, call, *without_time)


def _wrapped(layer: Any, call: Call) -> int:
    return macs(Call(call.name, layer.layer, call.args, call.kwargs, call.output))


def _inside(layer: Any, call: Call, inputs: Any, output: Any) -> int:
    """What a layer or model costs that another layer calls on its own."""
    if isinstance(layer, keras.Model):
        return sum(macs(inner) for inner in calls(layer, [inputs]))
    return macs(Call(call.name, layer, (inputs,), {}, output))


# The first match counts, so subclasses come before what they derive from.
_COUNTERS: tuple[tuple[tuple[type, ...], Callable[[Any, Call], int]], ...] = (
    ((layers.Bidirectional,), _bidirectional),
    ((layers.TimeDistributed,), _time_distributed),
    ((layers.Wrapper,), _wrapped),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    ((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    ((layers.LocallyConnected1D, layers.LocallyConnected2D), _locally_connected),
    ((layers.Dense,), _dense),
    ((layers.EinsumDense,), _einsum),
    ((layers.MultiHeadAttention,), _attention),
    ((layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D), _convolutional_recurrent),
    ((layers.RNN,), _recurrent),
)

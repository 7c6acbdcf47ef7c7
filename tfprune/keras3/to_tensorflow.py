"""Operations in the graph of a Keras 3 model, as TensorFlow does them: one entry each.

Keras 3 brings operands to one type by itself; TensorFlow is told to. So an entry takes the operation, whose settings
are its attributes, the type that Keras 3 gives its output, and the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.keras3.graph import Call

Entry = Callable[..., Any]


def apply_in_tensorflow(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what an operation of Keras 3 does, on tensors of tf_keras.

    Raises:
        ModelError: an operation without an entry, or settings that TensorFlow cannot do.
    """
    operation = call.layer
    kind = type(operation).__name__
    entry = OPERATIONS.get(kind) if type(operation).__module__.startswith("keras.") else None
    if entry is None:
        raise ModelError(
            f"operation {operation.name!r} ({kind}) of Keras 3 has no counterpart in the bridge; put it into a layer "
            "that both Kerases have, or build the model with tf_keras"
        )
    try:
        return entry(operation, _dtype(call), *args, **kwargs)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(
            f"operation {operation.name!r} ({kind}) of Keras 3 cannot be done by TensorFlow as it stands: "
            f"{one_line(error)}"
        ) from error


def _dtype(call: Call) -> Any:
    return tf.as_dtype(call.outputs[0].dtype)


def cast(value: Any, dtype: Any) -> Any:
    """A value of a type; numbers are left to TensorFlow where they fit."""
    if hasattr(value, "_keras_history") or isinstance(value, tf.Tensor):
        return value if value.dtype == dtype else tf.cast(value, dtype)
    if isinstance(value, bool | int | float):
        return float(value) if dtype.is_floating else value
    return tf.constant(np.asarray(value), dtype)


def _common(*values: Any) -> Any:
    """The type that Keras 3 compares values in."""
    types = [each.dtype for each in values if hasattr(each, "dtype")]
    floats = [tf.as_dtype(each) for each in types if tf.as_dtype(each).is_floating]
    if floats:
        return max(floats, key=lambda each: (each.size, each.name))
    if any(isinstance(each, float) for each in values):
        return tf.float32
    return max((tf.as_dtype(each) for each in types), key=lambda each: each.size)


def _axes(axis: Any) -> Any:
    return list(axis) if isinstance(axis, Sequence) else axis


# ------------------------------------------------------------------------------------------ kinds of entries


def _one(function: Callable[[Any], Any]) -> Entry:
    """Of one operand, in the type of the output."""
    return lambda operation, dtype, x: function(cast(x, dtype))


def _as_is(function: Callable[[Any], Any]) -> Entry:
    """Of one operand, in its own type."""
    return lambda operation, dtype, x: function(x)


def _two(function: Callable[[Any, Any], Any]) -> Entry:
    return lambda operation, dtype, x1, x2: function(cast(x1, dtype), cast(x2, dtype))


def _compare(function: Callable[[Any, Any], Any]) -> Entry:
    def entry(operation: Any, dtype: Any, x1: Any, x2: Any) -> Any:
        common = _common(x1, x2)
        return function(cast(x1, common), cast(x2, common))

    return entry


def _logical(function: Callable[..., Any]) -> Entry:
    return lambda operation, dtype, *xs: function(*(cast(each, tf.bool) for each in xs))


def _reduce(function: Callable[..., Any]) -> Entry:
    return lambda operation, dtype, x: function(cast(x, dtype), axis=_axes(operation.axis), keepdims=operation.keepdims)


def _arg(function: Callable[..., Any]) -> Entry:
    def entry(operation: Any, dtype: Any, x: Any) -> Any:
        if operation.axis is None:
            return function(tf.reshape(x, [-1]), axis=0, output_type=dtype)
        found = function(x, axis=operation.axis, output_type=dtype)
        return tf.expand_dims(found, operation.axis) if operation.keepdims else found

    return entry


# ------------------------------------------------------------------------------- entries that need some lines


def _relu(operation: Any, dtype: Any, x: Any) -> Any:
    return keras.activations.relu(x, operation.negative_slope, operation.max_value, operation.threshold)


def _glu(operation: Any, dtype: Any, x: Any) -> Any:
    one, gate = tf.split(x, 2, axis=operation.axis)
    return one * tf.sigmoid(gate)


def _matmul(operation: Any, dtype: Any, x1: Any, x2: Any) -> Any:
    x1, x2 = cast(x1, dtype), cast(x2, dtype)
    if len(x2.shape) == 1:
        return tf.linalg.matvec(x1, x2)
    if len(x1.shape) == 1:
        return tf.squeeze(tf.matmul(tf.expand_dims(x1, 0), x2), -2)
    return tf.matmul(x1, x2)


def _dot(operation: Any, dtype: Any, x1: Any, x2: Any) -> Any:
    x1, x2 = cast(x1, dtype), cast(x2, dtype)
    last = len(x2.shape) - 2 if len(x2.shape) > 1 else 0
    return tf.tensordot(x1, x2, [[len(x1.shape) - 1], [last]])


def _tensordot(operation: Any, dtype: Any, x1: Any, x2: Any) -> Any:
    return tf.tensordot(cast(x1, dtype), cast(x2, dtype), operation.axes)


def _einsum(operation: Any, dtype: Any, *operands: Any) -> Any:
    return tf.einsum(operation.subscripts, *(cast(each, dtype) for each in operands))


def _reshape(operation: Any, dtype: Any, x: Any) -> Any:
    return tf.reshape(x, [-1 if each is None else each for each in operation.newshape])


def _transpose(operation: Any, dtype: Any, x: Any) -> Any:
    return tf.transpose(x, _axes(operation.axes))


def _moved(x: Any, sources: Any, targets: Any) -> Any:
    rank = len(x.shape)
    sources = [each % rank for each in ([sources] if isinstance(sources, int) else sources)]
    targets = [each % rank for each in ([targets] if isinstance(targets, int) else targets)]
    rest = [each for each in range(rank) if each not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        rest.insert(target, source)
    return tf.transpose(x, rest)


def _swapaxes(operation: Any, dtype: Any, x: Any) -> Any:
    order = list(range(len(x.shape)))
    order[operation.axis1], order[operation.axis2] = order[operation.axis2], order[operation.axis1]
    return tf.transpose(x, order)


def _expand_dims(operation: Any, dtype: Any, x: Any) -> Any:
    axes = [operation.axis] if isinstance(operation.axis, int) else list(operation.axis)
    rank = len(x.shape) + len(axes)
    for axis in sorted(each % rank for each in axes):
        x = tf.expand_dims(x, axis)
    return x


def _split(operation: Any, dtype: Any, x: Any) -> Any:
    parts = operation.indices_or_sections
    if isinstance(parts, int):
        return tf.split(x, parts, axis=operation.axis)
    edges = [0, *parts, x.shape[operation.axis]]
    return tf.split(x, np.diff(edges).tolist(), axis=operation.axis)


def _pad(operation: Any, dtype: Any, x: Any, constant_values: Any = None) -> Any:
    width = operation.pad_width
    pairs = [[int(a), int(b)] for a, b in (width if len(width) == len(x.shape) else [width[0]] * len(x.shape))]
    return tf.pad(x, pairs, mode=operation.mode.upper(), constant_values=constant_values or 0)


def _tile(operation: Any, dtype: Any, x: Any) -> Any:
    repeats = [operation.repeats] if isinstance(operation.repeats, int) else list(operation.repeats)
    return tf.tile(x, [1] * (len(x.shape) - len(repeats)) + repeats)


def _flip(operation: Any, dtype: Any, x: Any) -> Any:
    axis = range(len(x.shape)) if operation.axis is None else operation.axis
    return tf.reverse(x, [axis] if isinstance(axis, int) else list(axis))


def _take(operation: Any, dtype: Any, x: Any, indices: Any) -> Any:
    if operation.axis is None:
        return tf.gather(tf.reshape(x, [-1]), indices)
    return tf.gather(x, indices, axis=operation.axis)


def _take_along_axis(operation: Any, dtype: Any, x: Any, indices: Any) -> Any:
    last = len(x.shape) - 1
    if operation.axis not in (-1, last):
        raise ValueError("take_along_axis() along another axis than the last")
    return tf.gather(x, indices, axis=last, batch_dims=last)


def _where(operation: Any, dtype: Any, condition: Any, x1: Any = None, x2: Any = None) -> Any:
    if x1 is None or x2 is None:
        raise ValueError("where() of a condition alone")
    return tf.where(cast(condition, tf.bool), cast(x1, dtype), cast(x2, dtype))


def _clip(operation: Any, dtype: Any, x: Any) -> Any:
    return tf.clip_by_value(cast(x, dtype), operation.x_min, operation.x_max)


def _resize(operation: Any, dtype: Any, images: Any) -> Any:
    if operation.crop_to_aspect_ratio or operation.pad_to_aspect_ratio or operation.data_format == "channels_first":
        raise ValueError("resize() with aspect ratio or channels first")
    found = tf.image.resize(images, operation.size, method=operation.interpolation, antialias=operation.antialias)
    return cast(found, dtype)


def _pool(function: Callable[..., Any]) -> Entry:
    def entry(operation: Any, dtype: Any, inputs: Any) -> Any:
        if operation.data_format == "channels_first":
            raise ValueError("pooling with channels first")
        strides = operation.pool_size if operation.strides is None else operation.strides
        return function(inputs, operation.pool_size, strides, operation.padding.upper())

    return entry


def _epsilon(operation: Any) -> float:
    return float(keras.backend.epsilon() if operation.epsilon is None else operation.epsilon)


def _normalize(operation: Any, dtype: Any, x: Any) -> Any:
    if operation.order != 2:
        raise ValueError(f"normalize() of order {operation.order}")
    return tf.math.l2_normalize(cast(x, dtype), axis=operation.axis, epsilon=_epsilon(operation) ** 2)


def _rms(operation: Any, dtype: Any, x: Any, scale: Any = None) -> Any:
    mean = tf.reduce_mean(tf.square(x), axis=_axes(operation.axis), keepdims=True)
    x = x * tf.math.rsqrt(mean + _epsilon(operation))
    return x if scale is None else x * cast(scale, dtype)


def _round(operation: Any, dtype: Any, x: Any) -> Any:
    if operation.decimals:
        scale = 10.0**operation.decimals
        return tf.round(cast(x, dtype) * scale) / scale
    return tf.round(cast(x, dtype))


OPERATIONS: dict[str, Entry] = {
    "Absolute": _one(tf.abs),
    "Add": _two(tf.add),
    "All": lambda op, dtype, x: tf.reduce_all(cast(x, tf.bool), axis=_axes(op.axis), keepdims=op.keepdims),
    "Amax": _reduce(tf.reduce_max),
    "Amin": _reduce(tf.reduce_min),
    "Any": lambda op, dtype, x: tf.reduce_any(cast(x, tf.bool), axis=_axes(op.axis), keepdims=op.keepdims),
    "Arccos": _one(tf.acos),
    "Arcsin": _one(tf.asin),
    "Arctan": _one(tf.atan),
    "Arctan2": _two(tf.atan2),
    "Argmax": _arg(tf.argmax),
    "Argmin": _arg(tf.argmin),
    "AveragePool": _pool(tf.nn.avg_pool),
    "BroadcastTo": lambda op, dtype, x: tf.broadcast_to(x, op.shape),
    "Cast": lambda op, dtype, x: cast(x, dtype),
    "Ceil": _one(tf.math.ceil),
    "Celu": lambda op, dtype, x: tf.maximum(x, 0.0) + op.alpha * tf.math.expm1(tf.minimum(x, 0.0) / op.alpha),
    "Clip": _clip,
    "Concatenate": lambda op, dtype, xs: tf.concat([cast(each, dtype) for each in xs], axis=op.axis),
    "ConvertToTensor": lambda op, dtype, x: cast(x, dtype),
    "Copy": _as_is(tf.identity),
    "Cos": _one(tf.cos),
    "Cosh": _one(tf.cosh),
    "CountNonzero": lambda op, dtype, x: tf.math.count_nonzero(x, axis=_axes(op.axis), dtype=dtype),
    "Cumprod": lambda op, dtype, x: tf.math.cumprod(cast(x, dtype), axis=op.axis),
    "Cumsum": lambda op, dtype, x: tf.cumsum(cast(x, dtype), axis=op.axis),
    "DepthToSpace": lambda op, dtype, x: tf.nn.depth_to_space(x, op.block_size),
    "Divide": _two(tf.divide),
    "DivideNoNan": _two(tf.math.divide_no_nan),
    "Dot": _dot,
    "Einsum": _einsum,
    "Elu": lambda op, dtype, x: keras.activations.elu(x, op.alpha),
    "Equal": _compare(tf.equal),
    "Erf": _one(tf.math.erf),
    "Exp": _one(tf.exp),
    "ExpandDims": _expand_dims,
    "Expm1": _one(tf.math.expm1),
    "Flip": _flip,
    "Floor": _one(tf.floor),
    "FloorDivide": _two(tf.math.floordiv),
    "Gelu": lambda op, dtype, x: tf.nn.gelu(x, approximate=op.approximate),
    "GetItem": lambda op, dtype, x, key: x[key],
    "Glu": _glu,
    "Greater": _compare(tf.greater),
    "GreaterEqual": _compare(tf.greater_equal),
    "HardSigmoid": _one(lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0)),
    "HardSilu": _one(lambda x: x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0))),
    "HardTanh": _one(lambda x: tf.clip_by_value(x, -1.0, 1.0)),
    "Identity": _as_is(tf.identity),
    "Isfinite": _as_is(tf.math.is_finite),
    "Isinf": _as_is(tf.math.is_inf),
    "Isnan": _as_is(tf.math.is_nan),
    "LeakyRelu": lambda op, dtype, x: tf.nn.leaky_relu(x, alpha=op.negative_slope),
    "Less": _compare(tf.less),
    "LessEqual": _compare(tf.less_equal),
    "Log": _one(tf.math.log),
    "Log10": _one(lambda x: tf.math.log(x) * (1.0 / float(np.log(10.0)))),
    "Log1p": _one(tf.math.log1p),
    "Log2": _one(lambda x: tf.math.log(x) * (1.0 / float(np.log(2.0)))),
    "LogSigmoid": _one(tf.math.log_sigmoid),
    "LogSoftmax": lambda op, dtype, x: tf.nn.log_softmax(x, axis=op.axis),
    "LogicalAnd": _logical(tf.logical_and),
    "LogicalNot": _logical(tf.logical_not),
    "LogicalOr": _logical(tf.logical_or),
    "LogicalXor": _logical(tf.math.logical_xor),
    "Logsumexp": _reduce(tf.reduce_logsumexp),
    "Matmul": _matmul,
    "Max": _reduce(tf.reduce_max),
    "MaxPool": _pool(tf.nn.max_pool),
    "Maximum": _two(tf.maximum),
    "Mean": _reduce(tf.reduce_mean),
    "Min": _reduce(tf.reduce_min),
    "Minimum": _two(tf.minimum),
    "Mod": _two(tf.math.floormod),
    "Moveaxis": lambda op, dtype, x: _moved(x, op.source, op.destination),
    "Multiply": _two(tf.multiply),
    "Negative": _one(tf.negative),
    "Normalize": _normalize,
    "NotEqual": _compare(tf.not_equal),
    "OneHot": lambda op, dtype, x: tf.one_hot(cast(x, tf.int32), op.num_classes, axis=op.axis, dtype=dtype),
    "OnesLike": lambda op, dtype, x: tf.ones_like(x, dtype=dtype),
    "Pad": _pad,
    "Power": _two(tf.pow),
    "Prod": _reduce(tf.reduce_prod),
    "RMSNorm": _rms,
    "Ravel": _as_is(lambda x: tf.reshape(x, [-1])),
    "ReLU": _relu,
    "Reciprocal": _one(tf.math.reciprocal),
    "Relu": _one(tf.nn.relu),
    "Relu6": _one(tf.nn.relu6),
    "Repeat": lambda op, dtype, x: tf.repeat(x, op.repeats, axis=op.axis),
    "Reshape": _reshape,
    "Resize": _resize,
    "Roll": lambda op, dtype, x: tf.roll(x, op.shift, op.axis),
    "Round": _round,
    "Rsqrt": _one(tf.math.rsqrt),
    "Selu": _one(tf.nn.selu),
    "Sigmoid": _one(tf.sigmoid),
    "Sign": _one(tf.sign),
    "Silu": _one(tf.nn.silu),
    "Sin": _one(tf.sin),
    "Sinh": _one(tf.sinh),
    "Softmax": lambda op, dtype, x: tf.nn.softmax(x, axis=op.axis),
    "Softplus": _one(tf.math.softplus),
    "Softsign": _one(tf.math.softsign),
    "SpaceToDepth": lambda op, dtype, x: tf.nn.space_to_depth(x, op.block_size),
    "Split": _split,
    "Sqrt": _one(tf.sqrt),
    "Square": _one(tf.square),
    "Squeeze": lambda op, dtype, x: tf.squeeze(x, _axes(op.axis)),
    "Stack": lambda op, dtype, xs: tf.stack([cast(each, dtype) for each in xs], axis=op.axis),
    "Std": _reduce(tf.math.reduce_std),
    "StopGradient": _as_is(tf.stop_gradient),
    "Subtract": _two(tf.subtract),
    "Sum": _reduce(tf.reduce_sum),
    "Swapaxes": _swapaxes,
    "Take": _take,
    "TakeAlongAxis": _take_along_axis,
    "Tan": _one(tf.tan),
    "Tanh": _one(tf.tanh),
    "TanhShrink": _one(lambda x: x - tf.tanh(x)),
    "Tensordot": _tensordot,
    "Tile": _tile,
    "TopK": lambda op, dtype, x: tf.math.top_k(x, op.k, sorted=op.sorted),
    "Transpose": _transpose,
    "Tril": lambda op, dtype, x: tf.linalg.band_part(x, -1, op.k),
    "Triu": lambda op, dtype, x: tf.linalg.band_part(x, -op.k, -1),
    "TrueDivide": _two(tf.divide),
    "Unstack": lambda op, dtype, x: tf.unstack(x, num=op.num, axis=op.axis),
    "Var": _reduce(tf.math.reduce_variance),
    "Where": _where,
    "ZerosLike": lambda op, dtype, x: tf.zeros_like(x, dtype=dtype),
}
"""By the name of Keras 3's class."""

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "celu": lambda x: tf.maximum(x, 0.0) + tf.math.expm1(tf.minimum(x, 0.0)),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
    "hard_silu": lambda x: x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0)),
    "hard_swish": lambda x: x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0)),
    "hard_tanh": lambda x: tf.clip_by_value(x, -1.0, 1.0),
    "log_sigmoid": tf.math.log_sigmoid,
    "squareplus": lambda x: (x + tf.sqrt(tf.square(x) + 4.0)) * 0.5,
    "tanh_shrink": lambda x: x - tf.tanh(x),
}
"""Activations that tf_keras lacks, or that are another function there."""

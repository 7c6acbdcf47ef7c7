"""TensorFlow operations in the graph of a tf_keras model, as Keras 3 does them: one entry each.

An entry takes `keras.ops` and the arguments by the names that TensorFlow gives them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.keras3.graph import Call
from tfprune.keras3.library import is_tensor, library
from tfprune.keras3.masks import implied_mask

Entry = Callable[..., Any]


@dataclass(frozen=True)
class Sizes:
    """What `tf.shape` gave: the sizes that are known, and None for those that are not."""

    sizes: tuple[int | None, ...]


def apply_in_keras3(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what an operation layer of tf_keras does, on tensors of Keras 3.

    Raises:
        ModelError: an operation without an entry, or settings that Keras 3 cannot do.
    """
    layer = call.layer
    symbol = str(getattr(layer, "symbol", "") or type(layer).__name__)
    entry = OPERATIONS.get(symbol.removeprefix("compat.v1."))
    if entry is None:
        raise ModelError(
            f"operation {layer.name!r} (tf.{symbol}) has no counterpart in Keras 3 that the bridge knows; put it "
            "into a layer that both Kerases have"
        )
    try:
        bound = inspect.signature(layer.function).bind(*args, **kwargs).arguments
        given = {key: _plain(value) for key, value in bound.items() if key != "name" and value is not None}
        return entry(library().ops, **given)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(
            f"operation {layer.name!r} (tf.{symbol}) cannot be done by Keras 3 as it stands: {one_line(error)}"
        ) from error


def _plain(value: Any) -> Any:
    """Constants and types without TensorFlow, so that the model can be written without it."""
    if isinstance(value, tf.Tensor | tf.Variable | np.ndarray | np.generic):
        array = np.asarray(value)
        return array.item() if array.ndim == 0 else array
    if isinstance(value, tf.DType):
        return value.name
    if isinstance(value, tf.TensorShape):
        return list(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _ints(value: Any) -> Any:
    """Axes, sizes and the like as Python numbers; what is not known becomes -1."""
    if isinstance(value, Sizes):
        value = value.sizes
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [-1 if each is None else _ints(each) for each in value]
    return value


# ------------------------------------------------------------------------------------------ kinds of entries


def _one(name: str) -> Entry:
    return _of(1, name)


def _two(name: str) -> Entry:
    return _of(2, name)


def _of(count: int, name: str) -> Entry:
    """Of so many operands, and nothing else."""

    def entry(ops: Any, **given: Any) -> Any:
        if len(given) != count:
            raise ValueError(f"with {', '.join(list(given)[count:])}")
        return getattr(ops, name)(*given.values())

    return entry


def _reduce(name: str) -> Entry:
    def entry(ops: Any, input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axis = _ints(axis)
        return getattr(ops, name)(input_tensor, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)

    return entry


def _arg(name: str) -> Entry:
    def entry(ops: Any, input: Any, axis: Any = 0, output_type: str = "int64") -> Any:
        return ops.cast(getattr(ops, name)(input, axis=_ints(axis)), output_type)

    return entry


# ------------------------------------------------------------------------------- entries that need some lines


def _getitem(ops: Any, tensor: Any, slice_spec: Any, var: Any = None) -> Any:
    """An index; TensorFlow's layer keeps slices as mappings."""
    parts = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    key = tuple(_slice(each) for each in parts)
    if isinstance(tensor, Sizes):
        found = tensor.sizes[key[0]]
        return Sizes(found) if isinstance(found, tuple) else found
    return tensor[key]


def _slice(part: Any) -> Any:
    return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part


def _shape(ops: Any, input: Any, out_type: Any = None) -> Sizes:
    return Sizes(tuple(input.shape))


def _reshape(ops: Any, tensor: Any, shape: Any) -> Any:
    sizes = list(shape.sizes if isinstance(shape, Sizes) else shape)
    if any(is_tensor(each) for each in sizes) or sizes.count(None) > 1:
        raise ValueError("a shape that is computed")
    if None in sizes and -1 in sizes:  # the batch as it was, and the rest of each example
        held = math.prod(each for each in tensor.shape if each is not None)
        sizes[sizes.index(-1)] = held // math.prod(each for each in sizes if each not in (None, -1))
    return ops.reshape(tensor, [-1 if each is None else int(each) for each in sizes])


def _stack(ops: Any, values: Any, axis: int = 0) -> Any:
    if any(is_tensor(each) for each in values):
        return ops.stack(values, axis=axis)
    return Sizes(tuple(values))


def _concat(ops: Any, values: Any, axis: Any) -> Any:
    if any(isinstance(each, Sizes) for each in values):
        parts = [each.sizes if isinstance(each, Sizes) else tuple(_ints(each)) for each in values]
        return Sizes(sum(parts, ()))
    return ops.concatenate(values, axis=_ints(axis))


def _transpose(ops: Any, a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    return ops.transpose(a, _ints(perm))


def _matmul(ops: Any, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, **rest: Any) -> Any:
    if any(value for key, value in rest.items() if key != "output_type"):
        raise ValueError("a matmul of adjoint or sparse matrices")
    return ops.matmul(ops.swapaxes(a, -1, -2) if transpose_a else a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _split(ops: Any, value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None) -> Any:
    parts = _ints(num_or_size_splits)
    if isinstance(parts, list):
        parts = np.cumsum(parts)[:-1].tolist()
    return ops.split(value, parts, axis=_ints(axis))


def _pad(ops: Any, tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    width = tuple(tuple(each) for each in _ints(paddings))
    if mode.lower() == "constant":
        return ops.pad(tensor, width, constant_values=constant_values)
    return ops.pad(tensor, width, mode=mode.lower())


def _clip(ops: Any, t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.clip(t, clip_value_min, clip_value_max)


def _gather(ops: Any, params: Any, indices: Any, axis: Any = None, batch_dims: int = 0) -> Any:
    if batch_dims and batch_dims == len(params.shape) - 1 == len(indices.shape) - 1:
        return ops.take_along_axis(params, indices, axis=-1)
    if batch_dims:
        raise ValueError("gather() with batch_dims")
    return ops.take(params, indices, axis=_ints(axis) or 0)


def _one_hot(
    ops: Any, indices: Any, depth: Any, on_value: Any = 1, off_value: Any = 0, axis: Any = -1, dtype: str = "float32"
) -> Any:
    if (on_value, off_value) != (1, 0):
        raise ValueError("one_hot() of other values than 1 and 0")
    return ops.one_hot(indices, _ints(depth), axis=axis, dtype=dtype)


def _resize(
    ops: Any,
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:
    if preserve_aspect_ratio:
        raise ValueError("resize() that keeps the aspect ratio")
    return ops.image.resize(
        images, tuple(_ints(size)), interpolation=method, antialias=antialias, data_format="channels_last"
    )


def _l2_normalize(ops: Any, x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    total = ops.sum(ops.square(x), axis=_ints(axis), keepdims=True)
    return x * ops.rsqrt(ops.maximum(total, epsilon))


def _squeeze(ops: Any, input: Any, axis: Any = None) -> Any:
    axis = _ints(axis)
    return ops.squeeze(input, tuple(axis) if isinstance(axis, list) else axis)


def _band(ops: Any, input: Any, num_lower: int, num_upper: int) -> Any:
    x = input if num_lower < 0 else ops.triu(input, -num_lower)
    return x if num_upper < 0 else ops.tril(x, num_upper)


def _top_k(ops: Any, input: Any, k: Any = 1, sorted: bool = True, index_type: str = "int32") -> Any:
    return list(ops.top_k(input, _ints(k), sorted=sorted))


def _reverse(ops: Any, tensor: Any, axis: Any) -> Any:
    return ops.flip(tensor, axis=tuple(_ints(axis)))


def _pool(name: str) -> Entry:
    def entry(ops: Any, input: Any, ksize: Any, strides: Any, padding: str, data_format: Any = None) -> Any:
        return getattr(ops, name)(input, _square(ksize), _square(strides), padding.lower(), data_format="channels_last")

    return entry


def _square(size: Any) -> Any:
    size = _ints(size)
    return tuple(size[1:-1]) if isinstance(size, list) and len(size) > 3 else size


OPERATIONS: dict[str, Entry] = {
    "__operators__.add": _two("add"),
    "__operators__.getitem": _getitem,
    "__operators__.eq": _two("equal"),
    "__operators__.ne": _two("not_equal"),
    "abs": _one("absolute"),
    "acos": _one("arccos"),
    "argmax": _arg("argmax"),
    "argmin": _arg("argmin"),
    "asin": _one("arcsin"),
    "atan": _one("arctan"),
    "broadcast_to": lambda ops, input, shape: ops.broadcast_to(input, _ints(shape)),
    "cast": lambda ops, x, dtype: ops.cast(x, dtype),
    "clip_by_value": _clip,
    "concat": _concat,
    "cos": _one("cos"),
    "convert_to_tensor": lambda ops, value, dtype=None: value if dtype is None else ops.cast(value, dtype),
    "einsum": lambda ops, equation, inputs: ops.einsum(equation, *inputs),
    "expand_dims": lambda ops, input, axis: ops.expand_dims(input, _ints(axis)),
    "gather": _gather,
    "identity": lambda ops, input: input if implied_mask(input) is None else ops.copy(input),
    "image.resize": _resize,
    "linalg.band_part": _band,
    "linalg.matmul": _matmul,
    "linalg.matvec": lambda ops, a, b: ops.squeeze(ops.matmul(a, ops.expand_dims(b, -1)), -1),
    "linalg.l2_normalize": _l2_normalize,
    "logical_not": _one("logical_not"),
    "math.abs": _one("absolute"),
    "math.add": _two("add"),
    "math.argmax": _arg("argmax"),
    "math.argmin": _arg("argmin"),
    "math.atan2": _two("arctan2"),
    "math.ceil": _one("ceil"),
    "math.count_nonzero": lambda ops, input, axis=None, keepdims=False, dtype="int64": ops.cast(
        ops.count_nonzero(input, axis=_ints(axis)), dtype
    ),
    "math.cumprod": lambda ops, x, axis=0: ops.cumprod(x, axis=axis),
    "math.cumsum": lambda ops, x, axis=0: ops.cumsum(x, axis=axis),
    "math.divide": _two("divide"),
    "math.divide_no_nan": _two("divide_no_nan"),
    "math.equal": _two("equal"),
    "floor_div": _two("floor_divide"),
    "math.floordiv": _two("floor_divide"),
    "math.floormod": _two("mod"),
    "math.greater": _two("greater"),
    "math.greater_equal": _two("greater_equal"),
    "math.is_finite": _one("isfinite"),
    "math.is_inf": _one("isinf"),
    "math.is_nan": _one("isnan"),
    "math.l2_normalize": _l2_normalize,
    "math.less": _two("less"),
    "math.less_equal": _two("less_equal"),
    "math.log_sigmoid": _one("log_sigmoid"),
    "math.logical_and": _two("logical_and"),
    "math.logical_not": _one("logical_not"),
    "math.logical_or": _two("logical_or"),
    "math.logical_xor": _two("logical_xor"),
    "math.maximum": _two("maximum"),
    "math.minimum": _two("minimum"),
    "math.multiply": _two("multiply"),
    "math.negative": _one("negative"),
    "math.not_equal": _two("not_equal"),
    "math.pow": _two("power"),
    "math.reduce_all": _reduce("all"),
    "math.reduce_any": _reduce("any"),
    "math.reduce_logsumexp": _reduce("logsumexp"),
    "math.reduce_max": _reduce("max"),
    "math.reduce_mean": _reduce("mean"),
    "math.reduce_min": _reduce("min"),
    "math.reduce_prod": _reduce("prod"),
    "math.reduce_std": _reduce("std"),
    "math.reduce_sum": _reduce("sum"),
    "math.reduce_variance": _reduce("var"),
    "math.squared_difference": lambda ops, x, y: ops.square(x - y),
    "math.subtract": _two("subtract"),
    "math.top_k": _top_k,
    "math.truediv": _two("divide"),
    **{
        f"math.{name}": _one(name)
        for name in (
            "cos",
            "cosh",
            "erf",
            "exp",
            "expm1",
            "floor",
            "log1p",
            "log",
            "reciprocal",
            "round",
            "rsqrt",
            "sigmoid",
            "sign",
            "sin",
            "sinh",
            "softplus",
            "sqrt",
            "square",
            "tan",
            "tanh",
        )
    },
    "math.acos": _one("arccos"),
    "math.asin": _one("arcsin"),
    "math.atan": _one("arctan"),
    "nn.avg_pool": _pool("average_pool"),
    "nn.avg_pool2d": _pool("average_pool"),
    "nn.depth_to_space": lambda ops, input, block_size, data_format="NHWC": ops.nn.depth_to_space(input, block_size),
    "nn.elu": _one("elu"),
    "nn.gelu": lambda ops, features, approximate=False: ops.gelu(features, approximate),
    "nn.leaky_relu": lambda ops, features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.log_softmax": lambda ops, logits, axis=-1: ops.log_softmax(logits, axis),
    "nn.max_pool": _pool("max_pool"),
    "nn.max_pool2d": _pool("max_pool"),
    "nn.relu": _one("relu"),
    "nn.relu6": _one("relu6"),
    "nn.selu": _one("selu"),
    "nn.sigmoid": _one("sigmoid"),
    "nn.silu": _one("silu"),
    "nn.softmax": lambda ops, logits, axis=-1: ops.softmax(logits, axis),
    "nn.softplus": _one("softplus"),
    "nn.softsign": _one("softsign"),
    "nn.space_to_depth": lambda ops, input, block_size, data_format="NHWC": ops.nn.space_to_depth(input, block_size),
    "nn.swish": _one("silu"),
    "nn.tanh": _one("tanh"),
    "one_hot": _one_hot,
    "ones_like": lambda ops, input, dtype=None: ops.ones_like(input, dtype=dtype),
    "pad": _pad,
    "repeat": lambda ops, input, repeats, axis=None: ops.repeat(input, _ints(repeats), axis=axis),
    "reshape": _reshape,
    "reverse": _reverse,
    "roll": lambda ops, input, shift, axis: ops.roll(input, _ints(shift), axis=_ints(axis)),
    "round": _one("round"),
    "shape": _shape,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "stop_gradient": _one("stop_gradient"),
    "tensordot": lambda ops, a, b, axes: ops.tensordot(a, b, axes=_ints(axes)),
    "tile": lambda ops, input, multiples: ops.tile(input, _ints(multiples)),
    "transpose": _transpose,
    "unstack": lambda ops, value, num=None, axis=0: ops.unstack(value, num=num, axis=axis),
    "where": lambda ops, condition, x, y: ops.where(condition, x, y),
    "zeros_like": lambda ops, input, dtype=None: ops.zeros_like(input, dtype=dtype),
}
"""By the name of the symbol in TensorFlow, without its prefix."""


ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "hard_sigmoid": lambda ops, x: ops.clip(x * 0.2 + 0.5, 0.0, 1.0),
}
"""Activations that are another function in Keras 3."""

"""Every entry of the two tables of operations does what the operation does, on numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from both import answers, check_round_trip, keras3

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.keras3 import to_operations, to_tensorflow
from tfprune.keras3.convert import from_keras3, to_keras3

ops = keras3.ops
RNG = np.random.default_rng(0)
Make = Callable[[Any], Any]

KERAS3: dict[str, list[Make]] = {
    "Absolute": [ops.absolute],
    "Add": [lambda x: x + 1, lambda x: ops.cast(x * 3, "int32") + 1.5, lambda x: x + np.ones((1, 4, 6), "float32")],
    "All": [lambda x: ops.all(x > -1, axis=1)],
    "Amax": [lambda x: ops.amax(x, axis=-1)],
    "Amin": [lambda x: ops.amin(x, axis=(1, 2))],
    "Any": [lambda x: ops.any(x > 1, axis=-1, keepdims=True)],
    "Arccos": [lambda x: ops.arccos(ops.tanh(x))],
    "Arcsin": [lambda x: ops.arcsin(ops.tanh(x))],
    "Arctan": [ops.arctan],
    "Arctan2": [lambda x: ops.arctan2(x, 1 + x * x)],
    "Argmax": [lambda x: ops.argmax(x, axis=-1), lambda x: ops.argmax(x, axis=1, keepdims=True), ops.argmax],
    "Argmin": [lambda x: ops.argmin(x, axis=-1)],
    "AveragePool": [lambda x: ops.average_pool(ops.expand_dims(x, -1), 2, padding="same")],
    "BroadcastTo": [lambda x: ops.broadcast_to(ops.expand_dims(x[:, 0], 1), (3, 4, 6))],
    "Cast": [lambda x: ops.cast(x, "int32"), lambda x: ops.cast(x, "bool")],
    "Ceil": [ops.ceil],
    "Celu": [lambda x: ops.celu(x, 0.7)],
    "Clip": [lambda x: ops.clip(x, -0.5, 0.3)],
    "Concatenate": [lambda x: ops.concatenate([x, ops.cast(x, "int32")], axis=1)],
    "ConvertToTensor": [lambda x: ops.convert_to_tensor(x, "int32")],
    "Copy": [ops.copy],
    "Cos": [ops.cos],
    "Cosh": [ops.cosh],
    "CountNonzero": [lambda x: ops.count_nonzero(x > 0, axis=1)],
    "Cumprod": [lambda x: ops.cumprod(x, axis=1)],
    "Cumsum": [lambda x: ops.cumsum(x, axis=-1)],
    "DepthToSpace": [lambda x: ops.nn.depth_to_space(ops.reshape(x, (-1, 2, 3, 4)), 2)],
    "Divide": [lambda x: ops.divide(x, 3), lambda x: ops.divide(ops.cast(x * 5, "int32"), 2)],
    "DivideNoNan": [lambda x: ops.divide_no_nan(x, ops.relu(x))],
    "Dot": [lambda x: ops.dot(x, np.ones((6, 2), "float32"))],
    "Einsum": [lambda x: ops.einsum("bij,bkj->bik", x, x)],
    "Elu": [lambda x: ops.elu(x, 0.5)],
    "Equal": [lambda x: ops.equal(ops.cast(x, "int32"), 0)],
    "Erf": [ops.erf],
    "Exp": [ops.exp],
    "ExpandDims": [lambda x: ops.expand_dims(x, 1), lambda x: ops.expand_dims(x, (1, -1))],
    "Expm1": [ops.expm1],
    "Flip": [lambda x: ops.flip(x, axis=1)],
    "Floor": [ops.floor],
    "FloorDivide": [lambda x: x // 0.3],
    "Gelu": [lambda x: ops.gelu(x, approximate=False), lambda x: ops.gelu(x, approximate=True)],
    "GetItem": [lambda x: x[:, 0], lambda x: x[..., ::2], lambda x: x[:, None, 1:3, -1]],
    "Glu": [lambda x: ops.glu(x, axis=-1)],
    "Greater": [lambda x: x > 0.2, lambda x: ops.cast(x, "int32") > 0.5],
    "GreaterEqual": [lambda x: x >= 0],
    "HardSigmoid": [lambda x: ops.hard_sigmoid(x * 3)],
    "HardSilu": [lambda x: ops.hard_silu(x * 3)],
    "HardTanh": [ops.hard_tanh],
    "Isfinite": [lambda x: ops.isfinite(1 / ops.relu(x))],
    "Isinf": [lambda x: ops.isinf(1 / ops.relu(x))],
    "Isnan": [lambda x: ops.isnan(ops.log(x))],
    "LeakyRelu": [lambda x: ops.leaky_relu(x, 0.1)],
    "Less": [lambda x: x < 0.2],
    "LessEqual": [lambda x: x <= 0.2],
    "Log": [lambda x: ops.log(x * x + 1)],
    "Log10": [lambda x: ops.log10(x * x + 1)],
    "Log1p": [lambda x: ops.log1p(x * x)],
    "Log2": [lambda x: ops.log2(x * x + 1)],
    "LogSigmoid": [ops.log_sigmoid],
    "LogSoftmax": [lambda x: ops.log_softmax(x, axis=1)],
    "LogicalAnd": [lambda x: ops.logical_and(x > 0, x < 1)],
    "LogicalNot": [lambda x: ops.logical_not(x > 0)],
    "LogicalOr": [lambda x: ops.logical_or(x > 1, x < 0)],
    "LogicalXor": [lambda x: ops.logical_xor(x > 0, x < 1)],
    "Logsumexp": [lambda x: ops.logsumexp(x, axis=-1)],
    "Matmul": [
        lambda x: x @ ops.transpose(x, (0, 2, 1)),
        lambda x: ops.matmul(x, np.ones(6, "float32")),
        lambda x: ops.matmul(np.ones(4, "float32"), x),
    ],
    "Max": [lambda x: ops.max(x, axis=1), lambda x: ops.max(x, axis=(1, 2), keepdims=True)],
    "MaxPool": [lambda x: ops.max_pool(ops.expand_dims(x, -1), (2, 3), strides=1)],
    "Maximum": [lambda x: ops.maximum(x, 0.1), lambda x: ops.maximum(ops.cast(x, "int32"), 0)],
    "Mean": [lambda x: ops.mean(x, axis=1), lambda x: ops.mean(ops.cast(x * 9, "int32"), axis=-1, keepdims=True)],
    "Min": [lambda x: ops.min(x, axis=-1)],
    "Minimum": [lambda x: ops.minimum(x, 0.1)],
    "Mod": [lambda x: ops.mod(x, 0.7)],
    "Moveaxis": [lambda x: ops.moveaxis(x, 1, -1), lambda x: ops.moveaxis(x, (1, 2), (2, 1))],
    "Multiply": [lambda x: 2 * x, lambda x: x * x],
    "Negative": [lambda x: -x],
    "Normalize": [lambda x: ops.normalize(x, axis=-1)],
    "NotEqual": [lambda x: ops.not_equal(ops.cast(x, "int32"), 0)],
    "OneHot": [lambda x: ops.one_hot(ops.cast(ops.absolute(x), "int32"), 3)],
    "OnesLike": [lambda x: x + ops.ones_like(x)],
    "Pad": [
        lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 3))),
        lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 0)), constant_values=2.0),
        lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 2)), mode="reflect"),
    ],
    "Power": [lambda x: ops.absolute(x) ** 1.5, lambda x: x**2],
    "Prod": [lambda x: ops.prod(x, axis=1)],
    "RMSNorm": [lambda x: ops.rms_normalization(x, np.full(6, 2.0, "float32"), axis=-1)],
    "Ravel": [ops.ravel],
    "ReLU": [lambda x: keras3.activations.relu(x, negative_slope=0.1, max_value=1.0, threshold=0.2)],
    "Reciprocal": [lambda x: ops.reciprocal(x * x + 1)],
    "Relu": [ops.relu],
    "Relu6": [lambda x: ops.relu6(x * 9)],
    "Repeat": [lambda x: ops.repeat(x, 2, axis=1)],
    "Reshape": [lambda x: ops.reshape(x, (-1, 3, 8))],
    "Resize": [
        lambda x: ops.image.resize(ops.expand_dims(x, -1), (7, 9)),
        lambda x: ops.image.resize(ops.expand_dims(x, -1), (3, 4), interpolation="nearest"),
    ],
    "Roll": [lambda x: ops.roll(x, 2, axis=1)],
    "Round": [ops.round, lambda x: ops.round(x, 2)],
    "Rsqrt": [lambda x: ops.rsqrt(x * x + 1)],
    "Selu": [ops.selu],
    "Sigmoid": [ops.sigmoid],
    "Sign": [ops.sign],
    "Silu": [ops.silu],
    "Sin": [ops.sin],
    "Sinh": [ops.sinh],
    "Softmax": [lambda x: ops.softmax(x, axis=1)],
    "Softplus": [ops.softplus],
    "Softsign": [ops.softsign],
    "SpaceToDepth": [lambda x: ops.nn.space_to_depth(ops.reshape(x, (-1, 4, 6, 1)), 2)],
    "Split": [lambda x: ops.split(x, 2, axis=-1), lambda x: ops.split(x, [1, 4], axis=-1)],
    "Sqrt": [lambda x: ops.sqrt(x * x + 1)],
    "Square": [ops.square],
    "Squeeze": [lambda x: ops.squeeze(x[:, :1], 1)],
    "Stack": [lambda x: ops.stack([x, 2 * x], axis=1)],
    "Std": [lambda x: ops.std(x, axis=1)],
    "StopGradient": [lambda x: ops.stop_gradient(2 * x)],
    "Subtract": [lambda x: 1 - x],
    "Sum": [lambda x: ops.sum(x, axis=(1, 2))],
    "Swapaxes": [lambda x: ops.swapaxes(x, 1, -1)],
    "Take": [lambda x: ops.take(x, [0, 2], axis=1), lambda x: ops.take(x, [3, 1])],
    "TakeAlongAxis": [lambda x: ops.take_along_axis(x, ops.argmax(x, axis=-1, keepdims=True), axis=-1)],
    "Tan": [ops.tan],
    "Tanh": [ops.tanh],
    "TanhShrink": [ops.tanh_shrink],
    "Tensordot": [lambda x: ops.tensordot(x, np.ones((6, 2), "float32"), axes=1)],
    "Tile": [lambda x: ops.tile(x, (1, 2, 3)), lambda x: ops.tile(x, (2,))],
    "TopK": [lambda x: list(ops.top_k(x, 2))],
    "Transpose": [lambda x: ops.transpose(x, (0, 2, 1)), ops.transpose],
    "Tril": [ops.tril],
    "Triu": [lambda x: ops.triu(x)],
    "TrueDivide": [lambda x: x / 2],
    "Unstack": [lambda x: ops.unstack(x, axis=1)],
    "Var": [lambda x: ops.var(x, axis=-1)],
    "Where": [lambda x: ops.where(x > 0, x, 0.5)],
    "ZerosLike": [lambda x: x + ops.zeros_like(x)],
}
ONLY_INSIDE = {"Identity": "older versions"}

TENSORFLOW: list[Make] = [
    tf.abs, lambda x: x + 1.0, lambda x: x[:, 1:, ::2], lambda x: x[:, tf.newaxis, 0], lambda x: tf.argmax(x, axis=-1),
    lambda x: tf.argmin(x, axis=1, output_type=tf.int32), lambda x: tf.atan(x), lambda x: tf.asin(tf.tanh(x)),
    lambda x: tf.acos(tf.tanh(x)), lambda x: tf.atan2(x, 1.0 + x * x), lambda x: tf.cast(x, tf.int32),
    lambda x: tf.clip_by_value(x, -0.5, 0.5), lambda x: tf.concat([x, 2.0 * x], axis=-1), tf.cos, tf.cosh, tf.sin,
    tf.sinh, tf.tan, tf.tanh, lambda x: tf.einsum("bij,bkj->bik", x, x), lambda x: tf.expand_dims(x, 1),
    lambda x: tf.gather(x, [0, 2], axis=1), lambda x: tf.identity(x) * 2.0,
    lambda x: tf.image.resize(x[..., tf.newaxis], (7, 5)), lambda x: keras.activations.elu(x, 0.5),
    keras.activations.hard_sigmoid, lambda x: keras.activations.relu(x, 0.1, 1.0, 0.2), keras.activations.softmax,
    lambda x: keras.activations.gelu(x, approximate=True), keras.activations.swish, keras.activations.mish,
    keras.activations.selu, keras.activations.sigmoid, keras.activations.softplus, keras.activations.softsign,
    keras.activations.exponential, lambda x: keras.activations.linear(x) * 2.0, keras.activations.tanh,
    lambda x: tf.linalg.band_part(x, -1, 0), lambda x: tf.linalg.band_part(x, 1, 2),
    lambda x: tf.matmul(x, x, transpose_b=True), lambda x: tf.linalg.matvec(x, x[:, 0]),
    lambda x: tf.math.l2_normalize(x, axis=-1), lambda x: tf.logical_not(x > 0.0), lambda x: tf.math.ceil(x),
    lambda x: tf.math.count_nonzero(x > 0.0, axis=1), lambda x: tf.math.cumprod(x, axis=1), lambda x: tf.cumsum(x, 1),
    lambda x: tf.divide(x, 2.0), lambda x: tf.math.divide_no_nan(x, tf.nn.relu(x)), lambda x: tf.equal(x, x),
    lambda x: x // 0.3, lambda x: x % 0.7, lambda x: x > 0.1, lambda x: x >= 0.1, lambda x: x < 0.1, lambda x: x <= 0.1,
    lambda x: tf.math.is_finite(1.0 / tf.nn.relu(x)), lambda x: tf.math.is_inf(1.0 / tf.nn.relu(x)),
    lambda x: tf.math.is_nan(tf.math.log(x)), tf.math.log_sigmoid, lambda x: (x > 0.0) & (x < 1.0),
    lambda x: tf.logical_or(x > 1.0, x < 0.0), lambda x: tf.math.logical_xor(x > 1.0, x < 0.0),
    lambda x: tf.maximum(x, 0.1), lambda x: tf.minimum(x, 0.1), lambda x: x * x, lambda x: -x,
    lambda x: tf.not_equal(tf.cast(x, tf.int32), 0), lambda x: x**2, lambda x: tf.reduce_all(x > -1.0, axis=1),
    lambda x: tf.reduce_any(x > 1.0, axis=1), lambda x: tf.reduce_logsumexp(x, axis=-1),
    lambda x: tf.reduce_max(x, axis=[1, 2]), lambda x: tf.reduce_mean(x, axis=-1, keepdims=True),
    lambda x: tf.reduce_min(x, axis=1), lambda x: tf.reduce_prod(x, axis=1), lambda x: tf.math.reduce_std(x, axis=1),
    lambda x: tf.reduce_sum(x, axis=1), lambda x: tf.math.reduce_variance(x, axis=1),
    lambda x: tf.math.squared_difference(x, 2.0 * x), lambda x: 1.0 - x, lambda x: list(tf.math.top_k(x, 2)),
    lambda x: x / 2.0, tf.math.erf, tf.exp, tf.math.expm1, tf.floor, lambda x: tf.math.log1p(x * x),
    lambda x: tf.math.log(x * x + 1.0), lambda x: tf.math.reciprocal(x * x + 1.0), tf.round,
    lambda x: tf.math.rsqrt(x * x + 1.0), tf.sigmoid, tf.sign, tf.math.softplus, lambda x: tf.sqrt(x * x), tf.square,
    lambda x: tf.nn.avg_pool2d(x[..., tf.newaxis], 2, 2, "SAME"),
    lambda x: tf.nn.avg_pool(x[..., tf.newaxis], 2, 1, "VALID"),
    lambda x: tf.nn.depth_to_space(tf.reshape(x, (-1, 2, 3, 4)), 2), tf.nn.elu, tf.nn.gelu,
    lambda x: tf.nn.leaky_relu(x, alpha=0.1), tf.nn.log_softmax,
    lambda x: tf.nn.max_pool2d(x[..., tf.newaxis], 2, 2, "SAME"),
    lambda x: tf.nn.max_pool(x[..., tf.newaxis], [1, 2, 3, 1], [1, 1, 1, 1], "VALID"), tf.nn.relu, tf.nn.relu6,
    tf.nn.selu,
    tf.nn.silu, lambda x: tf.nn.softmax(x, axis=1), tf.nn.softsign,
    lambda x: tf.nn.space_to_depth(tf.reshape(x, (-1, 4, 6, 1)), 2),
    lambda x: tf.one_hot(tf.cast(tf.abs(x), tf.int32), 3),
    lambda x: x + tf.ones_like(x), lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=2.0),
    lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 0]], mode="REFLECT"), lambda x: tf.repeat(x, 2, axis=1),
    lambda x: tf.reshape(x, (-1, 3, 8)), lambda x: tf.reverse(x, axis=[1]), lambda x: tf.roll(x, 2, axis=1),
    lambda x: tf.split(x, 2, axis=-1), lambda x: tf.split(x, [1, 3, 2], axis=-1),
    lambda x: tf.squeeze(x[:, :1], axis=[1]),
    lambda x: tf.stack([x, 2.0 * x], axis=1), lambda x: tf.stop_gradient(2.0 * x),
    lambda x: tf.tensordot(x, tf.ones((6, 2)), axes=[[2], [0]]), lambda x: tf.tile(x, [1, 2, 1]),
    lambda x: tf.transpose(x, [0, 2, 1]), lambda x: tf.unstack(x, axis=1), lambda x: tf.where(x > 0.0, x, 0.5 * x),
    lambda x: x + tf.zeros_like(x), lambda x: tf.broadcast_to(x[:1], (3, 4, 6)), lambda x: x[:, 0] == x[:, 1],
    lambda x: x[:, 0] != x[:, 1],
    lambda x: tf.gather(x, tf.argmax(x, axis=-1)[..., tf.newaxis], axis=2, batch_dims=2),
]  # fmt: skip

X = RNG.normal(size=(3, 4, 6)).astype("float32")


@pytest.mark.parametrize("kind, number", [(kind, n) for kind, makes in KERAS3.items() for n in range(len(makes))])
def test_an_operation_of_keras_3(kind, number):
    inputs = keras3.Input((4, 6))
    model = keras3.Model(inputs, KERAS3[kind][number](inputs))
    assert kind in {type(each).__name__ for each in model.operations}
    for one, other in zip(answers(model, X), answers(from_keras3(model), X), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_every_entry_for_keras_3_has_an_example():
    assert set(to_tensorflow.OPERATIONS) == set(KERAS3) | set(ONLY_INSIDE)


@pytest.mark.parametrize("number", range(len(TENSORFLOW)))
def test_an_operation_of_tensorflow(number):
    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, TENSORFLOW[number](inputs))
    for one, other in zip(answers(model, X), answers(to_keras3(model), X), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


OTHER_VERSIONS = {
    "convert_to_tensor",
    "linalg.l2_normalize",
    "linalg.matvec",
    "math.divide",
    "math.floordiv",
    "math.logical_xor",
    "nn.max_pool",
    "nn.sigmoid",
    "nn.softplus",
    "nn.swish",
    "nn.tanh",
    "shape",  # in test_bridge_models.py
}
"""What TensorFlow takes apart, or calls otherwise, in the version at hand, but not in all."""


def test_every_entry_for_tensorflow_has_an_example():
    used = set()
    for make in TENSORFLOW:
        inputs = keras.Input((4, 6))
        layers = keras.Model(inputs, make(inputs)).layers
        used |= {each.symbol.removeprefix("compat.v1.") for each in layers if hasattr(each, "symbol")}
    aliases = {each for each in to_operations.OPERATIONS if f"math.{each}" in used}
    assert set(to_operations.OPERATIONS) - used - aliases <= OTHER_VERSIONS, "an entry without an example"
    assert used <= set(to_operations.OPERATIONS)


def test_settings_that_the_other_does_not_have_are_refused():
    inputs = keras.Input((4, 6))
    with pytest.raises(ModelError, match=r"tf.math.cumsum\) cannot be done by Keras 3 as it stands.*reverse"):
        to_keras3(keras.Model(inputs, tf.cumsum(inputs, axis=1, reverse=True)))
    with pytest.raises(ModelError, match="with batch_dims"):
        to_keras3(keras.Model(inputs, tf.gather(inputs, tf.cast(inputs[:, :, 0], tf.int32), batch_dims=1)))
    inputs = keras3.Input((4, 6))
    with pytest.raises(ModelError, match=r"\(Normalize\) of Keras 3 cannot be done by TensorFlow.*order 1"):
        from_keras3(keras3.Model(inputs, ops.normalize(inputs, order=1)))


def test_operations_come_back():
    inputs = keras3.Input((4, 6))
    x = ops.softmax(inputs @ ops.transpose(inputs, (0, 2, 1)) / 2.0) @ inputs
    check_round_trip(keras3.Model(inputs, ops.mean(x, axis=1)), X, "keras3")

"""What `measure` says about weights, zeros and bytes."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.models.builtin import BUILTIN

layers = keras.layers


class MaskedLike(layers.Wrapper):
    """Holds masks the way a masking wrapper does, and nothing else of it."""

    def build(self, input_shape):
        super().build(input_shape)
        kernel = self.layer.kernel
        mask = self.add_weight("mask", kernel.shape, initializer="ones", trainable=False)
        threshold = self.add_weight("threshold", (), trainable=False)
        self.pruning_vars = [(kernel, mask, threshold)]

    def call(self, inputs):
        return self.layer(inputs)


def small() -> keras.Model:
    model = keras.Sequential(
        [
            layers.Conv2D(2, 3, input_shape=(8, 8, 1), name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dense(3, name="head"),
        ]
    )
    conv = model.get_layer("conv")
    conv.set_weights([np.where(np.arange(18).reshape(3, 3, 1, 2) < 12, 0.0, 1.0), np.zeros(2)])
    return model


def test_counts_weights_and_zeros_layer_by_layer() -> None:
    model = small()
    cost = measure(model)
    conv, norm, depthwise, average, head = cost.layers
    assert (conv.kind, conv.output_shape, conv.parameters, conv.nonzero) == ("Conv2D", (6, 6, 2), 20, 6)
    assert (conv.prunable, conv.zeros, conv.macs, conv.reason) == (18, 12, 36 * 18, "")
    assert (norm.prunable, norm.reason) == (0, "BatchNormalization: scales and statistics are not masked")
    assert depthwise.reason.startswith("DepthwiseConv2D: its few weights matter too much; name the layer")
    assert (average.parameters, average.reason) == (0, "no weights")
    assert (head.prunable, head.zeros) == (6, 0)
    assert cost.parameters == model.count_params()
    assert cost.nonzero == sum(np.count_nonzero(value) for value in model.get_weights())
    assert cost.sparsity == pytest.approx(12 / 24)


def test_bytes_are_those_of_the_weights() -> None:
    model = small()
    cost = measure(model)
    raw = b"".join(value.tobytes() for value in model.get_weights())
    assert cost.bytes == len(raw)
    assert abs(cost.gzipped_bytes - len(gzip.compress(raw, 6, mtime=0))) <= 1
    assert measure(model) == cost


def test_zeros_compress() -> None:
    model = BUILTIN["digits-cnn"]((8, 8, 1), 10)
    dense = measure(model).gzipped_bytes
    kernel = model.get_layer("conv3").kernel
    kernel.assign(np.where(np.random.default_rng(0).random(kernel.shape) < 0.9, 0, kernel.numpy()))
    assert measure(model).gzipped_bytes < 0.6 * dense


def test_weights_count_in_their_own_dtype() -> None:
    inputs = layers.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, dtype="float16")(inputs))
    assert measure(model).bytes == 2 * 10


def test_mixed_precision_counts_its_float32_weights() -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        cost = measure(BUILTIN["digits-cnn"]((8, 8, 1), 10))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert (cost.parameters, cost.bytes) == (56_874, 4 * 56_874)
    assert cost.prunable > 0.98 * cost.parameters


def test_masked_layer_counts_as_the_layer_inside() -> None:
    inputs = layers.Input((4,))
    wrapper = MaskedLike(layers.Dense(3, name="dense"), name="masked_dense")
    model = keras.Model(inputs, wrapper(inputs))
    wrapper.layer.set_weights([np.eye(4, 3), np.ones(3)])
    (cost,) = measure(model).layers
    assert (cost.name, cost.kind, cost.parameters, cost.nonzero) == ("dense", "Dense", 15, 6)
    assert (cost.prunable, cost.zeros, cost.macs, cost.reason) == (12, 9, 12, "")
    assert measure(model).bytes == 4 * 15


def test_nested_models_are_flattened_in_order() -> None:
    deep = keras.Sequential([layers.Dense(3, input_shape=(3,), name="a")], name="deep")
    middle = keras.Sequential([deep, layers.Dense(3, name="b")], name="middle")
    middle.build((None, 3))
    inputs = layers.Input((3,))
    cost = measure(keras.Model(inputs, layers.Dense(1, name="c")(middle(inputs))))
    assert [layer.name for layer in cost.layers] == ["middle/deep/a", "middle/b", "c"]
    assert cost.parameters == 28


def test_frozen_layers_are_not_prunable() -> None:
    model = small()
    model.get_layer("conv").trainable = False
    conv = measure(model).layers[0]
    assert (conv.prunable, conv.zeros) == (0, 0)
    assert conv.reason == "frozen (trainable=False); name the layer in `layers` to prune it"


@pytest.mark.parametrize(("name", "shape"), [("resnet20", (32, 32, 3)), ("text-transformer", (16,))])
def test_builtins_are_mostly_prunable(name: str, shape: tuple[int, ...]) -> None:
    arguments = {"vocabulary": 50} if name == "text-transformer" else {}
    model = BUILTIN[name](shape, 10, **arguments)
    cost = measure(model)
    assert cost.parameters == model.count_params()
    assert 0.95 < cost.prunable / cost.parameters < 1
    assert all(layer.reason or layer.prunable for layer in cost.layers)

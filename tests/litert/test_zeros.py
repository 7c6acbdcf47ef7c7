"""Zeros of a pruned model are found again in its LiteRT file, and missed where they are gone."""

from __future__ import annotations

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.zeros import zeros_kept
from tfprune.models.builtin import BUILTIN

layers = keras.layers


def pruned(model: keras.Model, sparsity: float = 0.8) -> keras.Model:
    """Random weights, a share of zeros in what has axes, and normalizations that scale by more than one sign."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (rng.normal(size=each.shape) for each in layer.get_weights())
            layer.set_weights([gamma, beta, mean, variance**2 + 0.5])
            continue
        for weight in layer.weights:
            value = rng.normal(size=weight.shape)
            weight.assign(np.where(rng.random(weight.shape) < sparsity, 0, value) if value.ndim > 1 else value)
    return model


def sequence(layer: keras.layers.Layer) -> keras.Model:
    inputs = layers.Input((6, 8), name="x")
    is_attention = isinstance(layer, layers.MultiHeadAttention)
    return keras.Model(inputs, layer(inputs, inputs) if is_attention else layer(inputs))


MODELS = {
    "resnet8": lambda: BUILTIN["resnet8"]((16, 16, 3), 10),
    "text-transformer": lambda: BUILTIN["text-transformer"]((8,), 4, vocabulary=20),
    "kinds of convolutions": lambda: keras.Sequential(
        [
            layers.Conv2D(8, 3, input_shape=(9, 9, 4), name="x"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.Conv2DTranspose(4, 2, strides=2),
            layers.SeparableConv2D(8, 3),
            layers.Conv2D(4, 1, groups=2),
        ]
    ),
    "Conv1D": lambda: sequence(layers.Conv1D(8, 3)),
    "MultiHeadAttention": lambda: sequence(layers.MultiHeadAttention(2, 4)),
    "LSTM": lambda: sequence(layers.LSTM(8)),
    "GRU": lambda: sequence(layers.GRU(8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_zeros_of_a_float_file_are_all_there(name: str) -> None:
    model = pruned(MODELS[name]())
    assert zeros_kept(model, convert(model)) == 1


@pytest.mark.parametrize("conversion", ["float16", "dynamic", "sparse", "int8"])
def test_zeros_of_other_files_are_all_there(conversion: str) -> None:
    model = pruned(MODELS["resnet8"]())
    x = np.random.default_rng(0).random((4, 1, 16, 16, 3)).astype(np.float32)
    chosen = {
        "sparse": Conversion(sparse=True),
        "int8": Conversion("int8", lambda: ({"image": each} for each in x), integer_io=True),
    }.get(conversion) or Conversion(conversion)
    assert zeros_kept(model, convert(model, chosen)) == 1


def test_zeros_that_are_gone_are_missed() -> None:
    model = pruned(MODELS["resnet8"]())
    kernels = {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}
    rng = np.random.default_rng(1)
    regrown = 0
    for name, kernel in kernels.items():  # a tenth of the zeros come back, as small weights
        grows = (kernel == 0) & (rng.random(kernel.shape) < 0.1)
        regrown += grows.sum()
        model.get_layer(name).kernel.assign(np.where(grows, 0.1 * rng.normal(size=kernel.shape), kernel))
    content = convert(model)
    for name, kernel in kernels.items():
        model.get_layer(name).kernel.assign(kernel)
    zeros = sum(np.sum(kernel == 0) for kernel in kernels.values())
    assert zeros_kept(model, content) == pytest.approx(1 - regrown / zeros, abs=1e-9)


def test_nothing_to_keep_and_nothing_found() -> None:
    dense = pruned(MODELS["Conv1D"](), sparsity=0)
    assert zeros_kept(dense, convert(dense)) is None
    model = pruned(MODELS["Conv1D"]())
    content = convert(model)
    model.layers[1].kernel.assign(
        np.random.default_rng(5).permutation(model.layers[1].kernel.numpy().ravel()).reshape(3, 8, 8)
    )
    assert zeros_kept(model, content) is None

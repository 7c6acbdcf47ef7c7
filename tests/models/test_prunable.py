"""Which weights can be pruned, and the reasons where none can."""

from __future__ import annotations

import pytest

from tfprune.backend import keras
from tfprune.models.prunable import prunable_weights

layers = keras.layers


class OwnDense(layers.Dense):
    """A subclass that says nothing about pruning."""


class OwnPrunable(OwnDense):
    """A subclass that says what can be pruned."""

    def get_prunable_weights(self):
        return [self.kernel]


class OwnScale(layers.Layer):
    """A layer of its own kind."""

    def build(self, input_shape):
        self.scale = self.add_weight("scale", (1,))


def called(layer: keras.layers.Layer, *shape: int) -> keras.layers.Layer:
    layer(layers.Input(shape))
    return layer


@pytest.mark.parametrize(
    ("layer", "shape", "sizes"),
    [
        (layers.Dense(2), (3,), [(3, 2)]),
        (layers.Conv1D(2, 3), (8, 4), [(3, 4, 2)]),
        (layers.Conv2D(2, 3), (8, 8, 4), [(3, 3, 4, 2)]),
        (layers.Conv3D(2, 3), (8, 8, 8, 4), [(3, 3, 3, 4, 2)]),
        (layers.Conv2DTranspose(2, 3), (8, 8, 4), [(3, 3, 2, 4)]),
        (layers.Conv3DTranspose(2, 3), (8, 8, 8, 4), [(3, 3, 3, 2, 4)]),
        (layers.SeparableConv1D(2, 3), (8, 4), [(1, 4, 2)]),
        (layers.SeparableConv2D(2, 3), (8, 8, 4), [(1, 1, 4, 2)]),
        (layers.Embedding(9, 4), (5,), [(9, 4)]),
        (layers.LSTM(2), (5, 3), [(3, 8), (2, 8)]),
        (layers.GRU(2), (5, 3), [(3, 6), (2, 6)]),
        (layers.SimpleRNN(2), (5, 3), [(3, 2), (2, 2)]),
        (layers.RNN([layers.LSTMCell(2), layers.GRUCell(1)]), (5, 3), [(3, 8), (2, 8), (2, 3), (1, 3)]),
        (OwnPrunable(2), (3,), [(3, 2)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else None,
)
def test_kernels_are_prunable(layer: keras.layers.Layer, shape: tuple[int, ...], sizes: list[tuple[int, ...]]) -> None:
    weights, reason = prunable_weights(called(layer, *shape))
    assert [tuple(weight.shape) for weight in weights] == sizes
    assert reason == ""


def test_attention_has_four_prunable_kernels() -> None:
    inputs = layers.Input((5, 8))
    layer = layers.MultiHeadAttention(2, 4)
    layer(inputs, inputs)
    weights, reason = prunable_weights(layer)
    assert [tuple(weight.shape) for weight in weights] == [(8, 2, 4)] * 3 + [(2, 4, 8)]
    assert reason == ""


@pytest.mark.parametrize(
    ("layer", "shape", "reason"),
    [
        (layers.ReLU(), (3,), "no weights"),
        (layers.DepthwiseConv2D(3), (8, 8, 4), "DepthwiseConv2D: its few weights matter too much"),
        (layers.BatchNormalization(), (3,), "BatchNormalization: scales and statistics are not masked"),
        (layers.LayerNormalization(), (3,), "LayerNormalization: scales and statistics are not masked"),
        (layers.EinsumDense("ab,bc->ac", 2), (3,), "EinsumDense: TF-MOT has no wrapper for it"),
        (layers.Conv1DTranspose(2, 3), (8, 4), "Conv1DTranspose: TF-MOT has no wrapper for it"),
        (layers.Bidirectional(layers.LSTM(2)), (5, 3), "Bidirectional: TF-MOT has no wrapper for it"),
        (layers.Dense(2, trainable=False), (3,), "frozen (trainable=False)"),
        (OwnDense(2), (3,), "class OwnDense is a subclass TF-MOT does not know; give it get_prunable_weights()"),
        (OwnScale(), (3,), "class OwnScale is not known to TF-MOT; give it get_prunable_weights()"),
        (keras.Sequential([layers.Dense(2)]), (3,), "Sequential: a model; its layers are pruned one by one"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else None,
)
def test_the_rest_has_a_reason(layer: keras.layers.Layer, shape: tuple[int, ...], reason: str) -> None:
    weights, given = prunable_weights(called(layer, *shape))
    assert weights == []
    assert given.startswith(reason)


def test_layer_without_weights_yet_says_so() -> None:
    assert prunable_weights(layers.Dense(2)) == ([], "not built yet")

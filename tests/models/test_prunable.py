"""Which weights can be pruned, how they lie as matrices, and the reasons where none can."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.models.prunable import matrix_axes, prunable_weights

layers = keras.layers

BY_NAME = "; name the layer in `layers` to prune it"
FEW = ": its few weights matter too much" + BY_NAME
FROZEN = "frozen (trainable=False)" + BY_NAME


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


class OwnAnswer(OwnScale):
    """A layer with the answer it is told to give."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer  # a function, as Keras would make a variable in a list the layer's own

    def get_prunable_weights(self):
        return self.answer()


class OwnCell(layers.LSTMCell):
    """A subclass of a known cell."""


class MaskedLike(layers.Wrapper):
    """What masks look like from outside."""

    def build(self, input_shape):
        super().build(input_shape)
        self.pruning_vars = [(self.layer.kernel, None, None)]

    def call(self, inputs):
        return self.layer(inputs)


def called(layer: keras.layers.Layer, *shape: int) -> keras.layers.Layer:
    layer(layers.Input(shape))
    return layer


def attention() -> keras.layers.Layer:
    inputs = layers.Input((5, 8))
    layer = layers.MultiHeadAttention(2, 4)
    layer(inputs, inputs)
    return layer


def sizes_of(weights: list[tf.Variable]) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in weights]


def label(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, layers.Layer) else None


# ------------------------------------------------------------------------------------------- prunable

PLAIN = [
    (layers.Dense(2), (3,), [(3, 2)], [(0, 1)]),
    (layers.Conv1D(2, 3), (8, 4), [(3, 4, 2)], [(1, 2)]),
    (layers.Conv2D(2, 3), (8, 8, 4), [(3, 3, 4, 2)], [(2, 3)]),
    (layers.Conv2D(2, 3, groups=2), (8, 8, 4), [(3, 3, 2, 2)], [(2, 3)]),
    (layers.Conv3D(2, 3), (8, 8, 8, 4), [(3, 3, 3, 4, 2)], [(3, 4)]),
    (layers.Conv1DTranspose(2, 3), (8, 4), [(3, 2, 4)], [(2, 1)]),
    (layers.Conv2DTranspose(2, 3), (8, 8, 4), [(3, 3, 2, 4)], [(3, 2)]),
    (layers.Conv3DTranspose(2, 3), (8, 8, 8, 4), [(3, 3, 3, 2, 4)], [(4, 3)]),
    (layers.SeparableConv1D(2, 3), (8, 4), [(1, 4, 2)], [(1, 2)]),
    (layers.SeparableConv2D(2, 3), (8, 8, 4), [(1, 1, 4, 2)], [(2, 3)]),
    (layers.LocallyConnected1D(2, 3), (8, 4), [(6, 12, 2)], [None]),
    (layers.LocallyConnected2D(2, 3), (4, 4, 4), [(4, 36, 2)], [None]),
    (layers.Embedding(9, 4), (5,), [(9, 4)], [None]),
    (layers.EinsumDense("...x,xy->...y", 2), (5, 3), [(3, 2)], [(0, 1)]),
    (layers.EinsumDense("abc,cde->abde", (None, 2, 4)), (5, 3), [(3, 2, 4)], [(0, 2)]),
    (layers.EinsumDense("abcd,cde->abe", (None, 4)), (5, 2, 3), [(2, 3, 4)], [(1, 2)]),
    (layers.EinsumDense("ab,b->ab", 3), (3,), [(3,)], [None]),
    (layers.LSTM(2), (5, 3), [(3, 8), (2, 8)], [(0, 1)] * 2),
    (layers.GRU(2), (5, 3), [(3, 6), (2, 6)], [(0, 1)] * 2),
    (layers.SimpleRNN(2), (5, 3), [(3, 2), (2, 2)], [(0, 1)] * 2),
    (layers.RNN([layers.LSTMCell(2), layers.GRUCell(1)]), (5, 3), [(3, 8), (2, 8), (2, 3), (1, 3)], [(0, 1)] * 4),
    (layers.ConvLSTM1D(2, 3), (5, 8, 4), [(3, 4, 8), (3, 2, 8)], [(1, 2)] * 2),
    (layers.ConvLSTM2D(2, 3), (5, 8, 8, 4), [(3, 3, 4, 8), (3, 3, 2, 8)], [(2, 3)] * 2),
    (layers.ConvLSTM3D(2, 3), (2, 4, 4, 4, 1), [(3, 3, 3, 1, 8), (3, 3, 3, 2, 8)], [(3, 4)] * 2),
    (OwnPrunable(2), (3,), [(3, 2)], [(0, 1)]),
]
NESTED = [
    (layers.Bidirectional(layers.LSTM(2)), (5, 3), [(3, 8), (2, 8)] * 2, [(0, 1)] * 4),
    (
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.GRU(1, go_backwards=True)),
        (5, 3),
        [(3, 8), (2, 8), (3, 3), (1, 3)],
        [(0, 1)] * 4,
    ),
    (layers.Bidirectional(layers.ConvLSTM1D(2, 3)), (5, 8, 4), [(3, 4, 8), (3, 2, 8)] * 2, [(1, 2)] * 4),
    (layers.TimeDistributed(layers.Conv2D(2, 3)), (5, 8, 8, 4), [(3, 3, 4, 2)], [(2, 3)]),
    (layers.TimeDistributed(layers.Bidirectional(layers.GRU(2))), (7, 5, 3), [(3, 6), (2, 6)] * 2, [(0, 1)] * 4),
    (layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2))), (7, 5, 3), [(3, 2)], [(0, 1)]),
    (
        layers.TimeDistributed(
            keras.Sequential([layers.Conv1D(2, 3), layers.BatchNormalization(), keras.Sequential([layers.Dense(4)])])
        ),
        (7, 5, 3),
        [(3, 3, 2), (2, 4)],
        [(1, 2), (0, 1)],
    ),
]


@pytest.mark.parametrize(("layer", "shape", "sizes", "axes"), PLAIN + NESTED, ids=label)
def test_kernels_are_prunable(layer, shape, sizes, axes) -> None:
    weights, reason = prunable_weights(called(layer, *shape))
    assert sizes_of(weights) == sizes
    assert reason == ""
    assert matrix_axes(layer) == axes


def test_attention_has_four_prunable_kernels() -> None:
    layer = attention()
    weights, reason = prunable_weights(layer)
    assert sizes_of(weights) == [(8, 2, 4)] * 3 + [(2, 4, 8)]
    assert reason == ""
    assert matrix_axes(layer) == [(0, 2)] * 3 + [(1, 2)]


@pytest.mark.parametrize("kind", [layers.DepthwiseConv1D, layers.DepthwiseConv2D])
def test_depthwise_kernels_are_left_alone_unless_asked_for(kind) -> None:
    layer = called(kind(3), *[8] * (2 if kind is layers.DepthwiseConv2D else 1), 4)
    assert prunable_weights(layer) == ([], kind.__name__ + FEW)
    assert matrix_axes(layer) == []
    assert prunable_weights(layer, asked=True) == ([layer.depthwise_kernel], "")
    assert matrix_axes(layer, asked=True) == [None]


@pytest.mark.parametrize("kind", [layers.SeparableConv1D, layers.SeparableConv2D])
def test_separable_layers_give_their_depthwise_kernel_when_asked(kind) -> None:
    layer = called(kind(2, 3), *[8] * (2 if kind is layers.SeparableConv2D else 1), 4)
    pointwise, depthwise = prunable_weights(layer, asked=True)[0]
    assert pointwise is layer.pointwise_kernel and depthwise is layer.depthwise_kernel
    rank = len(layer.pointwise_kernel.shape)
    assert matrix_axes(layer, asked=True) == [(rank - 2, rank - 1), None]


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (layers.Dense(2, trainable=False), (3,), 1),
        (layers.DepthwiseConv2D(3, trainable=False), (8, 8, 4), 1),
        (layers.Bidirectional(layers.LSTM(2), trainable=False), (5, 3), 4),
        (layers.TimeDistributed(layers.Dense(2, trainable=False)), (5, 3), 1),
        (layers.TimeDistributed(keras.Sequential([layers.Dense(2)]), trainable=False), (5, 3), 1),
    ],
    ids=label,
)
def test_frozen_layers_are_left_alone_unless_asked_for(layer, shape, count) -> None:
    assert prunable_weights(called(layer, *shape)) == ([], FROZEN)
    weights, reason = prunable_weights(layer, asked=True)
    assert (len(weights), reason) == (count, "")
    assert len(matrix_axes(layer, asked=True)) == count


def test_frozen_parts_of_a_layer_are_left_alone_unless_asked_for() -> None:
    both = called(layers.Bidirectional(layers.LSTM(2)), 5, 3)
    both.forward_layer.trainable = False
    assert sizes_of(prunable_weights(both)[0]) == [(3, 8), (2, 8)]
    assert prunable_weights(both)[0][0] is both.backward_layer.cell.kernel
    assert len(prunable_weights(both, asked=True)[0]) == 4


def test_each_cause_of_leaving_a_part_alone_is_told() -> None:
    inner = keras.Sequential([layers.Dense(4, trainable=False), layers.Reshape((2, 2)), layers.DepthwiseConv1D(2)])
    layer = called(layers.TimeDistributed(inner), 5, 3)
    assert prunable_weights(layer)[1] == "DepthwiseConv1D: its few weights matter too much; " + FROZEN
    assert matrix_axes(layer, asked=True) == [(0, 1), None]


def test_weight_that_layers_of_a_model_share_comes_once() -> None:
    shared = layers.Dense(3)
    inner = keras.Sequential([keras.Sequential([shared]), shared])
    layer = called(layers.TimeDistributed(inner), 5, 3)
    assert sizes_of(prunable_weights(layer)[0]) == [(3, 3)]


def test_wrapper_with_masks_gives_what_they_mask() -> None:
    layer = called(MaskedLike(layers.Conv2DTranspose(2, 3)), 8, 8, 4)
    layer.trainable = False
    assert [weight is layer.layer.kernel for weight in prunable_weights(layer)[0]] == [True]
    assert matrix_axes(layer) == [(3, 2)]


def test_wrapper_with_masks_on_a_layer_of_any_class_gives_them() -> None:
    layer = called(MaskedLike(OwnDense(2)), 3)
    assert prunable_weights(layer) == ([layer.layer.kernel], "")
    assert matrix_axes(layer) == [None]


def test_wrapper_without_masks_yet_is_seen_through() -> None:
    layer = MaskedLike(layers.BatchNormalization())
    layer.pruning_vars = []
    layer.layer.build((None, 3))
    assert prunable_weights(layer) == ([], "BatchNormalization: scales and statistics are not masked")


def test_mixed_precision_weights_are_their_layer_s_own() -> None:
    layer = called(OwnPrunable(2, dtype="mixed_bfloat16"), 3)
    weights, reason = prunable_weights(layer)
    assert reason == "" and weights[0] is layer.kernel
    assert matrix_axes(called(layers.LSTM(2, dtype="mixed_bfloat16"), 5, 3)) == [(0, 1)] * 2


# -------------------------------------------------------------------------- axes against what layers do


def reached(layer: keras.layers.Layer, weight: tf.Variable, *shape: int) -> np.ndarray:
    """Which entries of a weight take part in one output, that of channel 0 in the middle."""
    rng = np.random.default_rng(0)
    for each in layer.weights:
        each.assign(rng.uniform(0.01, 0.05, each.shape))  # no gate saturates
    inputs = tf.constant(rng.uniform(0.1, 1, (1, *shape)), tf.float32)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
        output = outputs[(0, *[size // 2 for size in outputs.shape[1:-1]], 0)]
    return np.abs(tape.gradient(output, weight)) > 0


# Recurrent layers see one step where the kernel is looked at and two where the recurrent kernel is, so that an output
# meets the weight once; what one unit owns are the columns of its gates.
@pytest.mark.parametrize(
    ("layer", "shape", "index", "outputs"),
    [
        (layers.Dense(5), (3,), 0, 5),
        (layers.Conv1D(5, 3), (8, 4), 0, 5),
        (layers.Conv2D(6, 3, groups=2), (8, 8, 4), 0, 6),
        (layers.Conv3D(5, 2), (3, 3, 3, 4), 0, 5),
        (layers.Conv1DTranspose(5, 3), (8, 4), 0, 5),
        (layers.Conv2DTranspose(5, 3), (8, 8, 4), 0, 5),
        (layers.Conv3DTranspose(5, 2), (3, 3, 3, 4), 0, 5),
        (layers.SeparableConv1D(5, 3), (8, 4), 0, 5),
        (layers.SeparableConv2D(5, 3, depth_multiplier=2), (8, 8, 4), 0, 5),
        (layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (4, 3), 0, 5),
        (layers.EinsumDense("abc,edc->abde", (None, 2, 5)), (4, 3), 0, 2),
        (layers.EinsumDense("abcd,cde->abe", (None, 5)), (4, 2, 3), 0, 5),
        (layers.EinsumDense("abc,cb->ab", 4), (4, 3), 0, 4),
        (layers.EinsumDense("...x,yx->...y", 5), (4, 3), 0, 5),
        (layers.EinsumDense("ab...,bc->ac...", 5), (4, 1), 0, 5),
        *[
            (kind(*arguments), (index + 1, *shape), index, 2)
            for index, (kind, arguments, shape) in product(
                (0, 1),
                [
                    (layers.SimpleRNN, (2,), (3,)),
                    (layers.GRU, (2,), (3,)),
                    (layers.LSTM, (2,), (3,)),
                    (layers.ConvLSTM1D, (2, 3), (5, 3)),
                    (layers.ConvLSTM2D, (2, 3), (5, 5, 3)),
                    (layers.ConvLSTM3D, (2, 2), (3, 3, 3, 2)),
                ],
            )
        ],
    ],
    ids=label,
)
def test_an_output_sums_over_the_input_axis_and_owns_its_place_on_the_output_axis(layer, shape, index, outputs) -> None:
    called(layer, *shape)
    weight, (inward, outward) = prunable_weights(layer)[0][index], matrix_axes(layer)[index]
    seen = np.argwhere(reached(layer, weight, *shape))
    assert set(seen[:, inward]) == set(range(weight.shape[inward]))
    assert len({place % outputs for place in seen[:, outward]}) == 1


# -------------------------------------------------------------------------------------------- reasons

HINT = "; give it get_prunable_weights()"
RNN_CELL = "RNN: its cell OwnCell is not of a known class; subclass RNN with get_prunable_weights()"
ANSWERS = "OwnAnswer: its get_prunable_weights() gives "


@pytest.mark.parametrize(
    ("layer", "shape", "reason"),
    [
        (layers.ReLU(), (3,), "no weights"),
        (layers.BatchNormalization(), (3,), "BatchNormalization: scales and statistics are not masked"),
        (layers.LayerNormalization(), (3,), "LayerNormalization: scales and statistics are not masked"),
        (layers.BatchNormalization(trainable=False), (3,), "BatchNormalization: scales and statistics are not masked"),
        (layers.PReLU(), (3,), "PReLU: not among the kinds of layers that can be pruned"),
        (
            layers.SpectralNormalization(layers.Dense(2)),
            (3,),
            "SpectralNormalization: it rewrites the kernel of its layer in training",
        ),
        (layers.RNN(OwnCell(2)), (5, 3), RNN_CELL),
        (layers.RNN([layers.LSTMCell(2), OwnCell(2)]), (5, 3), RNN_CELL),
        (layers.TimeDistributed(layers.RNN(OwnCell(2))), (7, 5, 3), RNN_CELL),
        (
            layers.TimeDistributed(keras.Sequential([layers.BatchNormalization(), layers.ReLU(), layers.PReLU()])),
            (5, 3),
            "BatchNormalization: scales and statistics are not masked; "
            "PReLU: not among the kinds of layers that can be pruned",
        ),
        (layers.TimeDistributed(layers.ReLU()), (5, 3), "no weights"),
        (OwnDense(2), (3,), "class OwnDense may use its weights in another way than Dense" + HINT),
        (OwnScale(), (3,), "class OwnScale is not a known layer" + HINT),
        (OwnAnswer(lambda: []), (3,), ANSWERS + "none"),
        (OwnAnswer(lambda: None), (3,), ANSWERS + "NoneType, not a list of the layer's own variables"),
        (OwnAnswer(lambda: [3]), (3,), ANSWERS + "something else than the layer's own variables"),
        (
            OwnAnswer(lambda: [tf.Variable(1.0)]),
            (3,),
            ANSWERS + "something else than the layer's own variables",
        ),
        (keras.Sequential([layers.Dense(2)]), (3,), "Sequential: a model; its layers are pruned one by one"),
    ],
    ids=label,
)
def test_the_rest_has_a_reason(layer: keras.layers.Layer, shape: tuple[int, ...], reason: str) -> None:
    assert prunable_weights(called(layer, *shape), asked=True) == ([], reason)
    assert prunable_weights(layer) == ([], reason)
    assert matrix_axes(layer, asked=True) == []


@pytest.mark.parametrize(
    "layer",
    [layers.Dense(2), layers.TimeDistributed(keras.Sequential([layers.Dense(2)])), layers.MultiHeadAttention(2, 4)],
)
def test_layer_without_weights_yet_says_so(layer: keras.layers.Layer) -> None:
    assert prunable_weights(layer) == ([], "not built yet")


def test_model_without_weights_yet_is_still_a_model() -> None:
    model = keras.Sequential([layers.Dense(2)])
    assert prunable_weights(model) == ([], "Sequential: a model; its layers are pruned one by one")

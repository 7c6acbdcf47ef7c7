"""Multiply-accumulates against hand counts and against TensorFlow's own profiler."""

from __future__ import annotations

import pytest

from tfprune.backend import keras, tf
from tfprune.cost.measure import measure
from tfprune.errors import ModelError
from tfprune.models.builtin import BUILTIN

layers = keras.layers


def macs_of(layer: keras.layers.Layer, *shape: int) -> int:
    inputs = layers.Input(shape)
    return measure(keras.Model(inputs, layer(inputs))).macs


def profiled(model: keras.Model) -> float:
    """Half of the floating-point operations that TensorFlow counts on the frozen graph for one example."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    signature = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
    _, definition = convert_variables_to_constants_v2_as_graph(concrete)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        figures = tf.compat.v1.profiler.profile(
            graph=graph, run_meta=tf.compat.v1.RunMetadata(), cmd="op", options=options
        )
    return figures.total_float_ops / 2


HAND_COUNTED = [
    (layers.Dense(5), (3,), 3 * 5),
    (layers.Dense(5), (7, 3), 7 * 3 * 5),
    (layers.Conv1D(4, 3, padding="same", strides=2), (10, 2), 5 * 3 * 2 * 4),
    (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (10, 2), 10 * 3 * 2 * 4),
    (layers.Conv2D(4, (3, 2)), (8, 8, 2), 6 * 7 * 3 * 2 * 2 * 4),
    (layers.Conv2D(6, 3, groups=2), (8, 8, 4), 6 * 6 * 3 * 3 * 2 * 6),
    (layers.Conv2D(4, 3, data_format="channels_first"), (2, 8, 8), 6 * 6 * 3 * 3 * 2 * 4),
    (layers.Conv3D(4, 3), (5, 5, 5, 2), 27 * 27 * 2 * 4),
    (layers.Conv1DTranspose(4, 3, strides=2), (10, 2), 10 * 3 * 2 * 4),
    (layers.Conv2DTranspose(4, 3, strides=2), (5, 5, 2), 25 * 9 * 2 * 4),
    (layers.Conv3DTranspose(4, 2), (3, 3, 3, 2), 27 * 8 * 2 * 4),
    (layers.DepthwiseConv1D(3, depth_multiplier=2), (10, 4), 8 * 3 * 4 * 2),
    (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), 36 * 9 * 4 * 2),
    (layers.SeparableConv1D(6, 3, depth_multiplier=2), (10, 4), 8 * (3 * 4 * 2 + 4 * 2 * 6)),
    (layers.SeparableConv2D(6, 3), (8, 8, 4), 36 * (9 * 4 + 4 * 6)),
    (layers.LocallyConnected1D(6, 3), (10, 4), 8 * 6 * 3 * 4),
    (layers.LocallyConnected2D(6, 3, implementation=2), (8, 8, 4), 36 * 6 * 9 * 4),
    (layers.EinsumDense("abc,cd->abd", output_shape=(None, 6)), (5, 4), 5 * 4 * 6),
    (layers.EinsumDense("...x,xyz->...yz", output_shape=(2, 6)), (5, 7, 4), 35 * 4 * 2 * 6),
    (layers.SimpleRNN(6), (5, 4), 5 * (4 * 6 + 6 * 6)),
    (layers.GRU(6), (5, 4), 5 * 3 * (4 * 6 + 6 * 6)),
    (layers.LSTM(6, return_sequences=True), (5, 4), 5 * 4 * (4 * 6 + 6 * 6)),
    (layers.RNN([layers.LSTMCell(6), layers.GRUCell(3)]), (5, 4), 5 * (4 * (24 + 36) + 3 * (18 + 9))),
    (layers.Bidirectional(layers.LSTM(6)), (5, 4), 2 * 5 * 4 * (4 * 6 + 6 * 6)),
    (layers.TimeDistributed(layers.Conv2D(4, 3)), (5, 8, 8, 2), 5 * 36 * 9 * 2 * 4),
    (layers.TimeDistributed(keras.Sequential([layers.Dense(3), layers.Dense(2)])), (5, 4), 5 * (12 + 6)),
    (layers.BatchNormalization(), (8, 8, 4), 0),
    (layers.ConvLSTM1D(2, 3), (5, 8, 3), 5 * 6 * 4 * 2 * 3 * (3 + 2)),
    (layers.ConvLSTM2D(2, 3), (5, 8, 8, 3), 5 * 36 * 4 * 2 * 9 * (3 + 2)),
    (layers.ConvLSTM2D(2, 3, return_sequences=True, padding="same"), (5, 8, 8, 3), 5 * 64 * 4 * 2 * 9 * (3 + 2)),
    (layers.ConvLSTM2D(2, 3, data_format="channels_first"), (5, 3, 8, 8), 5 * 36 * 4 * 2 * 9 * (3 + 2)),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), HAND_COUNTED, ids=lambda value: getattr(value, "name", None))
def test_layer_costs_what_a_hand_count_says(layer: keras.layers.Layer, shape: tuple[int, ...], expected: int) -> None:
    assert macs_of(layer, *shape) == expected


def test_attention_counts_projections_and_products() -> None:
    query, value = layers.Input((5, 8)), layers.Input((7, 6))
    outputs = layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(query, value)
    projections = 5 * 8 * 2 * 3 + 7 * 6 * 2 * 3 + 7 * 6 * 2 * 4 + 5 * 2 * 4 * 8
    products = 5 * 7 * 2 * (3 + 4)
    assert measure(keras.Model([query, value], outputs)).macs == projections + products


def test_attention_finds_key_and_value_given_by_keyword() -> None:
    query, value, key = layers.Input((5, 8)), layers.Input((7, 6)), layers.Input((7, 2))
    outputs = layers.MultiHeadAttention(2, 3)(query, value=value, key=key)
    expected = 2 * 5 * 8 * 6 + 7 * 6 * 6 + 7 * 2 * 6 + 5 * 7 * 2 * 6
    assert measure(keras.Model([query, value, key], outputs)).macs == expected


def test_attention_over_one_axis_keeps_the_others_apart() -> None:
    inputs = layers.Input((4, 5, 8))
    outputs = layers.MultiHeadAttention(2, 3, attention_axes=(2,))(inputs, inputs)
    assert measure(keras.Model(inputs, outputs)).macs == 4 * 20 * 8 * 6 + 4 * 5 * 5 * 2 * 6


def test_shared_layer_counts_once_a_call() -> None:
    shared = layers.Dense(4, name="shared")
    inputs = layers.Input((4,))
    cost = measure(keras.Model(inputs, shared(shared(shared(inputs)))))
    assert cost.macs == 3 * 16
    assert cost.parameters == 20
    assert [layer.name for layer in cost.layers] == ["shared"]


def test_nested_model_called_twice_counts_twice() -> None:
    inner = keras.Sequential([layers.Dense(4, input_shape=(4,), name="dense")], name="inner")
    inputs = layers.Input((4,))
    cost = measure(keras.Model(inputs, layers.Dense(2, name="head")(inner(inner(inputs)))))
    assert {layer.name: layer.macs for layer in cost.layers} == {"inner/dense": 32, "head": 8}


def test_nested_model_of_any_size_counts_at_the_size_it_is_called_with() -> None:
    anywhere = layers.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", strides=2)(anywhere)
    inner = keras.Model(anywhere, layers.Conv2D(5, 1)(layers.ReLU()(x)))
    inputs = layers.Input((8, 8, 3))
    assert measure(keras.Model(inputs, inner(inputs))).macs == 16 * 9 * 3 * 4 + 16 * 4 * 5


def test_axis_of_unknown_length_counts_as_one() -> None:
    inputs = layers.Input((None, 4))
    assert measure(keras.Model(inputs, layers.LSTM(6)(inputs))).macs == 4 * (24 + 36)


def test_model_without_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="has no graph of layers"):
        measure(keras.Sequential([layers.Dense(2)]))


def upsampler() -> keras.Model:
    inputs = layers.Input((8, 8, 3))
    return keras.Model(inputs, layers.Conv2DTranspose(6, 2, strides=2, use_bias=False)(inputs))


def mobilenet() -> keras.Model:
    return keras.applications.MobileNet((96, 96, 1), alpha=0.25, weights=None, classes=2)


PROFILED = {
    "digits-cnn": lambda: BUILTIN["digits-cnn"]((8, 8, 1), 10),
    "resnet8": lambda: BUILTIN["resnet8"]((32, 32, 3), 10),
    "mobilenet": mobilenet,
    "upsampler": upsampler,
}


@pytest.mark.parametrize("name", PROFILED)
def test_model_costs_what_tensorflow_counts(name: str) -> None:
    model = PROFILED[name]()
    counted = measure(model).macs
    # The profiler also counts biases, activations, pooling and what is left of normalization.
    assert counted <= profiled(model) <= 1.10 * counted

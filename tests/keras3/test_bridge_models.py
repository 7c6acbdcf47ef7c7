"""Whole models over the bridge: shared and nested layers, several inputs, masks, transformers of built-in layers."""

from __future__ import annotations

import numpy as np
import pytest
from both import WAYS, answers, check_round_trip, filled, keras3

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.keras3.convert import from_keras3, to_keras3
from tfprune.keras3.library import is_keras3

both_ways = pytest.mark.parametrize("start", WAYS)
RNG = np.random.default_rng(0)
TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 9], [0, 3, 0, 2, 1, 0]])


@both_ways
def test_a_sequential_stays_one(start):
    library = WAYS[start][0]
    layers = [library.Input((8, 8, 3)), library.layers.Conv2D(4, 3), library.layers.Flatten(), library.layers.Dense(3)]
    model = filled(library.Sequential(layers, name="plain"))
    there, again = check_round_trip(model, RNG.normal(size=(2, 8, 8, 3)).astype("float32"), start)
    assert type(there).__name__ == type(again).__name__ == "Sequential"
    assert [each.name for each in there.layers] == [each.name for each in model.layers]


@both_ways
def test_a_sequential_without_an_input_goes_over_unbuilt(start):
    library, over, _ = WAYS[start]
    there = over(library.Sequential([library.layers.Dense(3, name="a")]))
    assert not there.built
    assert there.layers[0].units == 3


@both_ways
def test_a_shared_layer_is_shared_and_a_nested_model_nested(start):
    library = WAYS[start][0]
    one, two = library.Input((6,), name="one"), library.Input((6,), name="two")
    shared = library.layers.Dense(6, activation="tanh", name="shared")
    inner_input = library.Input((6,))
    inner = library.Model(inner_input, library.layers.Dense(2, name="deep")(shared(inner_input)), name="inner")
    found = library.layers.Add()([inner(shared(one)), inner(two)])
    model = filled(library.Model({"one": one, "two": two}, {"sum": found, "other": inner(one)}))
    given = {name: RNG.normal(size=(3, 6)).astype("float32") for name in ("one", "two")}
    there, _ = check_round_trip(model, given, start)
    assert len(there.weights) == len(model.weights) == 4
    assert there.get_layer("inner").get_layer("shared") is there.get_layer("shared")
    assert set(there(given)) == {"sum", "other"}


@both_ways
def test_nothing_is_shared_with_the_original(start):
    library, over, _ = WAYS[start]
    model = filled(library.Sequential([library.Input((4,)), library.layers.Dense(3)]))
    x = np.ones((1, 4), "float32")
    before = answers(model, x)
    there = over(model)
    for weight in there.weights:
        weight.assign(np.zeros(weight.shape))
    np.testing.assert_array_equal(answers(model, x), before)


@both_ways
def test_what_is_frozen_stays_frozen_in_parts(start):
    library = WAYS[start][0]
    layers = [library.layers.Dense(4, name="a"), library.layers.BatchNormalization(name="b")]
    inner = library.Sequential([library.Input((4,)), *layers], name="inner")
    rnn = library.layers.Bidirectional(library.layers.LSTM(2), name="rnn")
    inputs = library.Input((5, 4))
    model = library.Model(inputs, rnn(library.layers.TimeDistributed(inner, name="each")(inputs)))
    inner.layers[0].trainable = False
    rnn.backward_layer.trainable = False
    there, again = check_round_trip(filled(model), RNG.normal(size=(2, 5, 4)).astype("float32"), start)
    for twin in (there, again):
        assert [each.trainable for each in twin.get_layer("each").layer.layers] == [False, True]
        assert not twin.get_layer("rnn").backward_layer.trainable
        assert twin.get_layer("rnn").forward_layer.trainable
        assert len(twin.trainable_weights) == len(model.trainable_weights) == 5


@both_ways
def test_states_go_from_an_encoder_to_a_decoder(start):
    library = WAYS[start][0]
    source, target = library.Input((5, 3)), library.Input((4, 3))
    _, *states = library.layers.LSTM(6, return_state=True)(source)
    found = library.layers.LSTM(6, return_sequences=True)(target, initial_state=states)
    given = [RNG.normal(size=(2, 5, 3)).astype("float32"), RNG.normal(size=(2, 4, 3)).astype("float32")]
    check_round_trip(filled(library.Model([source, target], found)), given, start)


@both_ways
def test_training_that_is_said_aloud_is_kept(start):
    library, over, _ = WAYS[start]
    base = library.Sequential([library.Input((4,)), library.layers.Dropout(0.5)])
    inputs = library.Input((4,))
    there = over(library.Model(inputs, base(inputs, training=False)))
    x = np.ones((50, 4), "float32")
    if start == "keras3":  # of itself Keras 3 lets the outer model overrule it
        np.testing.assert_array_equal(np.asarray(there(x, training=True)), x)
    else:
        np.testing.assert_array_equal(np.asarray(there(x, training=False)), x)


@both_ways
def test_masks_are_handed_on_as_before(start):
    library = WAYS[start][0]
    layers = library.layers
    inputs = library.Input((6,), dtype="int32")
    tokens = layers.Embedding(10, 4, mask_zero=True)(inputs)
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 3)(tokens, tokens)])
    x = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)])
    ends = [layers.LSTM(3)(x), layers.GlobalAveragePooling1D()(x), layers.Bidirectional(layers.GRU(3))(tokens)]
    model = filled(library.Model(inputs, layers.Concatenate()(ends)))
    check_round_trip(model, TOKENS, start)


@both_ways
def test_masks_of_two_inputs_are_joined_as_before(start):
    library = WAYS[start][0]
    inputs = [library.Input((6,), dtype="int32") for _ in range(2)]
    tokens = [library.layers.Embedding(10, 4, mask_zero=True)(each) for each in inputs]
    model = filled(library.Model(inputs, library.layers.GRU(3)(library.layers.Add()(tokens))))
    check_round_trip(model, [TOKENS, TOKENS[::-1].copy()], start)


@both_ways
def test_mixed_precision_is_kept(start):
    library = WAYS[start][0]
    inputs = library.Input((8, 8, 3))
    x = library.layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="conv")(inputs)
    x = library.layers.LayerNormalization(dtype="mixed_bfloat16")(x)
    found = library.layers.Dense(3, dtype="float32")(library.layers.GlobalAveragePooling2D()(x))
    model = filled(library.Model(inputs, found))
    there, again = check_round_trip(model, RNG.normal(size=(2, 8, 8, 3)).astype("float32"), start, 2e-2)
    assert there.get_layer("conv").dtype_policy.name == again.get_layer("conv").dtype_policy.name == "mixed_bfloat16"


@both_ways
def test_regularizers_constraints_and_initializers_are_kept(start):
    library = WAYS[start][0]
    dense = library.layers.Dense(
        3,
        name="a",
        kernel_initializer=library.initializers.TruncatedNormal(stddev=0.2),
        kernel_regularizer=library.regularizers.L1L2(0.1, 0.2),
        bias_constraint=library.constraints.MaxNorm(2.0),
    )
    model = filled(library.Sequential([library.Input((4,)), dense]))
    there, _ = check_round_trip(model, np.ones((1, 4), "float32"), start)
    twin = there.get_layer("a")
    assert twin.kernel_initializer.stddev == pytest.approx(0.2)
    assert float(twin.kernel_regularizer.l1) == pytest.approx(0.1)
    assert twin.bias_constraint.max_value == pytest.approx(2.0)


@both_ways
def test_an_activation_that_is_another_function_there_is_done_by_operations(start):
    library = WAYS[start][0]
    names = ["hard_sigmoid"] + (["hard_silu", "celu", "log_sigmoid"] if start == "keras3" else [])
    for name in names:
        layers = [library.layers.Dense(5, activation=name), library.layers.Dense(2)]
        model = filled(library.Sequential([library.Input((4,)), *layers]))
        check_round_trip(model, RNG.normal(size=(6, 4)).astype("float32") * 3, start)


@both_ways
def test_a_lambda_of_a_live_model_goes_along(start):
    library = WAYS[start][0]
    model = library.Sequential([library.Input((4,)), library.layers.Lambda(lambda x: x * 2.0)])
    check_round_trip(model, np.ones((1, 4), "float32"), start)


def test_slashes_in_names_become_underscores():
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="block/dense")])
    assert to_keras3(model).layers[0].name == "block_dense"


def test_operations_never_bear_the_name_of_a_layer():
    inputs = keras.Input((3,))
    found = keras.layers.Add(name="add")([inputs + 1.0, inputs * 2.0])
    model = keras.Model(inputs, keras.layers.Multiply(name="multiply")([found, found + 3.0]))
    there, _ = check_round_trip(model, np.ones((1, 3), "float32"), "tf_keras")
    assert {"add", "multiply"} <= {each.name for each in there.layers}


# ------------------------------------------------------------------------- backbones of built-in layers


def attention_block(library, x, mask=None, causal=False):
    layers = library.layers
    kwargs = {"use_causal_mask": causal} | ({} if mask is None else {"attention_mask": mask})
    normed = layers.LayerNormalization(epsilon=1e-5)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, dropout=0.1)(normed, normed, **kwargs)])
    hidden = layers.Dense(16, activation="gelu")(layers.LayerNormalization(epsilon=1e-5)(x))
    return layers.Add()([x, layers.Dropout(0.1)(layers.Dense(8)(hidden))])


def test_an_encoder_and_decoder_with_padding_masks():
    layers, ops = keras3.layers, keras3.ops
    source, target = (keras3.Input((6,), dtype="int32", name=name) for name in ("source", "target"))
    padding = keras3.Input((6,), dtype="int32", name="padding")
    positions = np.arange(6)[None]
    embed = layers.Embedding(20, 8, name="tokens")
    places = layers.Embedding(6, 8, name="places")(ops.cast(ops.ones_like(source) * positions, "int32"))
    mask = ops.cast(ops.expand_dims(padding, 1), "bool")
    encoded = embed(source) * ops.sqrt(8.0) + places
    for _ in range(2):
        encoded = attention_block(keras3, encoded, mask)
    decoded = attention_block(keras3, embed(target) + places, causal=True)
    crossed = layers.MultiHeadAttention(2, 4)(decoded, encoded, attention_mask=mask)
    scores = ops.matmul(
        layers.LayerNormalization()(decoded + crossed)[:, -1, :], ops.transpose(np.eye(8, 5, dtype="float32").T)
    )
    model = filled(keras3.Model([source, target, padding], ops.softmax(scores)))
    given = [TOKENS, TOKENS[::-1].copy(), (TOKENS > 0).astype("int32")]
    check_round_trip(model, given, "keras3")


@both_ways
def test_a_vision_transformer(start):
    library = WAYS[start][0]
    layers = library.layers
    inputs = library.Input((16, 16, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(layers.Rescaling(1 / 255.0)(inputs)))
    if start == "keras3":
        ops = library.ops
        token = ops.broadcast_to(ops.mean(x, axis=1, keepdims=True), (2, 1, 8))
        x = ops.concatenate([token, x], axis=1)
        x = x + ops.reshape(ops.convert_to_tensor(RNG.normal(size=(17, 8)).astype("float32")), (1, 17, 8))
    else:
        x = tf.concat([tf.reduce_mean(x, axis=1, keepdims=True), x], axis=1)
        x = x + tf.constant(RNG.normal(size=(1, 17, 8)), "float32")
    for _ in range(2):
        x = attention_block(library, x)
    model = filled(library.Model(inputs, layers.Dense(4, activation="softmax")(x[:, 0])))
    check_round_trip(model, RNG.uniform(0, 255, (2, 16, 16, 3)).astype("float32"), start)


@both_ways
def test_a_residual_network_with_bare_operations(start):
    library = WAYS[start][0]
    layers = library.layers
    relu, mean = (library.ops.relu, library.ops.mean) if start == "keras3" else (tf.nn.relu, tf.reduce_mean)
    inputs = library.Input((16, 16, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        branch = relu(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
        squeezed = layers.Dense(filters, activation="sigmoid")(mean(branch, axis=(1, 2)))
        x = relu(x + branch * squeezed[:, None, None, :])
    model = filled(library.Model(inputs, layers.Dense(3)(mean(x, axis=[1, 2]) / 2.0 - 0.1)))
    check_round_trip(model, RNG.normal(size=(2, 16, 16, 3)).astype("float32"), start)


def test_a_model_that_asks_for_its_shape():
    inputs = keras.Input((4, 6))
    sizes = tf.shape(inputs)
    split = tf.transpose(tf.reshape(inputs, (sizes[0], sizes[1], 2, 3)), [0, 2, 1, 3])
    model = keras.Model(inputs, tf.reshape(split, tf.stack([sizes[0], -1])))
    check_round_trip(model, RNG.normal(size=(3, 4, 6)).astype("float32"), "tf_keras")


# ------------------------------------------------------------------------------------------- bad input


def test_what_is_no_model_of_the_side_is_refused():
    with pytest.raises(ModelError, match="expected a Keras 3 model, but got Sequential"):
        from_keras3(keras.Sequential())
    with pytest.raises(ModelError, match="expected a tf_keras model, but got str"):
        to_keras3("model")
    assert is_keras3(keras3.Sequential())
    assert not is_keras3(keras.Sequential())
    assert not is_keras3(None)


@both_ways
def test_a_subclassed_model_is_refused(start):
    library, over, _ = WAYS[start]

    class Own(library.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ModelError, match="model 'mine' is a Own, a subclassed model without a graph; build it"):
        over(Own(name="mine"))


@both_ways
def test_a_layer_of_the_users_own_is_named(start):
    library, over, _ = WAYS[start]

    class Twice(library.layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    model = library.Sequential([library.Input((3,)), Twice(3, name="mine")])
    with pytest.raises(ModelError, match=r"layer 'mine' is a Twice, a class of your own, .*replace it"):
        over(model)


def test_an_operation_without_an_entry_is_named():
    inputs = keras3.Input((4,))
    with pytest.raises(ModelError, match=r"operation 'sinc\w*' \(Sinc\) of Keras 3 has no counterpart"):
        from_keras3(keras3.Model(inputs, keras3.ops.sinc(inputs)))
    inputs = keras.Input((4,))
    with pytest.raises(ModelError, match=r"operation 'tf.math.bessel\w*' \(tf.math.bessel_i0\) has no counterpart"):
        to_keras3(keras.Model(inputs, tf.math.bessel_i0(inputs)))

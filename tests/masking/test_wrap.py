"""Wrapping copies, starts dense, and knows every layer that TF-MOT does; stripping leaves plain Keras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ModelError, ScheduleError, SelectionError
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.wrap import strip, wrap
from tfprune.models.clone import clone, with_precision

layers = keras.layers
HALF = tfprune.ConstantSparsity(final_sparsity=0.5)


def ended(inputs: object, outputs: object) -> keras.Model:
    return keras.Model(inputs, outputs, name="model")


def stacked(layer: keras.layers.Layer, *shape: int, dtype: str = "float32") -> keras.Model:
    inputs = layers.Input(shape, dtype=dtype)
    return ended(inputs, layer(inputs))


def attention() -> keras.Model:
    inputs, context, allowed = layers.Input((5, 8)), layers.Input((3, 8)), layers.Input((5, 3))
    first = layers.MultiHeadAttention(2, 4, name="self")(inputs, inputs)
    mixed, scores = layers.MultiHeadAttention(2, 4, name="cross")(
        first, context, attention_mask=allowed > 0.0, return_attention_scores=True
    )
    return ended([inputs, context, allowed], [mixed, scores])


def masked_text() -> keras.Model:
    inputs = layers.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(inputs)
    return ended(inputs, layers.GlobalAveragePooling1D()(layers.LSTM(3, return_sequences=True)(embedded)))


def explicit_mask() -> keras.Model:
    inputs = layers.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 4)(inputs)
    return ended(inputs, layers.GRU(3)(embedded, mask=tf.not_equal(inputs, 0)))


def masked_cells() -> keras.Model:
    inputs = layers.Input((6,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(inputs)
    rnn = layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)], return_sequences=True)(embedded)
    return ended(inputs, layers.Bidirectional(layers.GRU(2))(rnn))


def translator() -> keras.Model:
    source, target = layers.Input((5, 3)), layers.Input((4, 2))
    sequence, *state = layers.LSTM(4, return_sequences=True, return_state=True)(source)
    last, *second = layers.LSTM(4, return_state=True)(sequence, initial_state=state)
    decoded = layers.LSTM(4, return_sequences=True)(target, initial_state=second)
    return ended([source, target], [layers.TimeDistributed(layers.Dense(2))(decoded), last])


def many_ends() -> keras.Model:
    one, other = layers.Input((8,), name="one"), layers.Input((8,), name="other")
    both = layers.Dense(6, "tanh", name="both")
    joined = layers.concatenate([both(one), both(other)])
    return ended({"one": one, "other": other}, {"a": layers.Dense(2)(joined), "b": layers.Dense(3)(both(other))})


def frozen_part(layer: keras.layers.Layer, part: str, times: int = 1) -> keras.Model:
    inputs = layers.Input((5, 8))
    model = ended(inputs, layer(*[inputs] * times))
    getattr(layer, part).trainable = False
    return model


def frozen_inside() -> keras.Model:
    inner = keras.Sequential([layers.Dense(3, "tanh", input_shape=(4,)), layers.Dense(2)])
    model = stacked(layers.TimeDistributed(inner), 5, 4)
    inner.layers[0].trainable = False
    return model


def partly_left_alone() -> keras.Model:
    return keras.Sequential(
        [
            layers.DepthwiseConv2D(3, input_shape=(6, 6, 4), name="depthwise"),
            layers.Conv2D(3, 1, trainable=False, name="frozen"),
            layers.BatchNormalization(),
            layers.Conv2D(2, 1, name="free"),
        ]
    )


@keras.utils.register_keras_serializable("tests")
class Scaled(layers.Layer):
    """Tells by itself what can be pruned."""

    def build(self, input_shape: tuple) -> None:
        self.matrix = self.add_weight("matrix", (input_shape[-1], 4))
        self.scale = self.add_weight("scale", (4,), initializer="ones")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs @ self.matrix * self.scale

    def get_prunable_weights(self) -> list[tf.Variable]:
        return [self.matrix]


def states() -> keras.Model:
    inputs, first = layers.Input((5, 3)), layers.Input((4,))
    sequence, state = layers.GRU(4, return_sequences=True, return_state=True)(inputs, initial_state=first)
    return ended([inputs, first], [sequence, layers.Dense(2)(state)])


def shared() -> keras.Model:
    inputs = layers.Input((8,))
    twice = layers.Dense(8, "tanh", name="twice")
    return ended(inputs, layers.Dense(2)(twice(twice(inputs))))


def shared_across_nests() -> keras.Model:
    common = layers.Dense(8, "tanh", name="common")
    inner = keras.Sequential([layers.InputLayer((8,)), common, layers.Dense(8)], name="inner")
    inputs = layers.Input((8,))
    return ended(inputs, common(inner(common(inputs))))


def nested() -> keras.Model:
    deep = keras.Sequential([layers.Dense(3, input_shape=(3,), name="a")], name="deep")
    middle = keras.Sequential([layers.InputLayer((3,)), deep, layers.Dense(3, name="b")], name="middle")
    inputs = layers.Input((3,))
    return ended(inputs, layers.Dense(2, name="c")(middle(middle(inputs))))


def with_operators() -> keras.Model:
    inputs = layers.Input((8,))
    hidden = tf.nn.relu(layers.Dense(8)(inputs) + 1.0)
    return ended(inputs, layers.Dense(3)(hidden * 2.0 - tf.reduce_mean(hidden, axis=-1, keepdims=True)))


def regularized() -> keras.Model:
    return stacked(
        layers.Dense(4, activity_regularizer=keras.regularizers.L2(0.1), kernel_regularizer=keras.regularizers.L1(0.1)),
        8,
    )


# Name -> (model, number of wrapped layers, number of masked tensors, names of layers to prune unless all).
MODELS: dict[str, tuple] = {
    "Conv1D": (lambda: stacked(layers.Conv1D(3, 3), 8, 4), 1, 1),
    "Conv2D": (lambda: stacked(layers.Conv2D(4, 3, groups=2), 6, 6, 4), 1, 1),
    "Conv3D": (lambda: stacked(layers.Conv3D(3, 2), 4, 4, 4, 2), 1, 1),
    "Conv1DTranspose": (lambda: stacked(layers.Conv1DTranspose(3, 3), 6, 2), 1, 1),
    "Conv2DTranspose": (lambda: stacked(layers.Conv2DTranspose(3, 3), 4, 4, 2), 1, 1),
    "Conv3DTranspose": (lambda: stacked(layers.Conv3DTranspose(3, 2), 3, 3, 3, 2), 1, 1),
    "SeparableConv1D": (lambda: stacked(layers.SeparableConv1D(3, 3), 8, 4), 1, 1),
    "SeparableConv2D": (lambda: stacked(layers.SeparableConv2D(3, 3), 6, 6, 4), 1, 1),
    "Dense": (lambda: stacked(layers.Dense(3), 8), 1, 1),
    "EinsumDense": (lambda: stacked(layers.EinsumDense("abc,cde->abde", (None, 2, 4)), 5, 4), 1, 1),
    "Embedding": (lambda: stacked(layers.Embedding(9, 4), 6, dtype="int32"), 1, 1),
    "LSTM": (lambda: stacked(layers.LSTM(3, recurrent_dropout=0.5), 5, 4), 1, 2),
    "ConvLSTM2D": (lambda: stacked(layers.ConvLSTM2D(2, 3), 3, 6, 6, 2), 1, 2),
    "GRU": (lambda: stacked(layers.GRU(3), 5, 4), 1, 2),
    "SimpleRNN": (lambda: stacked(layers.SimpleRNN(3), 5, 4), 1, 2),
    "RNN of cells": (lambda: stacked(layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), 5, 4), 1, 4),
    "Bidirectional": (lambda: stacked(layers.Bidirectional(layers.LSTM(3)), 5, 4), 1, 4),
    "one direction": (lambda: frozen_part(layers.Bidirectional(layers.LSTM(3)), "forward_layer"), 1, 2),
    "one direction, named": (lambda: frozen_part(layers.Bidirectional(layers.GRU(3)), "backward_layer"), 1, 4, "bi*"),
    "TimeDistributed": (frozen_inside, 1, 1),
    "TimeDistributed, named": (frozen_inside, 1, 2, "time_*"),
    "MultiHeadAttention": (attention, 2, 8),
    "attention, frozen query": (lambda: frozen_part(layers.MultiHeadAttention(2, 4), "_query_dense", 2), 1, 3),
    "Keras mask through cells": (masked_cells, 3, 9),
    "translator": (translator, 4, 7),
    "many ends": (many_ends, 3, 3),
    "left alone": (partly_left_alone, 1, 1),
    "left alone unless named": (partly_left_alone, 2, 2, "depthwise", "frozen"),
    "get_prunable_weights": (lambda: stacked(Scaled(), 8), 1, 1),
    "Keras mask": (masked_text, 2, 3),
    "explicit mask": (explicit_mask, 2, 3),
    "states": (states, 2, 3),
    "shared": (shared, 2, 2),
    "shared across nests": (shared_across_nests, 2, 2),
    "nested": (nested, 3, 3),
    "operators": (with_operators, 2, 2),
    "regularized": (regularized, 1, 1),
    "float64": (lambda: stacked(layers.Dense(3, dtype="float64"), 8, dtype="float64"), 1, 1),
}


def inputs_for(model: keras.Model, batch: int = 4) -> object:
    draw = np.random.default_rng(3)

    def example(each: tf.Tensor) -> np.ndarray:
        shape = (batch, *each.shape[1:])
        if each.dtype.is_integer:
            return draw.integers(0, 3, shape).astype("int32")  # zeros among them, to be masked
        return draw.normal(size=shape).astype(each.dtype.as_numpy_dtype)

    return tf.nest.map_structure(example, model.input)


def answers(model: keras.Model, x: object) -> list[np.ndarray]:
    return [each.numpy() for each in tf.nest.flatten(model(x, training=False))]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True)
    )


def one_step(model: keras.Model, x: object) -> float:
    """One step of SGD on the mean of the squared outputs and the model's own losses; returns that loss."""
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(model(x, training=True))
        loss = sum(tf.reduce_mean(tf.cast(each, tf.float32) ** 2) for each in outputs) + sum(
            tf.cast(each, tf.float32) for each in model.losses
        )
    variables = model.trainable_variables
    keras.optimizers.SGD(0.5).apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return float(loss)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model(name: str, tmp_path: Path) -> None:
    make, wrapped_layers, tensors, *named = MODELS[name]
    model = make()
    x = inputs_for(model)
    before, weights = answers(model, x), [each.copy() for each in model.get_weights()]

    pruned = wrap(model, HALF, layers=named or None)
    assert same(answers(pruned, x), before), "a wrapped model starts as the dense one, to the bit"
    assert len(masked_layers(pruned)) == wrapped_layers
    assert len(list(masked_variables(pruned))) == tensors
    assert sparsity_of(masked_layers(pruned)) < 0.1
    assert len(pruned.trainable_variables) == len(model.trainable_variables)

    pruner_of(pruned).update(0.5)
    held = [mask.numpy() for _, mask in masked_variables(pruned)]
    one_step(pruned, x)
    for (weight, mask), expected in zip(masked_variables(pruned), held, strict=True):
        assert np.array_equal(weight.numpy() == 0, expected == 0)
        assert np.array_equal(mask.numpy(), expected)
        assert abs((expected == 0).sum() - expected.size / 2) <= 0.5
    assert same(model.get_weights(), weights), "the original is trained along"
    assert same(answers(model, x), before)

    plain = strip(pruned)
    assert "fprune" not in json.dumps(plain.get_config(), default=str)
    assert same(answers(plain, x), answers(pruned, x))
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]

    for ending in ("keras", "h5"):
        pruned.save(tmp_path / f"model.{ending}")
        loaded = keras.models.load_model(tmp_path / f"model.{ending}")
        assert same(answers(loaded, x), answers(pruned, x))
        assert len(loaded.trainable_variables) == len(model.trainable_variables)
        assert same([mask.numpy() for _, mask in masked_variables(loaded)], held)
        one_step(loaded, x)
        assert all(not weight.numpy()[mask.numpy() == 0].any() for weight, mask in masked_variables(loaded))


def test_regularizers_count_once() -> None:
    model = regularized()
    x = inputs_for(model)
    assert one_step(wrap(model, HALF), x) == one_step(model, x)


def test_a_layer_shared_across_nests_stays_shared() -> None:
    model = shared_across_nests()
    assert len(clone(model, lambda layer: None).trainable_variables) == len(model.trainable_variables) == 4
    assert len(strip(wrap(model, HALF)).trainable_variables) == 4


def twice_by_other_ways() -> keras.Model:
    inputs, dense = layers.Input((5, 8)), layers.Dense(8, name="dense")
    return ended(inputs, layers.TimeDistributed(dense, name="each")(dense(inputs)))


def test_a_weight_of_two_layers_is_refused_as_copies_would_not_share_it() -> None:
    for copying in (lambda model: wrap(model, HALF), lambda model: with_precision(model, "mixed_bfloat16")):
        with pytest.raises(ModelError, match="layers 'dense' and 'each' share weight 'dense/kernel:0'"):
            copying(twice_by_other_ways())


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_layer_frozen_after_wrapping_keeps_its_masks(ending: str, tmp_path: Path, dense: Callable) -> None:
    pruned = wrap(dense(), HALF)
    pruner_of(pruned).update(0.5)
    pruned.layers[0].trainable = False
    loaded = tfprune.load(tfprune.save(pruned, tmp_path / f"model.{ending}"))
    x = inputs_for(pruned)
    assert same(answers(loaded, x), answers(pruned, x))
    assert sparsity_of(masked_layers(loaded)) == sparsity_of(masked_layers(pruned)) == 0.5
    assert [len(model.trainable_variables) for model in (pruned, loaded, strip(loaded))] == [2, 2, 2]


def test_dropout_of_an_inner_layer_follows_the_training_flag() -> None:
    inputs = layers.Input((50, 4))
    always = layers.GRU(8, dropout=0.5)(inputs, training=True)
    never = layers.LSTM(8, dropout=0.5)(inputs, training=False)
    usual = layers.SimpleRNN(8, dropout=0.5)(inputs)
    pruned = wrap(keras.Model(inputs, [always, never, usual]), HALF)
    x = inputs_for(pruned)
    for training in (False, True):
        first, second = (pruned(x, training=training) for _ in range(2))
        varies = [not np.array_equal(one, other) for one, other in zip(first, second, strict=True)]
        assert varies == [True, False, training]


def test_an_embedding_keeps_its_keras_mask() -> None:
    pruned = wrap(masked_text(), HALF)
    x = np.array([[1, 2, 0, 0, 0, 0]])
    embedded = pruned.get_layer("masked_" + masked_layers(pruned)[0].layer.name)(x)
    assert embedded._keras_mask.numpy().tolist() == [[True, True, False, False, False, False]]


def test_states_of_a_stateful_layer_can_be_reset() -> None:
    inputs = layers.Input(batch_shape=(2, 4, 3))
    pruned = wrap(keras.Model(inputs, layers.LSTM(3, stateful=True)(inputs)), HALF)
    x = inputs_for(pruned, batch=2)
    first, second = answers(pruned, x), answers(pruned, x)
    pruned.reset_states()
    assert not same(first, second)
    assert same(answers(pruned, x), first)


def test_the_users_constraint_goes_on_working() -> None:
    model = stacked(layers.Dense(6, kernel_constraint=keras.constraints.NonNeg()), 8)
    pruned = wrap(model, HALF)
    pruner_of(pruned).update(0.5)
    one_step(pruned, inputs_for(pruned))
    (kernel, mask), *_ = masked_variables(pruned)
    assert (kernel.numpy() >= 0).all() and (kernel.numpy() > 0).any()
    assert not kernel.numpy()[mask.numpy() == 0].any()
    assert isinstance(strip(pruned).layers[-1].kernel_constraint, keras.constraints.NonNeg)


def test_frozen_layers_are_left_alone() -> None:
    inner = keras.Sequential([layers.Dense(8, input_shape=(8,), name="inside")], name="base")
    inner.trainable = False
    model = keras.Sequential(
        [layers.InputLayer((8,)), inner, layers.Dense(8, trainable=False, name="frozen"), layers.Dense(2, name="free")]
    )
    pruned = wrap(model, HALF)
    assert [layer.layer.name for layer in masked_layers(pruned)] == ["free"]
    assert len(pruned.trainable_variables) == 2
    pruner_of(pruned).update(0.9)
    assert np.array_equal(pruned.get_layer("frozen").kernel.numpy(), model.get_layer("frozen").kernel.numpy())


@pytest.mark.parametrize(
    ("patterns", "wrapped"),
    [
        (None, ["hidden", "head"]),
        (["h*"], ["hidden", "head"]),
        (["hidden"], ["hidden"]),
        (["*ad", "hid*"], ["hidden", "head"]),
        (["[!h]*", "head"], ["head"]),
    ],
)
def test_layers_are_chosen_by_pattern(patterns: list[str] | None, wrapped: list[str], dense: Callable) -> None:
    model = dense()
    if patterns and patterns[0] == "[!h]*":
        model = keras.Sequential([*model.layers, layers.Softmax(name="last")])
    assert [layer.layer.name for layer in masked_layers(wrap(model, HALF, layers=patterns))] == wrapped


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": ["hiden"]}, ModelError, r"layers: 'hiden' matches no layer .*did you mean 'hidden'\?"),
        ({"layers": ["hidden", "Head"]}, ModelError, "layers: 'Head' matches no layer"),
        ({"scope": "globall"}, SelectionError, r"scope must be one of layer, global, erk, .*'globall'; .*'global'"),
        ({"schedule": 0.8}, ScheduleError, r"expected a schedule .* but got 0\.8"),
    ],
)
def test_wrong_arguments_give_one_line(arguments: dict, error: type, message: str, dense: Callable) -> None:
    with pytest.raises(error, match=message) as caught:
        wrap(**{"model": dense(), "schedule": HALF, **arguments})
    assert "\n" not in str(caught.value)


class Subclassed(keras.Model):
    """Keras cannot tell how its layers hang together."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.dense(inputs)


def test_models_that_cannot_be_wrapped_give_one_line(dense: Callable) -> None:
    subclassed = Subclassed()
    subclassed(np.ones((1, 3), "float32"))
    frozen = dense()
    frozen.trainable = False
    only_norm = stacked(layers.BatchNormalization(), 4)
    no_weights = stacked(layers.ReLU(), 4)
    for model, message in [
        (wrap(dense(), HALF), "is wrapped already; tfprune.strip it first"),
        (subclassed, "is a Subclassed, not a built Functional or Sequential model"),
        (frozen, r"has nothing to prune: frozen \(trainable=False\)"),
        (only_norm, "has nothing to prune: BatchNormalization: scales and statistics are not masked"),
        (no_weights, "has nothing to prune: no layer has weights"),
        (keras.Sequential([layers.Dense(2)]), "has nothing to prune: not built yet"),
    ]:
        with pytest.raises(ModelError, match=message) as caught:
            wrap(model, HALF)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="is a Subclassed"):
        strip(subclassed)
    with pytest.raises(ModelError, match="is a Subclassed"):
        with_precision(subclassed, "mixed_bfloat16")


class Stubborn(layers.Layer):
    """Cannot be made from its config."""

    def __init__(self, secret: int) -> None:
        super().__init__()
        self.secret = secret

    def get_config(self) -> dict:
        return {"name": self.name}


def test_a_layer_that_cannot_be_copied_is_told_in_one_line() -> None:
    inputs = layers.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(Stubborn(3)(inputs)))
    with pytest.raises(ModelError, match="cannot be copied layer by layer") as caught:
        wrap(model, HALF)
    assert "\n" not in str(caught.value)


class Growing(layers.Layer):
    """Its config tells nothing of its size."""

    def __init__(self, units: int = 1, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(units)

    def get_config(self) -> dict:
        return {"name": self.name}

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.dense(inputs), axis=-1, keepdims=True)


def test_a_copy_with_other_weights_is_told_in_one_line() -> None:
    inputs = layers.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(Growing(3, name="growing")(inputs)))
    with pytest.raises(
        ModelError, match="layer 'growing' cannot be copied: its config makes another Growing"
    ) as caught:
        wrap(model, HALF)
    assert "\n" not in str(caught.value)


def test_global_scope_ranks_all_layers_together(dense: Callable) -> None:
    model = dense()
    model.get_layer("hidden").kernel.assign(model.get_layer("hidden").kernel * 1e-3)
    pruned = wrap(model, HALF, scope="global")
    pruner_of(pruned).update(0.5)
    hidden, head = (mask.numpy() for _, mask in masked_variables(pruned))
    assert (hidden == 0).sum() == (hidden.size + head.size) // 2
    assert head.all()


# -------------------------------------------------------------------------------------------------- strip


def test_a_stripped_file_needs_neither_tfprune_nor_tfmot(tmp_path: Path, dense: Callable, data: tuple) -> None:
    pruned = wrap(dense(), HALF)
    pruner_of(pruned).update(0.5)
    x = data[0]
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "expected.npy", pruned.predict_on_batch(x))
    for ending in ("keras", "h5"):
        strip(pruned).save(tmp_path / f"plain.{ending}")
    script = """
import sys, numpy as np, tf_keras
x, expected = np.load("x.npy"), np.load("expected.npy")
for ending in ("keras", "h5"):
    model = tf_keras.models.load_model("plain." + ending)
    assert np.array_equal(model.predict_on_batch(x), expected)
    assert [(layer.kernel.numpy() == 0).mean() for layer in model.layers] == [0.5, 0.5]
strangers = [name for name in sys.modules if name.startswith(("tfprune", "tensorflow_model_optimization"))]
assert not strangers, strangers
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_strip_applies_masks_that_a_foreign_hand_broke(dense: Callable, data: tuple) -> None:
    pruned = wrap(dense(), HALF)
    pruner_of(pruned).update(0.5)
    for weight, _ in masked_variables(pruned):
        weight.assign(tf.ones_like(weight))
    assert [(layer.kernel.numpy() == 0).mean() for layer in strip(pruned).layers] == [0.5, 0.5]


def test_strip_shares_nothing_and_copies_a_plain_model(dense: Callable, data: tuple) -> None:
    model = dense()
    pruned = wrap(model, HALF)
    for source in (pruned, model):
        plain = strip(source)
        before = source.get_weights()
        one_step(plain, data[0])
        assert same(source.get_weights(), before)
        assert not same(plain.get_weights()[:1], model.get_weights()[:1])


# ---------------------------------------------------------------------------------------------- precision


def test_precision_changes_what_is_computed_not_what_is_kept(dense: Callable, data: tuple) -> None:
    model = dense()
    mixed = with_precision(model, "mixed_bfloat16")
    assert [layer.compute_dtype for layer in mixed.layers] == ["bfloat16", "float32"]
    assert same(mixed.get_weights(), model.get_weights())
    assert mixed.predict_on_batch(data[0]).dtype == np.float32
    back = with_precision(mixed, "float32")
    assert same(answers(back, data[0]), answers(model, data[0]))
    assert [layer.compute_dtype for layer in model.layers] == ["float32", "float32"], "the original changed"


def test_outputs_stay_float32_where_a_nested_model_comes_last(dense: Callable, data: tuple) -> None:
    inputs = layers.Input((8,))
    model = keras.Model(inputs, dense()(layers.Dense(8)(inputs)))
    mixed = with_precision(model, "mixed_bfloat16")
    assert mixed.predict_on_batch(data[0]).dtype == np.float32
    assert [layer.compute_dtype for layer in mixed.layers[-1].layers] == ["bfloat16", "float32"]


@pytest.mark.parametrize("name", ["Keras mask", "MultiHeadAttention", "Conv2D", "states", "operators"])
def test_a_mixed_model_starts_dense_to_the_bit(name: str) -> None:
    model = with_precision(MODELS[name][0](), "mixed_bfloat16")
    x = inputs_for(model)
    assert same(answers(wrap(model, HALF), x), answers(model, x))


def test_zeros_of_an_earlier_pruning_stay_zero_while_others_fall() -> None:
    inputs = layers.Input((8,))
    model = ended(inputs, layers.Dense(2)(layers.Dense(8, "tanh")(inputs)))
    x, y = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32), np.arange(32) % 2
    for _ in range(2):
        before = [weight == 0 for weight in model.get_weights() if weight.ndim == 2]
        model = tfprune.wrap(model, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=8, frequency=1))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, batch_size=8, epochs=1, verbose=0)  # in the middle of the schedule
        model = strip(model)
        after = [weight == 0 for weight in model.get_weights() if weight.ndim == 2]
        assert not any((old & ~new).any() for old, new in zip(before, after, strict=True))
    assert any(old.any() for old in before)


def test_a_kernel_that_begins_at_zero_may_grow() -> None:
    model = stacked(layers.Dense(2, kernel_initializer="zeros", name="new"), 4)
    pruned = tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.0))
    pruned.compile("sgd", "mse")
    pruned.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    assert (strip(pruned).get_layer("new").kernel.numpy() != 0).all()


def test_an_unfinished_schedule_is_told_when_stripped() -> None:
    model = stacked(layers.Dense(4), 8)
    pruned = tfprune.wrap(model, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=100))
    pruned.compile("sgd", "mse")
    pruned.fit(np.ones((8, 8)), np.ones((8, 4)), batch_size=4, verbose=0)
    with pytest.warns(UserWarning, match="step 2 of a schedule that ends at step 100"):
        strip(pruned)

"""Faults that a second look has found, each with the model that shows it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ModelError, SurgeryError

layers = keras.layers


def _bidirectional() -> keras.Model:
    return keras.Sequential([keras.Input((20, 16)), layers.Bidirectional(layers.LSTM(32)), layers.Dense(4)])


def _time_distributed() -> keras.Model:
    inner = layers.TimeDistributed(layers.Conv2D(32, 3, name="inner"))
    flat = layers.TimeDistributed(layers.Flatten())
    return keras.Sequential([keras.Input((3, 8, 8, 4)), inner, flat, layers.LSTM(8), layers.Dense(2)])


def _model_step_by_step() -> keras.Model:
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(32), layers.Dense(16)])
    return keras.Sequential([keras.Input((5, 12)), layers.TimeDistributed(inner), layers.Flatten(), layers.Dense(3)])


def _attention() -> keras.Model:
    x = inputs = keras.Input((12, 16))
    x = layers.MultiHeadAttention(16, 2, name="mha")(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Dense(24, "relu")(x))))


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("make", [_bidirectional, _time_distributed, _model_step_by_step, _attention])
def test_work_inside_wrappers_counts(make: Callable[[], keras.Model], scope: str) -> None:
    model = make()
    before = tfprune.measure(model).macs
    for share in (0.7, 0.4):
        _, report = tfprune.shrink(model, macs=int(share * before), scope=scope)
        assert 0.85 * share * before < report.after.macs <= share * before


def test_a_plan_with_ignored_layers_replays() -> None:
    inputs = keras.Input((8, 8, 3))
    first, second, both = (layers.Conv2D(n, 3, name=name)(inputs) for n, name in ((8, "a"), (8, "b"), (16, "c")))
    x = layers.Add()([layers.Concatenate()([first, second]), both])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    plan = tfprune.plan(model, ratio=0.5, ignore=["a"])
    small, report = tfprune.apply(model, plan)
    assert report.plan == plan
    assert (small.get_layer("a").filters, small.get_layer("b").filters) == (8, 4)


def test_ignored_layers_keep_their_branch() -> None:
    inputs = x = keras.Input((8, 8, 4))
    for place in range(3):
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{place}")(x)
        x = layers.Add(name=f"add{place}")([x, y])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    _, report = tfprune.shrink(model, ratio=0.7, units=["blocks"], ignore=["conv0", "add2"])
    assert report.blocks == ("add1",)


def test_a_single_branch_can_leave() -> None:
    x = inputs = keras.Input((6,))
    x = layers.Add(name="add")([x, layers.Dense(6)(layers.Dense(6, "relu")(x))])
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    small, report = tfprune.shrink(model, ratio=0.9, units=["blocks"], minimum=8)
    assert report.blocks == ("add",) and [layer.name for layer in small.layers[1:]] == ["head"]


def test_an_operation_on_a_weight_is_refused() -> None:
    table = layers.Embedding(20, 8, name="table")
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Dense(8)(layers.Dense(16)(table(inputs)))
    model = keras.Model(inputs, tf.matmul(x, table.embeddings, transpose_b=True))
    with pytest.raises(ModelError, match=r"reads variable 'table/embeddings:0' itself"):
        tfprune.shrink(model, ratio=0.5)


def _scaled_by_size(name: str) -> keras.Model:
    x = inputs = keras.Input((5, 6))
    query, key, value = (layers.Dense(8, name=each)(x) for each in "qkv")
    read = tf.shape(key)[-1] if name == "channels" else tf.shape(key)[1]
    scores = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / tf.sqrt(tf.cast(read, tf.float32)))
    return keras.Model(inputs, layers.Dense(2)(tf.matmul(scores, value)))


def test_a_number_of_channels_that_is_computed_with_is_inexact() -> None:
    _, report = tfprune.shrink(_scaled_by_size("channels"), ratio=0.5, units=["key_size", "hidden"])
    assert not report.exact
    model = oracle.randomise(_scaled_by_size("places"))
    small, report = tfprune.shrink(model, ratio=0.5, units=["key_size"])
    assert report.exact and report.removed >= 4
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_what_works_across_channels_in_some_range_only_is_found() -> None:
    x = inputs = keras.Input((8, 3))
    x = layers.Permute((2, 1))(layers.Dense(8, name="hidden")(x))
    x = tf.clip_by_norm(x, 10.0, axes=[1])
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    with pytest.raises(SurgeryError, match="clip_by_norm has no rule"):
        tfprune.shrink(model, ratio=0.5)


def test_an_activation_along_another_axis_keeps_that_axis() -> None:
    def over_places(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(x, axis=1)

    x = inputs = keras.Input((6, 4))
    x = layers.Permute((2, 1))(layers.Dense(8, name="d")(x))
    x = layers.Dense(4, activation=over_places, name="e")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    with pytest.raises(SurgeryError, match=r"e \(its activation over_places mixes channels\)"):
        tfprune.shrink(model, ratio=0.5)


def test_masks_are_no_keys_and_no_states() -> None:
    inputs, mask = keras.Input((5, 4)), keras.Input((5,), dtype="bool")
    query, value = layers.Dense(8, name="q")(inputs), layers.Dense(8, name="v")(inputs)
    x = layers.Attention()([query, value], mask=[mask, mask])
    x = layers.LSTM(6, name="lstm")(x, mask=mask)
    model = keras.Model([inputs, mask], layers.Dense(2)(x))
    small, report = tfprune.shrink(model, ratio=0.5)
    assert small.get_layer("q").units == small.get_layer("v").units == 4
    assert small.get_layer("lstm").units == 3
    kept = [report.layers[name].kept_outputs for name in "qv"]
    assert np.array_equal(*kept)


def test_lists_are_constants() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, name="conv")(inputs) - [1.0, 2.0, 3.0]
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(6, name="free")(layers.Flatten()(x))))
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert (small.get_layer("conv").filters, small.get_layer("free").units) == (3, 3)


class Gate(layers.Layer):
    """A factor a channel."""

    def build(self, shape: tf.TensorShape) -> None:
        self.gain = self.add_weight("gain", (shape[-1],))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.gain


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda layer, visit: None, r"the rule for Gate \(layer 'gate'\) must return the labels of 1 outputs"),
        (lambda layer, visit: visit.weight(layer.gain, None, None), "gives axes of whole, whole for weight"),
        (lambda layer, visit: visit.weight(layer.gain, visit.fresh(3)), "gives axes of 3 for weight"),
    ],
)
def test_a_wrong_rule_is_named(function: Callable, message: str) -> None:
    x = layers.Dense(8)(inputs := keras.Input((4,)))
    model = keras.Model(inputs, layers.Dense(2)(Gate(name="gate")(x)))
    tfprune.rule(Gate)(function)
    with pytest.raises(SurgeryError, match=message):
        tfprune.shrink(model, ratio=0.5)


def test_a_merge_that_is_called_twice_has_two_branches() -> None:
    x = inputs = keras.Input((6,))
    add = layers.Add(name="add")
    for _ in range(2):
        x = add([x, layers.Dense(6)(layers.Dense(6, "relu")(x))])
    model = keras.Model(inputs, layers.Dense(2)(x))
    plan = tfprune.plan(model, ratio=0.9, units=["blocks"])
    assert plan.blocks == ("add", "add#2")
    assert len(tfprune.apply(model, plan)[0].layers) == 2


def test_a_nested_model_takes_a_dictionary_by_its_names() -> None:
    b, a = keras.Input((6,), name="b"), keras.Input((4,), name="a")
    inner = keras.Model([b, a], layers.Dense(3)(layers.Concatenate()([layers.Dense(5)(b), layers.Dense(7)(a)])))
    inputs = keras.Input((2,))
    four, six = layers.Dense(4, name="four")(inputs), layers.Dense(6, name="six")(inputs)
    model = oracle.randomise(keras.Model(inputs, layers.Dense(2)(inner({"a": four, "b": six}))))
    small, report = tfprune.shrink(model, ratio=0.5)
    assert (small.get_layer("four").units, small.get_layer("six").units) == (2, 3)
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_gates_do_not_see_regularizers() -> None:
    def gates(strength: float) -> list[tuple[int, ...]]:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        reader = layers.Dense(2, kernel_regularizer=keras.regularizers.l2(strength))
        model = keras.Model(inputs, reader(layers.Dense(6, "relu", name="h")(inputs)))
        model.compile("sgd", "mse")
        rng = np.random.default_rng(0)
        data = rng.normal(size=(16, 4)).astype("float32"), rng.normal(size=(16, 2)).astype("float32")
        return [tfprune.plan(model, ratio=0.5, importance=name, data=data).removed["h"] for name in ("gate", "fisher")]

    assert gates(0.0) == gates(100.0)

"""Which layers write into the same channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.structure.inspect import coupled_layers

layers = keras.layers
Input, Dense = keras.Input, layers.Dense


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


class Strange(layers.Layer):
    """A layer that nothing is known of."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cumsum(x, axis=-1)


def chain() -> keras.Model:
    inputs = Input((8, 8, 2))
    x = layers.Conv2D(4, 3, name="one")(inputs)
    x = layers.DepthwiseConv2D(3, name="depth")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(6, 3, name="two")(x)
    return keras.Model(inputs, Dense(3, name="out")(layers.Flatten()(x)))


def stream() -> keras.Model:
    inputs = Input((6,))
    x = Dense(8, name="stem")(inputs)
    for place in range(2):
        y = Dense(4, name=f"wide{place}")(x)
        x = layers.Add()([x, Dense(8, name=f"back{place}")(y)])
    return keras.Model(inputs, Dense(2, name="out")(x))


def joined() -> keras.Model:
    """Two that are joined end to end are apart; two whose joint is added to a third are not."""
    inputs = Input((6,))
    both = layers.Concatenate()([Dense(3, name="left")(inputs), Dense(5, name="right")(inputs)])
    x = Dense(2, name="out")(both)
    third = layers.Add()([both, Dense(8, name="third")(inputs)])
    return keras.Model(inputs, [x, Dense(2, name="out2")(third)])


def attention() -> keras.Model:
    inputs = Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="mha")(x := Dense(8, name="stem")(inputs), x)
    x = Dense(8, name="mlp")(layers.GRU(6, return_sequences=True, name="gru")(x))
    return keras.Model(inputs, Dense(2, name="out")(x))


def with_stranger() -> keras.Model:
    inputs = Input((6,))
    x = layers.Add()([Dense(8, name="one")(inputs), Dense(8, name="two")(inputs)])
    x = Dense(4, name="four")(Dense(5, name="three")(Strange(name="strange")(x)))
    return keras.Model(inputs, x)


def nested() -> keras.Model:
    """A name in two places is one knob."""
    one = keras.Sequential([Dense(8, input_shape=(8,), name="up"), Dense(8, name="down")], name="inner")
    two = keras.Sequential([Dense(4, input_shape=(8,), name="up"), Dense(8, name="back")], name="other")
    inputs = Input((6,))
    x = Dense(8, name="stem")(inputs)
    x = layers.Add()([x, one(x)])
    return keras.Model(inputs, Dense(2, name="out")(two(x)))


def shared() -> keras.Model:
    inputs = Input((8,))
    layer = Dense(8, name="twice")
    return keras.Model(inputs, Dense(2, name="out")(layer(layer(inputs))))


CASES: list[tuple[Callable[[], keras.Model], list[tuple[str, ...]]]] = [
    (chain, [("one",), ("two",), ("out",)]),
    (stream, [("stem", "back0", "back1"), ("wide0",), ("wide1",), ("out",)]),
    (joined, [("left", "right", "third"), ("out",), ("out2",)]),
    (attention, [("stem",), ("mha",), ("gru",), ("mlp",), ("out",)]),
    (with_stranger, [("one",), ("two",), ("three",), ("four",)]),
    (nested, [("stem", "down"), ("up",), ("back",), ("out",)]),
    (shared, [("twice",), ("out",)]),
]


@pytest.mark.parametrize(("build", "expected"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_layers_that_make_one_coupling(build: Callable[[], keras.Model], expected: list[tuple[str, ...]]) -> None:
    model = build()
    found = coupled_layers(model)
    assert sorted(found) == sorted(expected)
    names = [name for group in found for name in group]
    wrapped = tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.5))
    masked = {each.layer.name for each in _leaves(wrapped) if hasattr(each, "pruning_vars")}
    assert len(names) == len(set(names)) and set(names) == masked, "each that wrap prunes, once"


def _leaves(model: keras.Model) -> Iterator[layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def test_layers_stand_in_the_order_of_the_model() -> None:
    assert coupled_layers(stream()) == [("stem", "back0", "back1"), ("wide0",), ("wide1",), ("out",)]


def test_named_layers_alone() -> None:
    assert coupled_layers(stream(), ["back*", "out"]) == [("back0", "back1"), ("out",)]
    assert coupled_layers(chain(), ["one", "depth"]) == [("one", "depth")], "what is named is taken whatever its kind"


def test_a_resnet() -> None:
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=4)
    found = coupled_layers(model)
    assert sum(map(len, found)) == 54
    (first,) = (group for group in found if "conv2_block1_3_conv" in group)
    assert first == ("conv2_block1_0_conv", "conv2_block1_3_conv", "conv2_block2_3_conv", "conv2_block3_3_conv")
    assert ("conv2_block1_1_conv",) in found and found[-1] == ("predictions",)

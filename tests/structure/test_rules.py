"""What each kind of layer becomes when known units leave: its config, its weights, and what it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import SurgeryError
from tfprune.results import Plan, SurgeryReport
from tfprune.structure.inspect import couplings
from tfprune.structure.visit import RULES

layers = keras.layers
Input, Dense, Flatten = keras.Input, layers.Dense, layers.Flatten


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def chain(shape: tuple[int | None, ...], *steps: Any, **options: Any) -> keras.Model:
    """Steps one after the other, then a Dense called ``out``."""
    inputs = x = Input(shape, **options)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, Dense(2, name="out")(x), name="model")


def cut(model: keras.Model, **removed: Sequence[int]) -> tuple[keras.Model, SurgeryReport]:
    """Remove units of known number from couplings of known name; ``/`` in a name is ``__`` here."""
    gone = {name.replace("__", "/"): tuple(units) for name, units in removed.items()}
    sizes = {each.name: each.size for each in couplings(model)}
    assert set(gone) <= set(sizes), f"there are {sorted(sizes)}"
    return tfprune.apply(model, Plan(gone, {name: sizes[name] for name in gone}))


def layer_of(model: keras.Model, name: str) -> Any:
    return dict(oracle.walk(model))[name]


@dataclass(frozen=True)
class Case:
    """A model, the units that leave it, and what is said of its layers then."""

    name: str
    build: Callable[[], keras.Model]
    remove: dict[str, tuple[int, ...]]
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    shapes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    exact: bool = True

    def __str__(self) -> str:
        return self.name


def conv(filters: int, name: str, **more: Any) -> Any:
    return layers.Conv2D(filters, 3, name=name, padding="same", **more)


IMAGE = (4, 4, 3)

CASES = [
    # ------------------------------------------------------------------------------------- convolutions
    Case(
        "a grouped convolution loses a group with the channels it reads",
        lambda: chain(IMAGE, conv(8, "a"), conv(12, "b", groups=4), Flatten()),
        {"b__groups": (1,)},
        {"a": {"filters": 6}, "b": {"filters": 9, "groups": 3}},
        {"b": [(3, 3, 2, 9), (9,)]},
    ),
    Case(
        "a grouped convolution loses a place in every group",
        lambda: chain(IMAGE, conv(8, "a"), conv(12, "b", groups=4), Flatten()),
        {"b__inner": (0,), "b": (2,)},
        {"a": {"filters": 4}, "b": {"filters": 8, "groups": 4}},
        {"b": [(3, 3, 1, 8), (8,)]},
    ),
    Case(
        "a convolution with as many groups as channels",
        lambda: chain(IMAGE, conv(6, "a"), conv(6, "b", groups=6), Flatten()),
        {"a": (0, 5)},
        {"a": {"filters": 4}, "b": {"filters": 4, "groups": 4}},
        {"b": [(3, 3, 1, 4), (4,)]},
    ),
    Case(
        "depthwise with several channels each loses an input channel",
        lambda: chain(IMAGE, conv(4, "a"), layers.DepthwiseConv2D(3, depth_multiplier=3, name="b"), Flatten()),
        {"a": (1, 2)},
        {"a": {"filters": 2}, "b": {"depth_multiplier": 3}},
        {"b": [(3, 3, 2, 3), (6,)]},
    ),
    Case(
        "depthwise with several channels each loses one of each",
        lambda: chain(IMAGE, conv(4, "a"), layers.DepthwiseConv2D(3, depth_multiplier=3, name="b"), Flatten()),
        {"b__multiplier": (0,)},
        {"a": {"filters": 4}, "b": {"depth_multiplier": 2}},
        {"b": [(3, 3, 4, 2), (8,)]},
    ),
    Case(
        "depthwise along one axis",
        lambda: chain((8, 3), layers.Conv1D(4, 3, name="a"), layers.DepthwiseConv1D(3, name="b"), Flatten()),
        {"a": (3,)},
        {"a": {"filters": 3}},
        {"b": [(3, 3, 1), (3,)]},
    ),
    Case(
        "separable loses filters, inputs and what stands between",
        lambda: chain(IMAGE, conv(4, "a"), layers.SeparableConv2D(6, 3, depth_multiplier=2, name="b"), Flatten()),
        {"a": (0,), "b__multiplier": (1,), "b": (1, 3, 5)},
        {"b": {"filters": 3, "depth_multiplier": 1}},
        {"b": [(3, 3, 3, 1), (1, 1, 3, 3), (3,)]},
    ),
    Case(
        "transposed kernels have filters in front of inputs",
        lambda: chain(IMAGE, conv(4, "a"), layers.Conv2DTranspose(6, 3, strides=2, name="b"), Flatten()),
        {"a": (0,), "b": (1, 2)},
        {"b": {"filters": 4}},
        {"b": [(3, 3, 4, 3), (4,)]},
    ),
    Case(
        "three axes",
        lambda: chain((4, 4, 4, 2), layers.Conv3D(4, 2, name="a"), layers.Conv3DTranspose(3, 2, name="b"), Flatten()),
        {"a": (0, 1), "b": (2,)},
        {"a": {"filters": 2}, "b": {"filters": 2}},
        {"b": [(2, 2, 2, 2, 2), (2,)]},
    ),
    Case(
        "channels in front of what is flattened",
        lambda: chain(
            IMAGE, conv(4, "a"), layers.Permute((3, 1, 2)), Flatten(data_format="channels_first", name="flat")
        ),
        {"a": (1,)},
        {"a": {"filters": 3}},
        {"out": [(48, 2), (2,)]},
    ),
    Case(
        "channels in front through pooling, padding, cropping, upsampling",
        lambda: chain(
            IMAGE,
            conv(4, "a"),
            layers.Permute((3, 1, 2)),
            layers.ZeroPadding2D(1, data_format="channels_first"),
            layers.Cropping2D(((1, 0), (0, 2)), data_format="channels_first"),
            layers.UpSampling2D(2, data_format="channels_first"),
            layers.BatchNormalization(axis=1, name="norm"),
            layers.GlobalMaxPooling2D(data_format="channels_first"),
        ),
        {"a": (0, 2)},
        {"norm": {"axis": [1]}},
        {"norm": [(2,)] * 4, "out": [(2, 2), (2,)]},
    ),
    # ---------------------------------------------------------------------------------- normalizations
    Case(
        "group normalization loses a group unnoticed",
        lambda: chain(IMAGE, conv(8, "a"), layers.GroupNormalization(4, name="norm"), Flatten()),
        {"norm__outer": (0, 3)},
        {"a": {"filters": 4}, "norm": {"groups": 2}},
        {"norm": [(4,), (4,)]},
    ),
    Case(
        "a place in every group of group normalization is not exact",
        lambda: chain(IMAGE, conv(8, "a"), layers.GroupNormalization(2, name="norm"), Flatten()),
        {"norm__inner": (1,)},
        {"a": {"filters": 6}, "norm": {"groups": 2}},
        exact=False,
    ),
    Case(
        "layer normalization is not exact",
        lambda: chain((5, 3), Dense(6, name="a"), layers.LayerNormalization(name="norm")),
        {"a": (0, 4)},
        {"a": {"units": 4}},
        {"norm": [(4,), (4,)]},
        exact=False,
    ),
    Case(
        "batch normalization without scale",
        lambda: chain(IMAGE, conv(4, "a"), layers.BatchNormalization(scale=False, name="norm"), Flatten()),
        {"a": (3,)},
        shapes={"norm": [(3,)] * 3},
    ),
    # ---------------------------------------------------------------------------------------- attention
    Case(
        "attention loses heads, key size, value size and outputs",
        lambda: chain((5, 6), _SelfAttention(num_heads=4, key_dim=6, value_dim=4, output_shape=(10,), name="mha")),
        {"mha__heads": (2,), "mha__key_size": (0, 5), "mha__value_size": (1,), "mha": (7, 8, 9)},
        {"mha": {"num_heads": 3, "key_dim": 4, "value_dim": 3, "output_shape": (7,)}},
        {"mha": [(6, 3, 4), (3, 4), (6, 3, 4), (3, 4), (6, 3, 3), (3, 3), (3, 3, 7), (7,)]},
    ),
    Case(
        "attention reads fewer channels of what it is given",
        lambda: chain((5, 6), Dense(8, name="a"), _SelfAttention(num_heads=2, key_dim=3, name="mha")),
        {"a": (0, 1, 2)},
        {"a": {"units": 5}, "mha": {"num_heads": 2, "key_dim": 3, "value_dim": 3}},
        {"mha": [(5, 2, 3), (2, 3), (5, 2, 3), (2, 3), (5, 2, 3), (2, 3), (2, 3, 8), (8,)]},
    ),
    Case(
        "attention by itself compares queries and keys index by index",
        lambda: _attention_by_itself(layers.Attention(name="mix")),
        {"q": (1,), "v": (0, 2)},
        {"q": {"units": 5}, "k": {"units": 5}, "v": {"units": 2}},
    ),
    Case(
        "attention that adds has a scale for each",
        lambda: _attention_by_itself(layers.AdditiveAttention(name="mix"), 6),
        {"q": (1, 3)},
        {"q": {"units": 4}, "k": {"units": 4}, "v": {"units": 4}},
        {"mix": [(4,)]},
    ),
    Case(
        "attention that adds without a scale",
        lambda: _attention_by_itself(layers.AdditiveAttention(use_scale=False, name="mix")),
        {"q": (1,), "v": (0, 2)},
        {"q": {"units": 5}, "k": {"units": 5}, "v": {"units": 2}},
    ),
    # --------------------------------------------------------------------------------------- recurrence
    Case(
        "all four gates of an LSTM lose a unit",
        lambda: chain((5, 3), layers.LSTM(4, return_sequences=True, name="a"), layers.LSTM(3, name="b")),
        {"a": (1,), "b": (0, 2)},
        {"a": {"units": 3}, "b": {"units": 1}},
        {"a": [(3, 12), (3, 12), (12,)], "b": [(3, 4), (1, 4), (4,)]},
    ),
    Case(
        "a GRU with two biases",
        lambda: chain((5, 3), layers.GRU(4, reset_after=True, name="a")),
        {"a": (1, 3)},
        {"a": {"units": 2}},
        {"a": [(3, 6), (2, 6), (2, 6)]},
    ),
    Case(
        "a GRU with one bias",
        lambda: chain((5, 3), layers.GRU(4, reset_after=False, name="a")),
        {"a": (1, 3)},
        {"a": {"units": 2}},
        {"a": [(3, 6), (2, 6), (6,)]},
    ),
    Case(
        "states that start another layer leave with it",
        lambda: _states(),
        {"a": (0,)},
        {"a": {"units": 3}, "b": {"units": 3}},
    ),
    Case(
        "both directions of a concatenation have units of their own",
        lambda: chain((5, 3), layers.Bidirectional(layers.LSTM(4), name="bi")),
        {"bi__forward_lstm": (0, 1, 2), "bi__backward_lstm": (3,)},
        {},
        {"bi": [(3, 4), (1, 4), (4,), (3, 12), (3, 12), (12,)], "out": [(4, 2), (2,)]},
    ),
    *(
        Case(
            f"both directions lose the same where they meet by {mode}",
            lambda mode=mode: chain((5, 3), layers.Bidirectional(layers.GRU(4), merge_mode=mode, name="bi")),
            {"bi__forward_gru": (1, 2)},
            {"bi": {"merge_mode": mode}},
            {"bi": [(3, 6), (2, 6), (2, 6)] * 2, "out": [(2, 2), (2,)]},
        )
        for mode in ("sum", "mul", "ave")
    ),
    Case(
        "both directions apart",
        lambda: _directions_apart(),
        {"bi__forward_simple_rnn": (1, 2), "bi__backward_simple_rnn": (0,)},
        {"bi": {"merge_mode": None}},
        {"bi": [(3, 2), (2, 2), (2,), (3, 3), (3, 3), (3,)], "one": [(2, 2), (2,)], "two": [(3, 2), (2,)]},
    ),
    Case(
        "two directions of different kinds and sizes",
        lambda: chain(
            (5, 3),
            layers.Bidirectional(
                layers.LSTM(4, name="there"), backward_layer=layers.GRU(2, go_backwards=True, name="back"), name="bi"
            ),
        ),
        {"bi__forward_there": (0,), "bi__backward_back": (1,)},
        {},
        {"bi": [(3, 12), (3, 12), (12,), (3, 3), (1, 3), (2, 3)]},
    ),
    Case(
        "ConvLSTM",
        lambda: chain((3, 4, 4, 2), layers.ConvLSTM2D(4, 3, return_sequences=True, name="a"), Flatten()),
        {"a": (0, 2)},
        {"a": {"filters": 2}},
        {"a": [(3, 3, 2, 8), (3, 3, 2, 8), (8,)], "out": [(3 * 2 * 2 * 2, 2), (2,)]},
    ),
    Case(
        "ConvLSTM along one axis",
        lambda: chain((3, 6, 2), layers.ConvLSTM1D(4, 3, name="a"), Flatten()),
        {"a": (1,)},
        {"a": {"filters": 3}},
        {"a": [(3, 2, 12), (3, 3, 12), (12,)]},
    ),
    Case(
        "steps by themselves, a layer",
        lambda: chain((3, 5), layers.TimeDistributed(Dense(4, name="inner"), name="td")),
        {"td__inner": (0,)},
        {},
        {"td": [(5, 3), (3,)], "out": [(3, 2), (2,)]},
    ),
    Case(
        "steps by themselves, a model",
        lambda: chain((3, 5), layers.TimeDistributed(_two_dense("inner"), name="td")),
        {"td__inner__first": (0, 1), "td__inner__second": (2,)},
        {},
        {"td": [(5, 4), (4,), (4, 3), (3,)], "out": [(3, 2), (2,)]},
    ),
    # ------------------------------------------------------------------------------------ tables, Dense
    Case(
        "an embedding that masks",
        lambda: chain((5,), layers.Embedding(7, 4, mask_zero=True, name="a"), layers.LSTM(3, name="b"), dtype="int32"),
        {"a": (1, 2)},
        {"a": {"output_dim": 2, "input_dim": 7, "mask_zero": True}},
        {"a": [(7, 2)], "b": [(2, 12), (3, 12), (12,)]},
    ),
    Case(
        "two new axes of an EinsumDense, and its bias on them",
        lambda: chain(
            (5, 6),
            layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), bias_axes="de", name="a"),
            layers.EinsumDense("abde,def->abf", output_shape=(None, 6), bias_axes="f", name="b"),
        ),
        {"a__d": (0,), "a__e": (1, 2), "b": (5,)},
        {"a": {"output_shape": (None, 2, 2)}, "b": {"output_shape": (None, 5)}},
        {"a": [(6, 2, 2), (2, 2)], "b": [(2, 2, 5), (5,)]},
    ),
    # ------------------------------------------------------------------------------------------- shapes
    Case(
        "a reshape that counts its last axis itself",
        lambda: chain((4,), Dense(12, name="a"), layers.Reshape((3, -1), name="shape"), Dense(5, name="b")),
        {"shape__inner": (1, 3)},
        {"a": {"units": 6}, "shape": {"target_shape": (3, 2)}},
        {"b": [(2, 5), (5,)]},
    ),
    Case(
        "a reshape that counts its first axis itself",
        lambda: chain((4,), Dense(12, name="a"), layers.Reshape((-1, 4), name="shape"), Flatten()),
        {"shape__groups": (0,), "shape__inner": (3,)},
        {"a": {"units": 6}, "shape": {"target_shape": (2, 3)}},
        {"out": [(6, 2), (2,)]},
    ),
    Case(
        "a repeated vector and a permutation",
        lambda: chain(
            (4,), Dense(3, name="a"), layers.RepeatVector(5), layers.Permute((2, 1)), Flatten(), Dense(4, name="b")
        ),
        {"a": (1,)},
        {},
        {"b": [(10, 4), (4,)]},
    ),
    Case(
        "tf.reshape is called with new sizes",
        lambda: chain((5, 4), Dense(12, name="a"), lambda x: tf.reshape(x, (-1, 5, 3, 4)), _Sum(), Dense(3, name="b")),
        {"tf.reshape__inner": (1,)},
        {"a": {"units": 9}},
        {"b": [(3, 3), (3,)]},
    ),
    Case(
        "pieces of a split have sizes of their own",
        lambda: _pieces(lambda x: tf.split(x, 3, axis=-1)),
        {"a": (0, 1, 8)},
        {"a": {"units": 6}},
        {"p0": [(1, 2), (2,)], "p1": [(3, 2), (2,)], "p2": [(2, 2), (2,)]},
    ),
    Case(
        "pieces of given sizes",
        lambda: _pieces(lambda x: tf.split(x, [2, 3, 4], axis=-1)),
        {"a": (0, 4, 8)},
        {"a": {"units": 6}},
        {"p0": [(1, 2), (2,)], "p1": [(2, 2), (2,)], "p2": [(3, 2), (2,)]},
    ),
    Case(
        "slices that share channels have new bounds",
        lambda: _pieces(lambda x: [x[..., :5], x[:, 3:-2], x[..., -4:]]),
        {"a": (0, 3, 6)},
        {"a": {"units": 6}},
        {"p0": [(3, 2), (2,)], "p1": [(2, 2), (2,)], "p2": [(3, 2), (2,)]},
    ),
    Case(
        "one channel by its number stays, and is found again",
        lambda: _pieces(lambda x: [x[:, 2:3], x[:, 4, None], x]),
        {"a": (0, 1, 7)},
        {"a": {"units": 6}},
        {"p0": [(1, 2), (2,)], "p1": [(1, 2), (2,)], "p2": [(6, 2), (2,)]},
    ),
    Case(
        "zeros beside the channels",
        lambda: chain((5,), Dense(4, name="a"), lambda x: tf.pad(x, [[0, 0], [2, 1]]), Dense(3, name="b")),
        {"a": (0, 3)},
        {},
        {"b": [(5, 3), (3,)]},
    ),
    # --------------------------------------------------------------------------------------- elementwise
    Case(
        "slopes of their own for each channel",
        lambda: chain(IMAGE, conv(4, "a"), layers.PReLU(shared_axes=(1, 2), name="act"), Flatten()),
        {"a": (1,)},
        {},
        {"act": [(1, 1, 3)]},
    ),
    Case(
        "slopes of their own for each place",
        lambda: chain(IMAGE, conv(4, "a"), layers.PReLU(name="act"), Flatten()),
        {"a": (1,)},
        {},
        {"act": [(4, 4, 3)]},
    ),
    Case(
        "a factor a channel, as ConvNeXt has",
        lambda: chain(IMAGE, conv(4, "a"), _layer_scale(4), Flatten()),
        {"a": (1, 3)},
        {"scale": {"projection_dim": 2}},
        {"scale": [(2,)]},
    ),
    Case(
        "squeeze and excite: a factor a channel from a branch",
        lambda: _squeeze_excite(),
        {"a": (0, 2), "squeeze": (1,)},
        {"a": {"filters": 4}, "excite": {"filters": 4}, "squeeze": {"filters": 2}},
    ),
    Case(
        "a concatenation along channels",
        lambda: _merged(layers.Concatenate(name="merge")),
        {"a": (0,), "b": (2, 3)},
        {"a": {"units": 3}, "b": {"units": 2}},
        {"out": [(5, 2), (2,)]},
    ),
    *(
        Case(
            f"channels that meet in {kind.__name__}",
            lambda kind=kind: _merged(kind(name="merge")),
            {"a": (0, 3)},
            {"a": {"units": 2}, "b": {"units": 2}},
            {"out": [(2, 2), (2,)]},
        )
        for kind in (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)
    ),
    Case(
        "a sum over channels is not exact",
        lambda: _merged(layers.Dot(axes=-1, normalize=True, name="merge")),
        {"a": (1,)},
        {"a": {"units": 3}, "b": {"units": 3}},
        exact=False,
    ),
    Case(
        "a softmax over channels is not exact",
        lambda: chain((5,), Dense(6, activation="softmax", name="a")),
        {"a": (1,)},
        {"a": {"units": 5}},
        exact=False,
    ),
    Case(
        "a softmax layer over channels is not exact",
        lambda: chain((5,), Dense(6, name="a"), layers.Softmax()),
        {"a": (1,)},
        {"a": {"units": 5}},
        exact=False,
    ),
]


class _SelfAttention:
    """Attention of a sequence to itself, as one step of a chain."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, x: Any) -> Any:
        return layers.MultiHeadAttention(**self.options)(x, x)


class _Sum:
    """Puts heads back beside each other, unlike a reshape with a kernel that reads both axes."""

    def __call__(self, x: Any) -> Any:
        return layers.EinsumDense("abcd,cde->abe", output_shape=(None, 3), name="heads")(x)


def _two_dense(name: str) -> keras.Model:
    return keras.Sequential([Dense(6, input_shape=(5,), name="first"), Dense(4, name="second")], name=name)


def _attention_by_itself(layer: Any, values: int = 4) -> keras.Model:
    inputs = Input((5, 3))
    x = layer([Dense(6, name="q")(inputs), Dense(values, name="v")(inputs), Dense(6, name="k")(inputs)])
    return keras.Model(inputs, Dense(2, name="out")(x))


def _states() -> keras.Model:
    inputs = Input((5, 3))
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True, name="a")(inputs)
    x = layers.LSTM(4, name="b")(x, initial_state=[h, c])
    return keras.Model(inputs, Dense(2, name="out")(x))


def _directions_apart() -> keras.Model:
    inputs = Input((5, 3))
    one, two = layers.Bidirectional(layers.SimpleRNN(4), merge_mode=None, name="bi")(inputs)
    return keras.Model(inputs, [Dense(2, name="one")(one), Dense(2, name="two")(two)])


def _pieces(take: Callable[[Any], Sequence[Any]]) -> keras.Model:
    inputs = Input((5,))
    parts = take(Dense(9, name="a")(inputs))
    return keras.Model(inputs, [Dense(2, name=f"p{place}")(part) for place, part in enumerate(parts)])


def _layer_scale(size: int) -> Any:
    kind = next(each for each in RULES if each.__name__ == "LayerScale")
    return kind(0.1, size, name="scale")


def _squeeze_excite() -> keras.Model:
    inputs = Input(IMAGE)
    x = conv(6, "a")(inputs)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(3, 1, activation="relu", name="squeeze")(s)
    s = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(s)
    return keras.Model(inputs, Dense(2, name="out")(Flatten()(layers.Multiply()([x, s]))))


def _merged(layer: Any) -> keras.Model:
    inputs = Input((5,))
    x = layer([Dense(4, name="a")(inputs), Dense(4, name="b")(inputs)])
    return keras.Model(inputs, Dense(2, name="out")(x))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_becomes_what_is_left_of_it(case: Case) -> None:
    model = oracle.randomise(case.build())
    small, report = cut(model, **case.remove)
    for name, expected in case.config.items():
        config = layer_of(small, name).get_config()
        found = {key: _plain(config[key]) for key in expected}
        assert found == {key: _plain(value) for key, value in expected.items()}, name
    for name, shapes in case.shapes.items():
        assert [tuple(weight.shape) for weight in layer_of(small, name).weights] == shapes, name
    assert report.exact == case.exact
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    oracle.assert_slices(small, model, report)
    if case.exact:
        oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


# ------------------------------------------------------------------------------- attention to the number


def test_queries_are_scaled_as_the_key_size_shrinks() -> None:
    model = oracle.randomise(chain((5, 6), _SelfAttention(num_heads=2, key_dim=9, name="mha")))
    small, _ = cut(model, mha__key_size=(0, 1, 2, 3, 4))
    old, new = (each.get_layer("mha") for each in (model, small))
    share = math.sqrt(4 / 9)
    np.testing.assert_allclose(new._query_dense.kernel, old._query_dense.kernel.numpy()[..., 5:] * share, rtol=1e-6)
    np.testing.assert_allclose(new._query_dense.bias, old._query_dense.bias.numpy()[..., 5:] * share, rtol=1e-6)
    np.testing.assert_array_equal(new._key_dense.kernel, old._key_dense.kernel.numpy()[..., 5:])
    np.testing.assert_array_equal(new._key_dense.bias, old._key_dense.bias.numpy()[..., 5:])
    np.testing.assert_array_equal(new._value_dense.kernel, old._value_dense.kernel)


def test_attention_across_tensors_keeps_its_scores_and_masks() -> None:
    query, value = Input((4, 6)), Input((5, 3))
    attend = layers.MultiHeadAttention(3, 4, name="mha")
    x, scores = attend(Dense(8, name="q")(query), Dense(7, name="v")(value), return_attention_scores=True)
    model = oracle.randomise(keras.Model([query, value], [Dense(2)(x), Dense(2)(Flatten()(scores))]))
    small, report = cut(model, mha__heads=(1,), q=(0,), v=(1, 2))
    assert [tuple(each.shape) for each in small.get_layer("mha").weights[:4]] == [(7, 2, 4), (2, 4), (5, 2, 4), (2, 4)]
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))
    causal = chain((5, 6), lambda x: layers.MultiHeadAttention(2, 3, name="mha")(x, x, use_causal_mask=True))
    small, report = cut(oracle.randomise(causal), mha__heads=(0,))
    oracle.assert_equal(small, causal, report, oracle.random_inputs(causal))


def test_heads_of_attention_that_is_written_out() -> None:
    """Dense, Reshape, Permute and two products, as a ViT has it: heads and places in them can leave."""
    inputs = Input((5, 8))

    def heads(name: str) -> Any:
        x = layers.Reshape((5, 4, 3), name=f"{name}_split")(Dense(12, name=name)(inputs))
        return layers.Permute((2, 1, 3))(x)

    scores = tf.nn.softmax(tf.matmul(heads("q"), heads("k"), transpose_b=True))
    x = layers.Permute((2, 1, 3))(tf.matmul(scores, heads("v")))
    model = oracle.randomise(keras.Model(inputs, Dense(2, name="out")(layers.Reshape((5, 12), name="join")(x))))
    kinds = {each.name: (each.kind, each.size) for each in couplings(model)}
    assert sorted(kinds.values()) == [("heads", 4), ("key_size", 3), ("key_size", 3)]
    small, report = cut(model, k_split__heads=(1, 3))
    assert small.get_layer("q").units == small.get_layer("v").units == 6
    assert small.get_layer("q_split").target_shape == (5, 2, 3) and small.get_layer("join").target_shape == (5, 6)
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


# ------------------------------------------------------------------------------------ shared and nested


def test_a_shared_layer_loses_what_both_its_calls_allow() -> None:
    one, two = Input((5,)), Input((5,))
    shared, first = Dense(6, name="shared"), Dense(4, name="first")
    x = layers.Concatenate()([shared(first(one)), shared(first(two))])
    model = oracle.randomise(keras.Model([one, two], Dense(2, name="out")(x)))
    small, report = cut(model, shared=(0, 5), first=(1,))
    assert [tuple(each.shape) for each in small.get_layer("shared").weights] == [(3, 4), (4,)]
    assert tuple(small.get_layer("out").kernel.shape) == (8, 2)
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_a_layer_that_is_called_on_its_own_output_reads_what_it_makes() -> None:
    inputs = Input((5,))
    again = Dense(4, name="again")
    x = again(again(Dense(4, name="a")(inputs)))
    model = oracle.randomise(keras.Model(inputs, Dense(2, name="out")(x)))
    small, report = cut(model, a=(2,))
    assert tuple(small.get_layer("again").kernel.shape) == (3, 3)
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_a_nested_model_called_twice_is_one_model_still() -> None:
    one, two = Input((3,)), Input((3,))
    tower = keras.Sequential([Dense(6, input_shape=(4,), name="first"), Dense(4, name="second")], name="tower")
    a, b = tower(Dense(4, name="a")(one)), tower(Dense(4, name="b")(two))
    model = oracle.randomise(keras.Model([one, two], Dense(2, name="out")(layers.Subtract()([a, b]))))
    small, report = cut(model, tower__first=(0, 1), tower__second=(3,), b=(1,))
    inner = small.get_layer("tower")
    assert len(inner.inbound_nodes) == len(tower.inbound_nodes) and inner.input_shape == (None, 3)
    assert inner.get_layer("first").units == 4 and inner.get_layer("second").units == 3
    assert small.get_layer("a").units == small.get_layer("b").units == 3, "its one input serves both calls"
    assert {"tower/first", "tower/second", "a", "b", "out"} == set(report.layers)
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_a_sequential_model_stays_one_in_another_too() -> None:
    inner = keras.Sequential([Dense(6, name="first"), layers.ReLU(), Dense(4, name="second")], name="inner")
    model = keras.Sequential([Input((5,)), inner, Dense(3, name="mid"), Dense(2, name="out")], name="outer")
    small, _ = cut(model, inner__first=(1,), mid=(0,))
    assert type(small) is keras.Sequential and type(small.get_layer("inner")) is keras.Sequential
    assert (small.name, [layer.name for layer in small.layers]) == ("outer", ["inner", "mid", "out"])
    assert small.get_layer("inner").get_layer("first").units == 5


def test_structures_of_inputs_and_outputs_keep_their_keys() -> None:
    inputs = {"left": Input((4,), name="left"), "right": Input((3,), name="right")}
    x = layers.Add()([Dense(6, name="a")(inputs["left"]), Dense(6, name="b")(inputs["right"])])
    outputs = {"mean": Dense(1, name="m")(x), "rest": [Dense(2, name="r")(x)]}
    model = oracle.randomise(keras.Model(inputs, outputs))
    small, _ = cut(model, a=(0, 1, 2))
    given = {"right": np.ones((2, 3), np.float32), "left": np.ones((2, 4), np.float32)}
    found = small(given)
    assert set(found) == {"mean", "rest"} and isinstance(found["rest"], list)
    kept = {name: np.zeros_like(model.get_layer(name).kernel) for name in ("m", "r")}
    for name, kernel in kept.items():
        kernel[3:] = model.get_layer(name).kernel.numpy()[3:]
        model.get_layer(name).kernel.assign(kernel)
    expected = model(given)
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["rest"][0], expected["rest"][0], rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------------- flags, types, statistics


def test_frozen_layers_stay_frozen_in_models_too() -> None:
    inner = keras.Sequential([Dense(6, input_shape=(5,), name="first"), Dense(4, name="second")], name="inner")
    inner.get_layer("first").trainable = False
    inputs = Input((5,))
    x = layers.BatchNormalization(name="norm", trainable=False)(Dense(4, name="a")(inner(inputs)))
    model = keras.Model(inputs, Dense(2, name="out")(x))
    small, _ = cut(model, inner__first=(0,), a=(1,))
    for name, layer in oracle.walk(small):
        assert layer.trainable == layer_of(model, name).trainable, name
    assert len(small.trainable_weights) == len(model.trainable_weights) == 6
    model.get_layer("inner").trainable = False
    small, _ = cut(model, inner__first=(0,), a=(1,))
    assert not small.get_layer("inner").trainable and len(small.trainable_weights) == len(model.trainable_weights) == 4


def test_a_part_of_a_layer_that_is_frozen_stays_frozen() -> None:
    model = chain((5, 3), layers.Bidirectional(layers.LSTM(4), name="bi"), Dense(3, name="a"))
    model.get_layer("bi").forward_layer.trainable = False
    small, _ = cut(model, bi__forward_lstm=(0,), a=(1,))
    bi = small.get_layer("bi")
    assert not bi.forward_layer.trainable and bi.backward_layer.trainable
    assert len(small.trainable_weights) == len(model.trainable_weights)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64", "mixed_float16"])
def test_types_are_kept(policy: str) -> None:
    inputs = Input((4, 4, 3))
    x = conv(6, "a", dtype=policy)(inputs)
    x = layers.BatchNormalization(name="norm", dtype=policy)(x)
    x = Dense(4, name="b", dtype=policy)(Flatten(dtype=policy)(x))
    model = keras.Model(inputs, Dense(2, name="out", dtype="float32")(x))
    small, _ = cut(model, a=(1, 2), b=(0,))
    for old, new in zip(model.layers, small.layers, strict=True):
        assert new.dtype_policy.name == old.dtype_policy.name
        assert [weight.dtype for weight in new.weights] == [weight.dtype for weight in old.weights]
    assert small.predict(np.ones((1, 4, 4, 3)), verbose=0).dtype == np.float32


def test_what_a_normalization_has_learnt_of_the_data_is_in_the_result() -> None:
    data = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    norm = layers.Normalization(name="norm")
    norm.adapt(data)
    model = oracle.randomise(chain((4,), Dense(6, name="a")))
    inputs = Input((4,))
    model = keras.Model(inputs, model(norm(inputs)))
    small, report = cut(model, model__a=(0, 3))
    np.testing.assert_array_equal(small.get_layer("norm").mean, norm.mean)
    np.testing.assert_allclose(small.get_layer("norm")(data), norm(data), rtol=1e-6)
    oracle.assert_equal(small, model, report, [data[:3]])


# ---------------------------------------------------------------------------------- layers without a rule


@keras.utils.register_keras_serializable("tfprune_tests_rules")
class Backwards(layers.Layer):
    """Channels in the opposite order, which nobody told tfprune."""

    def call(self, x: Any) -> Any:
        return tf.reverse(x, [-1])


@keras.utils.register_keras_serializable("tfprune_tests_rules")
class Gain(layers.Layer):
    """A factor a channel."""

    def build(self, shape: Any) -> None:
        self.gain = self.add_weight("gain", (shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.gain


def test_a_layer_without_a_rule_keeps_what_it_touches_and_is_named() -> None:
    model = chain((5,), Dense(6, name="a"), Backwards(name="own"), Dense(4, name="b"))
    small, report = tfprune.shrink(model, ratio=0.5)
    assert (small.get_layer("a").units, small.get_layer("b").units) == (6, 2)
    assert report.frozen["own"] == "Backwards has no rule"
    assert set(report.layers) == {"b", "out"}


def test_a_rule_of_ones_own_stands_for_the_class_and_not_for_those_that_derive_from_it() -> None:
    model = chain((5,), Dense(6, name="a"), Gain(name="own"))
    with pytest.raises(SurgeryError, match=r"own.*Gain has no rule"):
        tfprune.shrink(model, ratio=0.5)
    derived = type("Derived", (Gain,), {})
    try:

        @tfprune.rule(Gain)
        def gain(layer: Any, visit: Any) -> Any:
            visit.weight(layer.gain, visit.x.rows[-1])
            return visit.x

        small, report = cut(oracle.randomise(model), a=(0, 2))
        assert small.get_layer("own").gain.shape == (4,) and "own" in report.layers
        np.testing.assert_array_equal(report.layers["own"].kept_outputs, [1, 3, 4, 5])
        oracle.assert_equal(small, model, report, oracle.random_inputs(model))
        with pytest.raises(SurgeryError, match="Derived has no rule"):
            tfprune.shrink(chain((5,), Dense(6, name="a"), derived(name="own")), ratio=0.5)
    finally:
        del RULES[Gain]


def test_an_activation_that_mixes_channels_keeps_them() -> None:
    def against_the_mean(x: Any) -> Any:
        return x - tf.reduce_mean(x, axis=-1, keepdims=True)

    for steps in (
        [Dense(6, activation=against_the_mean, name="a")],
        [Dense(6, name="a"), layers.Activation(against_the_mean, name="act")],
        [layers.Reshape((5, 1)), layers.SimpleRNN(6, activation=against_the_mean, name="a")],
    ):
        model = chain((5,), *steps, Dense(4, name="b"))
        small, report = tfprune.shrink(model, ratio=0.5)
        (old,) = (layer for layer in model.layers if layer.name == "a")
        assert small.get_layer("a").units == old.units == 6 and small.get_layer("b").units == 2
        name = "act" if len(steps) == 2 and steps[-1].name == "act" else "a"
        assert "against_the_mean mixes channels" in report.frozen[name]


def test_an_activation_of_ones_own_that_takes_each_number_alone_keeps_nothing() -> None:
    model = chain((5,), Dense(6, activation=lambda x: x * tf.sigmoid(1.7 * x), name="a"))
    small, report = tfprune.shrink(model, ratio=0.5)
    assert small.get_layer("a").units == 3 and "a" not in report.frozen


def _square(weights: Any) -> Any:
    return 0.5 * tf.reduce_sum(weights**2)


def test_functions_of_ones_own_need_not_be_registered() -> None:
    model = chain((5,), Dense(6, kernel_regularizer=_square, bias_constraint=tf.abs, activation=tf.sin, name="a"))
    small, _ = tfprune.shrink(model, ratio=0.5)
    layer = small.get_layer("a")
    assert layer.bias_constraint is tf.abs and layer.activation is tf.sin
    assert float(small.losses[0]) == pytest.approx(float(_square(layer.kernel)))


def test_a_layer_without_a_rule_that_nothing_is_made_before_is_named_too() -> None:
    cells = [layers.LSTMCell(4), layers.LSTMCell(3)]
    _, report = tfprune.shrink(chain((5, 3), layers.RNN(cells, name="own"), Dense(4, name="a")), ratio=0.5)
    assert report.frozen["own"] == "RNN has no rule"
    with pytest.raises(SurgeryError, match=r"nothing to remove; what holds it: own \(RNN has no rule\)"):
        tfprune.shrink(chain((5, 3), layers.RNN(cells, name="own")), ratio=0.5)


def test_losses_and_metrics_that_were_added_to_the_model_stay() -> None:
    inputs = Input((5,))
    hidden = Dense(8, name="a")(inputs)
    code = Dense(4, name="code")(hidden)
    model = oracle.randomise(keras.Model(inputs, Dense(2, name="out")(code)))
    model.add_loss(tf.reduce_mean(tf.square(code)))
    model.add_metric(tf.reduce_max(code), name="largest")
    model.compile("sgd", "mse")
    small, report = cut(model, a=(0, 3))
    assert report.layers["a"].kept_outputs.tolist() == [1, 2, 4, 5, 6, 7]
    x, y = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32), np.zeros((6, 2), np.float32)
    for index in (0, 3):  # no more of these in the original
        kernel = model.get_layer("code").kernel.numpy()
        kernel[index] = 0
        model.get_layer("code").kernel.assign(kernel)
    expected, found = (each.evaluate(x, y, verbose=0, return_dict=True) for each in (model, small))
    assert set(expected) == {"loss", "largest"}
    assert found == pytest.approx(expected, rel=1e-5) and len(small.losses) == len(model.losses) == 1
    kernel = small.get_layer("a").kernel.numpy()
    small.fit(x, y, verbose=0)
    assert not np.array_equal(kernel, small.get_layer("a").kernel)


def test_outputs_are_kept_and_named() -> None:
    small, report = tfprune.shrink(chain((5,), Dense(6, name="a")), ratio=0.5)
    assert small.output_shape == (None, 2) and report.frozen == {"out": "its outputs are the model's"}


def test_an_output_that_others_read_too_is_kept() -> None:
    inputs = Input((5,))
    a = Dense(6, name="a")(inputs)
    b = Dense(6, name="b")(a)
    model = keras.Model(inputs, [a, Dense(2, name="out")(b)])
    small, report = tfprune.shrink(model, ratio=0.5)
    assert small.get_layer("a").units == 6 and small.get_layer("b").units == 3
    assert report.frozen["a"] == "its outputs are the model's"


# ------------------------------------------------------------------------------------------------- ignore


def towers() -> keras.Model:
    inner = keras.Sequential([Dense(8, input_shape=(8,), name="a"), Dense(8, name="b")], name="tower")
    inputs = Input((5,))
    x = Dense(8, name="head_1")(inner(Dense(8, name="stem")(inputs)))
    return keras.Model(inputs, Dense(2, name="out")(Dense(8, name="head_2")(x)))


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ((), set()),
        (["stem"], {"stem"}),
        ("stem", {"stem"}),
        (["head*"], {"head_1", "head_2"}),
        (["head_?", "stem"], {"head_1", "head_2", "stem"}),
        (["tower/a"], {"tower/a"}),
        (["tower"], {"tower/a", "tower/b"}),
        (["tower/*"], {"tower/a", "tower/b"}),
        (["*_1", "*/b"], {"head_1", "tower/b"}),
    ],
)
def test_ignored_layers_keep_all_they_make(ignore: Sequence[str], kept: set[str]) -> None:
    small, _ = tfprune.shrink(towers(), ratio=0.5, ignore=ignore)
    units = {name: layer.units for name, layer in oracle.walk(small) if hasattr(layer, "units") and name != "out"}
    assert units == {name: 8 if name in kept else 4 for name in units} and kept <= set(units)


def test_an_ignored_layer_says_so_and_reads_fewer_inputs_all_the_same() -> None:
    small, report = tfprune.shrink(towers(), ratio=0.5, ignore=["head_1"])
    assert report.frozen["head_1"] == "it is to be ignored"
    assert tuple(small.get_layer("head_1").kernel.shape) == (4, 8)


def test_ignored_attention_keeps_its_heads() -> None:
    model = chain((5, 6), _SelfAttention(num_heads=4, key_dim=3, name="mha"), Dense(4, name="a"))
    small, _ = tfprune.shrink(model, ratio=0.5, ignore=["mha"])
    assert small.get_layer("mha")._num_heads == 4 and small.get_layer("a").units == 2
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert small.get_layer("mha")._num_heads == 2

"""Transformers of Keras' attention and of attention written by hand: heads, widths and blocks."""

from __future__ import annotations

import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf

layers = keras.layers

WIDTH, HEADS, KEY, MLP, DEPTH = 16, 4, 6, 24, 2
ALL = ("filters", "heads", "key_size", "blocks", "hidden")


def text_classifier() -> keras.Model:
    """Tokens to 3 classes; normalization after each Add, as in BERT."""
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    x = layers.Embedding(11, WIDTH, name="embedding")(tokens)
    x = layers.Dropout(0.1)(x)
    for at in range(DEPTH):
        y = layers.MultiHeadAttention(HEADS, KEY, name=f"attention_{at}")(x, x)
        x = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{at}a")(layers.Add(name=f"add_{at}a")([x, y]))
        y = layers.Dense(MLP, "gelu", name=f"up_{at}")(x)
        y = layers.Dense(WIDTH, name=f"down_{at}")(y)
        x = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{at}b")(layers.Add(name=f"add_{at}b")([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    return oracle.randomise(keras.Model(tokens, layers.Dense(3, name="head")(x), name="text"))


def vit(fused: bool, einsum: bool) -> keras.Model:
    """Patches of an 8x8 picture to 3 classes; normalization before each branch; attention by hand."""
    picture = keras.Input((8, 8, 3), name="picture")
    x = layers.Conv2D(WIDTH, 4, strides=4, name="patches")(picture)
    x = layers.Reshape((4, WIDTH), name="positions")(x)
    for at in range(DEPTH):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{at}a")(x)
        y = _attention(y, fused, einsum, at)
        x = layers.Add(name=f"add_{at}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{at}b")(x)
        y = layers.Dense(MLP, "gelu", name=f"up_{at}")(y)
        y = layers.Dense(WIDTH, name=f"down_{at}")(y)
        x = x + y if at else layers.Add(name=f"add_{at}b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = x[:, 0]
    return oracle.randomise(keras.Model(picture, layers.Dense(3, name="head")(x), name="vit"))


def _attention(x, fused: bool, einsum: bool, at: int):
    split = layers.Reshape((4, HEADS, KEY), name=f"split_{at}")
    if fused:
        qkv = layers.Dense(3 * HEADS * KEY, name=f"qkv_{at}")(x)
        qkv = layers.Reshape((4, 3, HEADS, KEY), name=f"fused_{at}")(qkv)
        query, key, value = tf.unstack(qkv, axis=2)
    else:
        query, key, value = (split(layers.Dense(HEADS * KEY, name=f"{part}_{at}")(x)) for part in ("q", "k", "v"))
    if einsum:
        scores = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", query, key) * KEY**-0.5)
        y = tf.einsum("bhqk,bkhd->bqhd", scores, value)
    else:
        query, key, value = (tf.transpose(part, (0, 2, 1, 3)) for part in (query, key, value))
        scores = layers.Softmax(name=f"softmax_{at}")(tf.matmul(query, key, transpose_b=True) * KEY**-0.5)
        y = tf.transpose(tf.matmul(scores, value), (0, 2, 1, 3))
    y = layers.Reshape((4, HEADS * KEY), name=f"merge_{at}")(y)
    return layers.Dense(WIDTH, name=f"project_{at}")(y)


VITS = [
    pytest.param(fused, einsum, id=f"{'fused' if fused else 'separate'}_{'einsum' if einsum else 'matmul'}")
    for fused in (False, True)
    for einsum in (False, True)
]


def prove(model: keras.Model, gradients: bool = False, **asked) -> tuple[keras.Model, object]:
    shrunk, report = tfprune.shrink(model, **asked)
    inputs = oracle.random_inputs(model)
    oracle.assert_slices(shrunk, model, report)
    oracle.assert_equal(shrunk, model, report, inputs)
    if gradients:
        oracle.assert_same_gradients(shrunk, model, report, inputs)
    return shrunk, report


def shape(model: keras.Model, name: str) -> tuple[int, ...]:
    return tuple(model.get_layer(name).weights[0].shape)


def test_text_classifier_loses_heads_and_neurons() -> None:
    model = text_classifier()
    shrunk, report = prove(model, gradients=True, ratio=0.5)
    for at in range(DEPTH):
        assert shape(shrunk, f"attention_{at}") == (WIDTH, HEADS // 2, KEY)
        assert shrunk.get_layer(f"attention_{at}").get_config()["num_heads"] == HEADS // 2
        assert shape(shrunk, f"up_{at}") == (WIDTH, MLP // 2)
        assert shape(shrunk, f"down_{at}") == (MLP // 2, WIDTH)
    assert shape(shrunk, "embedding") == (11, WIDTH), "the stream passes normalization: it shrinks only where asked to"
    assert all(layer.exact for layer in report.layers.values())
    inputs = oracle.random_inputs(model)
    oracle.assert_saves(shrunk, inputs)
    oracle.assert_converts(shrunk, inputs)


def test_text_classifier_loses_key_size() -> None:
    shrunk, _ = prove(text_classifier(), gradients=True, ratio=0.5, units=("key_size",))
    for at in range(DEPTH):
        assert shape(shrunk, f"attention_{at}") == (WIDTH, HEADS, KEY // 2)
        assert shrunk.get_layer(f"attention_{at}").get_config()["key_dim"] == KEY // 2


def test_text_classifier_loses_width() -> None:
    shrunk, report = prove(text_classifier(), gradients=True, ratio=0.5, units=("hidden",))
    assert shape(shrunk, "embedding") == (11, WIDTH // 2)
    assert shape(shrunk, "up_0") == (WIDTH // 2, MLP)
    assert shape(shrunk, "norm_0a") == (WIDTH // 2,)
    assert not report.layers["norm_0a"].exact


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_text_classifier_loses_a_bit_of_everything(scope: str) -> None:
    prove(text_classifier(), gradients=True, ratio=0.4, units=ALL, scope=scope)


@pytest.mark.parametrize(("fused", "einsum"), VITS)
def test_vit_loses_heads_and_neurons(fused: bool, einsum: bool) -> None:
    model = vit(fused, einsum)
    shrunk, report = prove(model, gradients=True, ratio=0.5)
    for at in range(DEPTH):
        if fused:
            assert shape(shrunk, f"qkv_{at}") == (WIDTH, 3 * HEADS // 2 * KEY)
        else:
            assert {shape(shrunk, f"{part}_{at}") for part in "qkv"} == {(WIDTH, HEADS // 2 * KEY)}
        assert shape(shrunk, f"project_{at}") == (HEADS // 2 * KEY, WIDTH)
        assert shape(shrunk, f"up_{at}") == (WIDTH, MLP // 2)
    assert shape(shrunk, "patches")[-1] == WIDTH
    assert all(layer.exact for layer in report.layers.values())
    inputs = oracle.random_inputs(model)
    if not einsum:  # Keras itself cannot load a model with tf.einsum in it
        oracle.assert_saves(shrunk, inputs)
    if fused != einsum:  # both ways of either, without the cost of all four
        oracle.assert_converts(shrunk, inputs)


@pytest.mark.parametrize(("fused", "einsum"), VITS)
def test_vit_loses_key_size(fused: bool, einsum: bool) -> None:
    shrunk, _ = prove(vit(fused, einsum), ratio=0.5, units=("key_size",))
    assert shrunk.count_params() < vit(fused, einsum).count_params()


@pytest.mark.parametrize(("fused", "einsum"), VITS)
def test_vit_loses_blocks(fused: bool, einsum: bool) -> None:
    model = vit(fused, einsum)
    shrunk, report = prove(model, ratio=0.5, units=("blocks",), scope="global")
    assert len(report.blocks) == DEPTH
    assert len(shrunk.layers) < len(model.layers)


@pytest.mark.parametrize(("fused", "einsum"), VITS)
def test_vit_loses_width(fused: bool, einsum: bool) -> None:
    shrunk, _ = prove(vit(fused, einsum), ratio=0.5, units=("hidden",))
    assert shape(shrunk, "patches")[-1] == WIDTH // 2
    assert shape(shrunk, "norm") == (WIDTH // 2,)


@pytest.mark.parametrize(("fused", "einsum"), VITS)
def test_vit_loses_a_bit_of_everything(fused: bool, einsum: bool) -> None:
    prove(vit(fused, einsum), gradients=True, ratio=0.4, units=ALL, scope="global" if fused else "layer")

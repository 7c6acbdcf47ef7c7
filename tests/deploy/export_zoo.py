"""Small models of every kind that is exported, trained or not, with data that they fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras

layers = keras.layers
COUNT = 96


def cnn() -> tuple[keras.Model, Any]:
    """Images; normalized, residual, pooled."""
    keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    y = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = layers.ReLU(name="relu2")(layers.Add(name="add")([x, y]))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x), name="cnn")
    return model, np.random.default_rng(1).random((COUNT, 8, 8, 3), np.float32)


def text() -> tuple[keras.Model, Any]:
    """Token ids; embedded, attended."""
    keras.utils.set_random_seed(0)
    inputs = layers.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, name="embedding")(inputs)
    x = layers.Add(name="sum")([x, layers.MultiHeadAttention(2, 4, name="attention")(x, x)])
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x), name="text")
    return model, np.random.default_rng(1).integers(0, 20, (COUNT, 6)).astype(np.int32)


def table() -> tuple[keras.Model, Any]:
    """Numbers, one input; logits."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(name="table")
    model.add(layers.Dense(16, activation="relu", input_shape=(7,), name="hidden"))
    model.add(layers.Dense(3, name="head"))
    return model, np.random.default_rng(1).normal(size=(COUNT, 7)).astype(np.float32)


def several() -> tuple[keras.Model, Any]:
    """Numbers and a category, by name, not in alphabetical order; two classes in two ways."""
    keras.utils.set_random_seed(0)
    inputs = {
        "numbers": layers.Input((5,), name="numbers"),
        "category": layers.Input((1,), dtype="int32", name="category"),
        "also": layers.Input((5,), name="also"),
    }
    known = layers.Flatten(name="flat")(layers.Embedding(4, 3, name="embedding")(inputs["category"]))
    x = layers.Concatenate(name="all")([inputs["numbers"], known, inputs["also"]])
    x = layers.Dense(12, activation="tanh", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x), name="several")
    rng = np.random.default_rng(1)
    numbers = {name: rng.normal(size=(COUNT, 5)).astype(np.float32) for name in ("numbers", "also")}
    return model, {**numbers, "category": rng.integers(0, 4, (COUNT, 1)).astype(np.int32)}


def balanced(build: Any) -> Any:
    """The model of a builder, its last layer set so that each class comes first for some examples."""

    def built() -> tuple[keras.Model, Any]:
        model, x = build()
        head = model.get_layer("head")
        seen = keras.Model(model.input, head.input).predict(x, verbose=0)
        kernel = np.random.default_rng(2).normal(size=head.kernel.shape).astype(np.float32)
        kernel *= 3 / (seen @ kernel).std(axis=0)
        head.set_weights([kernel, -(seen @ kernel).mean(axis=0)])
        return model, x

    return built


ZOO = {"cnn": balanced(cnn), "text": balanced(text), "table": balanced(table), "several": balanced(several)}


def labels_of(model: keras.Model, x: Any) -> np.ndarray:
    """Labels that a model answers rightly for the most part."""
    answers = np.asarray(model.predict(x, verbose=0)).argmax(axis=1)
    wrong = np.arange(len(answers)) % 8 == 0
    return np.where(wrong, (answers + 1) % model.output_shape[-1], answers)

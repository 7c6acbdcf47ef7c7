"""One example, or several, of every layer that both Kerases have, to be built with either of them.

An example is a function of the library's `keras` module and of the input tensors' values: it returns a layer that is
called on inputs of the given shapes. What cannot be an example of its own stands in `UNTESTED` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Example:
    """A layer to make with either library, and what it is called on."""

    make: Callable[[Any], Any]
    shapes: tuple[tuple[int | None, ...], ...] = ((6,),)
    dtype: str = "float32"
    kwargs: dict[str, Any] = field(default_factory=dict)
    as_list: bool = False
    high: int = 10
    prepare: Callable[[Any], None] | None = None


def _adapted(values: Any) -> Callable[[Any], None]:
    return lambda layer: layer.adapt(np.asarray(values))


_SEQUENCE = ((5, 4),)
_1D, _2D, _3D = ((12, 4),), ((8, 8, 4),), ((6, 6, 6, 2),)
_PAIR = ((4, 3), (4, 3))
_WORDS = ["the cat sat", "a dog sat", "the dog ran"]


def _layer(name: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    return lambda keras: getattr(keras.layers, name)(*args, **kwargs)


def _cell(name: str, **kwargs: Any) -> Callable[[Any], Any]:
    return lambda keras: keras.layers.RNN(getattr(keras.layers, name)(3, **kwargs))


EXAMPLES: dict[str, list[Example]] = {
    "Activation": [
        Example(_layer("Activation", name))
        for name in (
            "relu",
            "gelu",
            "swish",
            "softmax",
            "tanh",
            "elu",
            "selu",
            "softplus",
            "softsign",
            "sigmoid",
            "exponential",
            "hard_sigmoid",
            "mish",
            "relu6",
            "linear",
            "leaky_relu",
            "log_softmax",
        )
    ],
    "ActivityRegularization": [Example(_layer("ActivityRegularization", l1=0.1, l2=0.2))],
    "Add": [Example(_layer("Add"), _PAIR, as_list=True)],
    "AdditiveAttention": [
        Example(_layer("AdditiveAttention"), _PAIR, as_list=True),
        Example(_layer("AdditiveAttention", use_scale=False), (*_PAIR, (4, 3)), as_list=True),
    ],
    "AlphaDropout": [Example(_layer("AlphaDropout", 0.3, noise_shape=(1, 6), seed=3))],
    "Attention": [
        Example(_layer("Attention"), _PAIR, as_list=True),
        Example(_layer("Attention", use_scale=True, dropout=0.2), _PAIR, as_list=True),
        Example(_layer("Attention", use_scale=True, score_mode="concat"), _PAIR, as_list=True),
        Example(_layer("Attention"), _PAIR, as_list=True, kwargs={"use_causal_mask": True}),
    ],
    "Average": [Example(_layer("Average"), _PAIR, as_list=True)],
    "AveragePooling1D": [Example(_layer("AveragePooling1D", 3, strides=2, padding="same"), _1D)],
    "AveragePooling2D": [Example(_layer("AveragePooling2D", (2, 3), padding="same"), _2D)],
    "AveragePooling3D": [Example(_layer("AveragePooling3D", 2), _3D)],
    "BatchNormalization": [
        Example(_layer("BatchNormalization")),
        Example(_layer("BatchNormalization", scale=False, momentum=0.9, epsilon=1e-4, axis=1), _2D),
        Example(_layer("BatchNormalization", center=False, gamma_regularizer="l2", trainable=False), _2D),
        Example(_layer("BatchNormalization", synchronized=True), _2D),
    ],
    "Bidirectional": [
        Example(lambda keras: keras.layers.Bidirectional(keras.layers.LSTM(3)), _SEQUENCE),
        Example(
            lambda keras: keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), merge_mode="sum"),
            _SEQUENCE,
        ),
        Example(
            lambda keras: keras.layers.Bidirectional(
                keras.layers.LSTM(3, return_sequences=True),
                backward_layer=keras.layers.GRU(3, return_sequences=True, go_backwards=True),
                merge_mode="ave",
            ),
            _SEQUENCE,
        ),
    ],
    "CategoryEncoding": [
        Example(_layer("CategoryEncoding", num_tokens=10, output_mode=mode), ((4,),), "int32")
        for mode in ("multi_hot", "count")
    ]
    + [Example(_layer("CategoryEncoding", num_tokens=10, output_mode="one_hot"), ((1,),), "int32")],
    "CenterCrop": [Example(_layer("CenterCrop", 4, 5), _2D)],
    "Concatenate": [Example(_layer("Concatenate", axis=1), _PAIR, as_list=True)],
    "Conv1D": [
        Example(_layer("Conv1D", 6, 3, padding="causal", dilation_rate=2, activation="relu"), _1D),
        Example(_layer("Conv1D", 6, 3, groups=2, strides=2, use_bias=False), _1D),
    ],
    "Conv1DTranspose": [Example(_layer("Conv1DTranspose", 3, 3, strides=2, padding="same"), _1D)],
    "Conv2D": [
        Example(
            _layer("Conv2D", 6, 3, strides=2, padding="same", kernel_regularizer="l2", bias_constraint="non_neg"), _2D
        ),
        Example(_layer("Conv2D", 6, (3, 2), dilation_rate=2, groups=2, activation="gelu", dtype="mixed_bfloat16"), _2D),
    ],
    "Conv2DTranspose": [
        Example(_layer("Conv2DTranspose", 3, 3, strides=2, padding="same", output_padding=1), _2D),
        Example(_layer("Conv2DTranspose", 3, 4, strides=2, padding="valid"), _2D),
    ],
    "Conv3D": [Example(_layer("Conv3D", 3, 2, strides=2), _3D)],
    "Conv3DTranspose": [Example(_layer("Conv3DTranspose", 3, 2, strides=2), _3D)],
    "ConvLSTM1D": [Example(_layer("ConvLSTM1D", 3, 2, padding="same", recurrent_activation="sigmoid"), ((4, 6, 2),))],
    "ConvLSTM2D": [
        Example(_layer("ConvLSTM2D", 3, 2, return_sequences=True, recurrent_activation="sigmoid"), ((4, 6, 6, 2),)),
        Example(_layer("ConvLSTM2D", 3, 2, recurrent_activation="sigmoid", go_backwards=True), ((4, 6, 6, 2),)),
    ],
    "ConvLSTM3D": [Example(_layer("ConvLSTM3D", 2, 2, recurrent_activation="sigmoid"), ((3, 4, 4, 4, 2),))],
    "Cropping1D": [Example(_layer("Cropping1D", (1, 2)), _1D)],
    "Cropping2D": [Example(_layer("Cropping2D", ((1, 2), (0, 3))), _2D)],
    "Cropping3D": [Example(_layer("Cropping3D", 1), _3D)],
    "Dense": [
        Example(_layer("Dense", 3, activation="softmax", kernel_regularizer="l1", kernel_constraint="max_norm")),
        Example(_layer("Dense", 3, use_bias=False, kernel_initializer="he_normal", trainable=False), _SEQUENCE),
        Example(_layer("Dense", 3, activity_regularizer="l2", dtype="mixed_float16")),
    ],
    "DepthwiseConv1D": [Example(_layer("DepthwiseConv1D", 3, depth_multiplier=2, strides=2, padding="same"), _1D)],
    "DepthwiseConv2D": [
        Example(_layer("DepthwiseConv2D", 3, padding="same", depth_multiplier=2), _2D),
        Example(_layer("DepthwiseConv2D", 3, dilation_rate=2, use_bias=False), _2D),
    ],
    "Discretization": [
        Example(_layer("Discretization", bin_boundaries=[-1.0, 0.0, 1.0])),
        Example(_layer("Discretization", bin_boundaries=[-1.0, 0.0], output_mode="count")),
        Example(_layer("Discretization", num_bins=4), prepare=_adapted([[0.1], [0.5], [-1.0], [2.0], [3.0]])),
    ],
    "Dot": [Example(_layer("Dot", axes=(2, 2), normalize=True), _PAIR, as_list=True)],
    "Dropout": [Example(_layer("Dropout", 0.3, noise_shape=(None, 1), seed=3), ((6,),))],
    "ELU": [Example(_layer("ELU", alpha=0.7))],
    "EinsumDense": [
        Example(_layer("EinsumDense", "abc,cd->abd", output_shape=(None, 7), bias_axes="d"), _SEQUENCE),
        Example(_layer("EinsumDense", "...x,xy->...y", output_shape=3, activation="relu"), _SEQUENCE),
    ],
    "Embedding": [
        Example(_layer("Embedding", 10, 4, embeddings_regularizer="l2"), ((5,),), "int32"),
        Example(_layer("Embedding", 10, 4, mask_zero=True), ((5,),), "int32"),
    ],
    "Flatten": [Example(_layer("Flatten"), _2D)],
    "GRU": [
        Example(_layer("GRU", 3), _SEQUENCE),
        Example(_layer("GRU", 3, reset_after=False, return_sequences=True, go_backwards=True), _SEQUENCE),
        Example(_layer("GRU", 3, use_bias=False, dropout=0.2, recurrent_dropout=0.1, return_state=True), _SEQUENCE),
    ],
    "GRUCell": [Example(_cell("GRUCell"), _SEQUENCE), Example(_cell("GRUCell", reset_after=False), _SEQUENCE)],
    "GaussianDropout": [Example(_layer("GaussianDropout", 0.3, seed=2))],
    "GaussianNoise": [Example(_layer("GaussianNoise", 0.3, seed=2))],
    "GlobalAveragePooling1D": [Example(_layer("GlobalAveragePooling1D"), _1D)],
    "GlobalAveragePooling2D": [Example(_layer("GlobalAveragePooling2D", keepdims=True), _2D)],
    "GlobalAveragePooling3D": [Example(_layer("GlobalAveragePooling3D"), _3D)],
    "GlobalMaxPooling1D": [Example(_layer("GlobalMaxPooling1D"), _1D)],
    "GlobalMaxPooling2D": [Example(_layer("GlobalMaxPooling2D"), _2D)],
    "GlobalMaxPooling3D": [Example(_layer("GlobalMaxPooling3D", keepdims=True), _3D)],
    "GroupNormalization": [
        Example(_layer("GroupNormalization", groups=2), _2D),
        Example(_layer("GroupNormalization", groups=-1, epsilon=1e-4, center=False), _2D),
    ],
    "HashedCrossing": [
        Example(_layer("HashedCrossing", num_bins=5), ((1,), (1,)), "int32", as_list=True),
        Example(_layer("HashedCrossing", num_bins=5, output_mode="one_hot"), ((1,), (1,)), "string", as_list=True),
    ],
    "Hashing": [
        Example(_layer("Hashing", num_bins=5), ((3,),), "string"),
        Example(_layer("Hashing", num_bins=5, salt=[3, 7], output_mode="multi_hot"), ((3,),), "string"),
        Example(_layer("Hashing", num_bins=5, mask_value=0), ((3,),), "int32"),
    ],
    "Identity": [Example(_layer("Identity"))],
    "InputLayer": [Example(_layer("Identity"), dtype="int32"), Example(_layer("Identity"), ((None, 3),))],
    "IntegerLookup": [
        Example(_layer("IntegerLookup", vocabulary=[3, 5, 8]), ((4,),), "int64"),
        Example(
            _layer("IntegerLookup", vocabulary=[3, 5], output_mode="multi_hot", num_oov_indices=2), ((4,),), "int64"
        ),
        Example(_layer("IntegerLookup"), ((4,),), "int64", prepare=_adapted([[3], [5], [5]])),
        Example(_layer("IntegerLookup", vocabulary=[1, 2], mask_token=0), ((4,),), "int64"),
    ],
    "LSTM": [
        Example(_layer("LSTM", 3), _SEQUENCE),
        Example(_layer("LSTM", 3, return_sequences=True, return_state=True, unit_forget_bias=False), _SEQUENCE),
        Example(_layer("LSTM", 3, dropout=0.2, recurrent_regularizer="l2", unroll=True), _SEQUENCE),
    ],
    "LSTMCell": [Example(_cell("LSTMCell"), _SEQUENCE)],
    "LayerNormalization": [
        Example(_layer("LayerNormalization"), _SEQUENCE),
        Example(_layer("LayerNormalization", axis=(1, 2), epsilon=1e-6, scale=False), _SEQUENCE),
    ],
    "LeakyReLU": [Example(_layer("LeakyReLU")), Example(_layer("LeakyReLU", 0.1))],
    "Masking": [Example(_layer("Masking", mask_value=0.5), _SEQUENCE)],
    "MaxPooling1D": [Example(_layer("MaxPooling1D", 3, strides=1), _1D)],
    "MaxPooling2D": [Example(_layer("MaxPooling2D", 3, strides=2, padding="same"), _2D)],
    "MaxPooling3D": [Example(_layer("MaxPooling3D", 2), _3D)],
    "Maximum": [Example(_layer("Maximum"), _PAIR, as_list=True)],
    "Minimum": [Example(_layer("Minimum"), _PAIR, as_list=True)],
    "MultiHeadAttention": [
        Example(_layer("MultiHeadAttention", 2, 3), _PAIR),
        Example(_layer("MultiHeadAttention", 2, 3, value_dim=4, use_bias=False, dropout=0.1), (*_PAIR, (4, 3))),
        Example(_layer("MultiHeadAttention", 2, 3, output_shape=5), _PAIR, kwargs={"use_causal_mask": True}),
        Example(_layer("MultiHeadAttention", 2, 3), _PAIR, kwargs={"return_attention_scores": True}),
        Example(_layer("MultiHeadAttention", 2, 3, attention_axes=(1, 2)), ((4, 3, 5), (4, 3, 5))),
    ],
    "Multiply": [Example(_layer("Multiply"), _PAIR, as_list=True)],
    "Normalization": [
        Example(_layer("Normalization", mean=[1.0] * 6, variance=[2.0] * 6)),
        Example(_layer("Normalization", axis=None, mean=1.5, variance=2.0), _2D),
        Example(_layer("Normalization", axis=-1), ((3,),), prepare=_adapted(np.arange(30.0).reshape(10, 3))),
        Example(_layer("Normalization", invert=True), ((3,),), prepare=_adapted(np.arange(30.0).reshape(10, 3))),
    ],
    "PReLU": [Example(_layer("PReLU", alpha_initializer="ones", shared_axes=[1, 2]), _2D), Example(_layer("PReLU"))],
    "Permute": [Example(_layer("Permute", (2, 1)), _SEQUENCE)],
    "RNN": [
        Example(lambda keras: keras.layers.RNN(keras.layers.SimpleRNNCell(3), return_sequences=True), _SEQUENCE),
        Example(
            lambda keras: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)], return_state=True),
            _SEQUENCE,
        ),
    ],
    "RandomBrightness": [Example(_layer("RandomBrightness", 0.2, value_range=(0, 1), seed=1), _2D)],
    "RandomContrast": [Example(_layer("RandomContrast", 0.2, seed=1), _2D)],
    "RandomCrop": [Example(_layer("RandomCrop", 5, 5, seed=1), _2D)],
    "RandomFlip": [Example(_layer("RandomFlip", "horizontal", seed=1), _2D)],
    "RandomRotation": [Example(_layer("RandomRotation", 0.2, fill_mode="nearest", seed=1), _2D)],
    "RandomTranslation": [Example(_layer("RandomTranslation", 0.2, 0.1, seed=1), _2D)],
    "RandomZoom": [Example(_layer("RandomZoom", 0.2, seed=1), _2D)],
    "ReLU": [Example(_layer("ReLU", max_value=6.0, negative_slope=0.1, threshold=0.2))],
    "RepeatVector": [Example(_layer("RepeatVector", 3))],
    "Rescaling": [
        Example(_layer("Rescaling", 1 / 127.5, offset=-1.0)),
        Example(_layer("Rescaling", [1.0, 2.0, 3.0, 4.0], [0.0] * 4), _2D),
    ],
    "Reshape": [Example(_layer("Reshape", (-1, 2)))],
    "Resizing": [
        Example(_layer("Resizing", 5, 7), _2D),
        Example(_layer("Resizing", 5, 7, interpolation="nearest"), _2D),
        Example(_layer("Resizing", 5, 7, crop_to_aspect_ratio=True), _2D),
    ],
    "SeparableConv1D": [Example(_layer("SeparableConv1D", 6, 3, depth_multiplier=2), _1D)],
    "SeparableConv2D": [Example(_layer("SeparableConv2D", 6, 3, padding="same", activation="relu"), _2D)],
    "SimpleRNN": [Example(_layer("SimpleRNN", 3, activation="relu"), _SEQUENCE)],
    "SimpleRNNCell": [Example(_cell("SimpleRNNCell"), _SEQUENCE)],
    "Softmax": [Example(_layer("Softmax", axis=1), _SEQUENCE)],
    "SpatialDropout1D": [Example(_layer("SpatialDropout1D", 0.3), _1D)],
    "SpatialDropout2D": [Example(_layer("SpatialDropout2D", 0.3), _2D)],
    "SpatialDropout3D": [Example(_layer("SpatialDropout3D", 0.3), _3D)],
    "SpectralNormalization": [
        Example(lambda keras: keras.layers.SpectralNormalization(keras.layers.Conv2D(3, 2)), _2D),
        Example(lambda keras: keras.layers.SpectralNormalization(keras.layers.Dense(3), power_iterations=2)),
    ],
    "StackedRNNCells": [
        Example(
            lambda keras: keras.layers.RNN(
                keras.layers.StackedRNNCells([keras.layers.LSTMCell(3), keras.layers.LSTMCell(2)])
            ),
            _SEQUENCE,
        )
    ],
    "StringLookup": [
        Example(_layer("StringLookup", vocabulary=["a", "b", "c"]), ((4,),), "string"),
        Example(
            _layer("StringLookup", vocabulary=["a", "b"], output_mode="multi_hot", num_oov_indices=2), ((4,),), "string"
        ),
        Example(_layer("StringLookup", mask_token=""), ((4,),), "string", prepare=_adapted([["b"], ["c"], ["b"]])),
        Example(
            _layer("StringLookup", vocabulary=["a", "b"], idf_weights=[0.5, 0.7], output_mode="tf_idf"),
            ((4,),),
            "string",
        ),
    ],
    "Subtract": [Example(_layer("Subtract"), _PAIR, as_list=True)],
    "TextVectorization": [
        Example(_layer("TextVectorization", vocabulary=["cat", "sat", "dog"], output_sequence_length=4), ((),), "text"),
        Example(_layer("TextVectorization", output_mode="tf_idf"), ((),), "text", prepare=_adapted(_WORDS)),
        Example(_layer("TextVectorization", ngrams=2, output_mode="count"), ((),), "text", prepare=_adapted(_WORDS)),
    ],
    "TimeDistributed": [
        Example(lambda keras: keras.layers.TimeDistributed(keras.layers.Dense(3)), _SEQUENCE),
        Example(lambda keras: keras.layers.TimeDistributed(keras.layers.Conv2D(3, 2)), ((3, 6, 6, 2),)),
    ],
    "UnitNormalization": [Example(_layer("UnitNormalization", axis=-1), _SEQUENCE)],
    "UpSampling1D": [Example(_layer("UpSampling1D", 3), _1D)],
    "UpSampling2D": [
        Example(_layer("UpSampling2D", 2, interpolation="bilinear"), _2D),
        Example(_layer("UpSampling2D", (2, 3)), _2D),
    ],
    "UpSampling3D": [Example(_layer("UpSampling3D", 2), _3D)],
    "ZeroPadding1D": [Example(_layer("ZeroPadding1D", (1, 2)), _1D)],
    "ZeroPadding2D": [Example(_layer("ZeroPadding2D", ((1, 0), (2, 1))), _2D)],
    "ZeroPadding3D": [Example(_layer("ZeroPadding3D", 1), _3D)],
}

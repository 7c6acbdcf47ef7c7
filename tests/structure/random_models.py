"""Random small models of all that Keras can put between two layers, for hypothesis.

A model grows block by block: each takes a tensor of the pool and adds one or more. Whatever is drawn is a valid
model, so nothing is thrown away. Hypothesis draws the seed and the number of blocks (and so shrinks the latter); the
seed alone decides on the rest, as hypothesis' own choices crowd at the simplest layers. A failing example prints as
``Spec(seed=7, blocks=2)``, and ``Spec(7, 2).build()`` is that model again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

from hypothesis import strategies as st

from tfprune.backend import keras, tf

Tensor = Any
LARGEST = 12  # channels and positions of an axis, roughly
FLAT = 300  # features that a Flatten may give


@keras.utils.register_keras_serializable("tfprune_tests")
class Running(keras.layers.Layer):
    """Sums running over the channels: of a layer like this nothing is known, so what it touches has to stay."""

    def call(self, x: Tensor) -> Tensor:
        return tf.cumsum(x, axis=-1)


class Builder:
    """Draws parts of a model and names its layers by their count."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.count = 0
        self.inputs: list[Tensor] = []

    def one(self, options: Sequence[Any]) -> Any:
        return self.random.choice(options)

    def size(self, low: int = 2, high: int = 8) -> int:
        return self.random.randint(low, high)

    def maybe(self) -> bool:
        return self.random.random() < 0.5

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def make(self, kind: str, *args: Any, **kwargs: Any) -> keras.layers.Layer:
        return getattr(keras.layers, kind)(*args, name=self.name(kind.lower()), **kwargs)

    def activation(self) -> str | None:
        return self.one((None, None, "relu", "relu", "tanh", "tanh", "sigmoid", "softmax"))

    def mix(self, x: Tensor, channels: int | None = None) -> Tensor:
        """A layer with a kernel that changes the last axis only."""
        channels = channels or self.size()
        rank = len(x.shape)
        kinds = {2: ("Dense",), 3: ("Dense", "Conv1D", "EinsumDense", "SeparableConv1D"), 5: ("Dense", "Conv3D")}
        kind = self.one(kinds.get(rank, ("Conv2D", "Conv2D", "Dense", "SeparableConv2D", "EinsumDense")))
        if kind == "Dense":
            layer = self.make(kind, channels, self.activation(), use_bias=self.maybe())
        elif kind == "EinsumDense":
            middle = "xyz"[: rank - 2]
            layer = self.make(
                kind, f"a{middle}b,bc->a{middle}c", (*x.shape[1:-1], channels), bias_axes=self.one((None, "c"))
            )
        else:
            options = {"depth_multiplier": self.one((1, 2))} if kind.startswith("Sep") else {}
            layer = self.make(kind, channels, self.one((1, 3)), padding="same", activation=self.activation(), **options)
        return layer(x)


def _fits(*sizes: int) -> bool:
    return all(size <= LARGEST for size in sizes) and prod(sizes) <= 2 * FLAT


def _divisors(n: int) -> list[int]:
    return [d for d in range(2, n + 1) if n % d == 0]


# Blocks: each takes the builder and a tensor, and returns a tensor (or several) or None where it does not apply.


def mixed(b: Builder, x: Tensor) -> Tensor:
    return b.mix(x)


def activated(b: Builder, x: Tensor) -> Tensor:
    kind = b.one(("ReLU", "relu", "LeakyReLU", "Activation", "softplus", "ELU", "Softmax", "softmax", "gelu"))
    if kind == "relu":
        return tf.nn.relu(x)
    if kind == "softplus":  # not zero at zero
        return tf.math.softplus(x)
    if kind == "gelu":
        return tf.nn.gelu(x)
    if kind == "softmax":
        return tf.nn.softmax(x, axis=b.one((-1, 1)))
    if kind == "Softmax":
        return b.make(kind, axis=b.one((-1, 1)))(x)
    if kind == "Activation":
        return b.make(kind, b.one(("sigmoid", "tanh", "swish", "hard_sigmoid", "exponential", "softmax")))(
            tf.tanh(x) if b.maybe() else b.make("LayerNormalization")(x)
        )
    return b.make(kind)(x)


def normalised(b: Builder, x: Tensor) -> Tensor:
    kind = b.one(("BatchNormalization",) * 3 + ("LayerNormalization", "GroupNormalization", "Normalization", "Unit"))
    rank = len(x.shape)
    if kind == "BatchNormalization":
        return b.make(kind, axis=b.one((-1, -1, 1)), scale=b.maybe(), center=b.maybe())(x)
    if kind == "LayerNormalization":
        axes = (-1, list(range(1, rank)), 1)
        return b.make(kind, axis=b.one(axes), epsilon=b.one((1e-3, 1e-6)), scale=b.one((True, False)))(x)
    if kind == "GroupNormalization" and rank > 2:
        return b.make(kind, b.one((1, x.shape[-1], *_divisors(x.shape[-1]))), epsilon=1e-3)(x)
    if kind == "Normalization":
        return b.make(kind, axis=-1)(x)
    return b.make("UnitNormalization")(x)


def prelu(b: Builder, x: Tensor) -> Tensor:
    axes = list(range(1, len(x.shape) - 1))
    return b.make("PReLU", shared_axes=b.one((None, axes or None)))(x)


def depthwise(b: Builder, x: Tensor) -> Tensor | None:
    kind = {3: "DepthwiseConv1D", 4: "DepthwiseConv2D"}.get(len(x.shape))
    multiplier = b.one((1, 2))
    if kind is None or x.shape[-1] * multiplier > LARGEST:
        return None
    return b.make(kind, 3, padding="same", depth_multiplier=multiplier, activation=b.activation())(x)


def grouped(b: Builder, x: Tensor) -> Tensor | None:
    kind = {3: "Conv1D", 4: "Conv2D"}.get(len(x.shape))
    if kind is None:
        return None
    groups = b.one((2, 4))
    x = x if x.shape[-1] % groups == 0 else b.mix(x, 8)
    return b.make(kind, groups * b.one((1, 2, 3)), 3, padding="same", groups=groups, activation=b.activation())(x)


def transposed(b: Builder, x: Tensor) -> Tensor | None:
    if len(x.shape) not in (3, 4, 5) or not _fits(*(2 * size for size in x.shape[1:-1]), 4):
        return None
    return b.make(f"Conv{len(x.shape) - 2}DTranspose", b.size(2, 6), 2, strides=2, activation=b.activation())(x)


def pooled(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank not in (3, 4, 5) or min(x.shape[1:-1]) < 2:
        return None
    return b.make(f"{b.one(('Max', 'Average'))}Pooling{rank - 2}D", 2)(x)


def globally_pooled(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank not in (3, 4, 5):
        return None
    return b.make(f"Global{b.one(('Max', 'Average'))}Pooling{rank - 2}D", keepdims=b.maybe())(x)


def resized(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank not in (3, 4, 5):
        return None
    kinds = ["ZeroPadding", "UpSampling", "Cropping", "Resizing"]
    kind = b.one(kinds if rank == 4 else kinds[:3])
    if kind == "Resizing":
        return b.make(kind, b.size(2, 5), b.size(2, 5), interpolation=b.one(("bilinear", "nearest")))(x)
    if kind == "Cropping" and min(x.shape[1:-1]) < 3:
        return None
    if kind != "Cropping" and not _fits(*(2 * size for size in x.shape[1:-1])):
        return None
    return b.make(f"{kind}{rank - 2}D", 2 if kind == "UpSampling" else 1)(x)


def flattened(b: Builder, x: Tensor) -> Tensor | None:
    return b.make("Flatten")(x) if prod(x.shape[1:]) <= FLAT else None


def channels_split(b: Builder, x: Tensor) -> Tensor | None:
    """The channel axis as two, by a layer or by an operator."""
    if len(x.shape) > 4 or not (sizes := _divisors(x.shape[-1])):
        return None
    first = b.one(sizes)
    shape = (*x.shape[1:-1], first, x.shape[-1] // first)
    return b.make("Reshape", shape)(x) if b.maybe() else tf.reshape(x, (-1, *shape))


def axes_merged(b: Builder, x: Tensor) -> Tensor | None:
    """Two neighbouring axes as one."""
    rank = len(x.shape)
    if rank < 3:
        return None
    at = b.one(range(1, rank - 1))
    shape = (*x.shape[1:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])
    if max(shape) > 5 * LARGEST:
        return None
    return b.make("Reshape", shape)(x) if b.maybe() else tf.reshape(x, (-1, *shape))


def permuted(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank < 3:
        return None
    order = b.random.sample(range(1, rank), rank - 1)
    return b.make("Permute", tuple(order))(x) if b.maybe() else tf.transpose(x, (0, *order))


def shuffled(b: Builder, x: Tensor) -> Tensor | None:
    """ShuffleNet's channel shuffle."""
    if len(x.shape) != 4 or not (sizes := _divisors(x.shape[-1])):
        return None
    groups, (high, wide, channels) = b.one(sizes), x.shape[1:]
    x = b.make("Reshape", (high, wide, groups, channels // groups))(x)
    return b.make("Reshape", (high, wide, channels))(b.make("Permute", (1, 2, 4, 3))(x))


def residual(b: Builder, x: Tensor) -> Tensor:
    """A shortcut around one or two layers; projected now and then; operators as well as layers."""
    y = x
    if b.maybe():
        y = b.make("BatchNormalization" if b.maybe() else "LayerNormalization")(y)
    if b.maybe():
        y = b.mix(y)
    if b.one((False, False, True)):
        x = b.mix(x)
    y = b.mix(y, x.shape[-1])
    kind = b.one(("Add", "Add", "Add", "reversed", "operator", "tf", "Subtract", "Average", "Maximum", "Minimum"))
    if kind == "operator":
        return x + y
    if kind == "tf":
        return tf.add(x, y)
    if kind == "reversed":
        return b.make("Add")([y, x])
    return b.make(kind)([x, y])


def tower(b: Builder, x: Tensor) -> Tensor:
    """Two residual blocks of one stream, as in ResNet or a transformer."""
    x = b.mix(x)
    for _ in range(2):
        y = b.mix(b.make("BatchNormalization")(x) if b.maybe() else x, b.size(2, 6))
        x = b.make("Add")([x, b.mix(y, x.shape[-1])])
    return x


def concatenated(b: Builder, x: Tensor) -> Tensor | None:
    parts = [x if b.maybe() else b.mix(x, b.size(2, 4)), b.mix(x, b.size(2, 4))]
    if sum(part.shape[-1] for part in parts) > 2 * LARGEST:
        return None
    return b.make("Concatenate")(parts) if b.maybe() else tf.concat(parts, -1)


def concatenated_along(b: Builder, x: Tensor) -> Tensor | None:
    """Joined along positions, so that the channels of both are one."""
    if len(x.shape) < 3 or 2 * x.shape[1] > LARGEST:
        return None
    parts = [x, b.mix(x, x.shape[-1])]
    return b.make("Concatenate", axis=1)(parts) if b.maybe() else tf.concat(parts, 1)


def excited(b: Builder, x: Tensor) -> Tensor | None:
    """Squeeze and excite: a gate for each channel, broadcast over positions."""
    rank = len(x.shape)
    if rank == 2:
        gate = b.make("Dense", x.shape[-1], "sigmoid")(x)
    elif rank in (3, 4, 5):
        gate = b.make(f"GlobalAveragePooling{rank - 2}D")(x)
        gate = b.make("Dense", b.size(2, 4), "relu")(gate)
        gate = b.make("Dense", x.shape[-1] if b.maybe() else 1, "sigmoid")(gate)
        gate = b.make("Reshape", (*[1] * (rank - 2), gate.shape[-1]))(gate)
    else:
        return None
    return b.make("Multiply")([x, gate]) if b.maybe() else x * gate


def recurrent(b: Builder, x: Tensor) -> Tensor | None:
    if len(x.shape) != 3:
        return None
    kind, whole = b.one(("LSTM", "GRU", "SimpleRNN")), b.maybe()
    options = {"reset_after": b.maybe()} if kind == "GRU" else {}
    return b.make(kind, b.size(2, 6), return_sequences=whole, **options)(x)


def encoded_and_decoded(b: Builder, x: Tensor) -> Tensor | None:
    """A recurrent layer that starts from the last state of another."""
    if len(x.shape) != 3:
        return None
    kind, units = b.one(("LSTM", "GRU", "SimpleRNN")), b.size(2, 5)
    _, *states = b.make(kind, units, return_state=True)(x)
    return b.make(kind, units, return_sequences=b.maybe())(b.mix(x), initial_state=states)


def recurrent_by_cells(b: Builder, x: Tensor) -> Tensor | None:
    if len(x.shape) != 3:
        return None
    cells = [keras.layers.GRUCell(b.size(2, 4)), keras.layers.SimpleRNNCell(b.size(2, 4))]
    return b.make("RNN", cells if b.maybe() else cells[0], return_sequences=b.maybe())(x)


def strided(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank not in (3, 4, 5) or min(x.shape[1:-1]) < 3:
        return None
    return b.make(f"Conv{rank - 2}D", b.size(), 3, strides=b.one((1, 2)), activation=b.activation())(x)


def both_ways(b: Builder, x: Tensor) -> Tensor | None:
    if len(x.shape) != 3:
        return None
    inner = b.make(b.one(("LSTM", "GRU", "SimpleRNN")), b.size(2, 4), return_sequences=b.maybe())
    y = b.make("Bidirectional", inner, merge_mode=b.one(("concat", "sum", "mul", "ave", None)))(x)
    return y


def distributed(b: Builder, x: Tensor) -> Tensor | None:
    rank = len(x.shape)
    if rank not in (3, 4, 5):
        return None
    inner = ["Dense", "LayerNormalization", "BatchNormalization", *{4: ["Conv1D"], 5: ["Conv2D"]}.get(rank, [])]
    kind = b.one(inner)
    if kind.startswith("Conv"):
        layer = b.make(kind, b.size(2, 5), 3, padding="same")
    else:
        layer = b.make(kind, b.size(2, 5)) if kind == "Dense" else b.make(kind)
    return b.make("TimeDistributed", layer)(x)


def attended(b: Builder, x: Tensor) -> Any:
    """Keras' attention: to itself or to another sequence, value sizes and output shapes of its own."""
    rank = len(x.shape)
    if rank not in (3, 4):
        return None
    layer = b.make(
        "MultiHeadAttention",
        b.size(1, 3),
        b.size(1, 4),
        value_dim=b.one((None, 3)),
        output_shape=b.one((None, None, 5)),
        use_bias=b.maybe(),
        attention_axes=b.one((None, 1, 2, (1, 2))) if rank == 4 else None,
    )
    kind = b.one(("self", "self", "other", "key", "words", "causal", "scores"))
    if kind == "other":
        return layer(x, b.mix(x))
    if kind == "key":
        return layer(x, b.mix(x), key=b.mix(x))
    if kind == "words":
        return layer(query=x, value=x)
    if kind == "causal" and rank == 3:
        return layer(x, x, use_causal_mask=True)
    return layer(x, x, return_attention_scores=True) if kind == "scores" else layer(x, x)


def attended_by_hand(b: Builder, x: Tensor) -> Tensor | None:
    """Attention of Dense, Reshape and products, queries and all in one kernel or in three."""
    if len(x.shape) != 3:
        return None
    positions, heads, width = x.shape[1], b.size(1, 3), b.size(2, 4)
    if b.maybe():
        fused = b.make("Dense", 3 * heads * width, use_bias=b.maybe())(x)
        if b.maybe():
            parts = tf.split(fused, 3, axis=-1)
            parts = [b.make("Reshape", (positions, heads, width))(part) for part in parts]
        else:
            split = b.make("Reshape", (positions, 3, heads, width))(fused)
            parts = [split[:, :, at] for at in range(3)]
    else:
        parts = [b.make("Reshape", (positions, heads, width))(b.make("Dense", heads * width)(x)) for _ in range(3)]
    query, key, value = parts
    if b.maybe():
        scores = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", query * 0.5, key))
        found = tf.einsum("bhqk,bkhd->bqhd", scores, value)
    else:
        query, key, value = (tf.transpose(part, (0, 2, 1, 3)) for part in parts)
        scores = b.make("Softmax")(tf.matmul(query, key, transpose_b=True) / 1.5)
        found = tf.transpose(tf.matmul(scores, value), (0, 2, 1, 3))
    merged = b.make("Reshape", (positions, heads * width))(found)
    return b.make("Dense", x.shape[-1])(merged)


def dot_attended(b: Builder, x: Tensor) -> Tensor | None:
    """Attention layers without heads, and the products they are made of."""
    if len(x.shape) != 3:
        return None
    kind = b.one(("Attention", "AdditiveAttention", "Dot", "matmul"))
    query, value = b.mix(x, 4), b.mix(x, 4)
    if kind == "Dot":
        return b.make("Dot", axes=b.one((1, 2)))([query, value])
    if kind == "matmul":
        return tf.matmul(query, value, transpose_b=True)
    return b.make(kind)([query, value])


def operated(b: Builder, x: Tensor) -> Any:
    """Operators on the last axis or on all of them."""
    kind = b.one(("plus", "times", "split", "slice", "step", "mean", "max", "pad", "stack", "square", "vector", "last"))
    if kind == "plus":  # zero no longer stays zero
        return x + 1.0
    if kind == "times":
        return 0.5 * x if b.maybe() else x * b.mix(x, x.shape[-1])
    if kind == "vector":  # a constant along the channels
        return x * tf.linspace(0.5, 1.5, x.shape[-1])
    if kind == "split":
        if x.shape[-1] % 2:
            return None
        return tuple(tf.split(x, 2, axis=-1))
    if kind == "slice":
        k = b.size(1, x.shape[-1])
        return x[..., :k] if b.maybe() else x[..., x.shape[-1] - k :]
    if kind == "step":
        return x[..., ::2] if b.maybe() else x[..., ::-1]
    if kind == "last":
        return x[:, -1] if len(x.shape) > 2 else x
    if kind in ("mean", "max"):
        if len(x.shape) < 3:
            return None
        reduce = tf.reduce_mean if kind == "mean" else tf.reduce_max
        axis = b.one(range(1, len(x.shape)))
        return reduce(x, axis=axis, keepdims=b.maybe())
    if kind == "pad":
        ends = [[0, 0]] + [[0, 0]] * (len(x.shape) - 1)
        ends[b.one(range(1, len(x.shape)))] = [1, b.size(0, 1)]
        return tf.pad(x, ends)
    if kind == "stack":
        if len(x.shape) > 4:
            return None
        return tf.stack([x, b.mix(x, x.shape[-1])], axis=b.one((1, -1)))
    return tf.square(x)


def squeezed(b: Builder, x: Tensor) -> Tensor | None:
    """Axes of one: added, taken away, repeated."""
    ones = [at for at in range(1, len(x.shape)) if x.shape[at] == 1]
    if ones and len(x.shape) > 2:
        return tf.squeeze(x, axis=b.one(ones))
    if len(x.shape) == 2 and b.maybe():
        return b.make("RepeatVector", b.size(2, 4))(x)
    return tf.expand_dims(x, b.one((1, -1))) if len(x.shape) < 5 else None


def nested(b: Builder, x: Tensor) -> Tensor:
    """A model as a layer; called twice now and then."""
    entry = keras.Input(x.shape[1:], name=b.name("entry"))
    y = b.mix(b.mix(entry), x.shape[-1])
    if b.maybe():
        y = b.make("Add")([y, entry])
    if b.maybe():
        model = keras.Model(entry, y, name=b.name("nested"))
    else:
        sizes = [b.size(), x.shape[-1]]
        layers = [b.make("Dense", sizes[0], "relu"), b.make("BatchNormalization"), b.make("Dense", sizes[1])]
        model = keras.Sequential([keras.Input(x.shape[1:]), *layers], name=b.name("sequential"))
    y = model(x)
    return model(y) if b.maybe() else y


def shared(b: Builder, x: Tensor) -> Any:
    """One layer in two places: on two tensors, or on its own output."""
    layer = b.make("Dense", x.shape[-1], b.activation())
    y = layer(x)
    kind = b.one(("again", "other", "both"))
    if kind == "again":
        return layer(y)
    z = layer(b.mix(x, x.shape[-1]))
    return b.make("Add")([y, z]) if kind == "other" else (y, z)


def several_heads(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
    y = b.mix(x)
    return b.mix(y), b.mix(y)


def dropped(b: Builder, x: Tensor) -> Tensor:
    return b.make(b.one(("Dropout", "GaussianNoise", "GaussianDropout")), 0.3)(x)


def opaque(b: Builder, x: Tensor) -> Tensor:
    kind = b.one(("running", "lambda", "wrapper", "local"))
    if kind == "running":
        return Running(name=b.name("running"))(x)
    if kind == "wrapper":
        return b.make("SpectralNormalization", b.make("Dense", b.size()))(x)
    if kind == "local" and len(x.shape) == 3 and x.shape[1] >= 2:
        return b.make("LocallyConnected1D", b.size(), 2)(x)
    return b.make("Lambda", _reversed)(x)


def _reversed(x: Tensor) -> Tensor:
    return tf.reverse(x, [-1])


def convolved_over_time(b: Builder, x: Tensor) -> Tensor | None:
    if len(x.shape) != 5:
        return None
    return b.make("ConvLSTM2D", b.size(2, 3), 2, padding="same", return_sequences=b.maybe())(x)


def channels_first(b: Builder, x: Tensor) -> Tensor | None:
    """Layers whose channels are the second axis; the axis that they see is just another one of the tensor."""
    if len(x.shape) != 4 or min(x.shape[1:]) < 2:
        return None
    kind = b.one(
        ("Conv2D", "DepthwiseConv2D", "global", "Flatten", "BatchNormalization", "MaxPooling2D", "UpSampling2D")
    )
    first = {"data_format": "channels_first"}
    if kind == "Conv2D":
        y = b.make(kind, b.size(2, 6), 3, padding="same", activation=b.activation(), **first)(x)
        return b.make(kind, b.size(2, 6), 1, **first)(y)
    if kind == "DepthwiseConv2D":
        return b.make(kind, 2, **first)(x)
    if kind == "global":
        return b.make("GlobalAveragePooling2D", **first)(x)
    if kind == "Flatten":
        return b.make(kind, **first)(x) if prod(x.shape[1:]) <= FLAT else None
    if kind == "BatchNormalization":
        return b.make(kind, axis=1)(x)
    if kind == "MaxPooling2D":
        return b.make(kind, 2, **first)(x)
    return b.make(kind, 2, **first)(x) if _fits(*(2 * size for size in x.shape[1:])) else None


BLOCKS = (
    *(mixed,) * 5,
    *(residual,) * 4,
    *(tower,) * 2,
    *(normalised,) * 3,
    *(operated,) * 3,
    *(activated,) * 2,
    *(concatenated,) * 2,
    *(attended,) * 2,
    *(attended_by_hand,) * 2,
    *(depthwise,) * 2,
    *(recurrent,) * 3,
    *(pooled,) * 2,
    *(strided,) * 2,
    *(both_ways,) * 2,
    axes_merged,
    channels_first,
    channels_split,
    concatenated_along,
    convolved_over_time,
    distributed,
    dot_attended,
    dropped,
    encoded_and_decoded,
    excited,
    flattened,
    globally_pooled,
    grouped,
    nested,
    opaque,
    permuted,
    prelu,
    recurrent_by_cells,
    resized,
    several_heads,
    shared,
    shuffled,
    squeezed,
    transposed,
)


def _input(b: Builder) -> Tensor:
    kinds = ("image", "image", "sequence", "sequence", "sequence", "vector", "tokens", "volume", "channels_first")
    kind = b.one(kinds)
    if kind == "tokens":
        tokens = keras.Input((b.size(3, 5),), dtype="int32", name=b.name("input"))
        b.inputs.append(tokens)
        return b.make("Embedding", 7, b.size(3, 8), mask_zero=b.one((False, False, True)))(tokens)
    shape = {
        "image": (b.size(4, 6), b.size(4, 6), b.size(1, 3)),
        "sequence": (b.size(3, 6), b.size(2, 4)),
        "vector": (b.size(3, 8),),
        "volume": (b.size(2, 4), b.size(2, 4), b.size(2, 4), b.size(1, 2)),
        "channels_first": (b.size(2, 4), b.size(4, 6), b.size(4, 6)),
    }[kind]
    x = keras.Input(shape, name=b.name("input"))
    b.inputs.append(x)
    if kind == "channels_first":
        return b.make("Conv2D", b.size(), 3, padding="same", data_format="channels_first")(x)
    return b.mix(x)


def _joined(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    """Two tensors of any shapes as one."""
    if x.shape == y.shape:
        return b.make(b.one(("Add", "Concatenate", "Multiply", "Maximum")))([x, y])
    if x.shape[:-1] == y.shape[:-1]:
        return b.make("Concatenate")([x, y]) if b.maybe() else b.make("Add")([x, b.mix(y, x.shape[-1])])
    x, y = (each if len(each.shape) == 2 else b.make("Flatten")(each) for each in (x, y))
    return b.make("Concatenate")([x, y])


@dataclass(frozen=True)
class Spec:
    """A model to be: Functional, with one or two inputs and one to three outputs or more."""

    seed: int
    blocks: int

    def build(self) -> keras.Model:
        keras.backend.clear_session()
        b = Builder(self.seed)
        pool = [_input(b)]
        if b.one((False, False, False, True)):
            pool.append(_input(b))
        for _ in range(self.blocks):
            at = b.one(range(len(pool)))
            made = None
            while made is None:  # a block that does not apply to this tensor
                made = b.one(BLOCKS)(b, pool[at])
            made = [made] if tf.is_tensor(made) else list(made)
            # The tensor is used up, or stays for another block as well.
            pool[at : at + b.one((0, 1, 1, 1))] = made
            if len(pool) > 1 and b.one((False, False, True)):
                first, *between, last = pool
                pool = [*between, _joined(b, first, last)]
        return keras.Model(b.inputs, _outputs(b, pool), name="random")


def _outputs(b: Builder, pool: list[Tensor]) -> list[Tensor]:
    """Most tensors go through a last kernel, so that what comes before it may shrink."""
    outputs = []
    for x in pool:
        if b.one((True, True, True, False)) and prod(x.shape[1:]) <= 2 * FLAT:
            x = b.make("Flatten")(x) if len(x.shape) > 2 and b.maybe() else x
            x = b.make("Dense", 3)(x)
        outputs.append(x)
    return outputs


specs = st.builds(Spec, seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 8))

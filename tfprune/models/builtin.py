"""The models that come with tfprune, made of stock Keras layers only.

Each is ``(input_shape, classes, **arguments) -> uncompiled Functional model`` with a softmax in float32,
whatever the precision of the layers below it.
"""

from __future__ import annotations

from collections.abc import Callable

from tfprune.backend import keras, tf
from tfprune.errors import ModelError

layers = keras.layers
Shape = tuple[int | None, ...]


def digits_cnn(input_shape: Shape, classes: int, *, width: int = 32, dropout: float = 0.2) -> keras.Model:
    """Build a small CNN for scans of about 8x8 pixels: three 3x3 convolutions, the last two at half the size.

    Args:
        input_shape: ``(height, width, channels)``, at least 4x4.
        classes: width of the answer.
        width: filters of the first convolution; the others have twice as many.
        dropout: share dropped before the classifier, in [0, 1).

    Raises:
        ModelError: the input is no image.

    Example:
        >>> digits_cnn((8, 8, 1), 10).output_shape
        (None, 10)
    """
    inputs = _image(input_shape, "digits-cnn")
    x = _conv_norm(inputs, width, "conv1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(padding="same", name="pool")(x)
    for index in (2, 3):
        x = _conv_norm(x, 2 * width, f"conv{index}")
        x = layers.ReLU(name=f"relu{index}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, _classifier(x, classes), name="digits-cnn")


def resnet8(input_shape: Shape, classes: int, *, weight_decay: float = 1e-4) -> keras.Model:
    """Build the ResNet of MLPerf Tiny's image classification task: 3 stacks of one block, 16/32/64 filters.

    As in its reference code, convolutions carry biases and shortcuts are 1x1 convolutions without normalization.

    Args:
        input_shape: ``(height, width, channels)``; the reference takes 32x32x3 bytes in 0..255, unscaled.
        classes: width of the answer.
        weight_decay: L2 penalty on kernels.

    Raises:
        ModelError: the input is no image.

    Example:
        >>> resnet8((32, 32, 3), 10).count_params()
        78666
    """
    return _resnet("resnet8", 1, input_shape, classes, weight_decay, reference=True)


def resnet20(input_shape: Shape, classes: int, *, weight_decay: float = 1e-4) -> keras.Model:
    """Build the CIFAR ResNet-20 of He et al. 2016 (arXiv 1512.03385, section 4.2), 0.27 million parameters.

    Shortcuts are the identity; where the size changes they are normalized 1x1 convolutions (the paper's option B).

    Args:
        input_shape: ``(height, width, channels)``.
        classes: width of the answer.
        weight_decay: L2 penalty on kernels.

    Raises:
        ModelError: the input is no image.
    """
    return _resnet("resnet20", 3, input_shape, classes, weight_decay)


def resnet56(input_shape: Shape, classes: int, *, weight_decay: float = 1e-4) -> keras.Model:
    """Build the CIFAR ResNet-56 of He et al. 2016, 0.86 million parameters; otherwise like `resnet20`."""
    return _resnet("resnet56", 9, input_shape, classes, weight_decay)


def text_transformer(
    input_shape: Shape,
    classes: int,
    *,
    vocabulary: int,
    width: int = 64,
    heads: int = 4,
    depth: int = 2,
    dropout: float = 0.1,
) -> keras.Model:
    """Build a pre-norm transformer encoder over token ids, averaged over all positions, padding included.

    Args:
        input_shape: ``(length,)``.
        classes: width of the answer.
        vocabulary: number of token ids; ids are in [0, vocabulary).
        width: of the embeddings; a multiple of `heads`.
        heads: attention heads a block.
        depth: number of blocks.
        dropout: share dropped after attention, after the feed-forward part and before the classifier.

    Raises:
        ModelError: the input is no sequence of known length, or `width` is no multiple of `heads`.

    Example:
        >>> text_transformer((12,), 3, vocabulary=50, width=8, heads=2, depth=1).output_shape
        (None, 3)
    """
    if len(input_shape) != 1 or not input_shape[0]:
        raise ModelError(f"text-transformer takes sequences of shape (length,), the data gives {tuple(input_shape)}")
    if heads < 1 or width % heads:
        raise ModelError(f"text-transformer: width must be a multiple of heads, but got {width} and {heads}")
    length = input_shape[0]
    inputs = layers.Input((length,), dtype="int32", name="tokens")
    # 0 * token + position: the positions as a stock layer, which reads back where a Lambda does not.
    positions = layers.Rescaling(0, offset=list(range(length)), dtype="int32", name="positions")(inputs)
    token = layers.Embedding(vocabulary, width, name="token_embedding")(inputs)
    x = layers.Add(name="embedding")([token, layers.Embedding(length, width, name="position_embedding")(positions)])
    for index in range(1, depth + 1):
        x = _encoder_block(x, width, heads, dropout, f"block{index}")
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, _classifier(x, classes), name="text-transformer")


BUILTIN: dict[str, Callable[..., keras.Model]] = {
    "digits-cnn": digits_cnn,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "text-transformer": text_transformer,
}


def _image(input_shape: Shape, name: str) -> tf.Tensor:
    if len(input_shape) != 3:
        raise ModelError(f"{name} takes images of shape (height, width, channels), the data gives {tuple(input_shape)}")
    return layers.Input(input_shape, name="image")


def _classifier(x: tf.Tensor, classes: int) -> tf.Tensor:
    return layers.Dense(classes, activation="softmax", dtype="float32", name="classifier")(x)


def _conv_norm(
    x: tf.Tensor, filters: int, name: str, *, size: int = 3, strides: int = 1, decay: float = 0.0, bias: bool = False
) -> tf.Tensor:
    x = _conv(x, filters, name, size=size, strides=strides, decay=decay, bias=bias)
    # Keras' momentum of 0.99 needs hundreds of steps before statistics follow; small data has few an epoch.
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def _conv(x: tf.Tensor, filters: int, name: str, *, size: int, strides: int, decay: float, bias: bool) -> tf.Tensor:
    return layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=bias,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(decay) if decay else None,
        name=name,
    )(x)


def _resnet(
    name: str, blocks: int, input_shape: Shape, classes: int, decay: float, reference: bool = False
) -> keras.Model:
    inputs = _image(input_shape, name)
    x = layers.ReLU(name="stem_relu")(_conv_norm(inputs, 16, "stem", decay=decay, bias=reference))
    for stack, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, blocks + 1):
            strides = 2 if stack > 1 and block == 1 else 1
            x = _residual_block(x, filters, strides, decay, reference, f"stack{stack}_block{block}")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, _classifier(x, classes), name=name)


def _residual_block(x: tf.Tensor, filters: int, strides: int, decay: float, reference: bool, name: str) -> tf.Tensor:
    y = _conv_norm(x, filters, f"{name}_conv1", strides=strides, decay=decay, bias=reference)
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = _conv_norm(y, filters, f"{name}_conv2", decay=decay, bias=reference)
    if strides > 1:
        convolve = _conv if reference else _conv_norm
        x = convolve(x, filters, f"{name}_shortcut", size=1, strides=strides, decay=decay, bias=reference)
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _encoder_block(x: tf.Tensor, width: int, heads: int, dropout: float, name: str) -> tf.Tensor:
    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
    # `value` by keyword: a masking wrapper passes one positional input on, and any keyword.
    y = layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")(y, value=y)
    y = layers.Dropout(dropout, name=f"{name}_dropout1")(y)
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_expand")(y)
    y = layers.Dense(width, name=f"{name}_contract")(y)
    y = layers.Dropout(dropout, name=f"{name}_dropout2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])

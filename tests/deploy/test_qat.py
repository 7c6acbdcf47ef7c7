"""Quantization-aware training: zeros stay, the file is integer throughout, and it answers as it was trained to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import tfprune
from tfprune.backend import keras, tf
from tfprune.deploy.qat import distilling, quantization_aware, quantized
from tfprune.deploy.ranges import kernels
from tfprune.errors import DataError, ModelError, TfpruneWarning, TrainingError
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.runtime import schema
from tfprune.litert.session import Session
from tfprune.models.clone import with_precision
from tfprune.models.prunable import prunable_weights

layers = keras.layers
INT8 = Conversion("int8")
RNG = np.random.default_rng(0)


def operations(content: bytes) -> Counter[tuple[str, bool]]:
    """How often a file has which operation, and whether it computes in float."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    found = Counter()
    for each in graph.operators:
        kinds = {graph.tensors[place].type for place in [*each.inputs, *each.outputs] if place >= 0}
        name = names[model.operatorCodes[each.opcodeIndex].builtinCode]
        found[name, schema.TensorType.FLOAT32 in kinds] += 1
    return found


def floats(content: bytes) -> set[str]:
    """Operations that compute in float, those at the border left out."""
    return {name for name, in_float in operations(content) if in_float} - {"QUANTIZE", "DEQUANTIZE"}


def first(outputs: np.ndarray) -> np.ndarray:
    return outputs.argmax(axis=-1)


# ---------------------------------------------------------------------------------------------- digits


def residual() -> keras.Model:
    """Folded normalizations, a depthwise kernel, a residual, pooling, a softmax."""
    inputs = keras.Input((8, 8, 1), name="scan")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    x = kept = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(16, 1)(x))
    x = layers.ReLU()(layers.Add()([x, kept]))
    x = layers.Conv2D(32, 3, activation="relu")(layers.MaxPooling2D()(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, "softmax", name="digit")(x), name="residual")


@dataclass(frozen=True)
class Digits:
    """A pruned model, what it learned from, and what came of training it with fake quantization."""

    model: keras.Model
    before: list[np.ndarray]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    trained: keras.Model
    content: bytes

    def answers(self) -> np.ndarray:
        return Session(self.content).ask(self.test[0])["digit"]


@pytest.fixture(scope="module")
def digits() -> Digits:
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    train, test = (x[:1400], y[:1400]), (x[1400:], y[1400:])
    model = residual()
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    model.fit(*train, epochs=6, verbose=0)
    for layer in model.layers:
        for weight in prunable_weights(layer, True)[0]:
            smallest = np.quantile(np.abs(weight), 0.3)
            weight.assign(np.where(np.abs(weight) <= smallest, 0, weight))
    before = model.get_weights()
    trained = quantized(model, distilling(model, train, 4, learning_rate=1e-3, weight=0.5), [train[0][:200]])
    return Digits(model, before, train, test, trained, convert(trained, INT8))


def test_zeros_stay_zero_in_training_and_in_the_file(digits):
    shares = [float(np.mean(weight.numpy() == 0)) for weight in kernels(digits.trained)]
    assert len(shares) == 5  # the depthwise one too, which TF-MOT's own scheme lets go
    assert min(shares) >= 0.29
    stored = schema.ModelT.InitFromPackedBuf(digits.content, 0)
    tensors = [each for each in stored.subgraphs[0].tensors if each.type == schema.TensorType.INT8]
    weights = [stored.buffers[each.buffer].data for each in tensors]
    assert sum(np.mean(np.asarray(each).view(np.int8) == 0) >= 0.29 for each in weights if each is not None) == 5


def test_it_was_trained_and_the_model_that_was_given_was_not(digits):
    for one, other in zip(digits.before, digits.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    own = {id(each) for each in digits.model.variables}
    assert not own & {id(each) for each in digits.trained.variables}
    kernel = next(kernels(digits.trained)).numpy()
    assert np.abs(kernel - digits.before[0]).max() > 1e-4


def test_the_file_is_integer_throughout_and_has_its_normalizations_folded(digits):
    assert floats(digits.content) == set()
    assert {name for name, _ in operations(digits.content)} == {
        *("QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"),
        "DEQUANTIZE",
    }


def test_the_file_answers_as_the_model_it_was_made_from(digits):
    wanted = digits.trained.predict(digits.test[0], verbose=0)
    answers = digits.answers()
    assert np.mean(first(answers) == first(wanted)) >= 0.99
    assert np.abs(answers - wanted).max() < 0.1


def test_it_is_as_small_as_one_quantized_after_training_and_gets_more_right_than_the_pruned_model(digits):
    x, y = digits.test
    examples = [{"scan": each[None]} for each in digits.train[0][:200]]
    after = convert(digits.model, Conversion("int8", lambda: iter(examples)))
    assert len(digits.content) <= 1.05 * len(after)
    pruned = np.mean(first(digits.model.predict(x, verbose=0)) == y)
    assert np.mean(first(digits.answers()) == y) > pruned


def test_integer_inputs_and_outputs(digits):
    content = convert(digits.trained, Conversion("int8", integer_io=True))
    assert not any(in_float for _, in_float in operations(content))
    answers = Session(content).ask(digits.test[0])["digit"]
    assert np.mean(first(answers) == first(digits.answers())) >= 0.98


def test_before_training_it_agrees_with_the_float_model(digits):
    x = digits.test[0]
    aware = quantization_aware(digits.model, [each[None] for each in digits.train[0][:100]])
    wanted = first(digits.model.predict(x, verbose=0))
    assert np.mean(first(aware.model.predict(x, verbose=0)) == wanted) >= 0.97
    assert aware.unrounded == ()
    assert aware.model.output_names == ["digit"]
    assert aware.model.input_names == ["scan"]


def test_statistics_of_normalizations_stay_the_float_models(digits):
    for layer in digits.trained.layers:
        norm = getattr(layer, "layer", None)
        if isinstance(norm, layers.BatchNormalization):
            same = digits.model.get_layer(norm.name.removeprefix("quant_"))
            np.testing.assert_array_equal(norm.moving_mean, same.moving_mean)
            np.testing.assert_array_equal(norm.moving_variance, same.moving_variance)


def test_a_fit_of_ones_own_holds_zeros_too(digits):
    def fit(model: keras.Model) -> None:
        model.compile(keras.optimizers.legacy.SGD(0.01), "sparse_categorical_crossentropy")
        model.fit(*digits.train, epochs=1, verbose=0)

    trained = quantized(digits.model, fit, [digits.train[0][:50]])
    assert min(float(np.mean(weight.numpy() == 0)) for weight in kernels(trained)) >= 0.29


def test_without_weight_labels_do_not_teach():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    x, y = RNG.random((64, 6), np.float32), np.arange(64) % 3

    def kernel(given: Any, weight: float = 1.0) -> np.ndarray:
        return next(kernels(quantized(model, distilling(model, given, weight=weight), [x]))).numpy()

    alone = kernel(x)
    np.testing.assert_array_equal(kernel((x, y)), alone)
    assert np.abs(kernel((x, y), weight=0.5) - alone).max() > 1e-5


# ------------------------------------------------------------------------------------------ other models


def head(x: Any) -> Any:
    return layers.Dense(4, "softmax")(layers.GlobalAveragePooling2D()(x))


def excited() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="elu")(inputs)
    gate = layers.Reshape((1, 1, 8))(layers.Dense(8, "sigmoid")(layers.GlobalAveragePooling2D()(x)))
    return keras.Model(inputs, head(layers.Multiply()([x, gate])))


def with_operations() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = tf.nn.relu6(layers.Conv2D(8, 1)(inputs / 2.0 - 0.5) + 3.0)
    return keras.Model(inputs, head(layers.Conv2D(4, 3)(x)))


def with_shared_layer() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", activation="relu")
    return keras.Model(inputs, head(layers.Concatenate()([shared(inputs), shared(shared(inputs))])))


def nested() -> keras.Model:
    names = {"name": "conv"}  # the same in both parts
    one = keras.Sequential([layers.Conv2D(8, 3, input_shape=(8, 8, 3), **names), layers.BatchNormalization()])
    inputs = keras.Input((6, 6, 8))
    other = keras.Model(inputs, layers.Flatten()(layers.ReLU()(layers.Conv2D(4, 3, **names)(inputs))))
    return keras.Sequential([keras.Input((8, 8, 3)), one, layers.ReLU(), other, layers.Dense(4)])


def before_activation() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Add()([layers.Conv2D(8, 3, padding="same")(inputs), layers.Conv2D(8, 1)(inputs)])
    return keras.Model(inputs, head(layers.Conv2D(4, 1)(layers.Activation("relu")(layers.BatchNormalization()(x)))))


def mobile() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.SeparableConv2D(8, 3, use_bias=False)(x)))
    x = layers.LeakyReLU()(layers.Conv2DTranspose(4, 2)(layers.ZeroPadding2D()(x)))
    return keras.Model(inputs, head(layers.AveragePooling2D()(x)))


def pooled_by_window() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    pooled = layers.AveragePooling2D(8)(layers.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(pooled)))


def of_mixed_precision() -> keras.Model:
    return with_precision(mobile(), "mixed_bfloat16")


MODELS: dict[Callable[[], keras.Model], set[str]] = {
    excited: {"ELU"},  # LiteRT rounds what comes in and out of it
    with_operations: set(),
    with_shared_layer: set(),
    nested: set(),
    before_activation: set(),
    mobile: set(),
    pooled_by_window: set(),
    of_mixed_precision: set(),
}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            each, id=each.__name__, marks=[] if each in (excited, with_shared_layer, nested) else pytest.mark.full
        )
        for each in MODELS
    ],
)
def test_layers_of_many_kinds_become_integer(build):
    keras.utils.set_random_seed(0)
    model = build()
    x = RNG.random((32, 8, 8, 3), np.float32)
    wanted = np.asarray(model.predict(x, verbose=0), np.float32)
    aware = quantization_aware(model, [x]).model
    rounded = aware.predict(x, verbose=0)
    spread = np.ptp(wanted, axis=0).max() + 1e-6
    assert np.abs(rounded - wanted).max() < 0.25 * spread + 0.01
    content = convert(aware, INT8)
    assert floats(content) == MODELS[build]
    (answers,) = Session(content).ask(x).values()
    assert np.abs(answers - rounded).max() < 0.1 * spread + 0.01


def test_an_average_over_the_whole_map_becomes_a_mean_with_a_range_of_its_own():
    model = pooled_by_window()
    content = convert(quantization_aware(model, [RNG.random((4, 8, 8, 3), np.float32)]).model, INT8)
    assert operations(content)["MEAN", False] == 1
    assert operations(content)["AVERAGE_POOL_2D", False] == 0


def test_a_shared_layer_stays_one():
    model = with_shared_layer()
    aware = quantization_aware(model, [RNG.random((4, 8, 8, 3), np.float32)])
    assert len(list(kernels(aware.model))) == 2


def test_several_inputs_and_outputs_by_name():
    one, other = keras.Input((3,), name="one"), keras.Input((5,), name="other")
    x = layers.Concatenate()([layers.Dense(4, "relu")(one), layers.Dense(4)(other)])
    outputs = {"label": layers.Dense(3, "softmax", name="label")(x), "number": layers.Dense(1, name="number")(x)}
    model = keras.Model({"one": one, "other": other}, outputs)
    x = {"one": RNG.random((40, 3), np.float32), "other": RNG.random((40, 5), np.float32)}
    trained = quantized(model, distilling(model, x, 2), [x])
    wanted, answers = model.predict(x, verbose=0), Session(convert(trained, INT8)).ask(x)
    assert set(answers) == set(wanted) == {"label", "number"}
    for name, values in wanted.items():
        assert np.abs(answers[name] - values).max() < 0.1


def test_the_mean_squared_difference_from_a_regression_falls():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(16, "relu"), layers.Dense(16, "relu"), layers.Dense(2)])
    model.compile("adam", "mse")
    x = RNG.normal(size=(512, 6)).astype(np.float32)
    wanted = model.predict(x, verbose=0)

    def apart(trained: keras.Model) -> float:
        return float(np.mean((trained.predict(x, verbose=0) - wanted) ** 2))

    aware = quantization_aware(model, [x]).model
    for weight in kernels(aware):
        weight.assign_add(tf.random.normal(weight.shape, stddev=0.1))
    start = apart(aware)
    distilling(model, x, 10, learning_rate=3e-3)(aware)
    assert apart(aware) < 0.3 * start


def test_layers_that_are_not_known_are_named():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4), layers.LayerNormalization(name="norm"), layers.Dense(2)]
    )
    with pytest.warns(TfpruneWarning, match="does not know the kinds of layers norm"):
        quantized(model, lambda aware: None, [np.ones((2, 6), np.float32)])


# --------------------------------------------------------------------------------------------- bad input


class Subclassed(keras.Model):
    def call(self, inputs: Any) -> Any:
        return inputs


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((6, 5)), layers.Bidirectional(layers.LSTM(3), name="both"), layers.Dense(2)])


def masked() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    return tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.5))


def only_normalized() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), layers.LayerNormalization()], name="only")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Subclassed, "has no graph of layers"),
        (recurrent, "layer 'both' is recurrent"),
        (masked, "still carries masks; take them off with tfprune.strip"),
        (only_normalized, "model 'only' has no layer that quantization-aware training knows"),
    ],
)
def test_models_that_cannot_be_are_refused_in_one_line(build, message):
    with pytest.raises(ModelError, match=message) as caught:
        quantization_aware(build(), [np.ones((2, 4), np.float32)])
    assert "\n" not in str(caught.value)


def test_no_calibration_and_a_loss_that_is_no_number():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    x = np.ones((8, 4), np.float32)
    for empty in ([], [x[:0]]):
        with pytest.raises(DataError, match="the calibration set has no example"):
            quantization_aware(model, empty)
    with pytest.raises(TrainingError, match="became nan in epoch 1"):
        quantized(model, distilling(model, x * np.nan), [x])

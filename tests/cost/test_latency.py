"""Latency in LiteRT: what is measured, what is predicted from layers, and what cannot be measured."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.cost.latency import latencies, latency
from tfprune.cost.layer_times import LayerTimes, layer_times
from tfprune.errors import ModelError
from tfprune.litert.convert import convert
from tfprune.litert.session import Session
from tfprune.models.builtin import BUILTIN

layers = keras.layers


def cnn(width: int, size: int = 64) -> keras.Model:
    """Plain, depthwise and pointwise convolutions, normalized; some milliseconds at width 128."""
    x = inputs = layers.Input((size, size, 3))
    for index in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"norm{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", name=f"depthwise{index}")(x)
        x = layers.Conv2D(2 * width, 1, activation="relu", name=f"pointwise{index}")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D(name="average")(x)))


# ------------------------------------------------------------------------------------------------- whole


def test_more_work_takes_longer() -> None:
    small, large = latencies([Session(convert(cnn(width))) for width in (16, 128)], seconds=1)
    assert 3 * small.p10_ms < large.p10_ms
    assert small.runs == large.runs >= 3


@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [("resnet8", (32, 32, 3), {}), ("text-transformer", (16,), {"vocabulary": 50}), ("digits-cnn", (8, 8, 1), {})],
)
def test_what_is_measured_computes_what_the_model_does(name: str, shape: tuple[int, ...], arguments: dict) -> None:
    model = BUILTIN[name](shape, 10, **arguments)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, (1, *shape)).astype(np.int32) if arguments else rng.random((1, *shape), np.float32)
    session = Session(convert(model))
    session.set_inputs(x)
    session.seconds()
    np.testing.assert_allclose(session.outputs()[0], model(x, training=False), rtol=1e-4, atol=1e-6)


def test_several_inputs_by_name() -> None:
    inputs = {"b": layers.Input((3,), name="b"), "a": layers.Input((4,), name="a", dtype="int32")}
    words = layers.Flatten()(layers.Embedding(9, 1)(inputs["a"]))
    model = keras.Model(inputs, [layers.Concatenate()([inputs["b"], words]), words])
    assert latency(model, seconds=0.05).runs >= 3


def test_mixed_precision_is_measured_in_float32() -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = BUILTIN["digits-cnn"]((8, 8, 1), 10)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    session = Session(convert(model))
    assert session.outputs()[0].dtype == np.float32
    assert len(convert(model)) > 4 * model.count_params()


def test_nothing_is_printed_nothing_is_left(capfd, recwarn, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    latency(BUILTIN["resnet8"]((32, 32, 3), 10), seconds=0.05)
    with pytest.raises(ModelError):
        latency(determinant())
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    assert not [each for each in recwarn if "ite" in str(each.message)]


def determinant() -> keras.Model:
    inputs = layers.Input((4, 4))
    return keras.Model(inputs, tf.linalg.det(layers.Dense(4)(inputs)), name="determinant")


def unknown_size() -> keras.Model:
    return keras.Sequential([layers.Conv2D(2, 3, input_shape=(None, None, 3))], name="any_size")


def subclassed() -> keras.Model:
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    return Own(name="own")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (determinant, r"'determinant' cannot be converted to LiteRT: it has no operation MatrixDeterminant; replace"),
        (unknown_size, r"axes of unknown length, \(None, None, None, 3\); .* build the model with the input size"),
        (subclassed, r"'own' has no graph of layers"),
        (lambda: keras.Sequential([layers.Dense(2)], name="unbuilt"), "'unbuilt' has no graph of layers"),
    ],
)
def test_what_cannot_be_measured_is_one_line(make, message: str) -> None:
    for measured in (latency, layer_times):
        with pytest.raises(ModelError, match=message) as caught:
            measured(make())
        assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="LiteRT cannot run the file"):
        Session(b"no flatbuffer")


# ------------------------------------------------------------------------------------------------ layers


@pytest.fixture(scope="module")
def times() -> LayerTimes:
    """Of a CNN at width 128."""
    return layer_times(cnn(128))


def test_layers_sum_up_to_the_whole(times: LayerTimes) -> None:
    assert sum(times.full.values()) == pytest.approx(times.whole_ms) == times.predict({})


@pytest.mark.full  # wants a machine that does nothing else
def test_layers_alone_take_what_the_whole_takes() -> None:
    session = Session(convert(cnn(128)))
    errors = []
    for _ in range(3):  # one of them finds the machine quiet enough
        times = layer_times(cnn(128))
        whole_at_best = 1000 * min(session.seconds() for _ in range(100))
        errors.append(times.whole_ms / times.scale / whole_at_best - 1)
        if abs(errors[-1]) < 0.4:
            return
    pytest.fail(f"layers alone are off by {errors}")


def test_what_litert_merges_takes_nothing(times: LayerTimes) -> None:
    for index in range(2):
        assert times.full[f"norm{index}"] == times.full[f"relu{index}"] == 0 < times.full[f"conv{index}"]


def test_a_normalization_that_stands_alone_takes_its_time() -> None:
    x = inputs = layers.Input((32, 32, 16))
    x = layers.BatchNormalization(name="first")(x)
    x = layers.Conv2D(16, 3, activation="relu", name="conv")(x)
    model = keras.Model(inputs, layers.BatchNormalization(name="behind_relu")(x))
    full = layer_times(model, seconds=0.02).full
    assert full["first"] > 0
    assert full["behind_relu"] > 0


@pytest.mark.full  # wants a machine that does nothing else
def test_half_the_width_is_predicted(times: LayerTimes) -> None:
    full, half = cnn(128), cnn(64)
    kept = dict.fromkeys((layer.name for layer in full.layers[1:]), (0.5, 0.5))
    kept |= {"conv0": (1.0, 0.5), "head": (0.5, 1.0)}
    sessions = [Session(convert(model)) for model in (full, half)]
    errors = []
    for _ in range(3):  # one of them finds the machine quiet enough
        turns = [[session.seconds() for session in sessions] for _ in range(60)]
        dense, shrunk = np.min(turns, axis=0)
        errors.append(times.predict(kept) / times.whole_ms / (shrunk / dense) - 1)
        if abs(errors[-1]) < 0.25:
            return
        times = layer_times(full)
    pytest.fail(f"predicted is off by {errors}")


def test_between_what_was_measured_lies_a_line() -> None:
    def cost(inputs: float, outputs: float) -> float:
        return 2 + 3 * inputs + 5 * outputs + 7 * inputs * outputs

    corner = np.array([[cost(i, o) for o in (1, 0.5)] for i in (1, 0.5)])
    times = LayerTimes(17.0 + 4.0, {"conv": corner, "outer/dense": np.array([[4.0, 2.0], [2.0, 1.0]])})
    for inputs, outputs in ((1, 1), (0.75, 0.9), (0.5, 0.5), (0.2, 0.6)):
        assert times.predict({"conv": (inputs, outputs)}) == pytest.approx(cost(inputs, outputs) + 4)
    assert times.predict({"outer/dense": (0.25, 0.0)}) == pytest.approx(17)
    with pytest.raises(ModelError, match=r"no layer 'cnov' was measured; did you mean 'conv'\?"):
        times.predict({"cnov": (1, 1)})


def test_a_shared_layer_takes_its_time_twice() -> None:
    inputs = layers.Input((32, 32, 16))
    shared = layers.Conv2D(16, 3, padding="same", name="shared")
    once = layers.Conv2D(16, 3, padding="same", name="once")
    full = layer_times(keras.Model(inputs, once(shared(shared(inputs))))).full
    assert full["shared"] == pytest.approx(2 * full["once"])  # equal config and shape: measured once


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(8, 3, groups=4),
        layers.SeparableConv2D(8, 3),
        layers.Conv2DTranspose(8, 3),
        layers.MaxPooling2D(),
        layers.PReLU(),
        layers.LayerNormalization(),
        layers.GroupNormalization(4),
        layers.Activation("swish"),
        layers.TimeDistributed(layers.Dense(8)),
        layers.Resizing(4, 4),
    ],
    ids=lambda layer: layer.name,
)
def test_every_kind_has_a_time_that_falls_with_its_width(layer: keras.layers.Layer) -> None:
    inputs = layers.Input((32, 32, 32))  # of smaller ones the time is that of a call, whatever the width
    model = keras.Model(inputs, layer(inputs))
    for _ in range(3):  # one of them finds the machine quiet enough
        times = layer_times(model, seconds=0.05)
        assert times.full[layer.name] > 0
        if times.layer(layer.name, 0.5, 0.5) < times.layer(layer.name, 1, 1):
            return
    pytest.fail("half the width takes as long as all of it")


def test_attention_and_nested_models_have_times() -> None:
    inputs = layers.Input((64, 32), name="tokens")
    attended = layers.MultiHeadAttention(4, 8, name="attention")(inputs, value=inputs)
    inner = keras.Sequential([layers.Dense(128, input_shape=(64, 32), name="dense")], name="inner")
    outputs = tf.matmul(inner(layers.Add(name="add")([inputs, attended])), tf.ones((128, 4)))
    times = layer_times(keras.Model(inputs, outputs), seconds=0.02)
    assert {"attention", "add", "inner/dense", "tf.linalg.matmul"} <= set(times.full)
    assert times.layer("attention", 1, 0.5) < times.full["attention"]


def test_measuring_leaves_no_trace() -> None:
    inputs = layers.Input((16, 16, 8), name="image")
    model = keras.Model(inputs, layers.Conv2D(8, 3, name="conv")(inputs))
    before = model.get_weights()

    def drawn() -> tuple:
        return layers.Dense(4).name, tf.random.uniform((3,)).numpy().tolist(), np.random.random()

    found = []
    for act in (lambda: None, lambda: layer_times(model, seconds=0.01)):
        keras.utils.set_random_seed(3)
        keras.backend.reset_uids()
        act()
        found.append(drawn())
    assert found[0] == found[1]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

"""`measure` with latency: what is told, from real runtimes, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.cost.latency import measure_file
from tfprune.cost.measure import measure
from tfprune.cost.traced import tensorflow_latency
from tfprune.errors import ModelError
from tfprune.litert.convert import Conversion, convert
from tfprune.models.builtin import BUILTIN
from tfprune.report.summary import as_json
from tfprune.results import Measurement

layers = keras.layers


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return BUILTIN["resnet8"]((16, 16, 3), 10)


@pytest.fixture(scope="module")
def measured(model: keras.Model) -> Measurement:
    return measure(model, latency=True, threads=2, batch=4)


def test_both_runtimes_are_told_with_what_they_ran_with(measured: Measurement, model: keras.Model) -> None:
    litert, tensorflow = measured.litert, measured.tensorflow
    assert litert is not None and tensorflow is not None
    assert (litert.runtime, litert.delegate, litert.threads, litert.batch) == ("litert", "xnnpack", 2, 4)
    assert (tensorflow.runtime, tensorflow.delegate, tensorflow.threads, tensorflow.batch) == (
        "tensorflow",
        "none",
        2,
        4,
    )
    for each in (litert, tensorflow):
        assert 0 < each.p10_ms <= each.median_ms <= each.p90_ms and each.runs >= 3
    assert measured.litert_bytes == len(convert(model))
    assert measured.arena_bytes is not None and measured.arena_bytes > 4 * 4 * 16 * 16 * 3
    assert measured.peak_memory is None or measured.peak_memory > measured.litert_bytes


def test_the_rest_is_as_without(measured: Measurement, model: keras.Model) -> None:
    plain = measure(model)
    assert (plain.litert, plain.tensorflow, plain.arena_bytes, plain.peak_memory, plain.litert_bytes) == (None,) * 5
    for name in ("parameters", "macs", "bytes", "gzipped_bytes", "layers"):
        assert getattr(measured, name) == getattr(plain, name)


def test_all_of_it_stands_in_json(measured: Measurement) -> None:
    found = json.loads(as_json(measured))
    assert found["litert"]["median_ms"] == measured.litert.median_ms
    assert set(found["tensorflow"]) >= {"p10_ms", "p90_ms", "spread", "noisy", "noise", "threads", "batch", "delegate"}
    assert found["arena_bytes"] == measured.arena_bytes


@pytest.mark.full
def test_ten_times_the_work_takes_longer_in_tensorflow() -> None:
    def stack(depth: int) -> keras.Model:
        x = inputs = layers.Input((48, 48, 32))
        for _ in range(depth):
            x = layers.Conv2D(32, 3, padding="same")(x)
        return keras.Model(inputs, x)

    small, large = (tensorflow_latency(stack(depth), seconds=1) for depth in (1, 12))
    assert 3 * small.p10_ms < large.p10_ms


def test_a_file_by_its_path_or_its_content(model: keras.Model, tmp_path) -> None:
    x = np.zeros((1, 16, 16, 3), np.float32)
    content = convert(model, Conversion("int8", lambda: [{"image": x}], integer_io=True))
    (tmp_path / "model.tflite").write_bytes(content)
    by_path = measure_file(tmp_path / "model.tflite", delegate="none", seconds=0.1)
    by_content = measure_file(content, seconds=0.1)
    assert by_path.bytes == by_content.bytes == len(content)
    assert (by_path.latency.delegate, by_content.latency.delegate) == ("none", "xnnpack")
    assert by_path.arena_bytes == by_content.arena_bytes < measure_file(convert(model), seconds=0.1).arena_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be a whole number of 1 or more, but got 0"),
        ({"batch": 0, "latency": True}, "batch must be a whole number of 1 or more, but got 0"),
    ],
)
def test_wrong_options(model: keras.Model, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        measure(model, **options)


def test_what_cannot_be_measured_is_one_line() -> None:
    unknown = keras.Sequential([layers.Conv2D(2, 3, input_shape=(None, None, 3))], name="any_size")
    inputs = layers.Input((5, 3))
    recurrent = keras.Model(inputs, layers.LSTM(4)(inputs))
    for made, options, message in (
        (unknown, {}, "axes of unknown length"),
        (recurrent, {"batch": 4}, "with a batch of 4, take a batch of 1"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            measure(made, latency=True, **options)
        assert "\n" not in str(caught.value)


def test_a_function_that_runs_nowhere_else_is_one_line(capfd) -> None:
    inputs = layers.Input((3,))
    outputs = layers.Lambda(lambda x: tf.py_function(lambda y: y, [x], tf.float32))(inputs)
    with pytest.raises(ModelError, match="cannot run in a TensorFlow of its own: ") as caught:
        tensorflow_latency(keras.Model(inputs, outputs, name="own"), seconds=0.1)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.full  # another start of TensorFlow
def test_a_masked_model_runs_with_its_masks(capfd) -> None:
    wrapped = tfprune.wrap(
        keras.Sequential([layers.Dense(4, input_shape=(3,))]), tfprune.ConstantSparsity(final_sparsity=0.5)
    )
    assert tensorflow_latency(wrapped, seconds=0.1).runs >= 3
    assert capfd.readouterr() == ("", "")

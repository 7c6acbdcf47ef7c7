"""The models that come with tfprune."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.errors import ModelError
from tfprune.models import files
from tfprune.models.builtin import BUILTIN

REFERENCE = Path(__file__).parents[2].parent / "shared" / "models" / "mlperf_tiny_resnet8.h5"


def build(name: str) -> keras.Model:
    if name == "text-transformer":
        return BUILTIN[name]((16,), 3, vocabulary=50, width=16, heads=2)
    return BUILTIN[name]((8, 8, 1) if name == "digits-cnn" else (32, 32, 3), 10)


def examples(model: keras.Model) -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (2, *model.input_shape[1:])
    return generator.integers(0, 50, shape) if len(shape) == 2 else generator.random(shape, np.float32)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", BUILTIN)
def test_saved_model_answers_the_same(name: str, ending: str, tmp_path: Path) -> None:
    model = build(name)
    again = files.load(files.save(model, tmp_path / f"model{ending}"))
    x = examples(model)
    np.testing.assert_array_equal(model(x), again(x))


@pytest.mark.parametrize("name", BUILTIN)
def test_answers_probabilities_in_float32_under_mixed_precision(name: str) -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build(name)
        answer = model(examples(model))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert answer.dtype == "float32"
    np.testing.assert_allclose(np.sum(answer, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("digits-cnn", 56_874), ("resnet8", 78_666), ("resnet20", 274_042), ("resnet56", 860_026)],
)
def test_parameter_counts(name: str, parameters: int) -> None:
    model = build(name)
    assert model.count_params() == parameters
    assert model.output_shape == (None, 10)
    assert model.optimizer is None


@pytest.mark.parametrize("name", BUILTIN)
def test_layers_are_stock_and_named(name: str) -> None:
    for layer in build(name).layers:
        assert type(layer).__module__.startswith("tf_keras."), layer
        assert not isinstance(layer, keras.layers.Lambda)
        assert layer.name[-2] != "_" or not layer.name[-1].isdigit(), "automatic names differ from build to build"


def test_resnet8_is_the_shape_of_the_reference() -> None:
    if not REFERENCE.is_file():
        pytest.skip(f"no {REFERENCE.name} next to the project; it is MLPerf Tiny's published model")
    reference = files.load(REFERENCE)
    model = build("resnet8")
    ours = {weight.name.rsplit("/", 1)[-1] + str(weight.shape) for weight in model.weights}
    assert ours == {weight.name.rsplit("/", 1)[-1] + str(weight.shape) for weight in reference.weights}
    # Both orders of layers are depth first, so the weights go over one to one.
    model.set_weights(reference.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(model(x), reference(x), atol=1e-5)
    assert measure(model).macs == measure(reference).macs


def test_transformer_reads_positions() -> None:
    model = build("text-transformer")
    tokens = np.arange(16)[None]
    positions = keras.Model(model.input, model.get_layer("positions").output)
    np.testing.assert_array_equal(positions(tokens + 7), tokens)
    assert np.abs(model(tokens) - model(tokens[:, ::-1])).max() > 1e-6


def test_digits_cnn_learns_in_a_few_epochs() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.images[..., None].astype(np.float32) / 16, digits.target
    keras.utils.set_random_seed(0)
    model = build("digits-cnn")
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x[:1400], y[:1400], batch_size=64, epochs=5, verbose=0)
    assert model.evaluate(x[1400:], y[1400:], verbose=0)[1] > 0.9


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "message"),
    [
        ("digits-cnn", (64,), {}, "takes images"),
        ("resnet20", (32, 32), {}, "takes images"),
        ("text-transformer", (8, 8, 1), {"vocabulary": 9}, "takes sequences"),
        ("text-transformer", (None,), {"vocabulary": 9}, "takes sequences"),
        ("text-transformer", (8,), {"vocabulary": 9, "width": 10, "heads": 4}, "multiple of heads, but got 10 and 4"),
    ],
)
def test_impossible_inputs_are_named(name: str, shape: tuple, arguments: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BUILTIN[name](shape, 3, **arguments)

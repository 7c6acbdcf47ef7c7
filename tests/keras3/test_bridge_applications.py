"""The models of keras.applications, listed by the library itself, over the bridge and back."""

from __future__ import annotations

import gc
import inspect

import numpy as np
import pytest
from both import answers, check_round_trip, keras3

from tfprune.backend import keras

NAMES = sorted(
    name for name, made in vars(keras3.applications).items() if inspect.isfunction(made) and name[0].isupper()
)
QUICK = {
    "MobileNetV2": (64, 64, 3),
    "ResNet50": (64, 64, 3),
    "ConvNeXtTiny": (64, 64, 3),
    "MobileNetV3Small": (64, 64, 3),
}


def settled(name: str, count: int = 2, **arguments):
    """A model of random weights whose normalizations have seen the examples, and these; outputs differ by input."""
    model = getattr(keras3.applications, name)(weights=None, **arguments)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (count, *(each or 224 for each in model.input_shape[1:]))).astype("float32")
    x[0] *= np.linspace(0, 1, x.shape[1])[:, None, None]
    if not any(type(each).__name__ in ("Normalization", "Rescaling") for each in model.layers):
        x = x / 127.5 - 1
    norms = [each for each in model._flatten_layers() if type(each).__name__ == "BatchNormalization"]
    momenta = [each.momentum for each in norms]
    for each in norms:
        each.momentum = 0.0
    if norms:
        model(x, training=True)
    for each, momentum in zip(norms, momenta, strict=True):
        each.momentum = momentum
    return model, x


def test_there_are_models():
    assert len(NAMES) >= 38
    assert set(QUICK) <= set(NAMES)


@pytest.fixture
def exact(name: str):
    """Numbers that rounding does not blur; a layer of tf_keras's ConvNeXt knows float32 alone."""
    number = "float32" if "ConvNeXt" in name else "float64"
    keras3.config.set_floatx(number)
    keras3.config.set_dtype_policy(number)  # once a layer was made, it no longer follows floatx
    yield
    keras3.config.set_floatx("float32")
    keras3.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", QUICK)
def test_a_small_one(name):
    model, x = settled(name, 8, input_shape=QUICK[name], classes=5)
    there, again = check_round_trip(model, x, "keras3")
    first, second = answers(model, x)[0][:2]
    assert abs(first - second).max() > 1e-4, "the answers do not depend on the input"
    assert [each.name for each in there.layers if each.weights] == [each.name for each in model.layers if each.weights]
    assert again.count_params() == there.count_params() == model.count_params()


@pytest.mark.full
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", NAMES)
def test_every_one(name):
    model, x = settled(name, input_shape=(160, 160, 3))
    check_round_trip(model, x, "keras3")
    del model
    keras.backend.clear_session()
    keras3.backend.clear_session()
    gc.collect()

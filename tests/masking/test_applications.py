"""Every model of keras.applications can be wrapped, trained and stripped."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.models.applications import application_names

# Operators, depthwise kernels and rescaling inside; grouped convolutions. Layers of its own (ConvNeXtTiny) and Lambda
# (EfficientNetB0) run with the tests that take minutes.
QUICK = ("MobileNetV3Small", "RegNetX002")
LEAST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}  # pixels; the others take 32


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    gc.collect()


def test_all_of_them_are_here() -> None:
    assert len(application_names()) >= 71
    assert {*QUICK, *LEAST} <= set(application_names())


@pytest.mark.timeout(1800)  # the deepest take minutes on a busy machine
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in application_names()]
)
def test_is_wrapped_trained_and_stripped(name: str) -> None:
    keras.utils.set_random_seed(0)
    size = LEAST.get(name, 32)
    model = getattr(keras.applications, name)(weights=None, classes=10, input_shape=(size, size, 3))
    x = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    costs = tfprune.measure(model).layers
    assert all(bool(cost.prunable) != bool(cost.reason) for cost in costs), "pruned, or named with a reason"

    pruned = tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.5))
    assert len(pruned.trainable_variables) == len(model.trainable_variables)
    del model
    assert len(masked_layers(pruned)) == sum(bool(cost.prunable) for cost in costs)

    # Eagerly: tracing a thousand layers takes minutes, for a single step. Clipped: two examples of one pixel before
    # the top, through normalization, give some of them gradients of a million, pruned or not.
    optimizer = keras.optimizers.SGD(0.01, clipnorm=1.0)
    pruned.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    pruned.fit(x, np.array([1, 7]), batch_size=2, verbose=0)
    total = zeros = 0
    for weight, mask in masked_variables(pruned):
        values, held = weight.numpy(), mask.numpy() == 0
        assert not values[held].any()
        assert abs(held.sum() - held.size / 2) <= 0.5
        total, zeros = total + held.size, zeros + held.sum()
    assert abs(zeros / total - 0.5) < 1e-3

    plain = tfprune.strip(pruned)
    plain.run_eagerly = True
    assert not masked_layers(plain)
    answers = pruned.predict(x, verbose=0)
    assert np.isfinite(answers).all()
    np.testing.assert_array_equal(plain.predict(x, verbose=0), answers)

"""Small models and data for the masking tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfprune.backend import keras


@pytest.fixture
def dense() -> Callable[..., keras.Model]:
    """Makes a dense classifier of 8 features and 4 classes; the same seed, the same weights."""

    def make(seed: int = 0) -> keras.Model:
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Dense(16, "relu", input_shape=(8,), name="hidden"),
                layers.Dense(4, "softmax", name="head"),
            ]
        )

    return make


@pytest.fixture(scope="session")
def data() -> tuple[np.ndarray, np.ndarray]:
    """64 examples of 8 features; the class is where the first four features are largest."""
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    return x, x[:, :4].argmax(axis=1)

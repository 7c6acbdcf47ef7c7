"""What the tests of the bridge share: both libraries, models filled with values of their own, and comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.keras3.convert import from_keras3, to_keras3
from tfprune.keras3.library import library

keras3 = library()

WAYS = {"tf_keras": (keras, to_keras3, from_keras3), "keras3": (keras3, from_keras3, to_keras3)}
"""Where a model starts: its library, the way over, the way back."""


def filled(model: Any, seed: int = 0) -> Any:
    """A model whose weights are all different, so that two that are mixed up are seen."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif "float" in str(weight.dtype) and "vector_u" not in weight.name:
            weight.assign(rng.normal(size=shape) * 0.3)
    return model


def answers(model: Any, inputs: Any) -> list[np.ndarray]:
    found = tf.nest.flatten(model(inputs, training=False))
    return [np.asarray(each if each.dtype != "bfloat16" else tf.cast(each, "float32"), "float64") for each in found]


def check_round_trip(model: Any, inputs: Any, start: str, tolerance: float = 1e-5) -> tuple[Any, Any]:
    """Hold a model against its twin, and against what comes back; return both."""
    _, over, back = WAYS[start]
    before = [np.array(each) for each in model.get_weights()] if not _has_tables(model) else []
    there = over(model)
    again = back(there)
    expected = answers(model, inputs)
    assert all(np.isfinite(each).all() for each in expected)
    for twin in (there, again):
        for one, other in zip(expected, answers(twin, inputs), strict=True):
            np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)
    assert isinstance(there, keras.Model) != isinstance(model, keras.Model)
    assert isinstance(again, keras.Model) == isinstance(model, keras.Model)
    assert there.name == again.name == model.name
    for one, other in zip(before, model.get_weights() if before else [], strict=True):
        np.testing.assert_array_equal(one, other)
    return there, again


def _has_tables(model: Any) -> bool:
    return any(type(each).__name__ in ("IntegerLookup", "StringLookup", "TextVectorization") for each in model.layers)

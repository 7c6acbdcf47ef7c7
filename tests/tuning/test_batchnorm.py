"""Batch statistics taken anew are what momentum makes of the batches' own, and nothing else of a model changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras
from tfprune.tuning.batchnorm import BatchStatistics

layers = keras.layers
DRAW = np.random.default_rng(5)
BATCHES = [(DRAW.normal(3, 2, (size, 6)).astype(np.float32), np.zeros(size)) for size in (8, 16, 5)]
IMAGES = [(DRAW.normal(1, 3, (size, 4, 4, 3)).astype(np.float32), np.zeros(size)) for size in (4, 7)]


def weighed(values: list[np.ndarray], momentum: float) -> np.ndarray:
    """The average of batches in which each next one counts 1 / momentum as much as the one before."""
    weights = momentum ** np.arange(len(values) - 1, -1, -1.0)
    return np.average(values, axis=0, weights=weights)


def first_norm(momentum: float = 0.9, **more: object) -> keras.Model:
    norm = layers.BatchNormalization(momentum=momentum, name="norm", **more)
    return keras.Sequential([keras.Input((6,)), norm, layers.Dense(2, name="last")])


def averages(norm: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    return norm.moving_mean.numpy(), norm.moving_variance.numpy()


def check(norm: keras.layers.Layer, xs: list[np.ndarray], momentum: float = 0.9) -> None:
    axes = tuple(range(xs[0].ndim - 1))
    mean, variance = averages(norm)
    np.testing.assert_allclose(mean, weighed([x.mean(axis=axes) for x in xs], momentum), rtol=1e-4, atol=1e-5)
    # Over images, the fused kernel divides by one less, as for a sample.
    spare = 1 if xs[0].ndim == 4 else 0
    each = [x.var(axis=axes) * (n := x[..., 0].size) / (n - spare) for x in xs]
    np.testing.assert_allclose(variance, weighed(each, momentum), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_averages_are_those_of_the_batches(momentum: float) -> None:
    model = first_norm(momentum)
    norm = model.get_layer("norm")
    norm.moving_mean.assign(np.full(6, 100, np.float32))  # of which nothing may be left
    BatchStatistics(model).renew(BATCHES)
    xs = [x for x, _ in BATCHES]
    if momentum < 0.99:
        check(norm, xs, momentum)
    else:  # what is divided is small, and in 32 bits
        mean, variance = averages(norm)
        np.testing.assert_allclose(mean, weighed([x.mean(axis=0) for x in xs], momentum), rtol=2e-3)
        np.testing.assert_allclose(variance, weighed([x.var(axis=0) for x in xs], momentum), rtol=2e-3)


def test_a_momentum_of_one_never_moves_and_does_not_now() -> None:
    model = first_norm(1.0)
    before = averages(model.get_layer("norm"))
    BatchStatistics(model).renew(BATCHES)
    np.testing.assert_array_equal(averages(model.get_layer("norm")), before)


def test_images() -> None:
    norm = layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((4, 4, 3)), norm, layers.Flatten(), layers.Dense(2)])
    BatchStatistics(model).renew(IMAGES)
    check(norm, [x for x, _ in IMAGES])


def test_again_it_is_the_same_and_follows_the_weights_as_they_are() -> None:
    dense = layers.Dense(6, use_bias=False, name="first")
    norm = layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((6,)), dense, norm, layers.Dense(2)])
    statistics = BatchStatistics(model)
    statistics.renew(BATCHES)
    first = averages(norm)
    statistics.renew(iter(BATCHES))
    np.testing.assert_array_equal(averages(norm), first)
    dense.kernel.assign(0 * dense.kernel)
    statistics.renew(BATCHES)
    np.testing.assert_array_equal(averages(norm), np.zeros((2, 6)))


def test_nothing_else_changes() -> None:
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu"),
            layers.Dropout(0.5),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    norm = model.get_layer("norm")
    moved = {id(norm.moving_mean), id(norm.moving_variance)}
    others = [each for each in model.weights if id(each) not in moved]
    before, state = [each.numpy() for each in others], [each.numpy() for each in model.optimizer.variables]
    BatchStatistics(model).renew(BATCHES)
    for each, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(each.numpy(), value)
    assert [each.numpy().tolist() for each in model.optimizer.variables] == [each.tolist() for each in state]


def nested(frozen: bool) -> tuple[keras.Model, keras.layers.Layer]:
    norm = layers.BatchNormalization(momentum=0.9, name="inner")
    inside = keras.Sequential([keras.Input((6,)), norm], name="inside")
    inside.trainable = not frozen
    return keras.Sequential([keras.Input((6,)), inside, layers.Dense(2)]), norm


def test_a_nested_one_is_renewed() -> None:
    model, norm = nested(frozen=False)
    BatchStatistics(model).renew(BATCHES)
    check(norm, [x for x, _ in BATCHES])


@pytest.mark.parametrize("where", ["itself", "model-inside"])
def test_a_frozen_one_keeps_its_averages(where: str) -> None:
    model, norm = nested(frozen=where == "model-inside")
    norm.trainable = norm.trainable and where != "itself"
    before = averages(norm)
    BatchStatistics(model).renew(BATCHES)
    np.testing.assert_array_equal(averages(norm), before)


def test_one_that_is_called_twice_is_renewed_once() -> None:
    norm = layers.BatchNormalization(momentum=0.9)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(2)(norm(norm(inputs))))
    BatchStatistics(model).renew(BATCHES)
    mean, variance = averages(norm)
    assert np.isfinite(mean).all() and (variance > 0).all()


def test_a_model_without_any_looks_at_no_batch() -> None:
    def never() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        raise AssertionError
        yield

    BatchStatistics(keras.Sequential([keras.Input((6,)), layers.Dense(2)])).renew(never())


def test_a_wrapped_model_keeps_masks_and_steps() -> None:
    dense = layers.Dense(6, name="first")
    plain = keras.Sequential([keras.Input((6,)), dense, layers.BatchNormalization(name="norm"), layers.Dense(2)])
    wrapped = tfprune.wrap(plain, tfprune.ConstantSparsity(final_sparsity=0.5))
    norm = wrapped.get_layer("norm")
    moved = {id(norm.moving_mean), id(norm.moving_variance)}
    others = [each for each in wrapped.weights if id(each) not in moved]
    before = [each.numpy() for each in others]
    BatchStatistics(wrapped).renew(BATCHES)
    for each, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(each.numpy(), value)
    kernel, bias = dense.get_weights()
    check_momentum = 0.99
    mean, _ = averages(norm)
    np.testing.assert_allclose(
        mean, weighed([(x @ kernel + bias).mean(axis=0) for x, _ in BATCHES], check_momentum), rtol=5e-3, atol=1e-3
    )


def test_a_wrapper_of_keras_is_looked_into() -> None:
    norm = layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input((3, 6)), layers.TimeDistributed(norm), layers.Flatten(), layers.Dense(2)])
    xs = [np.stack([x, x + 1, x - 2], axis=1) for x, _ in BATCHES]
    BatchStatistics(model).renew([(x, None) for x in xs])
    np.testing.assert_allclose(
        averages(norm)[0], weighed([x.reshape(-1, 6).mean(axis=0) for x in xs], 0.9), rtol=1e-4, atol=1e-5
    )

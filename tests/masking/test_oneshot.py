"""Pruned at once: what comes back, and what is told about it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ImportanceError, ModelError, ScheduleError, SelectionError, TrainingError
from tfprune.masking.masked import masked_layers

X = np.random.default_rng(0).normal(size=(96, 8)).astype("float32")
Y = X[:, :4].argmax(axis=1)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential([layers.Dense(16, "relu", input_shape=(8,), name="hidden"), layers.Dense(4, name="head")])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(X, Y, epochs=20, verbose=0)
    return model


@pytest.fixture(scope="module")
def regressor() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Dense(8, "relu", input_shape=(8,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def told(model: keras.Model, *arguments: Any, **more: Any) -> tuple[keras.Model, str]:
    """The pruned model and the one warning about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pruned = tfprune.prune(model, *arguments, **more)
    (warning,) = caught
    assert warning.filename == __file__, "it points to the caller"
    return pruned, str(warning.message)


def accuracy(model: keras.Model) -> str:
    return f"{(model.predict(X, verbose=0).argmax(axis=1) == Y).mean():.1%}"


def sparsities(model: keras.Model) -> list[float]:
    return [float((layer.kernel.numpy() == 0).mean()) for layer in model.layers]


def test_a_plain_model_and_the_given_one_as_it_was(trained):
    before, metrics = trained.get_weights(), [metric.result().numpy() for metric in trained.metrics]
    pruned, warning = told(trained, 0.75)
    assert not masked_layers(pruned)
    assert sparsities(pruned) == [0.75, 0.75]
    assert warning == ("pruned without training: its accuracy is unknown; evaluate it, and fine-tune it or prune less")
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, trained.get_weights(), strict=True))
    told(trained, 0.5, data=(X, Y), importance="taylor")
    assert [metric.result().numpy() for metric in trained.metrics] == metrics
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in trained.layers]
    for ours, theirs in zip(pruned.get_weights(), before, strict=True):
        assert (ours[ours != 0] == theirs[ours != 0]).all()


@pytest.mark.parametrize("kind", ["arrays", "column of labels", "dataset", "endless"])
def test_accuracy_before_and_after(kind, trained):
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(32)
    data = {"arrays": (X, Y), "column of labels": (X, Y[:, None]), "dataset": dataset, "endless": dataset.repeat()}
    pruned, warning = told(trained, 0.75, data=data[kind])
    assert accuracy(pruned) != accuracy(trained)
    if kind != "endless":
        expected = f"accuracy {accuracy(pruned)}, {accuracy(trained)} before; fine-tune it, or prune less"
        assert warning == f"pruned without training: {expected}"
    else:
        assert warning.startswith("pruned without training: accuracy ")


def test_no_accuracy_where_there_are_no_classes(trained, regressor):
    pruned, warning = told(regressor, 0.5, data=(X, X[:, :1]))
    losses = [float(np.square(each.predict(X, verbose=0) - X[:, :1]).mean()) for each in (pruned, regressor)]
    assert warning == (
        f"pruned without training: loss {losses[0]:.4g}, {losses[1]:.4g} before; fine-tune it, or prune less"
    )
    uncompiled = keras.models.clone_model(regressor)
    assert "its accuracy is unknown" in told(uncompiled, 0.5, data=(X, X[:, :1]))[1]
    one_hot = np.eye(4, dtype="float32")[Y]
    classifier = keras.models.clone_model(trained)
    classifier.compile("adam", "mse")
    assert "without training: loss " in told(classifier, 0.5, data=(X, one_hot))[1]
    assert "without training: loss " in told(classifier, 0.5, data=(X, Y.astype("float32")))[1]


def test_every_choice_of_wrap_is_heard(trained):
    assert sparsities(told(trained, 0.5, layers=["hid*"])[0]) == [0.5, 0.0]
    assert sparsities(told(trained, 0.5, scope={"head": 0.25})[0]) == [0.5, 0.25]
    limited = sparsities(told(trained, 0.5, scope="global", floor=0.4, ceiling=0.6, normalize=True)[0])
    assert all(0.39 <= each <= 0.61 for each in limited)
    kernel = told(trained, 0.5, pattern="2:4")[0].layers[0].kernel.numpy()
    assert ((kernel.reshape(2, 4, 16) == 0).sum(axis=1) == 2).all()
    kernels = [told(trained, 0.5, importance="random", seed=seed)[0].layers[0].kernel.numpy() for seed in (1, 1, 2)]
    assert (kernels[0] == kernels[1]).all() and (kernels[0] != kernels[2]).any()


@pytest.mark.parametrize("importance", ["taylor", lambda weights, gradients: np.abs(gradients)], ids=["name", "own"])
def test_scores_from_data_take_the_compiled_loss(importance, trained):
    by_gradient = told(trained, 0.5, importance=importance, data=(X, Y), batches=3)[0]
    by_size = told(trained, 0.5)[0]
    assert sparsities(by_gradient) == sparsities(by_size) == [0.5, 0.5]
    assert ((by_gradient.layers[0].kernel.numpy() == 0) != (by_size.layers[0].kernel.numpy() == 0)).any()


def test_several_outputs_by_name():
    inputs = keras.Input((8,))
    heads = [keras.layers.Dense(1, name="size")(inputs), keras.layers.Dense(4, "softmax", name="class")(inputs)]
    model = keras.Model(inputs, heads)
    model.compile("adam", {"size": "mse", "class": "sparse_categorical_crossentropy"}, loss_weights={"size": 0.5})
    data = tf.data.Dataset.from_tensor_slices((X, {"size": X[:, :1], "class": Y})).batch(32)
    pruned, warning = told(model, 0.5, importance="fisher", data=data)
    assert warning.startswith("pruned without training: loss ")
    before = model.evaluate(data, verbose=0)[0]
    assert f", {before:.4g} before" in warning
    assert tfprune.measure(pruned).sparsity == 0.5


def test_nothing_to_be_done(trained):
    pruned, _ = told(trained, 0.0)
    assert all((a == b).all() for a, b in zip(pruned.get_weights(), trained.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sparsity": 1.0}, ScheduleError, r"^sparsity must be a number in \[0, 1\), but got sparsity=1.0"),
        ({"sparsity": "half"}, ScheduleError, r"^sparsity must be a number .* but got sparsity='half'"),
        ({"importance": "tylor"}, ImportanceError, "did you mean 'taylor'?"),
        ({"importance": "taylor"}, ImportanceError, "importance taylor needs data"),
        ({"importance": "taylor", "data": X}, ImportanceError, "need labels"),
        ({"importance": lambda weights: weights[0]}, ImportanceError, "expected scores of the weights' shape"),
        ({"importance": lambda weights: 1 / 0}, ImportanceError, "raised ZeroDivisionError"),
        ({"importance": "gradient", "data": (X * np.nan, Y)}, TrainingError, "gradients of layer 'hidden' are not"),
        ({"pattern": "2:4", "sparsity": 0.8}, SelectionError, "gives at most 0.5 sparsity"),
        ({"scope": {"heda": 0.5}}, SelectionError, "did you mean 'head'?"),
        ({"layers": ["heda"]}, ModelError, "did you mean 'head'?"),
        ({"floor": 0.2}, SelectionError, "floor goes with scope='global'"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_wrong_arguments_give_one_line(arguments, error, message, trained):
    with pytest.raises(error, match=message) as caught:
        tfprune.prune(trained, **{"sparsity": 0.5, **arguments})
    assert "\n" not in str(caught.value)


def test_a_score_that_needs_a_loss(trained):
    with pytest.raises(ImportanceError, match=r"'\w+' is not compiled with one; call model.compile\(loss=...\) first"):
        tfprune.prune(keras.models.clone_model(trained), 0.5, importance="taylor", data=(X, Y))

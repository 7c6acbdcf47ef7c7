"""A compiled model goes over compiled, and its training goes on as it would have."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from both import WAYS, filled, keras3

from tfprune.backend import keras
from tfprune.errors import TfpruneWarning
from tfprune.keras3.convert import from_keras3, to_keras3

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)).astype("float32"), RNG.normal(size=(16, 3)).astype("float32")

OPTIMIZERS = {
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.01},
    "Adadelta": {},
    "Adagrad": {},
    "Adamax": {},
    "Ftrl": {},
    "Lion": {},
    "RMSprop": {"momentum": 0.5},
    "SGD": {"momentum": 0.9, "nesterov": True},
}


def small(library, optimizer, **arguments):
    layers = [library.layers.Dense(5), library.layers.BatchNormalization(), library.layers.Dense(3, name="end")]
    model = filled(library.Sequential([library.Input((4,)), *layers]))
    model.compile(optimizer, **arguments)
    return model


def trained(model, epochs=2):
    model.fit(X, Y, epochs=epochs, shuffle=False, verbose=0, batch_size=8)
    return model


@pytest.mark.parametrize("start", WAYS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_it_would_have(name, start):
    library, over, _ = WAYS[start]
    optimizer = getattr(library.optimizers, name)(learning_rate=0.01, **OPTIMIZERS[name])
    model = trained(small(library, optimizer, loss="mse"))
    there = over(model)
    assert int(there.optimizer.iterations) == int(model.optimizer.iterations) == 4
    for one, other in zip(trained(model).get_weights(), trained(there).get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=2e-5)


@pytest.mark.parametrize("start", WAYS)
def test_losses_metrics_and_schedules_are_kept(start):
    library, over, _ = WAYS[start]
    rate = library.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    model = small(
        library,
        library.optimizers.SGD(rate),
        loss=library.losses.Huber(delta=0.3),
        metrics=["mae", library.metrics.MeanSquaredError(name="square")],
    )
    there = over(model)
    np.testing.assert_allclose(there.evaluate(X, Y, verbose=0), model.evaluate(X, Y, verbose=0), rtol=1e-5)
    kept = there.optimizer.get_config()["learning_rate"]
    assert kept["class_name"] == "ExponentialDecay"
    assert kept["config"]["decay_steps"] == 3


@pytest.mark.parametrize("start", WAYS)
def test_losses_by_name_of_output(start):
    library, over, _ = WAYS[start]
    inputs = library.Input((4,))
    ends = {name: library.layers.Dense(3, name=name)(inputs) for name in ("one", "two")}
    model = filled(library.Model(inputs, ends))
    model.compile("sgd", loss={"one": "mse", "two": "mae"}, loss_weights={"one": 1.0, "two": 0.5})
    labels = {"one": Y, "two": -Y}
    there = over(model)
    assert there.evaluate(X, labels, verbose=0)[0] == pytest.approx(model.evaluate(X, labels, verbose=0)[0], rel=1e-5)


@pytest.mark.parametrize("start", WAYS)
def test_what_is_not_compiled_comes_uncompiled_and_quietly(start):
    library, over, _ = WAYS[start]
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", TfpruneWarning)
        assert not getattr(over(model), "optimizer", None)


def test_a_loss_of_one_alone_is_told():
    model = small(keras3, "adam", loss=keras3.losses.Dice())
    with pytest.warns(TfpruneWarning, match="without what it is compiled with: Dice is not in its losses; compile it"):
        assert not from_keras3(model).optimizer


@pytest.mark.parametrize("start", WAYS)
def test_a_loss_of_the_users_own_is_told(start):
    library, over, _ = WAYS[start]

    def own(y_true, y_pred):
        return 0.0

    with pytest.warns(TfpruneWarning, match="'own' is not in its losses"):
        assert not getattr(over(small(library, "adam", loss=own)), "optimizer", None)


def test_a_legacy_optimizer_goes_over():
    model = small(keras, keras.optimizers.legacy.SGD(0.05), loss="mse")
    assert float(to_keras3(model).optimizer.learning_rate) == pytest.approx(0.05)

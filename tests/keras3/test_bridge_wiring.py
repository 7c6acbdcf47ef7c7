"""Public functions take Keras 3 models, and give Keras 3 back."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest
import tiny_workflow
from both import answers, filled, keras3

import tfprune
from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.keras3.bridged import arrived, returned, stands_for

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 8, 8, 1)).astype("float32"), np.arange(60) % 3


@pytest.fixture
def model():
    layers = keras3.layers
    made = filled(
        keras3.Sequential(
            [
                keras3.Input((8, 8, 1)),
                layers.Conv2D(8, 3, activation="relu", name="conv"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, activation="softmax", name="scores"),
            ],
            name="small",
        )
    )
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def zeros(model) -> float:
    kernels = [np.asarray(each.kernel) for each in model.layers if hasattr(each, "kernel")]
    return sum((each == 0).sum() for each in kernels) / sum(each.size for each in kernels)


def test_wrap_and_strip(model):
    before = answers(model, X)[0]
    wrapped = tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.5))
    assert isinstance(wrapped, keras.Model)
    wrapped.compile("adam", "sparse_categorical_crossentropy")
    wrapped.fit(X, Y, verbose=0, callbacks=tfprune.callbacks(wrapped))
    stripped = tfprune.strip(wrapped)
    assert isinstance(stripped, keras3.Model)
    assert [each.name for each in stripped.layers] == [each.name for each in model.layers]
    assert zeros(stripped) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(answers(stripped, X)[0], answers(tfprune.keras3.from_keras3(stripped), X)[0], atol=1e-5)
    np.testing.assert_array_equal(answers(model, X)[0], before)


def test_a_wrapped_tf_keras_model_comes_back_as_tf_keras(model):
    wrapped = tfprune.wrap(tfprune.keras3.from_keras3(model), tfprune.ConstantSparsity(final_sparsity=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(tfprune.strip(wrapped), keras.Model)
        assert isinstance(tfprune.strip(model), keras3.Model)


def test_prune(model):
    with pytest.warns(UserWarning, match="accuracy"):
        pruned = tfprune.prune(model, 0.5, data=(X, Y))
    assert isinstance(pruned, keras3.Model)
    assert zeros(pruned) == pytest.approx(0.5, abs=0.01)


def test_shrink_plan_and_apply(model):
    small, report = tfprune.shrink(model, ratio=0.5)
    assert isinstance(small, keras3.Model)
    assert small.get_layer("conv").filters == 4
    assert small.count_params() == report.after.parameters < model.count_params() == report.before.parameters
    assert type(small.optimizer).__name__ == "Adam"
    plan = tfprune.plan(model, ratio=0.5)
    same, _ = tfprune.apply(model, plan)
    assert isinstance(same, keras3.Model)
    np.testing.assert_allclose(answers(same, X)[0], answers(small, X)[0], atol=1e-6)
    assert model.get_layer("conv").filters == 8


def test_evaluate(model):
    small, _ = tfprune.shrink(model, ratio=0.25)
    scores = tfprune.evaluate(small, (X, Y), slices=["classes"], baseline=model)
    expected = (answers(small, X)[0].argmax(axis=1) == Y).mean()
    assert scores.accuracy == pytest.approx(expected)


def test_run(model, home):
    prune = {"method": "structured", "target": {"ratio": 0.36}, "rounds": 1}
    recipe = tiny_workflow.recipe(name="guest", prune=prune, finetune__epochs=1, slices=[], stop={"max_drop": None})
    result = tfprune.run(recipe, model=model, data=(X, Y))
    assert isinstance(result.model, keras3.Model)
    assert result.model.name == model.name
    assert result.model.get_layer("conv").filters < 8


def test_what_cannot_be_bridged_is_an_error_that_names_it():
    model = keras3.Sequential([keras3.Input((4,)), keras3.layers.RMSNormalization(name="odd"), keras3.layers.Dense(2)])
    with pytest.raises(ModelError, match="layer 'odd' is a RMSNormalization"):
        tfprune.shrink(model, ratio=0.5)


def test_guests_are_forgotten_with_their_models(model):
    guest = arrived(model)
    assert arrived(guest) is guest
    assert isinstance(returned(guest, guest), keras3.Model)
    other = stands_for(keras.Sequential(), guest)
    assert isinstance(returned(guest, other), keras3.Model)
    assert returned(guest, keras.Sequential()) is guest
    assert returned(None, guest) is None
    from tfprune.keras3 import bridged

    count = len(bridged._GUESTS)
    del guest, other
    gc.collect()
    assert len(bridged._GUESTS) < count

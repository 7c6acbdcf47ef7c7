"""Units at zero: the model as it stands answers what it answers without them, and is afterwards what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from random_models import Spec, specs

import tfprune
from tfprune.backend import keras
from tfprune.errors import SelectionError, SurgeryError
from tfprune.structure.analysis import Analysis
from tfprune.structure.ignore import UnitMask, ignored
from tfprune.structure.ranking import Limits, Ranking
from tfprune.structure.scores import score_units

layers = keras.layers
Input, Dense = keras.Input, layers.Dense


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def model_of() -> keras.Model:
    """Filters behind batch normalization, heads, and a residual stream."""
    inputs = Input((6, 6, 2))
    x = layers.Conv2D(12, 3, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    y = layers.Conv2D(12, 3, padding="same", name="back")(layers.Conv2D(7, 1, activation="relu", name="wide")(x))
    x = layers.Reshape((16, 12))(layers.Add()([x, y]))
    x = layers.Add()([x, layers.MultiHeadAttention(4, 3, name="mha")(x, x)])
    x = layers.GRU(8, name="gru")(x)
    return oracle.randomise(keras.Model(inputs, Dense(3, name="out")(x), name="model"))


def bits(model: keras.Model) -> list[bytes]:
    return [each.tobytes() for each in model.get_weights()]


@pytest.mark.parametrize("name", ["conv", "wide", "mha/heads", "gru"])
def test_the_answers_are_those_of_the_model_without_the_units(name: str) -> None:
    model = model_of()
    inputs = oracle.random_inputs(model)
    before, answers = bits(model), model.predict(inputs, verbose=0)
    mask = UnitMask(model)
    assert set(mask.names) == {"conv", "wide", "mha/heads", "gru"} == set(mask.sizes)
    plan = tfprune.plan(model, ratio=_ratio(mask, name), scope={name: 0.5})
    assert {each: len(gone) for each, gone in plan.removed.items()} == {name: _half(mask.sizes[name])}
    small, _ = tfprune.apply(model, plan)
    with mask.without({name: 0.5}) as same:
        assert same is model and bits(model) != before
        found = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(found, small.predict(inputs, verbose=0), rtol=1e-5, atol=1e-5)
    assert np.abs(found - answers).max() > 1e-3
    assert bits(model) == before
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), answers)


def _half(size: int) -> int:
    return size // 2  # of halves the smaller


def _ratio(mask: UnitMask, name: str) -> float:
    return _half(mask.sizes[name]) / sum(mask.sizes.values())


def test_several_couplings_at_once_and_none() -> None:
    model = model_of()
    before = bits(model)
    mask = UnitMask(model, units=("filters",))
    assert "mha/heads" not in mask.names
    with mask.without({"w*": 0.9, "conv": 0.25}):
        kernel = model.get_layer("wide").kernel.numpy()
        assert int((kernel == 0).all(axis=(0, 1, 2)).sum()) == 6 and int((kernel == 0).all(axis=(0, 1, 3)).sum()) == 3
        norm = [each.numpy() for each in model.get_layer("norm").weights]
        assert all(int((each == 0).sum()) == 3 for each in norm)
    assert bits(model) == before
    for nothing in ({}, {"conv": 0.0}):
        with mask.without(nothing):
            assert bits(model) == before


def test_no_coupling_loses_its_last_unit() -> None:
    model = model_of()
    with UnitMask(model).without({"wide": 0.999}):
        assert int((model.get_layer("wide").kernel.numpy() != 0).any(axis=(0, 1, 2)).sum()) == 1


def test_weights_come_back_after_a_mistake() -> None:
    model = model_of()
    before = bits(model)
    with pytest.raises(ZeroDivisionError), UnitMask(model).without({"conv": 0.5}):
        raise ZeroDivisionError
    assert bits(model) == before


def test_a_trace_goes_on() -> None:
    model = model_of()
    model.compile(loss="mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
    y = np.ones((4, 3), np.float32)
    whole = model.evaluate(x, y, verbose=0)
    traced = model.test_function
    mask = UnitMask(model, ignore="conv")
    assert "conv" not in mask.names
    with mask.without({"wide": 0.5}):
        assert model.evaluate(x, y, verbose=0) != whole
    assert model.evaluate(x, y, verbose=0) == whole and model.test_function is traced


def test_what_is_refused() -> None:
    model = model_of()
    with pytest.raises(SelectionError, match=r"blocks cannot be set to zero.*leave them out"):
        UnitMask(model, units=("filters", "blocks"))
    with (
        pytest.raises(SelectionError, match=r"'wid' matches no coupling .*did you mean 'wide'"),
        UnitMask(model).without({"wid": 0.5}),
    ):
        pass
    with (
        pytest.raises(SelectionError, match=r"must be a number in \[0, 1\), but got 1"),
        UnitMask(model).without({"wide": 1}),
    ):
        pass
    with pytest.raises(SurgeryError, match="nothing to remove"):
        UnitMask(keras.Sequential([Dense(3, input_shape=(2,))]))
    analysis = Analysis(model)
    removed = np.zeros(analysis.size + 1, bool)
    removed[next(iter(analysis.blocks))] = True
    with pytest.raises(SelectionError, match="blocks cannot"), ignored(analysis, removed):
        pass


def examine(spec: Spec) -> bool:
    """Hold one random model with zeros against the model that is built without the units."""
    model = oracle.randomise(spec.build(), spec.seed)
    analysis = Analysis(model)
    limits = Limits(units=("filters", "heads", "key_size", "groups"))
    removed = Ranking(analysis, score_units(analysis), limits).removed(0.5)
    if not removed.any():
        return False
    inputs, before = oracle.random_inputs(model, spec.seed), bits(model)
    small, report = tfprune.shrink(model, ratio=0.5, units=limits.units)
    assert report.removed == removed.sum()
    with ignored(analysis, removed):
        found = oracle.Reference(model)(inputs)  # with the weights as they are now, in float64
        own = oracle.run(model, inputs)
    assert bits(model) == before
    expected, answers = oracle.Reference(small)(inputs), oracle.run(small, inputs)
    assert oracle.error(found, expected) < 1e-5
    rounding = oracle.error(answers, expected)  # some models are ill-conditioned in float32
    assert oracle.error(own, answers) <= max(1e-4, 2 * rounding)
    return True


def prove(examples: int) -> None:
    done: Counter[bool] = Counter()

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(specs)
    def check(spec: Spec) -> None:
        done[examine(spec)] += 1

    check()
    assert done[True] >= 0.5 * done.total()


def test_random_models() -> None:
    prove(12)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_random_models_by_the_hundred() -> None:
    prove(300)

"""What a compiled model remembers goes along: slots as the weights, steps, rates, losses and metrics as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.models.optimizers import inner_optimizer, named_slots
from tfprune.results import SurgeryReport

layers, optimizers = keras.layers, keras.optimizers
Input, Dense = keras.Input, layers.Dense

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.02),
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.1),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.05),
    "lion": lambda: optimizers.Lion(0.01),
    "ema": lambda: optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_overwrite_frequency=100),
    "legacy adam": lambda: optimizers.legacy.Adam(0.01, amsgrad=True),
    "legacy plain": lambda: optimizers.legacy.SGD(0.05),
    "legacy sgd": lambda: optimizers.legacy.SGD(0.05, momentum=0.9, nesterov=True),
    "legacy nadam": lambda: optimizers.legacy.Nadam(0.01),
    "adafactor": lambda: optimizers.Adafactor(0.01),
}
# These look at a weight as a whole, or have no exact step.
AS_A_WHOLE = ("adafactor",)
PLAIN = ("sgd", "legacy plain")  # nothing of each weight


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def model_of() -> keras.Model:
    inputs = Input((6,))
    x = Dense(8, activation="tanh", name="a")(inputs)
    inner = keras.Sequential([Dense(8, activation="relu", input_shape=(8,), name="b")], name="inner")
    x = layers.Add()([x, inner(x)])
    return oracle.randomise(keras.Model(inputs, Dense(3, name="out")(Dense(6, activation="tanh", name="c")(x))))


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(16, 6)).astype(np.float32), rng.normal(size=(16, 3)).astype(np.float32)


def trained(optimizer: Any, **compiled: Any) -> keras.Model:
    model = model_of()
    # Keras' Nadam counts its steps in a number of Python's, which a graph holds as it was when it was traced.
    eager = not isinstance(optimizer, optimizers.Nadam)
    model.compile(optimizer, **{"loss": "mse", "run_eagerly": eager, **compiled})
    model.fit(*data(), batch_size=8, epochs=2, verbose=0)
    return model


def by_name(model: keras.Model) -> dict[str, list[tf.Variable]]:
    return {name: layer.weights for name, layer in oracle.walk(model)}


def kept(report: SurgeryReport, name: str, place: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    whole = tuple(np.arange(size) for size in shape)
    return report.layers[name].kept[place] if name in report.layers else whole


def slices(model: keras.Model, small: keras.Model, report: SurgeryReport) -> Any:
    """Each weight of the original with what it has become, and the indices that were kept."""
    after = by_name(small)
    for name, weights in by_name(model).items():
        for place, (old, new) in enumerate(zip(weights, after[name], strict=True)):
            yield old, new, kept(report, name, place, tuple(old.shape))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_sliced_as_the_weights(name: str) -> None:
    model = trained(OPTIMIZERS[name]())
    small, report = tfprune.shrink(model, ratio=0.5)
    assert type(small.optimizer) is type(model.optimizer) and small.optimizer is not model.optimizer
    assert small.optimizer.get_config() == model.optimizer.get_config()
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations) == 4
    seen = 0
    for old, new, at in slices(model, small, report):
        before, after = dict(named_slots(model.optimizer, old)), dict(named_slots(small.optimizer, new))
        assert list(before) == list(after)
        for key, value in before.items():
            seen += 1
            expected = value.numpy()
            if expected.shape == tuple(old.shape):
                expected = expected[np.ix_(*at)]
            elif len(at) == 2 and expected.ndim == 1:  # Adafactor's means over rows and over columns
                expected = expected[at[0] if expected.size == old.shape[0] and key.endswith(("r", "rs")) else at[-1]]
            np.testing.assert_array_equal(after[key].numpy(), expected, err_msg=key)
            assert name in PLAIN or np.asarray(value).any() or "accumulator" in key or name == "adafactor"
    assert seen or name in PLAIN


@pytest.mark.parametrize("name", [each for each in OPTIMIZERS if each not in AS_A_WHOLE])
def test_the_next_step_is_that_of_the_original_with_the_units_cut(name: str) -> None:
    """The original, with zeros where nothing is kept, makes the same step on all that is kept."""
    model = trained(OPTIMIZERS[name]())
    small, report = tfprune.shrink(model, ratio=0.5)
    for old, _, at in slices(model, small, report):
        if len(old.shape) == 2:
            cut = np.zeros_like(old)
            cut[np.ix_(*at)] = old.numpy()[np.ix_(*at)]
            old.assign(cut)
        else:
            cut = np.zeros_like(old)
            cut[at[0]] = old.numpy()[at[0]]
            old.assign(cut)
    before = [weight.numpy() for weight in small.weights]
    x, y = data(1)
    for each in (model, small):
        each.train_on_batch(x, y)
    moved = 0.0
    for old, new, at in slices(model, small, report):
        np.testing.assert_allclose(new, old.numpy()[np.ix_(*at)], rtol=2e-4, atol=2e-6)
    for one, other in zip(before, small.weights, strict=True):
        moved = max(moved, float(np.abs(one - other.numpy()).max()))
    assert moved > 1e-4


@pytest.mark.parametrize("name", ["adafactor", "adam", "legacy adam", "nadam"])
def test_training_goes_on(name: str) -> None:
    small, _ = tfprune.shrink(trained(OPTIMIZERS[name]()), ratio=0.5)
    history = small.fit(*data(), epochs=15, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < history[0] and int(small.optimizer.iterations) == 4 + 30


def test_means_of_adafactor_over_rows_and_columns() -> None:
    """Of a matrix it keeps one mean a row and one a column; a square one tells not by size which is which."""
    model = keras.Sequential([Dense(8, input_shape=(8,), name="a"), Dense(8, name="b"), Dense(8, name="out")])
    oracle.randomise(model)
    model.compile(optimizers.Adafactor(0.01), "mse")
    rng = np.random.default_rng(0)
    model.fit(*rng.normal(size=(2, 16, 8)).astype(np.float32), verbose=0)
    small, report = tfprune.shrink(model, ratio=0.25)
    for name in ("a", "b", "out"):
        old, new = model.get_layer(name).kernel, small.get_layer(name).kernel
        before, after = dict(named_slots(model.optimizer, old)), dict(named_slots(small.optimizer, new))
        rows, columns = report.layers[name].kept[0]
        np.testing.assert_array_equal(after["_r"], before["_r"].numpy()[rows], err_msg=name)
        np.testing.assert_array_equal(after["_c"], before["_c"].numpy()[columns], err_msg=name)


# ------------------------------------------------------------------------------------------ rates and scales


def test_a_rate_that_was_set_by_hand_is_kept() -> None:
    for make in (lambda: optimizers.Adam(0.01), lambda: optimizers.legacy.SGD(0.1)):
        model = trained(make())
        keras.backend.set_value(model.optimizer.learning_rate, 0.0031)
        small, _ = tfprune.shrink(model, ratio=0.5)
        assert float(keras.backend.get_value(small.optimizer.learning_rate)) == pytest.approx(0.0031)


def test_a_schedule_is_kept_and_goes_on_from_the_step_it_is_at() -> None:
    schedule = optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.01, 0.001])
    model = trained(optimizers.SGD(schedule, momentum=0.9))
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert float(small.optimizer.lr) == pytest.approx(0.01)
    small.fit(*data(), batch_size=8, epochs=1, verbose=0)
    assert float(small.optimizer.lr) == pytest.approx(0.001)


def test_a_loss_scale_is_kept() -> None:
    for dynamic, scale in ((True, 1024.0), (False, 64.0)):
        outer = keras.mixed_precision.LossScaleOptimizer(
            optimizers.Adam(0.01), dynamic=dynamic, initial_scale=scale, dynamic_growth_steps=6 if dynamic else None
        )
        model = trained(outer)
        assert float(model.optimizer.loss_scale) == scale
        small, report = tfprune.shrink(model, ratio=0.5)
        assert float(small.optimizer.loss_scale) == scale
        old, new = (inner_optimizer(each.optimizer) for each in (model, small))
        assert int(new.iterations) == int(old.iterations) == 4
        weight, other, at = next(iter(slices(model, small, report)))
        for one, two in zip(named_slots(old, weight), named_slots(new, other), strict=True):
            np.testing.assert_array_equal(two[1], one[1].numpy()[np.ix_(*at)])
        small.fit(*data(), batch_size=8, epochs=1, verbose=0)  # two steps: six since the scale last grew
        assert float(small.optimizer.loss_scale) == (2 * scale if dynamic else scale)


# ------------------------------------------------------------------------------------------ loss and metrics


def test_losses_and_metrics_are_carried_over_and_not_shared() -> None:
    own = keras.metrics.MeanAbsoluteError(name="own")
    model = trained(
        "adam",
        loss=keras.losses.Huber(0.7),
        metrics=["mse", own],
        weighted_metrics=[keras.metrics.MeanSquaredError("w")],
    )
    small, _ = tfprune.shrink(model, ratio=0.5)
    x, y = data()
    found = small.evaluate(x, y, sample_weight=np.arange(16.0), verbose=0, return_dict=True)
    assert set(found) == {"loss", "mse", "own", "w"} == set(model.evaluate(x, y, verbose=0, return_dict=True))
    answers = small.predict(x, verbose=0)
    assert found["own"] == pytest.approx(np.abs(answers - y).mean(), rel=1e-4)
    weights = np.arange(16.0)
    assert found["w"] == pytest.approx(((answers - y) ** 2).mean(1) @ weights / weights.sum(), rel=1e-4)
    assert not {id(each) for each in small.metrics} & {id(each) for each in model.metrics}
    before = float(own.result())
    small.evaluate(x, y + 5, verbose=0)
    assert float(own.result()) == before


def test_several_outputs_by_name() -> None:
    inputs = Input((6,))
    x = Dense(8, activation="tanh", name="a")(inputs)
    model = oracle.randomise(keras.Model(inputs, [Dense(3, name="one")(x), Dense(1, name="two")(x)]))
    model.compile("sgd", {"one": "mse", "two": "mae"}, metrics={"one": ["mae"]}, loss_weights={"one": 0.25, "two": 2.0})
    rng = np.random.default_rng(0)
    x, y = data()[0], {"one": rng.normal(size=(16, 3)), "two": rng.normal(size=(16, 1))}
    model.fit(x, y, verbose=0)
    small, _ = tfprune.shrink(model, ratio=0.5)
    found = small.evaluate(x, y, verbose=0, return_dict=True)
    assert set(found) == {"loss", "one_loss", "two_loss", "one_mae"}
    assert found["loss"] == pytest.approx(0.25 * found["one_loss"] + 2 * found["two_loss"], rel=1e-5)


def test_a_dictionary_of_outputs() -> None:
    inputs = Input((6,))
    x = Dense(8, activation="tanh", name="a")(inputs)
    model = oracle.randomise(keras.Model(inputs, {"far": Dense(3, name="one")(x), "near": Dense(1, name="two")(x)}))
    model.compile("adam", {"far": "mse", "near": "mae"}, metrics={"near": "mse"})
    rng = np.random.default_rng(0)
    x, y = data()[0], {"far": rng.normal(size=(16, 3)), "near": rng.normal(size=(16, 1))}
    model.fit(x, y, verbose=0)
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert set(small.evaluate(x, y, verbose=0, return_dict=True)) == set(
        model.evaluate(x, y, verbose=0, return_dict=True)
    )


def test_how_it_runs_is_kept() -> None:
    model = model_of()
    model.compile("adam", "mse", run_eagerly=True, steps_per_execution=3)
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert small.run_eagerly and int(small._steps_per_execution) == 3


@pytest.mark.parametrize("steps", [0, 1])
def test_what_weight_decay_leaves_out_is_left_out(steps: int) -> None:
    model, optimizer = model_of(), optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[model.get_layer("a").kernel], var_names=["bias"])
    model.compile(optimizer, "mse")
    if steps:
        model.fit(*data(), verbose=0)
    small, report = tfprune.shrink(model, ratio=0.5)
    found = [
        (optimizer._use_weight_decay(old), small.optimizer._use_weight_decay(new))
        for old, new, _ in slices(model, small, report)
    ]
    assert all(one == other for one, other in found) and sum(one for one, _ in found) == 3


def test_what_cannot_be_made_from_its_config_is_named() -> None:
    class Needy(keras.metrics.Mean):
        def __init__(self, level: float, name: str = "needy", dtype: Any = None) -> None:
            super().__init__(name, dtype)

    class Descent(optimizers.SGD):
        def __init__(self, level: float, **options: Any) -> None:
            super().__init__(**options)

    for optimizer, metrics, words in (
        ("sgd", [Needy(1.0)], "metric Needy cannot be made anew"),
        (Descent(1.0), [], "optimizer Descent cannot be made anew"),
    ):
        model = model_of()
        model.compile(optimizer, "mse", weighted_metrics=metrics)
        with pytest.raises(ModelError, match=rf"^{words} from its config .*TypeError.* get_config") as caught:
            tfprune.shrink(model, ratio=0.5)
        assert "\n" not in str(caught.value)


def test_uncompiled_stays_uncompiled() -> None:
    small, _ = tfprune.shrink(model_of(), ratio=0.5)
    assert small.optimizer is None and small.compiled_loss is None and not small._is_compiled


def test_compiled_and_never_trained() -> None:
    for optimizer in ("adam", optimizers.legacy.Adam(), optimizers.SGD(momentum=0.9)):
        model = model_of()
        model.compile(optimizer, "mse", metrics=["mae"])
        small, _ = tfprune.shrink(model, ratio=0.5)
        assert small._is_compiled and int(small.optimizer.iterations) == 0
        assert set(small.evaluate(*data(), verbose=0, return_dict=True)) == {"loss", "mae"}
        small.fit(*data(), verbose=0)


def test_compiled_without_a_loss() -> None:
    model = model_of()
    model.compile("adam")
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert small._is_compiled and not small.loss and not small.metrics


def test_frozen_weights_have_no_state_and_need_none() -> None:
    model = model_of()
    model.get_layer("inner").trainable = False
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(*data(), verbose=0)
    small, report = tfprune.shrink(model, ratio=0.5)
    assert [len(each.trainable_weights) for each in (model, small)] == [6, 6]
    for old, new, at in slices(model, small, report):
        for one, two in zip(named_slots(model.optimizer, old), named_slots(small.optimizer, new), strict=True):
            np.testing.assert_array_equal(two[1], one[1].numpy()[np.ix_(*at)])
        if not old.name.startswith("b/"):
            assert list(named_slots(model.optimizer, old))
    frozen = small.get_layer("inner").get_weights()
    small.fit(*data(), verbose=0)
    for one, other in zip(frozen, small.get_layer("inner").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [lambda: optimizers.Adam(0.01), lambda: optimizers.legacy.Adam(0.01)])
def test_what_was_frozen_later_keeps_its_state(make: Callable[[], Any]) -> None:
    """It was trained, and may be again: the same optimizer knows it still."""
    model = trained(make())
    model.get_layer("a").trainable = False
    small, report = tfprune.shrink(model, ratio=0.5)
    for old, new, at in slices(model, small, report):
        before, after = dict(named_slots(model.optimizer, old)), dict(named_slots(small.optimizer, new))
        assert len(before) == len(after) == 2
        for key, value in before.items():
            np.testing.assert_array_equal(after[key], value.numpy()[np.ix_(*at)])
    small.fit(*data(), verbose=0)


def test_what_was_thawed_later_has_no_state_yet() -> None:
    model = model_of()
    model.get_layer("a").trainable = False
    model.compile(optimizers.legacy.Adam(0.01), "mse", run_eagerly=True)
    model.fit(*data(), verbose=0)
    model.get_layer("a").trainable = True
    small, _ = tfprune.shrink(model, ratio=0.5)
    assert not list(named_slots(small.optimizer, small.get_layer("a").kernel))
    assert list(named_slots(small.optimizer, small.get_layer("c").kernel))
    small.fit(*data(), verbose=0)


def test_state_goes_along_through_several_surgeries_and_a_file(tmp_path: Any) -> None:
    model = trained(optimizers.Adam(0.01))
    first, one = tfprune.shrink(model, ratio=0.25)
    second, two = tfprune.shrink(first, ratio=0.25)
    old, new = model.get_layer("a").kernel, second.get_layer("a").kernel
    columns = one.layers["a"].kept_outputs[two.layers["a"].kept_outputs]
    for before, after in zip(named_slots(model.optimizer, old), named_slots(second.optimizer, new), strict=True):
        np.testing.assert_array_equal(after[1], before[1].numpy()[:, columns])
    second.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 4
    x, y = data(2)
    for each in (second, loaded):
        each.train_on_batch(x, y)
    np.testing.assert_allclose(loaded.get_layer("a").kernel, second.get_layer("a").kernel, rtol=1e-6)


def test_the_original_and_its_optimizer_stay_as_they_are() -> None:
    model = trained(optimizers.Adam(0.01))
    state = [each.numpy() for each in (*model.weights, *model.optimizer.variables)]
    optimizer = model.optimizer
    small, _ = tfprune.shrink(model, ratio=0.5)
    small.fit(*data(), verbose=0)
    assert model.optimizer is optimizer
    for one, other in zip(state, (*model.weights, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(one, other)

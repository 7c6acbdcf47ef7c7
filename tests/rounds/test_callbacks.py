"""The `model.fit` form: figures by slice after each epoch, and a record of them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tiny_workflow
from mlflow.entities import Run

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError, SliceError, TrackingError
from tfprune.masking.masked import masked_layers
from tfprune.masking.pruner import sparsity_of
from tfprune.recipe import TrackSection
from tfprune.results import Evaluation

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(64, 8)).astype("float32")
Y = X[:, :4].argmax(axis=1)
X_VAL = DRAW.normal(size=(50, 8)).astype("float32")
Y_VAL = X_VAL[:, :4].argmax(axis=1)
SLICES = ["classes", {"rarest": 0.5}, {"hardest": 0.1}]
AT_ONCE = tfprune.ConstantSparsity(final_sparsity=0.75)


@cache
def trained() -> keras.Model:
    """A dense model that knows its task; `wrap` copies it, so one is enough."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    dense = keras.Sequential([layers.Dense(16, "relu", input_shape=(8,)), layers.Dense(4, name="head")], name="tiny")
    dense.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    dense.fit(X, Y, epochs=20, verbose=0)
    return dense


def wrapped(schedule: object = None) -> keras.Model:
    model = tfprune.wrap(trained(), schedule or tfprune.PolynomialDecay(final_sparsity=0.75, end_step=8, frequency=3))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def outputs(model: keras.Model) -> np.ndarray:
    return model(X_VAL).numpy().astype(np.float64)


def expected_slices(dense: np.ndarray) -> dict[str, np.ndarray]:
    """Members of each slice, told anew."""
    odds = np.exp(dense) / np.exp(dense).sum(axis=1, keepdims=True)
    rows = np.arange(len(Y_VAL))
    others = np.where(np.eye(4, dtype=bool)[Y_VAL], -1.0, odds)
    margins = (odds[rows, Y_VAL] - others.max(axis=1)).astype(np.float32)
    counts = [(index == Y_VAL).sum() for index in range(4)]
    rare = sorted(range(4), key=lambda index: (counts[index], index))[:2]
    return {
        **{f"class_{index}": index == Y_VAL for index in range(4)},
        "rarest": (rare[0] == Y_VAL) | (rare[1] == Y_VAL),
        "hardest": np.isin(rows, sorted(rows, key=lambda row: (margins[row], row))[:5]),
    }


def check(evaluation: Evaluation, answered: np.ndarray, dense: np.ndarray, has_drops: bool = True) -> None:
    """Compare an evaluation with what numpy alone makes of the outputs."""
    right, right_before = answered.argmax(axis=1) == Y_VAL, dense.argmax(axis=1) == Y_VAL
    assert evaluation.accuracy == right.mean()
    assert evaluation.drop == (right_before.mean() - right.mean() if has_drops else None)
    assert evaluation.support == 50
    slices = expected_slices(dense)
    assert [each.name for each in evaluation.slices] == list(slices)
    for each in evaluation.slices:
        members = slices[each.name]
        assert each.support == members.sum()
        assert each.accuracy == right[members].mean()
        assert each.drop == (right_before[members].mean() - right[members].mean() if has_drops else None)


@pytest.mark.parametrize("schedule", [None, AT_ONCE], ids=["gradual", "before the first batch"])
@pytest.mark.parametrize("as_dataset", [False, True])
def test_evaluations_one_an_epoch_against_the_dense_model(schedule: object, as_dataset: bool) -> None:
    model = wrapped(schedule)
    dense, seen = outputs(model), []
    given = tf.data.Dataset.from_tensor_slices((X_VAL, Y_VAL)).batch(16) if as_dataset else (X_VAL, Y_VAL)
    update, report = tfprune.callbacks(model, validation=given, slices=SLICES, min_support=1)
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(outputs(model)))
    history = model.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[look, update, report]).history
    assert len(report.evaluations) == len(seen) == 3
    check(report.baseline, dense, dense, has_drops=False)
    for evaluation, answered in zip(report.evaluations, seen, strict=True):
        check(evaluation, answered, dense)
    assert any(each.drop for each in report.evaluations[-1].slices), "nothing changed, so nothing was tested"
    worst = [max(each.drop for each in evaluation.slices) for evaluation in report.evaluations]
    assert history["worst_slice_drop"] == worst
    assert update.finished


def test_without_validation_masks_are_updated_and_nothing_else() -> None:
    model = wrapped()
    (update,) = tfprune.callbacks(model)
    history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=update).history
    assert set(history) == {"loss", "accuracy", "sparsity"}
    assert history["sparsity"][-1] == sparsity_of(masked_layers(model)) == 0.75


@pytest.mark.parametrize("first", [True, False])
def test_others_may_watch_the_worst_slice_from_anywhere_in_the_list(first: bool) -> None:
    model = wrapped(AT_ONCE)
    own = tfprune.callbacks(model, validation=(X_VAL, Y_VAL), slices=["classes"], min_support=1)
    stop = keras.callbacks.EarlyStopping("worst_slice_drop", mode="min", patience=1, min_delta=10, baseline=-1)
    history = model.fit(X, Y, epochs=6, verbose=0, callbacks=[stop, *own] if first else [*own, stop]).history
    assert len(history["loss"]) == len(own[1].evaluations) == 2


# ------------------------------------------------------------------------------------------------ tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, warm_home: Path) -> Path:
    return tiny_workflow.empty_home(warm_home, tmp_path_factory.mktemp("tracking") / "home")


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an own tracking home, which `track=True` finds."""
    monkeypatch.setenv("TFPRUNE_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return f"sqlite:///{home / 'mlflow.db'}"


def runs(uri: str, experiment: str) -> list[Run]:
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def curve(uri: str, run: Run, key: str) -> dict[int, float]:
    return {each.step: each.value for each in mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, key)}


def test_track_records_each_epoch(store: str) -> None:
    model = wrapped()
    update, report = tfprune.callbacks(model, validation=(X_VAL, Y_VAL), slices=SLICES, track=True)
    history = model.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=[update, report]).history
    (run,) = runs(store, "tfprune")
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.params["schedule.kind"] == "PolynomialDecay"
    assert run.data.params["schedule.final_sparsity"] == "0.75"
    evaluations = [report.baseline, *report.evaluations]
    names = [each.name for each in report.baseline.slices]
    near = {"abs": 1e-6}
    assert curve(store, run, "accuracy") == pytest.approx(dict(enumerate(e.accuracy for e in evaluations)), **near)
    for name in names:
        expected = dict(enumerate(e.slice(name).accuracy for e in evaluations))
        assert curve(store, run, f"slice_accuracy/{name}") == pytest.approx(expected, **near)
        expected = dict(enumerate((e.slice(name).drop for e in report.evaluations), 1))
        assert curve(store, run, f"slice_drop/{name}") == pytest.approx(expected, **near)
    assert curve(store, run, "sparsity") == pytest.approx(dict(enumerate(history["sparsity"], 1)), **near)
    assert curve(store, run, "finetune/loss") == pytest.approx(dict(enumerate(history["loss"], 1)), **near)
    own = {key for key in run.data.metrics if key.startswith("finetune/")}
    assert own == {"finetune/loss", "finetune/accuracy"}
    assert all(math.isfinite(value) for value in run.data.metrics.values())


@pytest.mark.parametrize("named", ["uri", "section"])
def test_track_takes_a_uri_or_a_section(named: str, store: str) -> None:
    section = TrackSection(uri=store, experiment="of my own")
    before = len(runs(store, "tfprune")), len(runs(store, "of my own"))
    model = wrapped(AT_ONCE)
    track = store if named == "uri" else section
    model.fit(
        X,
        Y,
        verbose=0,
        callbacks=tfprune.callbacks(model, validation=(X_VAL, Y_VAL), track=track),
        validation_split=0.5,
    )
    after = len(runs(store, "tfprune")), len(runs(store, "of my own"))
    assert after == ((before[0] + 1, before[1]) if named == "uri" else (before[0], before[1] + 1))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_active_run_is_used_and_left_open(store: str, elsewhere: bool, tmp_path: Path) -> None:
    tfprune.callbacks(wrapped(), validation=(X_VAL, Y_VAL), track=True)  # the store exists from here on
    if elsewhere:
        shutil.copy(store.removeprefix("sqlite:///"), tmp_path / "own.db")
        store = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.set_tracking_uri(store)
    try:
        count = len(runs(store, "tfprune"))
        mlflow.set_experiment("tfprune")
        with mlflow.start_run(run_name="mine") as mine:
            model = wrapped(AT_ONCE)
            model.fit(X, Y, verbose=0, callbacks=tfprune.callbacks(model, validation=(X_VAL, Y_VAL), track=True))
            assert mlflow.active_run().info.run_id == mine.info.run_id
            assert mlflow.get_run(mine.info.run_id).info.status == "RUNNING"
        assert len(runs(store, "tfprune")) == count + 1
        assert mlflow.get_run(mine.info.run_id).data.metrics["sparsity"] == 0.75
    finally:
        mlflow.set_tracking_uri(None)


# -------------------------------------------------------------------------------------------------- errors


def test_a_model_without_masks_is_told_what_to_do() -> None:
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))], name="plain")
    with pytest.raises(ModelError, match=r"^model 'plain' carries no masks; wrap it first: tfprune\.wrap\("):
        tfprune.callbacks(model)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"slices": ["classes"]}, SliceError, "slices and track need validation data"),
        ({"track": True}, SliceError, "slices and track need validation data"),
        (
            {"slices": ["clases"], "validation": (X_VAL, Y_VAL)},
            SliceError,
            r"^slices\.0: got 'clases', expected .*'classes'\?$",
        ),
        ({"validation": X_VAL}, DataError, r"expected arrays \(x, y\) .* but got ndarray"),
        ({"validation": (X_VAL, Y_VAL[:3])}, DataError, "one length, but got 50 and 3"),
        ({"validation": (X_VAL, Y_VAL), "track": "http://127.0.0.1:9"}, TrackingError, "does not answer"),
    ],
)
def test_wrong_arguments_give_one_line(
    arguments: dict, error: type, message: str, store: str, wrapped_once: keras.Model
) -> None:
    with pytest.raises(error, match=message) as caught:
        tfprune.callbacks(wrapped_once, **arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def wrapped_once() -> keras.Model:
    return wrapped()


def test_an_empty_slice_and_a_shuffled_dataset_are_found_in_fit(wrapped_once: keras.Model) -> None:
    rows = Y_VAL != 1
    for validation, error, message in [
        ((X_VAL[rows], Y_VAL[rows]), SliceError, "slice 'class_1' has no example in the validation split"),
        (
            tf.data.Dataset.from_tensor_slices((X_VAL, Y_VAL)).shuffle(50, seed=1).batch(50),
            DataError,
            "comes in another order each time",
        ),
    ]:
        report = tfprune.callbacks(wrapped_once, validation=validation, slices=["classes"])
        with pytest.raises(error, match=message):
            wrapped_once.fit(X, Y, verbose=0, callbacks=report)


def test_a_loaded_model_gets_its_fit_back(tmp_path: Path) -> None:
    path = str(tmp_path / "model.keras")
    wrapped().save(path)
    model = keras.models.load_model(path)
    figure: Callable = lambda epoch, logs: logs.update(figure=epoch)  # noqa: E731
    stop = keras.callbacks.EarlyStopping("figure", patience=1, mode="min", restore_best_weights=True)
    own = tfprune.callbacks(model)
    writer = keras.callbacks.LambdaCallback(on_epoch_end=figure)
    history = model.fit(X, Y, batch_size=16, epochs=6, verbose=0, callbacks=[writer, stop, *own]).history
    assert len(history["loss"]) == 3
    assert sparsity_of(masked_layers(model)) == 0.75

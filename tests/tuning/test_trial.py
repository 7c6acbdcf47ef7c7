"""A worker's trials: each starts from the dense model, whatever came before, and is on record when it is done."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
import pytest
import tiny_search
import tiny_workflow

import tfprune
from tfprune.backend import keras
from tfprune.cost.latency import Latency
from tfprune.models.files import save
from tfprune.recipe import Recipe, TrackSection, parse
from tfprune.results import Plan, Trial
from tfprune.rounds.start import data_of
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning.trial import OBJECTIVE, Outcome, Task, TrialSpec, TrialWorker, model_from, plain_model

RATIOS = {"first": 0.5, "second": 0.75, "last": 0.25}
OTHER = {"first": 0.9, "second": 0.5, "last": 0.5}
SIZES = {"first": 128, "second": 256, "last": 48}


def dense_model(folder: Path) -> bytes:
    keras.utils.set_random_seed(2)
    model = tiny_workflow.build((8,), 3)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*tiny_workflow.examples(), epochs=3, verbose=0)
    save(model, folder / "dense.keras")
    return (folder / "dense.keras").read_bytes()


@pytest.fixture(scope="module")
def section(warm_home: Path) -> TrackSection:
    return TrackSection(uri=f"sqlite:///{warm_home / 'mlflow.db'}", experiment="trials-by-worker")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return dense_model(tmp_path_factory.mktemp("dense"))


def build(section: TrackSection, dense: bytes, name: str, **changes: Any) -> TrialWorker:
    """A worker of a search that is begun."""
    recipe = recipe_of(section, **changes)
    SearchTracker(recipe.track).begin(name, f"id-{name}", recipe, {"data.digest": "d"})
    return TrialSpec(recipe, dense, None, name, f"id-{name}").build()


def recipe_of(section: TrackSection, **changes: Any) -> Recipe:
    given = {"train__decay": "constant", "finetune": {"epochs": 2, "learning_rate": 0.01}, "search__epochs": 2}
    return parse(tiny_search.recipe(track=section.model_dump(), name="tried", **{**given, **changes}))


@pytest.fixture(scope="module")
def worker(section: TrackSection, dense: bytes) -> Iterator[TrialWorker]:
    yield build(section, dense, "masks-1")


def a_task(number: int, ratios: dict[str, float] | None = None, epochs: int = 2, **more: Any) -> Task:
    return Task(Trial(number, "oracle", {"first": 0.1}, ratios or RATIOS, epochs), **more)


def timeless(trial: Trial) -> Trial:
    """A trial without what a clock says."""
    rows = tuple(
        {name: value for name, value in row.items() if name not in ("seconds", "ended")} for row in trial.history
    )
    return replace(trial, number=0, seconds=0.0, finished=0, latency_ms=None, history=rows)


def arrays_of(weights: bytes | None) -> dict[str, np.ndarray]:
    assert weights is not None
    with np.load(io.BytesIO(weights)) as arrays:
        return {name: arrays[name] for name in arrays if name != "history"}


def check_equal(one: Outcome, other: Outcome) -> None:
    assert timeless(one.trial) == timeless(other.trial)
    if one.weights is not None:
        mine, its = arrays_of(one.weights), arrays_of(other.weights)
        assert list(mine) == list(its)
        for name, value in mine.items():
            np.testing.assert_array_equal(value, its[name], err_msg=name)


def zeros_in(recipe: Recipe, dense: bytes, task: Task, weights: bytes) -> dict[str, int]:
    model = plain_model(recipe, model_from(dense), data_of(recipe, None), task, weights)
    return {name: int((model.get_layer(name).kernel.numpy() == 0).sum()) for name in SIZES}


# ------------------------------------------------------------------------------------------------ masks


def test_a_trial_has_its_results(worker: TrialWorker) -> None:
    outcome = worker.run(a_task(0))
    trial = outcome.trial
    assert (trial.status, trial.message, trial.epochs, len(trial.history)) == ("completed", "", 2, 2)
    assert outcome.weights is None
    assert outcome.unrecorded == ""
    assert trial.evaluation is not None
    assert trial.objective == trial.evaluation.accuracy == trial.history[-1][OBJECTIVE]
    assert trial.evaluation.whole.drop is not None
    assert trial.evaluation.whole.interval is None  # it is one of many, and judged by its objective
    assert trial.latency_ms is None
    assert trial.sparsity == sum(RATIOS[name] * SIZES[name] for name in SIZES) / sum(SIZES.values())
    assert trial.measurement is not None and trial.measurement.layers == ()
    assert trial.seconds > 0 and trial.finished > 0


def test_the_same_task_is_the_same_to_the_bit_whatever_came_before(worker: TrialWorker) -> None:
    first = worker.run(a_task(1, keep=True))
    assert first.trial.status == "completed"
    worker.run(a_task(2, OTHER))
    worker.run(a_task(3, OTHER, epochs=1, is_final=True))
    worker.run(a_task(4, OTHER, bars={1: 2.0}))
    check_equal(worker.run(a_task(5, keep=True)), first)


def test_another_worker_comes_to_the_same(worker: TrialWorker, section: TrackSection, dense: bytes) -> None:
    here = worker.run(a_task(6, keep=True))
    there = build(section, dense, "masks-2").run(a_task(6, keep=True))
    check_equal(here, there)


def test_ratios_are_reached_to_the_weight(worker: TrialWorker, section: TrackSection, dense: bytes) -> None:
    for number, (ratios, is_final) in enumerate([(RATIOS, False), (OTHER, False), (RATIOS, True), (OTHER, True)]):
        task = a_task(10 + number, ratios, keep=True, is_final=is_final)
        outcome = worker.run(task)
        assert outcome.weights is not None
        expected = {name: round(ratio * SIZES[name]) for name, ratio in ratios.items()}
        assert zeros_in(recipe_of(section), dense, task, outcome.weights) == expected


def test_going_on_is_the_same_as_not_having_stopped(worker: TrialWorker) -> None:
    short = worker.run(a_task(20, epochs=1, keep=True))
    assert len(short.trial.history) == 1
    long = worker.run(a_task(21, epochs=2, keep=True, start=short.weights))
    assert (long.trial.status, long.trial.epochs, len(long.trial.history)) == ("completed", 2, 2)
    assert long.trial.history[0] == short.trial.history[0]
    check_equal(long, worker.run(a_task(22, epochs=2, keep=True)))


def test_a_hopeless_one_is_cut_short(worker: TrialWorker) -> None:
    trial = worker.run(a_task(30, epochs=3, bars={1: -1.0, 2: 2.0})).trial
    assert (trial.status, trial.epochs, trial.message) == ("stopped", 2, "hopeless after epoch 2")
    assert len(trial.history) == 2
    assert trial.objective is not None and trial.evaluation is not None
    whole = worker.run(a_task(31, epochs=3, bars={1: -1.0, 2: -1.0})).trial
    assert (whole.status, whole.epochs) == ("completed", 3)
    assert whole.history[1][OBJECTIVE] == trial.objective


def test_a_bar_at_its_last_epoch_stops_nothing(worker: TrialWorker) -> None:
    trial = worker.run(a_task(32, epochs=1, bars={1: 2.0})).trial
    assert (trial.status, trial.message) == ("completed", "")


def test_a_final_has_its_tests_and_no_statistics_anew(worker: TrialWorker) -> None:
    outcome = worker.run(a_task(33, is_final=True))
    assert outcome.weights is not None
    assert outcome.trial.evaluation is not None
    assert outcome.trial.evaluation.whole.interval is not None
    assert len(outcome.trial.history) == 2


@pytest.mark.parametrize("is_final", [False, True], ids=["trial", "final"])
def test_nothing_may_be_trained_at_all(
    worker: TrialWorker, section: TrackSection, dense: bytes, is_final: bool
) -> None:
    task = a_task(34 + is_final, epochs=0, keep=True, is_final=is_final)
    outcome = worker.run(task)
    assert (outcome.trial.status, outcome.trial.history, outcome.trial.epochs) == ("completed", (), 0)
    assert outcome.weights is not None
    expected = {name: round(ratio * SIZES[name]) for name, ratio in RATIOS.items()}
    assert zeros_in(recipe_of(section), dense, task, outcome.weights) == expected


def test_a_failure_is_told_and_the_next_trial_is_fine(section: TrackSection, dense: bytes) -> None:
    wild = build(section, dense, "wild-1", finetune={"epochs": 2, "learning_rate": 1e30})
    fine = wild.run(a_task(0, epochs=0))
    broken = wild.run(a_task(1, keep=True))
    trial = broken.trial
    assert (trial.status, trial.objective, trial.evaluation, trial.history) == ("failed", None, None, ())
    assert "loss became nan" in trial.message and "\n" not in trial.message
    assert broken.weights is None
    assert trial.ratios == RATIOS
    check_equal(wild.run(a_task(2, epochs=0)), fine)


def test_what_cannot_be_is_a_failed_trial_too(worker: TrialWorker) -> None:
    outcome = worker.run(a_task(40, {"unknown": 0.5}))
    assert outcome.trial.status == "failed"
    assert "unknown" in outcome.trial.message
    assert worker.run(a_task(41, epochs=1)).trial.status == "completed"


def test_trials_are_on_record(worker: TrialWorker, section: TrackSection) -> None:
    done = worker.run(a_task(50)).trial
    final = worker.run(a_task(50, is_final=True)).trial
    lost = worker.run(a_task(51, {"unknown": 0.5})).trial
    client, experiment = by_hand.client_of(section)
    runs = {
        run.data.tags["tfprune.label"]: run
        for run in client.search_runs([experiment], "tags.`tfprune.id` = 'id-masks-1'", max_results=1000)
    }
    assert {"search", "t050", "t050 final", "t051"} <= set(runs)
    assert runs["t050"].data.tags["mlflow.parentRunId"] == runs["search"].info.run_id
    assert runs["t050"].data.metrics["accuracy"] == pytest.approx(done.objective, abs=1e-6)
    assert runs["t050 final"].data.metrics["accuracy"] == pytest.approx(final.objective, abs=1e-6)
    assert (runs["t051"].info.status, runs["t051"].data.tags["tfprune.message"]) == ("FAILED", lost.message)
    assert runs["t050"].info.status == "FINISHED"
    worker.run(a_task(50, again=True))
    again = client.search_runs([experiment], "tags.`tfprune.id` = 'id-masks-1' and tags.`tfprune.label` = 't050'")
    assert len(again) == 1


def test_steps_cut_an_epoch_but_not_a_final(worker: TrialWorker, section: TrackSection, dense: bytes) -> None:
    cut = build(section, dense, "cut-1", search__steps=1)
    short, long = (each.run(a_task(60, epochs=1)).trial for each in (cut, worker))
    assert short.history[0]["loss"] != long.history[0]["loss"]
    check_equal(cut.run(a_task(61, is_final=True)), worker.run(a_task(61, is_final=True)))


# --------------------------------------------------------------------------------------------- structured


def test_widths(section: TrackSection, dense: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    small = build(section, dense, "widths-1", prune=tiny_search.STRUCTURED)
    plan = Plan({"first": tuple(range(12)), "second": (0, 2)}, {"first": 16, "second": 16})
    task = a_task(0, {"first": 0.75, "second": 0.125}, plan=plan, keep=True)
    first = small.run(task)
    trial = first.trial
    assert (trial.status, trial.message, len(trial.history)) == ("completed", "", 2)
    assert trial.latency_ms is not None and trial.latency_ms > 0
    assert trial.measurement is not None
    model = plain_model(
        recipe_of(section, prune=tiny_search.STRUCTURED), model_from(dense), None, task, first.weights or b""
    )
    assert (model.get_layer("first").units, model.get_layer("second").units) == (4, 14)
    assert tfprune.measure(model).parameters == trial.measurement.parameters
    # To measure the time takes longest, and is of no matter for what follows.
    monkeypatch.setattr("tfprune.tuning.trial.latency", lambda model: Latency(1.0, 1.0, 1.0, 1))
    other = Plan({"second": tuple(range(8))}, {"first": 16, "second": 16})
    assert small.run(a_task(1, {"first": 0.0, "second": 0.5}, plan=other)).trial.status == "completed"
    short = small.run(replace(task, trial=replace(task.trial, epochs=1)))
    long = small.run(replace(task, start=short.weights))
    assert long.trial.history[0] == short.trial.history[0]
    check_equal(long, first)


def test_the_worst_slice_may_count(section: TrackSection, dense: bytes) -> None:
    both = build(
        section, dense, "slices-1", stop__min_slice_size=1, search__objective={"accuracy": 0.5, "worst_slice": 2}
    )
    trial = both.run(a_task(0, epochs=1)).trial
    assert trial.evaluation is not None
    worst = min(each.score for each in trial.evaluation.slices)
    assert trial.objective == pytest.approx(0.5 * trial.evaluation.accuracy + 2 * worst)

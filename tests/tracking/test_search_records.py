"""Searches and their trials, read back from a real store on SQLite."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_workflow
import yaml
from by_hand import a_round, client_of, history, place_of, record_all, runs_of
from by_hand import begin as begin_workflow
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from trials_by_hand import DENSE, STARTED, a_search, a_trial, attach, begin, failed, tried

from tfprune.errors import TrackingError
from tfprune.recipe import TrackSection, parse
from tfprune.results import SearchResult, SliceScore, Trial
from tfprune.tracking.metrics import trial_metrics
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.searches import SearchTracker
from tfprune.tracking.view import VIEW_TAG, saved_views


@pytest.fixture
def store(home, request) -> TrackSection:
    """An experiment of the test's own."""
    return TrackSection(experiment=request.node.name[:200])


def recorded(section: TrackSection) -> dict:
    """Runs by label."""
    return runs_of(*client_of(section))


# ------------------------------------------------------------------------------------------------ a search


def test_a_parent_and_a_child_a_trial(store):
    tracker = begin(store)
    tracker.record_trial(a_trial(0, origin="uniform", knobs={}), DENSE)
    tracker.record_trial(a_trial(7), DENSE)
    tracker.record_final(a_trial(7, epochs=9), DENSE)
    runs = recorded(store)
    names = {label: run.info.run_name for label, run in runs.items()}
    assert names == {
        "search": "hand-1 search",
        "t000": "hand-1 t000",
        "t007": "hand-1 t007",
        "t007 final": "hand-1 t007 final",
    }
    kinds = {label: run.data.tags["tfprune.kind"] for label, run in runs.items()}
    assert kinds == {"search": "search", "t000": "trial", "t007": "trial", "t007 final": "final"}
    parent = runs.pop("search")
    assert parent.info.status == "RUNNING"
    assert "mlflow.parentRunId" not in parent.data.tags
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.data.tags["tfprune.id"], run.data.tags["tfprune.search"]) == ("unique", "hand-1")
    assert [runs[label].data.tags["tfprune.origin"] for label in ("t000", "t007")] == ["uniform", "oracle"]
    assert runs["t007 final"].data.params["epochs"] == "9"
    assert len({run.data.tags["mlflow.runColor"] for run in runs.values()}) == 2


def test_what_was_asked_for_stands_in_the_parent(store):
    begin(store)
    parent = recorded(store)["search"]
    assert parent.data.params["prune.target.sparsity"] == "0.6"
    assert parent.data.params["data.digest"] == "d"
    place = place_of(parent)
    assert parse(yaml.safe_load((place / "recipe.yaml").read_text())).prune == parse(tiny_workflow.recipe()).prune
    assert json.loads((place / "environment.json").read_text())["tfprune"]
    (data,) = [each.dataset for each in parent.inputs.dataset_inputs]
    assert (data.name, data.digest) == ("function", "d")


def test_a_search_found_again_is_the_same_run(store):
    begin(store).leave_open("KILLED")
    first = recorded(store)["search"]
    assert first.info.status == "KILLED"
    begin(store)
    client, experiment = client_of(store)
    (again,) = client.search_runs([experiment])
    assert (again.info.run_id, again.info.status) == (first.info.run_id, "RUNNING")


def test_searches_have_colours_of_their_own(store):
    for number in range(2):
        begin(store, f"hand-{number}", f"id-{number}")
    client, experiment = client_of(store)
    runs = client.search_runs([experiment])
    assert len({run.data.tags["mlflow.runColor"] for run in runs}) == 2


def test_finish(store, tmp_path):
    tracker, trials = begin(store), [a_trial(0), failed(1), a_trial(2)]
    final = a_trial(2, epochs=9, objective=0.86, finished=STARTED + 99_000)
    for each in trials:
        tracker.record_trial(each, DENSE)
    tracker.record_final(final, DENSE)
    result = a_search(tmp_path, trials, [final])
    assert result.winner is final
    tracker.finish(result, "the *note*", {"trials.json": "{}"}, {"pareto": Figure()})
    parent = recorded(store)["search"]
    assert (parent.info.status, parent.info.end_time) == ("FINISHED", STARTED + 99_000)
    metrics, tags = parent.data.metrics, parent.data.tags
    assert metrics["objective"] == 0.86
    assert (metrics["test/dense_accuracy"], metrics["test/accuracy"]) == (0.95, 0.88)
    assert metrics["test/worst_slice_drop"] == 0.13
    assert (metrics["sparsity"], metrics["macs"]) == (0.6, 5000)
    assert not [key for key in metrics if key.startswith("slice_") and key != "slice_gap"]
    assert (tags["tfprune.outcome"], tags["tfprune.best"]) == (result.outcome, "t002")
    assert tags["mlflow.note.content"] == "the *note*"
    place = place_of(parent)
    assert (place / "found.yaml").read_text() == "name: found\n"
    assert (place / "recipe.yaml").read_text() != "name: found\n"
    assert (place / "trials.json").exists() and (place / "figures" / "pareto.png").exists()


def test_files_and_pictures_of_the_search(store):
    tracker = begin(store)
    tracker.record_files({"sensitivity.json": "[1]"}, {"sensitivity": Figure()})
    tracker.record_files({"sensitivity.json": "[2]"}, {})
    tracker.record_files({}, {})
    place = place_of(recorded(store)["search"])
    assert (place / "sensitivity.json").read_text() == "[2]"
    assert (place / "figures" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------- a trial


def test_what_a_trial_tried(store):
    begin(store).record_trial(a_trial(3, warm_start=1), DENSE)
    assert recorded(store)["t003"].data.params == {
        "trial": "3",
        "origin": "oracle",
        "epochs": "2",
        "warm_start": "1",
        "ratio/conv": "0.5",
        "ratio/block/dense": "0.8",
        "knob/first": "0.1235",
    }


def test_figures_of_a_trial(store):
    begin(store).record_trial(a_trial(3, latency_ms=1.25), DENSE)
    run, client = recorded(store)["t003"], client_of(store)[0]
    expected = {
        "objective": 0.803,
        "accuracy": 0.9,
        "accuracy_drop": 0.05,
        "worst_slice_accuracy": 0.8,
        "worst_slice_accuracy_drop": 0.13,
        "worst_slice_drop": 0.13,
        "slice_accuracy/class_1": 0.8,
        "slice_drop/class_0": 0.05,
        "sparsity": 0.6,
        "nonzero": 40,
        "gzipped_kb": 0.3,
        "macs": 5000,
        "parameters": 100,
        "latency_ms": 1.25,
        "seconds": 2.5,
    }
    assert {key: run.data.metrics[key] for key in expected} == pytest.approx(expected)
    assert history(client, run, "finetune/loss") == [(1, 1.0), (2, 0.5)]
    assert "finetune/ended" not in run.data.metrics
    end = STARTED + 40_000
    assert (run.info.start_time, run.info.end_time) == (end - 2500, end)
    assert [each.timestamp for each in client.get_metric_history(run.info.run_id, "accuracy")] == [end]
    assert [each.timestamp for each in client.get_metric_history(run.info.run_id, "finetune/loss")] == [
        end - 500,
        end - 499,
    ]


def test_the_worst_slice_is_held_against_the_dense_models_worst():
    """Which may be another slice."""
    dense = replace(DENSE, slices=(SliceScore("class_0", 30, 0.7), SliceScore("class_1", 30, 0.93)))
    metrics = trial_metrics(a_trial(0), dense)
    assert metrics["worst_slice_accuracy_drop"] == pytest.approx(0.7 - 0.8)
    assert metrics["worst_slice_drop"] == 0.13
    errors = replace(DENSE, slices=(SliceScore("old", 30, 1.5, measure="error"),))
    errors = replace(errors, whole=SliceScore("all", 30, 1.0, measure="error"))
    worse = replace(errors, slices=(SliceScore("old", 30, 2.0, 0.5, measure="error"),))
    assert trial_metrics(a_trial(0, evaluation=worse), errors)["worst_slice_error_rise"] == 0.5


def test_a_trial_without_slices_or_sizes():
    plain = replace(tried(), slices=())
    metrics = trial_metrics(a_trial(0, evaluation=plain, measurement=None, sparsity=None), DENSE)
    assert not {"worst_slice_accuracy", "worst_slice_accuracy_drop", "macs", "sparsity"} & set(metrics)


def test_a_trial_that_failed(store):
    begin(store).record_trial(failed(2), DENSE)
    run = recorded(store)["t002"]
    assert (run.info.status, run.data.tags["tfprune.status"]) == ("FAILED", "failed")
    assert run.data.tags["tfprune.message"] == run.data.tags["mlflow.note.content"] == "the loss became NaN"
    assert run.data.metrics == {"seconds": 2.5}
    assert run.data.params["ratio/conv"] == "0.5"


def test_a_trial_cut_short(store):
    begin(store).record_trial(a_trial(2, status="stopped", message="worse than half of the others"), DENSE)
    run = recorded(store)["t002"]
    assert (run.info.status, run.data.tags["tfprune.status"]) == ("FINISHED", "stopped")
    assert run.data.tags["tfprune.message"] == "worse than half of the others"


def test_odd_names_of_layers(store):
    """Characters that MLflow refuses, and layers whose names then are the same."""
    ratios = {"Ärger/übrig": 0.1, "a:b": 0.2, "a;b": 0.3, "..": 0.4, "x" * 300: 0.5, "block 1/conv": 0.6}
    begin(store).record_trial(a_trial(0, ratios=ratios, knobs={"a=b": 0.25}), DENSE)
    params = recorded(store)["t000"].data.params
    found = {key: value for key, value in params.items() if key.startswith("ratio/")}
    assert sorted(map(float, found.values())) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert (found["ratio/a_b"], found["ratio/a_b_"], found["ratio/block 1/conv"]) == ("0.2", "0.3", "0.6")
    assert params["knob/a_b"] == "0.25"


def test_more_layers_than_mlflow_takes_at_once(store):
    ratios = {f"layer_{number}": 0.5 for number in range(250)}
    begin(store).record_trial(a_trial(0, ratios=ratios), DENSE)
    assert len([key for key in recorded(store)["t000"].data.params if key.startswith("ratio/")]) == 250


def test_axes_of_the_ui_are_numbers(store):
    """The page draws a parameter along an axis of numbers where all its values read as such."""
    tracker = begin(store)
    for number in range(3):
        tracker.record_trial(a_trial(number, ratios={"conv": number / 3, "dense": 1e-9}), DENSE)
    runs = [run for label, run in recorded(store).items() if label != "search"]
    for run in runs:
        for key, value in run.data.params.items():
            assert key == "origin" or math.isfinite(float(value))
    assert {run.data.params["ratio/conv"] for run in runs} == {"0.0", "0.3333", "0.6667"}
    client, experiment = client_of(store)
    (found,) = client.search_runs([experiment], "params.`ratio/conv` = '0.6667'")
    assert found.info.run_name == "hand-1 t002"


# ------------------------------------------------------------------------------------- once more, and elsewhere


@pytest.mark.parametrize("how", ["again", "attempts"])
def test_recorded_twice_is_recorded_once(store, how):
    trial = a_trial(1)
    counts = []
    for turn in range(2):
        more = {"again": True} if how == "again" and turn else {}
        given = replace(trial, attempts=2) if how == "attempts" and turn else trial
        begin(store).record_trial(given, DENSE, **more)
        client, experiment = client_of(store)
        assert len(client.search_runs([experiment])) == 2
        run = recorded(store)["t001"]
        counts.append({key: len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics})
    assert counts[0] == counts[1]


def test_a_trial_that_failed_and_then_went_well(store):
    begin(store).record_trial(failed(1), DENSE)
    begin(store).record_trial(a_trial(1, attempts=2, epochs=3), DENSE)
    run = recorded(store)["t001"]
    assert (run.info.status, run.data.tags["tfprune.status"]) == ("FINISHED", "completed")
    assert run.data.tags["tfprune.message"] == run.data.tags["mlflow.note.content"] == ""
    assert run.data.metrics["objective"] == 0.801
    assert run.data.params["epochs"] == "2", "MLflow refuses another value of what was said"


def test_a_trial_is_not_looked_for_without_need(store, monkeypatch):
    tracker = begin(store)
    monkeypatch.setattr(tracker._store, "find", None)
    tracker.record_trial(a_trial(1), DENSE)
    with pytest.raises(TypeError):
        tracker.record_trial(a_trial(1, attempts=2), DENSE)


def test_a_short_trial_and_its_final_are_two_runs(store):
    for _ in range(2):
        tracker = begin(store)
        tracker.record_trial(a_trial(1), DENSE, again=True)
        tracker.record_final(a_trial(1, epochs=9), DENSE, again=True)
    assert {label: run.data.params.get("epochs") for label, run in recorded(store).items() if label != "search"} == {
        "t001": "2",
        "t001 final": "9",
    }


def test_attaching_writes_nothing(store):
    begin(store).leave_open("KILLED")
    before = recorded(store)["search"]
    tracker = attach(store)
    tracker.record_trial(a_trial(0), DENSE)
    tracker.leave_open("FAILED")
    after = recorded(store)
    assert after["search"].to_dictionary() == before.to_dictionary()
    assert after["t000"].data.tags["mlflow.parentRunId"] == before.info.run_id


def test_attaching_to_nothing(store):
    with pytest.raises(TrackingError, match=r"search 'hand-1' has no run at sqlite:.*; begin it before its trials"):
        SearchTracker(store).attach("hand-1", "unique")


def test_an_open_search_is_marked(store):
    tracker = begin(store)
    tracker.leave_open("FAILED")
    assert recorded(store)["search"].info.status == "FAILED"
    SearchTracker(store).leave_open("FAILED")  # nothing was begun


# --------------------------------------------------------------------------------------- beside workflows


def test_workflows_do_not_see_searches(store):
    record_all(begin_workflow(store, "flow-1", "of the workflow"), [a_round(0), a_round(1)])
    views = Recorded(store).save_views(saved_views)
    colour = recorded(store)["workflow"].data.tags["mlflow.runColor"]
    tracker = begin(store)
    tracker.record_trial(a_trial(0), DENSE)
    tracker.record_final(a_trial(0), DENSE)
    assert Recorded(store).names() == ["flow-1"]
    with pytest.raises(TrackingError, match="no workflow 'hand-1 search' is recorded"):
        Recorded(store).workflow("hand-1 search")
    assert Recorded(store).save_views(saved_views) == views
    begin_workflow(store, "flow-2", "of another workflow")
    client, experiment = client_of(store)
    (second,) = client.search_runs([experiment], "tags.`tfprune.id` = 'of another workflow'")
    assert second.data.tags["tfprune.place"] == "1"
    assert colour != second.data.tags["mlflow.runColor"]


@pytest.mark.parametrize("view", ["rounds", "workflows"])
def test_saved_views_leave_trials_out(store, view):
    """What a view seeks, sought as the page does."""
    import base64
    import zlib

    record_all(begin_workflow(store, "flow-1", "of the workflow"), [a_round(0), a_round(1)])
    begin(store).record_trial(a_trial(0), DENSE)
    state = json.loads(Recorded(store).save_views(saved_views)[f"{VIEW_TAG}{view}"])["state"]
    sought = json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"))))["searchFilter"]
    client, experiment = client_of(store)
    found = {run.info.run_name for run in client.search_runs([experiment], sought)}
    rounds = {"flow-1 dense", "flow-1 r01"}
    assert found == (rounds if view == "rounds" else {"flow-1", *rounds})


# --------------------------------------------------------------------------------------------- the values


def test_trials_are_read_back_as_they_were_written(tmp_path):
    trials = TypeAdapter(tuple[Trial, ...])
    given = (a_trial(0), failed(12, warm_start=0))
    assert trials.validate_json(trials.dump_json(given)) == given
    assert [each.label for each in given] == ["t000", "t012"]
    results = TypeAdapter(SearchResult)
    result = a_search(tmp_path, list(given), [a_trial(0)])
    assert results.validate_json(results.dump_json(result)) == result
    assert Path(result.recipe).name == "found.yaml"


def test_a_trial_is_recorded_fast(store):
    """Three calls of MLflow; with room for a busy machine."""
    tracker, seconds = begin(store), []
    ratios = {f"layer_{number}": 0.5 for number in range(10)}
    for number in range(10):
        start = time.perf_counter()
        tracker.record_trial(a_trial(number, ratios=ratios), DENSE)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.5

"""What a round leaves in a real store besides its metrics: tables, answers, names, figures."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from by_hand import (
    EXAMPLE,
    a_round,
    an_evaluation,
    begin,
    client_of,
    history,
    place_of,
    record_all,
    runs_of,
)
from matplotlib.figure import Figure
from PIL import Image

from tfprune.errors import TrackingError
from tfprune.recipe import TrackSection
from tfprune.results import Round, RunResult, SliceScore
from tfprune.slices.answers import Answers
from tfprune.slices.define import Slice
from tfprune.slices.records import examples_pieces, write_examples
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.workflows import Tracker


@pytest.fixture
def store(home, request) -> TrackSection:
    """An experiment of the test's own."""
    return TrackSection(experiment=request.node.name[:200])


def full(name: str, drop: float = 0.25) -> SliceScore:
    """A score with all that there is."""
    return SliceScore(
        name=name,
        support=40,
        score=0.7,
        drop=drop,
        interval=(0.5456789, 0.8),
        drop_interval=(0.1, 0.4),
        lost=11,
        gained=1,
        p_value=0.006,
        p_adjusted=0.012,
        calibration_error=0.05,
        churn=0.3,
        metrics={"auc": 0.8},
        variant="blur_3",
        rule="age > 60",
    )


def result_of(rounds: list[Round], section: TrackSection, **more) -> RunResult:
    given = {"target_met": True, "best": len(rounds) - 1, **more}
    test = an_evaluation()
    return RunResult(
        "hand-1", "Target met.", given["target_met"], tuple(rounds), given["best"], test, test, Path(), "uri"
    )


def answers(count: int, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    values = [rng.random(count, dtype=np.float32) for _ in range(4)]
    labels, answer = np.arange(count) % 3, rng.integers(0, 3, count)
    return Answers(labels, answer, (labels == answer).astype(np.float32), *values, "multiclass")


def table_of(run: mlflow.entities.Run) -> tuple[list[str], list[list]]:
    content = json.loads((place_of(run) / "slices.json").read_text())
    return content["columns"], content["data"]


# -------------------------------------------------------------------------------------------------- tables


def test_a_row_a_slice(store):
    rounds = [a_round(0), a_round(1, slices=[full("hardest"), SliceScore("pie", 3, 1.0)])]
    record_all(begin(store), rounds)
    client, experiment = client_of(store)
    runs = runs_of(client, experiment)
    columns, data = table_of(runs["r01"])
    assert [row[0] for row in data] == ["all", "hardest", "pie"]
    assert dict(zip(columns, data[1], strict=True)) == {
        "name": "hardest",
        "support": 40,
        "accuracy": 0.7,
        "low": 0.545679,
        "high": 0.8,
        "drop": 0.25,
        "drop_low": 0.1,
        "drop_high": 0.4,
        "lost": 11,
        "gained": 1,
        "p": 0.006,
        "p_adjusted": 0.012,
        "churn": 0.3,
        "calibration_error": 0.05,
        "variant": "blur_3",
        "rule": "age > 60",
        "selected": False,
        "metric auc": 0.8,
    }
    assert dict(zip(columns, data[2], strict=True))["p"] is None
    columns, data = table_of(runs["workflow"])
    assert columns[:2] == ["round", "name"]
    assert [row[:2] for row in data] == [
        *([0, name] for name in ("all", "class_0", "class_1")),
        *([1, name] for name in ("all", "hardest", "pie")),
    ]


def test_the_ui_is_told_of_the_tables(store):
    """By the tag that MLflow's own `log_table` sets, and MLflow's own `load_table` reads them."""
    record_all(begin(store), [a_round(0), a_round(1)])
    client, experiment = client_of(store)
    for label, run in runs_of(client, experiment).items():
        tag = json.loads(run.data.tags["mlflow.loggedArtifacts"])
        assert tag == [{"path": "slices.json", "type": "table"}]
        with mlflow.tracking._tracking_service.utils._use_tracking_uri(tracking_uri(store)):
            frame = client.load_table(experiment, "slices.json", [run.info.run_id])
        assert list(frame["name"])[:3] == ["all", "class_0", "class_1"]
        assert len(frame) == (6 if label == "workflow" else 3)


def test_regressions_have_errors_in_their_tables(store):
    score = SliceScore("all", 10, 1.5, 0.5, "error")
    first = replace(a_round(0), evaluation=replace(an_evaluation(), whole=score))
    record_all(begin(store), [first])
    client, experiment = client_of(store)
    columns, data = table_of(runs_of(client, experiment)["dense"])
    assert "accuracy" not in columns
    assert dict(zip(columns, data[0], strict=True))["error"] == 1.5
    assert runs_of(client, experiment)["dense"].data.metrics["error"] == 1.5


def test_figures_that_are_not_finite(store):
    """A metric of the compiled model may be: browsers read no NaN in JSON, and the rounds come back as they were."""
    odd = SliceScore("odd", 5, 0.5, metrics={"auc": math.nan, "ratio": math.inf})
    record_all(begin(store), [a_round(0, slices=[odd])])
    client, experiment = client_of(store)
    runs = runs_of(client, experiment)
    columns, data = table_of(runs["dense"])
    row = dict(zip(columns, data[1], strict=True))
    assert (row["metric auc"], row["metric ratio"]) == (None, None)
    json.loads((place_of(runs["workflow"]) / "rounds.json").read_text(), parse_constant=pytest.fail)
    ((first,), _) = Recorded(store).workflow("hand-1")
    metrics = first.evaluation.slice("odd").metrics
    assert math.isnan(metrics["auc"]) and metrics["ratio"] == math.inf


# ------------------------------------------------------------------------------------------------ examples


def test_answers_are_an_artifact_of_the_round(store, tmp_path):
    path = tmp_path / "whatever.parquet"
    now, dense = {"": answers(50)}, {"": answers(50, seed=1)}
    write_examples(examples_pieces(now, dense, [Slice("first", np.arange(50) < 5)], ["a", "b", "c"]), path)
    record_all(begin(store), [a_round(0)], examples=path)
    client, experiment = client_of(store)
    run = runs_of(client, experiment)["dense"]
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"slices.json", "examples.parquet"}
    kept = place_of(run) / "examples.parquet"
    assert not kept.is_symlink()
    path.unlink()
    table = pq.read_table(kept).to_pydict()
    assert table["correct"] == list(now[""].score == 1)
    assert table["slice/first"] == [True] * 5 + [False] * 45


def test_files_written_twice_are_there_once(store, tmp_path):
    path = tmp_path / "examples.parquet"
    rounds = [a_round(0, slices=[full("50%")]), a_round(1, slices=[full("50%")])]
    seen = []
    for _ in range(2):
        write_examples(examples_pieces({"": answers(50)}, None, []), path)
        record_all(begin(store), rounds, examples=path)
        client, experiment = client_of(store)
        runs = runs_of(client, experiment)
        files = {
            (label, each.path): (place_of(run) / each.path).read_bytes()
            for label, run in runs.items()
            for each in client.list_artifacts(run.info.run_id)
            if each.path != "recipe.yaml"
        }
        points = {
            (label, key): history(client, run, key)
            for label, run in runs.items()
            for key in ("slice_churn/50_", "slice_auc/50_")
        }
        seen.append((files, points, {label: run.data.tags for label, run in runs.items()}))
        assert len(client.search_runs([experiment])) == 3
    assert seen[0] == seen[1]
    assert seen[0][1]["workflow", "slice_churn/50_"] == [(0, 0.3), (1, 0.3)]


# --------------------------------------------------------------------------------------------------- names


def test_names_that_change_are_recorded(store):
    rounds = [a_round(0), a_round(1, slices=[full("age > 60"), full("class_8")]), a_round(2, slices=[full("a/b")])]
    record_all(begin(store), rounds)
    client, experiment = client_of(store)
    run = runs_of(client, experiment)["workflow"]
    assert json.loads((place_of(run) / "slice_names.json").read_text()) == {"age > 60": "age _ 60", "a/b": "a_b"}
    assert {"slice_drop/age _ 60", "slice_drop/a_b", "slice_drop/class_8"} <= set(run.data.metrics)


def test_names_that_stay_need_no_file(store):
    record_all(begin(store), [a_round(0), a_round(1)])
    client, experiment = client_of(store)
    assert not (place_of(runs_of(client, experiment)["workflow"]) / "slice_names.json").exists()


# ----------------------------------------------------------------------------------------- figures, the end


def test_figures_are_artifacts_of_the_workflow(store):
    tracker, rounds = begin(store), [a_round(0), a_round(1)]
    record_all(tracker, rounds)
    figures = {}
    for name, width in (("heatmap", 3), ("layers/by: width", 5)):
        figure = Figure(figsize=(width, 2))
        figure.add_subplot().plot([0, 1])
        figures[name] = figure
    for _ in range(2):
        assert tracker.finish(result_of(rounds, store), "the note", figures) is None
    client, experiment = client_of(store)
    run = runs_of(client, experiment)["workflow"]
    folder = place_of(run) / "figures"
    assert sorted(path.name for path in folder.iterdir()) == ["heatmap.png", "layers_by_ width.png"]
    assert [Image.open(folder / f"{name}.png").size for name in ("heatmap", "layers_by_ width")] == [
        (360, 240),
        (600, 240),
    ]
    assert run.data.metrics["test/accuracy"] == 0.9
    assert run.info.status == "FINISHED"


def test_no_figures_no_folder(store):
    tracker, rounds = begin(store), [a_round(0)]
    record_all(tracker, rounds)
    tracker.finish(result_of(rounds, store), "the note")
    client, experiment = client_of(store)
    assert not (place_of(runs_of(client, experiment)["workflow"]) / "figures").exists()


def test_figures_of_a_round(store):
    tracker = begin(store)
    record_all(tracker, [a_round(0)])
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1])
    tracker.record_figures("dense", {"newly_wrong": figure})
    client, experiment = client_of(store)
    assert (place_of(runs_of(client, experiment)["dense"]) / "figures" / "newly_wrong.png").exists()


# ------------------------------------------------------------------------------------------------- colours


def test_colours_by_workflow_and_round(store):
    """Also where another process takes up a workflow after a later one has begun."""
    colours = {}
    record_all(begin(store, "a-1", "a"), [a_round(0)])
    record_all(begin(store, "b-1", "b"), [a_round(0)])
    record_all(begin(store, "a-1", "a"), [a_round(0), a_round(1)])
    record_all(begin(store, "b-1", "b"), [a_round(0), a_round(1)])
    client, experiment = client_of(store)
    for run in client.search_runs([experiment]):
        colours[run.info.run_name] = run.data.tags["mlflow.runColor"]
    assert len(colours) == len(set(colours.values())) == 6
    places = {run.info.run_name: run.data.tags["tfprune.place"] for run in client.search_runs([experiment])}
    assert {name: place for name, place in places.items() if name.endswith("r01")} == {"a-1 r01": "0", "b-1 r01": "1"}


# -------------------------------------------------------------------------------------------- reading back


def rewrite_rounds(section: TrackSection, change) -> None:
    client, experiment = client_of(section)
    path = place_of(runs_of(client, experiment)["workflow"]) / "rounds.json"
    path.write_text(change(path.read_text()))


def test_rounds_come_back(store):
    rounds = [a_round(0), a_round(1, slices=[full("age > 60")], passed=False)]
    record_all(begin(store), rounds)
    assert Recorded(store).workflow("hand-1") == (tuple(rounds), "")


def test_rounds_of_an_older_tfprune(store):
    record_all(begin(store), [a_round(0)])

    def older(text: str) -> str:
        (content,) = json.loads(text)
        whole = content["evaluation"].pop("whole")
        content["evaluation"] |= {"accuracy": whole["score"], "support": whole["support"], "drop": None}
        content["evaluation"]["slices"] = [{"name": "class_0", "support": 30, "accuracy": 0.9, "drop": None}]
        return json.dumps([content])

    rewrite_rounds(store, older)
    with pytest.raises(TrackingError, match=r"^workflow 'hand-1' was recorded by an older tfprune; run it again$"):
        Recorded(store).workflow("hand-1")


def test_rounds_that_are_damaged(store):
    record_all(begin(store), [a_round(0)])
    rewrite_rounds(store, lambda text: text[: len(text) // 2])
    with pytest.raises(TrackingError, match=r"^rounds.json of workflow 'hand-1' is damaged; run it again$"):
        Recorded(store).workflow("hand-1")


# ---------------------------------------------------------------------------------------------------- time


def test_a_hundred_slices_take_less_than_a_second(store, tmp_path):
    """With the answers to 10,000 examples, on SQLite; three metrics a slice, and the tables of all earlier rounds."""
    path = tmp_path / "examples.parquet"
    members = [Slice(f"class_{index}", np.arange(10_000) % 100 == index) for index in range(100)]
    write_examples(examples_pieces({"": answers(10_000)}, {"": answers(10_000, 1)}, members), path)
    tracker: Tracker = begin(store)
    rounds, seconds = [], []
    for number in range(5):
        rounds.append(a_round(number, slices=[full(f"class_{index}") for index in range(100)]))
        tracker.open_round(rounds[-1].label)
        start = time.perf_counter()
        tracker.record_round(rounds, None, EXAMPLE, "a note", path)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 1, seconds

"""What is recorded, read back from a real store on SQLite."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tiny_workflow
import yaml
from by_hand import EXAMPLE, a_round, begin, client_of, history, place_of, record_all, runs_of, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

import tfprune
from tfprune.errors import StorageError, TrackingError
from tfprune.recipe import TrackSection, parse
from tfprune.report.watch import Watch
from tfprune.results import Round
from tfprune.rounds.start import execute
from tfprune.tracking.metrics import safe_name
from tfprune.tracking.params import flatten, safe_params
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.ui import serve_ui
from tfprune.tracking.workflows import Tracker


@pytest.fixture
def store(home, request) -> TrackSection:
    """An experiment of the test's own."""
    return TrackSection(experiment=request.node.name[:200])


# ----------------------------------------------------------------------------------- a workflow as recorded


@pytest.fixture(scope="module")
def record(finished):
    """Client, runs by label and the printed result of an undisturbed workflow."""
    folder, result = finished
    client, experiment = client_of(TrackSection(uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}"))
    return client, runs_of(client, experiment), result


def test_a_parent_and_a_child_a_round(record):
    _, runs, _ = record
    parent = runs["workflow"]
    assert {label: run.info.run_name for label, run in runs.items()} == {
        "workflow": "tiny-1",
        "dense": "tiny-1 dense",
        "r01": "tiny-1 r01",
        "r02": "tiny-1 r02",
    }
    for label, run in runs.items():
        tags = run.data.tags
        assert run.info.status == "FINISHED"
        assert tags["tfprune.kind"] == ("workflow" if label == "workflow" else "round")
        assert tags.get("mlflow.parentRunId") == (None if label == "workflow" else parent.info.run_id)
        assert tags["tfprune.workflow"] == "tiny-1"
    colours = [runs[label].data.tags["mlflow.runColor"] for label in ("dense", "r01", "r02")]
    assert len(set(colours)) == 3
    assert parent.data.tags["tfprune.best"] == "r02"
    assert parent.data.tags["tfprune.outcome"].startswith("Target met")
    assert parent.data.tags["mlflow.note.content"].startswith("**tiny-1** Target met")


def test_round_figures_in_the_parent_and_the_child(record):
    client, runs, result = record
    for number, (label, each) in enumerate(zip(("dense", "r01", "r02"), result["rounds"], strict=True)):
        slices = {f"slice_accuracy/{one['name']}": one["score"] for one in each["evaluation"]["slices"]}
        expected = {
            "accuracy": each["evaluation"]["whole"]["score"],
            "sparsity": each["sparsity"],
            "overall_sparsity": 1 - each["measurement"]["nonzero"] / each["measurement"]["parameters"],
            "nonzero": each["measurement"]["nonzero"],
            "passed": 1.0,
            **slices,
        }
        for key, value in expected.items():
            assert history(client, runs[label], key) == [(0, pytest.approx(value, abs=1e-6))]
            assert history(client, runs["workflow"], key)[number] == (number, pytest.approx(value, abs=1e-6))
    dense, last = result["rounds"][0]["measurement"], result["rounds"][2]["measurement"]
    assert runs["r02"].data.metrics["compression"] == pytest.approx(dense["nonzero"] / last["nonzero"], abs=1e-6)
    assert runs["workflow"].data.metrics["test/accuracy"] == pytest.approx(result["test"]["whole"]["score"], abs=1e-6)
    assert "slice_drop/class_0" in runs["r01"].data.metrics
    assert "slice_drop/class_0" not in runs["dense"].data.metrics


def test_training_curves(record):
    client, runs, result = record
    for label, each in zip(("dense", "r01", "r02"), result["rounds"], strict=True):
        for key in ("loss", "accuracy", "learning_rate"):
            values = [(epoch, pytest.approx(row[key], abs=1e-6)) for epoch, row in enumerate(each["history"], 1)]
            assert history(client, runs[label], f"finetune/{key}") == values
    assert not [key for key in runs["workflow"].data.metrics if key.startswith("finetune/")]


def test_parameters_and_artifacts(record):
    client, runs, result = record
    params = runs["workflow"].data.params
    assert params["prune.target.sparsity"] == "0.6"
    assert params["train.batch_size"] == "32"
    assert params["data.train_examples"] == "168"
    assert len(params["data.digest"]) == 64
    assert runs["r02"].data.params == {
        "round": "2",
        "parent": "1",
        "target_sparsity": str(round(result["rounds"][2]["target"], 6)),
    }
    run_id = runs["workflow"].info.run_id
    assert {each.path for each in client.list_artifacts(run_id)} == {
        "environment.json",
        "figures",
        "recipe.yaml",
        "rounds.json",
        "slices.json",
    }
    place = place_of(runs["workflow"])
    assert parse(yaml.safe_load((place / "recipe.yaml").read_text())) == parse(tiny_workflow.recipe())
    assert json.loads((place / "environment.json").read_text())["tfprune"]
    assert [each["number"] for each in json.loads((place / "rounds.json").read_text())] == [0, 1, 2]


def test_artifacts_lie_beside_the_database(finished, record):
    folder, _ = finished
    _, runs, _ = record
    for run in runs.values():
        assert run.info.artifact_uri.startswith((folder / "home" / "artifacts").as_uri())
    assert {path.name for path in folder.iterdir()} == {"home", "recipe.yaml", "result.json"}, "left in the working dir"


def test_the_logged_model_is_the_result(finished, record):
    client, runs, result = record
    folder, _ = finished
    x = tiny_workflow.examples()[0]
    expected = tfprune.load(folder / "home" / "workflows" / "tiny-1" / "model.keras").predict(x, verbose=0)
    (logged,) = client.search_logged_models(
        [runs["r02"].info.experiment_id], f"source_run_id = '{runs['r02'].info.run_id}'"
    )
    place = logged.artifact_location
    keras_model, function = mlflow.tensorflow.load_model(place), mlflow.pyfunc.load_model(place)
    np.testing.assert_array_equal(keras_model.predict(x, verbose=0), expected)
    np.testing.assert_allclose(function.predict(x), expected, rtol=1e-5)
    assert (
        sum(int((each == 0).sum()) for each in keras_model.get_weights()) >= result["rounds"][2]["measurement"]["zeros"]
    )
    assert function.metadata.signature.inputs.input_types()[0] == np.float32
    assert function.metadata.run_id == runs["r02"].info.run_id


def test_a_run_leads_to_its_model(finished):
    """By run id, as users load it, in a process that knows the store."""
    folder, _ = finished
    uri = f"sqlite:///{folder / 'home' / 'mlflow.db'}"
    client, experiment = client_of(TrackSection(uri=uri))
    run_id = runs_of(client, experiment)["r01"].info.run_id
    with mlflow.tracking._tracking_service.utils._use_tracking_uri(uri):
        assert mlflow.tensorflow.load_model(f"runs:/{run_id}/model").output_shape == (None, 3)


def test_reading_back(finished):
    folder, result = finished
    recorded = Recorded(TrackSection(uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}"))
    assert recorded.names() == ["tiny-1"]
    rounds, outcome = recorded.workflow("tiny-1")
    assert outcome == result["outcome"]
    assert [each.sparsity for each in rounds] == [each["sparsity"] for each in result["rounds"]]
    with pytest.raises(TrackingError, match=r"no workflow 'tiny-2' is recorded .* did you mean 'tiny-1'\?"):
        recorded.workflow("tiny-2")


# -------------------------------------------------------------------------------------- recording by hand


def test_recorded_twice_is_recorded_once(store):
    rounds, model = [a_round(0), a_round(1), a_round(2, passed=False)], tiny_model()
    counts = []
    for _ in range(2):  # the second one knows nothing of the first, like a process after a kill
        record_all(begin(store), rounds, model)
        client, experiment = client_of(store)
        runs = runs_of(client, experiment)
        points = {
            (label, key): client.get_metric_history(run.info.run_id, key)
            for label, run in runs.items()
            for key in run.data.metrics
        }
        counts.append({where: [(p.step, p.value, p.timestamp) for p in found] for where, found in points.items()})
        assert len(client.search_runs([experiment])) == 4
        logged = client.search_logged_models([experiment])
        assert sorted(each.source_run_id for each in logged) == sorted(
            runs[label].info.run_id for label in ("dense", "r01")
        )
    assert counts[0] == counts[1]
    assert len(counts[0]["workflow", "accuracy"]) == 3
    assert runs["r02"].data.tags["tfprune.verdict"].startswith("accuracy fell by 9.0 points")


def test_sparsities_by_layer_are_parameters(store):
    tracker, scope = Tracker(store), {"conv*": 0.5, "conv?": 0.25}
    tracker.begin("hand-1", "unique", parse(tiny_workflow.recipe(prune__scope=scope)), {})
    client, experiment = client_of(store)
    params = runs_of(client, experiment)["workflow"].data.params
    assert (params["prune.scope.conv_"], params["prune.scope.conv__"]) == ("0.5", "0.25")


def test_names_of_parameters():
    assert safe_params({"a.b*": 1, "a.b?": 2, "a.c": 3}) == {"a.b_": 1, "a.b__": 2, "a.c": 3}


def test_models_may_be_left_out(home, request):
    section = TrackSection(experiment=request.node.name, models=False)
    record_all(begin(section), [a_round(0)], tiny_model())
    client, experiment = client_of(section)
    assert client.search_logged_models([experiment]) == []


def test_a_model_half_logged_is_finished(store):
    tracker = begin(store)
    tracker.open_round("dense")
    client, experiment = client_of(store)
    run_id = runs_of(client, experiment)["dense"].info.run_id
    half = client.create_logged_model(experiment, "model", run_id)
    record_all(tracker, [a_round(0)], tiny_model())
    (logged,) = client.search_logged_models([experiment])
    assert (logged.model_id, str(logged.status)) == (half.model_id, "READY")
    assert [each.model_id for each in client.get_run(run_id).outputs.model_outputs] == [half.model_id]


def test_more_than_mlflow_takes_at_once(store):
    """Thousands of metrics, hundreds of parameters, a long note: 1,000, 100 and 8,000 are MLflow's limits."""
    arguments = {f"key{index}": index for index in range(250)}
    tracker = Tracker(store)
    recipe = parse(tiny_workflow.recipe(model__arguments=arguments, track=store.model_dump()))
    tracker.begin("hand-1", "unique", recipe, {})
    dense = a_round(0, slices=1200, epochs=600)
    tracker.open_round("dense")
    tracker.record_epochs("dense", dense.history)
    tracker.record_round([dense], None, EXAMPLE, "note " * 5000)
    client, experiment = client_of(store)
    runs = runs_of(client, experiment)
    assert runs["workflow"].data.params["model.arguments.key249"] == "249"
    assert runs["dense"].data.metrics["slice_accuracy/class_1199"] == 0.9
    assert len(history(client, runs["dense"], "finetune/loss")) == 600


def test_a_stopped_run_is_taken_up_again(store):
    for status in ("KILLED", "FAILED"):
        tracker = begin(store)
        client, experiment = client_of(store)
        assert runs_of(client, experiment)["workflow"].info.status == "RUNNING"
        tracker.leave_open(status)
        assert runs_of(client, experiment)["workflow"].info.status == status


def test_the_callers_mlflow_is_left_alone(home, request):
    """Active run, active experiment, tracking URI, and the variable that holds it for child processes."""
    own = f"sqlite:///{home / 'mlflow.db'}"
    before = mlflow.get_tracking_uri()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    record_all(begin(TrackSection(experiment=f"{request.node.name} 1")), [a_round(0)], tiny_model())
    assert mlflow.get_tracking_uri() == before
    assert "MLFLOW_TRACKING_URI" not in os.environ
    try:
        mlflow.set_tracking_uri(own)
        mlflow.set_experiment("the caller's")
        with mlflow.start_run() as active:
            mlflow.log_metric("mine", 1)
            section = TrackSection(experiment=f"{request.node.name} 2")
            record_all(begin(section), [a_round(0), a_round(1)], tiny_model())
            assert mlflow.active_run().info.run_id == active.info.run_id
            assert mlflow.get_tracking_uri() == own
            mlflow.log_metric("mine", 2)
        client, experiment = client_of(section)
        runs = runs_of(client, experiment)
        assert len(client.search_logged_models([experiment])) == 2
        assert runs["r01"].data.tags["mlflow.parentRunId"] == runs["workflow"].info.run_id
        assert set(client.get_run(active.info.run_id).data.metrics) == {"mine"}
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.tracking.fluent._active_experiment_id = None
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # not by monkeypatch, which would put it back


# --------------------------------------------------------------------------------------------------- names


@given(st.text())
def test_safe_names_are_what_mlflow_takes(name):
    for made in (safe_name(name), f"slice_drop/{safe_name(name).replace('/', '_')}", f"finetune/{safe_name(name)}"):
        _validate_metric_name(made)
        assert len(made) <= MAX_ENTITY_KEY_LENGTH


@given(st.text("./ a", max_size=12))
def test_safe_names_never_look_like_paths(name):
    _validate_metric_name(safe_name(name))
    _validate_metric_name(f"slice_drop/{safe_name(name).replace('/', '_')}")


@pytest.mark.parametrize("name", ["x" * 600, "Ärger/übrig", "a=b", "class_50%", "..", "a//b", "./a", "a/."])
def test_odd_names_are_taken(name):
    _validate_metric_name(safe_name(name))
    assert 0 < len(safe_name(name)) < MAX_ENTITY_KEY_LENGTH


@given(st.from_regex(r"[a-z_]{1,8}(/[a-z_]{1,8}){0,2}", fullmatch=True))
def test_plain_names_stay(name):
    assert safe_name(name) == name


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [1]}}, "e": None}) == {"a.b": 1, "a.c.d": [1], "e": None}


# ------------------------------------------------------------------------------------------------- stores


def test_which_store(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path))
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("TFPRUNE_HOME", "")
    assert tracking_uri() == f"sqlite:///{Path.cwd()}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///env.db")
    assert tracking_uri(TrackSection()) == "sqlite:///env.db"
    assert tracking_uri(TrackSection(uri="sqlite:///recipe.db")) == "sqlite:///recipe.db"


@pytest.mark.parametrize("how", ["MLFLOW_TRACKING_URI", "track.uri"])
def test_a_given_store_is_used(how, warm_home, tmp_path, monkeypatch):
    """In a folder whose name needs quoting, from a working directory elsewhere."""
    place = tmp_path / "our records ü#"
    place.mkdir()
    (place / "own.db").write_bytes((warm_home / "mlflow.db").read_bytes())
    uri = f"sqlite:///{place / 'own.db'}"
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if how == "MLFLOW_TRACKING_URI":
        monkeypatch.setenv(how, uri)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    section = TrackSection(uri=None if how == "MLFLOW_TRACKING_URI" else uri, experiment="given")
    record_all(begin(section), [a_round(0)], tiny_model())
    client, experiment = client_of(section)
    assert client.search_runs([experiment], "tags.`tfprune.label` = 'dense'")[0].info.status == "FINISHED"
    assert list((place / "artifacts").glob("*/artifacts/rounds.json"))
    assert list((place / "artifacts").glob("models/*/artifacts/MLmodel"))
    assert not (tmp_path / "home").exists()
    assert not list(elsewhere.iterdir())


def test_four_processes_from_a_cold_home(tmp_path):
    script = (
        "from tfprune.tracking.workflows import Tracker; from tfprune.recipe import TrackSection, parse;"
        "import sys, tiny_workflow;"
        "t = Tracker(TrackSection()); t.begin(sys.argv[1], sys.argv[1], parse(tiny_workflow.recipe()), {}); "
        "t.open_round('dense'); t.record_epochs('dense', [{'loss': 1.0, 'ended': 1}])"
    )
    environment = tiny_workflow.environment(tmp_path / "home")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"w{index}"], env=environment, stderr=subprocess.PIPE, text=True
        )
        for index in range(4)
    ]
    messages = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, messages
    client, experiment = client_of(TrackSection(uri=f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"))
    assert len(client.search_runs([experiment])) == 8
    assert not list((tmp_path / "home").glob(".tmp-*"))


def test_a_kill_while_the_tables_are_made_leaves_nothing_broken(tmp_path):
    home, script = tmp_path / "home", "from tfprune.tracking.workflows import *; Tracker(TrackSection())"
    worker = subprocess.Popen([sys.executable, "-c", script], env=tiny_workflow.environment(home))
    while worker.poll() is None and not [each for each in home.glob("**/mlflow.db") if each.stat().st_size > 50_000]:
        time.sleep(0.002)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    Tracker(TrackSection(uri=f"sqlite:///{home / 'mlflow.db'}"))


def test_a_deleted_experiment(store):
    Tracker(store)
    client, experiment = client_of(store)
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=r"is deleted at .*; restore it in MLflow or set another track\.exp"):
        Tracker(store)


def test_no_such_experiment(home):
    with pytest.raises(TrackingError, match="there is no experiment 'nobody'"):
        Recorded(TrackSection(experiment="nobody"))


def test_nothing_recorded_makes_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}"
    with pytest.raises(TrackingError, match="nothing is recorded yet"):
        Recorded(TrackSection(uri=uri))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("file:///tmp/tfprune-nowhere", TrackingError),
        ("./mlruns-nowhere", TrackingError),
        ("gopher://x", TrackingError),
        ("postgresql+nodriver://nobody@127.0.0.1:1/x", TrackingError),
        ("sqlite:////proc/nowhere/mlflow.db", StorageError),
        ("http://127.0.0.1:99999", TrackingError),
        ("http://[", TrackingError),
    ],
)
def test_stores_that_cannot_be(uri, kind):
    with pytest.raises(kind) as caught:
        Tracker(TrackSection(uri=uri))
    assert uri.split("/mlflow.db")[0].removeprefix("sqlite:///") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/tfprune-nowhere").exists() and not Path("mlruns-nowhere").exists()


def test_a_server_of_another_kind():
    """It answers, but not in HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
            connection.close()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        with pytest.raises(TrackingError, match="does not answer"):
            Tracker(TrackSection(uri=f"http://127.0.0.1:{port}"))
        thread.join(5)


def test_a_damaged_database(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TrackingError, match=r"refuses: .*not a database"):
        Tracker(TrackSection(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))


# ------------------------------------------------------------------------------------------------- the UI


def group_of(pid: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_the_ui_answers_and_ends(finished):
    folder, _ = finished
    section = TrackSection(uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    _, experiment = client_of(section)
    with serve_ui(section, port=0) as server:
        base = server.url.partition("/#")[0]
        assert urllib.request.urlopen(f"{base}/health", timeout=5).read() == b"OK"
        runs = f"{base}/#/experiments/{experiment}/runs?workflowType=machine_learning"
        assert server.links["runs"] == runs
        assert server.url.startswith(f"{runs}&")
        query = f"{base}/ajax-api/2.0/mlflow/experiments/get?experiment_id={experiment}"
        assert json.load(urllib.request.urlopen(query, timeout=5))["experiment"]["name"] == "tfprune"
        assert group_of(server.process.pid)
        port = int(base.rpartition(":")[2])
        with pytest.raises(TrackingError, match=f"port {port} on 127.0.0.1 is taken; choose another with --port"):
            serve_ui(section, port=port).__enter__()
    assert group_of(server.process.pid) == []
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{base}/health", timeout=1)


def test_a_ui_that_ends_at_once(finished, tmp_path, monkeypatch):
    folder, _ = finished
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").touch()
    (tmp_path / "mlflow" / "__main__.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    section = TrackSection(uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    with pytest.raises(TrackingError, match="ended at once with exit code 3"):
        serve_ui(section, port=0).__enter__()


# ---------------------------------------------------------------------------------------- runs that end badly


def test_a_run_that_fails_is_marked(store):
    recipe = parse(tiny_workflow.recipe(name="fails", track=store.model_dump()))

    class Breaks(Watch):
        def round(self, finished: Round) -> None:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        execute(recipe, watch=Breaks())
    client, experiment = client_of(store)
    statuses = {label: run.info.status for label, run in runs_of(client, experiment).items()}
    assert statuses == {"workflow": "FAILED", "dense": "FINISHED"}
    assert execute(recipe).workflow == "fails-1"
    assert {run.info.status for run in runs_of(client, experiment).values()} == {"FINISHED"}


def test_values_are_rounded(store):
    odd = replace(a_round(0), sparsity=1 / 3)
    record_all(begin(store), [odd])
    client, experiment = client_of(store)
    assert runs_of(client, experiment)["dense"].data.metrics["sparsity"] == 0.333333
    assert not math.isclose(1 / 3, 0.333333, rel_tol=1e-9)

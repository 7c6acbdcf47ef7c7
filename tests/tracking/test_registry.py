"""The best model in the registry of a real store."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from by_hand import a_round, an_evaluation, begin, client_of, record_all, runs_of, tiny_model
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tfprune.errors import TrackingError
from tfprune.recipe import TrackSection
from tfprune.results import RunResult
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.workflows import Tracker

NOTE = "**hand-1** Target met.\n\nsecond line\n\n| round | accuracy |\n|---|---|\n| dense | 90% |"


@pytest.fixture
def store(home, request) -> TrackSection:
    """An experiment and a registered model of the test's own."""
    return TrackSection(experiment=request.node.name, register_as=re.sub(r"\W", "-", request.node.name))


def finish(section: TrackSection, identity: str = "unique", best: int = 1, met: bool = True, model=None) -> str | None:
    """Record a workflow and finish it, as a process does that knows nothing of earlier ones."""
    tracker = begin(section, f"hand-{identity}", identity)
    rounds = [a_round(0), a_round(1), a_round(2, passed=False)]
    record_all(tracker, rounds, model or tiny_model())
    return end(tracker, identity, best, met)


def end(tracker: Tracker, identity: str = "unique", best: int = 1, met: bool = True) -> str | None:
    test, rounds = an_evaluation(), (a_round(0), a_round(1), a_round(2, passed=False))
    result = RunResult(f"hand-{identity}", "An outcome.", met, rounds, best, test, test, Path(), tracker.uri)
    return tracker.finish(result, NOTE)


def versions(section: TrackSection) -> list:
    client, _ = client_of(section)
    return client.search_model_versions(f"name = '{section.register_as}'")


def test_the_best_round_is_registered(store):
    model = tiny_model()
    assert finish(store, model=model) == "1"
    client, experiment = client_of(store)
    version = client.get_model_version_by_alias(store.register_as, "champion")
    assert version.version == 1
    assert version.run_id == runs_of(client, experiment)["r01"].info.run_id
    assert version.tags == {"tfprune.workflow": "hand-unique", "tfprune.round": "r01"}
    assert version.description == "**hand-1** Target met.\n\nsecond line"
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    with mlflow.tracking._tracking_service.utils._use_tracking_uri(tracking_uri(store)):
        loaded = mlflow.tensorflow.load_model(f"models:/{store.register_as}@champion")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_registered_twice_is_registered_once(store):
    """As after a kill: anew from the start, and by a process that only finishes."""
    assert [finish(store), finish(store), end(begin(store, "hand-unique"))] == ["1", "1", "1"]
    assert [each.version for each in versions(store)] == [1]


def test_a_kill_between_version_and_alias(store):
    finish(store)
    client, _ = client_of(store)
    client.delete_registered_model_alias(store.register_as, "champion")
    assert end(begin(store, "hand-unique")) == "1"
    assert client.get_model_version_by_alias(store.register_as, "champion").version == 1


def test_a_later_workflow_takes_the_alias(store):
    other = store.model_copy(update={"alias": "candidate"})
    assert [finish(store, "a"), finish(other, "b"), finish(store, "c")] == ["1", "2", "3"]
    client, _ = client_of(store)
    assert client.get_registered_model(store.register_as).aliases == {"champion": 3, "candidate": 2}


@pytest.mark.parametrize(("best", "met"), [(1, False), (0, True), (0, False)])
def test_nothing_is_registered_where_the_gates_failed(store, best, met):
    assert finish(store, "good") == "1"
    assert finish(store, "bad", best, met) is None
    client, _ = client_of(store)
    assert [each.version for each in versions(store)] == [1]
    assert client.get_model_version_by_alias(store.register_as, "champion").tags["tfprune.workflow"] == "hand-good"


def test_a_failure_makes_no_registered_model(store):
    assert finish(store, met=False) is None
    client, _ = client_of(store)
    with pytest.raises(MlflowException, match="not found"):
        client.get_registered_model(store.register_as)


def test_only_where_it_is_wanted(store):
    assert finish(store.model_copy(update={"register_as": None})) is None
    client, _ = client_of(store)
    assert store.register_as not in [each.name for each in client.search_registered_models()]
    assert versions(store) == []


def test_names_with_quotes(home, request):
    section = TrackSection(experiment=request.node.name, register_as="""the "boss's" model""")
    assert [finish(section), finish(section)] == ["1", "1"]


def test_one_run_under_two_names(store):
    other = store.model_copy(update={"register_as": f"{store.register_as} 2"})
    assert [finish(store), finish(other), finish(other)] == ["1", "1", "1"]
    assert [len(versions(each)) for each in (store, other)] == [1, 1]


def test_a_name_that_a_prompt_has(store):
    """MLflow itself would make the model a version of the prompt."""
    begin(store)
    client, _ = client_of(store)
    client.register_prompt(store.register_as, "hello")
    with pytest.raises(TrackingError, match=r"refuses: Registered Model .* not found") as caught:
        finish(store)
    assert "\n" not in str(caught.value)
    assert client.get_prompt_version(store.register_as, 1).template == "hello"
    with pytest.raises(MlflowException, match="not found"):
        client.get_prompt_version(store.register_as, 2)


def test_the_callers_registry_is_left_alone(store, tmp_path):
    """The model goes where the rounds are, whatever store the process has chosen."""
    own = store.model_copy(update={"uri": tracking_uri(store)})
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'nowhere.db'}")
    try:
        assert finish(own) == "1"
    finally:
        mlflow.set_tracking_uri(None)
    assert not (tmp_path / "nowhere.db").exists()
    client = MlflowClient(own.uri, own.uri)
    assert client.get_model_version_by_alias(own.register_as, "champion").version == 1

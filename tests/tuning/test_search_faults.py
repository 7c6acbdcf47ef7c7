"""Searches that something goes wrong in: trials that fail, drivers that are killed, and what is done again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny_search
import tiny_workflow

import tfprune
from tfprune.errors import TrackingError, TrainingError
from tfprune.recipe import Recipe, parse
from tfprune.storage import home as home_of
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning import begin, found
from tfprune.tuning import sensitivity as sensitivities
from tfprune.tuning.driver import Driver
from tfprune.tuning.oracle import Oracle
from tfprune.tuning.search import execute
from tfprune.tuning.state import SearchFolder
from tfprune.tuning.trial import TrialWorker

FEW = {"search__trials": 2, "search__finalists": 1}


# --------------------------------------------------------------------------------- trials that fail


def test_failed_trials_are_recorded_and_the_search_goes_on(home, monkeypatch):
    train = TrialWorker._train

    def failing(self, model, task, history):
        if task.trial.number == 2:
            raise ValueError("the second\nline is no line")
        if task.trial.number == 3 and not task.is_final:
            model.set_weights([each * float("nan") for each in model.get_weights()])  # as if training had diverged
        return train(self, model, task, history)

    monkeypatch.setattr(TrialWorker, "_train", failing)
    result = execute(parse(tiny_search.recipe(name="failures", **FEW)))
    states = {each.number: each.status for each in result.trials}
    assert states == {number: "failed" if number in (2, 3) else "completed" for number in range(7)}
    raised, diverged = result.trials[2], result.trials[3]
    assert raised.message == "ValueError: the second line is no line"
    assert "the weights of layer 'first' are not finite; lower the learning rate" in diverged.message
    for each in (raised, diverged):
        assert each.objective is None and each.evaluation is None and each.finished
        assert len(each.ratios) == 3
    runs = tiny_search.recorded(result.tracking_uri, result.search)
    for label, run in runs.items():
        assert run.info.status == ("FAILED" if label in ("t002", "t003") else "FINISHED")
    assert runs["t002"].data.tags["tfprune.message"] == raised.message
    assert runs["t002"].data.tags["mlflow.note.content"] == raised.message


def test_a_search_of_failures_ends_in_one_line(home):
    recipe = parse(tiny_search.recipe(name="hopeless-rate", finetune={"epochs": 1, "learning_rate": 1e30}, **FEW))
    for _ in range(2):  # and the same command says the same
        with pytest.raises(TrainingError, match="none of 5 trials came to a result; the first: ") as caught:
            execute(recipe)
        assert "\n" not in str(caught.value)
    runs = tiny_search.recorded(f"sqlite:///{home / 'mlflow.db'}", "hopeless-rate-1")
    assert set(runs) == {"search", *(f"t{number:03d}" for number in range(5))}
    assert {run.info.status for run in runs.values()} == {"FAILED"}


def test_a_store_that_fails_in_the_middle_loses_no_trial(home, monkeypatch):
    """The trial whose record failed is done again, others are not."""
    recipe = parse(tiny_search.recipe(name="store", **FEW))
    record = SearchTracker.record_trial

    def refusing(self, trial, *arguments, **named):
        if trial.number == 3:
            raise TrackingError("the store is down")
        record(self, trial, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(SearchTracker, "record_trial", refusing)
        with pytest.raises(TrackingError, match="the store is down"):
            execute(recipe)
    kept = {path.name: path.read_bytes() for path in (home / "searches" / "store-1" / "trials").glob("*.json")}
    assert sorted(kept) == [f"t00{number}.json" for number in range(3)]
    result = execute(recipe)
    assert result.search == "store-1"
    assert {name: (result.directory / "trials" / name).read_bytes() for name in kept} == kept
    assert len(tiny_search.recorded(result.tracking_uri, "store-1")) == 1 + 7 + len(result.finals)


# ----------------------------------------------------------------------------- drivers that are killed


class Killed(BaseException):
    """The process is gone."""


# Where a process can die, by the last thing that it did: (class or module, name of a function).
STEPS = [
    (begin, "write_progress"),
    (begin, "save"),
    (sensitivities, "write_known"),
    (SearchTracker, "begin"),
    (SearchTracker, "record_files"),
    (SearchTracker, "record_trial"),
    (SearchTracker, "record_final"),
    (SearchTracker, "finish"),
    (SearchFolder, "keep"),
    (SearchFolder, "keep_trial"),
    (SearchFolder, "keep_weights"),
    (Oracle, "ask"),
    (Oracle, "tell"),
    (Driver, "_submit"),
    (found, "save"),
    (found, "write_text"),
]


def said(name: str, arguments: tuple, log: object) -> str:
    """A step in words, the same in every process that comes to it."""
    words = [name]
    for each in arguments:
        if hasattr(each, "label"):
            words.append(each.label)
        elif hasattr(each, "trial"):
            words.append(f"{each.trial.label}{' final' if each.is_final else ''}")
        elif isinstance(each, str) and len(each) < 12:
            words.append(each)
        elif isinstance(each, Path):
            words.append(each.name)
    if name == "keep":
        words.append(f"{len(log.asked)} asked, {len(log.events)} events, {len(log.finals)} finals")
        words.append("done" if log.outcome else "")
    return " ".join(words).strip()


def killed_after_every_step(recipe: Recipe, monkeypatch, chosen: list[str] | None = None) -> list[str]:
    """Search in processes that each die after one step more than any before; returns these steps.

    Args:
        chosen: beginnings of the steps to die after, each once; None takes every step there is.
    """
    seen: list[str] = []
    used: set[str] = set()
    files: dict[str, tuple[int, str]] = {}

    def wants(step: str) -> bool:
        if step in seen:
            return False
        if chosen is None or step.endswith("done"):
            return True
        fit = next((each for each in chosen if step.startswith(each) and each not in used), None)
        used.add(fit or "")
        return fit is not None

    def deadly(place: object, name: str):
        function = getattr(place, name)

        def do_and_die(*arguments, **named):
            value = function(*arguments, **named)
            step = said(name, arguments, getattr(arguments[0], "log", None))
            if name in ("ask", "tell"):
                step += f" {len(arguments[0]._oracle.trials)}"
            if wants(step):
                seen.append(step)
                raise Killed(step)
            return value

        return do_and_die

    with monkeypatch.context() as patch:
        for place, name in STEPS:
            patch.setattr(place, name, deadly(place, name))
        while not seen or not seen[-1].endswith("done"):
            with pytest.raises(Killed):
                execute(recipe)
            for path in sorted((home_of() / "searches").glob(f"{recipe.name}-2/*/t*.json")):
                stamp = (path.stat().st_mtime_ns, path.read_text("utf-8"))
                assert files.setdefault(f"{path.parent.name}/{path.name}", stamp) == stamp, "done again"
    return seen


def log_of(folder: Path) -> dict:
    content = json.loads((folder / "search.json").read_text("utf-8"))
    return {name: value for name, value in content.items() if name not in ("id", "created", "name", "outcome")}


def kept(folder: Path) -> dict:
    """All that a search has left, without times and its own name."""
    found = {"log": log_of(folder), "found": (folder / "found.yaml").read_text("utf-8").split("\n", 1)[1]}
    for path in sorted(folder.glob("*/t*.json")):
        found[f"{path.parent.name}/{path.name}"] = tiny_search.plain(json.loads(path.read_text("utf-8")))
    weights = [each.tobytes() for each in tfprune.load(folder / "model.keras").get_weights()]
    return {**found, "weights": weights, "files": sorted(path.name for path in folder.glob("*/t*"))}


CHAIN = [
    "write_progress",
    "write_known",
    "_submit t000",
    "record_trial t001",
    "keep_trial t002",
    "ask",
    "keep 7 asked",
    "keep_trial t005",
    "tell",
    "keep 7 asked, 4 events, 1 finals",
    "record_final",
    "keep_weights",
    "finish",
]
ORACLES = {"random": {}, "bayesian": {}, "hyperband": {"epochs": 2, "factor": 2, "trials": None}, "grid": {}}


def assert_same_after_kills(recipe: Recipe, monkeypatch, chosen: list[str] | None) -> list[str]:
    whole = execute(recipe)
    assert whole.search.endswith("-1")
    shutil.rmtree(whole.directory.parent / "sensitivity")  # or the second would take the curves of the first
    steps = killed_after_every_step(recipe, monkeypatch, chosen)
    folder = whole.directory.parent / f"{recipe.name}-2"
    assert kept(folder) == kept(whole.directory)
    theirs = tiny_search.recorded(whole.tracking_uri, whole.search)
    ours = tiny_search.recorded(whole.tracking_uri, folder.name)
    assert ours.keys() == theirs.keys()
    for label, run in ours.items():
        assert run.info.status == theirs[label].info.status, label
        for each in (run, theirs[label]):
            for name in tiny_search.CLOCK:
                each.data.metrics.pop(name, None)
        assert run.data.params == theirs[label].data.params, label
        assert run.data.metrics == theirs[label].data.metrics, label
    assert not list(folder.rglob(".tmp-*"))
    return steps


def test_killed_again_and_again_it_finds_the_same(home, monkeypatch):
    recipe = parse(tiny_search.recipe(name="killed", **FEW))
    steps = assert_same_after_kills(recipe, monkeypatch, CHAIN)
    for each in CHAIN:
        assert any(step.startswith(each) for step in steps), f"{each}: {steps}"


@pytest.mark.full
@pytest.mark.parametrize("oracle", ORACLES)
def test_killed_after_every_step_it_finds_the_same(oracle, home, monkeypatch):
    changes = {f"search__{name}": value for name, value in {**ORACLES[oracle], "oracle": oracle}.items()}
    trials = {} if oracle == "hyperband" else {"search__trials": 6 if oracle == "bayesian" else 3}
    recipe = parse(tiny_search.recipe(name=f"every-{oracle}", search__finalists=1, **trials, **changes))
    steps = assert_same_after_kills(recipe, monkeypatch, None)
    assert len(steps) > 40


@pytest.mark.full
def test_the_bayesian_oracle_goes_on_as_it_was(home, monkeypatch):
    """Killed among the questions that it answers from what it has learnt."""
    changes = {"search__oracle": "bayesian", "search__trials": 5, "search__finalists": 1, "search__knobs": 2}
    recipe = parse(tiny_search.recipe(name="learnt", **changes))
    steps = assert_same_after_kills(recipe, monkeypatch, ["keep_trial t008", "keep 10 asked"])
    assert len(steps) == 3


@pytest.mark.full
def test_structured_trials_are_the_same_after_kills(home, monkeypatch):
    changes = {**FEW, "prune": tiny_search.STRUCTURED, "search__trials": 2}
    recipe = parse(tiny_search.recipe(name="killed-widths", **changes))
    assert_same_after_kills(recipe, monkeypatch, ["keep_trial t001", "keep_trial t003", "keep_weights"])


# ---------------------------------------------------------------------------------------- real kills


def killed_once(folder: Path, home: Path, moment, *arguments: str) -> int:
    process = tiny_workflow.start(folder, home, "search", "recipe.yaml", *arguments)
    while process.poll() is None and not moment():
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    return process.returncode


DELAYS = {
    "dense": "progress.npz",
    "sensitivity": "dense.keras",
    "curves": "sensitivity.json",
    "first": "trials/t000.json",
    "asked": "trials/t005.json",
    "final": "finals/t*.npz",
    "model": "model.keras",
    "found": "found.yaml",
}


@pytest.mark.parametrize(
    "engine",
    [pytest.param("inline", marks=pytest.mark.full), pytest.param("processes", marks=pytest.mark.full)],
)
@pytest.mark.parametrize("name", DELAYS)
def test_killed_for_real(name, engine, tmp_path, warm_home, monkeypatch):
    home = tiny_workflow.empty_home(warm_home, tmp_path / "home")
    tiny_search.write(tmp_path / "recipe.yaml", **FEW)
    folder = home / "searches" / "small-1"
    code = killed_once(tmp_path, home, lambda: list(folder.glob(DELAYS[name])), "--engine", engine)
    assert code in (-signal.SIGKILL, 0)
    before = {path: path.read_bytes() for path in folder.glob("*/t*.json")}
    monkeypatch.setenv("TFPRUNE_HOME", str(home))
    result = execute(parse(tiny_search.recipe(**FEW)))
    if result.search != "small-1":
        pytest.skip("the search had ended before the moment came")
    assert {path: path.read_bytes() for path in before} == before
    assert len(tiny_search.recorded(result.tracking_uri, "small-1")) == 1 + 7 + len(result.finals)

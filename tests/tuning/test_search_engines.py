"""The same search in every engine: real processes, a real Ray cluster, and workers that die in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny_search
import tiny_workflow

from tfprune.recipe import parse
from tfprune.report.watch import Watch
from tfprune.tuning.engines.cluster import _ray
from tfprune.tuning.engines.join import join
from tfprune.tuning.search import execute

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")


class Notes(Watch):
    """Keeps sentences."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray cluster for the tests of this file, on this machine alone; searches find it joined already."""
    with ExitStack() as leaving, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.tuning.engines.join.own_cores", lambda: (0, 1))
        join(_ray(), None, None, leaving)
        yield


def a_recipe(name: str):
    return parse(tiny_search.recipe(name=name))


@pytest.fixture(scope="module")
def undisturbed(warm_home):
    """What the search comes to inline, with nobody in its way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        result = execute(a_recipe("engines"), data=tiny_workflow.examples())
        return tiny_search.found(result)


def deaths_of(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# A worker dies once after it has trained, another after its trial is on record and before anybody hears of it.
ONCE = {"t001_trained": 1, "t003_recorded": 1}


@pytest.mark.parametrize(
    ("engine", "workers", "deaths"),
    [
        pytest.param("processes", 1, {}, id="processes-1", marks=pytest.mark.full),
        pytest.param("processes", 2, {}, id="processes-2", marks=pytest.mark.full),
        pytest.param("processes", 2, ONCE, id="processes-2-that-die"),
        pytest.param("ray", 2, {}, id="ray-2", marks=[needs_ray, pytest.mark.full]),
        pytest.param("ray", 2, {"t003_recorded": 1}, id="ray-2-that-die", marks=[needs_ray, pytest.mark.full]),
    ],
)
def test_every_engine_finds_the_same(engine, workers, deaths, home, undisturbed, request, tmp_path):
    if engine == "ray":
        request.getfixturevalue("cluster")
    watch = Notes()
    data = tiny_search.deadly(tmp_path, **deaths)
    result = execute(a_recipe("engines"), data=data, engine=engine, workers=workers, watch=watch)
    assert len(deaths_of(tmp_path)) == len(deaths)
    again = [note for note in watch.notes if note.endswith("it is tried once more")]
    assert sorted(note[:4] for note in again) == sorted(name[:4] for name in deaths)
    ours = tiny_search.found(result)
    for trial in ours["trials"]:
        name = f"t{trial['number']:03d}"
        assert trial["attempts"] == (2 if any(each.startswith(name) for each in deaths) else 1)
        trial["attempts"] = 1
    assert ours == undisturbed
    runs = tiny_search.recorded(result.tracking_uri, result.search)
    assert len(runs) == 1 + len(result.trials) + len(result.finals)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.full
@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=needs_ray)])
def test_a_trial_whose_worker_dies_twice_has_failed(engine, home, undisturbed, request, tmp_path):
    if engine == "ray":
        request.getfixturevalue("cluster")
    data = tiny_search.deadly(tmp_path, t004_trained=2)
    result = execute(a_recipe("engines"), data=data, engine=engine, workers=1)
    assert deaths_of(tmp_path) == ["t004_trained-0", "t004_trained-1"]
    lost = result.trials[4]
    assert (lost.status, lost.attempts, lost.objective) == ("failed", 2, None)
    assert lost.message.startswith("its worker died twice: its process ") and "\n" not in lost.message
    theirs = undisturbed["trials"]
    assert [tiny_search.plain(each) for each in result.trials[:4]] == theirs[:4]
    assert len(result.trials) == len(theirs) and all(each.objective is not None for each in result.trials[5:])
    runs = tiny_search.recorded(result.tracking_uri, result.search)
    assert len(runs) == 1 + len(result.trials) + len(result.finals)
    failed = runs["t004"]
    assert failed.info.status == "FAILED" and failed.data.tags["tfprune.message"] == lost.message


# ------------------------------------------------------------------------------------- from outside


def children_of(pid: int) -> set[int]:
    """All descendants of a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text("utf-8").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            parents[int(stat.parent.name)] = int(parent)
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(true, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("engine", "workers"),
    [("processes", 2), pytest.param("ray", 2, marks=[needs_ray, pytest.mark.full])],
    ids=["processes", "ray"],
)
def test_ctrl_c_in_the_middle_of_trials(engine, workers, tmp_path, monkeypatch):
    """From a cold start, so that workers and driver make their first connections to a store that is new."""
    home = tmp_path / "home"
    recipe = tiny_search.write(tmp_path / "recipe.yaml", search__trials=40)
    process = subprocess.Popen(
        [sys.executable, "-m", "tfprune", "search", str(recipe), "--engine", engine, "--workers", str(workers)],
        cwd=tmp_path,
        env=tiny_workflow.environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        trials = home / "searches" / "small-1" / "trials"
        assert until(lambda: len(list(trials.glob("t*.json"))) > 6 or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()
        family = children_of(process.pid)
        assert len(family) >= workers
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    last = [line for line in err.splitlines() if line.strip()][-1]
    assert last == "error: stopped by the user; finished trials are kept, and the same command goes on"
    assert err.count("error") == 1 and "Traceback" not in out + err
    assert until(lambda: not any(map(is_there, family)), 15), "nobody is left behind"
    kept = {path.name: path.read_bytes() for path in trials.glob("t*.json")}
    assert not list(home.rglob(".tmp-*"))
    uri = f"sqlite:///{home / 'mlflow.db'}"
    assert tiny_search.recorded(uri, "small-1")["search"].info.status == "KILLED"

    monkeypatch.setenv("TFPRUNE_HOME", str(home))
    watch = Notes()
    monkeypatch.chdir(tmp_path)
    result = execute(parse(tiny_search.recipe(search__trials=40)), watch=watch)
    assert result.search == "small-1" and "going on with small-1" in watch.notes
    assert len(result.trials) == 45
    assert {name: (trials / name).read_bytes() for name in kept} == kept, "what was finished is not done again"
    runs = tiny_search.recorded(uri, "small-1")
    assert len(runs) == 1 + len(result.trials) + len(result.finals)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}

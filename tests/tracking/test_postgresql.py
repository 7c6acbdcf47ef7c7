"""Stores that several processes write to from a cold start: a real PostgreSQL, and SQLite."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import tiny_workflow
from by_hand import a_round, begin, client_of, record_all, runs_of
from trials_by_hand import DENSE, a_search, a_trial
from trials_by_hand import begin as begin_search

from tfprune.errors import DependencyError, TrackingError
from tfprune.recipe import TrackSection
from tfprune.results import Trial
from tfprune.tracking import locks
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.store import Store
from tfprune.tracking.view import saved_views

psycopg2 = pytest.importorskip("psycopg2", reason="the driver psycopg2 is not installed")

WORKERS, TRIALS = 4, 5


# ---------------------------------------------------------------------------------------------- the server


def program(name: str) -> str | None:
    """A program of PostgreSQL, on PATH or where Debian keeps them."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(kept[-1]) if kept else None)


def somebody() -> dict:
    """Whom the server runs as: it refuses to run as root."""
    if os.getuid():
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL cannot run as root, and there is neither a user postgres nor nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


# Runs the server until the tests close its input, which they do even where they are killed.
KEEPER = """
import json, shutil, signal, subprocess, sys
folder, command, who = json.loads(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    with open(folder + "/log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **who)
    sys.stdin.read()
    server.send_signal(signal.SIGINT)  # a fast shutdown, which waits for no client
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)
finally:
    shutil.rmtree(folder, ignore_errors=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Folder of the socket of a PostgreSQL that nothing outside this machine can reach."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed: there is no initdb and postgres")
    who = somebody()
    # Not in pytest's own folder, which is closed to the user who runs the server; short, as sockets must be.
    folder = Path(tempfile.mkdtemp(prefix="tfprune-pg-"))
    keeper = None
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        data = str(folder / "data")
        made = subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            **who,
        )
        assert made.returncode == 0, made.stderr
        command = [postgres, "-D", data, "-k", str(folder), "-c", "listen_addresses=", "-F"]
        keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, json.dumps([str(folder), command, who])],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        wait_for(folder, keeper)
        yield str(folder)
    finally:
        if keeper is not None:
            keeper.communicate(timeout=90)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(folder: Path, keeper: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            psycopg2.connect(host=str(folder), user="tester", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            assert keeper.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)


_numbers = count(1)


@pytest.fixture
def empty(server) -> str:
    """URI of a new database with nothing in it."""
    name = f"records_{next(_numbers)}"
    with closing(psycopg2.connect(host=server, user="tester", dbname="postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    return f"postgresql://tester@/{name}?host={server}"


@pytest.fixture(scope="module")
def warm(server) -> str:
    """URI of a database whose tables are made."""
    with closing(psycopg2.connect(host=server, user="tester", dbname="postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE warm")
    uri = f"postgresql://tester@/warm?host={server}"
    Store(TrackSection(uri=uri))
    return uri


@pytest.fixture
def section(warm, home, request) -> TrackSection:
    """An experiment of the test's own."""
    return TrackSection(uri=warm, experiment=request.node.name)


# ------------------------------------------------------------------------------------------ from cold starts


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_four_processes_record_trials_from_a_cold_start(kind, tmp_path, request):
    uri = request.getfixturevalue("empty") if kind == "postgresql" else f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "trials_by_hand", uri, str(worker), str(TRIALS)],
            cwd=tmp_path,
            env=tiny_workflow.environment(tmp_path / "home"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(WORKERS)
    ]
    try:
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * WORKERS
        for worker in workers:  # all at once, when all have imported what they need
            worker.stdin.write("go\n")
            worker.stdin.flush()
        messages = [worker.communicate(timeout=180)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * WORKERS, messages
    client, experiment = client_of(TrackSection(uri=uri))
    runs = client.search_runs([experiment])
    assert len(runs) == 1 + WORKERS * TRIALS
    found = runs_of(client, experiment)
    parent = found.pop("search").info
    assert sorted(found) == [f"t{number:03d}" for number in range(WORKERS * TRIALS)]
    for number, label in enumerate(sorted(found)):
        run = found[label]
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent.run_id)
        assert run.data.metrics["objective"] == pytest.approx(0.8 + 0.001 * number)
        assert (run.data.metrics["finetune/loss"], run.data.params["ratio/conv"]) == (0.5, "0.5")
    place = tmp_path / "home" if kind == "postgresql" else tmp_path / "new"
    assert parent.artifact_uri.startswith((place / "artifacts").as_uri())


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_an_experiment_that_another_process_makes_meanwhile(kind, home, request, monkeypatch):
    uri = request.getfixturevalue("warm") if kind == "postgresql" else f"sqlite:///{home / 'mlflow.db'}"
    section = TrackSection(uri=uri, experiment="made meanwhile")
    made = Store(section)
    looks, really = [], type(made.client).get_experiment_by_name

    def late(client, name):
        looks.append(name)
        return None if len(looks) == 1 else really(client, name)

    monkeypatch.setattr(type(made.client), "get_experiment_by_name", late)
    assert Store(section).experiment_id == made.experiment_id
    assert len(looks) == 2


# ------------------------------------------------------------------------------------------------- the lock


@pytest.fixture
def held(warm):
    """A connection that holds the lock of the tables."""
    with closing(psycopg2.connect(warm)) as connection:
        connection.cursor().execute(f"SELECT pg_advisory_xact_lock({locks._KEY})")
        yield connection


@pytest.mark.parametrize("end", ["commit", "close"])
def test_the_lock_is_waited_for(held, section, end):
    """And is given back by itself when its holder is gone."""
    made = threading.Event()
    waiting = threading.Thread(target=lambda: (Store(section), made.set()), daemon=True)
    waiting.start()
    assert not made.wait(0.5)
    getattr(held, end)()
    assert made.wait(30)
    waiting.join(5)


def test_a_lock_that_is_never_given_back(held, section, monkeypatch):
    monkeypatch.setattr(locks, "_WAIT", 1)
    with pytest.raises(TrackingError, match=r"refuses: .*lock timeout") as caught:
        Store(section)
    assert "\n" not in str(caught.value)


def test_the_lock_is_given_back(section, warm):
    Store(section)
    with closing(psycopg2.connect(warm)) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT pg_try_advisory_xact_lock({locks._KEY})")
        assert cursor.fetchone() == (True,)


# ----------------------------------------------------------------------------- all that SQLite is used for


def test_a_search_on_a_server(section, tmp_path):
    tracker, trial = begin_search(section), a_trial(0)
    tracker.record_trial(trial, DENSE)
    tracker.record_trial(Trial(**{**vars(trial), "attempts": 2}), DENSE)
    tracker.record_final(trial, DENSE)
    tracker.finish(a_search(tmp_path, [trial], [trial]), "note")
    runs = runs_of(*client_of(section))
    assert {label: run.info.status for label, run in runs.items()} == {
        "search": "FINISHED",
        "t000": "FINISHED",
        "t000 final": "FINISHED",
    }


def test_a_workflow_on_a_server(section):
    rounds = [a_round(0), a_round(1)]
    record_all(begin(section), rounds)
    recorded = Recorded(section)
    assert recorded.names() == ["hand-1"]
    assert recorded.workflow("hand-1")[0] == tuple(rounds)
    assert recorded.save_views(saved_views)


# ------------------------------------------------------------------------------------- servers that cannot be


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("postgresql://nobody@127.0.0.1:1/x", "psycopg2", "psycopg2-binary"),
        ("mysql://nobody@127.0.0.1:1/x", "MySQLdb", "mysqlclient"),
        ("mysql+pymysql://nobody@127.0.0.1:1/x", "pymysql", "pymysql"),
    ],
    ids=["postgresql", "mysql", "pymysql"],
)
def test_a_missing_driver(uri, module, package, monkeypatch):
    for each in (module, "psycopg"):
        monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(DependencyError) as caught:
        Store(TrackSection(uri=uri))
    assert str(caught.value).startswith("the tracking store ")
    assert str(caught.value).endswith(f"{uri.partition('://')[2]} needs a driver: pip install {package}")


def test_a_server_that_is_not_there():
    """At once, and without the password."""
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"://me:\*\*\*@127\.0\.0\.1:1/x refuses: ") as caught:
        Store(TrackSection(uri="postgresql://me:secret@127.0.0.1:1/x"))
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - start < 10

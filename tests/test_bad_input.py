"""Bad input ends in one line and exit code 2, and leaves nothing half written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow
from mlflow import MlflowClient

import tfprune
from tfprune.cli import main
from tfprune.recipe import TrackSection
from tfprune.tracking.workflows import Tracker


def traces(home: Path) -> tuple[set[str], int]:
    """Workflows, temporaries and artifacts in a home, and the number of its runs."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return {str(path) for path in home.rglob("*") if ".lock" not in path.name and path.name != "workflows"}, len(runs)


@pytest.fixture
def refuse(home, monkeypatch, capfd, tmp_path):
    """Run a recipe that cannot be: returns the one line, after making sure that it left no trace."""

    def call(**changes) -> str:
        path = tiny_workflow.write(tmp_path / "recipe.yaml", **{"name": "bad", **changes})
        before, files = traces(home), sorted(tmp_path.rglob("*"))
        monkeypatch.setattr("sys.argv", ["tfprune", "run", str(path)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert (end.value.code, out) == (2, ""), err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.strip() and line != "loading data and model"]
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        assert len(lines[0]) < 600
        assert traces(home) == before
        assert sorted(tmp_path.rglob("*")) == files
        return lines[0]

    return call


def npz(path: Path, x=None, y=None) -> dict:
    good_x, good_y = tiny_workflow.examples(90)
    np.savez(path, x=good_x if x is None else x, y=good_y if y is None else y)
    return {"source": "npz", "path": str(path)}


# --------------------------------------------------------------------------------------------------- data


def test_a_missing_data_file(refuse, tmp_path):
    assert "none.npz: no such file" in refuse(data={"source": "npz", "path": str(tmp_path / "none.npz")})


def test_an_export_path_of_another_kind(refuse, tmp_path):
    words = "cannot tell a format by '.pt'; expected .tflite for litert"
    assert words in refuse(export={"path": str(tmp_path / "model.pt")})


def test_augmentation_of_what_is_no_image(refuse):
    assert "train.augment changes images, but the inputs are of shape (8,)" in refuse(train__augment=["flip"])


def test_a_data_file_of_another_kind(refuse, tmp_path):
    (tmp_path / "data.npz").write_bytes(b"no archive")
    assert "not a readable .npz" in refuse(data={"source": "npz", "path": str(tmp_path / "data.npz")})


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (None, np.arange(90) % 3 - 1, "is negative"),
        (None, np.arange(90) % 3 + 0.5, "is not an integer"),
        (np.zeros((0, 8)), np.zeros(0, int), "empty"),
        (np.full((90, 8), np.nan), None, "NaN or infinite"),
        (np.zeros((80, 8)), None, "80 examples in x, but 90 labels"),
        (None, np.zeros(90, int), "of one class"),
    ],
    ids=["negative", "half", "empty", "nan", "lengths", "one class"],
)
def test_data_that_cannot_be(x, y, words, refuse, tmp_path):
    assert words in refuse(data=npz(tmp_path / "data.npz", x, y))


def test_labels_outside_the_classes(refuse, tmp_path):
    data = npz(tmp_path / "data.npz") | {"classes": ["one", "other"]}
    assert "label 2 at example 2 is outside the 2 classes" in refuse(data=data)


def test_a_function_that_fails(refuse):
    assert "raised TypeError" in refuse(data__arguments={"nonsense": 1})


# ------------------------------------------------------------------------------------------------- models


def test_a_corrupt_model(refuse, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 and then nothing")
    assert "model.keras: damaged" in refuse(model={"file": str(tmp_path / "model.keras")})


def test_a_model_that_does_not_fit_the_data(refuse, tmp_path):
    tiny_workflow.build((9,), 3).save(tmp_path / "wide.h5")
    tiny_workflow.build((8,), 4).save(tmp_path / "four.h5")
    assert "model takes (9,), the data gives (8,)" in refuse(model={"file": str(tmp_path / "wide.h5")})
    assert "answers 4 classes, the data has 3" in refuse(model={"file": str(tmp_path / "four.h5")})


# ------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prune__target": {"sparsity": 1.0}}, "prune.target.sparsity: got 1.0"),
        ({"slices": [{"hardest": 0.001}]}, "slice 'hardest' has no example in the validation split"),
        ({"stop__slice_drops": {"class_9": 0.1}}, "no slice is named 'class_9'"),
        ({"prune__layers": ["frist"]}, "'frist' matches no layer"),
        ({"prune__pattern": "2:4"}, "prune: pattern 2:4 leads to 0.5 sparsity, but target.sparsity is 0.6"),
        (
            {"prune__scope": {"frist": 0.5}},
            "prune.scope: 'frist' matches no layer that is pruned; did you mean 'first'?",
        ),
        ({"prune__importance": "no_such_module:f"}, "prune.importance no_such_module:f: no module 'no_such_module'"),
        ({"prune__importance": "numpy:sum"}, "importance sum: expected scores of the weights' shape (8, 16), got ()"),
        ({"track__experiment": "x" * 501}, "500"),
        ({"track__uri": "file:///tmp/nowhere"}, "maintenance mode"),
        ({"data": {"source": "npx"}}, "did you mean 'npz'?"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_recipes_that_cannot_be(changes, words, refuse):
    assert words in refuse(**changes)


# ---------------------------------------------------------------------------------------- tracking servers


def test_a_server_that_is_not_there(refuse):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert f"the tracking server http://127.0.0.1:{port} does not answer" in refuse(
        track__uri=f"http://127.0.0.1:{port}"
    )


def test_a_server_that_never_answers(refuse):
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        line = refuse(track__uri=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - start < 15
    assert "does not answer (timed out)" in line


# -------------------------------------------------------------------------------------------------- disks


def may_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def on_small_disk(folder: Path, *steps: tuple[str, str]) -> list[tuple[int, str, str, list[str]]]:
    """Run the recipe after each remount of the home: exit code, output, errors, files in the home.

    Args:
        folder: holds the recipe; the home is mounted in it.
        steps: mount options such as ``size=1m``, and a name.
    """
    (folder / "home").mkdir()
    lines = ["mount -t tmpfs -o size=100k none home"]
    for options, name in steps:
        lines += [
            f"mount -o remount,{options} home",
            f"{sys.executable} -m tfprune run recipe.yaml --json >{name}.out 2>{name}.err; echo $? >{name}.code",
            f"find home >{name}.files",
        ]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "\n".join(lines)],
        cwd=folder,
        env=tiny_workflow.environment(folder / "home"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def read(name: str) -> tuple[int, str, str, list[str]]:
        code, out, err, files = ((folder / f"{name}.{each}").read_text() for each in ("code", "out", "err", "files"))
        return int(code), out, err, files.split()

    return [read(name) for _, name in steps]


def assert_one_line_about_the_disk(step: tuple[int, str, str, list[str]]) -> None:
    code, out, err, files = step
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "cannot write" in err
    assert not [name for name in files if ".tmp-" in name], files


def empty_store(folder: Path) -> int:
    """Kilobytes of a database that has its tables and nothing else; made here, as the shared one grows."""
    Tracker(TrackSection(uri=f"sqlite:///{folder / 'empty' / 'mlflow.db'}"))
    return (folder / "empty" / "mlflow.db").stat().st_size // 1024


mounting = pytest.mark.skipif(not may_mount(), reason="this machine does not let tests mount a small disk")


@mounting
def test_a_disk_that_is_read_only_then_full_then_filling_up(tmp_path):
    """Each time one line; when there is room at last, the same command goes on as if nothing had been."""
    tiny_workflow.write(tmp_path / "recipe.yaml")
    read_only, full, filling, roomy = on_small_disk(
        tmp_path,
        ("ro,size=100k", "ro"),
        ("rw,size=100k", "full"),
        (f"size={empty_store(tmp_path) + 140}k", "filling"),
        ("size=50m", "roomy"),
    )
    for step in (read_only, full, filling):
        assert_one_line_about_the_disk(step)
    for step in (read_only, full):
        assert not [name for name in step[3] if "tiny-" in name or name.endswith("mlflow.db")]
    code, out, err, files = roomy
    assert (code, err) == (0, "")
    assert '"workflow": "tiny-1"' in out
    assert "home/workflows/tiny-1/model.keras" in files and not [name for name in files if "tiny-2" in name]


@mounting
@pytest.mark.full
@pytest.mark.parametrize("room", [-300, -4, *range(8, 340, 28)])
def test_a_disk_that_fills_up_at_any_moment(room, tmp_path):
    tiny_workflow.write(tmp_path / "recipe.yaml")
    size = empty_store(tmp_path) + room
    small, roomy = on_small_disk(tmp_path, (f"size={size}k", "small"), ("size=50m", "roomy"))
    if small[0] != 0:
        assert_one_line_about_the_disk(small)
    assert (roomy[0], roomy[2]) == (0, "")
    assert '"outcome": "Target met' in roomy[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; mounted read-only above")
def test_a_home_without_permission(refuse, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    monkeypatch.setenv("TFPRUNE_HOME", str(closed / "home"))
    assert "Permission denied" in refuse()


def test_a_file_where_the_home_should_be(refuse, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path / "file" / "home"))
    assert "cannot write" in refuse()


# -------------------------------------------------------------------------------- in a process of its own


def test_from_outside(tmp_path):
    """Native libraries write to the process's own standard error; nothing of theirs is seen."""
    home = tmp_path / "home"
    tiny_workflow.write(tmp_path / "recipe.yaml", data__arguments={"count": 0})
    done = tiny_workflow.tfprune(tmp_path, home, "run", "recipe.yaml", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not home.exists()


# ------------------------------------------------------------------------------------------------- search


@pytest.fixture
def refuse_search(home, monkeypatch, capfd, tmp_path):
    """Search a recipe that cannot be searched: returns the one line.

    Unless `late`, it comes before anything is begun, so there is no trace of it. What can be seen only on the trained
    model leaves the search to go on with, in a folder and a run that says so.
    """

    def call(*arguments: str, late: bool = False, **changes) -> str:
        path = tiny_workflow.write(tmp_path / "recipe.yaml", **{"name": "unsearchable", **QUICK, **changes})
        before, trials = traces(home), set(home.rglob("trials/*"))
        monkeypatch.setattr("sys.argv", ["tfprune", "search", str(path), *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert (end.value.code, out) == (2, ""), err
        assert "Traceback" not in err
        progress = ("loading data", "training dense", "sensitivity", "going on with", "warning: ")
        lines = [line for line in err.splitlines() if line.strip() and not line.startswith(progress)]
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        assert len(lines[0]) < 600
        if not late:
            assert traces(home) == before
        assert not list(home.rglob(".tmp-*")) and set(home.rglob("trials/*")) == trials
        return lines[0]

    return call


QUICK = {"search__trials": 1, "search__finalists": 1, "search__sensitivity": [0.5, 0.9]}
MASKS = {"target": {"sparsity": 0.8}, "rounds": 1}
WIDTHS = {"method": "structured", "target": {"ratio": 0.5}}
UNSEARCHABLE = {
    "two-sections": ({"prune": [WIDTHS, MASKS]}, "prune has 2 sections, and a search has one budget"),
    "n-of-m": (
        {"prune": {**MASKS, "target": {"sparsity": 0.5}, "pattern": "2:4"}},
        "pattern 2:4 gives every layer the same sparsity",
    ),
    "rewind": ({"prune": {**MASKS, "rewind_to_epoch": 1}}, "leave prune.rewind_to_epoch out"),
    "scope": ({"prune": {**MASKS, "scope": {"frist": 0.5, "second": 0.9}}}, "'frist' matches no layer"),
    "couplings": ({"prune": {**WIDTHS, "scope": {"frist": 0.5}}}, "did you mean 'first'?"),
    "widths": ({"prune": {**WIDTHS, "target": {"params": 10}}}, "21 is the least"),
    "no-ratio": ({"search__sensitivity": [0.9]}, "sensitivity needs two shares or more"),
    "no-rungs": ({"search__oracle": "hyperband"}, "oracle hyperband needs epochs of at least its factor 3"),
}


@pytest.mark.parametrize(("changes", "words"), UNSEARCHABLE.values(), ids=UNSEARCHABLE)
def test_what_cannot_be_searched(changes, words, refuse_search):
    assert words in refuse_search(**changes)


ARGUMENTS = {
    "unknown-engine": (
        ["--engine", "proceses"],
        "unknown engine 'proceses'; known are inline, processes, ray; did you",
    ),
    "inline-2": (["--workers", "2"], "the engine inline has one worker, got 2"),
    "address": (["--engine", "processes", "--address", "auto"], "the engine processes takes no address"),
    "sensitivity": (["--sensitivity-only", "--engine", "ray", "-o", "x.yaml"], "goes without --engine and --output"),
    "output": (["-o", "{folder}"], "a folder is in the way of the recipe"),
    "output-below-a-file": (["-o", "{folder}/recipe.yaml/found.yaml"], "recipe.yaml is a file, not a folder"),
    "directory": (["--directory", "{folder}"], "holds other files; give an empty directory"),
}


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_of_a_search_that_cannot_be(arguments, words, refuse_search, tmp_path):
    assert words in refuse_search(*(each.format(folder=tmp_path) for each in arguments))


def test_a_search_for_what_no_layer_can_lose(refuse_search):
    line = refuse_search(prune__target={"sparsity": 0.9999}, late=True)
    assert "no allocation keeps 0 of 432 weights: the layers keep 3 at least (first 1 of 128, " in line


def test_a_search_by_slices_that_are_too_small(refuse_search):
    changes = {"search__objective": "worst_slice", "stop__min_slice_size": 5000}
    assert "needs a slice of 5000 validation examples or more" in refuse_search(late=True, **changes)


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
def test_a_search_in_a_cluster_that_is_not_there(refuse_search):
    line = refuse_search("--engine", "ray", "--address", "127.0.0.1:1", late=True)
    assert "no Ray cluster answers at 127.0.0.1:1" in line and "ray start --head" in line


def test_a_search_without_ray(refuse_search, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'tfprune[ray]'" in refuse_search("--engine", "ray")


def test_a_search_in_the_folder_of_another(refuse_search, tmp_path):
    folder = tmp_path / "mine"
    tfprune.search(tiny_workflow.recipe(name="mine", **QUICK), directory=folder)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "another recipe, model or data" in refuse_search("--directory", str(folder))
    assert "holds a search already" in refuse_search("--directory", str(folder), "--fresh")
    assert "search 'mine' is finished: " in refuse_search("--directory", str(folder), name="mine")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept

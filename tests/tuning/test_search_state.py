"""A search on disk: taken up where it is the same, refused in one line where it is not."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_workflow
from trials_by_hand import a_trial, failed

from tfprune.errors import RecipeError, StorageError
from tfprune.recipe import Recipe, load, parse
from tfprune.tuning.state import MARKER, Asked, SearchFolder, open_search, unfinished

HOLDS = (
    "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    "print('held', flush=True); input()"
)
ASKED = Asked(0, "0001", "oracle", {"first": 0.123456789, "second": -1e-9}, {"first": 0.5}, 3, None)


@pytest.fixture
def recipe() -> Recipe:
    return parse(tiny_workflow.recipe(name="kept"))


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The room of searches in a home of its own."""
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "searches"


def opened(recipe: Recipe, digest: str = "digest", fingerprint: str = "print", **more) -> SearchFolder:
    return open_search(recipe, digest, fingerprint, 1_700_000_000_000, **more)


def left(recipe: Recipe, **changes) -> Path:
    """The folder of a search that somebody left."""
    found = opened(recipe, resume=False)
    for name, value in changes.items():
        setattr(found.log, name, value)
    found.keep()
    found.close()
    return found.folder


def refused(kind: type[Exception], *given, **more) -> str:
    with pytest.raises(kind) as caught:
        opened(*given, **more)
    line = str(caught.value)
    assert line.splitlines() == [line]
    return line


def test_a_new_search_has_its_recipe_and_its_log(recipe: Recipe, room: Path) -> None:
    found = opened(recipe)
    assert found.folder == room / "kept-1"
    assert load(found.folder / "recipe.yaml") == recipe
    assert (found.log.name, found.log.digest, found.log.fingerprint) == ("kept-1", "digest", "print")
    assert (found.log.asked, found.log.events, found.log.finals, found.log.outcome) == ([], [], [], "")
    assert not found.dense.exists()
    found.close()


def test_what_was_settled_is_read_back(recipe: Recipe) -> None:
    events = [("ask", "0001", None), ("tell", "0001", 0.1 + 0.2), ("ask", "0002", None), ("tell", "0002", None)]
    folder = left(recipe, asked=[ASKED], events=events, finals=[2, 0])
    again = opened(recipe)
    assert again.folder == folder
    assert again.log.asked == [ASKED]
    assert again.log.events == events
    assert again.log.finals == [2, 0]
    again.close()


def test_trials_are_read_back_as_they_were(recipe: Recipe) -> None:
    found = opened(recipe)
    trials = [a_trial(0, ratios={"a/b": 0.1 + 0.2}), failed(1), a_trial(2, status="stopped", warm_start=0, attempts=2)]
    for each in reversed(trials):
        found.keep_trial(each, b"weights" if each.number == 2 else None)
    found.keep_trial(a_trial(0, epochs=9), b"final", kind="finals")
    found.close()
    again = opened(recipe)
    assert list(again.trials().values()) == trials
    assert again.trials(kind="finals") == {0: a_trial(0, epochs=9)}
    assert again.weights("t002") == b"weights"
    assert again.weights("t000", kind="finals") == b"final"
    assert unfinished([replace(ASKED, number=number) for number in range(5)], again.trials()) == [
        replace(ASKED, number=number) for number in (3, 4)
    ]
    again.close()


@pytest.mark.parametrize("bad", [math.inf, math.nan], ids=str)
def test_a_figure_that_is_no_number_does_not_damage_a_trial(recipe: Recipe, bad: float) -> None:
    found = opened(recipe)
    found.keep_trial(a_trial(0, history=({"loss": bad, "accuracy": 0.5},)))
    (row,) = found.trials()[0].history
    assert row["accuracy"] == 0.5
    assert str(row["loss"]) == str(bad)
    found.close()


@pytest.mark.parametrize(("digest", "fingerprint"), [("other", "print"), ("digest", "other")], ids=["recipe", "model"])
def test_another_recipe_or_model_begins_its_own(recipe: Recipe, digest: str, fingerprint: str) -> None:
    left(recipe)
    other = opened(recipe, digest, fingerprint)
    assert other.folder.name == "kept-2"
    other.close()
    again = opened(recipe)
    assert again.folder.name == "kept-1"
    again.close()


def test_the_latest_unfinished_one_is_taken_up(recipe: Recipe) -> None:
    for changes in ({}, {}, {"outcome": "Found ratios."}):
        left(recipe, **changes)
    found = opened(recipe)
    assert found.folder.name == "kept-2"
    found.close()


def test_a_finished_one_is_not_taken_up(recipe: Recipe) -> None:
    left(recipe, outcome="Found ratios.")
    found = opened(recipe)
    assert found.folder.name == "kept-2"
    found.close()


def test_fresh_begins_anew(recipe: Recipe) -> None:
    left(recipe)
    found = opened(recipe, resume=False)
    assert found.folder.name == "kept-2"
    found.close()


def test_temporaries_of_a_kill_are_swept(recipe: Recipe) -> None:
    folder = left(recipe)
    for room in (folder, folder / "trials", folder / "finals"):
        (room / ".tmp-left").mkdir(parents=True)
    found = opened(recipe)
    assert not list(folder.rglob(".tmp-*"))
    found.close()


# -------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"name": "x"}', b"null"], ids=repr)
def test_a_damaged_log_is_one_line_and_leaves_it_free(recipe: Recipe, content: bytes) -> None:
    folder = left(recipe)
    kept = (folder / MARKER).read_bytes()
    (folder / MARKER).write_bytes(content)
    line = refused(StorageError, recipe)
    assert str(folder / MARKER) in line and f"remove {folder}" in line
    (folder / MARKER).write_bytes(kept)
    opened(recipe).close()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"number": 0}'], ids=repr)
def test_a_damaged_trial_is_one_line(recipe: Recipe, content: bytes) -> None:
    found = opened(recipe)
    found.keep_trial(a_trial(0))
    (found.folder / "trials" / "t000.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"t000\.json: is missing or damaged; remove .*kept-1") as caught:
        found.trials()
    assert "\n" not in str(caught.value)
    found.close()


def test_weights_that_are_gone_are_one_line(recipe: Recipe) -> None:
    found = opened(recipe)
    with pytest.raises(StorageError, match=r"t007\.npz: is missing or damaged"):
        found.weights("t007")
    found.close()


# ----------------------------------------------------------------------------------------- --directory


def test_a_directory_of_its_own_is_taken_up(recipe: Recipe, tmp_path: Path, room: Path) -> None:
    first = opened(recipe, directory=tmp_path / "deep" / "mine")
    assert first.log.name == "mine"
    first.close()
    again = opened(recipe, directory=tmp_path / "deep" / "mine")
    assert again.log.id == first.log.id
    again.close()
    assert not room.exists()


def test_an_empty_directory_is_taken(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    opened(recipe, directory=tmp_path / "mine").close()
    assert (tmp_path / "mine" / MARKER).is_file()


def test_a_relative_directory_stays_where_it_was(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = opened(recipe, directory=Path("mine"))
    assert found.folder == tmp_path / "mine"
    found.close()


@pytest.mark.parametrize("other", ["recipe", "model", "finished", "fresh", "files", "file", "own-recipe"])
def test_a_directory_that_holds_something_else(recipe: Recipe, tmp_path: Path, other: str) -> None:
    mine = tmp_path / "mine"
    if other == "file":
        mine.touch()
    elif other in ("files", "own-recipe"):
        mine.mkdir()
        (mine / ("notes.txt" if other == "files" else "recipe.yaml")).write_bytes(b"# my own \xe9\n")
    else:
        found = opened(recipe, directory=mine)
        found.log.outcome = "Found ratios." if other == "finished" else ""
        found.keep()
        found.close()
    digest, fingerprint = "other" if other == "recipe" else "digest", "other" if other == "model" else "print"
    line = refused(RecipeError, recipe, digest, fingerprint, directory=mine, resume=other != "fresh")
    said = {
        "recipe": f"another --directory, or the recipe that it was begun with: {mine / 'recipe.yaml'}",
        "model": "another recipe, model or data",
        "finished": "search 'mine' is finished: Found ratios.",
        "fresh": "holds a search already; give another directory",
        "files": "holds other files",
        "own-recipe": "holds other files",
        "file": "is a file; give a directory",
    }
    assert said[other] in line


def test_what_others_keep_beside_a_directory_stays(recipe: Recipe, tmp_path: Path) -> None:
    beside = tmp_path / "project" / ".tmp-mine"
    beside.mkdir(parents=True)
    opened(recipe, directory=tmp_path / "project" / "search").close()
    assert beside.is_dir()


# -------------------------------------------------------------------------------------- two at a time


def test_a_search_that_another_process_holds(recipe: Recipe, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    opened(recipe, directory=mine).close()
    folder = left(recipe)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(each / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for each in (mine, folder)
    ]
    try:
        assert all(other.stdout is not None and other.stdout.readline() == "held\n" for other in others)
        assert "another process is at work on it" in refused(RecipeError, recipe, directory=mine)
        own = opened(recipe)  # of the same recipe, one of its own
        assert own.folder.name == "kept-2"
        own.close()
    finally:
        for other in others:
            other.kill()
            other.communicate()
    opened(recipe, directory=mine).close()


def test_one_process_holds_it_once(recipe: Recipe) -> None:
    first = opened(recipe)
    second = opened(recipe)
    assert second.folder != first.folder
    first.close()
    second.close()
    again = opened(recipe)
    assert again.folder == second.folder
    again.close()

"""Numbered folders, each held by one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tfprune.errors import RecipeError, StorageError
from tfprune.storage.folders import begin, hold, is_held, latest_first, looking_around

HOLDS = (
    "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    "print('held', flush=True); input()"
)


def make(room: Path, name: str = "tiny") -> Path:
    return begin(room, name, lambda path: (path / "marker").touch())


def test_folders_are_numbered_by_name(tmp_path: Path) -> None:
    made = [make(tmp_path, name) for name in ("tiny", "tiny", "tiny-2", "other", "tiny")]
    assert [path.name for path in made] == ["tiny-1", "tiny-2", "tiny-2-1", "other-1", "tiny-3"]
    assert [path.name for path in latest_first(tmp_path, "tiny", "marker")] == ["tiny-3", "tiny-2", "tiny-1"]
    assert [path.name for path in latest_first(tmp_path, "tiny-2", "marker")] == ["tiny-2-1"]
    assert latest_first(tmp_path, "unknown", "marker") == []


def test_the_tenth_comes_after_the_ninth(tmp_path: Path) -> None:
    for number in (2, 9, 10):
        (tmp_path / f"tiny-{number}").mkdir()
        (tmp_path / f"tiny-{number}" / "marker").touch()
    assert [path.name for path in latest_first(tmp_path, "tiny", "marker")] == ["tiny-10", "tiny-9", "tiny-2"]
    assert make(tmp_path).name == "tiny-11"


def test_what_is_not_ours_is_passed_over(tmp_path: Path) -> None:
    for other in ("tiny-x", "tiny-", "tiny-1-old", "tiny-7"):
        (tmp_path / other).mkdir()
    assert latest_first(tmp_path, "tiny", "marker") == []
    assert make(tmp_path).name == "tiny-8"  # a number is not given twice, marker or not


def test_a_folder_that_cannot_be_filled_is_not_there(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        (path / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        begin(tmp_path, "tiny", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_held_once_and_then_free_again(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert not is_held(folder)
    lock = hold(folder, "search")
    assert is_held(folder)
    with pytest.raises(RecipeError, match=r"^search 'tiny-1': another process is at work on it$"):
        hold(folder, "search")
    lock.release()
    assert not is_held(folder)
    hold(folder, "search").release()


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    folder = make(tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert is_held(folder)
        with pytest.raises(RecipeError, match="another process"):
            hold(folder, "workflow")
    finally:
        other.kill()
        other.communicate()
    assert not is_held(folder)
    hold(folder, "workflow").release()


def test_looking_around_makes_the_room_and_takes_what_a_kill_left(tmp_path: Path) -> None:
    room = tmp_path / "deep" / "room"
    (room / ".tmp-left").mkdir(parents=True)
    with looking_around(room):
        folder = make(room)
    assert folder.is_dir()
    assert not (room / ".tmp-left").exists()


def test_a_room_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*TFPRUNE_HOME") as caught, looking_around(tmp_path / "file"):
        pass
    assert "\n" not in str(caught.value)

"""Numbered folders (``digits-1``, ``digits-2`` …), each held by one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tfprune.errors import RecipeError, StorageError
from tfprune.storage.files import replacing, sweep


@contextmanager
def looking_around(room: Path) -> Iterator[None]:
    """Be the only process that takes up or begins folders in a room: none is taken between its beginning and its lock.

    Raises:
        StorageError: the room cannot be written.
    """
    try:
        room.mkdir(parents=True, exist_ok=True)
        with FileLock(room / ".lock"):
            sweep(room)
            yield
    except OSError as error:
        raise StorageError(
            f"cannot write {room}: {error.strerror or error}; free some space or set TFPRUNE_HOME"
        ) from error


def latest_first(room: Path, name: str, marker: str) -> list[Path]:
    """The folders of a name that hold a file called `marker`."""
    found = [path.parent for path in room.glob(f"{name}-*/{marker}") if _is_numbered(path.parent.name, name)]
    return sorted(found, key=_number, reverse=True)


def begin(room: Path, name: str, fill: Callable[[Path], None]) -> Path:
    """Make the next folder of a name, whole; `fill` is given it while nobody else sees it."""
    taken = [_number(path) for path in room.glob(f"{name}-*") if _is_numbered(path.name, name)]
    folder = room / f"{name}-{max(taken, default=0) + 1}"
    with replacing(folder) as path:
        path.mkdir()
        fill(path)
    return folder


def hold(folder: Path, what: str) -> FileLock:
    """Lock a folder for this process; `what` it holds opens the line that says it is held already.

    Raises:
        RecipeError: another process holds it.
    """
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RecipeError(f"{what} {folder.name!r}: another process is at work on it") from None
    return lock


@contextmanager
def held_if_well(lock: FileLock) -> Iterator[FileLock]:
    """Keep a lock, unless what is done under it fails: then let others in, and raise on."""
    with ExitStack() as undone:
        undone.callback(lock.release)
        yield lock
        undone.pop_all()


def is_held(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    lock = FileLock(folder / "lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _is_numbered(folder: str, name: str) -> bool:
    number = folder[len(name) + 1 :]
    return number.isascii() and number.isdecimal()


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])

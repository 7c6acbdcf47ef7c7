"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tfprune.errors import StorageError

_PREFIX = ".tmp-"


def home() -> Path:
    """The tracking home: ``TFPRUNE_HOME``, or ``mlruns`` in the working directory."""
    return Path(os.environ.get("TFPRUNE_HOME") or "mlruns").absolute()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write a file or a directory to, and move it to `path` when all went well.

    Whoever reads `path`, also after a kill, finds the old content or the new, never half of one; a directory may
    be missing for a moment.

    Args:
        path: its parents are made where missing, and go again if nothing comes of it. The temporary keeps its ending,
            as writers choose by it.

    Raises:
        StorageError: the disk refuses.
    """
    room, missing = None, []
    try:
        missing = [each for each in path.absolute().parents if not each.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
        yield room / path.name
        if path.is_dir():
            shutil.rmtree(path)
        (room / path.name).replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another place"
        ) from error
    finally:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)
        for each in missing:
            with suppress(OSError):  # what holds the new file stays
                each.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole.

    Raises:
        StorageError: the disk refuses.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove the temporaries that a killed process left in a folder; the caller holds its lock."""
    for left in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)

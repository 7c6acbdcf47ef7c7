"""NumPy archives."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.data.arrays import data_from_arrays
from tfprune.data.metadata import Brought
from tfprune.errors import DataError, nearest
from tfprune.importing import one_line
from tfprune.storage.archives import checked_archive

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import NpzData


# A header may lie about the shape of its array (MemoryError), or be no Python literal (SyntaxError, tokenize's own).
_UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, OverflowError, RecursionError),
    *(NotImplementedError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def load_npz(section: NpzData, seed: int) -> Data:
    """Read arrays `x` and `y`, and a test part where the archive has ``<x>_test`` and ``<y>_test``.

    Raises:
        DataError: the file is missing or corrupt, or an array is missing; names the nearest one.
    """
    with archive_at(section.path) as archive:
        parts = _read(archive, section)
        brought = {part: _columns(archive, section, part) for part in parts}
    return data_from_arrays(parts, section, seed, brought=brought)


@contextmanager
def archive_at(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An open archive; whatever is wrong with it becomes one line.

    Raises:
        DataError: no such file, or not an archive of plain arrays.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with checked_archive(
        path, DataError, "not a readable .npz archive, as numpy.savez writes it", thorough=False
    ) as members:
        for name in members.namelist():
            with members.open(name) as file:
                if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                    raise DataError(f"{path}: not a readable .npz archive of plain arrays: {name[:60]!r} is none")
    try:
        with np.load(path, allow_pickle=False) as archive:  # an array of pickled objects is code that would run
            yield archive
    except _UNREADABLE as error:
        reason = one_line(error).partition(": ")[2]
        raise DataError(f"{path}: not a readable .npz archive of plain arrays: {reason}") from error


def _read(archive: np.lib.npyio.NpzFile, section: NpzData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    x_test, y_test = f"{section.x}_test", f"{section.y}_test"
    wanted = {"train": (section.x, section.y)}
    if x_test in archive.files or y_test in archive.files:
        wanted["test"] = (x_test, y_test)
    for name in (name for pair in wanted.values() for name in pair):
        if name not in archive.files:
            raise _missing(archive, section, name)
    return {part: (archive[x], archive[y]) for part, (x, y) in wanted.items()}


def _columns(archive: np.lib.npyio.NpzFile, section: NpzData, part: str) -> Brought:
    """The arrays of the archive that `metadata` names, of one part."""
    ending = "_test" if part == "test" else ""
    here = [name for name in section.metadata if name in archive.files]
    for name in here:
        if f"{name}{ending}" not in archive.files:
            raise _missing(archive, section, f"{name}{ending}")
    others = [name for name in archive.files if name not in (section.x, section.y) and not name.endswith("_test")]
    return Brought({name: archive[f"{name}{ending}"] for name in here}, others)


def _missing(archive: np.lib.npyio.NpzFile, section: NpzData, name: str) -> DataError:
    files = archive.files
    return DataError(f"{section.path}: no array {name!r}; it has {', '.join(files)}{nearest(name, files)}")

"""NumPy archives."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from tfprune.data.arrays import data_from_arrays
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import NpzData


def load_npz(section: NpzData, seed: int) -> Data:
    """Read arrays `x` and `y`, and a test part where the archive has ``<x>_test`` and ``<y>_test``.

    Raises:
        DataError: the file is missing or corrupt, or an array is missing; names the nearest one.
    """
    path = section.path
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not a readable .npz archive, as numpy.savez writes it")
    try:
        opened = np.load(path, allow_pickle=False)
        with opened as archive:
            parts = _read(archive, section)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz archive of plain arrays: {error}") from error
    return data_from_arrays(parts, section, seed)


def _read(archive: np.lib.npyio.NpzFile, section: NpzData) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    x_test, y_test = f"{section.x}_test", f"{section.y}_test"
    wanted = {"train": (section.x, section.y)}
    if x_test in archive.files or y_test in archive.files:
        wanted["test"] = (x_test, y_test)
    for name in (name for pair in wanted.values() for name in pair):
        if name not in archive.files:
            raise DataError(
                f"{section.path}: no array {name!r}; it has {', '.join(archive.files)}{nearest(name, archive.files)}"
            )
    return {part: (archive[x], archive[y]) for part, (x, y) in wanted.items()}

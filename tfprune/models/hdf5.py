"""HDF5 files that others wrote, checked before Keras reads them.

The HDF5 library crashes on some damaged files, or never comes back. A model file of its own (.h5) is therefore read
once by a process that may crash; in a .keras archive, whose sums are checked before, the same check needs none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from tfprune.errors import ModelError

LARGEST_CONFIG = 32 * 2**20
"""Bytes of JSON that a model may be described by."""

_TEXTS = ("model_config", "training_config", "keras_version")
_MOST_OBJECTS = 1_000_000
_PIECE = 2**26


def read_apart(path: Path) -> dict[str, str]:
    """Check an .h5 file in a process of its own, and return the texts that describe the model in it.

    Raises:
        ModelError: as `check_hdf5`; or the process crashed, or did not come back.
    """
    size = path.stat().st_size
    here = str(Path(__file__).parents[2])
    around = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path.absolute())],
            env={**os.environ, "PYTHONPATH": around},
            capture_output=True,
            timeout=30 + size / 10e6,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else "damaged: the HDF5 library crashes on it"
    except subprocess.TimeoutExpired:
        found = "damaged: the HDF5 library does not come back from it"
    if isinstance(found, str):
        raise ModelError(f"{path}: {found}")
    return found


def check_hdf5(file: Any, size: int) -> str:
    """What speaks against reading the weights in an HDF5 file; empty if nothing does.

    Links and storage outside the file would read other files of this machine; datasets of more bytes than the file
    could hold would fill the memory.

    Args:
        file: an open binary file, such as a member of an archive.
        size: in bytes.
    """
    try:
        with h5py.File(file, "r") as content:
            return _problem(content, size)
    except Exception:  # h5py raises whatever fits the number that HDF5 returns
        return "damaged: its HDF5 content cannot be read"


def _problem(content: h5py.File, size: int, *, thorough: bool = False) -> str:
    total, groups, seen, count = 0, [content], {hash(content.id)}, 0
    while groups:
        group = groups.pop()
        for name in group:
            count += 1
            place = repr(f"{group.name}/{name}".replace("//", "/")[:80])
            if count > _MOST_OBJECTS:
                return f"damaged: more than {_MOST_OBJECTS} groups and datasets"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"{place} is a link to another place; a model holds its own weights"
            each = group[name]
            if hash(each.id) in seen:
                return f"damaged: {place} stands in it twice"
            seen.add(hash(each.id))
            if isinstance(each, h5py.Group):
                groups.append(each)
            elif isinstance(each, h5py.Dataset):
                if each.external or each.is_virtual:
                    return f"{place} lies in another file; a model holds its own weights"
                total += each.nbytes
                if total > max(size, 2**20) * _slack(each):
                    return f"{place} is of shape {each.shape}, more than a file of {size} bytes holds"
                if thorough:
                    _read_through(each)
            if thorough:
                dict(each.attrs)
    return ""


def _slack(dataset: h5py.Dataset) -> int:
    """Times the file that the content may be: Keras does not compress, but whoever wrote it anew may have."""
    return 1 if dataset.compression is None else 100


def _read_through(dataset: h5py.Dataset) -> None:
    """Read a dataset as Keras will, a piece at a time where it is large."""
    if dataset.ndim == 0 or dataset.nbytes <= _PIECE:
        dataset[()]
        return
    rows = max(1, _PIECE * len(dataset) // dataset.nbytes)
    for start in range(0, len(dataset), rows):
        dataset[start : start + rows]


def _text(content: h5py.File, name: str) -> str:
    """An attribute of a file as text; empty where there is none, or one too long to be meant."""
    value = content.attrs.get(name, "")
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text if len(text) <= LARGEST_CONFIG else ""


def _main(path: str) -> None:
    """In the process apart: print what is wrong as JSON text, or a mapping of the texts."""
    with suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        most = Path(path).stat().st_size * 4 + 4 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found: Any
    try:
        with h5py.File(path, "r") as content:
            found = _problem(content, Path(path).stat().st_size, thorough=True)
            found = found or {name: _text(content, name) for name in _TEXTS}
    except Exception:
        found = "damaged: its HDF5 content cannot be read"
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1])

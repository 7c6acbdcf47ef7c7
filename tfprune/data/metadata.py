"""Metadata: columns that travel with the examples, from the source itself or from a file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.data.columns import typed
from tfprune.data.tables import Cells, read_columns
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.recipe import DataSection

Columns = Mapping[str, np.ndarray]
"""Columns by name, each of shape (examples,)."""

FILE = "file"


@dataclass(frozen=True)
class Brought:
    """What one part of a source says about its examples, besides their labels.

    Attributes:
        columns: values by name, in the order of the examples, as `columns.typed` takes them.
        known: names that could have been asked for, for messages.
        files: where the examples are files, their paths below the root of the part; a file of columns may name them.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    known: Sequence[str] = ()
    files: Sequence[str] = ()


def gather(section: DataSection, counts: Mapping[str, int], brought: Mapping[str, Brought]) -> dict[str, Columns]:
    """The columns of each part that travel with its examples.

    Args:
        section: names of columns, and files that hold some.
        counts: examples by part.
        brought: by part, what the source says itself.

    Returns:
        Columns by part, the same in each: those that `section.metadata` names, or all where it names none.

    Raises:
        DataError: columns that do not line up with the examples, are in one part only, in two places or nowhere; a
            file that is missing or cannot be read.
    """
    paths = {"train": section.metadata_file}
    paths |= {"validation": section.metadata_validation_file, "test": section.metadata_test_file}
    for part, path in paths.items():
        if path and part not in counts:
            raise DataError(
                f"data.{_key(part)}: got {str(path)!r}, but the source has no {part} part of its own; leave it out: "
                "columns go along when the train part is split"
            )
    parts, known = {}, []
    for part, count in counts.items():
        own = brought.get(part, Brought())
        header, cells = _read(paths[part], section.metadata, part, count, own.files)
        twice = next((name for name in cells if name in own.columns), None)
        if twice is not None:
            raise DataError(f"metadata column {twice!r} is in {paths[part]} and in the {part} part of the data itself")
        parts[part] = {**own.columns, **cells}
        known += [*own.known, *own.columns, *header]
    names = list(dict.fromkeys(section.metadata or [name for columns in parts.values() for name in columns]))
    for name in names:
        _check_name(name, parts, paths, list(dict.fromkeys(known)))
    by_name = {name: typed(name, {part: columns[name] for part, columns in parts.items()}, counts) for name in names}
    return {part: {name: by_name[name][part] for name in names} for part in parts}


def rows(columns: Columns, ordinals: np.ndarray) -> Columns:
    """The columns of the examples at `ordinals`, in that order."""
    return {name: values[ordinals] for name, values in columns.items()}


def _key(part: str) -> str:
    return "metadata_file" if part == "train" else f"metadata_{part}_file"


def _read(
    path: Path | None, wanted: Sequence[str], part: str, count: int, files: Sequence[str]
) -> tuple[list[str], dict[str, Cells]]:
    """Header and columns of a file, in the order of the examples."""
    if path is None:
        return [], {}
    header, columns = read_columns(path, (*wanted, FILE) if wanted and files else wanted)
    lines = len(next(iter(columns.values()), ()))
    if files and FILE in columns:
        order = _by_file(path, part, columns[FILE], files)
        columns = {name: Cells([cells[i] for i in order]) for name, cells in columns.items()}
        if FILE not in wanted:
            del columns[FILE]
    elif columns and lines != count:
        raise DataError(f"{path}: {lines} lines below the header, but the {part} part has {count} examples")
    return header, columns


def _by_file(path: Path, part: str, cells: Cells, files: Sequence[str]) -> list[int]:
    """For each file of the source its line in the table."""
    places: dict[str, int] = {}
    for index, cell in enumerate(cells):
        name = PurePosixPath(cell.strip().replace("\\", "/")).as_posix()
        if name in places:
            raise DataError(f"{path}: {name!r} stands twice in column {FILE!r}; expected one line an example")
        places[name] = index
    here = set(files)
    for name in places:
        if name not in here:
            raise DataError(f"{path}: {name!r} is not a file of the {part} part{nearest(name, files[:10_000])}")
    for name in files:
        if name not in places:
            raise DataError(f"{path}: no line for the file {name!r} of the {part} part; expected one line an example")
    return [places[name] for name in files]


def _check_name(
    name: Any, parts: Mapping[str, Mapping[str, Any]], paths: Mapping[str, Path | None], known: Sequence[str]
) -> None:
    """Raise DataError unless a name is text, and that of a column in every part."""
    if not isinstance(name, str) or not name:
        raise DataError(f"a metadata column is named {name!r}; expected text")
    here = [part for part, columns in parts.items() if name in columns]
    if not here:
        if not known:
            raise DataError(
                f"data.metadata: no column {name!r}; the source has none, name a file in data.metadata_file"
            )
        shown = f"{', '.join(known[:20])}{', …' if len(known) > 20 else ''}"
        raise DataError(f"data.metadata: no column {name!r}; there are {shown}{nearest(name, known)}")
    missing = next((part for part in parts if part not in here), None)
    if missing is not None:
        hint = f"; name its file in data.{_key(missing)}" if paths[here[0]] and not paths[missing] else ""
        raise DataError(f"metadata column {name!r} is in the {here[0]} part, but not in the {missing} part{hint}")

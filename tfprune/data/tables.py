"""CSV files as text: whole, or some of their columns."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfprune.errors import DataError, nearest


class Cells(list[str]):
    """Values of one column as the file holds them: what they are is seen when all are known."""


@dataclass(frozen=True)
class Table:
    """A CSV file: its header, its rows, and the line of the file where each row ends."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return one column, top to bottom.

        Raises:
            DataError: no such column; names the nearest one.
        """
        if name not in self.header:
            shown = ", ".join(self.header[:20])
            raise DataError(f"{self.path}: no column {name!r}; the header has {shown}{nearest(name, self.header)}")
        index = self.header.index(name)
        return [row[index] for row in self.rows]


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a whole CSV file, UTF-8; its first line is the header unless `columns` are given.

    Raises:
        DataError: the file is missing, empty or not CSV; says in which line.
    """
    found = _rows(path, columns)
    header, _ = next(found)
    rows, lines = [], []
    for row, line in found:
        rows.append(row)
        lines.append(line)
    return Table(path, header, rows, lines)


def read_columns(path: Path, wanted: Collection[str]) -> tuple[list[str], dict[str, Cells]]:
    """Read some columns of a CSV file, UTF-8, whose first line is the header; the others are not kept.

    Args:
        path: of the file.
        wanted: names of columns; those that the file lacks are left out. Where there is none, all that have a name.

    Returns:
        The header, and the columns by name in its order.

    Raises:
        DataError: as for `read_table`, or a name stands twice in the header.
    """
    found = _rows(path, None)
    header, _ = next(found)
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: the header has {twice!r} twice; a column needs a name of its own")
    places = {name: index for index, name in enumerate(header) if name and (not wanted or name in wanted)}
    columns = {name: Cells() for name in places}
    once: dict[str, str] = {}  # most values come again, and need not lie in memory as often
    for row, _ in found:
        for name, index in places.items():
            columns[name].append(once.setdefault(row[index], row[index]))
    return header, columns


def _rows(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[list[str], int]]:
    """The header and then each row, with the line of the file where it ends; empty lines are none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    is_empty = True
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = list(columns) if columns else next(reader, [])
            yield header, 0
            for row in reader:
                if row and len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} values, but there are {len(header)} columns"
                    )
                if row:
                    is_empty = False
                    yield row, reader.line_num
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if is_empty:
        raise DataError(f"{path}: no rows; expected at least one example")

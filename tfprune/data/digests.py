"""Digests over content, so that a run notices when its data has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tfprune.errors import DataError


def digest_arrays(parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Hex digest over names, dtypes, shapes and values of each part's (x, y)."""
    total = hashlib.sha256()
    for name, arrays in sorted(parts.items()):
        for array in arrays:
            total.update(f"{name} {array.dtype.str} {array.shape};".encode())
            total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()


def with_columns(digest: str, parts: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """The digest of data and of each part's metadata; that of the data where there is no metadata."""
    total = hashlib.sha256(digest.encode())
    columns = [(part, name, values) for part, each in sorted(parts.items()) for name, values in sorted(each.items())]
    for part, name, values in columns:
        kind = values.dtype.kind
        total.update(json.dumps([part, name, kind, len(values)]).encode())
        total.update(json.dumps(values.tolist()).encode() if kind == "O" else np.ascontiguousarray(values).tobytes())
    return total.hexdigest() if columns else digest


def digest_files(files: Iterable[Path], *, relative_to: Path | None = None) -> str:
    """Hex digest over the bytes of files in their order, and over their names where these carry meaning.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror}") from error
        name = file.relative_to(relative_to).as_posix() if relative_to else ""
        total.update(f"{name} {content};".encode())
    return total.hexdigest()

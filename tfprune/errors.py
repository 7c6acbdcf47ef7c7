"""What can go wrong, as one tree.

    TfpruneError                exit code 2: one line for the user, never a traceback
    ├── RecipeError             a key, a value or a combination in a recipe
    ├── DataError               a data source, its content, or its fit to the model
    ├── ModelError              a model source or a model that cannot be handled
    ├── ScheduleError           parameters of a sparsity schedule
    ├── ImportanceError         a score of weights: its name, its data, what it gives
    ├── SelectionError          which weights fall: scope, pattern, floor, ceiling
    ├── SurgeryError            structured pruning: nothing to remove, a budget out of reach, a plan that does not fit
    ├── SliceError              a slice that cannot be built or has no example
    ├── DistillationError       a teacher that cannot teach: its outputs, a layer that is not there, a temperature
    ├── TrainingError           training that cannot go on (the loss became NaN)
    ├── ExportError             an export that cannot be: its format, its options, its calibration set
    │   └── ToleranceError      a file that answers too differently, or is over its budget; exit code 1
    ├── TrackingError           the tracking store or its names
    ├── StorageError            the disk: full, read-only, missing
    ├── DependencyError         an optional package that is not installed
    └── Interrupted             Ctrl-C; exit code 130, state is kept

What is done all the same, but should be known, is a `TfpruneWarning`.

Every message says what was given, what was expected and what to do, in one line.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class TfpruneError(Exception):
    """Base of every error that tfprune raises on purpose."""

    exit_code = 2


class RecipeError(TfpruneError):
    """A recipe that cannot be read or run as it stands."""


class DataError(TfpruneError):
    """Data that cannot be read or does not fit the model."""


class ModelError(TfpruneError):
    """A model that cannot be loaded, built or pruned."""


class ScheduleError(TfpruneError):
    """A sparsity schedule with impossible parameters."""


class ImportanceError(TfpruneError):
    """A score of weights that is unknown, has no data, or gives no usable numbers."""


class SelectionError(TfpruneError):
    """A choice of weights to prune that cannot be: its scope, pattern or limits."""


class SurgeryError(TfpruneError):
    """Structured pruning that cannot be: nothing to remove, a budget out of reach, a plan of another model."""


class SliceError(TfpruneError):
    """A slice that cannot be built from this data."""


class DistillationError(TfpruneError):
    """A teacher and a student that do not go together, or a distillation that cannot be."""


class TrainingError(TfpruneError):
    """Training that cannot go on."""


class ExportError(TfpruneError):
    """An export that cannot be done as it was asked for."""


class ToleranceError(ExportError):
    """An exported file that does not keep what was promised of it, so that there is none; the message has the figures.

    Attributes:
        report: the `ExportReport` of the file that is not there.
    """

    exit_code = 1

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class TrackingError(TfpruneError):
    """A tracking store that refuses or does not answer."""


class StorageError(TfpruneError):
    """A file that cannot be written."""


class DependencyError(TfpruneError):
    """An optional package that is missing; the message holds the pip command."""


class Interrupted(TfpruneError):
    """The user asked to stop; what was finished is kept."""

    exit_code = 130


class TfpruneWarning(UserWarning):
    """Something that is done all the same, but that the user should know."""


def warn(text: str) -> None:
    """Warn whoever called tfprune, at the line where they did."""
    package, level, frame = str(Path(__file__).parent), 1, sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(text, TfpruneWarning, stacklevel=level)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""

"""Slices, tracking and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tfprune.recipe.base import PositiveShare, Section


class Rarest(Section):
    """The classes with the fewest training examples: a share of all classes."""

    rarest: PositiveShare


class Hardest(Section):
    """The share of examples that the dense model answers with the smallest margin."""

    hardest: PositiveShare


SliceSpec = Literal["classes"] | Rarest | Hardest


class TrackSection(Section):
    """Where rounds are recorded.

    Attributes:
        uri: an MLflow tracking URI; by default MLFLOW_TRACKING_URI, or SQLite in ``mlruns/``.
        experiment: name of the MLflow experiment.
        models: log the model of each round that passed.
    """

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "tfprune"
    models: bool = True


class ExportSection(Section):
    """Where the best round's plain Keras model is written, if any passed: .keras, .h5, or a SavedModel folder."""

    path: Path

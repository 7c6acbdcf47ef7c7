"""Tracking."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from tfprune.recipe.base import Section

RegistryName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/:]+$")]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class TrackSection(Section):
    """Where rounds are recorded.

    Attributes:
        uri: an MLflow tracking URI; by default MLFLOW_TRACKING_URI, or SQLite in ``mlruns/``.
        experiment: name of the MLflow experiment.
        models: log the model of each round that passed.
        register_as: name of a model in MLflow's registry; the best round becomes its latest version where the target is
            met within the gates, and nothing does where they fail.
        alias: that this version bears then.
    """

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "tfprune"
    models: bool = True
    register_as: RegistryName | None = None
    alias: Alias = "champion"

    @model_validator(mode="after")
    def _can_register(self) -> Self:
        if self.register_as is not None and not self.models:
            raise ValueError("register_as needs the models on record, but models is false; leave one of them out")
        if self.alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", self.alias):
            raise ValueError(f"alias: MLflow keeps {self.alias!r} for itself; take another, e.g. champion")
        return self

"""Recipes: a workflow written down as YAML, typed and checked before anything starts.

A recipe is found by path, or by name among those that ship with tfprune (``schedules/`` in a clone,
``tfprune/schedules/`` in a wheel). Relative paths inside a recipe start at the working directory.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfprune.errors import RecipeError, nearest
from tfprune.importing import refuse_code
from tfprune.recipe.base import Section, shown
from tfprune.recipe.data import (
    DATA_SOURCES,
    AnyData,
    CsvData,
    DataSection,
    DigitsData,
    FunctionData,
    ImagesData,
    KerasData,
    NpzData,
    TfdsData,
    TFRecordData,
)
from tfprune.recipe.explain import explain
from tfprune.recipe.export import ExportSection
from tfprune.recipe.functions import named_functions
from tfprune.recipe.masking import Importance, PruneSection, ScheduleSection, Scope, TargetSection
from tfprune.recipe.model import ModelSection
from tfprune.recipe.reading import NOT_YAML, override, read_yaml
from tfprune.recipe.search import OracleName, SearchSection, WeightedObjective
from tfprune.recipe.slices import (
    AllOf,
    AnyOf,
    Column,
    Corrupted,
    Discover,
    Exemplars,
    Hardest,
    Label,
    ModelFiles,
    NoneOf,
    Rarest,
    RarestCount,
    SliceSection,
    SliceSpec,
    Where,
)
from tfprune.recipe.structured import StructuredSection, StructuredTarget, UnitImportance, UnitKind, UnitScope
from tfprune.recipe.track import TrackSection
from tfprune.recipe.training import DistillSection, FinetuneSection, StopSection, TrainSection
from tfprune.recipe.whole import Recipe

__all__ = [
    "DATA_SOURCES",
    "AllOf",
    "AnyData",
    "AnyOf",
    "Column",
    "Corrupted",
    "CsvData",
    "DataSection",
    "DigitsData",
    "Discover",
    "DistillSection",
    "Exemplars",
    "ExportSection",
    "FinetuneSection",
    "FunctionData",
    "Hardest",
    "ImagesData",
    "Importance",
    "KerasData",
    "Label",
    "ModelFiles",
    "ModelSection",
    "NoneOf",
    "NpzData",
    "OracleName",
    "PruneSection",
    "Rarest",
    "RarestCount",
    "Recipe",
    "ScheduleSection",
    "Scope",
    "SearchSection",
    "Section",
    "SliceSection",
    "SliceSpec",
    "StopSection",
    "StructuredSection",
    "StructuredTarget",
    "TFRecordData",
    "TargetSection",
    "TfdsData",
    "TrackSection",
    "TrainSection",
    "UnitImportance",
    "UnitKind",
    "UnitScope",
    "WeightedObjective",
    "Where",
    "find",
    "load",
    "names",
    "parse",
    "recipe_folder",
]


def recipe_folder() -> Path:
    """The folder of the recipes that ship with tfprune."""
    package = Path(__file__).parent.parent
    inside_wheel = package / "schedules"
    return inside_wheel if inside_wheel.is_dir() else package.parent / "schedules"


def names() -> list[str]:
    """Names of the recipes that ship with tfprune, sorted."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def find(recipe: str | Path) -> Path:
    """Return the file of a recipe given by path or by the name of a shipped one.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(recipe)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise RecipeError(f"recipe {shown(str(recipe))}: cannot be read: {error.strerror}") from error
    if str(recipe) in names():
        return recipe_folder() / f"{recipe}.yaml"
    raise RecipeError(
        f"recipe {str(recipe)!r}: no such file, and not one of the shipped recipes {', '.join(names())}"
        f"{nearest(str(recipe), names())}"
    )


def load(recipe: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        recipe: a path, or the name of a shipped recipe.
        overrides: ``path.to.key=value`` strings; the value is read as YAML.

    Returns:
        The typed recipe.

    Raises:
        RecipeError: one line with the place, the value, what is allowed and the nearest known name.

    Example:
        >>> from tfprune.recipe import load
        >>> load("digits", ["prune.target.sparsity=0.8"]).prune.target.sparsity
        0.8
    """
    path = find(recipe)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        got = "an empty file" if content is None else type(content).__name__
        raise RecipeError(f"{path}: expected a mapping of sections, but got {got}")
    content.setdefault("name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-") or "recipe")
    for each in overrides:
        override(content, each)
    return parse(content, where=" ".join([str(path), *(f"--set {each}" for each in overrides)]))


def parse(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a recipe that is a mapping already; `where` opens the error line.

    Raises:
        RecipeError: as for `load`.
    """
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        line = f"{where}: {explain(error, content)}"
        raise RecipeError(" ".join(line.splitlines())) from error
    for place, function in named_functions(recipe):
        refuse_code(f"{where}: {place} {function}", RecipeError)  # now, and not after a training
    return recipe

"""What a workflow was asked for and where it ran, as flat names and values."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from tfprune.recipe import Recipe
from tfprune.tracking.metrics import safe_name, unlike

_PACKAGES = ("tfprune", "tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy", "mlflow")


def recipe_params(recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe, and what else is known of a workflow, as parameters."""
    return safe_params({**flatten(_by_place(recipe.model_dump(mode="json", exclude_none=True))), **about})


def safe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters under names that MLflow takes: patterns of layers and names of slices are parts of some."""
    safe: dict[str, Any] = {}
    for key, value in params.items():
        safe[unlike(safe, safe_name(key))] = value
    return safe


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys."""
    if not isinstance(content, dict):
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def environment() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _by_place(content: dict[str, Any]) -> dict[str, Any]:
    """Several sections of `prune` by their place, so that each of their values is a parameter of its own."""
    prune = content["prune"]
    return {**content, "prune": dict(enumerate(prune))} if isinstance(prune, list) else content

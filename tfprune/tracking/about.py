"""What stands in a parent run from its beginning: the recipe, the data, and what it all ran on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfprune.recipe import Recipe
from tfprune.tracking.params import environment, recipe_params
from tfprune.tracking.store import Store


def log_about(store: Store, run_id: str, recipe: Recipe, about: Mapping[str, Any]) -> None:
    """Log a recipe into a run, once.

    Args:
        store: where the run is.
        run_id: of the parent.
        recipe: logged as parameters and as a file.
        about: further parameters, ``data.digest`` among them.
    """
    store.log_new_params(run_id, recipe_params(recipe, about))
    source = recipe.data.model_dump_json(exclude_none=True) if recipe.data else "{}"
    name = recipe.data.source if recipe.data else "given arrays"
    store.log_dataset(run_id, name, str(about.get("data.digest", "unknown"))[:16], source)
    store.log_files(run_id, {"recipe.yaml": recipe.to_yaml(), "environment.json": json.dumps(environment(), indent=2)})

"""What a search refuses before anything is trained."""

from __future__ import annotations

from pathlib import Path

from tfprune.backend import keras
from tfprune.errors import RecipeError, warn
from tfprune.recipe import PruneSection, Recipe, StructuredSection
from tfprune.rounds.goal import check_goal, final_sparsity, selection_of
from tfprune.rounds.rebuilt import check_structured
from tfprune.rounds.teaching import check_teaching
from tfprune.slices.exam import Examination
from tfprune.tracking.store import tracking_uri
from tfprune.tuning.masks import check_reachable
from tfprune.tuning.objective import no_judged_slice

_LOCAL = ("auto", "local", "localhost", "127.0.0.1", "[::1]", "ray://localhost", "ray://127.0.0.1")
_STALE = 0.1


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that has nothing to search, or whose trials cannot be what its rounds are.

    Raises:
        RecipeError: several sections, an N:M pattern, rewinding, or rungs without epochs.
    """
    if isinstance(recipe.prune, tuple):
        raise RecipeError(
            f"{recipe.name}: prune has {len(recipe.prune)} sections, and a search has one budget; leave one of them"
        )
    if recipe.search.oracle == "hyperband" and not recipe.finetune_epochs:
        raise RecipeError(
            f"{recipe.name}: hyperband shares out epochs of fine-tuning, but finetune.epochs is 0; take another oracle"
        )
    if isinstance(recipe.prune, StructuredSection):
        if "blocks" in recipe.prune.units:
            raise RecipeError(
                f"{recipe.name}: a branch falls whole, so a search has no share to set for prune.units blocks; leave "
                "them out"
            )
        return
    if recipe.prune.pattern_sparsity is not None:
        raise RecipeError(
            f"{recipe.name}: pattern {recipe.prune.pattern} gives every layer the same sparsity, so there is "
            "nothing to search; leave prune.pattern out"
        )
    if recipe.prune.rewind_to_epoch is not None:
        raise RecipeError(
            f"{recipe.name}: trials fine-tune the dense model and rewind nothing; leave prune.rewind_to_epoch out"
        )


def check_model(recipe: Recipe, dense: keras.Model, validation: Examination, train_examples: int) -> None:
    """Hold a recipe against a model that need not be trained yet, and against the slices that it is judged by.

    Raises:
        TfpruneError: a budget out of reach, layers or scores that cannot be, no slice to judge by.
    """
    if isinstance(recipe.prune, PruneSection):
        selection = selection_of(recipe)
        check_goal(recipe, dense, selection)
        check_reachable(dense, final_sparsity(recipe), recipe.masking.layers, selection)
    else:
        check_structured(recipe, dense)
    check_teaching(recipe, dense)
    if "worst_slice" in recipe.search.weights:
        least = recipe.stop.min_slice_size
        if not any(support is None or support >= least for support in validation.check().values()):
            raise no_judged_slice(least)
    _warn_of_stale_statistics(recipe, dense, train_examples)


def check_output(output: Path | None) -> None:
    """Refuse a place that no recipe can be written to.

    Raises:
        RecipeError: a folder or a file is in the way.
    """
    if output is None:
        return
    if output.is_dir():
        raise RecipeError(f"--output {output}: a folder is in the way of the recipe; name a file, e.g. found.yaml")
    file = next((each for each in output.parents if each.is_file()), None)
    if file is not None:
        raise RecipeError(f"--output {output}: {file} is a file, not a folder; name another place")


def check_reach(engine: str, address: str | None, recipe: Recipe) -> None:
    """Refuse a record on this machine alone where workers are elsewhere.

    Raises:
        RecipeError: workers of a cluster cannot write to a file here.
    """
    uri = tracking_uri(recipe.track)
    if engine != "ray" or address is None or not uri.startswith("sqlite:"):
        return
    host = address.rsplit(":", 1)[0] if ":" in address.removeprefix("ray://") else address
    if host not in _LOCAL:
        raise RecipeError(
            f"workers of the cluster at {address} cannot write to {uri}; name a tracking server that all of them reach "
            "with --set track.uri=http://HOST:PORT or MLFLOW_TRACKING_URI"
        )


def _warn_of_stale_statistics(recipe: Recipe, dense: keras.Model, train_examples: int) -> None:
    """Of fine-tuning too short for batch normalization, which a round leaves with the dense model's averages."""
    steps = recipe.finetune_epochs * -(-train_examples // recipe.train.batch_size)
    kinds = keras.layers.BatchNormalization
    momenta = [layer.momentum for layer in dense._flatten_layers() if isinstance(layer, kinds) and layer.trainable]
    stale = max(momenta, default=0.0) ** steps
    if stale > _STALE:
        warn(
            f"finetune.epochs: after {steps} steps the averages of batch normalization are still {stale:.0%} those of "
            "the dense model, and finals as well as rounds of tfprune run are evaluated with them; fine-tune longer, "
            "or lower the momentum of these layers"
        )

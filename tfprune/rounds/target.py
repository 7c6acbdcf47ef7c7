"""Where a phase ends: its target as a share to be gone, and in words."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.errors import RecipeError
from tfprune.recipe import PruneSection, Recipe

_WHOLE = ("params", "macs")
_NOUNS = {
    "ratio": ("units", ""),
    "params": ("parameters", "at most {} parameters"),
    "macs": ("MACs", "at most {} MACs"),
    "size_mb": ("size", "at most {} MB of weights"),
    "latency_ms": ("latency", "at most {} ms"),
}


@dataclass(frozen=True)
class Goal:
    """Where a phase ends.

    Attributes:
        final: share to be gone of what its target counts, since the phase began; for masks, the sparsity.
        noun: what that is counted in.
        said: the target, fit to follow "the target of".
        bound: the same as an amount that may be left; 0 where it is a share of weights or of units.
        slack: by how much a share may be missed, because weights and units fall whole.
        grain: a share too small for a step, because no unit is that small wherever the phase may be.
    """

    final: float
    noun: str
    said: str
    bound: float = 0.0
    slack: float = 0.0
    grain: float = 0.0


def goal_of(recipe: Recipe) -> Goal:
    """Where a phase ends, as far as its recipe says so without a look at the model.

    Raises:
        RecipeError: the target is an amount, and a share only of a model.
    """
    if isinstance(recipe.prune, PruneSection):
        final = recipe.prune.target.sparsity
        return Goal(final, "weights", f"{final:.0%} sparsity")
    target = recipe.structured.target
    noun, said = _NOUNS[target.counted]
    if not target.is_share:
        raise RecipeError(
            f"{recipe.name}: prune.target.{target.counted} {target.value:g} is an amount, so how much each round "
            "removes hangs on the model; give a share, e.g. --set 'prune.target={ratio: 0.5}'"
        )
    if target.counted == "ratio":
        return Goal(target.value, noun, f"{target.value:.1%} of the units removed")
    return Goal(1 - target.value, noun, said.format(f"{target.value:.0%} of the dense model's"))


def goal_within(recipe: Recipe, amount: float, dense: float) -> Goal:
    """Where a structured phase ends, in a model that is known.

    Args:
        recipe: of the phase.
        amount: what its target counts, in the model that the phase starts from; 1 where that is units.
        dense: the same in the dense model.
    """
    target = recipe.structured.target
    if target.counted == "ratio":
        return goal_of(recipe)
    noun, said = _NOUNS[target.counted]
    bound = target.value * dense if target.is_share else target.value
    return Goal(1 - bound / amount, noun, said.format(f"{bound:,.{0 if target.counted in _WHOLE else 2}f}"), bound)

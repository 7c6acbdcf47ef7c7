"""Allocations of widths: a share for every coupling, all of them within the same budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.errors import SelectionError
from tfprune.recipe import Recipe
from tfprune.results import Sensitivity
from tfprune.rounds.rebuilt import choices_of
from tfprune.structure.ignore import UnitMask
from tfprune.structure.inspect import shares_of
from tfprune.structure.shrink import plan
from tfprune.tuning.knobs import even_losses, least_densities
from tfprune.tuning.projection import Layer, project
from tfprune.tuning.space import Allocation, Space

_LEAST = 1e-6


class WidthSpace(Space):
    """Shares of units by coupling.

    Args:
        recipe: its `prune` says the budget and how units are scored.
        dense: plain.
        units: of it.
        data: that scores look at.
        sensitivity: of its couplings.

    Raises:
        SurgeryError: the budget is out of reach; the line says what is the least.
        SelectionError: the budget is less than a unit.
    """

    def __init__(
        self, recipe: Recipe, dense: keras.Model, units: UnitMask, data: Any, sensitivity: Sensitivity
    ) -> None:
        super().__init__(sensitivity, recipe.search.knobs)
        self._dense, self._sizes = dense, units.sizes
        self._choices = {**choices_of(recipe), "data": data, **budget_of(recipe, dense)}
        self._layers = [Layer(name, (size,)) for name, size in self._sizes.items()]
        uniform = self._planned("layer")
        self.add_start("uniform", uniform)
        self.add_start("global", self._planned("global"))
        if isinstance(recipe.structured.scope, dict):
            self.add_start("recipe", self._planned(recipe.structured.scope))
        if not any(share for start in self.starts.values() for share in start.ratios.values()):
            said = recipe.structured.target.said
            raise SelectionError(f"prune.target {said}: no coupling loses a whole unit by it; ask for more")
        pruned = round(sum(uniform.ratios[name] * size for name, size in self._sizes.items()))
        self._kept = max(sum(self._sizes.values()) - pruned, sum(each.floor for each in self._layers))
        even = even_losses(sensitivity, self._sizes, pruned)
        self.add_start("sensitivity", self.on_budget({name: max(1e-6, 1 - share) for name, share in even.items()}))
        shares = {name: each.ratios for name, each in self.starts.items()}
        least = least_densities(shares, sensitivity)
        self._layers = [replace(each, least=least[each.name]) for each in self._layers]

    @property
    def groups(self) -> list[tuple[str, ...]]:
        return [(name,) for name in self._sizes]

    def on_budget(self, densities: Mapping[str, float]) -> Allocation:
        shares = project(self._layers, densities, self._kept)
        # Shares of units meet no count of weights or of milliseconds; along their proportions the plan finds it. What
        # is to keep all comes last, but it comes: the others may not hold enough.
        return self._planned({name: min(max(share, _LEAST), 0.999) for name, share in shares.items()})

    def _planned(self, scope: Any) -> Allocation:
        found = plan(self._dense, **{**self._choices, "scope": scope})
        gone = shares_of(found)
        return Allocation({name: gone.get(name, 0.0) for name in self._sizes}, found)


def budget_of(recipe: Recipe, dense: keras.Model) -> dict[str, Any]:
    """What may be left, as `tfprune.plan` takes it."""
    target = recipe.structured.target
    if target.counted not in ("params", "macs"):
        return {target.counted: target.value}
    cost = measure(dense, gzipped=False)
    whole = cost.parameters if target.counted == "params" else cost.macs
    return {target.counted: int(target.value * whole) if target.is_share else int(target.value)}

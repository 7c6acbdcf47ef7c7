"""Allocations of zeros: a sparsity for every layer, all of them with the same number of weights left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfprune.backend import keras
from tfprune.masking.budget import layer_sparsities
from tfprune.masking.masked import masked_layers
from tfprune.masking.pruner import pruner_of
from tfprune.masking.schedule import ConstantSparsity
from tfprune.masking.selection import Selection
from tfprune.masking.wrap import check_prunable, retarget
from tfprune.models.prunable import prunable_weights
from tfprune.recipe import Recipe
from tfprune.results import Sensitivity
from tfprune.rounds.goal import final_sparsity, selection_of
from tfprune.rounds.state import State
from tfprune.structure.inspect import coupled_layers
from tfprune.tuning.knobs import even_losses, least_densities
from tfprune.tuning.projection import Layer, out_of_reach, project
from tfprune.tuning.space import Allocation, Space


class MaskSpace(Space):
    """Sparsities by layer.

    Args:
        recipe: its `prune` says the sparsity and how weights are scored.
        dense: plain.
        wrapped: the same model with masks on, as it came; left as it is.
        sensitivity: of its layers.

    Raises:
        SelectionError: no allocation meets the sparsity; the line has the least by layer.
    """

    def __init__(self, recipe: Recipe, dense: keras.Model, wrapped: keras.Model, sensitivity: Sensitivity) -> None:
        super().__init__(sensitivity, recipe.search.knobs)
        sizes = sizes_of(wrapped)
        total = sum(map(sum, sizes.values()))
        self._kept = total - round(final_sparsity(recipe) * total)
        zeros = {name: round(share * sum(sizes[name])) for name, share in sparsities_of(wrapped).items()}
        self._layers = [Layer(name, tensors, zeros=zeros[name]) for name, tensors in sizes.items()]
        for name, common in _starts(recipe, wrapped).items():
            self.add_start(name, self.on_budget(_densities(common)))
        counts = {name: sum(tensors) for name, tensors in sizes.items()}
        even = self.on_budget(_densities(even_losses(sensitivity, counts, total - self._kept)))
        self.add_start("sensitivity", even)
        shares = {name: each.ratios for name, each in self.starts.items()}
        least = least_densities(shares, sensitivity)
        self._layers = [replace(each, least=least[each.name]) for each in self._layers]
        coupled = coupled_layers(dense, recipe.masking.layers)
        self._groups = [kept for group in coupled if (kept := tuple(name for name in group if name in sizes))]

    @property
    def groups(self) -> list[tuple[str, ...]]:
        return self._groups

    def on_budget(self, densities: Mapping[str, float]) -> Allocation:
        return Allocation(project(self._layers, densities, self._kept))


def check_reachable(dense: keras.Model, sparsity: float, layers: Sequence[str] | None, selection: Selection) -> None:
    """Refuse a sparsity that leaves some tensor without a weight, before anything is trained.

    Raises:
        SelectionError: the line has the least by layer.
    """
    tensors = {
        each.name: tuple(weight.shape.num_elements() for weight in prunable_weights(each, layers is not None)[0])
        for each in check_prunable(dense, layers, selection)
    }
    found = [Layer(name, sizes) for name, sizes in tensors.items()]
    total = sum(each.size for each in found)
    kept = total - round(sparsity * total)
    if kept < sum(each.floor for each in found):
        raise out_of_reach(found, kept)


def sizes_of(wrapped: keras.Model) -> dict[str, tuple[int, ...]]:
    """Sizes of the prunable tensors of each layer of a wrapped model, in its order."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in masked_layers(wrapped):
        tensors = tuple(mask.shape.num_elements() for _, mask, _ in layer.pruning_vars)
        found[layer.layer.name] = found.get(layer.layer.name, ()) + tensors
    return found


def sparsities_of(wrapped: keras.Model) -> dict[str, float]:
    """Share of zeros that the masks of each layer hold."""
    zeros: dict[str, float] = {}
    for layer in masked_layers(wrapped):
        for _, mask, _ in layer.pruning_vars:
            zeros[layer.layer.name] = zeros.get(layer.layer.name, 0.0) + float((mask.numpy() == 0).sum())
    return {name: zeros[name] / sum(tensors) for name, tensors in sizes_of(wrapped).items()}


def _starts(recipe: Recipe, wrapped: keras.Model) -> dict[str, dict[str, float]]:
    """What is commonly done: by layer, the share of zeros."""
    sparsity, sizes = final_sparsity(recipe), sizes_of(wrapped)
    tensors = [
        (layer.layer.name, tuple(mask.shape)) for layer in masked_layers(wrapped) for _, mask, _ in layer.pruning_vars
    ]
    zeros = dict.fromkeys(sizes, 0.0)
    for (name, shape), share in zip(tensors, layer_sparsities("erk", tensors, sparsity, 1.0), strict=True):
        zeros[name] += share * math.prod(shape)
    found = {
        "uniform": dict.fromkeys(sizes, sparsity),
        "erk": {name: zeros[name] / sum(sizes[name]) for name in sizes},
        "lamp": _ranked(wrapped, sparsity, scope="global", importance="lamp"),
        "global": _ranked(wrapped, sparsity, scope="global", importance="magnitude"),
    }
    own = selection_of(recipe)
    if own.scope != "layer" and (own.scope, own.importance) not in (("global", "magnitude"), ("global", "lamp")):
        mine: dict[str, Any] = {name: getattr(own, name) for name in ("scope", "importance", "floor", "ceiling")}
        found["recipe"] = _ranked(wrapped, sparsity, **mine, normalize=own.normalize)
    return found


def _ranked(wrapped: keras.Model, sparsity: float, **selection: Any) -> dict[str, float]:
    """The share of zeros by layer where scores of the whole model are ranked; the model stays as it is."""
    first, fresh = masked_layers(wrapped)[0], State(wrapped)
    schedule, before = first.schedule, first.selection
    plain: dict[str, Any] = {"floor": 0.0, "ceiling": 1.0, "normalize": False, "regrow": 0.0}
    try:
        retarget(wrapped, ConstantSparsity(final_sparsity=sparsity), **{**plain, **selection})
        pruner_of(wrapped).update(sparsity)
        return sparsities_of(wrapped)
    finally:
        retarget(wrapped, schedule, **{name: getattr(before, name) for name in before.__dataclass_fields__})
        fresh.restore()


def _densities(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: max(1e-6, 1 - share) for name, share in shares.items()}

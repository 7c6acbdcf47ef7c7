"""What a model costs without some of its units, told from the axes of its weights without building it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tfprune.cost.count import macs
from tfprune.cost.walk import calls
from tfprune.structure.analysis import Analysis, count
from tfprune.structure.labels import Rows

Cost = Callable[[np.ndarray], float]
"""Cost of what is left, given bool (units + 1,) of what is removed."""


class Costs:
    """Costs as sums over weights, each proportional to the product of its axes.

    Args:
        analysis: of the model.
        per_layer: cost of each layer by name, shared among its kernels by their sizes; None counts parameters.
        in_bytes: count bytes in place of parameters.
    """

    def __init__(
        self, analysis: Analysis, per_layer: dict[str, float] | None = None, *, in_bytes: bool = False
    ) -> None:
        self._terms: list[tuple[str, float, tuple[Rows | None, ...], tuple[int, ...], np.ndarray]] = []
        self._fixed = 0.0
        kernels: dict[str, int] = {}
        for weight, _ in analysis.weights:
            if len(weight.variable.shape) > 1:
                payer = _payer(weight.layer, per_layer or {})
                kernels[payer] = kernels.get(payer, 0) + math.prod(weight.variable.shape)
        known = set()
        blocks = {name: analysis.blocks_of(name) for name in {weight.layer for weight, _ in analysis.weights}}
        for weight, axes in analysis.weights:
            shape = tuple(weight.variable.shape)
            known.add(id(weight.variable))
            if per_layer is None:
                each = float(weight.variable.dtype.size) if in_bytes else 1.0
            elif len(shape) > 1:
                payer = _payer(weight.layer, per_layer)
                each = per_layer.get(payer, 0.0) / kernels[payer]
            else:
                continue
            self._terms.append((weight.layer, each, axes, shape, blocks[weight.layer]))
        if per_layer is None:
            for variable in analysis.model.weights:
                if id(variable) not in known:
                    self._fixed += math.prod(variable.shape) * (variable.dtype.size if in_bytes else 1)
        else:
            self._fixed = sum(value for name, value in per_layer.items() if name not in kernels)
        self._size = analysis.size

    def __call__(self, removed: np.ndarray) -> float:
        """Cost of what is left."""
        return self._fixed + sum(self.by_layer(removed).values())

    def by_layer(self, removed: np.ndarray) -> dict[str, float]:
        """What each layer with weights costs of it."""
        counts: dict[int, int] = {}
        found: dict[str, float] = {}
        for layer, each, axes, shape, blocks in self._terms:
            if removed[blocks].any():
                continue
            left = 1
            for rows, size in zip(axes, shape, strict=True):
                if rows is not None:
                    if id(rows) not in counts:
                        counts[id(rows)] = count(rows, removed)
                    size = counts[id(rows)]
                left *= size
            found[layer] = found.get(layer, 0.0) + each * left
        return found

    def of_units(self) -> np.ndarray:
        """What each unit costs while all others stay: float (units + 1,); 0 for the first, which is none."""
        found = np.zeros(self._size + 1)
        for _, each, axes, shape, blocks in self._terms:
            whole = each * math.prod(shape)
            found[blocks] += whole
            for rows, size in zip(axes, shape, strict=True):
                if rows is not None:
                    for column in rows.T:
                        found += np.bincount(column, minlength=len(found)) * (whole / size)
        found[0] = 0.0
        return found


def _payer(name: str, per_layer: Mapping[str, float]) -> str:
    """The layer that a weight's cost is counted with: its own, or one around it, such as a Bidirectional."""
    outer = name
    while outer and outer not in per_layer:
        outer = outer.rpartition("/")[0]
    return outer or name


def layer_macs(analysis: Analysis) -> dict[str, float]:
    """Multiply-accumulates of each layer for one example, all its calls together, by its name in the analysis."""
    names = {id(each.layer): each.name for each in reversed(analysis.findings.calls)}
    found: dict[str, float] = {}
    for call in calls(analysis.model):
        name = names.get(id(call.layer), call.name)
        found[name] = found.get(name, 0.0) + macs(call)
    return found

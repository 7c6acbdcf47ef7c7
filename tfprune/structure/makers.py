"""Which couplings a weight makes units of, rather than takes them up."""

from __future__ import annotations

import numpy as np

from tfprune.structure.analysis import Analysis
from tfprune.structure.visit import Weight


def makers(analysis: Analysis) -> list[tuple[Weight, tuple[str, ...]]]:
    """Every weight with the names of the couplings that it makes units of."""
    owners = np.zeros(analysis.size + 1, np.int64)
    for place, group in enumerate(analysis.groups, 1):
        owners[group.units] = place
    found = []
    for weight, axes in analysis.weights:
        own = [rows.ravel() for axis, rows in enumerate(axes) if rows is not None and axis not in weight.reads]
        places = np.unique(owners[np.concatenate(own)]) if own else np.zeros(0, np.int64)
        found.append((weight, tuple(analysis.groups[place - 1].name for place in places if place)))
    return found


def made_with(analysis: Analysis) -> dict[str, str]:
    """The first coupling that each layer makes units of, by the layer's name in the analysis."""
    found: dict[str, str] = {}
    for weight, names in makers(analysis):
        for name in names:
            found.setdefault(weight.layer, name)
    return found

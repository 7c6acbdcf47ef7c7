"""What could be removed from a model: its couplings, what hangs on them, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.importance.scores import Score
from tfprune.results import Coupling
from tfprune.structure.analysis import Analysis
from tfprune.structure.costs import Costs, layer_macs
from tfprune.structure.scores import score_units


def couplings(
    model: keras.Model,
    *,
    importance: str | Score = "l2",
    data: Any = None,
    batches: int = 8,
    ignore: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Coupling, ...]:
    """List the couplings of a model in its order, whatever their kind.

    Args:
        model: as for `shrink`, and so is the rest.
        importance: of units.
        data: for scores that need examples.
        batches: how many of it.
        ignore: layers that keep all they make.
        seed: of the random score.

    Returns:
        Couplings; of one whose units the score says nothing of, as ``bn_scale`` where no normalization follows, the
        score is 0.

    Raises:
        ModelError, SurgeryError, ImportanceError: as `shrink`.

    Example:
        >>> first = keras.layers.Dense(4, input_shape=(3,), name="a")
        >>> model = keras.Sequential([first, keras.layers.Dense(2, name="b")])
        >>> (found,) = couplings(model)
        >>> found.name, found.kind, found.size, found.layers, found.parameters, found.macs
        ('a', 'filters', 4, ('a', 'b'), 6, 5)
    """
    analysis = Analysis(model, [ignore] if isinstance(ignore, str) else ignore)
    scores = score_units(analysis, importance, data, batches, seed)
    parameters, work = Costs(analysis).of_units(), Costs(analysis, layer_macs(analysis)).of_units()
    found = []
    for group in analysis.groups:
        mine = np.zeros(analysis.size + 1, bool)
        mine[group.units] = True
        names = [
            weight.layer
            for weight, axes in analysis.weights
            if any(rows is not None and mine[rows].any() for rows in axes)
        ]
        if group.kind == "blocks":
            names = [block.name for block in analysis.blocks.values()]
        own = scores[group.units]
        finite = own[np.isfinite(own)]  # a score that says nothing of some units keeps them, as endlessly important
        found.append(
            Coupling(
                name=group.name,
                kind=group.kind,
                size=len(group.units),
                layers=tuple(dict.fromkeys(names)),
                parameters=round(parameters[group.units].mean()),
                macs=round(work[group.units].mean()),
                score=float(finite.mean()) if finite.size else 0.0,
                exact=group.exact,
            )
        )
    return tuple(found)

"""What could be removed from a model: its couplings, what hangs on them, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import TfpruneError
from tfprune.importance.scores import Score
from tfprune.models.clone import leaves
from tfprune.models.prunable import prunable_weights
from tfprune.results import Coupling, Plan
from tfprune.structure.analysis import Analysis
from tfprune.structure.costs import Costs, layer_macs
from tfprune.structure.makers import makers
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


def shares_of(plan: Plan) -> dict[str, float]:
    """The share of each coupling that a plan removes; branches are not counted.

    Example:
        >>> shares_of(Plan({"conv": (0, 3)}, {"conv": 8}))
        {'conv': 0.25}
    """
    return {name: len(gone) / plan.sizes[name] for name, gone in plan.removed.items() if plan.sizes.get(name)}


def coupled_layers(model: keras.Model, layers: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """Which layers write into the same channels, as the convolutions of one residual stream do.

    Args:
        model: one that `wrap` takes. A layer that nothing is known of stands by itself, and so do all that touch it.
        layers: names or patterns of layers, as for `wrap`; by default all that it would prune.

    Returns:
        Names of layers that have prunable weights, each in one group, in the order of the model; those that make no
        removable coupling are groups of their own. Layers of one name are in one group.

    Example:
        >>> inputs = keras.Input((6,))
        >>> x = keras.layers.Dense(8, name="stem")(inputs)
        >>> y = keras.layers.Dense(8, name="back")(keras.layers.Dense(4, name="wide")(x))
        >>> outputs = keras.layers.Dense(2, name="scores")(keras.layers.Add()([x, y]))
        >>> coupled_layers(keras.Model(inputs, outputs))
        [('stem', 'back'), ('wide',), ('scores',)]
    """
    wanted = ["*"] if layers is None else list(layers)
    made: dict[int, tuple[str, ...]] = {}
    with suppress(TfpruneError):  # a graph that cannot be followed couples nothing
        made = {id(weight.variable): names for weight, names in makers(Analysis(model))}
    found: list[tuple[dict[str, None], set[str]]] = []  # names of layers in their order, and what they make
    for layer in leaves(model):
        weights, _ = prunable_weights(layer, asked=layers is not None)
        if not weights or not any(fnmatchcase(layer.name, each) for each in wanted):
            continue
        names, makes = {layer.name: None}, {each for weight in weights for each in made.get(id(weight), ())}
        together = [group for group in found if group[1] & makes or layer.name in group[0]]
        for group in together:
            names, makes = {**group[0], **names}, makes | group[1]
        found = [group for group in found if group not in together] + [(names, makes)]
    order = {name: place for place, name in enumerate(dict.fromkeys(layer.name for layer in leaves(model)))}
    groups = [tuple(sorted(names, key=order.__getitem__)) for names, _ in found]
    return sorted(groups, key=lambda group: order[group[0]])

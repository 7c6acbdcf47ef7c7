"""What each layer lost, in indices into the original."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.results import LayerSurgery
from tfprune.structure.analysis import Analysis, kept
from tfprune.structure.channels import Channels
from tfprune.structure.rules.convolutions import channel_axis
from tfprune.structure.visit import Visit


def changes(
    analysis: Analysis, removed: np.ndarray, weights: dict[int, tuple[np.ndarray, ...]]
) -> dict[str, LayerSurgery]:
    """The layers that changed, in the order of the model; those of removed branches are left out.

    Args:
        analysis: of the model.
        removed: bool (units + 1,).
        weights: of those that are smaller now, by the id of their variable, the kept indices of each axis.
    """
    found: dict[str, LayerSurgery] = {}
    seen: set[int] = set()
    inexact = _inexact(analysis)
    for call in analysis.findings.calls:
        if id(call.layer) in seen or removed[analysis.blocks_of(call.name)].any():
            continue
        seen.add(id(call.layer))
        if not any(id(weight) in weights for weight in call.layer.weights) and not _rewritten(analysis, call, removed):
            continue
        touched = [rows for x in (*call.inputs, *call.outputs) for rows in x.rows if rows is not None]
        touched += [
            rows
            for each in analysis.findings.weights.values()
            if each.layer == call.name or each.layer.startswith(f"{call.name}/")
            for rows in each.axes
            if rows is not None
        ]
        found[call.name] = LayerSurgery(
            name=call.name,
            kind=type(call.layer).__name__,
            kept_inputs=_channels(analysis, call.layer, call.inputs, removed),
            kept_outputs=_channels(analysis, call.layer, call.outputs, removed),
            kept=tuple(
                weights.get(id(weight), tuple(np.arange(size) for size in weight.shape))
                for weight in call.layer.weights
            ),
            exact=not any((removed & inexact)[analysis.units(rows)].any() for rows in touched),
        )
    return found


def _inexact(analysis: Analysis) -> np.ndarray:
    marks = np.zeros(analysis.size + 1, bool)
    for group in analysis.groups:
        if not group.exact:
            marks[group.units] = True
    return marks


def _rewritten(analysis: Analysis, call: Visit, removed: np.ndarray) -> bool:
    """Whether a layer's config names a width that changes."""
    fields = analysis.findings.config.get(id(call.layer), {})
    flat: list[object] = []
    for spec in fields.values():
        flat += list(spec) if isinstance(spec, list | tuple) else [spec]
    return any(isinstance(rows, np.ndarray) and removed[analysis.units(rows)].any() for rows in flat)


_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.experimental.SyncBatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)


def _channels(analysis: Analysis, layer: Any, tensors: list[Channels], removed: np.ndarray) -> np.ndarray | None:
    """Kept indices of the channel axis of the first tensor: the layer's own, or the last that can lose any."""
    if not tensors or not tensors[0].rank:
        return None
    x, own = tensors[0], _own_axis(layer)
    if own is None or not -x.rank <= own < x.rank:
        axis = next((axis for axis in reversed(range(x.rank)) if x.rows[axis] is not None), x.rank - 1)
    else:
        axis = own % x.rank
    rows, size = x.rows[axis], x.shape[axis]
    if rows is not None:
        return kept(analysis.units(rows), removed)
    return None if size is None else np.arange(size)


def _own_axis(layer: Any) -> int | None:
    """Where a layer was told that channels stand; None where it was not, or of several axes."""
    if isinstance(layer, _NORMALIZATIONS):
        axes = tf.nest.flatten(layer.axis)
        return int(axes[0]) if len(axes) == 1 else None
    if channel_axis(layer) != 1:
        return None
    return -1 - layer.cell.rank if isinstance(layer, keras.layers.RNN) else 1  # behind time, where that is left

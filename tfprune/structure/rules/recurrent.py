"""Recurrent layers: units leave with what they read of each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.structure.channels import Channels, joined
from tfprune.structure.labels import Rows
from tfprune.structure.rules.convolutions import channel_axis
from tfprune.structure.rules.elementwise import activate
from tfprune.structure.visit import Visit, rule

layers = keras.layers
_GATES = {layers.LSTM: 4, layers.GRU: 3, layers.SimpleRNN: 1}


@rule(*_GATES)
def recurrent(layer: Any, visit: Visit) -> Channels | list[Channels]:
    """Kernels are (inputs, gates x units); the gates of a unit leave with it."""
    sequence, *states = _given(visit)
    units = visit.fresh(layer.units)
    return _units(layer, visit, sequence, states, units, _GATES[type(layer)], ())


@rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def convolutional(layer: Any, visit: Visit) -> Channels | list[Channels]:
    """The same with filters for units."""
    axis = channel_axis(layer) if channel_axis(layer) == -1 else 2
    sequence, *states = _given(visit)
    sequence = visit.spatial(sequence, axis)
    around = (None,) * layer.cell.rank
    return _units(layer, visit, sequence, states, visit.fresh(layer.filters), 4, around, axis)


def _given(visit: Visit) -> list[Channels]:
    """The sequence and the states to begin with; a mask is neither."""
    tensors = (visit.argument(0, "inputs", visit.x), visit.kwargs.get("initial_state"))
    return [each for each in tf.nest.flatten(tensors) if isinstance(each, Channels)]


def _units(
    layer: Any,
    visit: Visit,
    sequence: Channels,
    states: list[Channels],
    units: Rows,
    gates: int,
    around: tuple[None, ...],
    axis: int = -1,
) -> Channels | list[Channels]:
    cell, gated = layer.cell, np.tile(units, (gates, 1))
    steps = 0 if layer.time_major else 1
    visit.freeze(sequence.rows[steps], "it works step by step")
    if not hasattr(cell, "recurrent_activation"):
        activations = [cell.activation]
    else:
        activations = [cell.activation, cell.recurrent_activation]
    for function in activations:
        activate(visit, function, Channels.plain((None, len(units))).replaced(-1, units))
    visit.weight(cell.kernel, *around, sequence.rows[axis], gated, reads=(-2,))
    visit.weight(cell.recurrent_kernel, *around, units, gated, reads=(-2,))
    if cell.bias is not None:
        visit.weight(cell.bias, *(None,) * (len(cell.bias.shape) - 1), gated)
    place = axis if axis == -1 else axis - 1
    for state in states:
        visit.unite(units, state.rows[place])
    visit.set(**({"filters": units} if around else {"units": units}))
    # The states have no axis of steps, so channels in front stand one axis further to the front.
    has_steps = layer.return_sequences
    outputs = [visit.output(axis if has_steps or axis == -1 else axis - 1, units)]
    outputs += [visit.output(place, units, index) for index in range(1, len(visit.shapes))]
    return outputs if len(outputs) > 1 else outputs[0]


@rule(layers.Bidirectional)
def bidirectional(layer: Any, visit: Visit) -> Channels | list[Channels]:
    """Both directions see the input, and each has units of its own."""
    forward, backward = layer.forward_layer, layer.backward_layer
    visit.part("layer", forward)
    visit.part("backward_layer", backward)
    sequence, *states = _given(visit)
    own = list(visit.shapes[1 if layer.merge_mode else 2 :])
    half = len(own) // 2
    shape = forward.compute_output_shape(sequence.shape)
    shape = tuple(shape[0] if isinstance(shape, list) else shape)
    sides = []
    for side, given, shapes in (
        (forward, states[: len(states) // 2], own[:half]),
        (backward, states[len(states) // 2 :], own[half:]),
    ):
        sides.append(tf.nest.flatten(visit.inner(side, [sequence, *given], {}, [shape, *shapes])))
    one, other = sides[0][0], sides[1][0]
    axis = next((place for place, rows in enumerate(one.rows) if rows is not None), one.rank - 1)
    rest = [*sides[0][1:], *sides[1][1:]]
    if layer.merge_mode is None:
        return [one, other, *rest]
    if layer.merge_mode == "concat":  # along the last axis, wherever the channels are
        if axis == one.rank - 1:
            sizes = [one.shape[-1] or 0, other.shape[-1] or 0]
            merged = visit.output(-1, joined([one.rows[-1], other.rows[-1]], sizes))
        else:
            merged = visit.output(axis, visit.unite(one.rows[axis], other.rows[axis]))
    else:
        merged = visit.broadcast([one, other])
    return [merged, *rest] if rest else merged

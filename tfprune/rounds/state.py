"""Where a round starts from: weights, masks and optimizer, set in place so that nothing is traced anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.backend import keras, tf
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.schedule import FrozenMasks
from tfprune.masking.wrap import retarget
from tfprune.rounds.checkpoint import optimizer_state


class State:
    """Weights, masks and optimizer of a model that has not trained yet, to start each round from."""

    def __init__(self, model: keras.Model) -> None:
        variables = [*model.weights, *optimizer_state(model)]
        values = [tf.convert_to_tensor(each.numpy()) for each in variables]

        def restore() -> None:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

        self._restore = tf.function(restore).get_concrete_function()  # one call for all of them, trial after trial

    def restore(self) -> None:
        """Set all of the model."""
        self._restore()


def rewind(pruned: keras.Model, early: Sequence[np.ndarray]) -> None:
    """Hold the masks, and set what they leave, biases and statistics included, to its early value.

    Args:
        pruned: a wrapped model; changed in place.
        early: values of all variables of a wrapped model of the same architecture, masks included.
    """
    masks = {id(weight): mask.numpy() for weight, mask in masked_variables(pruned)}
    own = {id(each) for layer in masked_layers(pruned) for each in layer.weights} - {
        id(each) for layer in masked_layers(pruned) for each in layer.layer.weights
    }
    for variable, value in zip(pruned.weights, early, strict=True):
        mask = masks.get(id(variable))
        if id(variable) not in own:
            variable.assign(value if mask is None else np.where(mask == 0, np.float32(0), value))
    retarget(pruned, FrozenMasks())

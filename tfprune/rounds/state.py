"""Where a round starts from: weights, masks and optimizer, set in place so that nothing is traced anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.backend import keras
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.schedule import FrozenMasks
from tfprune.masking.wrap import retarget
from tfprune.rounds.checkpoint import optimizer_state, set_variables


class State:
    """Weights, masks and optimizer of a model that has not trained yet, to start each round from."""

    def __init__(self, model: keras.Model) -> None:
        self._weights = [each.numpy() for each in model.weights]
        self._optimizer = [each.numpy() for each in optimizer_state(model)]

    def restore(self, model: keras.Model) -> None:
        """Set all of a model."""
        set_variables(model.weights, self._weights)
        set_variables(optimizer_state(model), self._optimizer)


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

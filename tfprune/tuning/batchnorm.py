"""Batch statistics of a model that was just pruned.

The moving averages of batch normalization are those of the dense model, and a short fine-tune hardly moves them: at a
momentum of 0.99, a hundred steps leave a third of them as they were. What a trial evaluates would be their error, not
its allocation. Statistics taken anew rank allocations as a long fine-tune does (Li et al. 2020, EagleEye).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf


class BatchStatistics:
    """Sets the moving averages of a model to the averages over some batches; holds what it has traced.

    Args:
        model: built; its layers may be wrapped or nested.
    """

    def __init__(self, model: keras.Model) -> None:
        kinds = keras.layers.BatchNormalization
        layers = {id(layer): layer for layer in model._flatten_layers() if isinstance(layer, kinds)}
        # Frozen ones answer by their averages, and so keep them; at a momentum of 1 training moves none either.
        self._layers = [layer for layer in layers.values() if layer.trainable and layer.momentum < 1]
        self._forward = tf.function(lambda x: model(x, training=True), reduce_retracing=True)

    def renew(self, batches: Iterable[Any]) -> None:
        """Take the averages anew.

        Args:
            batches: of (x, y), as in training.
        """
        if not self._layers:
            return
        averages = [each for layer in self._layers for each in (layer.moving_mean, layer.moving_variance)]
        for each in averages:
            each.assign(tf.zeros_like(each))
        count = 0
        for x, _ in batches:
            self._forward(x)
            count += 1
        # From zero, a moving average has seen a share of 1 - momentum^count.
        for layer in self._layers:
            for each in (layer.moving_mean, layer.moving_variance):
                each.assign(each / np.float32(1 - layer.momentum**count))

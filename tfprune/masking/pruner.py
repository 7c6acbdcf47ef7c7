"""Prunes a wrapped model: score, choose, renew the masks, zero what fell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.batches import Batches
from tfprune.errors import ImportanceError, TrainingError
from tfprune.importance.gradients import Gradients
from tfprune.importance.scores import Importance, importance_of
from tfprune.masking.masked import Masked, masked_layers
from tfprune.masking.masks import Tensor, next_masks
from tfprune.masking.optimizer import memories
from tfprune.masking.schedule import Schedule
from tfprune.masking.selection import Selection


class Pruner:
    """The one who prunes a wrapped model; it lives as long as the model, because it holds what was traced.

    Attributes:
        data: examples for scores that need gradients, the user's own.
        fit_data: those of the fit that is running, where the user gave none.
        goal: schedule and selection of the latest update, or as the model came.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.layers = masked_layers(model)
        self.data: Batches | None = None
        self.fit_data: Batches | None = None
        self.goal: tuple[Schedule, Selection] = self.schedule, self.selection
        self._weights = [weight for layer in self.layers for weight, _, _ in layer.pruning_vars]
        self._masks = [mask for layer in self.layers for _, mask, _ in layer.pruning_vars]
        self._axes = [axes for layer in self.layers for axes in layer.axes]
        self._names = [layer.layer.name for layer in self.layers for _ in layer.pruning_vars]
        self._gradients: Gradients | None = None
        self._values: Any = None
        self._apply: Any = None
        self._optimizer: Any = None
        self._remembered = False

    @property
    def schedule(self) -> Schedule:
        """How sparse at which step."""
        return self.layers[0].schedule

    @property
    def selection(self) -> Selection:
        """Which weights fall."""
        return self.layers[0].selection

    def update(self, sparsity: float, regrow: bool = True) -> None:
        """Prune to a sparsity.

        Args:
            sparsity: share of zeros to reach, in [0, 1); earlier zeros stay zero unless the selection regrows.
            regrow: False prunes only, whatever the selection says.

        Raises:
            ImportanceError: a score without the data it needs, or that gives no usable numbers.
            TrainingError: weights or gradients that are not finite; the masks stay as they were.
        """
        final = self.schedule.final_sparsity
        selection = self.selection if regrow else replace(self.selection, regrow=0.0)
        masks = next_masks(self._tensors(selection), selection, sparsity, min(1.0, sparsity / final) if final else 1.0)
        self._assign(list(masks))
        self.goal = self.schedule, self.selection

    @contextmanager
    def alone(self, tensors: Sequence[Tensor], layer: str, sparsity: float) -> Iterator[None]:
        """Hold a single layer at a sparsity for a while; masks, and the weights of all others, stay as they are.

        Args:
            tensors: of `scored`.
            layer: by its own name.
            sparsity: of that layer, in [0, 1).
        """
        selection = replace(self.selection, scope="layer", floor=0.0, ceiling=1.0, normalize=False, regrow=0.0)
        pairs = [(each, weight) for each, weight in zip(tensors, self._weights, strict=True) if each.layer == layer]
        masks = next_masks([each for each, _ in pairs], selection, sparsity)
        kept = [(weight, weight.numpy()) for _, weight in pairs]
        try:
            for (weight, values), mask in zip(kept, masks, strict=True):
                weight.assign(np.where(mask, values, np.zeros((), values.dtype)))
            yield
        finally:
            for weight, values in kept:
                weight.assign(values)

    def scored(self) -> list[Tensor]:
        """All prunable tensors with their scores as they are now."""
        return list(self._tensors(replace(self.selection, regrow=0.0)))

    def sparsity(self) -> float:
        """Share of the prunable weights that the masks hold at zero, in [0, 1]."""
        return sparsity_of(self.layers)

    def _tensors(self, selection: Selection) -> Iterator[Tensor]:
        importance = importance_of(selection.importance, selection.seed)
        growth: Sequence[np.ndarray | None] = [None] * len(self._weights)
        by_gradient = [importance] if importance.needs_gradients else []
        if selection.regrow:
            by_gradient.append(importance_of("gradient"))
        weights, masks = self._read()
        summed = []
        if by_gradient:
            for _ in self._finite(weights):  # first, as their gradients would be blamed
                pass
            summed = self._from_gradients(by_gradient)
        if selection.regrow:
            growth = summed.pop()
        scores = summed[0] if summed else (importance(values) for values in self._finite(weights))
        for name, score, mask, axes, grow in zip(self._names, scores, masks, self._axes, growth, strict=True):
            if not np.isfinite(score).all():
                raise ImportanceError(
                    f"importance {importance.name}: the scores of layer {name!r} are not all finite numbers of 32 bits"
                )
            yield Tensor(name, score, mask.numpy(), axes, grow)

    def _read(self) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """All weights and all masks, in one call and without a copy."""
        if self._values is None:
            variables = [*self._weights, *self._masks]
            reading = tf.function(lambda: [tf.convert_to_tensor(each) for each in variables])
            self._values = reading.get_concrete_function()
        values = self._values()
        return values[: len(self._weights)], values[len(self._weights) :]

    def _finite(self, weights: list[tf.Tensor]) -> Iterator[np.ndarray]:
        for weight, name in zip(weights, self._names, strict=True):
            values = weight.numpy().astype(np.float32, copy=False)
            if not np.isfinite(values).all():
                raise TrainingError(
                    f"the weights of layer {name!r} are not finite; lower the learning rate, or check the data"
                )
            yield values

    def _from_gradients(self, kinds: list[Importance]) -> list[list[np.ndarray]]:
        data = self.data or self.fit_data
        if data is None:
            raise ImportanceError(f"importance {kinds[0].name} needs data to compute gradients; pass data=(x, y)")
        if self._gradients is None:
            self._gradients = Gradients(self._model, self._weights, self._names)
        return self._gradients.scores(kinds, data.first(self.selection.batches, self.selection.seed))

    def _assign(self, masks: list[np.ndarray]) -> None:
        """Set the masks, and multiply the weights and what the optimizer remembers of them by theirs."""
        optimizer = getattr(self._model, "optimizer", None)
        if self._apply is None or optimizer is not self._optimizer or not self._remembered:
            remembered = [list(memories(optimizer, weight)) for weight in self._weights]

            def apply(*masks: tf.Tensor) -> None:
                for variable, mask, weight, others in zip(self._masks, masks, self._weights, remembered, strict=True):
                    variable.assign(tf.cast(mask, variable.dtype))
                    for each in (weight, *others):
                        each.assign(each * tf.cast(mask, each.dtype))

            if self._apply is None or optimizer is not self._optimizer or any(remembered):
                kinds = [tf.TensorSpec(mask.shape, tf.bool) for mask in masks]
                self._apply = tf.function(apply).get_concrete_function(*kinds)
            # It remembers nothing before its first step, and some never do.
            self._optimizer, self._remembered = optimizer, any(remembered)
        self._apply(*[tf.constant(mask) for mask in masks])


def pruner_of(model: keras.Model) -> Pruner:
    """The pruner of a wrapped model, always the same one."""
    found = getattr(model, "_pruner", None)
    if found is None:
        found = model._pruner = Pruner(model)
    return found


def sparsity_of(layers: Sequence[Masked]) -> float:
    """Share of the weights that wrapped layers may prune which their masks hold at zero, in [0, 1]."""
    masks = [mask.numpy() for layer in layers for _, mask, _ in layer.pruning_vars]
    return sum(mask.size - np.count_nonzero(mask) for mask in masks) / sum(mask.size for mask in masks)

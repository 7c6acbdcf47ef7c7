"""What a model weighs and does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerCost:
    """What one layer holds and does.

    Attributes:
        name: with the names of the models around it, ``outer/inner/dense``.
        kind: the layer's class name.
        output_shape: without the batch axis; empty where unknown.
        parameters: all weights, trainable or not.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, dense.
        reason: why nothing in it can be pruned; empty where something can.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    reason: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a model weighs.

    Attributes:
        parameters: all weights.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, as if dense.
        bytes: the weights in their own dtype.
        gzipped_bytes: the same after gzip, what a download or a flash image costs; None where that was left out.
        layers: layer by layer, in the order of the model.
    """

    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    bytes: int
    gzipped_bytes: int | None
    layers: tuple[LayerCost, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights, in [0, 1]."""
        return self.zeros / self.prunable if self.prunable else 0.0

    @property
    def overall_sparsity(self) -> float:
        """Share of zeros among all weights, in [0, 1]."""
        return 1 - self.nonzero / self.parameters if self.parameters else 0.0

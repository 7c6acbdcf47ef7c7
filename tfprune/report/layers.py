"""What each layer lost: zeros of its weights, or width of its output; as numbers and as bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.report.figures import COLOURS, GREY, Figure, give_title, shortened
from tfprune.results import LayerCost, Measurement

_MOST_LAYERS = 80


@dataclass(frozen=True)
class LayerLoss:
    """One layer before and after.

    Attributes:
        name: of the layer.
        parameters: dense and pruned.
        width: last axis of its output, dense and pruned; None where that is unknown.
        sparsity: share of zeros among the prunable weights that are left, in [0, 1].
    """

    name: str
    parameters: tuple[int, int]
    width: tuple[int, int] | None
    sparsity: float


@dataclass(frozen=True)
class LayerLosses:
    """The layers with weights that can be pruned.

    Attributes:
        layers: in the order of the model.
        left_out: how many, the smallest, are not among them.
    """

    layers: tuple[LayerLoss, ...]
    left_out: int = 0

    @property
    def rebuilt(self) -> bool:
        """Whether some layer has another number of parameters than before."""
        return any(before != after for before, after in (each.parameters for each in self.layers))

    @property
    def masked(self) -> bool:
        """Whether some layer has zeros."""
        return any(each.sparsity for each in self.layers)


def layer_losses(dense: Measurement, pruned: Measurement, most: int = _MOST_LAYERS) -> LayerLosses:
    """Compare two models layer by layer; a layer that is gone has nothing left.

    Args:
        dense: with its layers.
        pruned: the same, of the pruned model; layers are matched by name.
        most: layers; beyond, those with the fewest weights are left out.
    """
    now = {each.name: each for each in pruned.layers}
    prunable = [each for each in dense.layers if each.prunable]
    kept = {each.name for each in sorted(prunable, key=lambda each: -each.prunable)[:most]}
    losses = tuple(_loss(each, now.get(each.name)) for each in prunable if each.name in kept)
    return LayerLosses(losses, len(prunable) - len(losses))


def _loss(before: LayerCost, after: LayerCost | None) -> LayerLoss:
    if after is None:
        width = _width(before)
        return LayerLoss(before.name, (before.parameters, 0), None if width is None else (width, 0), 0.0)
    widths = _width(before), _width(after)
    both = None if widths[0] is None or widths[1] is None else (widths[0], widths[1])
    sparsity = after.zeros / after.prunable if after.prunable else 0.0
    return LayerLoss(before.name, (before.parameters, after.parameters), both, sparsity)


def _width(layer: LayerCost) -> int | None:
    return layer.output_shape[-1] if layer.output_shape else None


def draw_layers(losses: LayerLosses, title: str = "") -> Figure:
    """A bar a layer: width left where the model was rebuilt, sparsity where it was masked, both where both."""
    panels = ["width"] * losses.rebuilt + ["sparsity"] * (losses.masked or not losses.rebuilt)
    count = max(1, len(losses.layers))
    row, size = (0.28, 8) if count <= 40 else (0.18, 6)
    figure = Figure(figsize=(3.5 + 4.5 * len(panels), max(2.2, row * count + 1.5)), layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, what in zip(every, panels, strict=True):
        if what == "width":
            _draw_widths(axes, losses, size)
        else:
            _draw_sparsities(axes, losses, size)
        axes.set_xlim(0, 118)  # room for the words behind a full bar
        axes.set_xticks(range(0, 101, 20))
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    labels = [shortened(each.name, 40) for each in losses.layers]
    every[0].set_yticks(range(len(labels)), labels, size=size, parse_math=False)
    every[0].set_ylim(count - 0.4, -0.6)
    give_title(figure, title)
    if losses.left_out:
        figure.supxlabel(f"{losses.left_out:,} smaller layers are left out", x=0.01, ha="left", size=8, color=GREY)
    return figure


def _draw_sparsities(axes: Any, losses: LayerLosses, size: int) -> None:
    values = np.array([100 * each.sparsity for each in losses.layers])
    axes.barh(range(len(values)), values, color=COLOURS[0], height=0.7)
    for place, value in enumerate(values):
        axes.text(value + 1, place, f"{value:.0f}%", va="center", size=size, color=GREY)
    axes.set_xlabel("zeros among prunable weights (%)")


def _draw_widths(axes: Any, losses: LayerLosses, size: int) -> None:
    """Width as a bar, parameters as a line across it: both sides of a layer may have shrunk, or heads inside it."""
    for place, each in enumerate(losses.layers):
        before, after = each.parameters
        share = 100 * after / before if before else 0.0
        width = each.width
        left = share if width is None or not width[0] else 100 * width[1] / width[0]
        words = f"{after:,} of {before:,} weights" if width is None else f"{width[1]:,} of {width[0]:,}"
        axes.barh(place, left, color=COLOURS[0], height=0.7)
        axes.plot([share, share], [place - 0.35, place + 0.35], color=COLOURS[1], linewidth=2, solid_capstyle="butt")
        axes.text(max(left, share) + 1.5, place, words, va="center", size=size, color=GREY)
    axes.set_xlabel("width left (%, bar), parameters left (%, line)")

"""What layers lost: exact, and as bars."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tfprune.report.figures import figure_png
from tfprune.report.layers import LayerLoss, draw_layers, layer_losses
from tfprune.results import LayerCost, Measurement


def layer(name: str, width: int | None, weights: int, zeros: int = 0, prunable: int | None = None) -> LayerCost:
    shape = () if width is None else (8, width)
    prunable = weights if prunable is None else prunable
    return LayerCost(name, "Conv2D", shape, weights + 4, weights, prunable, zeros, 10)


def model(*layers: LayerCost) -> Measurement:
    return Measurement(1, 1, 1, 0, 1, 4, None, layers)


DENSE = model(layer("conv", 16, 100), layer("norm", 16, 20, prunable=0), layer("dense", 10, 200))


def test_masks_leave_zeros():
    found = layer_losses(DENSE, model(layer("conv", 16, 100, 25), layer("norm", 16, 20), layer("dense", 10, 200, 150)))
    assert found.layers == (
        LayerLoss("conv", (104, 104), (16, 16), 0.25),
        LayerLoss("dense", (204, 204), (10, 10), 0.75),
    )
    assert found.masked and not found.rebuilt
    (axes,) = draw_layers(found, "w").axes
    assert [bar.get_width() for bar in axes.patches] == [25.0, 75.0]
    assert [text.get_text() for text in axes.texts] == ["25%", "75%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "dense"]


def test_removal_leaves_width():
    found = layer_losses(DENSE, model(layer("conv", 4, 25)))
    assert found.layers == (
        LayerLoss("conv", (104, 29), (16, 4), 0.0),
        LayerLoss("dense", (204, 0), (10, 0), 0.0),
    ), "a layer that is gone has nothing left"
    (axes,) = draw_layers(found).axes
    assert [bar.get_width() for bar in axes.patches] == [25.0, 0.0]
    assert [line.get_xdata()[0] for line in axes.lines] == [pytest.approx(100 * 29 / 104), 0.0]
    assert [text.get_text() for text in axes.texts] == ["4 of 16", "0 of 10"]


def test_both_have_both():
    found = layer_losses(DENSE, model(layer("conv", 4, 24, 12), layer("dense", 10, 50)))
    assert found.masked and found.rebuilt
    assert [axes.get_xlabel()[:5] for axes in draw_layers(found).axes] == ["width", "zeros"]


def test_nothing_lost_and_unknown_shapes_are_drawn():
    same = layer_losses(DENSE, DENSE)
    assert [bar.get_width() for bar in draw_layers(same).axes[0].patches] == [0.0, 0.0]
    found = layer_losses(model(layer("a", None, 100)), model(layer("a", None, 50)))
    assert found.layers[0].width is None
    assert [text.get_text() for text in draw_layers(found).axes[0].texts] == ["54 of 104 weights"]
    assert figure_png(draw_layers(layer_losses(model(), model())))


def test_the_smallest_of_many_layers_are_left_out():
    many = model(*(layer(f"outer/$block$_{place}/conv2d", 8, 100 + place) for place in range(100)))
    found = layer_losses(many, many, most=80)
    assert [each.name for each in found.layers] == [each.name for each in many.layers[20:]] and found.left_out == 20
    figure = draw_layers(found, "w")
    figure_png(figure, dpi=50)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 80 and not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert figure.get_supxlabel() == "20 smaller layers are left out"

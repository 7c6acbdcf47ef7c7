"""Sensitivity as a table and as pictures: exact, and readable with few layers and with many."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rounds import lines_of, shown
from made_searches import RATIOS, sensitivity

from tfprune.report.figures import figure_png
from tfprune.report.sensitivity import apart, draw_sensitivity, drops_of, sensitivity_table
from tfprune.results import SensitivityCurve

MANY = tuple(np.linspace(0.1, 0.98, 20))


def curves(*told: SensitivityCurve):
    return replace(sensitivity(0), curves=told)


def test_drops_are_against_dense_and_holes_stay_holes():
    found = curves(
        SensitivityCurve("a", (0.5, 0.9), (0.9, 0.35), (0.3, 1.0)), SensitivityCurve("b", (0.7,), (0.96,), (0.2,))
    )
    ratios, drops = drops_of(found)
    assert ratios == (0.5, 0.7, 0.9)
    np.testing.assert_allclose(drops, [[0.05, np.nan, 0.6], [np.nan, -0.01, np.nan]])
    assert shown(sensitivity_table(found)) == [
        ["sparsity of the layer", "50%", "70%", "90%"],
        ["a", "5.0", "", "60.0"],
        ["b", "", "-1.0", ""],
    ]


def test_table_says_what_was_measured():
    text = " ".join(" ".join(lines_of(sensitivity_table(sensitivity(method="structured")))).split())
    assert "sensitivity to structured; dense accuracy 95.0% on 360 examples" in text
    assert "share of its units removed" in text
    assert "points lost against the dense model; this one alone is pruned" in text and "left out" not in text


@pytest.mark.parametrize("ratios", [RATIOS, MANY], ids=["few", "many"])
def test_table_fits_a_terminal(ratios):
    found = sensitivity(6, ratios)
    long = replace(
        found.curves[0], name="[bold]encoder/layer_with_a_long_name/and_more_of_it/query", scores=(-0.05,) * len(ratios)
    )
    table = sensitivity_table(replace(found, curves=(long, *found.curves)))
    lines = lines_of(table, 80)
    assert max(map(len, lines)) <= 80
    assert "[bold]" in "".join(lines), "names are no markup"
    header = shown(table)[0]
    assert header[1] == f"{100 * ratios[0]:.3g}%" and header[-1] == f"{100 * ratios[-1]:.3g}%"
    assert ("11 more ratios are left out" in " ".join(lines)) == (ratios is MANY)
    assert not any("…" in line for line in lines)


def test_lines_begin_at_dense_and_are_named():
    found = sensitivity(3)
    figure = draw_sensitivity(found, "$x$ alone")
    figure_png(figure)
    (axes,) = figure.axes
    reference, *lines = axes.lines
    assert set(reference.get_ydata()) == {95.0}
    for line, curve in zip(lines, found.curves, strict=True):
        assert list(line.get_xdata()) == [0.0, *(100 * ratio for ratio in RATIOS)]
        assert list(line.get_ydata()) == [95.0, *(100 * score for score in curve.scores)]
    assert [text.get_text() for text in axes.texts] == [curve.name for curve in found.curves]
    assert "95.0% on 360 examples" in figure.get_supxlabel()


@pytest.mark.parametrize("layers", [1, 2, 6, 12])
def test_names_of_lines_do_not_overlap_and_looks_differ(layers):
    same = sensitivity(layers)
    level = replace(same, curves=tuple(replace(curve, scores=(0.9, 0.5, 0.2, 0.1)) for curve in same.curves))
    figure = draw_sensitivity(level)
    figure_png(figure, dpi=60)
    (axes,) = figure.axes
    # The box of an annotation holds its arrow too, so where its words stand is what counts.
    middles = sorted(text.get_position()[1] for text in axes.texts)
    inches = axes.get_position().height * figure.get_figheight()
    assert len(middles) == layers and all((high - low) * inches > 8 / 72 for low, high in pairwise(middles))
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines[1:]}
    assert len(looks) == layers


@pytest.mark.parametrize(("layers", "rows"), [(13, 13), (60, 60), (200, 80)])
def test_many_layers_are_a_heatmap_that_can_be_read(layers, rows):
    found = sensitivity(layers)
    figure = draw_sensitivity(found, "w")
    figure_png(figure, dpi=60)
    axes = figure.axes[0]
    labels = axes.get_yticklabels()
    names = [curve.name for curve in found.curves]
    assert [label.get_text() for label in labels] == names[layers - rows :], "the least sensitive ones are left out"
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    assert len(axes.texts) == rows * len(RATIOS)
    assert axes.texts[-1].get_text() == f"{100 * (0.95 - found.curves[-1].scores[-1]):.1f}"
    assert axes.collections[0].get_clim()[0] == 0
    assert (f"{layers - rows} less sensitive ones are left out" in figure.get_supxlabel()) == (layers > rows)


def test_scores_that_are_no_numbers_are_left_out():
    broken = SensitivityCurve("a", (0.5, 0.9), (0.9, float("nan")), (0.3, float("nan")))
    assert shown(sensitivity_table(curves(broken)))[1] == ["a", "5.0", ""]
    assert len(draw_sensitivity(curves(broken)).axes[0].lines[1].get_xdata()) == 2
    many = draw_sensitivity(curves(*(replace(broken, name=f"a{place}") for place in range(13))))
    assert len(many.axes[0].texts) == 13
    assert figure_png(many)
    assert figure_png(draw_sensitivity(curves()))


@given(st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=12), st.floats(0.01, 0.2))
def test_labels_are_pushed_apart_in_their_order(heights, least):
    found = apart(heights, least)
    room = min(least, 1 / max(1, len(heights) - 1))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in found)
    assert all(abs(one - other) >= room - 1e-9 for one, other in combinations(found, 2))
    assert all(found[a] < found[b] for a, b in combinations(range(len(found)), 2) if heights[a] < heights[b])

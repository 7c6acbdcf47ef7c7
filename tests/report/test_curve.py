"""Score against size: points exact, and a picture with gates, rounds that failed and the best."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import made_rounds
import numpy as np
import pytest
from made_rounds import DENSE, FIRST, ROUNDS, SMALLER

from tfprune.errors import DataError
from tfprune.report.curve import CurvePoint, draw_curves, size_curves
from tfprune.report.figures import figure_png


def texts_of(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_points_are_rounds():
    found = size_curves({"a": ROUNDS})
    assert (found.size, found.measure) == ("nonzero", "accuracy")
    assert found.lines["a"] == (
        CurvePoint("dense", 1500, 95.0, 0.0, True, False, 0),
        CurvePoint("r01", 750, 94.0, 5.0, True, True, 0),
        CurvePoint("r02", 300, 80.0, 30.0, False, False, 1),
    )


def test_what_is_counted():
    assert size_curves({"a": SMALLER}).size == "parameters"
    both = size_curves({"a": SMALLER, "b": ROUNDS})
    assert both.size == "nonzero"
    assert [point.size for point in size_curves({"a": SMALLER}, "macs").lines["a"]] == [9000, 4000, 3000]
    assert [point.worst for point in both.lines["a"]] == [None] * 3, "no slices"


def test_the_dense_model_is_no_best_round():
    assert not any(
        point.best for point in size_curves({"a": (DENSE, replace(made_rounds.SECOND, parent=0))}).lines["a"]
    )


def test_errors_and_accuracies_do_not_mix():
    other = (replace(DENSE, evaluation=made_rounds.regression(2.0)),)
    with pytest.raises(DataError, match="a has accuracy, b has error; compare workflows of one kind"):
        size_curves({"a": ROUNDS, "b": other})


def test_gates_are_lines_at_their_heights():
    figure = draw_curves(size_curves({"a": ROUNDS}), max_drop=0.02, max_slice_drop=0.1, title="a: $x$")
    above, below = figure.axes
    gates = [[line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"] for axes in (above, below)]
    assert gates == [[pytest.approx(93.0)], [pytest.approx(10.0)]]
    assert "gate: 2.0 points from the dense model" in texts_of(above)
    assert texts_of(below) == ["gate: 10.0 points of a slice"]
    assert figure.get_suptitle() == "a: $x$" and figure_png(figure)
    ungated = draw_curves(size_curves({"a": ROUNDS}))
    assert not any(line.get_linestyle() == "--" for axes in ungated.axes for line in axes.lines)


def test_each_round_hangs_on_the_one_it_started_from():
    third = replace(FIRST, number=3, parent=1, sparsity=0.6, measurement=replace(FIRST.measurement, nonzero=600))
    axes = draw_curves(size_curves({"a": (*ROUNDS, third)})).axes[0]
    ends = [
        line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"
    ]
    assert ends == [[1500, 1500], [1500, 750], [750, 300], [750, 600]]
    (crosses,) = (line for line in axes.lines if line.get_marker() == "x")
    np.testing.assert_allclose(crosses.get_xydata(), [(300, 80.0)])
    (ring,) = (line for line in axes.lines if line.get_markersize() == 13)
    np.testing.assert_allclose(ring.get_xydata(), [(600, 94.0)])


def test_several_workflows_have_colours_and_names_of_their_own():
    figure = draw_curves(size_curves({"_a": ROUNDS, "b": SMALLER}), max_drop=0.02)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["_a", "b", "best round", "failed its gates"]
    assert texts_of(figure.axes[0]).count("dense") == 2, "dense models that differ"
    shared = draw_curves(size_curves({"a": ROUNDS, "b": (DENSE, FIRST)}), max_drop=0.02).axes[0]
    assert texts_of(shared).count("dense") == 1
    assert len([line for line in shared.lines if line.get_linestyle() == "--"]) == 1, "one gate for both"


@pytest.mark.parametrize(("rounds", "named"), [(2, 3), (20, 2)])
def test_few_and_many_rounds_are_readable(rounds, named):
    figure = draw_curves(size_curves({"a": made_rounds.many(rounds, 3, failed=(rounds,) if rounds > 2 else ())}))
    axes = figure.axes[0]
    assert len(texts_of(axes)) == named
    figure_png(figure)
    boxes = [label.get_window_extent() for label in figure.axes[-1].get_xticklabels() if label.get_text()]
    assert 2 <= len(boxes) <= 9
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    assert figure.axes[-1].get_xscale() == ("log" if rounds == 20 else "linear")


def test_a_regression_and_the_dense_model_alone():
    rounds = [replace(DENSE, evaluation=made_rounds.regression(2.0)),
              replace(FIRST, evaluation=made_rounds.regression(2.1, 0.1, 0.25))]  # fmt: skip
    figure = draw_curves(size_curves({"a": rounds}), max_drop=0.3, max_slice_drop=0.5)
    assert figure.axes[0].get_ylabel() == "error" and "gate: 0.3 from the dense model" in texts_of(figure.axes[0])
    assert [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"] == [2.3]
    assert figure_png(draw_curves(size_curves({"a": SMALLER[:1]})))

"""Drops by slice and round: the array exact, and a picture whose words can be read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import made_rounds
import numpy as np
import pytest
from made_rounds import DENSE, FIRST, ROUNDS, evaluation, score

from tfprune.report.figures import figure_png
from tfprune.report.heatmap import draw_heatmap, heatmap_of


def with_slices(*slices, min_support=20):
    return [DENSE, replace(FIRST, evaluation=replace(evaluation(0.9, 0.01), slices=slices, min_support=min_support))]


def numbers_in(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_rows_are_sorted_by_their_worst_drop():
    found = heatmap_of(ROUNDS)
    assert found.slices == ("all", "class_0", "class_1") and found.rounds == ("r01", "r02")
    np.testing.assert_allclose(found.drops, [[0.01, 0.15], [-0.0004, 0.3], [0.05, 0.1]])
    assert found.supports == (100, 30, 31) and found.passed.tolist() == [True, False] and found.best == 0
    assert found.left_out == 0 and not found.small.any()


def test_small_slices_come_last_and_set_no_colour():
    found = heatmap_of(
        with_slices(score("tiny", 5, 0.1, 0.8), score("one", 50, 0.9, 0.03), score("two", 60, 0.9, 0.04))
    )
    assert found.slices == ("all", "two", "one", "tiny") and found.small.tolist() == [False] * 3 + [True]
    assert found.limit == pytest.approx(0.04, abs=0.001)


def test_a_slice_that_only_some_rounds_have_leaves_holes():
    second = replace(FIRST, number=2, evaluation=replace(FIRST.evaluation, slices=(score("pie", 40, 0.5, 0.2),)))
    found = heatmap_of([*ROUNDS[:2], second])
    assert found.slices == ("all", "pie", "class_1", "class_0")
    assert np.isnan(found.drops).tolist() == [[False, False], [True, False], [False, True], [False, True]]
    assert len(numbers_in(draw_heatmap(found))) == 5


def test_what_is_left_out_is_told():
    found = heatmap_of(made_rounds.many(3, 100), most=40)
    assert len(found.slices) == 40 == len(found.drops) and found.left_out == 61
    assert found.slices[:3] == ("all", "class_99", "class_98")
    assert "61 slices with smaller drops are left out" in draw_heatmap(found).get_supxlabel()


def test_nothing_to_compare_with_is_nothing_to_draw():
    assert heatmap_of([DENSE]) is None


def test_noise_is_pale_and_colours_are_centred():
    calm = heatmap_of(with_slices(score("a", 50, 0.9, 0.001)))
    assert calm.limit == 0.02
    mesh = draw_heatmap(calm).axes[0].collections[0]
    assert mesh.get_clim() == (-2.0, 2.0)


@pytest.mark.parametrize(
    ("rounds", "slices", "numbers"), [(2, 3, 8), (20, 3, 80), (2, 100, 80), (20, 100, 800), (60, 5, 0)]
)
def test_few_and_many_are_readable(rounds, slices, numbers):
    figure = draw_heatmap(heatmap_of(made_rounds.many(rounds, slices, failed=(rounds,))), "w: drop by slice and round")
    figure_png(figure, dpi=60)
    axes = figure.axes[0]
    assert len(axes.texts) == numbers
    assert all(text.get_fontsize() >= 6 for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()])
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    if numbers:
        width = axes.get_window_extent().width / rounds
        assert max(text.get_window_extent().width for text in axes.texts) < width
    assert figure.get_figwidth() <= 16.5 and figure.get_figheight() <= 13
    assert [label.get_text() for label in axes.get_xticklabels()][-1].endswith("failed") or rounds > 25


def test_the_best_round_is_bold_small_slices_are_hatched_and_names_are_text():
    rounds = with_slices(score("$x$ of <b>", 5, 0.1, 0.8), score("one", 50, 0.9, 0.03))
    figure = draw_heatmap(heatmap_of(rounds), "$y$")
    figure_png(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all  (100)", "one  (50)", "$x$ of <b>  (5)"]
    assert [label.get_fontweight() for label in axes.get_xticklabels()] == ["bold"]
    assert [patch.get_hatch() for patch in axes.patches] == ["////"]
    assert "hatched gates nothing: fewer than 20 examples" in figure.get_supxlabel()


def test_a_regression_has_numbers_of_its_own():
    rounds = [DENSE, replace(FIRST, evaluation=made_rounds.regression(2.1, 0.1, 0.25, 3.0))]
    found = heatmap_of(rounds)
    assert found.measure == "error" and found.limit == pytest.approx(2.9, abs=0.1)
    figure = draw_heatmap(found)
    assert numbers_in(figure) == ["0.1", "3", "0.25"]
    assert figure.axes[1].get_ylabel() == "drop (error)"

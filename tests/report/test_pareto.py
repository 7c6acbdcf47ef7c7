"""The Pareto front: dominance as it is defined, and pictures and tables that show it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rounds import evaluation, lines_of, shown
from made_searches import STARTED, TRIALS, long_search, trial, weighing

from tfprune.report.figures import figure_png
from tfprune.report.pareto import draw_pareto, front, on_front, pareto_table
from tfprune.report.sizes import SizeScale, size_scale
from tfprune.results import Evaluation, SliceScore, Trial

FEW = st.integers(0, 3)


@st.composite
def trials(draw) -> list[Trial]:
    """Few values an axis, so that many are equal; any axis may be unknown, for all or for some."""
    has = {axis: draw(st.sampled_from(["all", "some", "none"])) for axis in ("worst", "size", "latency")}

    def maybe(axis: str, value):
        return value if has[axis] == "all" or (has[axis] == "some" and draw(st.booleans())) else None

    found = []
    for number in range(draw(st.integers(0, 12))):
        accuracy, worst = draw(FEW) / 4, maybe("worst", draw(FEW) / 4)
        slices = () if worst is None else (SliceScore("a", 50, worst),)
        scores = Evaluation(SliceScore("all", 100, accuracy), 0.3, slices)
        size, latency = maybe("size", draw(FEW)), maybe("latency", draw(FEW))
        weight = None if size is None else weighing(100 + size)
        status = draw(st.sampled_from(["completed", "completed", "stopped", "failed"]))
        told = {"evaluation": scores, "measurement": weight, "status": status}
        found.append(Trial(number, "oracle", {}, {}, 1, latency_ms=None if latency is None else 1.0 + latency, **told))
    return found


def dominates(one, other) -> bool:
    """By the letter, an unknown value being worse than any."""
    gains = [(one.accuracy, other.accuracy), (one.worst, other.worst)]
    costs = [(one.size, other.size), (one.latency, other.latency)]
    pairs = [tuple(-1e9 if value is None else value for value in pair) for pair in gains]
    pairs += [tuple(-1e9 if value is None else -value for value in pair) for pair in costs]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(trials())
def test_the_front_is_what_nothing_dominates(given_trials):
    rows = front(given_trials)
    assert [row.number for row in rows] == [each.number for each in given_trials if each.status != "failed"]
    best = on_front(rows)
    assert bool(best) == bool(rows)
    for row in rows:
        assert row.dominated == any(dominates(other, row) for other in rows)
        assert not row.dominated or any(dominates(other, row) for other in best), "its dominator is on the front"


@given(trials(), st.randoms(use_true_random=False))
def test_order_does_not_matter(given_trials, random):
    shuffled = list(given_trials)
    random.shuffle(shuffled)
    one, other = ({row.number: row.dominated for row in front(each)} for each in (given_trials, shuffled))
    assert one == other


def test_equal_trials_do_not_dominate_each_other():
    rows = front([trial(1, 0.9, measurement=weighing(5)), trial(2, 0.9, measurement=weighing(5))])
    assert [row.dominated for row in rows] == [False, False]


def test_each_axis_counts():
    base = trial(0, 0.9, measurement=weighing(5), latency_ms=1.0)
    better = {
        "accuracy": replace(base, evaluation=evaluation(0.91, 0.04, 0.05, 0.1)),
        "worst slice": replace(base, evaluation=evaluation(0.9, 0.05, 0.05, 0.06)),
        "size": replace(base, measurement=weighing(4)),
        "latency": replace(base, latency_ms=0.5),
    }
    for name, each in better.items():
        assert [row.dominated for row in front([base, each])] == [True, False], name
    assert not any(row.dominated for row in front([better["size"], better["latency"]]))


def test_sizes_are_gzipped_where_all_are():
    gzipped = front([trial(0, 0.9, measurement=weighing(5, 80)), trial(1, 0.9, measurement=weighing(6, 70))])
    assert [(row.size, row.gzipped) for row in gzipped] == [(5, True), (6, True)]
    plain = front([trial(0, 0.9, measurement=weighing(5, 80)), trial(1, 0.9, measurement=weighing(None, 70))])
    assert [(row.size, row.gzipped) for row in plain] == [(80, False), (70, False)]


def test_table_has_the_front_the_smallest_first():
    table = pareto_table(front(TRIALS))
    assert shown(table) == [
        ["trial", "origin", "accuracy", "worst slice", "KB gzipped"],
        ["t008", "oracle", "92.5%", "82.5%", "90.0"],
        ["t005", "oracle", "93.0%", "83.0%", "105.0"],
    ]
    assert "6 more: another trial is as good in everything" in " ".join(lines_of(table))
    timed = [replace(each, latency_ms=2.0 + each.number) for each in TRIALS]
    assert shown(pareto_table(front(timed)))[0][-1] == "ms"
    assert max(map(len, lines_of(pareto_table(front(timed)), 80))) <= 80
    assert shown(pareto_table([])) == [["trial", "origin", "accuracy"]]


@pytest.mark.parametrize(
    ("sizes", "header", "told"),
    [
        ((40_310, 40_120), "KB gzipped", ["40.1", "40.3"]),
        ((40_310, 40_320), "KB gzipped", ["40.31", "40.32"]),
        ((40_311, 40_312), "KB gzipped", ["40.311", "40.312"]),
        ((40_310, 40_310), "KB gzipped", ["40.3", "40.3"]),
        ((999_999, 40_310), "KB gzipped", ["40.3", "1000.0"]),
        ((1_000_000, 40_310), "MB gzipped", ["0.040", "1.000"]),
    ],
    ids=["tenths", "hundredths", "bytes", "equal", "just-under", "one-is-large"],
)
def test_sizes_that_differ_look_different(sizes, header, told):
    rows = front([trial(place, 0.9 + 1e-9 * size, measurement=weighing(size)) for place, size in enumerate(sizes)])
    cells = shown(pareto_table(rows))
    assert cells[0][-1] == header
    assert [row[-1] for row in cells[1:]] == told
    figure = draw_pareto(rows)
    assert figure.axes[-1].get_xlabel() == header


def test_unknown_sizes_have_no_words():
    assert size_scale([]) == size_scale([None]) == SizeScale("MB", 3)
    assert size_scale([None, 40_310], gzipped=False).header == "KB of weights"
    assert size_scale([40_310]).words(None) == ""


def filled(axes) -> list[bool]:
    points = [line for line in axes.lines if line.get_linestyle() == "None"]
    return [line.get_markerfacecolor() == line.get_color() for line in points]


def test_picture_fills_the_front_and_names_the_starts():
    rows = front(TRIALS)
    figure = draw_pareto(rows, "$digits$")
    figure_png(figure)
    above, below = figure.axes
    for axes in (above, below):
        assert sorted(filled(axes)) == [False] * 6 + [True] * 2
        assert {text.get_text() for text in axes.texts} == {each.origin for each in STARTED}
    assert above.get_ylabel() == "accuracy (%)" and below.get_ylabel() == "accuracy of the worst slice (%)"
    assert below.get_xlabel() == "KB gzipped"
    step = next(line for line in above.lines if line.get_linestyle() == "-")
    assert list(step.get_ydata()) == pytest.approx([92.5, 93.0, 93.0])
    assert list(step.get_xdata()) == pytest.approx([90, 105, 107])


@pytest.mark.parametrize(
    ("latencies", "panels"), [([], 2), ([1.0], 2), ([1.0, 2.0, 3.0], 4)], ids=["none", "same", "different"]
)
def test_latency_is_drawn_where_it_varies(latencies, panels):
    timed = [
        replace(each, latency_ms=latencies[each.number % len(latencies)] if latencies else None) for each in TRIALS
    ]
    figure = draw_pareto(front(timed))
    assert len(figure.axes) == panels
    assert figure_png(figure)


def test_starts_on_one_spot_share_a_label():
    alike = [replace(each, evaluation=evaluation(0.9, 0.05), measurement=weighing(9)) for each in STARTED]
    figure = draw_pareto(front(alike))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["uniform, erk, lamp, global, sensitivity"]


def test_nothing_much_and_many_are_drawn():
    assert figure_png(draw_pareto([]))
    assert figure_png(draw_pareto(front([Trial(0, "oracle", {}, {}, 1, evaluation=evaluation(0.9))])))
    assert figure_png(draw_pareto(front(long_search(200)), "w"))

"""Planned sparsity as points, and points as a picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import tiny_workflow

from tfprune.errors import RecipeError
from tfprune.masking.plan import round_schedule
from tfprune.recipe import ScheduleSection, parse
from tfprune.report.schedules import draw_schedules, kinds_points, phases_points, schedule_points
from tfprune.rounds.stop import planned_targets

KINDS = ["polynomial", "linear", "exponential", "cosine", "stepped", "constant"]


def the_recipe(**changes):
    return parse(tiny_workflow.recipe(prune__target={"sparsity": 0.75}, **changes))


def masks_over(section, targets, steps):
    """Sparsity at every step of fine-tuning as the callback sets it, on and on over the rounds."""
    held = [targets[0]]
    for number, (initial, final) in enumerate(pairwise(targets)):
        schedule, done = round_schedule(section, initial, final, steps), None
        for step in range(steps + 1):
            due = schedule.update_at(step)
            if step:
                held.append(held[-1])
            if due is not None and due != done:
                held[number * steps + step] = max(held[-1], schedule.sparsity(due))  # zeros stay zeros
                done = due
    return held


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("begin", "end", "frequency", "steps"), [(0.2, 0.6, 7, 100), (0, 1, 30, 100), (0, 0.5, 1, 1)])
def test_points_are_what_the_masks_do(kind, begin, end, frequency, steps):
    section = ScheduleSection(kind=kind, begin=begin, end=end, frequency=frequency)
    targets = [0.0, 0.5, 0.75, 0.9]
    points = schedule_points(section, targets, steps)
    assert points[0] == (0, 0.0) and points[-1] == (3 * steps, 0.9)
    assert points == sorted(points) and len(points) == len(set(points))
    held = masks_over(section, targets, steps)
    staircase = dict(points)  # the later of two on one step
    assert {step: held[step] for step in staircase} == staircase
    risen = {step for step in range(1, len(held)) if held[step] > held[step - 1]}
    assert risen == set(staircase) - {0} - ({3 * steps} - risen), "a point where it rises, and nowhere else"


def test_phases_follow_each_other():
    at_once = ScheduleSection(kind="constant")
    first, second = [0.0, 0.2, 0.36], [0.0, 0.5]
    lines = phases_points([("structured", at_once, first), ("masking", at_once, second)], 10)
    assert lines == {
        "structured": [*schedule_points(at_once, first, 10), (30, 0.36)],
        "masking": [(20, 0.0), (20, 0.5), (30, 0.5)],
    }
    assert phases_points([("a", at_once, first)], 10) == {"a": schedule_points(at_once, first, 10)}
    assert list(phases_points([("a", at_once, first)] * 2, 10)) == ["a", "a (2)"]
    assert draw_schedules("t", lines, 3, "share").axes[0].get_ylabel() == "share (%)"


def test_points_of_a_recipe():
    recipe = the_recipe(prune__schedule={"kind": "constant", "begin": 0.2})
    points = schedule_points(recipe.prune.schedule, planned_targets(recipe))
    assert points == [(0, 0), (200, pytest.approx(0.5)), (1200, pytest.approx(0.75)), (2000, pytest.approx(0.75))]


def test_points_of_kinds():
    found = kinds_points([], 0.9, 200, 50)
    assert list(found) == KINDS
    assert {points[-1] for points in found.values()} == {(200, 0.9)}
    assert [step for step, _ in found["cosine"]] == [0, 50, 100, 150, 200]
    assert kinds_points(["cosine", "linear"], 0.9, 200, 50) == {kind: found[kind] for kind in ("cosine", "linear")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kinds": ["cosine", "linea"]}, "--kind linea .*expected one of polynomial, .*did you mean 'linear'"),
        ({"final": 1.0}, "--final 1.0 .*sparsity: got 1.0, expected"),
        ({"final": 0.0}, "sparsity: got 0.0, expected"),
        ({"frequency": 0}, "--frequency 0: .*frequency: got 0, expected"),
        ({"steps": 0}, "steps a round must be from 1 to 1000000, but got 0"),
        ({"steps": 10**7}, "steps a round must be from 1 to 1000000, but got 10000000"),
    ],
)
def test_kinds_that_cannot_be(change, words):
    with pytest.raises(RecipeError, match=words):
        kinds_points(**{"kinds": [], "final": 0.9, **change})


def test_the_picture_is_a_staircase_over_the_points():
    points = [(0, 0.0), (0, 0.25), (40, 0.5), (200, 0.5)]
    (axes,) = draw_schedules("mine: planned sparsity", {"stepped": points}, rounds=2).axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [(x, 100 * y) for x, y in points])
    assert line.get_drawstyle() == "steps-post"
    assert (axes.get_title("left"), axes.get_xlabel()) == ("mine: planned sparsity", "fine-tuning step")
    assert axes.get_legend() is None, "one line needs none"


@pytest.mark.parametrize("rounds", [2, 7, 40])
def test_the_picture_shows_where_rounds_begin(rounds):
    (axes,) = draw_schedules("", {"a": [(0, 0.0), (1000 * rounds, 0.5)]}, rounds).axes
    (hairlines,) = axes.collections
    assert [path.vertices[0, 0] for path in hairlines.get_paths()] == [1000 * number for number in range(rounds)]
    numbered = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert 2 <= len(numbered) <= 10 and numbered["r01"] == 0
    assert all(start == 1000 * (int(label[1:]) - 1) for label, start in numbered.items())


def test_several_lines_have_a_legend_and_colours_of_their_own():
    (axes,) = draw_schedules("", kinds_points([], 0.9, 100, 10)).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == KINDS
    assert len({line.get_color() for line in axes.lines}) == len(KINDS)
    assert not axes.collections and not axes.texts, "one round needs no hairline"

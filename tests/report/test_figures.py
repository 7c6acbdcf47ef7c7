"""Planned sparsity as points, and points as a picture."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
import tiny_workflow

from tfprune.errors import RecipeError, StorageError
from tfprune.masking.schedule import round_schedule
from tfprune.recipe import parse
from tfprune.report.figures import draw_schedule, save_figure, schedule_points
from tfprune.rounds.stop import planned_targets


def the_recipe(**changes):
    return parse(tiny_workflow.recipe(prune__target={"sparsity": 0.75}, **changes))


@pytest.mark.parametrize("kind", ["polynomial", "constant"])
def test_points_are_the_schedules(kind):
    recipe = the_recipe(prune__schedule={"kind": kind, "begin": 0.2, "end": 0.6, "frequency": 7})
    targets = planned_targets(recipe)
    points = dict(schedule_points(recipe, targets))
    assert targets == pytest.approx([0, 0.5, 0.75])
    second = round_schedule(recipe.prune.schedule, 0.5, 0.75, 1000)
    for step in (0, 199, 200, 201, 207, 350, 599, 600, 999, 1000):
        due = second.update_at(step)
        assert points[1 + step / 1000] == (0.5 if due is None or step == 0 else second.sparsity(due))
    assert points[0.1] == 0 and points[2] == pytest.approx(0.75)
    values = [value for _, value in sorted(points.items())]
    assert values == sorted(values)


def test_the_picture_shows_the_points():
    recipe = the_recipe()
    points = schedule_points(recipe, planned_targets(recipe))
    (axes,) = draw_schedule(recipe, points).axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [(x, 100 * y) for x, y in points])
    assert axes.get_title() == "tiny: planned sparsity"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written(ending, tmp_path):
    figure = draw_schedule(the_recipe(), [(0, 0.0), (1, 0.5)])
    path = tmp_path / "new" / f"picture.{ending}"
    save_figure(figure, path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "png":
        picture = matplotlib.image.imread(path)
        assert picture.min() < 0.5 < picture.max(), "an empty picture"
    assert list(path.parent.iterdir()) == [path]


def test_a_bad_ending_writes_nothing(tmp_path):
    figure = draw_schedule(the_recipe(), [(0, 0.0)])
    with pytest.raises(RecipeError, match=r"the ending must be one of .png, .svg, .pdf, but is '.docx'"):
        save_figure(figure, tmp_path / "new" / "picture.docx")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*picture\.png"):
        save_figure(draw_schedule(the_recipe(), [(0, 0.0)]), tmp_path / "file" / "picture.png")

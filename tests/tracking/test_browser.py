"""The MLflow UI that `tfprune ui` starts, in a real browser: what it opens shows the rounds and every slice.

The browser is driven by the functions that take the pictures of the docs.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import tiny_workflow
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tfprune.recipe import TrackSection
from tfprune.tracking import ui
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.ui import UiServer, serve_ui
from tfprune.tracking.view import VIEW_TAG, VIEWS, run_colour, saved_views


def _screenshots() -> ModuleType:
    path = tiny_workflow.ROOT / "docs" / "screenshots.py"
    spec = importlib.util.spec_from_file_location("screenshots", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


screenshots = _screenshots()


def page_of(value: str) -> dict[str, Any]:
    """The state of the page that a view's tag holds, read the way the page reads it."""
    content = json.loads(value)
    assert content["state"].startswith("deflate;") and isinstance(content["createdAt"], int) and content["name"]
    return json.loads(zlib.decompress(base64.b64decode(content["state"].removeprefix("deflate;"))))


# ---------------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def section(finished, tmp_path_factory: pytest.TempPathFactory) -> TrackSection:
    """A store with two finished workflows: the one that tests share, and a structured one with other slices."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(finished[0] / "home", folder / "home")
    prune = {"method": "structured", "target": {"params": 0.5}, "rounds": 1}
    changes = {"name": "narrow", "prune": prune, "slices": ["classes", {"hardest": 0.2}]}
    done = tiny_workflow.tfprune(folder, folder / "home", "run", str(tiny_workflow.write(folder / "b.yaml", **changes)))
    assert done.returncode in (0, 1), done.stderr  # 1: a gate failed, and its rounds are on record all the same
    return TrackSection(uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def record(section) -> dict[str, Any]:
    """Runs by name."""
    client = MlflowClient(section.uri)
    found = client.search_runs([Recorded(section).experiment_id])
    return {run.info.run_name: run for run in found}


@pytest.fixture(scope="module")
def slices(record) -> set[str]:
    """Names of all metrics of slices."""
    names = {name for run in record.values() for name in run.data.metrics if name.startswith("slice_")}
    assert {"slice_accuracy/class_0", "slice_drop/class_0", "slice_accuracy/hardest", "slice_drop/hardest"} <= names
    return names


@pytest.fixture(scope="module")
def server(section) -> Iterator[UiServer]:
    with serve_ui(section, port=0) as running:
        yield running


@pytest.fixture(scope="module")
def page(server) -> Iterator[Any]:
    path = screenshots.find_browser()
    if path is None:
        pytest.skip("no Chromium or Chrome found: apt-get install chromium, or playwright install chromium")
    with screenshots.open_browser(path) as opened:
        yield opened


def test_what_opens_shows_every_round_and_slice(page, server, record, slices):
    rounds = {name for name in record if " " in name}
    assert {"tiny-1 dense", "tiny-1 r02", "narrow-1 dense", "narrow-1 r01"} <= rounds
    assert "compareRunsMode=CHART&viewStateShareKey=rounds" in server.url
    wanted = {"Parallel coordinates", "Overview", "tfprune rounds", "nonzero vs. accuracy", *rounds, *slices}
    seen = set(screenshots.visit(page, server.url, wanted).splitlines())
    assert not {"tiny-1", "narrow-1"} & seen  # workflows would stand there twice, as their last rounds do
    assert not [line for line in seen if "Error loading" in line]
    for name in rounds:  # the colour of a run stands beside its name
        assert record[name].data.tags["mlflow.runColor"] in seen


def test_parallel_coordinates_over_the_slices(page, server):
    common = ["sparsity", "accuracy", "slice_accuracy/class_0", "slice_accuracy/class_1", "slice_accuracy/class_2"]
    screenshots.visit(page, server.url, ["Parallel Coordinates", *common, "compression"], turn=False)
    assert set(common) <= set(page.locator("svg text").all_text_contents())


def test_workflows_as_lines_over_their_rounds(page, server, slices):
    wanted = {"tfprune workflows", "tiny-1", "narrow-1", "tiny-1 (accuracy)", "narrow-1 (accuracy)", "Step", *slices}
    screenshots.visit(page, server.links["workflows"], wanted)


def test_the_table_has_its_columns(page, server, record, slices):
    url = server.url.replace("=CHART", "=TABLE")
    screenshots.visit(page, url, ["Run Name", "Created", "accuracy", "accuracy_drop"], turn=False)
    recorded = {name for run in record.values() for name in run.data.metrics}
    others = {"worst_slice_accuracy", "worst_slice_drop", "sparsity", "parameters", "macs", "passed"} & recorded
    assert {"sparsity", "parameters", "macs"} <= others  # a slice too small to be the worst of all has no such figure
    screenshots.scroll(page, {*others, *(name for name in slices if name.startswith("slice_drop/"))}, right=300)


def test_two_runs_compared(page, server, record, section, slices):
    chosen = [record[name] for name in ("tiny-1 r02", "narrow-1 r01")]
    url = screenshots.compare_url(
        server.url.partition("/#")[0], Recorded(section).experiment_id, [each.info.run_id for each in chosen]
    )
    screenshots.visit(page, url, ["Comparing 2 Runs from 1 Experiment", "tiny-1 r02", "narrow-1 r01"], turn=False)
    both = sorted(name for name in slices if all(name in each.data.metrics for each in chosen))
    assert len(both) >= 6
    rows = screenshots.compared(page, both)
    for name in both:
        shown = [float(text) for text in rows[name]]
        assert shown == [pytest.approx(each.data.metrics[name], abs=5e-4) for each in chosen], name


# --------------------------------------------------------------------------------- the views as they are kept


def test_views_are_kept_once(section, server):
    client, experiment = MlflowClient(section.uri), Recorded(section).experiment_id
    before = client.get_experiment(experiment).tags
    assert {f"{VIEW_TAG}{view}" for view in VIEWS} <= set(before)
    assert set(Recorded(section).save_views(saved_views)) == {f"{VIEW_TAG}{view}" for view in VIEWS}
    assert client.get_experiment(experiment).tags == before


def test_a_store_that_takes_no_view_shows_its_runs(section, tmp_path):
    shutil.copy(section.uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DELETE FROM experiment_tags")
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON experiment_tags BEGIN SELECT RAISE(ABORT, 'readonly database'); END"
        )
        database.commit()
    saved = Recorded(TrackSection(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")).save_views(saved_views)
    assert saved == {}
    # A link to a view that is not there would end on another page of MLflow's.
    assert ui._links("http://a", "1", saved) == {"runs": "http://a/#/experiments/1/runs?workflowType=machine_learning"}


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=200)


@settings(max_examples=30, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=120, unique=True), st.data())
def test_a_view_holds_every_slice_and_fits(names, data):
    whole = ["accuracy", "sparsity", "nonzero", "compression", "worst_slice_drop"]
    kinds = ("slice_accuracy", "slice_drop")
    rounds = [[*whole, *(f"{kind}/{name}" for kind in kinds for name in names)], whole]
    views = saved_views(rounds, made=7)
    shuffled = [data.draw(st.permutations(each)) for each in rounds]
    assert saved_views(shuffled, made=7) == views
    for value in views.values():
        assert len(value) <= 20_000  # what MLflow takes
        page = page_of(value)
        cards = {card.get("metricKey") for card in page["compareRunCharts"]}
        wanted = {f"{kind}/{name}" for kind in kinds for name in names}
        # A view too long for a tag leaves cards to the page, which adds one for every metric that has none.
        assert wanted <= cards or len(json.dumps(sorted(wanted))) > 5_000
        sections = {each["uuid"] for each in page["compareRunSections"]}
        assert {card["metricSectionId"] for card in page["compareRunCharts"]} <= sections
        assert len({card["uuid"] for card in page["compareRunCharts"]}) == len(page["compareRunCharts"])


@pytest.mark.parametrize(
    ("count", "length", "columns", "cards"), [(100, 3, 100, 200), (90, 150, 90, 0), (400, 180, 0, 0)]
)
def test_a_view_too_long_for_a_tag_leaves_slices_to_the_page(count, length, columns, cards):
    names = [hashlib.shake_256(bytes([number % 256, number // 256])).hexdigest(length)[:200] for number in range(count)]
    kinds = ("slice_accuracy", "slice_drop")
    views = saved_views([["accuracy", *(f"{kind}/{name}" for kind in kinds for name in names)]], made=0)
    for value in views.values():
        page = page_of(value)
        assert len(value) <= 20_000
        assert len([name for name in page["selectedColumns"] if "slice_drop/" in name]) == columns
        assert len([card for card in page["compareRunCharts"] if "/" in card.get("metricKey", "")]) == cards


def test_no_axis_that_a_round_lacks():
    """The page leaves out a round without one of the axes: slices of other data have a plot of their own."""
    first = ["accuracy", "compression", *(f"slice_accuracy/class_{number}" for number in range(12))]
    second = ["accuracy", "compression", "slice_accuracy/site_a"]
    page = page_of(saved_views([first, first, second], made=0)[f"{VIEW_TAG}rounds"])
    plots = [card["selectedMetrics"] for card in page["compareRunCharts"] if card["type"] == "PARALLEL"]
    assert [len(plot) for plot in plots] == [12, 4, 3]
    for plot in plots:
        assert set(plot) <= set(first) or set(plot) <= set(second)
        assert plot[-1] == "compression"  # the last axis gives the colour
    assert {name for plot in plots for name in plot} == {*first, *second}


def test_nothing_recorded_has_no_view():
    assert saved_views([], made=0) == {}


def test_regression_and_compiled_metrics_have_their_sections():
    names = ["error", "error_rise", "worst_slice_error", "slice_error/a", "slice_drop/a", "slice_auc/a", "slice_gap"]
    page = page_of(saved_views([names], made=0)[f"{VIEW_TAG}workflows"])
    shown = [each["name"] for each in page["compareRunSections"] if each["display"]]
    assert shown == ["Overview", "slice_drop", "slice_error", "slice_auc", "Side by side", "Parallel coordinates"]
    assert page["selectedColumns"][:2] == ["metrics.`error`", "metrics.`error_rise`"]


def test_colours_tell_workflows_and_rounds_apart():
    def light(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return (max(red, green, blue) + min(red, green, blue)) / 510

    for workflow in range(8):
        grades = [light(run_colour(workflow, number)) for number in range(9)]
        assert all(before - after > 0.01 for before, after in pairwise(grades))
    every = [run_colour(workflow, number) for workflow in range(20) for number in (None, *range(9))]
    assert len(set(every)) == len(every)

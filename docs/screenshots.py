"""Pictures of the MLflow UI for the docs, and the browser that takes them.

    python docs/screenshots.py URI FOLDER [--experiment NAME] [--compare RUN RUN]

starts the UI on the recorded workflows, opens what ``tfprune ui`` opens in a headless Chromium, and writes PNG files:

    rounds.png      the saved view of rounds: parallel coordinates, scatter plots and bars
    slices.png      the same, scrolled to the charts of slices
    workflows.png   the saved view of workflows: lines over the rounds
    table.png       the saved view of rounds as a table
    compare.png     the compare page of two runs: the given ones, else the last rounds of the two latest workflows
    run.png         the latest workflow's own page with its description

It needs ``pip install -e .[dev]`` and a Chromium or Chrome: Debian's ``apt-get install chromium``, or
``playwright install chromium``. ``tests/tracking/test_browser.py`` drives the same functions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from tfprune.errors import TfpruneError
from tfprune.recipe import TrackSection
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.ui import serve_ui

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# What opens beside the page on the first visit of a local server, and covers a quarter of it.
_NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome, the system's before playwright's own; None without one."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found


@contextmanager
def open_browser(path: str, width: int = 1600, height: int = 1100) -> Iterator[Page]:
    """A page of a headless browser, which ends with the context."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to start as root with one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.add_init_script(_NO_ASSISTANT)
            yield page
        finally:
            browser.close()


def visit(page: Page, url: str, wanted: Iterable[str], seconds: float = 30.0, turn: bool = True) -> str:
    """Open a page and scroll through it until it has shown every wanted text.

    Args:
        page: of the browser.
        url: with the part after ``#``, which is what names a page of the UI.
        wanted: texts that stand for themselves, such as the names of runs and metrics.
        seconds: how long to look.
        turn: scroll down where a text is missing; False only waits.

    Returns:
        All lines that were seen, each once.

    Raises:
        LookupError: a text did not come.
    """
    page.goto("about:blank")  # a change after '#' alone would not load the page anew
    page.goto(url)
    return scroll(page, wanted, seconds, 400 if turn else 0)


def scroll(page: Page, wanted: Iterable[str], seconds: float = 30.0, down: int = 0, right: int = 0) -> str:
    """Turn the wheel over the middle of the page until it has shown every wanted text; see `visit`."""
    missing, seen, end = set(wanted), dict[str, None](), time.monotonic() + seconds
    size = page.viewport_size or {"width": 1600, "height": 1100}
    page.mouse.move(size["width"] * 0.6, size["height"] * 0.6)
    while True:
        page.wait_for_timeout(200)
        before, lines = len(seen), page.locator("body").inner_text().splitlines()
        seen.update(dict.fromkeys(filter(None, map(str.strip, lines))))
        missing -= set(seen)
        if not missing:
            return "\n".join(seen)
        if time.monotonic() > end:
            raise LookupError(f"{page.url} never showed {', '.join(sorted(missing))}")
        # Charts and columns are drawn when they come into sight: on when nothing more comes, and the runs are there.
        if len(seen) == before and "Run Name" in seen:
            page.mouse.wheel(right, down)


def compared(page: Page, wanted: Iterable[str], seconds: float = 30.0) -> dict[str, list[str]]:
    """The metrics of an open compare page: name to the values, in the order of the runs.

    The page draws names and values in two grids of which the first follows the second one step late, so that rows that
    look like one may be none. Their cells are matched by their places in the whole instead.

    Raises:
        LookupError: a metric did not come.
    """
    names, values, end = dict[str, str](), dict[str, dict[str, str]](), time.monotonic() + seconds
    grids = page.locator(".ReactVirtualized__Grid")
    grids.last.scroll_into_view_if_needed()
    while True:
        for found, grid in ((names, grids.first), (values, grids.last)):
            for cell in grid.locator(".ReactVirtualized__Grid__innerScrollContainer > *").all():
                top, left, text = cell.evaluate("each => [each.style.top, each.style.left, each.innerText.trim()]")
                found[top] = text if found is names else {**found.get(top, {}), left: text}
        rows = {name: [*values[top].values()] for top, name in names.items() if top in values}
        missing = set(wanted) - set(rows)
        if not missing:
            return rows
        if time.monotonic() > end:
            raise LookupError(f"{page.url} never showed {', '.join(sorted(missing))}")
        turn_table(page, 150)


def turn_table(page: Page, by: int) -> None:
    """Scroll the metrics of an open compare page, in steps so small that its names keep up with its values."""
    grid = page.locator(".ReactVirtualized__Grid").last
    grid.hover()
    for step in [15] * (by // 15) + [1, 1]:
        page.mouse.wheel(0, step)
        page.wait_for_timeout(20)


def compare_url(base: str, experiment: str, runs: Sequence[str]) -> str:
    """The compare page of runs by their ids."""
    query = f"runs={quote(json.dumps(list(runs)))}&experiments={quote(json.dumps([experiment]))}"
    return f"{base}/#/compare-runs?{query}&workflowType=machine_learning"


def _to_compare(names: Sequence[str], workflows: Sequence[str]) -> list[str]:
    """The last rounds of the two latest workflows; of a single one, the dense model and the last round."""
    rounds = [sorted(name for name in names if name.startswith(f"{each} ")) for each in workflows]
    begun = [each for each in rounds if each]
    return [each[-1] for each in begun[:2]] if len(begun) > 1 else [begun[0][0], begun[0][-1]]


def take(section: TrackSection, folder: Path, browser: str, names: Sequence[str] = ()) -> list[Path]:
    """Write the pictures and return their paths.

    Args:
        section: URI and experiment.
        folder: made where missing.
        browser: path of a Chromium.
        names: of two runs to compare; by default `_to_compare` chooses.
    """
    recorded = Recorded(section)
    client = MlflowClient(tracking_uri(section))
    runs = {run.info.run_name: run for run in reversed(client.search_runs([recorded.experiment_id]))}
    workflows = recorded.names()
    chosen = list(names) or _to_compare(list(runs), workflows)
    folder.mkdir(parents=True, exist_ok=True)
    with serve_ui(section, port=0) as server, open_browser(browser) as page:
        base = server.url.partition("/#")[0]

        def picture(name: str) -> Path:
            page.wait_for_timeout(2500)  # for what moves into its place
            page.screenshot(path=folder / f"{name}.png")
            return folder / f"{name}.png"

        visit(page, server.links["rounds"], ["Overview", "compression", "accuracy"], turn=False)
        paths = [picture("rounds")]
        page.get_by_text("slice_drop", exact=True).first.evaluate("each => each.scrollIntoView()")
        paths.append(picture("slices"))
        visit(page, server.links["workflows"], ["Overview"])
        paths.append(picture("workflows"))
        visit(page, server.links["rounds"].replace("=CHART", "=TABLE"), ["accuracy"])
        paths.append(picture("table"))
        visit(page, compare_url(base, recorded.experiment_id, [runs[each].info.run_id for each in chosen]), ["Metrics"])
        page.get_by_text("Metrics", exact=True).last.evaluate("each => each.scrollIntoView()")
        metrics = sorted(set().union(*(runs[each].data.metrics for each in chosen)))
        turn_table(page, 45 * sum(name < "slice_" for name in metrics))  # rows are 45 px high
        paths.append(picture("compare"))
        latest = f"experiments/{recorded.experiment_id}/runs/{runs[workflows[0]].info.run_id}"
        visit(page, f"{base}/#/{latest}?workflowType=machine_learning", ["Description"])
        paths.append(picture("run"))
    return paths


def main() -> int:
    """Parse, take, print."""
    parser = argparse.ArgumentParser(description="Pictures of the MLflow UI for the docs.")
    parser.add_argument("uri", help="tracking URI, such as sqlite:////path/mlruns/mlflow.db")
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    parser.add_argument("--experiment", default="tfprune")
    parser.add_argument("--compare", nargs=2, default=(), metavar="RUN", help="names of the two runs to compare")
    given = parser.parse_args()
    browser = find_browser()
    if browser is None:
        print("error: no browser found; apt-get install chromium, or playwright install chromium", file=sys.stderr)
        return 2
    try:
        paths = take(TrackSection(uri=given.uri, experiment=given.experiment), given.folder, browser, given.compare)
    except TfpruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

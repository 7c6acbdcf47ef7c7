"""What the MLflow UI shows first: two saved views of the rounds, and colours that tell rounds and workflows apart.

MLflow keeps a saved view in a tag of the experiment: a name, two times, and the state of its page as deflated JSON.
The format is that of MLflow 3.17 and not documented. A key that another version does not know is left alone by it, and
charts that a view leaves out are added by the page itself.
"""

from __future__ import annotations

import base64
import colorsys
import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

VIEW_TAG = "mlflow.sharedViewState."
"""What the tag of a saved view begins with; its key follows."""

VIEWS = ("rounds", "workflows")
"""Keys of the views. Rounds stand side by side in the first; in the second they are steps of their workflows."""

_LIMIT = 20_000  # characters that MLflow takes for a tag of an experiment
_AXES = 10  # slices that one plot of parallel coordinates can show
_PLOTS = 6
_COLUMNS = (
    "accuracy",
    "accuracy_drop",
    "error",
    "error_rise",
    "worst_slice_accuracy",
    "worst_slice_error",
    "worst_slice_drop",
    "slice_gap",
    "calibration_error",
    "churn",
    "sparsity",
    "compression",
    "parameters",
    "macs",
    "passed",
)
_CHARTED = ("accuracy", "error", "worst_slice_accuracy", "worst_slice_error", "worst_slice_drop", "compression")
_SLICES = ("slice_drop", "slice_accuracy", "slice_error", "slice_churn")  # in this order, before any others
_CLOSED = ("finetune", "test", "Model metrics", "System metrics")  # sections that the page fills by itself


def saved_views(rounds: Sequence[Collection[str]], made: int) -> dict[str, str]:
    """Tags of the experiment that hold the views; the same for the same names.

    Args:
        rounds: names of the metrics of each recorded round. Slices that not all of them have get plots of their own,
            as parallel coordinates leave out a round that lacks one of the axes.
        made: when the views were made, in milliseconds since 1970.

    Returns:
        Tag to value; empty where nothing is recorded.

    Example:
        >>> views = saved_views([["accuracy", "sparsity", "slice_drop/class_8"]], made=0)
        >>> list(views)
        ['mlflow.sharedViewState.rounds', 'mlflow.sharedViewState.workflows']
    """
    names = sorted(set().union(*rounds)) if rounds else []
    return {f"{VIEW_TAG}{view}": _value(view, names, rounds, made) for view in VIEWS} if names else {}


def run_colour(workflow: int, number: int | None = None) -> str:
    """Colour of a run: a hue for each workflow, from light to dark over its rounds.

    Args:
        workflow: how many workflows were recorded before it.
        number: of the round, 0 for the dense model; None for the workflow itself.

    Example:
        >>> run_colour(0), run_colour(0, 0), run_colour(0, 5)
        ('#2a1dc9', '#b4aff4', '#1d1388')
    """
    hue = (0.68 + workflow * 0.381966) % 1  # steps of the golden ratio come near to each other as late as can be
    lightness = 0.45 if number is None else 0.18 + 0.64 * 0.72**number
    parts = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


# --------------------------------------------------------------------------------- the state of the page


def _value(view: str, names: Sequence[str], rounds: Sequence[Collection[str]], made: int) -> str:
    """A view as a tag's value: where all its cards are too long for one, those of slices are left to the page."""
    value = ""
    for columns, cards in ((names, names), (names, _plain(names)), (_plain(names), _plain(names))):
        text = json.dumps(_state(view, columns, cards, rounds), separators=(",", ":"))
        state = "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        value = json.dumps({"name": f"tfprune {view}", "createdAt": made, "updatedAt": made, "state": state})
        if len(value) <= _LIMIT:
            break
    return value


def _state(view: str, names: Sequence[str], cards: Sequence[str], rounds: Sequence[Collection[str]]) -> dict[str, Any]:
    """The page: what is sought and sorted, columns of the table, and charts in their sections."""
    columns = [name for name in _COLUMNS if name in names] + _of(names, "slice_drop")
    keys = ["attributes.`Run Name`", "runDateAndNestInfo", *(f"metrics.`{name}`" for name in columns)]
    # Runs nest under their parents when sorted by Created, and only so; sorted by name, rounds stand side by side.
    flat = view == "rounds"
    return {
        # Any value of the tag: workflows and their rounds have it, trials of searches do not.
        "searchFilter": "tags.`tfprune.kind` = 'round'" if flat else "tags.`tfprune.workflow` LIKE '%'",
        "orderByKey": "tags.`mlflow.runName`" if flat else "attributes.start_time",
        "orderByAsc": flat,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": keys[2:],
        "columnOrder": keys,
        "columnWidths": {f"metrics.`{name}`": max(90, 30 + 7 * len(name)) for name in columns},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [*_parallels(names, rounds), *_charts(flat, cards)],
        "compareRunSections": _sections(flat, names),
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,  # else the page puts the sections in an order of its own
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _sections(flat: bool, names: Sequence[str]) -> list[dict[str, Any]]:
    """Sections in order; the page looks them up by name for what it adds by itself."""
    plots = {"name": "Parallel coordinates", "columns": 1, "cardHeight": 380}
    others: list[dict[str, Any]] = [{"name": name} for name in ("Overview", *_slice_sections(names))]
    others.append({"name": "Side by side", "columns": 1, "cardHeight": 600})
    shown = [plots, *others] if flat else [*others, plots]  # of workflows, lines over the rounds say more
    hidden: list[dict[str, Any]] = [{"name": name} for name in _CLOSED]
    return [
        {"uuid": each["name"], "display": display, "isReordered": True, **each}
        for display, several in ((True, shown), (False, hidden))
        for each in several
    ]


def _charts(flat: bool, names: Sequence[str]) -> list[dict[str, Any]]:
    single = _bar if flat else _line
    scores = [name for name in ("accuracy", "error", "worst_slice_drop") if name in names and "nonzero" in names]
    scatters = [_scatter("nonzero", name) for name in scores]
    figures = [single("Overview", name) for name in _CHARTED if name in names]
    return [
        *(scatters + figures if flat else figures + scatters),
        *(single(section, name) for section in _slice_sections(names) for name in _of(names, section)),
        _table(),
    ]


def _parallels(names: Sequence[str], rounds: Sequence[Collection[str]]) -> Iterable[dict[str, Any]]:
    """Parallel coordinates over the slices that the same rounds have; the last axis, compression, gives the colour."""
    scores = [name for section in ("slice_accuracy", "slice_error") for name in _of(names, section)]
    having: dict[tuple[bool, ...], list[str]] = {}
    for name in scores:
        having.setdefault(tuple(name in each for each in rounds), []).append(name)
    groups = sorted(having.items(), key=lambda item: (-sum(item[0]), item[1]))
    parts = [(who, found[at : at + _AXES]) for who, found in groups for at in range(0, len(found), _AXES)]
    for number, (who, found) in enumerate(parts[:_PLOTS]):
        common = set.intersection(*(set(each) for each, has in zip(rounds, who, strict=True) if has))
        axes = [
            name
            for name in ("sparsity", "accuracy", "error", "worst_slice_accuracy", "worst_slice_error")
            if name in common
        ]
        last = [name for name in ("compression",) if name in common]
        more = {"selectedParams": [], "selectedMetrics": [*axes, *found, *last], "showAllRuns": False}
        yield {**_card("PARALLEL", "Parallel coordinates", f"{number}"), **more}


def _table() -> dict[str, Any]:
    """Every metric of the shown runs; without changes, whose green and red take a growing loss for a good thing."""
    shows = {"compareGroups": ["Model metrics"], "chartName": "Runs difference view", "baselineColumnUuid": ""}
    return {
        **_card("DIFFERENCE", "Side by side", "table"),
        **shows,
        "showChangeFromBaseline": False,
        "showDifferencesOnly": False,
    }


def _scatter(x: str, y: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return {**_card("SCATTER", "Overview", f"{x}:{y}"), **axes}


def _bar(section: str, name: str) -> dict[str, Any]:
    return {**_card("BAR", section, name), "metricKey": name, "displayName": name}


def _line(section: str, name: str) -> dict[str, Any]:
    """A line over the rounds of a workflow."""
    return {
        **_card("LINE", section, name),
        "metricKey": name,
        "displayName": name,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _card(kind: str, section: str, key: str) -> dict[str, Any]:
    same = {"runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"uuid": f"{section}:{key}", "type": kind, "metricSectionId": section, **same}


def _slice_sections(names: Iterable[str]) -> list[str]:
    """Sections of the charts page with a chart a slice; metrics of the compiled model have some of their own."""
    found = {name.partition("/")[0] for name in names if name.startswith("slice_") and "/" in name}
    return [*(name for name in _SLICES if name in found), *sorted(found.difference(_SLICES))]


def _of(names: Iterable[str], section: str) -> list[str]:
    return [name for name in names if name.startswith(f"{section}/")]


def _plain(names: Iterable[str]) -> list[str]:
    return [name for name in names if "/" not in name]

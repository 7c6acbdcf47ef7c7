"""Sentences, tables and JSON from results made by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tfprune.report.progress import ProgressWatch
from tfprune.report.summary import (
    as_json,
    layers_table,
    measurement_sentence,
    outcome_sentence,
    round_sentence,
    rounds_table,
    slices_table,
    workflow_markdown,
)
from tfprune.results import Evaluation, LayerCost, Measurement, Round, RunResult, SliceScore, Verdict


def evaluation(accuracy: float, drop: float | None, *drops: float) -> Evaluation:
    scores = tuple(SliceScore(f"class_{i}", 30 + i, 0.9 - each, each) for i, each in enumerate(drops))
    return Evaluation(accuracy, 0.3, 100, drop, scores)


DENSE = Round(0, 0, 0.0, 0.0, 0.0, evaluation(0.95, None), Measurement(2000, 1500, 1400, 0, 5, 8, 7), Verdict(True))
FIRST = Round(
    1,
    0,
    0.5,
    0.5,
    0.5,
    evaluation(0.94, 0.01, -0.0004, 0.05),
    Measurement(2000, 750, 1400, 700, 5, 8, 6),
    Verdict(True),
)
SECOND = Round(
    2,
    1,
    0.8,
    0.8,
    0.6,
    evaluation(0.8, 0.15, 0.3, 0.1),
    Measurement(2000, 300, 1400, 1120, 5, 8, 4),
    Verdict(False, ("accuracy fell by 15.0 points (at most 2.0 points)", "slice class_0 fell by 30.0 points")),
)
ROUNDS = (DENSE, FIRST, SECOND)
RESULT = RunResult(
    "digits-1",
    "",
    False,
    ROUNDS,
    1,
    evaluation(0.951, None),
    evaluation(0.9406, 0.0104, 0.02, -0.01),
    Path("/somewhere/digits-1"),
    "sqlite:///x.db",
    model=object(),
)


def shown(table) -> list[list[str]]:
    """The cells of a table as a terminal shows them, row by row."""
    console = Console(width=250, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(table)
    rows = [line for line in console.export_text().splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", row)[1:-1]] for row in rows]


def test_outcome():
    assert outcome_sentence(RESULT, "2 rounds in a row failed their gates") == (
        "Target not met (2 rounds in a row failed their gates): round 1 has 2.0x fewer nonzero weights at 50.0% "
        "sparsity; on the test split accuracy went from 95.1% to 94.1% (-1.0 points), worst slice class_0 -2.0 points."
    )
    met = replace(RESULT, target_met=True, test=evaluation(0.951, 0.0))
    assert outcome_sentence(met, "x").startswith("Target met (x): ")
    assert "to 95.1% (0.0 points)." in outcome_sentence(met, "x")
    assert outcome_sentence(replace(RESULT, best=0), "why") == (
        "No round kept its promises, so the dense model is what is left: why."
    )
    assert outcome_sentence(replace(RESULT, best=0, target_met=True), "why") == "Target met: why."


def test_a_round_in_one_line():
    assert round_sentence(DENSE) == "dense: sparsity 0.0%, accuracy 95.0%"
    assert round_sentence(FIRST) == "r01: sparsity 50.0%, accuracy 94.0% (-1.0 points)"
    assert round_sentence(SECOND) == (
        "r02: sparsity 80.0%, accuracy 80.0% (-15.0 points); failed: accuracy fell by 15.0 points "
        "(at most 2.0 points); slice class_0 fell by 30.0 points"
    )


def test_rounds_table_shows_reasons_and_marks_the_best():
    table = rounds_table("digits-1", ROUNDS, best=1)
    assert shown(table) == [
        ["round", "sparsity", "of all", "nonzero", "accuracy", "change", "worst slice", "verdict"],
        ["dense", "0.0%", "25.0%", "1,500", "95.0%", "", "", "passed"],
        ["r01", "50.0%", "62.5%", "750", "94.0%", "-1.0", "class_1 -5.0", "passed"],
        ["r02", "80.0%", "85.0%", "300", "80.0%", "-15.0", "class_0 -30.0", "; ".join(SECOND.verdict.reasons)],
    ]
    assert [row.style for row in table.rows] == ["", "bold green", "red"]


def rebuilt(number: int, parameters: int, macs: int, removed: float, *rest: float) -> Round:
    weight = Measurement(parameters, parameters, parameters, 0, macs, 4 * parameters, parameters)
    scores = evaluation(0.95 - 0.01 * number, 0.01 * number if number else None)
    start = (number, max(0, number - 1), removed, 0.0, 0.2, scores, weight, Verdict(True))
    return Round(*start, method="structured", removed=removed, reached=removed)


SMALLER = (rebuilt(0, 2000, 9000, 0.0), rebuilt(1, 1200, 4000, 0.2), rebuilt(2, 800, 3000, 0.36))
MASKED_THEN = replace(
    FIRST, number=3, phase=1, removed=0.36, measurement=Measurement(800, 420, 700, 350, 3000, 3200, 9)
)


def test_rounds_that_rebuild_show_sizes():
    table = rounds_table("digits-1", SMALLER, best=2)
    assert shown(table) == [
        ["round", "removed", "parameters", "MACs", "MB", "accuracy", "change", "worst slice", "verdict"],
        ["dense", "0.0%", "2,000", "9,000", "0.008", "95.0%", "", "", "passed"],
        ["r01", "20.0%", "1,200", "4,000", "0.005", "94.0%", "-1.0", "", "passed"],
        ["r02", "36.0%", "800", "3,000", "0.003", "93.0%", "-2.0", "", "passed"],
    ]
    lines = workflow_markdown("digits-1", SMALLER, "").splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1 and lines[2].startswith("| round | removed | parameters |")
    assert round_sentence(SMALLER[0]) == "dense: 0.0% of the units removed, 2,000 parameters, accuracy 95.0%"
    assert round_sentence(SMALLER[1]) == (
        "r01: 20.0% of the units removed, 1,200 parameters, accuracy 94.0% (-1.0 points)"
    )


def test_rounds_of_both_kinds_show_both():
    rounds = (*SMALLER, MASKED_THEN)
    rows = shown(rounds_table("digits-1", rounds, best=3))
    assert rows[0][:6] == ["round", "removed", "parameters", "MACs", "MB", "sparsity"]
    assert rows[4][:6] == ["r03", "36.0%", "800", "3,000", "0.003", "50.0%"]
    assert "of all" not in rows[0]
    assert round_sentence(MASKED_THEN).startswith("r03: 36.0% of the units removed, sparsity 50.0%, accuracy")
    result = replace(RESULT, rounds=rounds, best=3)
    assert "round 3 has 2.5x fewer parameters and 3.0x fewer MACs with 36.0% of the units removed, and 4.8x fewer " in (
        outcome_sentence(result, "why")
    )
    only = outcome_sentence(replace(RESULT, rounds=SMALLER, best=1), "why")
    assert "round 1 has 1.7x fewer parameters and 2.2x fewer MACs with 20.0% of the units removed; on" in only
    assert "nonzero" not in only


def test_markdown_is_a_table():
    lines = workflow_markdown("digits-1", ROUNDS, "Done.").splitlines()
    assert lines[:2] == ["**digits-1** Done.", ""]
    assert len({line.count("|") for line in lines[2:]}) == 1 and len(lines) == 7
    assert lines[-1].startswith("| r02 | 80.0% | 85.0% | 300 |")


@given(st.floats(-0.2, 0.2))
def test_what_rounds_to_nothing_has_no_sign(drop):
    each = replace(FIRST, evaluation=evaluation(0.9, drop, drop))
    texts = (
        round_sentence(each)
        + workflow_markdown("w", [each], "")
        + str(shown(slices_table("t", [("a", each.evaluation.slices)])))
    )
    texts += outcome_sentence(replace(RESULT, test=each.evaluation), "x")
    assert not re.search(r"[-+]0\.0\b(?!\d)", texts)


def test_slices_side_by_side():
    table = slices_table("test", [("dense", DENSE.evaluation.slices), ("r01", FIRST.evaluation.slices)])
    assert shown(table) == [
        ["slice", "examples", "dense", "r01"],
        ["class_0", "30", "", "90.0% (0.0)"],
        ["class_1", "31", "", "85.0% (-5.0)"],
    ]
    other = slices_table("", [("a", (SliceScore("x", 1, 1.0),)), ("b", (SliceScore("y", 2, 0.5),))])
    assert shown(other)[1:] == [["x", "1", "100.0%", ""], ["y", "2", "", "50.0%"]]


def test_layers():
    costs = (
        LayerCost("conv", "Conv2D", (None, 8, 4), 1000, 600, 900, 450, 5000),
        LayerCost("norm", "BatchNormalization", (8,), 16, 16, 0, 0, 0, "no prunable weight"),
        LayerCost("relu", "ReLU", (8,), 0, 0, 0, 0, 0, "no weights"),
    )
    weight = Measurement(1016, 616, 900, 450, 5000, 4_064_000, 2_000_000, costs)
    assert shown(layers_table(weight))[1:] == [
        ["conv", "Conv2D", "?x8x4", "1,000", "5,000", "50.0%"],
        ["norm", "BatchNormalization", "8", "16", "0", "no prunable weight"],
    ]
    assert measurement_sentence(weight) == (
        "1,016 parameters, 900 of them prunable and 50.0% of those zero, 39.4% of all; 5,000 MACs; "
        "4.06 MB of weights, 2.00 MB gzipped."
    )


def test_sparsity_of_all_weights():
    assert FIRST.measurement.sparsity == 0.5
    assert FIRST.measurement.overall_sparsity == 1 - 750 / 2000
    assert Measurement(0, 0, 0, 0, 0, 0, 0).overall_sparsity == 0


def test_json_of_a_result_has_no_model():
    content = json.loads(as_json(RESULT))
    assert "model" not in content
    assert content["directory"] == "/somewhere/digits-1"
    assert content["rounds"][2]["verdict"] == {"passed": False, "reasons": list(SECOND.verdict.reasons)}
    assert content["rounds"][0]["evaluation"]["drop"] is None
    assert set(content) == {each for each in RESULT.__dataclass_fields__ if each != "model"}


@pytest.mark.parametrize("value", [DENSE, DENSE.evaluation, DENSE.measurement, {"a": (FIRST, Path("p"))}], ids=str)
def test_json_of_anything_loads(value):
    assert json.loads(as_json(value))


def test_progress_is_told_on_the_console(tmp_path):
    with (tmp_path / "log").open("w") as file:
        watch = ProgressWatch(Console(file=file, width=200))
        watch.note("loading")
        watch.phase("training dense", 3, 1)
        watch.step()
        watch.phase_done()
        watch.phase_done()
        watch.step()
        watch.round(SECOND)
    text = (tmp_path / "log").read_text()
    assert text.startswith("loading\n")
    assert "training dense" in text
    assert round_sentence(SECOND) in text

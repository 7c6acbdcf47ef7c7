"""Tables of the terminal: what stands in them, and that a terminal of 80 columns holds it."""

from __future__ import annotations

import re
from dataclasses import replace

import made_rounds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rounds import DENSE, FIRST, REASON, ROUNDS, SECOND, SMALLER, evaluation, lines_of, score, shown

from tfprune.report.markdown import workflow_markdown
from tfprune.report.summary import evaluation_sentence, round_sentence
from tfprune.report.tables import (
    compared_slices_table,
    comparison_table,
    evaluation_table,
    layers_table,
    rounds_table,
    slices_table,
)
from tfprune.results import LayerCost, Measurement, SliceScore

WORKFLOWS = {"digits-magnitude": (ROUNDS, "Target not met: x."), "digits-structured": (SMALLER, "")}


def test_rounds_table_shows_reasons_and_marks_the_best():
    table = rounds_table("digits-1", ROUNDS, best=1)
    assert shown(table) == [
        ["round", "sparsity", "of all", "nonzero", "accuracy", "change", "worst slice", "verdict"],
        ["dense", "0.0%", "25.0%", "1,500", "95.0%", "", "", "passed"],
        ["r01", "50.0%", "62.5%", "750", "94.0%", "-1.0", "class_1 -5.0", "passed"],
        ["r02", "80.0%", "85.0%", "300", "80.0%", "-15.0", "class_0 -30.0", "; ".join(SECOND.verdict.reasons)],
    ]
    assert [row.style for row in table.rows] == ["", "bold green", "red"]


def test_rounds_that_rebuild_show_sizes():
    assert shown(rounds_table("digits-1", SMALLER, best=2)) == [
        ["round", "removed", "parameters", "MACs", "MB", "accuracy", "change", "worst slice", "verdict"],
        ["dense", "0.0%", "2,000", "9,000", "0.008", "95.0%", "", "", "passed"],
        ["r01", "20.0%", "1,200", "4,000", "0.005", "94.0%", "-1.0", "", "passed"],
        ["r02", "36.0%", "800", "3,000", "0.003", "93.0%", "-2.0", "", "passed"],
    ]


def test_rounds_of_both_kinds_show_both():
    weight = Measurement(800, 420, 700, 350, 3000, 3200, 9)
    rows = shown(rounds_table("a", (*SMALLER, replace(FIRST, number=3, phase=1, removed=0.36, measurement=weight))))
    assert rows[0][:6] == ["round", "removed", "parameters", "MACs", "MB", "sparsity"]
    assert rows[4][:6] == ["r03", "36.0%", "800", "3,000", "0.003", "50.0%"]
    assert "of all" not in rows[0]


def test_rounds_of_a_regression_show_errors():
    rounds = [replace(DENSE, evaluation=made_rounds.regression(2.0)),
              replace(FIRST, evaluation=made_rounds.regression(2.125, 0.125, 0.5))]  # fmt: skip
    rows = shown(rounds_table("a", rounds))
    assert rows[0][4:7] == ["error", "change", "worst slice"]
    assert rows[2][4:7] == ["2.125", "+0.125", "old_0 +0.5"]


@given(st.floats(-0.2, 0.2))
def test_what_rounds_to_nothing_has_no_sign(drop):
    each = replace(FIRST, evaluation=evaluation(0.9, drop, drop))
    texts = round_sentence(each) + workflow_markdown("w", [DENSE, each], "") + evaluation_sentence(each.evaluation)
    texts += str(shown(slices_table("t", [("a", each.evaluation.slices)])))
    assert not re.search(r"[-+]0\.0\b(?!\d)", texts)


def test_slices_side_by_side():
    table = slices_table("test", [("dense", DENSE.evaluation.slices), ("r01", FIRST.evaluation.slices)])
    assert shown(table) == [
        ["", "", "dense", "r01"],
        ["slice", "n", "accuracy", "accuracy, drop"],
        ["class_0", "30", "90.0%", "90.0% 0.0 [-3.0,4.0]"],
        ["class_1", "31", "90.0%", "85.0% 5.0  [2.0,9.0]"],
    ]
    other = slices_table("", [("a", (SliceScore("x", 1, 1.0),)), ("b", (SliceScore("y", 2, 0.5),))])
    assert shown(other)[2:] == [["x", "1", "100.0%", ""], ["y", "2", "", "50.0%"]]
    assert shown(slices_table("", [("a", ())]))[2:] == []


def test_what_is_more_than_chance_and_what_is_too_small_is_marked():
    slices = [
        score("sure", 200, 0.8, 0.1, p_adjusted=0.004),
        score("tiny", 5, 0.6, 0.2, p_adjusted=None),
        score("found", 50, 0.8, 0.1, p_adjusted=0.2, rule="age > 60 and site = b"),
    ]
    table = slices_table("", [("r01", slices)], min_support=20)
    rows = shown(table)
    assert [row[1] for row in rows[2:]] == ["200", "(5)", "50"]
    assert [row[2].endswith("*") for row in rows[2:]] == [True, False, False]
    assert [row.style for row in table.rows] == ["", "dim", ""]
    beneath = " ".join("\n".join(lines_of(table)).split("┘")[-1].split())
    assert "* p < 0.05 after Holm" in beneath and "(n) gates nothing: fewer than 20 examples" in beneath
    assert "found: age > 60 and site = b" in beneath
    plain = " ".join(lines_of(slices_table("", [("r01", slices[2:])])))
    assert "Holm" not in plain and "fewer than" not in plain


def test_slices_of_a_regression_are_numbers():
    rows = shown(slices_table("", [("r01", made_rounds.regression(2.0, 0.1, 0.25).slices)]))
    assert rows[1:] == [["slice", "n", "error, drop"], ["old_0", "20", "2.25 0.25 [-0.75,1.25]"]]


def test_names_are_no_markup():
    slices = [SliceScore("[bold]x[/bold]", 3, 0.5, rule="a in [red]")]
    text = "\n".join(lines_of(slices_table("[b]t[/b]", [("[i]m[/i]", slices)])))
    assert all(each in text for each in ("[bold]x[/bold]", "a in [red]", "[b]t[/b]", "[i]m[/i]"))
    failed = replace(SECOND, verdict=replace(SECOND.verdict, reasons=("slice [x] fell",)))
    assert "slice [x] fell" in "\n".join(lines_of(rounds_table("w", [failed])))


def test_the_dense_model_is_shown_once_where_it_is_the_same():
    shared = {"a": (ROUNDS, ""), "b": ((DENSE, replace(FIRST, sparsity=0.7)), "")}
    assert shown(compared_slices_table("t", shared))[0] == ["", "", "dense", "a r01", "b r01"]
    other = replace(DENSE, evaluation=evaluation(0.9, None, None, None, min_support=2))
    other = replace(other, evaluation=replace(other.evaluation, slices=other.evaluation.slices[:1]))
    assert shown(compared_slices_table("t", {**shared, "b": ((other, FIRST), "")}))[0] == ["", "", "a r01", "b r01"]
    failed = {"a": ((DENSE, SECOND), "")}
    assert shown(compared_slices_table("t", failed))[0] == ["", "", "dense"], "no round passed"


def test_an_evaluation():
    weighed = replace(FIRST.evaluation.slices[0], metrics={"auc": 0.98765})
    with_metric = replace(FIRST.evaluation, slices=(weighed, FIRST.evaluation.slices[1]), min_support=31)
    assert shown(evaluation_table(with_metric, "m.keras")) == [
        ["", "", "", "", "lost/", "", "calib.", "", ""],
        ["slice", "n", "accuracy", "drop", "gained", "p", "error", "churn", "auc"],
        ["all", "100", "94.0%", "1.0 [-2.0,5.0]", "2/1", "0.25", "3.0%", "6.0%", ""],
        ["class_0", "(30)", "90.0%", "0.0 [-3.0,4.0]", "1/1", "0.5", "3.0%", "6.0%", "0.9877"],
        ["class_1", "31", "85.0%", "5.0  [2.0,9.0]", "3/1", "0.5", "3.0%", "6.0%", ""],
    ]


def test_an_evaluation_without_a_baseline_has_intervals_of_its_own():
    assert shown(evaluation_table(DENSE.evaluation, "m.keras")) == [
        ["", "", "", "calib."],
        ["slice", "n", "accuracy", "error"],
        ["all", "100", "95.0% [90.0,99.0]", "2.0%"],
        ["class_0", "30", "90.0% [85.0,94.0]", "2.0%"],
        ["class_1", "31", "90.0% [85.0,94.0]", "2.0%"],
    ]


def test_an_evaluation_of_a_regression():
    rows = shown(evaluation_table(made_rounds.regression(2.0, 0.1, 0.25), "m"))
    assert rows[0] == ["slice", "n", "error", "drop"]
    assert rows[1:] == [["all", "80", "2", "0.1"], ["old_0", "20", "2.25", "0.25 [-0.75,1.25]"]]


def test_workflows_compared():
    rows = {row[0]: row[1:] for row in shown(comparison_table(WORKFLOWS)) if row[0]}
    assert rows["best round"] == ["r01", "r02"]
    assert rows["sparsity"] == ["50.0%", ""] and rows["units removed"] == ["", "36.0%"]
    assert rows["parameters"] == ["2,000", "800"] and rows["MACs"] == ["5", "3,000"]
    assert rows["accuracy"] == ["94.0% (-1.0)", "93.0% (-2.0)"]
    assert rows["worst slice accuracy"] == ["85.0% (class_1)", ""]
    assert rows["worst slice drop"] == ["5.0 (class_1)", ""] and rows["gap (points)"] == ["5.0", ""]
    assert rows["calibration error"] == ["3.0%", "3.0%"] and rows["churn"] == ["6.0%", "6.0%"]
    assert rows["verdict"] == ["1 of 2 rounds passed", "2 of 2 rounds passed"]
    assert rows["outcome"] == ["Target not met: x.", "not finished"]
    assert rows["failed last"][0].startswith("r02: accuracy fell by 15.0 points") and not rows["failed last"][1]


def test_rows_that_nobody_has_are_left_out():
    labels = [row[0] for row in shown(comparison_table({"a": (SMALLER, "done")}))]
    assert "sparsity" not in labels and "worst slice drop" not in labels and "failed last" not in labels


@pytest.mark.parametrize(
    "table",
    [
        comparison_table({f"cifar-{'x' * 20}-{i}": ((DENSE, FIRST, SECOND), REASON) for i in range(2)}),
        compared_slices_table(
            "validation",
            {"digits-magnitude": (made_rounds.many(6, 12), ""), "digits-structured": (made_rounds.many(7, 12), "")},
        ),
        evaluation_table(evaluation(0.9, 0.05, *[0.1] * 12), "a model of some name"),
        rounds_table("digits-1", made_rounds.many(20, 3, failed=(4, 20)), 19),
    ],
    ids=["comparison", "slices", "evaluation", "rounds"],
)
def test_a_terminal_holds_them(table):
    lines = lines_of(table, width=80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text, "something is cut"
    assert not re.search(r"│\s*\[[-\d.]+,?[-\d.]*\]?\s*│", text), "an interval stands on a line of its own"


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

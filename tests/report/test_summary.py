"""Sentences, tables and JSON from results made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import made_rounds
import pytest
import tiny_workflow
from made_rounds import DENSE, FIRST, REASON, ROUNDS, SECOND, SMALLER, evaluation
from rich.console import Console

from tfprune.recipe import parse
from tfprune.report.progress import ProgressWatch
from tfprune.report.summary import (
    as_json,
    asked_sentence,
    evaluation_sentence,
    measurement_sentence,
    outcome_sentence,
    round_sentence,
)
from tfprune.results import Measurement, RunResult

RESULT = RunResult(
    "digits-1",
    "",
    False,
    ROUNDS,
    1,
    evaluation(0.951),
    evaluation(0.9406, 0.0104, 0.02, -0.01),
    Path("/somewhere/digits-1"),
    "sqlite:///x.db",
    model=object(),
)
MASKED_THEN = replace(
    FIRST, number=3, phase=1, removed=0.36, measurement=Measurement(800, 420, 700, 350, 3000, 3200, 9)
)


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
        f"(at most 2.0 points); {REASON}"
    )


def test_rounds_that_rebuild_tell_units():
    assert round_sentence(SMALLER[0]) == "dense: 0.0% of the units removed, 2,000 parameters, accuracy 95.0%"
    assert round_sentence(SMALLER[1]) == (
        "r01: 20.0% of the units removed, 1,200 parameters, accuracy 94.0% (-1.0 points)"
    )
    assert round_sentence(MASKED_THEN).startswith("r03: 36.0% of the units removed, sparsity 50.0%, accuracy")
    both = outcome_sentence(replace(RESULT, rounds=(*SMALLER, MASKED_THEN), best=3), "why")
    assert "round 3 has 2.5x fewer parameters and 3.0x fewer MACs with 36.0% of the units removed, and 4.8x fewer " in (
        both
    )
    only = outcome_sentence(replace(RESULT, rounds=SMALLER, best=1), "why")
    assert "round 1 has 1.7x fewer parameters and 2.2x fewer MACs with 20.0% of the units removed; on" in only
    assert "nonzero" not in only


def test_regressions_tell_errors():
    each = replace(FIRST, evaluation=made_rounds.regression(2.1, 0.1, 0.25))
    assert round_sentence(each) == "r01: sparsity 50.0%, error 2.1 (+0.1)"
    result = replace(RESULT, test_dense=made_rounds.regression(2.0), test=each.evaluation)
    assert "on the test split error went from 2 to 2.1 (+0.1), worst slice old_0 +0.25." in outcome_sentence(result, "")
    assert evaluation_sentence(each.evaluation) == (
        "error 2.1 on 80 examples (95% interval 2 to 2.2), 0.1 worse than the baseline; "
        "worst slice old_0: 2.25 on 20 examples, 0.25 worse (95% interval -0.75 to 1.25)."
    )


def test_an_evaluation_in_a_sentence():
    assert evaluation_sentence(FIRST.evaluation) == (
        "accuracy 94.0% on 100 examples (95% interval 89.0 to 98.0), 1.0 points worse than the baseline "
        "(95% interval -2.0 to 5.0; 2 lost and 1 gained; p = 0.5); worst slice class_1: 85.0% on 31 examples, "
        "5.0 points worse (95% interval 2.0 to 9.0; 3 lost and 1 gained; p = 0.5); between best and worst slice "
        "5.0 points; calibration error 3.0%; 6.0% of the answers changed."
    )
    assert evaluation_sentence(evaluation(0.95)) == (
        "accuracy 95.0% on 100 examples (95% interval 90.0 to 99.0); calibration error 2.0%."
    )


def test_what_a_recipe_asks_for():
    recipe = parse(tiny_workflow.recipe(stop={"max_drop": 0.02, "slice_drops": {"class_1": 0.3}}))
    assert asked_sentence(recipe) == (
        "Asked for: masking to 60% zeros in 2 rounds; accuracy may lose at most: the whole 2.0 points, "
        "any slice 10.0 points, slice class_1 30.0 points."
    )
    free = {"max_drop": None, "max_slice_drop": None, "max_relative_drop": 0.01, "confidence": 0.95}
    assert asked_sentence(parse(tiny_workflow.recipe(stop=free))).endswith(
        "accuracy may lose at most: the whole 1.0% of itself, judged with 95% confidence."
    )
    nothing = {"max_drop": None, "max_slice_drop": None}
    assert asked_sentence(parse(tiny_workflow.recipe(stop=nothing))).endswith("; accuracy may lose anything.")
    phases = [
        {"method": "structured", "rounds": 1, "target": {"params": 0.5}},
        {"target": {"sparsity": 0.75}, "rounds": 2},
    ]
    asked = asked_sentence(parse({**tiny_workflow.recipe(), "prune": phases}))
    assert ", then masking to 75% zeros in 2 rounds; " in asked and "in 1 round," in asked


def test_a_measurement_in_a_sentence():
    assert measurement_sentence(Measurement(1016, 616, 900, 450, 5000, 4_064_000, 2_000_000)) == (
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
    assert content["rounds"][0]["evaluation"]["whole"]["drop"] is None
    assert set(content) == {each for each in RESULT.__dataclass_fields__ if each != "model"}


@pytest.mark.parametrize("value", [DENSE, DENSE.evaluation, DENSE.measurement, {"a": (FIRST, Path("p"))}], ids=str)
def test_json_of_anything_loads(value):
    assert json.loads(as_json(value))


def test_progress_is_told_on_the_console(tmp_path):
    with (tmp_path / "log").open("w") as file:
        watch = ProgressWatch(Console(file=file, width=300))
        watch.note("loading [x]")
        watch.phase("training dense", 3, 1)
        watch.step()
        watch.phase_done()
        watch.phase_done()
        watch.step()
        watch.round(SECOND)
    text = (tmp_path / "log").read_text()
    assert text.startswith("loading [x]\n")
    assert "training dense" in text
    assert round_sentence(SECOND) in text

"""Evaluations as names and numbers that MLflow takes."""

from __future__ import annotations

import pytest
from by_hand import an_evaluation
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

from tfprune.results import Evaluation, SliceScore
from tfprune.tracking.metrics import evaluation_metrics, renamed

WHOLE = SliceScore("all", 10, 0.6, 0.1, calibration_error=0.05, churn=0.3)
SLICES = (
    SliceScore("class_0", 5, 0.5, 0.25, churn=0.5),
    SliceScore("class_a/b", 5, 0.75, -0.25, churn=0.125),
)


def test_of_a_classifier():
    assert evaluation_metrics(Evaluation(WHOLE, 0.2, SLICES)) == {
        "accuracy": 0.6,
        "loss": 0.2,
        "accuracy_drop": 0.1,
        "calibration_error": 0.05,
        "churn": 0.3,
        "worst_slice_accuracy": 0.5,
        "worst_slice_drop": 0.25,
        "slice_gap": 0.25,
        "slice_accuracy/class_0": 0.5,
        "slice_drop/class_0": 0.25,
        "slice_churn/class_0": 0.5,
        "slice_accuracy/class_a_b": 0.75,
        "slice_drop/class_a_b": -0.25,
        "slice_churn/class_a_b": 0.125,
    }


def test_without_a_baseline():
    slices = (SliceScore("easy", 5, 1.0), SliceScore("hardest", 5, 0.0))
    assert evaluation_metrics(an_evaluation(0.5, slices=slices)) == {
        "accuracy": 0.5,
        "loss": 0.3,
        "worst_slice_accuracy": 0.0,
        "slice_gap": 1.0,
        "slice_accuracy/easy": 1.0,
        "slice_accuracy/hardest": 0.0,
    }
    assert evaluation_metrics(an_evaluation(0.5)) == {"accuracy": 0.5, "loss": 0.3}


def test_a_drop_of_nothing_is_a_figure():
    found = evaluation_metrics(an_evaluation(0.5, 0.0, (SliceScore("same", 5, 0.0, 0.0, churn=0.0),)))
    zeros = ("accuracy_drop", "worst_slice_accuracy", "worst_slice_drop", "slice_gap", "slice_churn/same")
    assert [found[name] for name in zeros] == [0] * 5


def test_of_a_regression():
    slices = (SliceScore("near", 5, 0.5, 0.25, "error"), SliceScore("far", 5, 2.0, 0.125, "error"))
    assert evaluation_metrics(Evaluation(SliceScore("all", 10, 1.25, 0.1875, "error"), 4.0, slices)) == {
        "error": 1.25,
        "loss": 4.0,
        "error_rise": 0.1875,
        "worst_slice_error": 2.0,
        "worst_slice_drop": 0.25,
        "slice_gap": 1.5,
        "slice_error/near": 0.5,
        "slice_drop/near": 0.25,
        "slice_error/far": 2.0,
        "slice_drop/far": 0.125,
    }


def test_small_slices_are_recorded_and_nobodys_worst():
    slices = (SliceScore("tiny", 2, 0.0, 1.0), SliceScore("large", 50, 0.5, 0.25))
    found = evaluation_metrics(Evaluation(WHOLE, 0.2, slices, min_support=20))
    assert found["slice_drop/tiny"] == 1
    assert (found["worst_slice_drop"], found["worst_slice_accuracy"], found["slice_gap"]) == (0.25, 0.5, 0)


def test_metrics_of_the_compiled_model():
    """One that is called as ours is does not take its place."""
    whole = SliceScore("all", 10, 0.5, metrics={"auc": 0.7, "accuracy": 0.8})
    part = SliceScore("class_0", 5, 0.5, metrics={"auc": 0.6, "accuracy": 0.9, "top k/5": 1.0})
    found = evaluation_metrics(Evaluation(whole, 0.2, (part,)))
    assert (found["accuracy"], found["compiled_accuracy"], found["auc"]) == (0.5, 0.8, 0.7)
    assert (found["slice_accuracy/class_0"], found["slice_compiled_accuracy/class_0"]) == (0.5, 0.9)
    assert (found["slice_auc/class_0"], found["slice_top k_5/class_0"]) == (0.6, 1.0)


def test_slices_of_like_names_are_all_recorded():
    named = [("a/b", 0.1), ("a%b", 0.3), ("a_b", 0.2)]
    found = evaluation_metrics(an_evaluation(slices=[SliceScore(name, 5, score) for name, score in named]))
    assert sorted(value for key, value in found.items() if key.startswith("slice_accuracy/")) == [0.1, 0.2, 0.3]
    assert found["slice_accuracy/a_b"] == 0.2, "a name that is fine stays with its slice"


def test_what_is_renamed():
    assert renamed(["class_8", "blur_3", "age_over_60"]) == {}
    assert renamed(["age > 60", "a/b", "a_b", "50%", "50%"]) == {"age > 60": "age _ 60", "a/b": "a_b_", "50%": "50_"}


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_every_name_is_recorded_under_one_of_its_own(names):
    found = evaluation_metrics(an_evaluation(drop=0.1, slices=[SliceScore(name, 5, 0.5, 0.1) for name in names]))
    drops = [key for key in found if key.startswith("slice_drop/")]
    assert len(drops) == len(names)
    mapping = renamed(names)
    assert {f"slice_drop/{mapping.get(name, name)}" for name in names} == set(drops)
    for key in found:
        _validate_metric_name(key)
        assert len(key) <= MAX_ENTITY_KEY_LENGTH


@pytest.mark.parametrize("name", ["accuracy", "loss", "sparsity", "passed", "churn", "parameters"])
def test_compiled_metrics_never_hide_ours(name):
    whole = SliceScore("all", 10, 0.5, 0.1, churn=0.2, metrics={name: 99.0})
    found = evaluation_metrics(Evaluation(whole, 0.2, (SliceScore("s", 5, 0.5, 0.1, churn=0.2, metrics={name: 99.0}),)))
    assert [key for key, value in found.items() if value == 99] == [f"compiled_{name}", f"slice_compiled_{name}/s"]

"""Results as a sentence, and as JSON."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from tfprune.recipe import Recipe
from tfprune.report.words import (
    change_words,
    drop_words,
    interval_words,
    p_words,
    reasons_words,
    score_words,
    unit_of,
)
from tfprune.results import Evaluation, Measurement, Round, RunResult, SliceScore


def outcome_sentence(result: RunResult, reason: str) -> str:
    """What a workflow came to, in one plain sentence."""
    best, dense = result.best_round, result.rounds[0]
    if not best.number and result.target_met:
        return f"Target met: {reason}."
    if not best.number:
        return f"No round kept its promises, so the dense model is what is left: {reason}."
    test, worst = result.test, result.test.worst
    worst_words = f", worst slice {worst.name} {_change(worst)}" if worst and worst.drop is not None else ""
    return (
        f"{'Target met' if result.target_met else 'Target not met'} ({reason}): round {best.number} has "
        f"{_smaller(best, dense)}; on the test split {test.measure} went from "
        f"{score_words(result.test_dense.score, test.measure)} to {score_words(test.score, test.measure)} "
        f"({_change(test.whole)}){worst_words}."
    )


def _smaller(best: Round, dense: Round) -> str:
    """By how much a round's model is smaller than the dense one."""
    now, before = best.measurement, dense.measurement
    words = []
    if best.removed or best.method == "structured":
        words.append(
            f"{before.parameters / now.parameters:.1f}x fewer parameters and "
            f"{before.macs / max(1, now.macs):.1f}x fewer MACs with {best.removed:.1%} of the units removed"
        )
    if best.method == "masking":
        words.append(f"{before.nonzero / now.nonzero:.1f}x fewer nonzero weights at {best.sparsity:.1%} sparsity")
    return ", and ".join(words)


def asked_sentence(recipe: Recipe) -> str:
    """What a recipe asks for and what it allows to be lost, in one sentence."""
    goals = [
        f"{'removal of units' if each.method == 'structured' else 'masking'} to {each.target.said} in "
        f"{each.rounds} round{'s' * (each.rounds != 1)}"
        for each in recipe.sections
    ]
    stop = recipe.stop
    limits = [("the whole", stop.max_drop), ("any slice", stop.max_slice_drop)]
    limits += [(f"slice {name}", limit) for name, limit in stop.slice_drops.items()]
    gates = [f"{what} {100 * limit:.1f} points" for what, limit in limits if limit is not None]
    if stop.max_relative_drop is not None:
        gates.append(f"the whole {stop.max_relative_drop:.1%} of itself")
    sure = "" if stop.confidence is None else f", judged with {stop.confidence:.0%} confidence"
    allowed = f"may lose at most: {', '.join(gates)}{sure}" if gates else "may lose anything"
    return f"Asked for: {', then '.join(goals)}; accuracy {allowed}."


def round_sentence(finished: Round) -> str:
    """What a round came to, in one line."""
    whole = finished.evaluation.whole
    change = "" if whole.drop is None else f" ({_change(whole)})"
    verdict = "" if finished.verdict.passed else f"; failed: {reasons_words(finished.verdict.reasons)}"
    score = f"{whole.measure} {score_words(whole.score, whole.measure)}{change}"
    return f"{finished.label}: {_how_far(finished)}, {score}{verdict}"


def _how_far(finished: Round) -> str:
    units = f"{finished.removed:.1%} of the units removed"
    if finished.method == "structured":
        return f"{units}, {finished.measurement.parameters:,} parameters"
    return f"{units}, sparsity {finished.sparsity:.1%}" if finished.removed else f"sparsity {finished.sparsity:.1%}"


def evaluation_sentence(evaluation: Evaluation) -> str:
    """How a model does on a split, in one or two sentences: whole, worst slice, gap, calibration, churn."""
    whole, worst, measure = evaluation.whole, evaluation.worst, evaluation.measure
    unit = "" if measure == "error" else " points"
    text = f"{measure} {score_words(whole.score, measure)} on {whole.support:,} examples"
    if whole.interval is not None:
        text += f" (95% interval {interval_words(whole.interval, measure)})"
    if whole.drop is not None:
        text += f", {drop_words(whole.drop, measure)}{unit} worse than the baseline{_evidence(whole)}"
    if worst is not None:
        text += f"; worst slice {worst.name}: {score_words(worst.score, measure)} on {worst.support:,} examples"
        if worst.drop is not None:
            text += f", {drop_words(worst.drop, measure)}{unit} worse{_evidence(worst)}"
    if evaluation.gap is not None and len(evaluation.judged) > 1:
        text += f"; between best and worst slice {drop_words(evaluation.gap, measure)}{unit}"
    if whole.calibration_error is not None:
        text += f"; calibration error {whole.calibration_error:.1%}"
    if whole.churn is not None:
        text += f"; {whole.churn:.1%} of the answers changed"
    return f"{text}."


def _evidence(score: SliceScore) -> str:
    """How far a drop can be trusted, in brackets: interval, counts, p."""
    words = []
    if score.drop_interval is not None:
        words.append(f"95% interval {interval_words(score.drop_interval, score.measure)}")
    if score.lost is not None and score.gained is not None:
        words.append(f"{score.lost:,} lost and {score.gained:,} gained")
    p_value = score.p_value if score.p_adjusted is None else score.p_adjusted
    if p_value is not None:
        words.append(f"p {p_words(p_value)}" if p_words(p_value).startswith("<") else f"p = {p_words(p_value)}")
    return f" ({'; '.join(words)})" if words else ""


def measurement_sentence(measurement: Measurement) -> str:
    """What a model weighs, in one sentence."""
    return (
        f"{measurement.parameters:,} parameters, {measurement.prunable:,} of them prunable and "
        f"{measurement.sparsity:.1%} of those zero, {measurement.overall_sparsity:.1%} of all; "
        f"{measurement.macs:,} MACs; {measurement.bytes / 1e6:.2f} MB of weights, "
        f"{(measurement.gzipped_bytes or 0) / 1e6:.2f} MB gzipped."
    )


def as_json(value: Any) -> str:
    """A result dataclass, or a tuple or dict of them, as JSON; models are left out."""
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value) if each.name != "model"}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # NumPy's
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def _change(score: SliceScore) -> str:
    """``-1.0 points``, or the signed change of an error."""
    return f"{change_words(score.drop or 0.0, score.measure)} {unit_of(score.measure)}".strip()

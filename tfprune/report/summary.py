"""Results as a sentence, as Markdown and as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tfprune.results import Measurement, Round, RunResult, SliceScore

# Sparsity is of the prunable weights; beside it, of all.
_MASKED = ("sparsity", "of all", "nonzero")
_REBUILT = ("removed", "parameters", "MACs", "MB")
_TEXT = ("round", "worst slice", "verdict")


def outcome_sentence(result: RunResult, reason: str) -> str:
    """What a workflow came to, in one plain sentence."""
    best, dense = result.best_round, result.rounds[0]
    if not best.number and result.target_met:
        return f"Target met: {reason}."
    if not best.number:
        return f"No round kept its promises, so the dense model is what is left: {reason}."
    worst = result.test.worst
    worst_words = f", worst slice {worst.name} {_signed_points(-(worst.drop or 0.0))}" if worst else ""
    return (
        f"{'Target met' if result.target_met else 'Target not met'} ({reason}): round {best.number} has "
        f"{_smaller(best, dense)}; on the test split accuracy went from "
        f"{result.test_dense.accuracy:.1%} to {result.test.accuracy:.1%} ({_signed_points(-(result.test.drop or 0.0))})"
        f"{worst_words}."
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


def round_sentence(finished: Round) -> str:
    """What a round came to, in one line."""
    drop = finished.evaluation.drop
    change = "" if drop is None else f" ({_signed_points(-drop)})"
    verdict = "" if finished.verdict.passed else f"; failed: {'; '.join(finished.verdict.reasons)}"
    accuracy = f"{finished.evaluation.accuracy:.1%}{change}"
    return f"{finished.label}: {_how_far(finished)}, accuracy {accuracy}{verdict}"


def _how_far(finished: Round) -> str:
    units = f"{finished.removed:.1%} of the units removed"
    if finished.method == "structured":
        return f"{units}, {finished.measurement.parameters:,} parameters"
    return f"{units}, sparsity {finished.sparsity:.1%}" if finished.removed else f"sparsity {finished.sparsity:.1%}"


def workflow_markdown(name: str, rounds: Sequence[Round], outcome: str) -> str:
    """A workflow as a short report, shown by MLflow as the description of its run."""
    columns = _columns(rounds)
    lines = [f"**{name}** {outcome}".strip(), "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_row(each, columns))} |" for each in rounds]
    return "\n".join(lines)


def rounds_table(name: str, rounds: Sequence[Round], best: int | None = None) -> Table:
    """The rounds of one workflow, one a line."""
    table = Table(title=f"{name}, validation split", padding=0)  # or it is wider than a terminal
    columns = _columns(rounds)
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXT else "right")
    for each in rounds:
        style = "bold green" if each.number == best else ("" if each.verdict.passed else "red")
        table.add_row(*_row(each, columns), style=style)
    return table


def slices_table(title: str, columns: Sequence[tuple[str, Sequence[SliceScore]]]) -> Table:
    """Slices down, models across: accuracy, and the drop behind it."""
    table = Table(title=title)
    table.add_column("slice")
    table.add_column("examples", justify="right")
    for label, _ in columns:
        table.add_column(label, justify="right")
    names = list(dict.fromkeys(each.name for _, scores in columns for each in scores))
    for name in names:
        cells = [next((each for each in scores if each.name == name), None) for _, scores in columns]
        support = next(str(each.support) for each in cells if each is not None)
        table.add_row(name, support, *(_slice_cell(each) for each in cells))
    return table


def layers_table(measurement: Measurement) -> Table:
    """Layers of a model: what they hold, what they cost, what can be pruned and why the rest cannot."""
    table = Table(caption="layers without weights and without multiplications are left out", padding=0)
    for column in ("layer", "kind", "output", "parameters", "MACs"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right", overflow="fold")
    table.add_column("pruned, or why not", ratio=1, overflow="fold")
    for each in measurement.layers:
        if each.parameters or each.macs:
            shape = "x".join("?" if size is None else str(size) for size in each.output_shape)
            state = f"{each.zeros / each.prunable:.1%}" if each.prunable else each.reason
            table.add_row(each.name, each.kind, shape, f"{each.parameters:,}", f"{each.macs:,}", state)
    return table


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


def _columns(rounds: Sequence[Round]) -> tuple[str, ...]:
    """What is worth a column: zeros where there are masks, sizes where the model is rebuilt."""
    methods = {each.method for each in rounds}
    zeros = _MASKED if methods == {"masking"} else ("sparsity",) if "masking" in methods else ()
    sizes = _REBUILT if "structured" in methods else ()
    return ("round", *sizes, *zeros, "accuracy", "change", "worst slice", "verdict")


def _row(each: Round, columns: Sequence[str]) -> list[str]:
    worst, weight = each.evaluation.worst, each.measurement
    cells = {
        "round": each.label,
        "removed": f"{each.removed:.1%}",
        "parameters": f"{weight.parameters:,}",
        "MACs": f"{weight.macs:,}",
        "MB": f"{weight.bytes / 1e6:.3f}",
        "sparsity": f"{each.sparsity:.1%}",
        "of all": f"{weight.overall_sparsity:.1%}",
        "nonzero": f"{weight.nonzero:,}",
        "accuracy": f"{each.evaluation.accuracy:.1%}",
        "change": "" if each.evaluation.drop is None else _signed(-each.evaluation.drop),
        "worst slice": f"{worst.name} {_signed(-worst.drop)}" if worst and worst.drop is not None else "",
        "verdict": "; ".join(each.verdict.reasons) or "passed",
    }
    return [cells[column] for column in columns]


def _slice_cell(score: SliceScore | None) -> str:
    if score is None:
        return ""
    return f"{score.accuracy:.1%}" if score.drop is None else f"{score.accuracy:.1%} ({_signed(-score.drop)})"


def _signed_points(fraction: float) -> str:
    return f"{_signed(fraction)} points"


def _signed(fraction: float) -> str:
    """A change in percentage points; what rounds to nothing has no sign."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text

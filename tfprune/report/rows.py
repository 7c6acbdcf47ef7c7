"""Rounds, slices and workflows as rows of words, for whatever shows them: terminal, Markdown or HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tfprune.report.words import change_words, drop_words, reasons_words, score_words, share_words, unit_of
from tfprune.results import Evaluation, Round, SliceScore, best_round

Workflows = Mapping[str, tuple[Sequence[Round], str]]
"""Rounds and outcome by name."""

# Sparsity is of the prunable weights; beside it, of all.
_MASKED = ("sparsity", "of all", "nonzero")
_REBUILT = ("removed", "parameters", "MACs", "MB")
TEXT_COLUMNS = ("round", "worst slice", "verdict")


def told_round(rounds: Sequence[Round]) -> Round:
    """The round that a report looks into: the best, or where none passed, the last that was tried."""
    best = best_round(rounds)
    return best if best.number else rounds[-1]


def round_columns(rounds: Sequence[Round]) -> tuple[str, ...]:
    """What is worth a column: zeros where there are masks, sizes where the model is rebuilt."""
    methods = {each.method for each in rounds}
    zeros = _MASKED if methods == {"masking"} else ("sparsity",) if "masking" in methods else ()
    sizes = _REBUILT if "structured" in methods else ()
    return ("round", *sizes, *zeros, rounds[0].evaluation.measure, "change", "worst slice", "verdict")


def round_row(each: Round, columns: Sequence[str]) -> list[str]:
    """The cells of one round."""
    worst, weight, whole = each.evaluation.worst, each.measurement, each.evaluation.whole
    cells = {
        "round": each.label,
        "removed": f"{each.removed:.1%}",
        "parameters": f"{weight.parameters:,}",
        "MACs": f"{weight.macs:,}",
        "MB": f"{weight.bytes / 1e6:.3f}",
        "sparsity": f"{each.sparsity:.1%}",
        "of all": f"{weight.overall_sparsity:.1%}",
        "nonzero": f"{weight.nonzero:,}",
        whole.measure: score_words(whole.score, whole.measure),
        "change": "" if whole.drop is None else change_words(whole.drop, whole.measure),
        "worst slice": f"{worst.name} {change_words(worst.drop, worst.measure)}"
        if worst and worst.drop is not None
        else "",
        "verdict": reasons_words(each.verdict.reasons) or "passed",
    }
    return [cells[column] for column in columns]


@dataclass(frozen=True)
class SliceRow:
    """One slice in several workflows.

    Attributes:
        name: of the slice.
        scores: how the round that is shown of each workflow does on it; None where that has no such slice.
    """

    name: str
    scores: tuple[SliceScore | None, ...]


def slice_rows(columns: Sequence[Sequence[SliceScore]]) -> list[SliceRow]:
    """Slices of several models, each once, in the order in which they come."""
    known = [{each.name: each for each in scores} for scores in columns]
    names = dict.fromkeys(name for column in known for name in column)
    return [SliceRow(name, tuple(column.get(name) for column in known)) for name in names]


def teacher_words(rounds: Sequence[Round]) -> str:
    """``The dense model taught (41,000 MACs an example), in 19.5% to 24.1% of the fine-tuning time.``; else empty."""
    costs = [each.teacher for each in rounds if each.teacher is not None]
    if not costs:
        return ""
    low, high = (f"{pick(each.share for each in costs):.1%}" for pick in (min, max))
    return (
        f"The dense model taught ({costs[-1].macs:,} MACs an example), in "
        f"{low if low == high else f'{low} to {high}'} of the fine-tuning time."
    )


def comparison_rows(workflows: Workflows) -> list[tuple[str, list[str]]]:
    """What the best round of each workflow weighs and how it does: label, and a cell a workflow.

    What no workflow has is left out.
    """
    bests = [best_round(rounds) for rounds, _ in workflows.values()]
    measures = list(dict.fromkeys(each.evaluation.measure for each in bests))
    rows: list[tuple[str, list[str]]] = [
        ("best round", [each.label for each in bests]),
        ("sparsity", [_if_masked(each) for each in bests]),
        ("units removed", [f"{each.removed:.1%}" if each.removed else "" for each in bests]),
        ("nonzero", [f"{each.measurement.nonzero:,}" for each in bests]),
        ("parameters", [f"{each.measurement.parameters:,}" for each in bests]),
        ("MACs", [f"{each.measurement.macs:,}" for each in bests]),
        ("MB of weights", [f"{each.measurement.bytes / 1e6:.3f}" for each in bests]),
        ("MB gzipped", [_megabytes(each.measurement.gzipped_bytes) for each in bests]),
    ]
    for measure in measures:
        of_it = [each.evaluation if each.evaluation.measure == measure else None for each in bests]
        tellers: list[tuple[str, Callable[[Evaluation], str]]] = [
            (measure, lambda each: _with_drop(each.whole)),
            (f"worst slice {measure}", worst_score_words),
            ("worst slice drop", worst_drop_words),
            (f"gap ({unit_of(measure)})" if unit_of(measure) else "gap", gap_words),
        ]
        rows += [(label, ["" if each is None else teller(each) for each in of_it]) for label, teller in tellers]
    rows += [
        ("calibration error", [share_words(each.evaluation.whole.calibration_error) for each in bests]),
        ("churn", [share_words(each.evaluation.whole.churn) for each in bests]),
        ("verdict", [_verdict(rounds) for rounds, _ in workflows.values()]),
        ("failed last", [last_failure(rounds) for rounds, _ in workflows.values()]),
        ("outcome", [outcome or "not finished" for _, outcome in workflows.values()]),
    ]
    return [(label, cells) for label, cells in rows if any(cells)]


def worst_score_words(evaluation: Evaluation) -> str:
    """``85.0% (class_8)``: the judged slice with the lowest accuracy, or the highest error."""
    worst = evaluation.worst_scored
    return "" if worst is None else f"{score_words(worst.score, worst.measure)} ({worst.name})"


def worst_drop_words(evaluation: Evaluation) -> str:
    """``5.0 (class_8)``: the judged slice with the largest drop; empty without a baseline."""
    worst = evaluation.worst
    return "" if worst is None or worst.drop is None else f"{drop_words(worst.drop, worst.measure)} ({worst.name})"


def gap_words(evaluation: Evaluation) -> str:
    """Between best and worst slice, without its unit; empty where there is no slice."""
    return "" if evaluation.gap is None else drop_words(evaluation.gap, evaluation.measure)


def last_failure(rounds: Sequence[Round]) -> str:
    """Label and reasons of the last round that failed; empty where none did."""
    failed = [each for each in rounds if not each.verdict.passed]
    return f"{failed[-1].label}: {reasons_words(failed[-1].verdict.reasons)}" if failed else ""


def _verdict(rounds: Sequence[Round]) -> str:
    tried = [each for each in rounds if each.number]
    passed = sum(each.verdict.passed for each in tried)
    return f"{passed} of {len(tried)} round{'s' * (len(tried) != 1)} passed"


def _with_drop(score: SliceScore) -> str:
    text = score_words(score.score, score.measure)
    return text if score.drop is None else f"{text} ({change_words(score.drop, score.measure)})"


def _if_masked(each: Round) -> str:
    return f"{each.sparsity:.1%}" if each.method == "masking" or each.sparsity else ""


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.3f}"

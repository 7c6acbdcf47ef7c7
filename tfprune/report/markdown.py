"""A workflow as a report in Markdown, as GitHub and MLflow show it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfprune.report.rows import (
    gap_words,
    round_columns,
    round_row,
    teacher_words,
    told_round,
    worst_drop_words,
    worst_score_words,
)
from tfprune.report.words import (
    LEVEL,
    MARK,
    dense_score,
    drop_words,
    interval_words,
    mark_of,
    reasons_words,
    score_words,
    share_words,
    unit_of,
)
from tfprune.results import Round, SliceScore, best_round

_WORST = 5
_REASONS = 3
LONGEST = 7_900
"""Characters; MLflow cuts a description at 8,000, in the middle of a table."""


def workflow_markdown(name: str, rounds: Sequence[Round], outcome: str, *, asked: str = "") -> str:
    """A workflow as a short report, shown by MLflow as the description of its run.

    Args:
        name: of the workflow.
        rounds: so far, the dense model first.
        outcome: what it came to; empty while it goes on.
        asked: what it was started for, see `tfprune.report.summary.asked_sentence`.
    """
    for most in (len(rounds), 30, 15, 8, 4):
        text = _report(name, rounds, outcome, asked, most)
        if len(text) <= LONGEST:
            break
    return text


def _report(name: str, rounds: Sequence[Round], outcome: str, asked: str, most: int) -> str:
    told = told_round(rounds)
    parts = [_paragraph(name, rounds, outcome, asked), _rounds(rounds, most)]
    if told.number:
        parts += [_worst_slices(told), _before_and_after(rounds[0], told)]
    parts += [_failures(rounds, most), _groups(told)]
    return "\n\n".join(part for part in parts if part)


def _paragraph(name: str, rounds: Sequence[Round], outcome: str, asked: str) -> str:
    tried = [each for each in rounds if each.number]
    failed = sum(not each.verdict.passed for each in tried)
    best = best_round(rounds)
    if not tried:
        counted = "No round is finished yet."
    else:
        counted = f"{len(tried)} round{'s' * (len(tried) != 1)} tried, {failed or 'none'} failed; " + (
            f"the best is {best.label}." if best.number else "none passed, so the dense model is what is left."
        )
    told = (safe_text(outcome), safe_text(asked), counted, safe_text(teacher_words(rounds)))
    return " ".join(part for part in (f"**{safe_text(name)}**", *told) if part)


def _rounds(rounds: Sequence[Round], most: int) -> str:
    """The dense model, the best round and the latest ones."""
    columns, best = round_columns(rounds), best_round(rounds).number
    latest = rounds[-most:]
    shown = [each for each in rounds if each in latest or each.number in (0, best)]
    note = f"\n\n{len(rounds) - len(shown)} earlier rounds are left out." if len(shown) < len(rounds) else ""
    rows = [[*round_row(each, columns)[:-1], "passed" if each.verdict.passed else "**failed**"] for each in shown]
    safe = [[*map(safe_text, row[:-1]), row[-1]] for row in rows]
    return (
        "### Rounds, on the validation split\n\n"
        + markdown_table(columns, safe, numbers=range(1, len(columns) - 2))
        + note
    )


def _worst_slices(told: Round) -> str:
    """The slices that lost most, each with what it had before."""
    with_drop = [each for each in told.evaluation.judged if each.drop is not None]
    worst = sorted(with_drop, key=lambda each: each.drop or 0.0, reverse=True)[:_WORST]
    if not worst:
        return ""
    measure, unit = worst[0].measure, unit_of(worst[0].measure)
    header = ("slice", "examples", measure, f"drop ({unit})" if unit else "drop", "95% interval")
    rows = [[safe_text(each.name), f"{each.support:,}", _now_and_then(each), *_drop_cells(each)] for each in worst]
    count = len(told.evaluation.slices) - len(told.evaluation.judged)
    notes = [f"\\{MARK} p < {LEVEL} after Holm's correction."] if any(map(mark_of, worst)) else []
    if count:
        few = f"fewer than {told.evaluation.min_support} examples, or chosen by the answers,"
        notes.append(f"{count} slice{'s' * (count != 1)} with {few} left out.")
    title = f"### Slices that paid most in {told.label}{'' if told.verdict.passed else ', which failed'}"
    return "\n\n".join(
        [title, markdown_table(header, rows, numbers=range(1, 5)), *([" ".join(notes)] if notes else [])]
    )


def _drop_cells(each: SliceScore) -> tuple[str, str]:
    mark = f"\\{MARK}" if mark_of(each) else ""
    return drop_words(each.drop or 0.0, each.measure) + mark, interval_words(each.drop_interval, each.measure)


def _now_and_then(each: SliceScore) -> str:
    before, now = dense_score(each), score_words(each.score, each.measure)
    return now if before is None else f"{score_words(before, each.measure)} → {now}"


def _before_and_after(dense: Round, told: Round) -> str:
    """What one number for all examples does not say."""
    before, after = dense.evaluation, told.evaluation
    measure = after.measure
    gap = f"gap between best and worst slice{f' ({unit_of(measure)})' if unit_of(measure) else ''}"
    rows = [
        [measure, score_words(before.score, measure), score_words(after.score, measure)],
        [f"worst slice {measure}", worst_score_words(before), worst_score_words(after)],
        ["worst slice drop", "", worst_drop_words(after)],
        [gap, gap_words(before), gap_words(after)],
        [
            "calibration error",
            share_words(before.whole.calibration_error),
            share_words(after.whole.calibration_error),
        ],
        ["churn: answers that changed", "", share_words(after.whole.churn)],
    ]
    told_rows = [[row[0], *map(safe_text, row[1:])] for row in rows if any(row[1:])]
    return "### Before and after\n\n" + markdown_table(("", "dense", told.label), told_rows, numbers=range(1, 3))


def _failures(rounds: Sequence[Round], most: int) -> str:
    """The latest rounds that failed, with the first reasons of each."""
    failed = [each for each in rounds if not each.verdict.passed]
    lines = [f"- {each.label}: {safe_text(reasons_words(each.verdict.reasons, _REASONS))}" for each in failed[-most:]]
    if len(failed) > most:
        lines.append(f"- {len(failed) - most} earlier ones are left out")
    return "\n".join(["### Rounds that failed", "", *lines]) if lines else ""


def _groups(told: Round) -> str:
    """Groups that were found and not asked for, with what their examples have in common."""
    lines = [
        f"- {safe_text(each.name)}: {safe_text(each.rule)} ({each.support:,} examples, {_now_and_then(each)})"
        for each in told.evaluation.slices
        if each.rule
    ]
    return "\n".join([f"### Groups found in {told.label}", "", *lines]) if lines else ""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: range) -> str:
    """A table of GitHub's Markdown; `numbers` are the columns aligned to the right."""
    rule = ["---:" if place in numbers else "---" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def safe_text(text: str) -> str:
    """Text that Markdown takes as text: names are users' own."""
    escaped = re.sub(r"([\\`*\[\]|#~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

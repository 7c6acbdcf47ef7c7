"""Results as tables for the terminal, no wider than 80 columns where they can be."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tfprune.report.rows import (
    TEXT_COLUMNS,
    Workflows,
    comparison_rows,
    round_columns,
    round_row,
    slice_rows,
    teacher_words,
)
from tfprune.report.words import LEVEL, MARK, drop_words, mark_of, p_words, score_words, share_words, short_interval
from tfprune.results import Evaluation, Measurement, Round, SliceScore, best_round


def rounds_table(name: str, rounds: Sequence[Round], best: int | None = None) -> Table:
    """The rounds of one workflow, one a line."""
    caption = teacher_words(rounds) or None
    # Without padding, or it is wider than a terminal.
    table = Table(title=escape(f"{name}, validation split"), caption=caption, caption_justify="left", padding=0)
    columns = round_columns(rounds)
    for column in columns:
        table.add_column(column, justify="left" if column in TEXT_COLUMNS else "right", overflow="fold")
    for each in rounds:
        style = "bold green" if each.number == best else ("" if each.verdict.passed else "red")
        table.add_row(*map(escape, round_row(each, columns)), style=style)
    return table


def slices_table(title: str, columns: Sequence[tuple[str, Sequence[SliceScore]]], *, min_support: int = 1) -> Table:
    """Slices down, models across: score, drop and its 95% interval.

    Args:
        title: of the table.
        columns: label and scores of each model.
        min_support: slices with fewer examples gate nothing: their number stands in brackets and their line is dim.
    """
    rows = slice_rows([scores for _, scores in columns])
    given = [each for row in rows for each in row.scores if each is not None]
    table = _table_of_slices(title, given, min_support)
    blocks = []
    for place, (label, scores) in enumerate(columns):
        measure = scores[0].measure if scores else "accuracy"
        has_drop = any(each.drop is not None for each in scores)
        table.add_column(f"{escape(label)}\n{measure}{', drop' if has_drop else ''}", no_wrap=True)
        blocks.append(_aligned([row.scores[place] for row in rows]))
    for row, cells in zip(rows, zip(*blocks, strict=True), strict=True):
        first = next(each for each in row.scores if each is not None)
        support, is_small = first.support, not first.is_judged(min_support)
        table.add_row(
            escape(row.name), _support(support, is_small), *map(escape, cells), style="dim" if is_small else ""
        )
    return table


def compared_slices_table(title: str, workflows: Workflows) -> Table:
    """The slices of each workflow's best round side by side; before them the dense model's where all have the same."""
    bests = [(name, best_round(rounds)) for name, (rounds, _) in workflows.items()]
    denses = [rounds[0].evaluation for rounds, _ in workflows.values()]
    columns = [("dense", denses[0].slices)] if all(each.slices == denses[0].slices for each in denses) else []
    columns += [(f"{name} {best.label}", best.evaluation.slices) for name, best in bests if best.number or not columns]
    return slices_table(title, columns, min_support=max(each.min_support for each in denses))


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """One model on one split, whole and by slice: score, drop, intervals, what the test says, calibration, churn."""
    measure, scores = evaluation.measure, (evaluation.whole, *evaluation.slices)
    table = _table_of_slices(title, scores, evaluation.min_support)
    aligned = _score_and_drop(scores)
    columns = {
        measure: [score for score, _ in aligned],
        "drop": [drop for _, drop in aligned],
        "lost/\ngained": ["" if each.lost is None else f"{each.lost}/{each.gained}" for each in scores],
        # The whole is one test; of the slices, Holm's correction is what can be read line by line.
        "p": [p_words(each.p_value if each is evaluation.whole else each.p_adjusted) for each in scores],
        "calib.\nerror": [share_words(each.calibration_error) for each in scores],
        "churn": [share_words(each.churn) for each in scores],
    }
    for name in dict.fromkeys(name for each in scores for name in each.metrics):
        columns[name] = [f"{each.metrics[name]:.4g}" if name in each.metrics else "" for each in scores]
    columns = {header: cells for header, cells in columns.items() if any(cells)}
    for header in columns:
        table.add_column(escape(header), justify="left" if header in (measure, "drop") else "right", no_wrap=True)
    for each, cells in zip(scores, zip(*columns.values(), strict=True), strict=True):
        is_small = not each.is_judged(evaluation.min_support)
        start = (escape(each.name), _support(each.support, is_small))
        table.add_row(
            *start, *map(escape, cells), style="dim" if is_small else "", end_section=each is evaluation.whole
        )
    return table


def comparison_table(workflows: Workflows) -> Table:
    """Workflows side by side: what the best round of each weighs, how it does, and what came of the rest."""
    table = Table(title="best rounds, validation split", padding=0)
    table.add_column("")
    for name in workflows:
        table.add_column(escape(name), ratio=1, overflow="fold")
    for label, cells in comparison_rows(workflows):
        table.add_row(label, *map(escape, cells), end_section=label in ("MB gzipped", "churn"))
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


# ------------------------------------------------------------------------------------------ parts of them


def _table_of_slices(title: str, scores: Sequence[SliceScore], min_support: int) -> Table:
    """A table with columns for name and support, and beneath it what its signs mean."""
    notes = []
    if any(each.drop_interval is not None for each in scores):
        unit = "points" if all(each.measure == "accuracy" for each in scores) else "the unit of the label"
        notes.append(f"drop: against the dense model, in {unit}, with its 95% interval")
    if any(mark_of(each) for each in scores):
        notes.append(f"{MARK} p < {LEVEL} after Holm's correction")
    if any(not each.is_judged(min_support) for each in scores):
        notes.append(f"(n) gates nothing: fewer than {min_support} examples, or chosen by the answers")
    rules = dict.fromkeys(f"{each.name}: {each.rule}" for each in scores if each.rule)
    caption = escape("\n".join(["; ".join(notes), *rules] if notes else rules))
    table = Table(title=escape(title), caption=caption or None, caption_justify="left", padding=0)
    table.add_column("slice", overflow="fold")
    table.add_column("n", justify="right")
    return table


def _support(count: int, is_small: bool) -> str:
    return f"({count})" if is_small else str(count)


def _aligned(scores: Sequence[SliceScore | None]) -> list[str]:
    """Cells of a column in which scores, drops, intervals and marks stand below each other."""
    parts = []
    for each in scores:
        if each is None:
            parts.append(("", "", "", ""))
            continue
        drop = "" if each.drop is None else drop_words(each.drop, each.measure)
        score = score_words(each.score, each.measure)
        parts.append((score, drop, short_interval(each.drop_interval, each.measure), mark_of(each)))
    return _padded(parts)


def _score_and_drop(scores: Sequence[SliceScore]) -> list[tuple[str, str]]:
    """The same in two columns; where there is no drop, the interval of the score itself."""
    left = [
        (score_words(each.score, each.measure), "" if each.drop is not None else _own_interval(each)) for each in scores
    ]
    right = [
        ("", "", "")
        if each.drop is None
        else (drop_words(each.drop, each.measure), short_interval(each.drop_interval, each.measure), mark_of(each))
        for each in scores
    ]
    return list(zip(_padded(left), _padded(right), strict=True))


def _own_interval(score: SliceScore) -> str:
    return short_interval(score.interval, score.measure)


def _padded(rows: Sequence[Sequence[str]]) -> list[str]:
    """Parts of cells, each as wide as the widest in its place; a mark close to what it marks."""
    widths = [max(map(len, places), default=0) for places in zip(*rows, strict=True)]
    found = []
    for row in rows:
        parts = [part.rjust(width) for part, width in zip(row, widths, strict=True) if width]
        text = " ".join(parts).rstrip()
        found.append(text.removesuffix(f" {MARK}") + MARK if text.endswith(MARK) else text)
    return found

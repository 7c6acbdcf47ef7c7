"""A search as a report in Markdown, as GitHub and MLflow show it."""

from __future__ import annotations

from tfprune.report.allocation import allocation_of
from tfprune.report.markdown import LONGEST, markdown_table, safe_text
from tfprune.report.pareto import front, on_front, pareto_cells, pareto_columns, sizes_of
from tfprune.report.trials import best_first, left_out_words, scale_of, search_sentence, trial_cells, trial_columns
from tfprune.results import SearchResult


def search_markdown(result: SearchResult) -> str:
    """A search as a short report, shown by MLflow as the description of its run."""
    for most in (60, 30, 15, 8, 4):
        text = _report(result, most)
        if len(text) <= LONGEST:
            return text
    return text[: LONGEST - 1] + "…"  # names of hundreds of characters


def _report(result: SearchResult, most: int) -> str:
    parts = [
        f"**{safe_text(result.search)}** {safe_text(result.outcome or search_sentence(result))}",
        _ratios(result, most),
        _finals(result),
        _front(result, min(most, 20)),
        _trials(result, min(most, 15)),
    ]
    return "\n\n".join(part for part in parts if part)


def _ratios(result: SearchResult, most: int) -> str:
    """The winner's ratios beside those it started from."""
    found = allocation_of(result.winner, result.trials, most)
    if not found.names:
        return ""
    unit = "share of units removed" if result.sensitivity.method == "structured" else "sparsity"
    header = ("layer", result.winner.label, *map(safe_text, found.others))
    columns = [found.winner, *found.others.values()]
    rows = [
        [safe_text(name), *("" if value != value else f"{value:.1%}" for value in values)]
        for name, values in zip(found.names, zip(*columns, strict=True), strict=True)
    ]
    note = f"\n\n{found.left_out} layers on which they differ less are left out." if found.left_out else ""
    return f"### What is pruned where: {unit}\n\n" + markdown_table(header, rows, range(1, len(header))) + note


def _finals(result: SearchResult) -> str:
    columns, order, scale = trial_columns(result.finals), best_first(result.finals), scale_of(result.finals)
    rows = [[*map(safe_text, trial_cells(each, columns, scale))] for each in order]
    for row, each in zip(rows, order, strict=True):
        if each.number == result.best:
            row[0] = f"**{row[0]}**"
    return "### Finals, fine-tuned in full, on the validation split\n\n" + markdown_table(columns, rows, range(2, 4))


def _front(result: SearchResult, most: int) -> str:
    """The trials that no other dominates."""
    points = front(result.trials)
    shown = on_front(points)
    if not shown:
        return ""
    columns, scale = pareto_columns(points), sizes_of(points)
    rows = [[*map(safe_text, pareto_cells(each, columns, scale))] for each in shown[:most]]
    note = f"\n\n{len(shown) - most} more are left out." if len(shown) > most else ""
    title = f"### {len(shown)} of {len(points)} trials on the Pareto front"
    return f"{title}\n\n{markdown_table(columns, rows, range(2, len(columns)))}{note}"


def _trials(result: SearchResult, most: int) -> str:
    columns, order, scale = trial_columns(result.trials), best_first(result.trials), scale_of(result.trials)
    rows = [[*map(safe_text, trial_cells(each, columns, scale))] for each in order[:most]]
    left = left_out_words(order, most)
    note = f"\n\n{left}." if left else ""
    return "### Trials, the best first\n\n" + markdown_table(columns, rows, range(2, 4)) + note

"""The end of a search as tables: the finals beside each other, and where the winner prunes."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from tfprune.report.rows import worst_score_words
from tfprune.report.trials import best_first, objective_words
from tfprune.report.words import score_words, signed
from tfprune.results import SearchResult, Trial

_MOST = 20
_TEXT = ("trial", "origin", "worst slice")


def finals_table(result: SearchResult, *, most: int = _MOST) -> Table:
    """The finals on the validation split, the best first, each with its change against the dense model in points.

    Args:
        result: of a search.
        most: rows; how many more there are stands beneath.
    """
    columns = ["trial", "origin", "epochs", "objective", "accuracy", "worst slice"]
    if all(each.evaluation is None or each.evaluation.worst_scored is None for each in result.finals):
        columns.remove("worst slice")
    left = len(result.finals) - most
    notes = [f"dense: accuracy {score_words(result.dense.accuracy)}", *([f"{left} more"] if left > 0 else [])]
    title = f"{result.search}, finals on validation"
    table = Table(title=escape(title), caption="; ".join(notes), padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXT else "right", overflow="fold")
    winner = result.winner
    order = sorted(best_first(result.finals), key=lambda each: each.number != winner.number)  # of equals it is first
    for each in order[:most]:
        style = "bold green" if each.number == result.best else "red" if each.status == "failed" else ""
        cells = _cells(each, is_winner=each.number == result.best)
        table.add_row(*[escape(cells[column]) for column in columns], style=style)
    return table


def _cells(each: Trial, *, is_winner: bool) -> dict[str, str]:
    evaluation = each.evaluation
    change = "" if evaluation is None or evaluation.drop is None else f" ({signed(-evaluation.drop)})"
    return {
        "trial": f"{each.label} (winner)" if is_winner else each.label,
        "origin": each.origin,
        "epochs": f"{each.epochs}",
        "objective": "failed" if each.status == "failed" else objective_words(each.objective),
        "accuracy": "" if evaluation is None else f"{score_words(evaluation.accuracy)}{change}",
        "worst slice": "" if evaluation is None else worst_score_words(evaluation),
    }


def ratios_table(result: SearchResult, *, most: int = _MOST) -> Table:
    """How much the winner prunes of each layer or coupling, in the model's order.

    Args:
        result: of a search.
        most: rows; how many more there are stands beneath.
    """
    is_structured = result.sensitivity.method == "structured"
    ratios = list(result.winner.ratios.items())
    left = len(ratios) - most
    caption = f"{left} more; all of them are in the recipe" if left > 0 else None
    table = Table(title=f"winner {result.winner.label}", caption=caption, padding=0)
    table.add_column("coupling" if is_structured else "layer", overflow="fold")
    table.add_column("units removed" if is_structured else "sparsity", justify="right")
    for name, ratio in ratios[:most]:
        table.add_row(escape(name), f"{ratio:.1%}")
    return table

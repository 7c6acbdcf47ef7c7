"""Trials of a search as rows of words: a line as each one ends, a table of the best, a line for the result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tfprune.report.rows import worst_score_words
from tfprune.report.words import score_words, signed_points
from tfprune.results import Evaluation, SearchResult, Trial

STARTS = ("uniform", "global")
"""The allocations that a search is held against."""

_MOST = 15
_TEXT = ("trial", "origin", "worst slice", "status")


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """By objective; those without one last, equal ones in the order they were tried."""
    return sorted(trials, key=lambda each: (-_worth(each), each.number))


def _worth(trial: Trial) -> float:
    return trial.objective if trial.objective is not None and not math.isnan(trial.objective) else -math.inf


def trial_columns(trials: Sequence[Trial]) -> tuple[str, ...]:
    """What is worth a column: what some trial has."""
    evaluations = [each.evaluation for each in trials if each.evaluation is not None]
    found = ["trial", "origin", "objective", "accuracy"]
    if any(each.worst_scored is not None for each in evaluations):
        found.append("worst slice")
    if any(each.measurement is not None for each in trials):
        found.append("MB gzipped" if _has_gzip(trials) else "MB of weights")
    return (*found, "epochs", "status")


def _has_gzip(trials: Sequence[Trial]) -> bool:
    return all(each.measurement.gzipped_bytes is not None for each in trials if each.measurement is not None)


def trial_cells(each: Trial, columns: Sequence[str]) -> list[str]:
    """The cells of one trial."""
    evaluation, weight = each.evaluation, each.measurement
    size = None if weight is None else weight.gzipped_bytes if "MB gzipped" in columns else weight.bytes
    cells = {
        "trial": each.label,
        "origin": each.origin,
        "objective": objective_words(each.objective),
        "accuracy": "" if evaluation is None else score_words(evaluation.accuracy),
        "worst slice": "" if evaluation is None else worst_score_words(evaluation),
        "MB gzipped": "" if size is None else f"{size / 1e6:.3f}",
        "MB of weights": "" if size is None else f"{size / 1e6:.3f}",
        "epochs": f"{each.epochs}",
        "status": each.status,
    }
    return [cells[column] for column in columns]


def objective_words(objective: float | None) -> str:
    """Four decimals tell one example in ten thousand apart; empty without one."""
    return "" if objective is None else f"{objective:.4f}"


def trials_table(
    trials: SearchResult | Sequence[Trial], title: str = "", *, best: int | None = None, most: int = _MOST
) -> Table:
    """Trials, the best first, on the validation split.

    Args:
        trials: of one search, or its result.
        title: of the table; of a result by default its name.
        best: number of the trial to stand out; of a result by default the one that the winner comes from.
        most: rows; how many more there are stands beneath.
    """
    if isinstance(trials, SearchResult):
        title, best = title or f"{trials.search}, trials", trials.best if best is None else best
        trials = trials.trials
    columns, order = trial_columns(trials), best_first(trials)
    table = Table(title=escape(title) or None, caption=left_out_words(order, most) or None, padding=0)
    for column in columns:
        header = column.replace("MB ", "MB\n")  # or the name of a slice has no room
        table.add_column(header, justify="left" if column in _TEXT else "right", overflow="fold")
    for each in order[:most]:
        style = "bold green" if each.number == best else {"failed": "red", "stopped": "dim"}.get(each.status, "")
        table.add_row(*map(escape, trial_cells(each, columns)), style=style)
    return table


def left_out_words(order: Sequence[Trial], most: int) -> str:
    """How many trials stand behind the first `most`, best first; empty where none do."""
    left = order[most:]
    failed = sum(each.status == "failed" for each in left)
    return (f"{len(left)} more{f', {failed} of them failed' if failed else ''}") if left else ""


def trial_sentence(trial: Trial, best: float | None = None) -> str:
    """What a trial came to, in one line.

    Args:
        trial: that has ended.
        best: the highest objective so far, this trial's included.
    """
    if trial.status == "failed":
        return f"{trial.label} {trial.origin}: failed{f': {trial.message}' if trial.message else ''}"
    parts = []
    if trial.evaluation is not None:
        parts.append(f"accuracy {score_words(trial.evaluation.accuracy)}")
        if worst := worst_score_words(trial.evaluation):
            parts.append(f"worst slice {worst}")
    if trial.objective is not None:
        is_best = best is not None and trial.objective >= best
        so_far = "" if best is None else " (the best so far)" if is_best else f" (best {objective_words(best)})"
        parts.append(f"objective {objective_words(trial.objective)}{so_far}")
    if trial.status == "stopped":
        parts.append(f"stopped early{f': {trial.message}' if trial.message else ''}")
    return f"{trial.label} {trial.origin}: {', '.join(parts)}"


def search_sentence(result: SearchResult) -> str:
    """What a search came to: the winner beside uniform and global where they had as much training, and the test split.

    The figures only: no difference is called more than it is, as the split that chose the winner favours it.
    """
    winner = result.winner
    failed = sum(each.status == "failed" for each in result.trials)
    stopped = sum(each.status == "stopped" for each in result.trials)
    count = f"{len(result.trials)} trial{'s' * (len(result.trials) != 1)}"
    ended = [f"{stopped} stopped early"] * bool(stopped) + [f"{failed} failed"] * bool(failed)
    brackets = f" ({', '.join(ended)})" if ended else ""
    origin = "asked by the oracle" if winner.origin == "oracle" else f"the starting allocation {winner.origin}"
    chosen = f"chosen by {result.objective} on the validation split: {winner.label}, {origin}{_weight(result)}"
    return f"{count}{brackets}; {chosen}. {_against_starts(result)} {_on_test(result)}"


def _weight(result: SearchResult) -> str:
    """What is left of the winner, as its kind of pruning counts."""
    winner = result.winner
    if result.sensitivity.method == "structured":
        return "" if winner.measurement is None else f", {winner.measurement.parameters:,} parameters"
    return "" if winner.sparsity is None else f", sparsity {winner.sparsity:.1%}"


def _against_starts(result: SearchResult) -> str:
    """The winner on validation beside the starts, all after the same number of epochs."""
    winner, compared = compared_with_starts(result)
    if winner.evaluation is None:
        return "It has no score on the validation split."
    others = [
        f"{name} {score_words(each.evaluation.accuracy)} ({_difference(winner.evaluation, each.evaluation)})"
        for name, each in compared.items()
        if each.evaluation is not None
    ]
    missing = [name for name in STARTS if name not in compared and name != winner.origin]
    words = [f"accuracy {score_words(winner.evaluation.accuracy)}", *others]
    trained = f"{winner.epochs} epoch{'s' * (winner.epochs != 1)} of fine-tuning{' each' * bool(others)}"
    text = f"Validation, {trained}: {', '.join(words)}"
    return f"{text}; {' and '.join(missing)} not run to as many." if missing else f"{text}."


def compared_with_starts(result: SearchResult) -> tuple[Trial, dict[str, Trial]]:
    """The winner, and uniform and global by name where they were fine-tuned for as many epochs.

    Finals are compared with finals; where more of the two are among the trials of the winner's own, with trials.
    """
    winner = result.winner
    found = winner, _alike(winner, result.finals)
    for trial in result.trials:
        if trial.number == result.best and trial.status == "completed":
            among = _alike(trial, result.trials)
            found = (trial, among) if len(among) > len(found[1]) else found
    return found


def _alike(winner: Trial, others: Sequence[Trial]) -> dict[str, Trial]:
    known = [each for each in others if each.epochs == winner.epochs and each.status == "completed"]
    pairs = ((name, next((each for each in known if each.origin == name and each.evaluation), None)) for name in STARTS)
    return {name: each for name, each in pairs if each is not None and each.origin != winner.origin}


def _difference(winner: Evaluation, other: Evaluation) -> str:
    """How the winner differs from another: ``the winner +1.0 points``."""
    return f"the winner {signed_points(winner.accuracy - other.accuracy)}"


def _on_test(result: SearchResult) -> str:
    test = result.test
    words = f"Test, {test.support:,} examples: accuracy {score_words(test.accuracy)}"
    dense = f"dense {score_words(result.test_dense.accuracy)}"
    change = "" if test.drop is None else f", {signed_points(-test.drop)}"
    worst = worst_score_words(test)
    return f"{words} ({dense}{change}){f'; worst slice {worst}' if worst else ''}."

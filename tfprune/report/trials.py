"""Trials of a search as rows of words: a line as each one ends, a table of the best, a line for the result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tfprune.report.rows import worst_score_words
from tfprune.report.sizes import SizeScale, size_scale
from tfprune.report.words import score_words, signed_points
from tfprune.results import SearchResult, Trial

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
        found.append(scale_of(trials).header)
    return (*found, "epochs", "status")


def scale_of(trials: Sequence[Trial]) -> SizeScale:
    """How the sizes of trials are told: after gzip where all were compressed."""
    weights = [each.measurement for each in trials if each.measurement is not None]
    gzipped = all(each.gzipped_bytes is not None for each in weights)
    return size_scale([each.gzipped_bytes if gzipped else each.bytes for each in weights], gzipped)


def trial_cells(each: Trial, columns: Sequence[str], scale: SizeScale) -> list[str]:
    """The cells of one trial.

    Args:
        each: trial.
        columns: as `trial_columns` names them.
        scale: of all trials that it is shown with.
    """
    evaluation, weight = each.evaluation, each.measurement
    size = None if weight is None else weight.gzipped_bytes if scale.gzipped else weight.bytes
    cells = {
        "trial": each.label,
        "origin": each.origin,
        "objective": objective_words(each.objective),
        "accuracy": "" if evaluation is None else score_words(evaluation.accuracy),
        "worst slice": "" if evaluation is None else worst_score_words(evaluation),
        scale.header: scale.words(size),
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
    columns, order, scale = trial_columns(trials), best_first(trials), scale_of(trials)
    table = Table(title=escape(title) or None, caption=left_out_words(order, most) or None, padding=0)
    for column in columns:
        header = column.replace("B ", "B\n")  # or the name of a slice has no room
        table.add_column(header, justify="left" if column in _TEXT else "right", overflow="fold")
    for each in order[:most]:
        style = "bold green" if each.number == best else {"failed": "red", "stopped": "dim"}.get(each.status, "")
        table.add_row(*map(escape, trial_cells(each, columns, scale)), style=style)
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
    return f"{trial.label} {trial.origin}: {_came_to(trial, best, 'the best so far')}"


def final_sentence(trial: Trial, best: float | None = None) -> str:
    """What a final came to, in one line.

    Args:
        trial: fine-tuned in full.
        best: the highest objective among the finals so far, this one's included.
    """
    trained = "" if trial.status == "failed" else f", {epochs_words(trial.epochs)}"
    return f"{trial.label} final ({trial.origin}){trained}: {_came_to(trial, best, 'the best final so far')}"


def _came_to(trial: Trial, best: float | None, leads: str) -> str:
    if trial.status == "failed":
        return f"failed{f': {trial.message}' if trial.message else ''}"
    parts = []
    if trial.evaluation is not None:
        parts.append(f"accuracy {score_words(trial.evaluation.accuracy)}")
        if worst := worst_score_words(trial.evaluation):
            parts.append(f"worst slice {worst}")
    if trial.objective is not None:
        is_best = best is not None and trial.objective >= best
        so_far = "" if best is None else f" ({leads})" if is_best else f" (best {objective_words(best)})"
        parts.append(f"objective {objective_words(trial.objective)}{so_far}")
    if trial.status == "stopped":
        parts.append(f"stopped early{f': {trial.message}' if trial.message else ''}")
    return ", ".join(parts)


def epochs_words(count: int) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{count} epoch{'s' * (count != 1)}"


# ------------------------------------------------------------------------------------------------ the whole search


def search_sentence(result: SearchResult) -> str:
    """What a search came to: the winner among the finals, its trial beside uniform's and global's, the test split.

    The figures only: no difference is called more than it is, as the split that chose the winner favours it.
    """
    failed = sum(each.status == "failed" for each in result.trials)
    stopped = sum(each.status == "stopped" for each in result.trials)
    count = f"{len(result.trials)} trial{'s' * (len(result.trials) != 1)}"
    ended = [f"{stopped} stopped early"] * bool(stopped) + [f"{failed} failed"] * bool(failed)
    brackets = f" ({', '.join(ended)})" if ended else ""
    parts = [f"{count}{brackets}; {_among_finals(result)}.", _as_trials(result), _on_test(result)]
    return " ".join(part for part in parts if part)


def _among_finals(result: SearchResult) -> str:
    """The winner's final, against the dense model, its own trial, and the best final of the other kind."""
    winner, finals = result.winner, result.finals
    origin = "asked by the oracle" if winner.origin == "oracle" else f"the starting allocation {winner.origin}"
    who = f"{winner.label} ({origin}{_weight(result)})"
    what, best = f"{result.objective} on validation", "best" if _is_share(result) else "highest"
    if len(finals) == 1:
        claim = f"the only final, {_trained(finals)}, is {who}, {what}"
    else:
        failed = sum(each.status == "failed" for each in finals)
        count = f"of {len(finals)} finals{f' ({failed} failed)' if failed else ''}, {_trained(finals)},"
        ties = [each.label for each in finals if each.number != winner.number and each.objective == winner.objective]
        same = f", the same as {' and '.join(ties)}" if ties else ""
        claim = f"{count} {who} has the {best} {what}{same}"
    lower = _lower_than_its_trial(result)
    return f"{claim}: {_final_figures(result)}{lower}{_beside_the_other_kind(result)}"


def _is_share(result: SearchResult) -> bool:
    """Whether the objective is one accuracy, and not a sum that has no name."""
    return result.objective in ("accuracy", "worst slice")


def _trained(finals: Sequence[Trial]) -> str:
    counts = sorted({each.epochs for each in finals if each.status != "failed"})
    if not any(counts):
        return "not fine-tuned"
    return f"fine-tuned for {f'{counts[0]} to ' if len(counts) > 1 else ''}{epochs_words(counts[-1])}"


def _weight(result: SearchResult) -> str:
    """What is left of the winner, as its kind of pruning counts."""
    winner = result.winner
    if result.sensitivity.method == "structured":
        return "" if winner.measurement is None else f", {winner.measurement.parameters:,} parameters"
    return "" if winner.sparsity is None else f", sparsity {winner.sparsity:.1%}"


def _final_figures(result: SearchResult) -> str:
    evaluation = result.winner.evaluation
    if evaluation is None:
        return "not known"
    dense = result.dense.accuracy
    beside = f"dense {score_words(dense)}, {signed_points(evaluation.accuracy - dense)}"
    accuracy = f"{score_words(evaluation.accuracy)} ({beside})"
    if result.objective == "accuracy":
        return accuracy
    worst = worst_score_words(evaluation)
    if result.objective == "worst slice":
        return f"{worst}, accuracy {accuracy}"
    return f"{objective_words(result.winner.objective)}, accuracy {accuracy}{f', worst slice {worst}' if worst else ''}"


def _lower_than_its_trial(result: SearchResult) -> str:
    """Longer training may have cost it something; what rounds to nothing is not told."""
    own, winner = _own_trial(result), result.winner
    if own is None or own.objective is None or winner.objective is None or own.objective <= winner.objective:
        return ""
    if _standing(own, result) == _standing(winner, result):
        return ""
    return f", lower than after its trial's {epochs_words(own.epochs)} ({_standing(own, result)})"


def _beside_the_other_kind(result: SearchResult) -> str:
    """A winner of the oracle's beside the best starting allocation that was trained as long, and the reverse."""
    winner = result.winner
    is_asked = winner.origin == "oracle"
    others = [each for each in result.finals if (each.origin == "oracle") != is_asked and each.objective is not None]
    alike = best_first([each for each in others if each.epochs == winner.epochs])
    if not alike:
        return "; no starting allocation was fine-tuned as long" if is_asked else ""
    other = alike[0]
    kind, name = ("starting allocation", other.origin) if is_asked else ("of the oracle's", other.label)
    beside = f"{_standing(other, result)} (the winner {_difference(winner, other, result)})"
    return f"; the best {kind} among them, {name}: {beside}"


def _as_trials(result: SearchResult) -> str:
    """The winner's trial beside those of uniform and global that were as long; empty where it was not completed."""
    own = _own_trial(result)
    if own is None or own.status != "completed":
        return ""
    shown, missing = [f"the winner {_standing(own, result)}"], []
    for name in STARTS:
        tried = [each for each in result.trials if each.origin == name != own.origin]
        alike = [each for each in tried if each.status == "completed" and each.epochs == own.epochs]
        if alike:
            shown.append(f"{name} {_standing(alike[0], result)}")
        elif tried:
            missing.append(name)
    unlike = f"; {' and '.join(missing)} did not complete as many" if missing else ""
    measure = "" if result.objective == "accuracy" else f", {result.objective}"
    return f"As trials of {epochs_words(own.epochs)}{measure}: {', '.join(shown)}{unlike}."


def _own_trial(result: SearchResult) -> Trial | None:
    """That the winner's final comes from."""
    return next((each for each in result.trials if each.number == result.best), None)


def _standing(trial: Trial, result: SearchResult) -> str:
    """What the search chose by: an accuracy in percent, a weighted sum as it is."""
    if trial.objective is None:
        return "not known"
    return score_words(trial.objective) if _is_share(result) else objective_words(trial.objective)


def _difference(winner: Trial, other: Trial, result: SearchResult) -> str:
    """``+1.0 points``, or of a weighted sum ``+0.0100``; what rounds to nothing has no sign."""
    change = (winner.objective or 0.0) - (other.objective or 0.0)
    if _is_share(result):
        return signed_points(change)
    text = f"{change:+.4f}"
    return text if float(text) else text[1:]


def _on_test(result: SearchResult) -> str:
    test = result.test
    words = f"Test, {test.support:,} examples: accuracy {score_words(test.accuracy)}"
    dense = f"dense {score_words(result.test_dense.accuracy)}"
    change = "" if test.drop is None else f", {signed_points(-test.drop)}"
    worst = worst_score_words(test)
    return f"{words} ({dense}{change}){f'; worst slice {worst}' if worst else ''}."

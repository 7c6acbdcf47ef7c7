"""Rounds made by hand: what a workflow might have come to."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from tfprune.results import Evaluation, Measurement, Round, SliceScore, Verdict

REASON = "slice class_0 fell by 30.0 points on 30 examples (95% interval 14.1 to 46.0; at most 10.0 points)"


def score(name: str, support: int, now: float, drop: float | None = None, **more) -> SliceScore:
    """A score with intervals and counts that fit its drop."""
    if drop is None:
        return SliceScore(name, support, now, interval=(now - 0.05, now + 0.04), calibration_error=0.02, **more)
    more = {"drop_interval": (drop - 0.03, drop + 0.04), "p_value": 0.25, "p_adjusted": 0.5, **more}
    lost = max(0, round(support * drop)) + 1
    counts = {"lost": lost, "gained": lost - round(support * drop), "calibration_error": 0.03, "churn": 0.06}
    return SliceScore(name, support, now, drop, interval=(now - 0.05, now + 0.04), **{**counts, **more})


def evaluation(accuracy: float, drop: float | None = None, *drops: float | None, min_support: int = 1) -> Evaluation:
    """Slices class_0, class_1 …, with 30, 31 … examples; each was at 90% before."""
    scores = tuple(score(f"class_{i}", 30 + i, 0.9 - (each or 0.0), each) for i, each in enumerate(drops))
    return Evaluation(score("all", 100, accuracy, drop), 0.3, scores, min_support)


def regression(error: float, gained: float | None = None, *more: float) -> Evaluation:
    whole = SliceScore("all", 80, error, gained, "error", interval=(error - 0.1, error + 0.1))
    slices = [SliceScore(f"old_{i}", 20, 2.0 + each, each, "error", drop_interval=(each - 1, each + 1))
              for i, each in enumerate(more)]  # fmt: skip
    return Evaluation(whole, 1.5, tuple(slices))


DENSE = Round(
    0, 0, 0.0, 0.0, 0.0, evaluation(0.95, None, None, None), Measurement(2000, 1500, 1400, 0, 5, 8, 7), Verdict(True)
)
FIRST = Round(
    1, 0, 0.5, 0.5, 0.5,
    evaluation(0.94, 0.01, -0.0004, 0.05),
    Measurement(2000, 750, 1400, 700, 5, 8, 6),
    Verdict(True),
)  # fmt: skip
SECOND = Round(
    2, 1, 0.8, 0.8, 0.6,
    evaluation(0.8, 0.15, 0.3, 0.1),
    Measurement(2000, 300, 1400, 1120, 5, 8, 4),
    Verdict(False, ("accuracy fell by 15.0 points (at most 2.0 points)", REASON)),
)  # fmt: skip
ROUNDS = (DENSE, FIRST, SECOND)


def rebuilt(number: int, parameters: int, macs: int, removed: float) -> Round:
    """A round of structured pruning, which passed."""
    weight = Measurement(parameters, parameters, parameters, 0, macs, 4 * parameters, parameters)
    scores = evaluation(0.95 - 0.01 * number, 0.01 * number if number else None)
    start = (number, max(0, number - 1), removed, 0.0, 0.2, scores, weight, Verdict(True))
    return Round(*start, method="structured", removed=removed, reached=removed)


SMALLER = (rebuilt(0, 2000, 9000, 0.0), rebuilt(1, 1200, 4000, 0.2), rebuilt(2, 800, 3000, 0.36))


def many(count: int, slices: int, failed: tuple[int, ...] = ()) -> tuple[Round, ...]:
    """A long workflow in which a fifth of what is left falls each round; slice i loses i tenths of a point a round."""
    found = [DENSE]
    for number in range(1, count + 1):
        left = 0.8**number
        drops = [0.001 * number * place for place in range(slices)]
        weight = Measurement(2000, round(2000 * left), 1800, round(1800 * (1 - left)), 5, 8, 6)
        passed = number not in failed
        verdict = Verdict(passed, () if passed else (REASON,))
        start = (number, number - 1, 1 - left, 1 - left, 0.2, evaluation(0.95 - 0.002 * number, 0.002 * number, *drops))
        found.append(Round(*start, weight, verdict))
    return tuple(found)


def lines_of(table, width: int = 250) -> list[str]:
    """A table as a terminal of some width shows it."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(width=width, record=True, file=nowhere)
        console.print(table)
        return console.export_text().splitlines()


def shown(table) -> list[list[str]]:
    """The cells of a table, row by row."""
    rows = [line for line in lines_of(table) if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", row)[1:-1]] for row in rows]

"""Scores, drops and intervals in as few characters as they need: accuracies in percent, errors as numbers."""

from __future__ import annotations

from collections.abc import Sequence

from tfprune.results import Interval, SliceScore

MARK = "*"
"""Behind a drop that is no chance: its adjusted p is under `LEVEL`."""

LEVEL = 0.05


def score_words(value: float, measure: str = "accuracy") -> str:
    """``94.0%``, or an error as it is."""
    return f"{value:.1%}" if measure == "accuracy" else _number(value, 4)


def drop_words(drop: float, measure: str = "accuracy") -> str:
    """How much worse, in points without the word, or as an error; negative where it is better."""
    if measure == "accuracy":
        return _unsigned_zero(f"{100 * drop:.1f}")
    return _unsigned_zero(_number(drop, 3))


def change_words(drop: float, measure: str = "accuracy") -> str:
    """A drop as a signed change of the score: accuracy falls by it, an error rises."""
    return signed(-drop) if measure == "accuracy" else _unsigned_zero(f"{'+' * (drop >= 0)}{_number(drop, 3)}")


def interval_words(interval: Interval | None, measure: str = "accuracy") -> str:
    """``0.9 to 9.1``: both ends in percent or points, or as errors; empty without one."""
    if interval is None:
        return ""
    return " to ".join(drop_words(end, measure) for end in interval)


def short_interval(interval: Interval | None, measure: str = "accuracy") -> str:
    """``[0.9,9.1]``, for the narrow columns of a terminal."""
    return "" if interval is None else f"[{','.join(drop_words(end, measure) for end in interval)}]"


def mark_of(score: SliceScore) -> str:
    """A star where the change against the dense model is more than chance, after Holm's correction."""
    return MARK if score.p_adjusted is not None and score.p_adjusted < LEVEL else ""


def dense_score(score: SliceScore) -> float | None:
    """What the dense model scores on the same examples; None where there is none to compare with."""
    if score.drop is None:
        return None
    return score.score + score.drop if score.measure == "accuracy" else score.score - score.drop


def unit_of(measure: str) -> str:
    """In which a drop is told: ``points``, or nothing for an error, which has the unit of its labels."""
    return "points" if measure == "accuracy" else ""


def p_words(p_value: float | None) -> str:
    """Two digits are as much as a p-value is worth."""
    if p_value is None:
        return ""
    return f"{p_value:.2g}" if p_value >= 0.001 else "<0.001"


def share_words(share: float | None) -> str:
    """A share in percent; empty where there is none."""
    return "" if share is None else f"{share:.1%}"


def signed_points(fraction: float) -> str:
    """``-1.0 points``."""
    return f"{signed(fraction)} points"


def signed(fraction: float) -> str:
    """A change in percentage points; what rounds to nothing has no sign."""
    return _unsigned_zero(f"{100 * fraction:+.1f}")


def _unsigned_zero(text: str) -> str:
    return text.lstrip("+-") if not float(text.replace(",", "")) else text


def _number(value: float, digits: int) -> str:
    """So many digits, but no power of ten for what is told as well in full."""
    return f"{value:,.0f}" if 10 ** (digits - 1) <= abs(value) < 1e9 else f"{value:.{digits}g}"


def reasons_words(reasons: Sequence[str], most: int = 2) -> str:
    """The first reasons of a verdict, and how many more there are."""
    more = f"; and {len(reasons) - most} more" if len(reasons) > most else ""
    return "; ".join(reasons[:most]) + more

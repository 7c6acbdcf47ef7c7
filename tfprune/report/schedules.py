"""Planned sparsity over the steps of fine-tuning, as points and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

from tfprune.errors import RecipeError
from tfprune.masking.plan import round_schedule
from tfprune.recipe import ScheduleSection, parse
from tfprune.report.figures import COLOURS, Figure

_MOST_STEPS = 1_000_000
_MOST_LABELS = 10

Points = list[tuple[int, float]]


def schedule_points(section: ScheduleSection, targets: Sequence[float], steps: int = 1000) -> Points:
    """What the masks do over the rounds of a plan: (step of fine-tuning, sparsity from there on).

    Args:
        section: shapes each round.
        targets: sparsity before the first round and after each.
        steps: of fine-tuning in a round, from 1 to 1,000,000.

    Returns:
        The start, every update that changes anything, and the end.

    Raises:
        RecipeError: a number of steps out of its range.
    """
    if not 1 <= steps <= _MOST_STEPS:
        raise RecipeError(f"steps a round must be from 1 to {_MOST_STEPS}, but got {steps}")
    points = [(0, targets[0])]
    for number, (initial, final) in enumerate(pairwise(targets)):
        schedule = round_schedule(section, initial, final, steps)
        for step in range(steps + 1):
            if schedule.update_at(step) == step and schedule.sparsity(step) > points[-1][1]:
                points.append((number * steps + step, schedule.sparsity(step)))
    end = ((len(targets) - 1) * steps, points[-1][1])
    return points if points[-1] == end else [*points, end]


def phases_points(
    phases: Sequence[tuple[str, ScheduleSection, Sequence[float]]], steps: int = 1000
) -> dict[str, Points]:
    """The same for phases that follow each other: each line begins where its phase does, and goes on to the end.

    Args:
        phases: label, schedule of a round, and targets, as for `schedule_points`; labels may repeat.
        steps: of fine-tuning in a round, from 1 to 1,000,000.

    Raises:
        RecipeError: a number of steps out of its range.
    """
    found: dict[str, Points] = {}
    end = steps * sum(len(targets) - 1 for _, _, targets in phases)
    begin = 0
    for number, (label, section, targets) in enumerate(phases, 1):
        points = [(begin + step, share) for step, share in schedule_points(section, targets, steps)]
        begin += steps * (len(targets) - 1)
        key = label if label not in found else f"{label} ({number})"
        found[key] = points if begin == end else [*points, (end, points[-1][1])]
    return found


def kinds_points(kinds: Sequence[str], final: float, steps: int = 1000, frequency: int = 100) -> dict[str, Points]:
    """The same for kinds of schedule side by side, each over the whole of one round.

    Args:
        kinds: as a recipe names them; none stands for all.
        final: sparsity at the end, in (0, 1).
        steps: of fine-tuning, from 1 to 1,000,000.
        frequency: steps between two updates, at least 1.

    Raises:
        RecipeError: an unknown kind, or a number out of its range.
    """
    found = {}
    for kind in kinds or get_args(ScheduleSection.model_fields["kind"].annotation):
        schedule = {"kind": kind, "end": 1.0, "frequency": frequency}
        prune = {"rounds": 1, "target": {"sparsity": final}, "schedule": schedule}
        recipe = parse({"name": "kinds", "prune": prune}, f"--kind {kind} --final {final} --frequency {frequency}")
        found[kind] = schedule_points(recipe.masking.schedule, [0.0, final], steps)
    return found


def draw_schedules(
    title: str, lines: Mapping[str, Points], rounds: int = 1, what: str = "sparsity of prunable weights"
) -> Figure:
    """Sparsity against steps of fine-tuning: a staircase a line, a legend for several, a hairline a round.

    Args:
        title: of the picture.
        lines: points by label, all over the same steps.
        rounds: how many equal rounds the steps are.
        what: is drawn, a share.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (label, points), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
        axes.step(
            [step for step, _ in points],
            [100 * sparsity for _, sparsity in points],
            where="post",
            label=label,
            color=colour,
        )
    end = max(points[-1][0] for points in lines.values())
    axes.set(xlabel="fine-tuning step", ylabel=f"{what} (%)", ylim=(0, 100))
    axes.margins(x=0.02)  # a jump on the first or the last step is not hidden by the frame
    axes.set_title(title, loc="left", pad=24 if rounds > 1 else 12)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if rounds > 1:
        _mark_rounds(axes, end, rounds)
    if len(lines) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _mark_rounds(axes: Any, end: int, rounds: int) -> None:
    """A hairline where each round begins, with its number above; not all are numbered where they are many."""
    starts = [end * number / rounds for number in range(rounds)]
    across = axes.get_xaxis_transform()
    axes.vlines(starts, 0, 1, transform=across, color="0.6", linewidth=0.6, zorder=0)
    for number in range(0, rounds, -(-rounds // _MOST_LABELS)):
        axes.text(starts[number], 1.02, f"r{number + 1:02}", transform=across, color="0.4", fontsize="small")

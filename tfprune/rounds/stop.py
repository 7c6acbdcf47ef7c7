"""Gates and the next step, both decided from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfprune.errors import SurgeryError, TfpruneError
from tfprune.recipe import Recipe, StopSection, StructuredSection
from tfprune.results import Evaluation, Round, SliceScore, Verdict, best_round
from tfprune.rounds.target import Goal, goal_of
from tfprune.slices.statistics import drop_p_value, holm, mean_p_value

# Drops are quotients of counts; this much is rounding, not accuracy.
_ROUNDING = 1e-9
# A tensor is pruned to the nearest whole weight, so a model may miss its target by this much, a small one by more.
_WHOLE_WEIGHTS = 0.005


@dataclass(frozen=True)
class Step:
    """The round to try next.

    Attributes:
        parent: number of the round to start from.
        share: share of the parent's remaining weights to prune; in a structured phase, of what its target counts.
        target: the sparsity this leads to, or the share that is gone then.
    """

    parent: int
    share: float
    target: float


@dataclass(frozen=True)
class Halt:
    """No further round.

    Attributes:
        target_met: the target was reached with every gate held.
        reason: one clause, fit to follow "because" or a colon.
    """

    target_met: bool
    reason: str


class NoWholeUnit(SurgeryError):
    """A step too small for any unit to fall."""


def judge(evaluation: Evaluation, dense: Evaluation, stop: StopSection) -> Verdict:
    """Hold an evaluation against the gates of a recipe.

    A gate fails when the drop is over its limit in the examples at hand; with `stop.confidence`, when it is over it
    with that confidence, which slices have to reach together (Holm 1979). Slices with too few examples gate nothing.
    """
    reasons = []
    whole = evaluation.whole
    if stop.max_drop is not None and (p := _over(whole, stop.max_drop, stop)) is not None:
        reasons.append(f"{_whole(whole)} {_fell(whole, stop.max_drop, stop, p)}")
    if stop.max_relative_drop is not None:
        limit = stop.max_relative_drop * dense.score
        if (p := _over(whole, limit, stop)) is not None:
            share = f"{(whole.drop or 0.0) / dense.score:.1%} of itself (at most {stop.max_relative_drop:.1%})"
            reasons.append(f"{_whole(whole)} {share}, {_fell(whole, limit, stop, p)}")
    limits = [(each, _limit_of(each, stop)) for each in evaluation.slices]
    gated = [(each, limit) for each, limit in limits if limit is not None and each.support >= stop.min_slice_size]
    adjusted = holm([_p_value(each, limit) for each, limit in gated])
    for (each, limit), p_value in zip(gated, adjusted, strict=True):
        if _over(each, limit, stop, p_value) is not None:
            verb = "fell by" if each.measure == "accuracy" else "has an error higher by"
            reasons.append(f"slice {each.name} {verb} {_fell(each, limit, stop, p_value)}")
    return Verdict(not reasons, tuple(reasons))


def _limit_of(score: SliceScore, stop: StopSection) -> float | None:
    """The limit of a slice; one whose examples its own answers have chosen has none unless it is named."""
    return stop.slice_drops.get(score.name, None if score.selected else stop.max_slice_drop)


def _p_value(score: SliceScore, limit: float) -> float:
    """How likely a drop like this is where the true one is no more than the limit."""
    if score.lost is None or score.gained is None:
        drop = score.drop or 0.0
        return mean_p_value(drop, score.drop_interval or (drop, drop), score.support, limit)
    return drop_p_value(score.lost, score.gained, score.support, limit)


def _over(score: SliceScore, limit: float, stop: StopSection, p_value: float | None = None) -> float | None:
    """The p-value where a drop is over its limit, None where it is not."""
    p_value = _p_value(score, limit) if p_value is None else p_value
    is_over = (score.drop or 0.0) > limit + _ROUNDING
    is_sure = stop.confidence is None or p_value < 1 - stop.confidence
    return p_value if is_over and is_sure else None


def _fell(score: SliceScore, limit: float, stop: StopSection, p_value: float) -> str:
    """By how much, on how many examples, between which ends, and against which limit."""
    low, high = score.drop_interval or (None, None)
    between = ""
    if low is not None and high is not None:
        is_share = score.measure == "accuracy"
        ends = f"{100 * low:.1f} to {100 * high:.1f}" if is_share else f"{low:.4g} to {high:.4g}"
        between = f"95% interval {ends}; "
    sure = "" if stop.confidence is None else f", over it with {stop.confidence:.0%} confidence, p = {p_value:.2g}"
    fell = f"{_amount(score.drop or 0.0, score)} on {score.support} examples"
    return f"{fell} ({between}at most {_amount(limit, score)}{sure})"


def _whole(score: SliceScore) -> str:
    return "accuracy fell by" if score.measure == "accuracy" else "the error rose by"


def _amount(drop: float, score: SliceScore) -> str:
    """A drop in points, or of an error in its unit."""
    return _points(drop) if score.measure == "accuracy" else f"{drop:.4g}"


def next_step(rounds: Sequence[Round], recipe: Recipe, goal: Goal | None = None) -> Step | Halt:
    """Decide what follows the rounds of a phase so far.

    After a round that passed, the same share is pruned again; after one that failed, half the share is
    pruned from the last round that passed.

    Args:
        rounds: those of the phase, and first the one it started from, as the phase sees it.
        recipe: planned rounds and stop rules of the phase.
        goal: where the phase ends; by default what the recipe says by itself.
    """
    goal = goal or goal_of(recipe)
    final, stop = goal.final, recipe.stop
    first, best, last = rounds[0], best_round(rounds), rounds[-1]
    reached = progress(best, recipe)
    # What was only asked for may still fall: nothing but the last step, or less left than any unit takes, is the end.
    gone = (best.reached or 0.0) if best.method == "structured" else reached
    if gone >= final - (0.0 if best is first else goal.grain) or (best is not first and best.target >= final):
        return _reached(best is first, best, recipe, goal)
    failures = _failures_in_a_row(rounds)
    if failures >= stop.patience:
        return Halt(
            False, "1 round failed its gates" if failures == 1 else f"{failures} rounds in a row failed their gates"
        )
    if last.number >= recipe.max_rounds:
        return Halt(False, f"all {recipe.max_rounds} rounds are used")
    if last is first:
        share = 1 - ((1 - final) / (1 - reached)) ** (1 / recipe.sections[0].rounds)
    else:
        share = last.share if last.verdict.passed else last.share / 2
    if failures and share < stop.min_step:
        return Halt(False, f"a step under {stop.min_step:.0%} of the remaining {goal.noun} is too small to retry")
    target = 1 - (1 - reached) * (1 - share)
    if final - target < 0.01 * (target - reached):  # what whole weights left open needs no round of its own
        target, share = final, 1 - (1 - final) / (1 - reached)
    return Step(best.number, share, target)


def halt_of(error: TfpruneError, step: Step, rounds: Sequence[Round], goal: Goal) -> Halt:
    """How a phase ends at a step that came to nothing.

    Where the whole rest was asked for, and no unit is small enough for it, the target is reached but for rounding.
    """
    best = best_round(rounds)
    is_rounding = best is not rounds[0] and (best.reached or 0.0) >= goal.final - goal.slack - _ROUNDING
    if isinstance(error, NoWholeUnit) and step.target >= goal.final - _ROUNDING and is_rounding:
        return Halt(True, f"the target of {goal.said} is reached")
    return Halt(False, str(error))


def progress(finished: Round, recipe: Recipe) -> float:
    """How far a round is on the way to the target: its sparsity, or what was asked for where layers have their own.

    With sparsities by layer, the target is that of the other layers; over all, another sparsity comes of it. Of units,
    what was asked for counts as well: they fall whole, and the next round makes up for what that left open.
    """
    if finished.method == "structured":
        return max(finished.reached or 0.0, finished.target)
    return finished.target if isinstance(recipe.masking.scope, dict) else finished.sparsity


def _reached(at_once: bool, best: Round, recipe: Recipe, goal: Goal) -> Halt:
    if isinstance(recipe.prune, StructuredSection):
        return _reached_by_units(at_once, best, goal)
    final, pattern = goal.final, recipe.masking.pattern
    if at_once:
        return Halt(True, "the model is that sparse already")
    if isinstance(recipe.masking.scope, dict):
        return Halt(True, "every layer has reached its sparsity")
    if best.sparsity < final - max(_WHOLE_WEIGHTS, goal.slack):
        why = f"blocks of {pattern} fall whole and every tensor keeps one" if pattern else "every tensor keeps a weight"
        return Halt(False, f"{why}, so {best.sparsity:.1%} sparsity is all there is")
    return Halt(True, f"the target of {goal.said} is reached")


def _reached_by_units(at_once: bool, best: Round, goal: Goal) -> Halt:
    if at_once:
        return Halt(True, "the model is that small already")
    if (best.reached or 0.0) < goal.final - goal.slack - _ROUNDING:
        why = "its limits and its score let no more fall"
        return Halt(False, f"{why}, so {best.reached:.1%} of the {goal.noun} is all that goes")
    return Halt(True, f"the target of {goal.said} is reached")


def planned_targets(recipe: Recipe) -> list[float]:
    """Sparsity, or share removed, after each round of a phase if every gate holds; 0 for its start first.

    Raises:
        RecipeError: the target is an amount, and a share only of a model.
    """
    left, rounds = 1 - goal_of(recipe).final, recipe.sections[0].rounds
    return [1 - left ** (number / rounds) for number in range(rounds + 1)]


def _failures_in_a_row(rounds: Sequence[Round]) -> int:
    count = 0
    for each in reversed(rounds):
        if each.verdict.passed:
            break
        count += 1
    return count


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"

"""Gates and the next step, both decided from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfprune.recipe import Recipe, StopSection
from tfprune.results import Evaluation, Round, Verdict

# Drops are quotients of counts; this much is rounding, not accuracy.
_ROUNDING = 1e-9
# A tensor is pruned to the nearest whole weight, so a small model may miss its target by this much.
_WHOLE_WEIGHTS = 0.005


@dataclass(frozen=True)
class Step:
    """The round to try next.

    Attributes:
        parent: number of the round to start from.
        share: share of the parent's remaining weights to prune.
        target: the sparsity this leads to.
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


def judge(evaluation: Evaluation, dense: Evaluation, stop: StopSection) -> Verdict:
    """Hold an evaluation against the gates of a recipe."""
    reasons = []
    drop = evaluation.drop or 0.0
    if stop.max_drop is not None and drop > stop.max_drop + _ROUNDING:
        reasons.append(f"accuracy fell by {_points(drop)} (at most {_points(stop.max_drop)})")
    if stop.max_relative_drop is not None and drop > stop.max_relative_drop * dense.accuracy + _ROUNDING:
        reasons.append(f"accuracy fell by {drop / dense.accuracy:.1%} of itself (at most {stop.max_relative_drop:.1%})")
    for each in evaluation.slices:
        limit = stop.slice_drops.get(each.name)
        if limit is None and each.support >= stop.min_slice_size:
            limit = stop.max_slice_drop
        if limit is not None and (each.drop or 0.0) > limit + _ROUNDING:
            fell = f"{_points(each.drop or 0.0)} on {each.support} examples"
            reasons.append(f"slice {each.name} fell by {fell} (at most {_points(limit)})")
    return Verdict(not reasons, tuple(reasons))


def next_step(rounds: Sequence[Round], recipe: Recipe) -> Step | Halt:
    """Decide what follows the rounds so far.

    After a round that passed, the same share is pruned again; after one that failed, half the share is
    pruned from the last round that passed.

    Args:
        rounds: all so far, the dense model first.
        recipe: target, planned rounds and stop rules.
    """
    final, stop = recipe.prune.target.sparsity, recipe.stop
    best, last = best_round(rounds), rounds[-1]
    reached = progress(best, recipe)
    if reached >= final or (best.number and best.target >= final):
        return _reached(best, recipe)
    failures = _failures_in_a_row(rounds)
    if failures >= stop.patience:
        return Halt(
            False, "1 round failed its gates" if failures == 1 else f"{failures} rounds in a row failed their gates"
        )
    if last.number >= recipe.max_rounds:
        return Halt(False, f"all {recipe.max_rounds} rounds are used")
    if last.number == 0:
        share = 1 - ((1 - final) / (1 - reached)) ** (1 / recipe.prune.rounds)
    else:
        share = last.share if last.verdict.passed else last.share / 2
    if failures and share < stop.min_step:
        return Halt(False, f"a step under {stop.min_step:.0%} of the remaining weights is too small to retry")
    target = 1 - (1 - reached) * (1 - share)
    if final - target < 0.01 * (target - reached):  # what whole weights left open needs no round of its own
        target, share = final, 1 - (1 - final) / (1 - reached)
    return Step(best.number, share, target)


def progress(finished: Round, recipe: Recipe) -> float:
    """How far a round is on the way to the target: its sparsity, or what was asked for where layers have their own.

    With sparsities by layer, the target is that of the other layers; over all, another sparsity comes of it.
    """
    return finished.target if isinstance(recipe.prune.scope, dict) else finished.sparsity


def _reached(best: Round, recipe: Recipe) -> Halt:
    final, pattern = recipe.prune.target.sparsity, recipe.prune.pattern
    if not best.number:
        return Halt(True, "the model is that sparse already")
    if isinstance(recipe.prune.scope, dict):
        return Halt(True, "every layer has reached its sparsity")
    if best.sparsity < final - _WHOLE_WEIGHTS:
        why = f"blocks of {pattern} fall whole and every tensor keeps one" if pattern else "every tensor keeps a weight"
        return Halt(False, f"{why}, so {best.sparsity:.1%} sparsity is all there is")
    return Halt(True, f"the target of {final:.0%} sparsity is reached")


def planned_targets(recipe: Recipe) -> list[float]:
    """Sparsity after each round if every gate holds, 0 for the dense model first."""
    left = 1 - recipe.prune.target.sparsity
    return [1 - left ** (number / recipe.prune.rounds) for number in range(recipe.prune.rounds + 1)]


def best_round(rounds: Sequence[Round]) -> Round:
    """The furthest round that passed; the dense model passes by definition."""
    passed = [each for each in rounds if each.verdict.passed]
    return max(passed, key=lambda each: (each.sparsity, each.target, -each.number))


def _failures_in_a_row(rounds: Sequence[Round]) -> int:
    count = 0
    for each in reversed(rounds):
        if each.verdict.passed:
            break
        count += 1
    return count


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"

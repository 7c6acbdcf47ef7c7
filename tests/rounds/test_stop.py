"""Gates and next steps, over simulated rounds."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny_workflow
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import RecipeError, SurgeryError
from tfprune.recipe import Recipe, StopSection, parse
from tfprune.results import Evaluation, Measurement, Round, SliceScore, Verdict
from tfprune.rounds.stop import Halt, NoWholeUnit, Step, best_round, halt_of, judge, next_step, planned_targets
from tfprune.rounds.target import Goal, goal_of, goal_within
from tfprune.slices.statistics import drop_interval, drop_p_value

WEIGHT = Measurement(parameters=100, nonzero=100, prunable=100, zeros=0, macs=1, bytes=1, gzipped_bytes=1)


def evaluation(accuracy: float = 0.9, drop: float | None = 0.0, *slices: SliceScore) -> Evaluation:
    return Evaluation(SliceScore("all", 100, accuracy, drop), 0.1, slices, min_support=20)


def made(number: int, step: Step, sparsity: float, passed: bool) -> Round:
    return Round(number, step.parent, step.target, sparsity, step.share, evaluation(), WEIGHT, Verdict(passed))


def simulate(recipe: Recipe, passes, start: float = 0.0, weights: int = 10**6) -> tuple[list[Round], Halt]:
    """Play rounds until the end; `passes` says which sparsities keep their promises."""
    rounds = [made(0, Step(0, 0.0, 0.0), start, True)]
    while isinstance(step := next_step(rounds, recipe), Step):
        assert len(rounds) <= recipe.max_rounds, "it goes on for ever"
        sparsity = max(round(step.target * weights) / weights, start)
        rounds.append(made(len(rounds), step, sparsity, passes(sparsity, len(rounds))))
    return rounds, step


def the_recipe(**changes) -> Recipe:
    return parse(tiny_workflow.recipe(**changes))


shares = st.floats(0.01, 0.99)
recipes = st.builds(
    lambda target, rounds, most, patience, min_step: the_recipe(
        prune__target={"sparsity": target},
        prune__rounds=rounds,
        stop={"max_rounds": most, "patience": patience, "min_step": min_step},
    ),
    shares,
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 20)),
    st.integers(1, 6),
    st.floats(0, 0.5),
)


# ------------------------------------------------------------------------------------------ whole sequences


@settings(max_examples=200, deadline=None)
@given(recipes, st.floats(0, 1), st.lists(st.booleans(), max_size=20), st.floats(0, 0.5), st.sampled_from([30, 10**6]))
def test_every_sequence_keeps_the_rules(recipe, limit, luck, start, weights):
    def passes(sparsity, number):
        return luck[number] if number < len(luck) else sparsity <= limit

    rounds, halt = simulate(recipe, passes, start, weights)
    final = recipe.prune.target.sparsity
    for before, each in pairwise(rounds):
        earlier = rounds[: each.number]
        assert each.parent == best_round(earlier).number
        assert best_round(earlier).sparsity < each.target <= final + 1e-12
        assert each.target == pytest.approx(1 - (1 - rounds[each.parent].sparsity) * (1 - each.share))
        if not before.verdict.passed:
            # Half the step again, or less where the target is nearer.
            assert each.share <= before.share / 2 * 1.02
    best = best_round(rounds)
    passed = [each for each in rounds if each.verdict.passed]
    assert best.sparsity == max(each.sparsity for each in passed)
    assert halt.target_met == (best.sparsity >= final or (best.target >= final and best.sparsity >= final - 0.005))
    assert halt.reason


@settings(max_examples=100, deadline=None)
@given(recipes, st.floats(0, 1))
def test_a_limit_ends_for_a_reason_that_is_true(recipe, limit):
    rounds, halt = simulate(recipe, lambda sparsity, _: sparsity <= limit)
    failed = 0
    for each in reversed(rounds):
        if each.verdict.passed:
            break
        failed += 1
    if halt.target_met:
        assert best_round(rounds).target == pytest.approx(recipe.prune.target.sparsity)
    elif "failed" in halt.reason:
        assert failed == recipe.stop.patience
    elif "rounds are used" in halt.reason:
        assert len(rounds) - 1 == recipe.max_rounds
    else:
        assert failed and rounds[-1].share / 2 < recipe.stop.min_step


def test_equal_steps_when_every_gate_holds():
    recipe = the_recipe(prune__target={"sparsity": 0.9}, prune__rounds=4)
    rounds, halt = simulate(recipe, lambda *_: True)
    assert [each.target for each in rounds] == pytest.approx(planned_targets(recipe), abs=1e-5)
    assert [each.share for each in rounds[1:]] == pytest.approx([1 - 0.1**0.25] * 4, rel=1e-4)
    assert halt == Halt(True, "the target of 90% sparsity is reached")


def test_a_failure_halves_the_step_from_the_last_that_passed():
    recipe = the_recipe(prune__target={"sparsity": 0.75}, prune__rounds=2, stop={"min_step": 0.01})
    rounds, halt = simulate(recipe, lambda sparsity, _: sparsity <= 0.63)
    assert [each.sparsity for each in rounds] == pytest.approx([0, 0.5, 0.75, 0.625, 0.71875])
    assert [each.parent for each in rounds] == [0, 0, 1, 1, 3]
    assert [each.verdict.passed for each in rounds] == [True, True, False, True, False]
    assert best_round(rounds).number == 3, "the furthest, not the last"
    assert halt == Halt(False, "all 4 rounds are used")


@pytest.mark.parametrize(
    ("stop", "count", "reason"),
    [
        ({"patience": 2, "max_rounds": 9, "min_step": 0}, 2, "2 rounds in a row failed their gates"),
        ({"max_rounds": 3, "min_step": 0}, 3, "all 3 rounds are used"),
        ({"min_step": 0.2}, 1, "a step under 20% of the remaining weights is too small to retry"),
    ],
)
def test_giving_up(stop, count, reason):
    rounds, halt = simulate(the_recipe(stop=stop), lambda *_: False)
    assert (len(rounds) - 1, halt) == (count, Halt(False, reason))
    assert best_round(rounds).number == 0


def test_nothing_to_do():
    rounds, halt = simulate(the_recipe(), lambda *_: True, start=0.7)
    assert (len(rounds), halt) == (1, Halt(True, "the model is that sparse already"))


def test_steps_count_from_the_zeros_that_are_there():
    rounds, _ = simulate(the_recipe(), lambda *_: True, start=0.4)
    assert [each.target for each in rounds[1:]] == pytest.approx([1 - (0.6 * 0.4) ** 0.5, 0.6], abs=1e-5)


def test_a_target_beyond_the_last_weights_is_not_called_met():
    recipe = the_recipe(prune__target={"sparsity": 0.99}, prune__rounds=1)
    dense, step = made(0, Step(0, 0.0, 0.0), 0.0, True), Step(0, 0.99, 0.99)
    assert next_step([dense, made(1, step, 0.875, True)], recipe) == Halt(
        False, "every tensor keeps a weight, so 87.5% sparsity is all there is"
    )
    assert next_step([dense, made(1, step, 0.9899, True)], recipe).target_met


def test_whole_blocks_are_told_from_weights():
    recipe = the_recipe(prune__target={"sparsity": 0.75}, prune__rounds=1, prune__pattern="4x4")
    dense, step = made(0, Step(0, 0.0, 0.0), 0.0, True), Step(0, 0.75, 0.75)
    assert next_step([dense, made(1, step, 0.7, True)], recipe) == Halt(
        False, "blocks of 4x4 fall whole and every tensor keeps one, so 70.0% sparsity is all there is"
    )


@pytest.mark.parametrize("overall", [0.3, 0.95])
def test_sparsities_by_layer_are_reached_where_the_target_is(overall):
    """Over all, the sparsity is another than the target, on either side of it."""
    recipe = the_recipe(prune__target={"sparsity": 0.75}, prune__rounds=2, prune__scope={"first": 0.9})
    rounds = [made(0, Step(0, 0.0, 0.0), 0.2, True)]
    while isinstance(step := next_step(rounds, recipe), Step):
        rounds.append(made(len(rounds), step, max(0.2, overall * step.target / 0.75), True))
    assert [each.target for each in rounds] == pytest.approx([0, 0.5, 0.75])
    assert [each.parent for each in rounds] == [0, 0, 1]
    assert step == Halt(True, "every layer has reached its sparsity")


def test_of_equal_sparsities_the_one_that_was_asked_for_more_is_further():
    rounds = [made(0, Step(0, 0.0, 0.0), 0.2, True), made(1, Step(0, 0.1, 0.1), 0.2, True)]
    assert best_round(rounds).number == 1
    assert best_round([*rounds, made(2, Step(1, 0.1, 0.1), 0.2, True)]).number == 1


@given(recipes)
def test_planned_targets_rise_to_the_target(recipe):
    targets = planned_targets(recipe)
    assert targets[0] == 0 and targets[-1] == pytest.approx(recipe.prune.target.sparsity)
    assert all(before < after for before, after in pairwise(targets))


# ---------------------------------------------------------------------------------------------- structured


def the_structured(target=None, **changes) -> Recipe:
    prune = {"method": "structured", "target": target or {"ratio": 0.67232}, "rounds": 5}
    return the_recipe(prune=prune, **changes)


def rebuilt(number: int, step: Step, reached: float, passed: bool = True) -> Round:
    return replace(made(number, step, 0.0, passed), method="structured", reached=reached, removed=reached)


def simulate_rebuilt(recipe: Recipe, goal: Goal, passes, units: int) -> tuple[list[Round], Halt]:
    """Play rounds in which units fall whole, as the core counts them: of those that are left, rounded down."""
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0)]
    while isinstance(step := next_step(rounds, recipe, goal), Step):
        assert len(rounds) <= recipe.max_rounds, "it goes on for ever"
        gone = round(units * rounds[step.parent].reached)
        ratio = 1 - (1 - step.target) / (1 - gone / units)
        reached = (gone + int(ratio * (units - gone) + 1e-9)) / units
        rounds.append(rebuilt(len(rounds), step, reached, passes(reached)))
    return rounds, step


@pytest.mark.parametrize("units", [10, 16, 100, 10**6])
def test_five_rounds_of_a_fifth(units):
    goal = replace(goal_of(the_structured()), slack=1 / units)
    rounds, halt = simulate_rebuilt(the_structured(), goal, lambda _: True, units)
    assert [each.target for each in rounds] == pytest.approx([1 - 0.8**number for number in range(6)])
    assert [each.share for each in rounds[1:]] == pytest.approx([0.2] * 5)
    assert all(each.target - each.reached <= 1 / units for each in rounds), "what was left open is made up for"
    assert halt == Halt(True, "the target of 67.2% of the units removed is reached")


@settings(max_examples=100, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(1, 6), st.floats(0, 1), st.integers(4, 1000))
def test_structured_rounds_keep_the_rules(ratio, count, limit, units):
    recipe = the_structured({"ratio": ratio}, prune__rounds=count)
    goal = replace(goal_of(recipe), slack=1 / units)
    rounds, halt = simulate_rebuilt(recipe, goal, lambda reached: reached <= limit, units)
    best = best_round(rounds)
    assert best.reached == max(each.reached for each in rounds if each.verdict.passed)
    # Less than a unit may be missing where the whole was asked for; a smaller step that came that far is none.
    asked = best.target >= ratio - 1e-9
    assert halt.target_met == (best.reached >= ratio - 1e-9 or (asked and best.reached >= ratio - 1 / units - 1e-9))
    for before, each in pairwise(rounds):
        assert each.parent == best_round(rounds[: each.number]).number
        if not before.verdict.passed:
            assert each.share <= before.share / 2 * 1.02


@pytest.mark.parametrize(
    ("target", "amount", "goal"),
    [
        ({"params": 250}, 1000, Goal(0.75, "parameters", "at most 250 parameters", 250)),
        ({"params": 0.25}, 1000, Goal(0.5, "parameters", "at most 500 parameters", 500)),
        ({"macs": 1500}, 1000, Goal(-0.5, "MACs", "at most 1,500 MACs", 1500)),
        ({"size_mb": 0.5}, 2, Goal(0.75, "size", "at most 0.50 MB of weights", 0.5)),
        ({"latency_ms": 1.5}, 3, Goal(0.5, "latency", "at most 1.50 ms", 1.5)),
        ({"ratio": 0.5}, 1, Goal(0.5, "units", "50.0% of the units removed")),
    ],
    ids=str,
)
def test_amounts_become_shares_of_where_the_phase_starts(target, amount, goal):
    assert goal_within(the_structured(target), amount, 2000) == goal


def test_what_no_whole_unit_could_make_up_for_is_left():
    recipe = the_structured({"ratio": 0.5})
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0), rebuilt(1, Step(0, 0.48, 0.48), 0.49)]
    goal = goal_of(recipe)
    assert isinstance(next_step(rounds, recipe, goal), Step)
    halt = next_step(rounds, recipe, replace(goal, slack=0.03, grain=0.015))
    assert halt == Halt(True, "the target of 50.0% of the units removed is reached")


def test_what_was_asked_for_but_did_not_fall_is_no_target_reached():
    """Widths in multiples of eight: rounding may miss much, but a further step would still take something."""
    recipe = the_structured({"ratio": 0.5})
    goal = replace(goal_of(recipe), slack=0.15, grain=0.02)
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0)]
    for number, (target, reached) in enumerate([(0.1294, 0.15), (0.26, 0.25), (0.3558, 0.35), (0.49, 0.36)], 1):
        rounds.append(rebuilt(number, Step(number - 1, 0.1294, target), reached))
        assert isinstance(next_step(rounds, recipe, goal), Step), "it is not reached, and there are rounds left"
    assert next_step(rounds, recipe, goal).target == pytest.approx(0.5)
    last = rebuilt(5, Step(4, 0.02, 0.5), 0.36)
    assert next_step([*rounds, last], recipe, goal) == Halt(True, "the target of 50.0% of the units removed is reached")


def test_a_start_is_no_rounding():
    recipe = the_structured({"ratio": 0.05})
    goal = replace(goal_of(recipe), slack=0.2, grain=0.1)
    assert isinstance(next_step([rebuilt(0, Step(0, 0.0, 0.0), 0.0)], recipe, goal), Step)


def test_a_last_step_that_takes_no_whole_unit_ends_a_phase_that_is_there_but_for_rounding():
    goal = replace(goal_of(the_structured({"ratio": 0.5})), slack=0.03)
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0), rebuilt(1, Step(0, 0.48, 0.48), 0.48)]
    nothing, other = NoWholeUnit("it takes no whole unit"), SurgeryError("out of reach")
    whole, half = Step(1, 0.04, 0.5), Step(1, 0.02, 0.49)
    assert halt_of(nothing, whole, rounds, goal) == Halt(True, "the target of 50.0% of the units removed is reached")
    assert halt_of(nothing, half, rounds, goal) == Halt(False, "it takes no whole unit")
    assert halt_of(other, whole, rounds, goal) == Halt(False, "out of reach")
    assert halt_of(nothing, whole, rounds, replace(goal, slack=0.01)) == Halt(False, "it takes no whole unit")
    assert halt_of(nothing, replace(whole, parent=0), rounds[:1], replace(goal, slack=0.6)).target_met is False


def test_an_amount_is_a_share_only_of_a_model():
    with pytest.raises(RecipeError, match=r"prune.target.params 250 is an amount") as caught:
        planned_targets(the_structured({"params": 250}))
    assert "\n" not in str(caught.value)
    assert planned_targets(the_structured({"macs": 0.25}, prune__rounds=2)) == pytest.approx([0, 0.5, 0.75])


def test_a_budget_that_is_met_early_needs_no_further_round():
    recipe = the_structured({"params": 250})
    goal = goal_within(recipe, 1000, 1000)
    first = Step(0, 0.25, 0.25)
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0), rebuilt(1, first, 0.8)]
    assert next_step(rounds, recipe, goal) == Halt(True, "the target of at most 250 parameters is reached")
    assert next_step(rounds[:1], recipe, replace(goal, final=-1.0)) == Halt(True, "the model is that small already")


def test_what_passed_later_is_further():
    """Masks begin at a sparsity of nothing, on the best structured round."""
    rounds = [rebuilt(0, Step(0, 0.0, 0.0), 0.0), rebuilt(1, Step(0, 0.5, 0.5), 0.5)]
    masked = replace(made(2, Step(1, 0.2, 0.2), 0.2, True), phase=1)
    assert best_round([*rounds, masked]).number == 2
    assert best_round([*rounds, replace(masked, verdict=Verdict(False, ("no",)))]).number == 1


# -------------------------------------------------------------------------------------------------- gates


DENSE = evaluation(0.8, None)


def verdict(drop: float, *slices: SliceScore, **stop) -> Verdict:
    return judge(evaluation(0.8 - drop, drop, *slices), DENSE, StopSection(**{"max_drop": None, **stop}))


@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 500))
def test_max_drop_counts_its_limit_as_kept(size, lost, allowed):
    lost, allowed = lost % size, allowed % size
    dense, now = size / size, (size - lost) / size
    stop = StopSection(max_drop=allowed / size)
    assert judge(evaluation(now, dense - now), evaluation(dense, None), stop).passed == (lost <= allowed)


def paired(name: str, support: int, lost: int, gained: int = 0) -> SliceScore:
    """A slice whose dense model answered all but the gained ones rightly."""
    interval = drop_interval(lost, gained, support)
    drop = (lost - gained) / support
    return SliceScore(name, support, 1 - drop, drop, drop_interval=interval, lost=lost, gained=gained)


def test_max_drop():
    assert verdict(0.02, max_drop=0.02) == Verdict(True)
    assert verdict(-0.5, max_drop=0.0) == Verdict(True)
    reason = "accuracy fell by 2.1 points on 100 examples (at most 2.0 points)"
    assert verdict(0.021, max_drop=0.02) == Verdict(False, (reason,))
    assert verdict(0.7) == Verdict(True), "null lifts the gate"


def test_max_relative_drop():
    assert verdict(0.08, max_relative_drop=0.1) == Verdict(True)
    reason = "accuracy fell by 12.5% of itself (at most 10.0%), 10.0 points on 100 examples (at most 8.0 points)"
    assert verdict(0.1, max_relative_drop=0.1) == Verdict(False, (reason,))
    hopeless = judge(evaluation(0.0, 0.0), evaluation(0.0, None), StopSection(max_relative_drop=0.1))
    assert hopeless.passed


def test_slices_above_the_minimum_size_are_gated():
    big, small = paired("class_1", 20, 3), paired("class_2", 19, 17)
    reason = "slice class_1 fell by 15.0 points on 20 examples (95% interval 0.0 to 30.0; at most 10.0 points)"
    assert verdict(0, big, small, max_slice_drop=0.1, min_slice_size=20) == Verdict(False, (reason,))
    assert verdict(0, paired("class_1", 20, 2), max_slice_drop=0.1).passed
    assert verdict(0, big, small, max_slice_drop=None).passed, "without max_slice_drop nobody is gated"


def test_by_default_no_slice_loses_more_than_ten_points():
    assert verdict(0, paired("class_1", 100, 10)).passed
    assert not verdict(0, paired("class_1", 100, 11)).passed


def test_a_slice_that_is_named_has_its_own_limit_and_gates_nothing_while_it_is_small():
    assert not verdict(0, paired("class_2", 30, 10), slice_drops={"class_2": 0.25}, max_slice_drop=0.9).passed
    assert verdict(0, paired("class_2", 30, 10), slice_drops={"class_2": 0.34}, max_slice_drop=0.0).passed
    assert verdict(0, paired("class_2", 3, 1), slice_drops={"class_2": 0.25}).passed


def test_a_slice_that_its_own_answers_have_chosen_gates_only_where_it_is_named():
    chosen = replace(paired("pie", 100, 60, 20), selected=True)
    assert verdict(0, chosen, max_slice_drop=0.1).passed
    assert verdict(0, chosen, max_slice_drop=0.1, slice_drops={"pie": 0.4}).passed
    assert not verdict(0, chosen, slice_drops={"pie": 0.3}).passed


def test_with_confidence_a_gate_wants_evidence():
    few, many = paired("a", 20, 3), paired("a", 400, 60)
    plain, sure = {"max_slice_drop": 0.1}, {"max_slice_drop": 0.1, "confidence": 0.95}
    assert [verdict(0, each, **plain).passed for each in (few, many)] == [False, False]
    assert [verdict(0, each, **sure).passed for each in (few, many)] == [True, False]
    (reason,) = verdict(0, many, **sure).reasons
    low, high = many.drop_interval
    assert reason.startswith(
        f"slice a fell by 15.0 points on 400 examples (95% interval {100 * low:.1f} to {100 * high:.1f};"
    )
    assert re.search(r"at most 10\.0 points, over it with 95% confidence, p = 0\.00\d+\)$", reason)


def test_with_confidence_slices_are_corrected_for_their_number():
    slice_ = paired("a", 200, 18, 6)
    alone = drop_p_value(18, 6, 200, 0.0)
    assert 0.005 < alone < 0.05
    gates = {"max_slice_drop": 0.0, "confidence": 0.95}
    assert not verdict(0, slice_, **gates).passed
    others = [paired(str(number), 200, 5, 5) for number in range(20)]
    assert verdict(0, slice_, *others, **gates).passed, f"{alone} times 21 is no evidence"
    assert not verdict(0, slice_, *others, max_slice_drop=0.0).passed


@pytest.mark.parametrize(("drop", "least", "most"), [(0.0, 0.04, 0.06), (0.1, 0.9, 1.0)])
def test_of_two_thousand_comparisons_as_many_fail_as_the_confidence_says(drop, least, most):
    """Without a true drop 5 in 100 fail; of 10 points on 200 examples nearly all are seen."""
    size, differing = (500, 0.2) if not drop else (200, 0.16)
    shares = [(differing + drop) / 2, (differing - drop) / 2, 1 - differing]
    counts = np.random.default_rng(0).multinomial(size, shares, size=2_000)
    stop = StopSection(max_drop=0.0, max_slice_drop=None, confidence=0.95)
    known: dict[tuple[int, int], bool] = {}
    for lost, gained in {(int(lost), int(gained)) for lost, gained, _ in counts}:
        whole = SliceScore("all", size, 0.5, (lost - gained) / size, lost=lost, gained=gained)
        known[lost, gained] = judge(Evaluation(whole, 0.1), DENSE, stop).passed
    failed = sum(not known[int(lost), int(gained)] for lost, gained, _ in counts)
    assert least <= failed / 2_000 <= most


def test_a_whole_that_fell_is_held_against_its_limit_with_confidence():
    stop = StopSection(max_drop=0.02, confidence=0.95, max_slice_drop=None)
    for lost, passes in ((12, True), (60, False)):
        whole = paired("all", 400, lost)
        assert judge(Evaluation(whole, 0.1), DENSE, stop).passed == passes


def test_every_gate_that_failed_is_named():
    slices = SliceScore("a", 50, 0.1, 0.5), SliceScore("b", 50, 0.1, 0.6)
    reasons = verdict(0.3, *slices, max_drop=0.1, max_relative_drop=0.1, max_slice_drop=0.1).reasons
    assert [each.split(" fell")[0] for each in reasons] == ["accuracy", "accuracy", "slice a", "slice b"]

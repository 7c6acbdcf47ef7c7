"""Few knobs for many layers, and what sensitivity says of their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.results import Sensitivity, SensitivityCurve
from tfprune.tuning.knobs import Board, even_losses, least_densities, make_board

RATIOS = (0.5, 0.7, 0.9)


def curves(losses: dict[str, tuple[float, ...]], scores: dict[str, tuple[float, ...]] | None = None) -> Sensitivity:
    """Curves of layers by their losses; of a dense model of loss 0.1 that is right in 9 of 10."""
    held = scores or {}
    made = [SensitivityCurve(name, RATIOS, held.get(name, (0.9,) * 3), each) for name, each in losses.items()]
    return Sensitivity("masking", 0.9, 0.1, 100, tuple(made))


def names(count: int) -> list[str]:
    return [f"l{place}" for place in range(count)]


def laid_out(losses: dict[str, tuple[float, ...]], most: int, groups: list[tuple[str, ...]] | None = None) -> Board:
    """A board of layers by their losses, whose only start is uniform."""
    shares = dict.fromkeys(losses, 0.8)
    return make_board(
        groups or [(name,) for name in losses], {"uniform": shares}, {"uniform": 0.9}, curves(losses), most
    )


def a_board(count: int, most: int, seed: int = 0) -> Board:
    rng = np.random.default_rng(seed)
    layers = names(count)
    starts = {start: dict(zip(layers, rng.uniform(0.2, 0.99, count), strict=True)) for start in ("one", "two", "three")}
    found = curves({name: tuple(np.sort(rng.uniform(0.1, 5, 3))) for name in layers})
    return make_board([(name,) for name in layers], starts, {"one": 0.5, "two": 0.7, "three": 0.6}, found, most)


# ------------------------------------------------------------------------------------------------ knobs


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 12), st.integers(0, 1000))
def test_knobs_are_no_more_than_asked_and_join_neighbours_alone(count: int, most: int, seed: int) -> None:
    board = a_board(count, most, seed)
    assert len(board.knobs) == min(count, most)
    assert [member for knob in board.knobs for member in knob.members] == names(count)  # all, once, in order
    assert len({knob.name for knob in board.knobs}) == len(board.knobs)
    assert all(knob.low < 0 < knob.high for knob in board.knobs)
    for knob in board.knobs:
        more = len(knob.members) - 1
        assert knob.name == (f"{knob.members[0]}+{more}" if more else knob.members[0])


def test_neighbours_that_are_alike_are_joined() -> None:
    board = laid_out({"a": (0.1,) * 3, "b": (0.1,) * 3, "c": (5.0,) * 3, "d": (5.0,) * 3}, 2)
    assert [knob.members for knob in board.knobs] == [("a", "b"), ("c", "d")]


def test_layers_far_apart_are_not_joined_however_alike() -> None:
    board = laid_out({"a": (0.1,) * 3, "b": (5.0,) * 3, "c": (0.1,) * 3}, 2)
    assert ("a", "c") not in [knob.members for knob in board.knobs]


def test_groups_stay_together_though_their_layers_stand_apart() -> None:
    losses = dict.fromkeys(("stem", "wide", "back", "scores"), (0.2, 0.3, 0.4))
    board = laid_out(losses, 8, [("stem", "back"), ("wide",), ("scores",)])
    assert [(knob.name, knob.members) for knob in board.knobs] == [
        ("stem+1", ("stem", "back")),
        ("wide", ("wide",)),
        ("scores", ("scores",)),
    ]


@pytest.mark.parametrize("bad", [math.inf, math.nan], ids=str)
def test_losses_that_are_no_numbers_join_too(bad: float) -> None:
    board = laid_out({name: (0.1, 1.0, bad if place % 2 else 2.0) for place, name in enumerate(names(6))}, 3)
    assert [member for knob in board.knobs for member in knob.members] == names(6)
    assert len(board.knobs) == 3


def test_all_knobs_at_nought_are_the_best_start() -> None:
    board = a_board(5, 3)
    rng = np.random.default_rng(0)
    rng.uniform(0.2, 0.99, 5)  # the first start
    second = dict(zip(names(5), rng.uniform(0.2, 0.99, 5), strict=True))
    densities = board.densities(dict.fromkeys((knob.name for knob in board.knobs), 0.0))
    assert densities == pytest.approx({name: 1 - share for name, share in second.items()})
    assert board.values(second) == pytest.approx(dict.fromkeys((knob.name for knob in board.knobs), 0.0))


def test_a_knob_reaches_half_as_far_again_as_the_better_starts() -> None:
    starts = {"best": {"a": 0.6}, "good": {"a": 0.9}, "bad": {"a": 0.1}, "failed": {"a": 0.0}}
    objectives = {"bad": 0.3, "good": 0.8, "best": 0.9}
    board = make_board([("a",)], starts, objectives, curves({"a": (1.0, 2.0, 3.0)}), 1)
    assert board.reference == pytest.approx({"a": 0.4})
    assert 0.4 * math.exp(board.knobs[0].high) == pytest.approx(1.5 * 0.4)
    assert 0.4 * math.exp(board.knobs[0].low) == pytest.approx(0.1 / 1.5)
    assert board.values(starts["good"]) == pytest.approx({"a": math.log(0.1 / 0.4)})
    assert board.values(starts["bad"]) is None  # beyond the knob, so nothing that it could be told of


@pytest.mark.parametrize("objectives", [{"one": 0.5}, {"one": 0.5, "two": 0.4}], ids=["one", "two"])
def test_starts_that_failed_are_passed_over(objectives: dict[str, float]) -> None:
    starts = {"zero": {"a": 0.0}, "one": {"a": 0.5}, "two": {"a": 0.75}}
    board = make_board([("a",)], starts, objectives, curves({"a": (1.0, 2.0, 3.0)}), 1)
    assert board.reference == {"a": 0.5}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 1000))
def test_values_and_densities_are_inverse_within_the_limits(count: int, most: int, seed: int) -> None:
    board, rng = a_board(count, most, seed), np.random.default_rng(seed)
    # A density over 1 has no share that it could be told from.
    tops = {k.name: min([k.high, *(-math.log(board.reference[m]) for m in k.members)]) for k in board.knobs}
    values = {knob.name: float(rng.uniform(knob.low + 1e-6, tops[knob.name] - 1e-6)) for knob in board.knobs}
    shares = {name: 1 - density for name, density in board.densities(values).items()}
    assert board.values(shares) == pytest.approx(values, abs=1e-6)


def test_an_allocation_beyond_the_limits_stands_nowhere() -> None:
    assert a_board(4, 2).values(dict.fromkeys(names(4), 1.0)) is None


# ---------------------------------------------------------------------------------- what sensitivity says


@pytest.mark.parametrize(
    ("scores", "start", "expected"),
    [
        pytest.param((0.9, 0.9, 0.9), 0.6, 0.0, id="never-lost"),
        pytest.param((0.9, 0.9, 0.2), 0.6, 0.3, id="lost-at-last"),
        pytest.param((0.9, 0.45, 0.2), 0.6, 0.3, id="half-is-held"),
        pytest.param((0.9, 0.2, 0.2), 0.6, 0.4, id="a-start-goes-farther"),
        pytest.param((0.2, 0.2, 0.2), 0.0, 1.0, id="lost-at-once"),
    ],
)
def test_least_densities(scores: tuple[float, ...], start: float, expected: float) -> None:
    found = least_densities({"uniform": {"a": start}}, curves({"a": (1.0, 2.0, 3.0)}, {"a": scores}))
    assert found == pytest.approx({"a": expected})


def even(losses: dict[str, tuple[float, ...]], pruned: float, size: int = 100) -> dict[str, float]:
    return even_losses(curves(losses), dict.fromkeys(losses, size), pruned)


def test_equal_curves_give_equal_shares_that_meet_the_budget() -> None:
    found = even({"a": (0.2, 0.5, 1.0), "b": (0.2, 0.5, 1.0)}, 120)
    assert found["a"] == pytest.approx(found["b"])
    assert found["a"] + found["b"] == pytest.approx(1.2, abs=1e-6)


def test_what_costs_less_loses_more_and_all_cost_the_same() -> None:
    losses = {"cheap": (0.1, 0.2, 0.3), "dear": (0.3, 1.0, 3.0)}
    found = even(losses, 120)
    assert found["cheap"] > found["dear"] > 0
    cost = {name: np.interp(found[name], (0.0, *RATIOS), (0.1, *each)) for name, each in losses.items()}
    assert cost["cheap"] == pytest.approx(cost["dear"], abs=1e-3)


def test_a_loss_that_falls_first_is_free() -> None:
    found = even({"better": (0.05, 0.06, 0.07), "worse": (1.0, 2.0, 3.0)}, 90)
    assert found["better"] == pytest.approx(0.9, abs=1e-3)
    assert found["worse"] == pytest.approx(0.0, abs=1e-3)


def test_more_than_the_curves_reach_gives_their_ends() -> None:
    assert even({"a": (0.2, 0.3, 0.4), "b": (1.0, 2.0, 3.0)}, 199) == pytest.approx({"a": 0.9, "b": 0.9})


@pytest.mark.parametrize("first", ["bad", "good"])
@pytest.mark.parametrize("bad", [math.inf, math.nan], ids=str)
def test_losses_that_are_no_numbers_cost_more_than_any(bad: float, first: str) -> None:
    both = {"bad": (bad, bad, bad), "good": (0.2, 0.3, 0.4)}
    found = even({first: both[first], **both}, 80)
    assert all(math.isfinite(each) for each in found.values())
    assert found["good"] == pytest.approx(0.8, abs=1e-3)
    assert found["bad"] == pytest.approx(0.0, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 20) | st.just(math.inf) | st.just(math.nan)] * 3), min_size=1, max_size=5),
    st.floats(0.01, 0.89),
)
def test_any_losses_give_shares_on_the_budget(losses: list[tuple[float, ...]], share: float) -> None:
    found = even(dict(zip(names(len(losses)), losses, strict=True)), share * 100 * len(losses))
    assert all(0 <= each <= 0.9 for each in found.values())
    assert sum(found.values()) == pytest.approx(share * len(losses), abs=0.05)

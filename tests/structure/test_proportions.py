"""Shares by coupling: how couplings lose in proportion, how far the budget goes, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfprune
from tfprune.backend import keras
from tfprune.errors import SelectionError, SurgeryError
from tfprune.structure.analysis import Analysis
from tfprune.structure.inspect import shares_of
from tfprune.structure.proportions import Proportions
from tfprune.structure.ranking import Limits, Ranking

layers = keras.layers
Input, Dense = keras.Input, layers.Dense


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def plain() -> keras.Model:
    """Couplings conv1 of 12, conv2 of 20, head of 16 and heads of attention, 4."""
    inputs = Input((8, 8, 2))
    x = layers.Conv2D(12, 3, activation="relu", name="conv1")(inputs)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(20, 3, name="conv2")(x))
    x = layers.Reshape((16, 20))(x)
    x = layers.MultiHeadAttention(4, 2, output_shape=6, name="mha")(x, x)
    x = Dense(16, activation="relu", name="head")(layers.Flatten()(x))
    return oracle.randomise(keras.Model(inputs, Dense(4, name="out")(x), name="plain"))


def lost(model: keras.Model, **asked: Any) -> dict[str, int]:
    return {name: len(gone) for name, gone in tfprune.plan(model, **asked).removed.items()}


def sizes_of(model: keras.Model) -> dict[str, int]:
    return Ranking(analysis := Analysis(model), np.zeros(analysis.size + 1), Limits()).sizes


def test_each_coupling_loses_its_share_where_the_ratio_is_theirs() -> None:
    model = plain()
    sizes = sizes_of(model)
    shares = {"conv1": 0.5, "conv2": 0.25, "head": 0.125}
    total = 6 + 5 + 2
    found = lost(model, ratio=total / sum(sizes.values()), scope=shares)
    assert found == {"conv1": 6, "conv2": 5, "head": 2}
    plan = tfprune.plan(model, ratio=total / sum(sizes.values()), scope=shares)
    assert shares_of(plan) == shares and plan.units == sum(sizes.values())


def test_a_budget_says_how_far_and_the_shares_in_which_proportion() -> None:
    model = plain()
    total = sum(sizes_of(model).values())
    shares = {"conv1": 0.1, "conv2": 0.2}  # one and four units, and twice as far two and eight
    assert lost(model, ratio=5 / total, scope=shares) == {"conv1": 1, "conv2": 4}
    assert lost(model, ratio=10 / total, scope=shares) == {"conv1": 2, "conv2": 8}
    assert lost(model, ratio=29 / total, scope=shares) == {"conv1": 10, "conv2": 19}, "one goes on when one is used up"


@pytest.mark.parametrize("kind", ["params", "macs", "size_mb"])
@pytest.mark.parametrize("limits", [{}, {"multiple_of": 4, "minimum": 4}], ids=["plain", "limits"])
def test_bounds_are_met_on_the_way(kind: str, limits: dict[str, int]) -> None:
    model = plain()

    def cost(small: keras.Model) -> float:
        found = tfprune.measure(small)
        return {"params": found.parameters, "macs": found.macs, "size_mb": found.bytes / 1e6}[kind]

    bound = 0.75 * cost(model)
    bound = bound if kind == "size_mb" else int(bound)
    small, report = tfprune.shrink(model, scope={"conv*": 0.6, "head": 0.3}, **{kind: bound}, **limits)
    assert 0.75 * bound < cost(small) <= bound
    gone = shares_of(report.plan)
    if not limits:
        assert gone["conv1"] == pytest.approx(gone["conv2"], abs=0.1)
        assert gone["head"] == pytest.approx(gone["conv1"] / 2, abs=0.1)
    else:
        assert all((report.plan.sizes[name] - len(each)) % 4 == 0 for name, each in report.plan.removed.items())
    assert set(gone) <= {"conv1", "conv2", "head"}
    oracle.assert_equal(small, model, report, oracle.random_inputs(model))


def test_names_come_before_patterns_and_the_first_pattern_counts() -> None:
    shares = Proportions({"conv*": 0.5, "*1": 0.25, "conv2": 0.75, "*": 0.0})
    assert [shares.of(name) for name in ("conv1", "conv2", "dense1", "head")] == [0.5, 0.75, 0.25, 0.0]
    model = plain()
    total = sum(sizes_of(model).values())
    assert lost(model, ratio=(6 + 16) / total, scope={"*1": 0.5, "conv*": 0.8}) == {"conv1": 6, "conv2": 16}


def test_lowest_scores_fall_and_what_is_ignored_stays() -> None:
    model = plain()
    half = tfprune.plan(model, ratio=0.3, ignore=["conv2"]).removed
    shares = {"conv1": 0.3, "head": 0.3}
    own = tfprune.plan(model, ratio=(4 + 5) / (sum(sizes_of(model).values()) - 20), ignore=["conv2"], scope=shares)
    assert own.removed == {name: half[name] for name in ("conv1", "head")}
    with pytest.raises(SurgeryError, match="nothing to remove in the couplings that scope gives a share") as caught:
        tfprune.plan(model, ratio=0.3, ignore=["conv2"], scope={"conv2": 0.5})
    assert "\n" not in str(caught.value)


def test_limits_go_on_working() -> None:
    model = plain()
    total = sum(sizes_of(model).values())
    assert lost(model, ratio=12 / total, scope={"conv*": 0.9}, ceiling=0.4) == {"conv1": 4, "conv2": 8}
    assert lost(model, ratio=6 / total, scope={"conv*": 0.9}, minimum=14) == {"conv2": 6}
    halves = {"conv1": 8, "conv2": 12}  # 6 and 10 by themselves
    assert lost(model, ratio=16 / total, scope={"conv*": 0.5}, multiple_of=4) == halves


@pytest.mark.parametrize(
    ("shares", "limits"),
    [({"conv1": 0.1}, {}), ({"conv*": 0.9}, {"ceiling": 0.25}), ({"conv*": 0.9}, {"minimum": 9})],
    ids=["few", "ceiling", "minimum"],
)
def test_a_ratio_out_of_reach_tells_the_most(shares: dict[str, float], limits: dict[str, Any]) -> None:
    model = plain()
    with pytest.raises(
        SurgeryError, match=r"ratio 0.9 is out of reach: of the \d+ units, .* at most \d+ fall"
    ) as caught:
        tfprune.shrink(model, ratio=0.9, scope=shares, **limits)
    text = str(caught.value)
    assert "\n" not in text
    most = float(text.split("a ratio of ")[1].split(";")[0])
    fallen = int(text.split("at most ")[1].split(" ")[0])
    assert sum(lost(model, ratio=most, scope=shares, **limits).values()) == fallen


def test_a_budget_out_of_reach_tells_what_scope_holds() -> None:
    with pytest.raises(SurgeryError, match=r"most of it is in mha \([\d,]+\), conv2 \(.*ceiling, scope\)"):
        tfprune.shrink(plain(), macs=1000, scope={"conv1": 0.5})


REFUSED: list[tuple[Any, str]] = [
    ({}, "expected a share over 0 for one coupling at least, but got {}"),
    ({"conv1": 0.0}, "expected a share over 0 for one coupling at least"),
    ({"conv1": 1.0}, r"scope\['conv1'\] must be a number in \[0, 1\), but got 1.0"),
    ({"conv1": -0.1}, "but got -0.1"),
    ({"conv1": math.nan}, "but got nan"),
    ({"conv1": True}, "but got True"),
    ({"conv1": "half"}, "but got 'half'"),
    ({3: 0.5}, "names or patterns of couplings as keys, but got 3"),
    ({"convl": 0.5}, "'convl' matches no coupling that may lose units; did you mean 'conv"),
    ({"conv1": 0.5, "dense*": 0.5}, r"'dense\*' matches no coupling"),
    ({"out": 0.5}, "'out' matches no coupling"),
]


@pytest.mark.parametrize(("shares", "words"), REFUSED, ids=lambda each: str(each)[:30])
def test_shares_that_cannot_be(shares: Any, words: str) -> None:
    for entry in (tfprune.shrink, tfprune.plan):
        with pytest.raises(SelectionError, match=words) as caught:
            entry(plain(), ratio=0.1, scope=shares)
        assert "\n" not in str(caught.value)


def test_a_layer_that_makes_a_coupling_of_another_name_is_told() -> None:
    inputs = Input((6,))
    x = Dense(8, name="stem")(inputs)
    x = layers.Add()([x, Dense(8, name="back")(Dense(4, name="wide")(x))])
    model = keras.Model(inputs, Dense(2, name="out")(x))
    with pytest.raises(SelectionError, match=r"'back' matches no coupling .*; its units leave with those of 'stem'"):
        tfprune.plan(model, ratio=0.1, scope={"back": 0.5})


def test_branches_have_a_share_too() -> None:
    inputs = x = Input((8,))
    for place in range(4):
        y = Dense(8, activation="relu", name=f"in{place}")(x)
        x = layers.Add(name=f"sum{place}")([x, Dense(8, name=f"back{place}")(y)])
    model = oracle.randomise(keras.Model(inputs, Dense(4, name="out")(x)))
    plan = tfprune.plan(model, ratio=2 / 36, scope={"blocks": 0.5}, units=("filters", "blocks"))
    assert len(plan.blocks) == 2 and not plan.removed


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.sampled_from([0.0, 0.3, 0.9]), st.lists(st.floats(0.02, 0.9), min_size=1, max_size=4))
def test_steps_come_to_what_one_comes_to(one: float, other: float, steps: list[float]) -> None:
    """Widths are those of a single step, whichever part of the units went before."""
    shares = {"a": one, "b": other}
    sizes = {"a": 13, "b": 40}

    def fallen(number: int, left: dict[str, int]) -> dict[str, int]:
        scope = Proportions(shares, sizes)
        order = sorted(
            (place, name)
            for name, size in left.items()
            for place in scope.places(name, size)[: size - 1]
            if math.isfinite(place)
        )
        return {name: sum(each == name for _, each in order[:number]) for name in sizes}

    most = sum(size - 1 for name, size in sizes.items() if shares[name])
    left, gone = dict(sizes), 0
    for step in sorted(steps):
        wanted = int(step * most)
        for name, fall in fallen(wanted - gone, left).items():
            left[name] -= fall
        gone = wanted
    whole = fallen(gone, dict(sizes))
    assert left == {name: size - whole[name] for name, size in sizes.items()}

"""Densities come onto a budget to the weight, keep their order, and say so where they cannot."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfprune.errors import SelectionError
from tfprune.tuning.projection import Layer, project

sizes = st.integers(1, 5000)
densities = st.floats(1e-6, 2.0)


@st.composite
def budgets(draw: st.DrawFn, tensors: int = 1) -> tuple[list[Layer], dict[str, float], int]:
    """Layers, densities, and a budget that can be met."""
    count = draw(st.integers(1, 6))
    layers = [
        Layer(f"l{place}", tuple(draw(st.lists(sizes, min_size=1, max_size=tensors))), draw(st.floats(0, 0.5)))
        for place in range(count)
    ]
    kept = draw(st.integers(sum(each.floor for each in layers), sum(each.size for each in layers)))
    return layers, {each.name: draw(densities) for each in layers}, kept


def kept_by(layers: list[Layer], found: dict[str, float]) -> dict[str, int]:
    return {each.name: each.kept(found[each.name]) for each in layers}


@settings(max_examples=200, deadline=None)
@given(budgets())
def test_layers_of_one_tensor_meet_the_budget_to_the_weight(given_: tuple) -> None:
    layers, wanted, kept = given_
    found = project(layers, wanted, kept)
    assert list(found) == [each.name for each in layers]
    assert all(0 <= ratio < 1 for ratio in found.values())
    counts = kept_by(layers, found)
    assert sum(counts.values()) == kept
    for each in layers:
        assert each.floor <= counts[each.name] <= each.size
        assert counts[each.name] >= each.least * each.size - 1e-6


@settings(max_examples=200, deadline=None)
@given(budgets(tensors=3))
def test_layers_of_several_tensors_miss_it_by_half_a_weight_for_each(given_: tuple) -> None:
    layers, wanted, kept = given_
    found = project(layers, wanted, kept)
    counts = kept_by(layers, found)
    several = [each for each in layers if len(each.sizes) > 1]
    slack = sum(1 if size * (1 - found[each.name]) < 0.5 else 0.5 for each in several for size in each.sizes)
    assert abs(sum(counts.values()) - kept) <= slack
    single = [each for each in layers if len(each.sizes) == 1]
    has_room_both_ways = any(each.floor + slack <= counts[each.name] <= each.size - slack for each in single)
    if has_room_both_ways:
        assert sum(counts.values()) == kept


@settings(max_examples=100, deadline=None)
@given(budgets())
def test_a_larger_budget_takes_from_no_layer_more_than_rounding(given_: tuple) -> None:
    layers, wanted, kept = given_
    more = min(sum(each.size for each in layers), kept + kept // 4 + len(layers))
    before, after = (kept_by(layers, project(layers, wanted, each)) for each in (kept, more))
    assert all(after[each.name] >= before[each.name] - 1 for each in layers)


@settings(max_examples=100, deadline=None)
@given(budgets())
def test_a_higher_density_keeps_no_less(given_: tuple) -> None:
    layers, wanted, kept = given_
    first = layers[0].name
    denser = {**wanted, first: 2 * wanted[first]}
    before, after = (kept_by(layers, project(layers, each, kept))[first] for each in (wanted, denser))
    assert after >= before - 1


@settings(max_examples=100, deadline=None)
@given(budgets(), st.floats(1e-3, 1e3))
def test_only_proportions_count(given_: tuple, factor: float) -> None:
    layers, wanted, kept = given_
    scaled = project(layers, {name: factor * value for name, value in wanted.items()}, kept)
    before, after = kept_by(layers, project(layers, wanted, kept)), kept_by(layers, scaled)
    assert all(abs(before[name] - after[name]) <= 1 for name in before)


@settings(max_examples=100, deadline=None)
@example(3, 10)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_floor_that_is_a_ratio_read_back_is_the_same_count(count: int, size: int) -> None:
    """Floors come from ratios of allocations: rounding must not ask for a weight more than these keep."""
    count = min(count, size)
    ratio = project([Layer("a", (size,))], {"a": 0.5}, count)["a"]
    assert Layer("a", (size,), least=1 - ratio).floor == count


def test_equal_densities_are_a_uniform_allocation() -> None:
    found = project([Layer("a", (100,)), Layer("b", (300,))], {"a": 0.7, "b": 0.7}, 100)
    assert found == {"a": 0.75, "b": 0.75}


def test_what_one_layer_cannot_take_the_others_do() -> None:
    layers = [Layer("full", (10,)), Layer("held", (100,), least=0.5), Layer("rest", (1000,))]
    counts = kept_by(layers, project(layers, {"full": 100.0, "held": 1e-6, "rest": 0.1}, 160))
    assert counts == {"full": 10, "held": 50, "rest": 100}


def test_weights_that_are_zero_already_stay_so() -> None:
    layers = [Layer("sparse", (100,), zeros=90), Layer("dense", (100,))]
    counts = kept_by(layers, project(layers, {"sparse": 0.5, "dense": 0.5}, 60))
    assert counts == {"sparse": 10, "dense": 50}
    with pytest.raises(SelectionError, match=r"keeps 120 of 200 weights: 90 are zero already"):
        project(layers, {"sparse": 0.5, "dense": 0.5}, 120)


def test_densities_next_to_nothing_still_share_out_the_budget() -> None:
    layers = [Layer("a", (1000,)), Layer("b", (1000,))]
    counts = kept_by(layers, project(layers, {"a": 1e-300, "b": 1e-300}, 1500))
    assert counts == {"a": 750, "b": 750}


@pytest.mark.parametrize(
    ("layers", "kept", "said"),
    [
        pytest.param([("a", 100, 0.5), ("b", 200, 0.25)], 99, ("99", "300", "100 at least", "a 50 of 100"), id="least"),
        pytest.param([("a", 10, 0.0), ("b", 10, 0.0)], 1, ("keeps 1 of 20", "a 1 of 10, b 1 of 10"), id="one-each"),
        pytest.param([("a", 10, 0.0)], 11, ("keeps 11 of 10",), id="more-than-there-is"),
        pytest.param([(f"l{n}", 8, n / 8) for n in range(7)], 2, ("l6 6 of 8", "and 3 more"), id="many"),
    ],
)
def test_an_impossible_budget_names_layers_and_numbers(layers: list, kept: int, said: tuple[str, ...]) -> None:
    made = [Layer(name, (size,), least) for name, size, least in layers]
    with pytest.raises(SelectionError) as caught:
        project(made, dict.fromkeys((each.name for each in made), 0.5), kept)
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert all(each in line for each in said), line

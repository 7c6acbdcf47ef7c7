"""Every schedule keeps the same promises, whatever its numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import ConstantSparsity, PolynomialDecay
from tfprune.errors import ScheduleError
from tfprune.masking.schedule import SCHEDULES, Schedule, from_config, round_schedule
from tfprune.recipe import ScheduleSection

PROPERTY = settings(max_examples=150, deadline=None)
shares = st.floats(0, 0.999, allow_nan=False)


@st.composite
def polynomials(draw: st.DrawFn) -> PolynomialDecay:
    low, high = sorted((draw(shares), draw(shares)))
    begin = draw(st.integers(0, 60))
    return PolynomialDecay(
        initial_sparsity=low,
        final_sparsity=high,
        begin_step=begin,
        end_step=begin + draw(st.integers(1, 80)),
        power=draw(st.floats(0.1, 8)),
        frequency=draw(st.integers(1, 100)),
    )


constants = st.builds(ConstantSparsity, final_sparsity=shares, begin_step=st.integers(0, 100))
MAKERS = {"ConstantSparsity": constants, "PolynomialDecay": polynomials()}
any_schedule = st.one_of(*MAKERS.values())


def updates(schedule: Schedule, steps: int) -> list[tuple[int, float]]:
    """What training over so many steps would do: (step of the update, sparsity), as the callback does it."""
    made: list[tuple[int, float]] = []
    for step in range(steps + 1):
        due = schedule.update_at(step)
        if due is not None and (not made or due != made[-1][0]):
            made.append((due, schedule.sparsity(due)))
    return made


def test_every_schedule_goes_through_this_suite() -> None:
    assert set(MAKERS) == set(SCHEDULES)


@PROPERTY
@given(any_schedule)
def test_sparsity_only_rises(schedule: Schedule) -> None:
    made = [sparsity for _, sparsity in updates(schedule, schedule.last_step + 5)]
    assert made == sorted(made)
    assert all(0 <= sparsity < 1 for sparsity in made)


@PROPERTY
@given(any_schedule)
def test_final_sparsity_is_met_to_the_bit_by_the_last_step_and_kept(schedule: Schedule) -> None:
    # Training that ends on the last step, and training that goes on.
    for steps in (schedule.last_step, schedule.last_step + 7):
        assert updates(schedule, steps)[-1] == (schedule.last_step, schedule.final_sparsity)
    assert schedule.sparsity(schedule.last_step + 10**6) == schedule.final_sparsity
    assert schedule.update_at(schedule.last_step + 10**6) == schedule.last_step


@PROPERTY
@given(any_schedule, st.integers(0, 300))
def test_an_update_is_due_once_and_never_ahead_of_time(schedule: Schedule, step: int) -> None:
    due = schedule.update_at(step)
    if due is None:
        assert step < schedule.begin_step
    else:
        assert schedule.begin_step <= due <= step
        assert schedule.update_at(due) == due


@PROPERTY
@given(polynomials())
def test_polynomial_starts_at_its_initial_sparsity(schedule: PolynomialDecay) -> None:
    first = updates(schedule, schedule.last_step)[0]
    assert first[0] == schedule.begin_step
    assert first[1] == pytest.approx(schedule.initial_sparsity, abs=1e-12)


@PROPERTY
@given(polynomials())
def test_polynomial_updates_on_its_grid_and_at_the_end(schedule: PolynomialDecay) -> None:
    made = [step for step, _ in updates(schedule, schedule.last_step + 5)]
    grid = range(schedule.begin_step, schedule.end_step, schedule.frequency)
    assert made == [*grid, schedule.end_step]


@PROPERTY
@given(polynomials(), st.integers(0, 200))
def test_polynomial_follows_zhu_and_gupta(schedule: PolynomialDecay, step: int) -> None:
    progress = np.clip((step - schedule.begin_step) / (schedule.end_step - schedule.begin_step), 0, 1)
    gap = schedule.initial_sparsity - schedule.final_sparsity
    assert schedule.sparsity(step) == pytest.approx(schedule.final_sparsity + gap * (1 - progress) ** schedule.power)


@PROPERTY
@given(any_schedule)
def test_config_round_trip(schedule: Schedule) -> None:
    config = schedule.get_config()
    assert from_config(config) == schedule
    assert config["kind"] == type(schedule).__name__
    assert set(config) == {"kind", *(field.name for field in dataclasses.fields(schedule))}


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ScheduleError, match=r"ConstantSparsity, PolynomialDecay, but got 'Cubic'"):
        from_config({"kind": "Cubic"})


GOOD = {
    "ConstantSparsity": {"final_sparsity": 0.5, "begin_step": 3},
    "PolynomialDecay": {"final_sparsity": 0.5, "initial_sparsity": 0.1, "begin_step": 3, "end_step": 9},
}
NO_SPARSITY = [1, 1.5, -0.1, float("nan"), float("inf"), "0.8", None, True]
NO_STEP = [-1, 2.5, 100.0, float("nan"), float("inf"), "7", None, True]
BAD = (
    [(kind, "final_sparsity", value) for kind in GOOD for value in NO_SPARSITY]
    + [(kind, "begin_step", value) for kind in GOOD for value in NO_STEP]
    + [("PolynomialDecay", "initial_sparsity", value) for value in [*NO_SPARSITY, 0.6]]
    + [("PolynomialDecay", "end_step", value) for value in [*NO_STEP, 0, 3]]
    + [("PolynomialDecay", "frequency", value) for value in [*NO_STEP, 0]]
    + [("PolynomialDecay", "power", value) for value in [0, -1.0, float("nan"), float("inf"), "3", None, True]]
)


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_a_bad_parameter_gives_one_line_that_echoes_it(kind: str, name: str, value: object) -> None:
    with pytest.raises(ScheduleError) as error:
        SCHEDULES[kind](**{**GOOD[kind], name: value})
    message = str(error.value)
    assert f"{name}={value}" in message or f"{name}={value!r}" in message
    assert "\n" not in message


def test_numbers_of_numpy_are_numbers() -> None:
    # np.ceil(examples / batch_size).astype(np.int32) * epochs is how many write the end step.
    schedule = PolynomialDecay(final_sparsity=np.float32(0.5), end_step=np.int32(9), frequency=np.int64(2))
    assert updates(schedule, 9)[-1] == (9, np.float32(0.5))


# ------------------------------------------------------------------------------------- a round's schedule


@PROPERTY
@given(
    shares=st.tuples(st.floats(0, 0.999), st.floats(0.001, 1)).filter(lambda pair: pair[0] < pair[1]),
    kind=st.sampled_from(["polynomial", "constant"]),
    frequency=st.integers(1, 40),
    sparsities=st.tuples(shares, shares).map(sorted),
    steps=st.integers(1, 200),
)
def test_every_round_reaches_its_target_within_its_steps(
    shares: tuple[float, float], kind: str, frequency: int, sparsities: list[float], steps: int
) -> None:
    section = ScheduleSection(kind=kind, begin=shares[0], end=shares[1], frequency=frequency)
    schedule = round_schedule(section, sparsities[0], sparsities[1], steps)
    made = updates(schedule, steps)
    assert made[-1][1] == sparsities[1]
    assert made[0][0] < steps, "some step is left after the first update"
    assert abs(made[0][0] - shares[0] * steps) <= 1
    if kind == "constant":
        assert made == [(schedule.last_step, sparsities[1])]
    else:
        assert abs(schedule.last_step - shares[1] * steps) <= 1


def test_round_schedule_takes_over_the_section() -> None:
    section = ScheduleSection(power=2.0, begin=0.1, end=0.6, frequency=7)
    expected = PolynomialDecay(
        initial_sparsity=0.2, final_sparsity=0.5, begin_step=10, end_step=60, power=2.0, frequency=7
    )
    assert round_schedule(section, 0.2, 0.5, 100) == expected

"""Oracles ask the same when they are asked again, in memory alone, and go on whatever the answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfprune.errors import StorageError
from tfprune.recipe import SearchSection
from tfprune.tuning.knobs import Knob
from tfprune.tuning.oracle import Oracle, Question

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
KNOBS = (Knob("first", ("first",), -1.0, 0.5), Knob("second+1", ("second", "last"), -0.4, 0.9))
SECTIONS = {
    "random": SearchSection(oracle="random", trials=6),
    "bayesian": SearchSection(oracle="bayesian", trials=4),
    "hyperband": SearchSection(oracle="hyperband", epochs=4, factor=2),
    "grid": SearchSection(oracle="grid", trials=9),
}
Event = tuple[str, str, float | None]
every_oracle = pytest.mark.parametrize("name", SECTIONS)


def answer(question: Question) -> float:
    """Best where the knobs are at 0.2, and better after more epochs."""
    return 0.9 - sum((value - 0.2) ** 2 for value in question.knobs.values()) + 0.01 * question.epochs


def play(oracle: Oracle, slots: int = 1, most: int = 200, answers: Any = answer) -> tuple[list[Question], list[Event]]:
    """Ask and tell as a driver with so many slots does, oldest first."""
    asked: list[Question] = []
    events: list[Event] = []
    flying: list[Question] = []
    while len(asked) < most:
        question = oracle.ask() if len(flying) < slots else None
        if question is not None:
            asked.append(question)
            flying.append(question)
            events.append(("ask", question.key, None))
            continue
        if not flying:
            break
        done = flying.pop(0)
        value = answers(done)
        oracle.tell(done.key, value)
        events.append(("tell", done.key, value))
    return asked, events


@every_oracle
def test_the_same_seed_asks_the_same_and_another_does_not(name: str) -> None:
    section = SECTIONS[name]
    asked = play(Oracle(section, KNOBS, 3))[0]
    assert play(Oracle(section, KNOBS, 3))[0] == asked
    if name != "grid":  # which has no chance in it
        assert [each.knobs for each in play(Oracle(section, KNOBS, 4), most=2)[0]] != [each.knobs for each in asked[:2]]


@every_oracle
def test_questions_are_within_the_knobs(name: str) -> None:
    asked = play(Oracle(SECTIONS[name], KNOBS, 3))[0]
    assert len({each.key for each in asked}) == len(asked)
    for each in asked:
        assert set(each.knobs) == {knob.name for knob in KNOBS}
        assert all(knob.low <= each.knobs[knob.name] <= knob.high for knob in KNOBS)
        assert all(value == round(value, 9) for value in each.knobs.values())
        assert 1 <= each.epochs <= SECTIONS[name].epochs


@pytest.mark.parametrize("slots", [1, 3], ids=["one-slot", "three-slots"])
@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "bayesian"])
def test_after_any_restart_it_asks_what_it_would_have_asked(name: str, slots: int) -> None:
    asked, events = play(Oracle(SECTIONS[name], KNOBS, 3), slots)
    by_key = {each.key: each for each in asked}
    for cut in range(len(events) + 1):
        again = Oracle(SECTIONS[name], KNOBS, 3, recorded={key: by_key[key].knobs for _, key, _ in events[:cut]})
        again.replay(events[:cut])
        for what, key, value in events[cut:]:
            if what == "ask":
                assert again.ask() == by_key[key]
            else:
                again.tell(key, value)
        assert again.ask() is None
        assert again.is_done


def test_a_gaussian_process_goes_on_as_it_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    section = SECTIONS["bayesian"]
    known = [({"first": 0.1, "second+1": 0.2}, 0.8), ({"first": -0.5, "second+1": 0.5}, 0.4)]
    asked, events = play(Oracle(section, KNOBS, 3, known))
    assert len(asked) == 4
    by_key = {each.key: each for each in asked}
    for cut in (4, 5):  # after an answer, and with a question in flight
        again = Oracle(section, KNOBS, 3, known, {key: by_key[key].knobs for _, key, _ in events[:cut]})
        with monkeypatch.context() as patch:  # what is recorded needs no fit
            patch.setattr("sklearn.gaussian_process.GaussianProcessRegressor.fit", None, raising=False)
            again.replay(events[:cut])
        for what, key, value in events[cut : cut + 3]:
            if what == "ask":
                assert again.ask() == by_key[key]
            else:
                again.tell(key, value)


def test_a_gaussian_process_learns_from_known_answers() -> None:
    known = [({"first": value, "second+1": 0.2}, 0.9 - (value - 0.2) ** 2) for value in np.linspace(-1, 0.5, 6)]
    question = Oracle(SECTIONS["bayesian"], KNOBS, 3, known).ask()
    assert question is not None
    assert abs(question.knobs["first"] - 0.2) < 0.4  # of the first question already, which would be random otherwise
    other = Oracle(SECTIONS["bayesian"], KNOBS, 3, [(values, -objective) for values, objective in known]).ask()
    assert other is not None
    assert other.knobs != question.knobs


def test_known_answers_are_no_questions() -> None:
    known = [({"first": 0.1, "second+1": 0.2}, 0.8)] * 3
    section = SECTIONS["random"]
    assert play(Oracle(section, KNOBS, 3, known))[0] == play(Oracle(section, KNOBS, 3))[0]
    few = SearchSection(oracle="bayesian", trials=1)
    assert len(play(Oracle(few, KNOBS, 3, known))[0]) == 1


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "bayesian"])
def test_a_failure_does_not_stop_it(name: str, bad: float | None) -> None:
    turns = iter(range(1000))
    asked, _ = play(Oracle(SECTIONS[name], KNOBS, 3), answers=lambda each: bad if next(turns) == 1 else answer(each))
    whole, _ = play(Oracle(SECTIONS[name], KNOBS, 3))
    # Hyperband lets one fewer go on for each that failed, rung by rung; the others ask for as many as ever.
    assert len(asked) == len(whole) if name != "hyperband" else len(whole) - 3 <= len(asked) < len(whole)
    assert max(each.epochs for each in asked) == max(each.epochs for each in whole)


@every_oracle
def test_nothing_but_failures_comes_to_an_end(name: str) -> None:
    oracle = Oracle(SECTIONS[name], KNOBS, 3)
    asked, _ = play(oracle, answers=lambda each: None)
    assert 1 < len(asked) < 200
    assert oracle.ask() is None


@pytest.mark.parametrize("bad", [None, math.nan], ids=str)
def test_a_failure_in_a_gaussian_process_is_left_out(bad: float | None) -> None:
    known = [({"first": 0.1, "second+1": 0.2}, 0.8), ({"first": -0.5, "second+1": 0.5}, 0.4)]
    oracle = Oracle(SearchSection(oracle="bayesian", trials=3), KNOBS, 3, known)
    turns = iter(range(10))
    assert len(play(oracle, answers=lambda each: bad if next(turns) == 0 else answer(each))[0]) == 3


@pytest.mark.parametrize("slots", [1, 4], ids=["one-slot", "four-slots"])
def test_hyperband_goes_on_from_the_better_ones(slots: int) -> None:
    section = SearchSection(oracle="hyperband", epochs=9, factor=3)
    asked, events = play(Oracle(section, KNOBS, 3), slots)
    by_key, told = {each.key: each for each in asked}, {key: value for what, key, value in events if what == "tell"}
    longer = [each for each in asked if each.goes_on_from]
    assert longer
    for each in longer:
        shorter = by_key[each.goes_on_from or ""]
        assert each.knobs == shorter.knobs
        assert each.epochs == pytest.approx(3 * shorter.epochs, abs=2)
        assert shorter.key in told
    assert {each.epochs for each in asked} == {1, 3, 9}
    first = [each for each in asked if not each.goes_on_from and each.epochs == min(e.epochs for e in asked)]
    went_on = {each.goes_on_from for each in longer} & {each.key for each in first}
    assert (
        min(told[key] for key in went_on) >= sorted((told[each.key] for each in first), reverse=True)[len(went_on) - 1]
    )
    assert len(went_on) < len(first)


@pytest.mark.parametrize("name", ["random", "hyperband", "grid"])
def test_a_cap_on_trials(name: str) -> None:
    section = SECTIONS[name].model_copy(update={"trials": 4})
    oracle = Oracle(section, KNOBS, 3)
    assert not oracle.is_done
    assert len(play(oracle, slots=2)[0]) == 4
    assert oracle.is_done


def test_hyperband_without_a_cap_asks_for_its_brackets() -> None:
    oracle = Oracle(SECTIONS["hyperband"], KNOBS, 3)
    asked, _ = play(oracle)
    assert oracle.is_done
    assert max(each.epochs for each in asked) == 4


def test_it_may_have_to_wait_and_is_not_done_then() -> None:
    oracle = Oracle(SECTIONS["hyperband"], KNOBS, 3)
    flying = []
    while (question := oracle.ask()) is not None:
        flying.append(question)
    assert not oracle.is_done
    for each in flying:
        oracle.tell(each.key, answer(each))
    assert oracle.ask() is not None


def test_a_grid_has_three_levels_with_the_reference_among_them() -> None:
    asked, _ = play(Oracle(SECTIONS["grid"].model_copy(update={"trials": 20}), KNOBS, 3))
    places = {(each.knobs["first"], each.knobs["second+1"]) for each in asked}
    assert places == {(first, second) for first in (-1.0, 0.0, 0.5) for second in (-0.4, 0.0, 0.9)}
    assert asked[0].knobs["first"] in (-1.0, 0.0)


def test_another_version_that_asks_something_else_is_one_line() -> None:
    with pytest.raises(StorageError, match="--fresh") as caught:
        Oracle(SECTIONS["random"], KNOBS, 3).replay([("ask", "unknown", None)])
    assert "\n" not in str(caught.value)


@every_oracle
def test_it_writes_nothing_and_says_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    section = SECTIONS[name].model_copy(update={"trials": 3})
    play(Oracle(section, KNOBS, 3))
    assert list(tmp_path.iterdir()) == []
    assert tuple(capfd.readouterr()) == ("", "")


def test_names_of_knobs_do_not_meet_those_of_hyperband() -> None:
    knobs = [Knob("tuner/epochs", ("tuner/epochs",), -1.0, 1.0), Knob("values", ("values",), -1.0, 1.0)]
    question = Oracle(SECTIONS["hyperband"], knobs, 3).ask()
    assert question is not None
    assert set(question.knobs) == {"tuner/epochs", "values"}
    assert question.epochs in (1, 2, 4)

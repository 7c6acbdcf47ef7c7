"""`search` in a recipe: read, checked, written back, and no matter to `tfprune run`."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import yaml

from tfprune.errors import RecipeError
from tfprune.recipe import SearchSection, load, parse
from tfprune.tuning.begin import _digest

MINIMAL = {"name": "least", "prune": {"target": {"sparsity": 0.5}}}
FULL = {
    "oracle": "hyperband",
    "trials": 7,
    "epochs": 9,
    "steps": 5,
    "factor": 4,
    "objective": {"accuracy": 0.75, "worst_slice": 0.25},
    "knobs": 3,
    "sensitivity": [0.25, 0.5, 0.75],
    "examples": 64,
    "stop_hopeless": False,
    "finalists": 2,
}


def with_search(**search: Any) -> dict[str, Any]:
    return {**MINIMAL, "search": search}


def mistake(**search: Any) -> str:
    """The error line of a recipe that must be refused."""
    with pytest.raises(RecipeError) as caught:
        parse(with_search(**search))
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert len(line) < 400
    return line


def test_every_field_is_tried_here() -> None:
    assert set(FULL) == set(SearchSection.model_fields)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        *[
            pytest.param({field: value}, f"search.{field}", id=f"{field}-{value}")
            for field in ("trials", "epochs", "steps", "knobs", "examples", "finalists")
            for value in (0, -1, 2.5, "many", True)
        ],
        *[pytest.param({"factor": value}, "search.factor", id=f"factor-{value}") for value in (1, 0, 2.5, True)],
        pytest.param({"oracle": "bayes"}, "search.oracle", id="oracle"),
        pytest.param({"objective": "loss"}, "search.objective", id="objective-name"),
        pytest.param({"objective": 3}, "search.objective", id="objective-number"),
        pytest.param({"objective": None}, "search.objective", id="objective-null"),
        pytest.param({"objective": {"accuracy": -1}}, "search.objective", id="weight-negative"),
        pytest.param({"objective": {"accuracy": True}}, "search.objective", id="weight-yes"),
        pytest.param({"objective": {"accuracy": float("inf")}}, "search.objective", id="weight-infinite"),
        pytest.param({"objective": {}}, "needs a weight over 0", id="weights-none"),
        pytest.param({"objective": {"accuracy": 0}}, "needs a weight over 0", id="weights-nought"),
        pytest.param({"objective": {"f1": 1}}, "f1", id="weight-unknown"),
        pytest.param({"sensitivity": []}, "two shares or more", id="shares-none"),
        pytest.param({"sensitivity": [0.5]}, "two shares or more", id="shares-one"),
        pytest.param({"sensitivity": [0.9, 0.5]}, "each above the one before", id="shares-fall"),
        pytest.param({"sensitivity": [0.5, 0.5]}, "each above the one before", id="shares-equal"),
        pytest.param({"sensitivity": [0.0, 0.5]}, "search.sensitivity", id="share-nought"),
        pytest.param({"sensitivity": [0.5, 1.0]}, "search.sensitivity", id="share-whole"),
        pytest.param({"sensitivity": 0.5}, "search.sensitivity", id="shares-number"),
        pytest.param({"stop_hopeless": "perhaps"}, "search.stop_hopeless", id="stop-hopeless"),
        pytest.param({"oracle": "hyperband"}, "epochs of at least its factor 3, but epochs is 1", id="no-rungs"),
        pytest.param({"trails": 3}, "did you mean 'trials'?", id="unknown"),
    ],
)
def test_mistakes_are_one_line(search: dict[str, Any], said: str) -> None:
    assert said in mistake(**search)


@pytest.mark.parametrize("search", [3, "bayesian", [1], True], ids=str)
def test_a_search_that_is_no_section(search: object) -> None:
    with pytest.raises(RecipeError, match="search") as caught:
        parse({**MINIMAL, "search": search})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "search",
    [{}, FULL, {"objective": "worst_slice"}, {"trials": 3}, {"sensitivity": [0.5, 0.9]}],
    ids=["defaults", "full", "objective", "trials", "sensitivity"],
)
def test_written_and_read_it_is_the_same(search: dict[str, Any]) -> None:
    given = parse(with_search(**search))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = given.to_yaml()
    assert parse(yaml.safe_load(text)) == given
    assert parse(yaml.safe_load(text)).to_yaml() == text


def test_without_a_search_none_is_written() -> None:
    plain = parse(MINIMAL)
    assert "search" not in yaml.safe_load(plain.to_yaml())
    assert plain.search == SearchSection()
    assert "search" not in yaml.safe_load(parse(with_search()).to_yaml())
    assert "search" not in yaml.safe_load(parse(with_search(oracle="bayesian", trials=None)).to_yaml())
    assert plain == parse(with_search())


@pytest.mark.parametrize("field", FULL)
def test_no_field_changes_what_a_run_comes_to_and_each_changes_what_a_search_does(field: str) -> None:
    epochs = {"epochs": 9} if field in ("oracle", "factor") else {}
    plain, searched = parse(with_search(**epochs)), parse(with_search(**{**epochs, field: FULL[field]}))
    assert searched.digest == plain.digest == parse(MINIMAL).digest
    assert _digest(searched) != _digest(plain)


def test_the_digest_of_a_search_follows_the_recipe_and_not_where_it_is_recorded() -> None:
    given = parse(with_search(**FULL))
    assert _digest(parse(yaml.safe_load(given.to_yaml()))) == _digest(given)
    assert _digest(parse({**with_search(**FULL), "seed": 4})) != _digest(given)
    assert _digest(parse({**with_search(**FULL), "track": {"experiment": "other"}})) == _digest(given)


def test_overrides_reach_it(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    changed = load(path, ["search.oracle=random", "search.trials=5", "search.objective.worst_slice=1"]).search
    assert (changed.oracle, changed.trials, changed.weights) == ("random", 5, {"worst_slice": 1.0})


@pytest.mark.parametrize(
    ("search", "most"),
    [({}, 24), ({"trials": 5}, 5), ({"oracle": "hyperband", "epochs": 3}, None), (FULL, 7)],
    ids=["default", "given", "hyperband", "hyperband-given"],
)
def test_how_many_trials(search: dict[str, Any], most: int | None) -> None:
    assert parse(with_search(**search)).search.most_trials == most


@pytest.mark.parametrize(
    ("objective", "weights", "said"),
    [
        ("accuracy", {"accuracy": 1.0}, "accuracy"),
        ("worst_slice", {"worst_slice": 1.0}, "worst slice"),
        (
            {"accuracy": 0.7, "worst_slice": 0.3},
            {"accuracy": 0.7, "worst_slice": 0.3},
            "0.7 accuracy + 0.3 worst slice",
        ),
        ({"worst_slice": 2}, {"worst_slice": 2.0}, "2 worst slice"),
    ],
    ids=["accuracy", "worst-slice", "both", "one-of-two"],
)
def test_objectives(objective: Any, weights: dict[str, float], said: str) -> None:
    section = parse(with_search(objective=objective)).search
    assert (section.weights, section.said) == (weights, said)

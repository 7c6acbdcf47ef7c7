"""Slices in recipes: what is written is read again, what changes shows in the digest, and a workflow holds them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_workflow
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import tfprune
from tfprune import recipe as recipes
from tfprune.errors import RecipeError, SliceError
from tfprune.recipe import Column, Corrupted, Discover, Exemplars, Hardest, Label, ModelFiles, Rarest, Where, parse
from tfprune.report.watch import Watch

MINIMAL = {"name": "a", "prune": {"target": {"sparsity": 0.5}}}

NAMES = st.none() | st.text(min_size=1, max_size=20)
SHARES = st.floats(0.001, 1)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)
VALUES = st.text(max_size=8) | NUMBERS | st.booleans()
SEVERITIES = st.integers(1, 5)
RANGES = st.one_of(
    st.tuples(NUMBERS, st.none()),
    st.tuples(st.none(), NUMBERS),
    st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple).filter(lambda pair: pair[0] < pair[1]),
)


def made(kind: Any, *first: Any, **rest: Any) -> Any:
    """Slices of a kind, with and without a name."""
    return st.builds(lambda *given, **named: kind(*given, **named), *first, **rest, name=NAMES)


PLAIN = st.one_of(
    st.sampled_from(["classes", "pie", "discover"]),
    made(Label, st.text(max_size=8) | st.lists(st.text(max_size=8), min_size=1, max_size=3)),
    made(Rarest, SHARES),
    made(recipes.RarestCount, st.integers(1, 99)),
    made(Hardest, SHARES, st.sampled_from(["margin", "loss", "entropy"])),
    made(Column, st.text(min_size=1, max_size=8)),
    made(Column, st.text(min_size=1, max_size=8), VALUES),
    made(partial(Column, "c"), among=st.lists(VALUES, min_size=1, max_size=3)),
    made(partial(Column, "c"), range=RANGES),
    made(partial(Column, "c"), quantiles=st.integers(2, 100)),
    made(Where, st.sampled_from(["package.module:function", "m:f"])),
    made(Corrupted, st.text(max_size=8), SEVERITIES | st.lists(SEVERITIES, min_size=1, max_size=5)),
    made(Exemplars),
    made(Exemplars, st.just(ModelFiles(dense=("a.keras", "b.keras"), pruned=("c.keras",)))),
    made(Discover, st.integers(1, 6), st.none() | st.lists(st.text(max_size=5), max_size=2), st.booleans()),
)
SLICES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        *(
            made(kind, st.lists(inner, min_size=1, max_size=3))
            for kind in (recipes.AllOf, recipes.AnyOf, recipes.NoneOf)
        )
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(slices=st.lists(SLICES, max_size=4))
def test_every_slice_is_read_as_it_was_written(slices: list) -> None:
    recipe = parse({**MINIMAL, "slices": slices})
    again = parse(yaml.safe_load(recipe.to_yaml()))
    assert again == recipe and again.slices == tuple(slices)
    assert again.digest == recipe.digest and again.to_yaml() == recipe.to_yaml()


EVERY = [
    Label("a"),
    Label(("a", "b")),
    Rarest(0.1),
    recipes.RarestCount(1),
    Hardest(0.1),
    Hardest(0.1, "loss"),
    Hardest(0.2),
    Column("a"),
    Column("b"),
    Column("a", 1),
    Column("a", "1"),
    Column("a", True),
    Column("a", among=(1,)),
    Column("a", range=(1, None)),
    Column("a", range=(None, 1)),
    Column("a", quantiles=4),
    Where("m:f"),
    Where("m:g"),
    Corrupted("blur"),
    Corrupted("blur", 4),
    Corrupted("blur", (3,)),
    Exemplars(),
    Exemplars(ModelFiles(dense=("a",), pruned=("b",))),
    Exemplars(ModelFiles(dense=("a",), pruned=("c",))),
    Discover(3),
    Discover(3, ("a",)),
    Discover(3, embeddings=False),
    Label("a") & Label("b"),
    Label("a") | Label("b"),
    Label("b") & Label("a"),
    ~Label("a"),
    ~(Label("a") & Label("b")),
    Label("a", name="x"),
    "classes",
    "pie",
    "discover",
]


def test_every_change_of_a_slice_shows_in_the_digest() -> None:
    digests = [parse({**MINIMAL, "slices": [each]}).digest for each in EVERY]
    assert len(set(digests)) == len(EVERY)


def test_recipes_of_the_first_release_keep_their_digests() -> None:
    content = {**MINIMAL, "slices": ["classes", {"rarest": 0.2}, {"hardest": 0.1}]}
    plain = parse(content).model_dump(mode="json")["slices"]
    assert plain == ["classes", {"rarest": 0.2}, {"hardest": 0.1}]


def test_objects_of_python_are_written_by_their_names() -> None:
    class Model:
        name = "dense-1"

    specs = [
        Where(tiny_workflow.examples),
        Where(partial(tiny_workflow.examples, 3)),
        Exemplars(ModelFiles(dense=(Model(),), pruned=(Path("b.keras"),))),
    ]
    written = yaml.safe_load(parse({**MINIMAL, "slices": specs}).to_yaml())["slices"]
    assert written == [
        {"where": "tiny_workflow:examples"},
        {"where": "tiny_workflow:examples"},
        {"pie": {"dense": ["dense-1"], "pruned": ["b.keras"]}},
    ]


@pytest.mark.parametrize(
    ("slices", "line"),
    [
        (
            [{"column": "a", "eqals": 1}],
            "recipe: slices.0.eqals: unknown key (value 1); allowed: among, column, equals",
        ),
        ([{"all_of": ["classes", {"hardest": 3}]}], "recipe: slices.0.all_of.1.hardest: got 3, expected: input should"),
        ([{"corrupted": "blur", "severity": [1, 9]}], "recipe: slices.0.severity.1: got 9, expected"),
        (["classes", {"where": "f"}], "recipe: slices.1.where: got 'f', expected package.module:function"),
        ([{"label": 3.5}], "recipe: slices.0.label: got 3.5, expected"),
        (["hardest: 0.1"], "recipe: slices.0: got 'hardest: 0.1', expected a mapping: {hardest: VALUE} in YAML"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(slices: list, line: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse({**MINIMAL, "slices": slices})
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------- in a workflow


def examples() -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Points with the site where each was seen, and its age, which some lack."""
    x, y = tiny_workflow.examples(480)
    draw = np.random.default_rng(2)
    age = draw.integers(20, 90, len(y)).astype(float)
    age[::40] = np.nan
    return x, y, {"site": np.array(["north", "south"])[draw.integers(0, 2, len(y))], "age": age}


def is_large(x: np.ndarray) -> bool:
    return bool(np.abs(x).max() > 2)


SPECS: list[Any] = [
    "classes",
    {"rarest": 0.3},
    {"hardest": 0.5, "by": "loss"},
    {"column": "site"},
    {"column": "age", "quantiles": 2},
    {"column": "age", "range": [60, None], "name": "old"},
    {"where": f"{__name__}:is_large"},
    {"corrupted": "feature_noise", "severity": [1, 4]},
    {"all_of": [{"column": "site", "equals": "north"}, {"none_of": [{"label": "1"}]}]},
    "pie",
    {"all_of": ["pie", {"column": "site", "equals": "north"}], "name": "forgotten in the north"},
    {"discover": 2},
]
STEADY = [
    *("class_0", "class_1", "class_2", "rarest", "hardest_by_loss", "site_north", "site_south", "age_q1", "age_q2"),
    *("old", "is_large", "feature_noise_1", "feature_noise_4", "site_north_and_not_class_1"),
]
MOVING = ["pie", "forgotten in the north", "discovered"]


def run(name: str, **changes: Any) -> Any:
    content = tiny_workflow.recipe(
        name=f"slices-{name}",
        data={"source": "function", "function": f"{__name__}:examples", "validation": 0.3},
        slices=SPECS,
        train__epochs=1,
        prune__rounds=1,
        prune__target__sparsity=0.9,
        finetune__epochs=1,
        stop={"max_drop": 0.9, "max_slice_drop": None, "max_rounds": 1},
    )
    for key, value in changes.items():
        content["stop" if key != "slices" else key] = value
    return tfprune.run(parse(content))


def test_a_workflow_holds_every_kind_of_slice(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("all")
    assert len(result.rounds) == 2
    dense, pruned = (each.evaluation for each in result.rounds)
    assert [each.name for each in dense.slices] == STEADY and dense.drop is None
    for evaluation in (pruned, result.test):
        names = [each.name for each in evaluation.slices]
        assert names[: len(STEADY)] == STEADY and set(names[len(STEADY) :]) <= set(MOVING)
        for each in evaluation.slices:
            assert each.drop is not None and each.lost is not None and each.gained is not None
            assert each.variant == (each.name if each.name.startswith("feature_noise") else "")
        assert evaluation.slice("pie").churn == 1.0
        assert evaluation.slice("pie").support == round((evaluation.whole.churn or 0) * evaluation.support)
    parts = [pruned.slice(name).support for name in ("site_north", "site_south")]
    assert sum(parts) == pruned.support
    known = sum(pruned.slice(name).support for name in ("age_q1", "age_q2"))
    assert 0 < known < pruned.support  # who has no age is in neither half
    noise = [dense.slice(f"feature_noise_{severity}").accuracy for severity in (1, 4)]
    assert noise[1] < noise[0] <= dense.accuracy + 0.05


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"stop": {"slice_drops": {"site_nort": 0.1}}},
            "stop.slice_drops: no slice is named 'site_nort'; there are class_0, class_1, class_2, rarest, ",
        ),
        ({"stop": {"slice_drops": {"site_nort": 0.1}}}, "did you mean 'site_north'?"),
        (
            {"stop": {"slice_drops": {"a": 0.1}}, "slices": []},
            "stop.slice_drops: no slice is named 'a'; the recipe has none",
        ),
        (
            {"stop": {"slice_drops": {"class_1": 0.1, "pie": 0.1}, "min_slice_size": 49}},
            "slice 'class_1' has 48 validation examples and so gates nothing: stop.min_slice_size is 49; lower",
        ),
        ({"slices": [{"corrupted": "blur"}]}, "corruption 'blur' is for image data, not for table data; choose"),
        ({"slices": [{"corrupted": "missin"}]}, "corruption 'missin' is not known; for table data there are"),
        ({"slices": [{"corrupted": "missin"}]}, "did you mean 'missing'?"),
        (
            {"slices": [{"column": "sit"}]},
            "the validation split has no metadata column 'sit'; there are site, age; did",
        ),
        ({"slices": [{"discover": 2, "columns": ["sit"]}]}, "has no metadata column 'sit'"),
        (
            {"slices": [{"column": "site", "equals": "east"}]},
            "slice 'site_east' has no example in the validation split",
        ),
        ({"slices": [{"where": f"{__name__}:is_lage"}]}, "has no function 'is_lage'; did you mean 'is_large'?"),
        ({"slices": ["pie", {"label": "1", "name": "pie"}]}, "2 slices are called 'pie'"),
        ({"slices": [{"label": "7"}]}, "no class is called '7'; there are 0, 1, 2"),
    ],
)
def test_slices_that_cannot_be_stop_a_workflow_before_training(
    changes: dict, line: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SliceError) as error:
        run("bad", **changes)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_gates_may_name_what_hangs_on_answers(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drops = {"pie": 0.0, "class_0_and_pie": 0.5, "discovered": 0.5}
    stop = {"max_drop": 0.9, "max_slice_drop": None, "max_rounds": 1, "min_slice_size": 1, "slice_drops": drops}
    result = run("gate", slices=["pie", {"all_of": ["classes", "pie"]}, "discover"], stop=stop)
    pruned = result.rounds[1]
    (pie,) = [each for each in pruned.evaluation.slices if each.name == "pie"]
    assert pie.drop is not None
    assert any(reason.startswith("slice pie fell by") for reason in pruned.verdict.reasons) == (pie.drop > 0)


def test_what_only_answers_can_tell_to_be_empty_ends_no_workflow(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    none = [{"hardest": 0.02}, {"none_of": [{"hardest": 0.02}]}]  # as good as impossible to foresee, and empty
    result = run("empty", slices=["classes", {"all_of": none, "name": "nobody"}])
    assert [each.name for each in result.rounds[1].evaluation.slices] == ["class_0", "class_1", "class_2"]


def test_names_that_mlflow_refuses_are_recorded_under_others_and_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard: list[str] = []
    monkeypatch.setattr(Watch, "note", lambda self, text: heard.append(text))
    run("named", slices=[{"label": "1", "name": "a=b, [c]"}, {"label": "2", "name": "fine"}])
    (line,) = [each for each in heard if "MLflow" in each]
    assert line.startswith("slice 'a=b, [c]' is recorded as 'a_b_ _c_'")

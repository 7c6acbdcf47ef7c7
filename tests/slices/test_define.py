"""Which examples belong to which slice, alone and combined."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.backend import keras
from tfprune.errors import SliceError
from tfprune.recipe import Column, Corrupted, Discover, Exemplars, Hardest, Label, ModelFiles, Rarest, Where
from tfprune.slices.answers import Answers
from tfprune.slices.define import Slice, check_names, define_slices, hangs_on_answers, needs_embedding, parse_slices
from tfprune.slices.evaluate import as_batches
from tfprune.slices.facts import Facts

PROPERTY = settings(max_examples=100, deadline=None)
CLASSES = ("cat", "dog", "eel", "fox")
LABELS = np.array([0, 1, 2, 3, 0, 2])
AGE = np.array([10.0, 60.0, 70.0, np.nan, 80.0, 20.0])
SITE = np.array(["a", "b", "b", "a", "c", "a"], object)
METADATA = {"age": AGE, "site": SITE, "vip": np.array([True, False, False, True, False, False])}


def answered(labels: Any, **columns: Any) -> Answers:
    """A model's answers, all right and equally easy where nothing else is said."""
    labels = np.asarray(labels)
    blank = np.zeros(len(labels), np.float32)
    names = ("margin", "loss", "confidence", "entropy")
    known = {"answer": labels, "score": blank + 1, **dict.fromkeys(names, blank), "task": "multiclass", **columns}
    return Answers(labels, **{name: np.asarray(each) if name != "task" else each for name, each in known.items()})


def facts_of(labels: Any = LABELS, x: Any = None, **more: Any) -> Facts:
    labels = np.asarray(labels)
    x = np.arange(len(labels), dtype=np.float32)[:, None] if x is None else x
    known = {"classes": CLASSES, "answers": answered(labels), **more}
    return Facts("validation", lambda: as_batches((x, labels), 4), labels, **known)


def define(specs: list, labels: Any = LABELS, **more: Any) -> tuple[Slice, ...]:
    return define_slices(parse_slices(specs), facts_of(labels, **more))


def members(slices: tuple[Slice, ...]) -> dict[str, list[int]]:
    assert all(each.members.dtype == bool for each in slices)
    return {each.name: np.flatnonzero(each.members).tolist() for each in slices}


def found(*specs: Any, **more: Any) -> dict[str, list[int]]:
    return members(define(list(specs), **{"metadata": METADATA, **more}))


# ------------------------------------------------------------------------------------------------- classes


def test_one_slice_a_class() -> None:
    expected = {"class_cat": [0, 4], "class_dog": [1], "class_eel": [2, 5], "class_fox": [3]}
    assert found("classes") == expected


def test_classes_without_names_are_numbers_and_those_of_the_labels() -> None:
    assert found("classes", labels=[0, 2, 1, 1], classes=(), metadata={}) == {
        "class_0": [0],
        "class_1": [2, 3],
        "class_2": [1],
    }


def test_a_class_or_several_by_name() -> None:
    assert found({"label": "eel"}) == {"class_eel": [2, 5]}
    assert found(Label(("cat", "fox"))) == {"class_cat_fox": [0, 3, 4]}


def test_an_unknown_class_brings_the_nearest() -> None:
    with pytest.raises(
        SliceError, match=r"^no class is called 'dig'; there are cat, dog, eel, fox; did you mean 'dog'"
    ):
        found({"label": "dig"})


def test_classes_of_several_labels_overlap() -> None:
    labels = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.uint8)
    known = {"labels": labels, "metadata": {}, "answers": answered(np.zeros(4, int))}
    assert found("classes", **known, classes=("sun", "sea", "sky")) == {
        "class_sun": [0, 2],
        "class_sea": [1, 2],
        "class_sky": [0],
    }
    assert found({"label": ["sea", "sky"]}, **known, classes=("sun", "sea", "sky")) == {"class_sea_sky": [0, 1, 2]}
    assert found({"rarest_count": 1}, **known, classes=()) == {"rarest_classes": [0]}


def test_fewer_names_than_classes_are_refused() -> None:
    for labels in (LABELS, np.eye(4, dtype=np.uint8)):
        with pytest.raises(SliceError, match=r"^2 classes are named, but the labels are of 4; name every class"):
            found(
                "classes", labels=labels, classes=("cat", "dog"), metadata={}, answers=answered(np.arange(len(labels)))
            )


def test_a_regression_has_no_classes() -> None:
    for spec in ("classes", {"label": "cat"}, {"rarest": 0.5}):
        with pytest.raises(
            SliceError, match=r"^slices by class need classes, but the labels are numbers of a regression"
        ):
            found(spec, labels=np.array([0.5, 1.5], np.float32), metadata={})


def test_rare_is_what_training_saw_least() -> None:
    # The split itself has one dog and many eels; training has it the other way round.
    labels, train = [0, 0, 1, 2, 2, 2, 3, 3], np.array([0] * 5 + [1] * 9 + [2] * 2 + [3] * 4)
    known = {"labels": labels, "train_labels": train, "metadata": {}}
    assert found({"rarest": 0.25}, **known) == {"rarest": [3, 4, 5]}
    assert found({"rarest": 0.5}, **known) == {"rarest": [3, 4, 5, 6, 7]}
    assert found({"rarest_count": 1}, **known) == {"rarest_classes": [3, 4, 5]}
    assert found({"rarest_count": 2}, **known) == {"rarest_classes": [3, 4, 5, 6, 7]}
    assert found({"rarest_count": 2}, {"rarest_count": 1}, **known) == {
        "rarest_2_classes": [3, 4, 5, 6, 7],
        "rarest_1_classes": [3, 4, 5],
    }


def test_equally_rare_classes_are_taken_by_index() -> None:
    known = {"labels": [3, 2, 1, 0], "train_labels": np.array([0, 0, 1, 2, 3]), "metadata": {}}
    assert found({"rarest": 0.5}, **known) == {"rarest": [1, 2]}


def test_a_class_unseen_in_training_is_the_rarest() -> None:
    known = {"labels": [0, 1, 2, 3], "train_labels": np.array([0, 1, 2]), "metadata": {}}
    assert found({"rarest": 0.25}, **known) == {"rarest": [3]}


@PROPERTY
@given(
    train=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 3)),
    share=st.floats(0.01, 1),
)
def test_rarest_takes_its_share_of_the_classes(train: np.ndarray, share: float) -> None:
    chosen = members(define([{"rarest": share}], np.arange(4), train_labels=train))["rarest"]
    counts = [(train == index).sum() for index in range(4)]
    assert abs(len(chosen) - max(1, share * 4)) <= 0.5
    left = [index for index in range(4) if index not in chosen]
    assert all((counts[one], one) < (counts[other], other) for one in chosen for other in left)


# ------------------------------------------------------------------------------------------------- hardest


@PROPERTY
@given(
    values=hnp.arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.one_of(st.sampled_from([-0.5, 0.0, 1.0]), st.floats(-1, 1, width=32)),
    ),
    share=st.floats(0.01, 1),
    by=st.sampled_from(["margin", "loss", "entropy"]),
)
def test_hardest_takes_exactly_its_share_of_the_hardest(values: np.ndarray, share: float, by: str) -> None:
    count = round(share * len(values))
    labels = np.zeros(len(values), int)
    spec, dense = {"hardest": share, "by": by}, answered(labels, **{by: values})
    name = "hardest" if by == "margin" else f"hardest_by_{by}"
    if not count:
        with pytest.raises(SliceError, match=f"slice '{name}' has no example"):
            define([spec], labels, dense=dense)
        return
    chosen = members(define([spec], labels, dense=dense))[name]
    assert len(chosen) == count
    order = values if by == "margin" else -values
    left = [index for index in range(len(values)) if index not in set(chosen)]
    assert all((order[one], one) < (order[other], other) for one in chosen for other in left)


def test_hard_is_hard_for_the_dense_model_or_for_the_only_one() -> None:
    easy, hard = answered([0, 0], margin=[1, 0]), answered([0, 0], margin=[0, 1])
    assert found({"hardest": 0.5}, labels=[0, 0], answers=hard, dense=easy, metadata={}) == {"hardest": [1]}
    assert found({"hardest": 0.5}, labels=[0, 0], answers=hard, metadata={}) == {"hardest": [0]}


def test_hardest_without_answers_says_what_is_missing() -> None:
    with pytest.raises(SliceError, match="needs the dense model's answers"):
        found({"hardest": 0.5}, answers=None)


def test_a_regression_has_no_entropy() -> None:
    labels = np.array([0.5, 1.5], np.float32)
    dense = answered(labels, entropy=[np.nan, np.nan], loss=[0, 1])
    assert found(Hardest(0.5, "loss"), labels=labels, dense=dense, metadata={}) == {"hardest_by_loss": [1]}
    with pytest.raises(SliceError, match=r"^hardest by entropy needs probabilities, but the model is a regression"):
        found(Hardest(0.5, "entropy"), labels=labels, dense=dense, metadata={})


def test_names_carry_the_share_where_there_are_several_of_a_kind() -> None:
    names = ["hardest_0.05", "class_cat", "class_dog", "class_eel", "class_fox", "rarest", "hardest_0.25"]
    specs: list[Any] = [{"hardest": 0.05}, "classes", {"rarest": 0.5}, {"hardest": 0.25}, Hardest(0.1, "loss")]
    made = define(specs, np.arange(40) % 4)
    assert [each.name for each in made] == [*names, "hardest_by_loss"]
    assert [int(each.members.sum()) for each in made] == [2, 10, 10, 10, 10, 20, 10, 4]


# ------------------------------------------------------------------------------------------------- functions


def test_a_function_is_called_with_as_much_as_it_takes() -> None:
    def by_x(x: Any) -> bool:
        return bool(x[0] > 2)

    def by_label(x: Any, y: Any) -> bool:
        return bool(x[0] > 2 and y == 0)

    def by_all(x: Any, y: Any, metadata: Any) -> bool:
        return bool(metadata["site"] == "a" and y != 0)

    def by_any(*known: Any) -> bool:
        assert len(known) == 3
        return bool(known[2]["vip"])

    assert found(Where(by_x), Where(by_label), Where(by_all), {"where": by_any}) == {
        "by_x": [3, 4, 5],
        "by_label": [4],
        "by_all": [3, 5],
        "by_any": [0, 3],
    }


def is_even(x: Any) -> bool:
    return bool(x[0] % 2 == 0)


def from_on(first: int, x: Any) -> bool:
    return bool(x[0] >= first)


class Over:
    """A function with a state."""

    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, x: Any) -> bool:
        return bool(x[0] > self.least)


def test_a_function_has_many_forms() -> None:
    own = {"where": f"{__name__}:is_even"}
    assert found(own, Where(lambda x: x[0] == 1), Where(functools.partial(from_on, 4)), Where(Over(3))) == {
        "is_even": [0, 2, 4],
        "lambda": [1],
        "from_on": [4, 5],
        "Over": [4, 5],
    }


def test_a_function_is_run_once_for_all_models() -> None:
    seen: list[float] = []
    facts, specs = facts_of(), parse_slices([Where(lambda x: seen.append(x[0]) or True)])
    for _ in range(2):
        define_slices(specs, facts)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_a_function_that_raises_names_the_example() -> None:
    def fragile(x: Any) -> bool:
        if x[0] == 5:
            raise ZeroDivisionError("no\nsuch thing")
        return True

    line = "slice where: fragile raised ZeroDivisionError: no such thing at example 5 of the validation split"
    with pytest.raises(SliceError) as error:
        found(Where(fragile))
    assert str(error.value) == line
    with pytest.raises(SliceError, match=r"raised TypeError: .* at example 0 of the validation split"):
        found(Where(lambda x, y, metadata, more: True))
    with pytest.raises(SliceError, match=r"raised KeyError: 'agee' at example 0 "):
        found(Where(lambda x, y, metadata: metadata["agee"] > 3))


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(SliceError, match=r"^slices.where nowhere_at_all:f: no module 'nowhere_at_all'"):
        found({"where": "nowhere_at_all:f"})
    with pytest.raises(SliceError, match=r"has no function 'is_evn'; did you mean 'is_even'\?"):
        found({"where": f"{__name__}:is_evn"})


# ------------------------------------------------------------------------------------------------- exemplars


def saying(*answers: int) -> keras.Model:
    """Answers each of the examples 0, 1, 2 … as it is told."""
    inputs = keras.layers.Input((1,))
    rows = keras.layers.Embedding(len(answers), 4, weights=[np.eye(4)[list(answers)]])(inputs)
    return keras.Model(inputs, keras.layers.Flatten()(rows))


def test_exemplars_are_told_by_what_most_models_answer() -> None:
    dense = (saying(0, 1, 2, 3), saying(0, 1, 2, 3), saying(3, 3, 3, 3))
    pruned = (saying(0, 2, 2, 1), saying(0, 2, 3, 1), saying(1, 1, 2, 3))
    spec = Exemplars(ModelFiles(dense=dense, pruned=pruned))
    assert found(spec, labels=[0, 1, 2, 3], metadata={}) == {"pie": [1, 3]}
    assert not hangs_on_answers(spec)


def test_models_of_exemplars_may_be_files(tmp_path: Any) -> None:
    paths = []
    for name, model in (("dense", saying(0, 1, 2)), ("pruned", saying(0, 1, 1))):
        paths.append(str(tmp_path / f"{name}.keras"))
        model.save(paths[-1])
    spec = {"pie": {"dense": paths[:1], "pruned": paths[1:]}}
    assert found(spec, labels=[0, 1, 2], metadata={}) == {"pie": [2]}


def test_exemplars_of_one_model_each_are_where_it_answers_otherwise() -> None:
    dense, now = answered(LABELS, answer=LABELS), answered(LABELS, answer=[0, 1, 3, 3, 1, 2])
    known = {"dense": dense, "answers": now}
    assert found("pie", **known) == {"pie": [2, 4]}
    assert found(Exemplars(name="forgotten"), **known) == {"forgotten": [2, 4]}
    assert found({"pie": None, "name": "forgotten"}, **known) == {"forgotten": [2, 4]}
    assert found(Label("cat") & Exemplars(), **known) == {"class_cat_and_pie": [4]}
    assert found({"none_of": ["pie"]}, **known) == {"not_pie": [0, 1, 3, 5]}
    assert found("pie", dense=dense, answers=dense) == {}


def test_exemplars_need_a_dense_model_and_answers() -> None:
    with pytest.raises(SliceError, match="slice 'pie' compares with the dense model: give it as the baseline"):
        found("pie")
    numbers = answered(LABELS, task="regression")
    with pytest.raises(SliceError, match="slice 'pie' compares answers, but a regression gives numbers"):
        found("pie", dense=numbers, answers=numbers)


def test_what_hangs_on_answers_is_left_out_before_there_are_any() -> None:
    specs = ["classes", "pie", "discover", Exemplars(name="x"), Label("cat") & Exemplars(), Discover(2, name="y")]
    assert [hangs_on_answers(each) for each in parse_slices(specs)] == [False, *[True] * 5]
    assert list(found(*specs, answers=None)) == ["class_cat", "class_dog", "class_eel", "class_fox"]


def test_embeddings_are_needed_by_discovery_alone() -> None:
    for spec, is_needed in (("discover", True), (Discover(2), True), (Discover(2, embeddings=False), False)):
        assert needs_embedding(parse_slices([spec, "pie"])) is is_needed
    assert needs_embedding(parse_slices([Label("cat") & ~Discover(2)]))


# ------------------------------------------------------------------------------------------------- corruptions


def test_a_corruption_holds_all_examples_once_a_severity() -> None:
    made = define([{"corrupted": "missing", "severity": [1, 4]}, Corrupted("feature_noise", name="noisy")])
    assert [(each.name, each.variant, int(each.members.sum())) for each in made] == [
        ("missing_1", "missing_1", 6),
        ("missing_4", "missing_4", 6),
        ("noisy", "feature_noise_3", 6),
    ]


def test_a_corruption_can_be_cut_to_a_group() -> None:
    (made,) = define([Corrupted("missing", 2) & Label("eel")])
    assert (made.name, made.variant) == ("missing_2_and_class_eel", "missing_2")
    assert members((made,)) == {"missing_2_and_class_eel": [2, 5]}


@pytest.mark.parametrize(
    "spec",
    [
        Corrupted("missing", 2) & Corrupted("feature_noise", 2),
        Corrupted("missing", 2) & Corrupted("missing", 3),
        Corrupted("missing", 2) | Label("cat"),
        Label("cat") | (Label("dog") & Corrupted("missing", 2)),
    ],
)
def test_an_example_is_answered_under_one_corruption(spec: Any) -> None:
    with pytest.raises(SliceError, match="so take one corruption for all of a slice"):
        define([spec])


def test_a_corruption_has_no_opposite() -> None:
    with pytest.raises(SliceError, match=r"^a corruption has no opposite; leave missing_3 out of none_of"):
        define([~Corrupted("missing")])


@pytest.mark.parametrize(
    ("x", "spec", "line"),
    [
        (None, Corrupted("blur"), "corruption 'blur' is for image data, not for table data; choose feature_noise or"),
        (None, Corrupted("mising"), "corruption 'mising' is not known; .*; did you mean 'missing'?"),
        (np.zeros((6, 3), int), Corrupted("missing"), "corruption 'missing' is for table data, not for text data"),
        ((np.zeros((6, 2)), np.zeros(6)), Corrupted("missing"), "corruptions go with models of one input, an array"),
        ({"one": np.zeros((6, 2))}, Corrupted("missing"), "corruptions go with models of one input, an array"),
    ],
)
def test_a_corruption_on_the_wrong_data_is_refused(x: Any, spec: Any, line: str) -> None:
    with pytest.raises(SliceError, match=line) as error:
        define([spec], x=x)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------- combinations


def test_objects_and_recipes_say_the_same() -> None:
    pairs = [
        (Label("cat") & Column("age", range=(60, None)), {"all_of": [{"label": "cat"}, old()]}),
        (Label("cat") | Column("site", "b"), {"any_of": [{"label": "cat"}, {"column": "site", "equals": "b"}]}),
        (~Label("cat"), {"none_of": [{"label": "cat"}]}),
        ("classes" & Hardest(0.5), {"all_of": ["classes", {"hardest": 0.5}]}),
        (Rarest(0.5) | "pie", {"any_of": [{"rarest": 0.5}, "pie"]}),
        ("pie" | Rarest(0.5), {"any_of": ["pie", {"rarest": 0.5}]}),
    ]
    for made, written in pairs:
        assert parse_slices([written]) == (made,)


def old() -> dict[str, Any]:
    return {"column": "age", "range": [60, None]}


def test_slices_combine() -> None:
    assert found(Label("cat") & Column("age", range=(60, None))) == {"class_cat_and_age_from_60": [4]}
    assert found(Label("cat") | Column("site", "b")) == {"class_cat_or_site_b": [0, 1, 2, 4]}
    assert found(~Label("cat")) == {"not_class_cat": [1, 2, 3, 5]}
    assert found(~(Label("cat") | Label("dog"))) == {"not_class_cat_or_class_dog": [2, 3, 5]}
    assert found({"none_of": [{"label": "cat"}, {"label": "dog"}]}) == {"not_class_cat_or_class_dog": [2, 3, 5]}
    assert found(Column("vip", True) & ~Label("cat") & Column("site", "a")) == {
        "vip_True_and_not_class_cat_and_site_a": [3]
    }


def test_groups_of_several_are_combined_each_with_each() -> None:
    labels, site = [0, 0, 1, 1], np.array(["a", "b", "a", "b"], object)
    known = {"labels": labels, "classes": ("cat", "dog"), "metadata": {"site": site}}
    each_with_each = {
        "class_cat_and_site_a": [0],
        "class_cat_and_site_b": [1],
        "class_dog_and_site_a": [2],
        "class_dog_and_site_b": [3],
    }
    assert found("classes" & Column("site"), **known) == each_with_each
    assert found({"none_of": ["classes"]}, **known) == {"not_class_cat": [2, 3], "not_class_dog": [0, 1]}
    assert found({"all_of": ["classes", {"column": "site"}], "name": "own"}, **known) == {
        f"own_{name}": rows for name, rows in each_with_each.items()
    }


def test_a_name_of_the_users_own() -> None:
    assert found(Label("cat", name="felines")) == {"felines": [0, 4]}
    assert found({"all_of": [{"label": "cat"}, old()], "name": "old cats"}) == {"old cats": [4]}
    assert found(Label("cat", name="felines") & Column("age", range=(60, None))) == {"felines_and_age_from_60": [4]}
    assert found({"column": "site", "name": "at"}) == {"at_site_a": [0, 3, 5], "at_site_b": [1, 2], "at_site_c": [4]}


@pytest.mark.parametrize(
    ("specs", "name"),
    [
        ([Label("cat"), "classes"], "class_cat"),
        ([Label("cat", name="x"), Label("dog", name="x")], "x"),
        (["classes", Hardest(0.5, name="class_eel")], "class_eel"),
        ([Hardest(0.5) & Label("cat"), Hardest(1.0) & Label("cat")], "hardest_and_class_cat"),
    ],
)
def test_two_slices_of_one_name_are_refused(specs: list, name: str) -> None:
    with pytest.raises(SliceError, match=f"^2 slices are called '{name}'; give them names of their own: name: …$"):
        found(*specs)


def test_check_names_counts() -> None:
    check_names(["a", "b"])
    with pytest.raises(SliceError, match=r"^3 slices are called 'b'"):
        check_names(["a", "b", "b", "b"])


LEAVES = st.sampled_from(
    [
        Label("cat"),
        Label(("dog", "eel")),
        Rarest(0.5),
        Hardest(0.5),
        Column("age", range=(60, None)),
        Column("age", range=(None, 60)),
        Column("site", "b"),
        Column("vip", True),
    ]
)
SPECS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(lambda a: ~a),
    ),
    max_leaves=4,
)


def rows_of(spec: Any) -> np.ndarray:
    made = define_slices(parse_slices([spec | ~spec]), facts_of(metadata=METADATA))  # never empty
    assert made[0].members.all()
    try:
        made = define_slices(parse_slices([spec]), facts_of(metadata=METADATA))
    except SliceError as error:
        assert "has no example" in str(error)
        return np.zeros(len(LABELS), bool)
    return made[0].members if made else np.zeros(len(LABELS), bool)  # none of the hardest, told by answers alone


@PROPERTY
@given(one=SPECS, other=SPECS)
def test_and_or_not_are_those_of_sets(one: Any, other: Any) -> None:
    a, b = rows_of(one), rows_of(other)
    assert np.array_equal(rows_of(one & other), a & b)
    assert np.array_equal(rows_of(one | other), a | b)
    assert np.array_equal(rows_of(~one), ~a)
    assert np.array_equal(rows_of(~(one & other)), rows_of(~one | ~other))


@PROPERTY
@given(labels=hnp.arrays(np.int64, st.integers(4, 40), elements=st.integers(0, 3)))
def test_classes_partition_the_examples(labels: np.ndarray) -> None:
    labels[:4] = np.arange(4)
    made = define(["classes"], labels)
    assert np.array_equal(np.sum([each.members for each in made], axis=0), np.ones(len(labels)))


# ------------------------------------------------------------------------------------------------- bad input


def test_no_slices_are_none() -> None:
    assert define([]) == ()


@pytest.mark.parametrize(
    ("specs", "name"),
    [
        (["classes"], "class_dog"),
        ([{"rarest": 0.25}], "rarest"),
        (["classes", {"hardest": 0.01}], "class_dog"),
        ([Where(lambda x: False)], "lambda"),
        ([Label("cat") & Label("eel")], "class_cat_and_class_eel"),
        ([~Label(CLASSES)], "not_class_cat_dog_eel_fox"),
        ([Hardest(0.01, name="brink")], "brink"),
    ],
)
def test_a_slice_without_an_example_is_named(specs: list, name: str) -> None:
    with pytest.raises(
        SliceError, match=rf"^slice '{name}' has no example in the validation split of 3 examples; "
    ) as e:
        define(specs, [0, 2, 3], train_labels=np.array([0, 0, 2, 2, 3, 3]))
    assert "\n" not in str(e.value)


def test_metadata_that_does_not_line_up_is_refused() -> None:
    with pytest.raises(SliceError, match=r"^metadata column 'age' has 3 values, but there are 6 examples in the valid"):
        facts_of(metadata={"age": np.zeros(3)})


@pytest.mark.parametrize("kind", [list, tuple])
def test_slices_as_a_recipe_writes_them(kind: type) -> None:
    given_ = kind(["classes", {"rarest": 0.2}, Hardest(hardest=1)])
    assert parse_slices(given_) == ("classes", Rarest(rarest=0.2), Hardest(hardest=1.0))


@pytest.mark.parametrize(
    ("slices", "line"),
    [
        (["clases"], "slices.0: got 'clases', expected classes, pie, discover, or a value for one of label"),
        (["clases"], "did you mean 'classes'?"),
        ("classes", "slices: got 'classes', expected a list, e.g."),
        (None, "slices: got None, expected a list"),
        (0.2, "slices: got 0.2, expected a list"),
        ({"rarest": 0.2}, "slices: got {'rarest': 0.2}, expected a list"),
        (Rarest(0.2), "expected a list"),
        ([{"rarest": 0}], "slices.0.rarest: got 0, expected: input should be greater than 0"),
        ([{"rarest": 1.1}], "slices.0.rarest: got 1.1, expected"),
        ([{"rarest_count": 0.5}], "slices.0.rarest_count: got 0.5, expected"),
        ([{"hardest": -0.1}], "slices.0.hardest: got -0.1, expected"),
        ([{"hardest": float("nan")}], "slices.0.hardest: got nan, expected"),
        ([{"hardest": True}], "slices.0.hardest: got True, expected a number"),
        ([{"hardest": "many"}], "slices.0.hardest: got 'many', expected"),
        ([{"hardest": 0.1, "by": "los"}], "slices.0.by: got 'los', expected: input should be 'margin', 'loss' or"),
        ([{"hardest": 0.1, "rarest": 0.1}], "slices.0.hardest: unknown key (value 0.1); allowed: name, rarest"),
        ([{"easiest": 0.1}], "slices.0: got {'easiest': 0.1}, expected classes"),
        ([{}], "slices.0: got {}, expected classes"),
        ([None], "slices.0: got None, expected classes"),
        ([["classes"]], "slices.0: got ['classes'], expected classes"),
        ([{"label": 3.5}], "slices.0.label: got 3.5, expected: input should be a valid string"),
        ([{"column": "a", "eqals": 1}], "slices.0.eqals: unknown key (value 1); allowed: among, column, equals"),
        ([{"column": "a", "equals": [1]}], "slices.0.equals: got [1], expected"),
        ([{"column": "a", "equals": 1, "quantiles": 3}], "slices.0: got equals and quantiles, expected one of them"),
        ([{"column": "a", "range": [5, 3]}], "slices.0: range: got [5.0, 3.0], expected two numbers, the lower one"),
        ([{"column": "a", "range": [None, None]}], "slices.0: range: got [None, None], expected two numbers"),
        ([{"column": "a", "among": []}], "slices.0.among: got [], expected"),
        ([{"where": "x"}], "slices.0.where: got 'x', expected package.module:function"),
        ([{"corrupted": "blur", "severity": 6}], "slices.0.severity: got 6, expected: input should be less than or"),
        ([{"corrupted": "blur", "severity": [1, 9]}], "slices.0.severity.1: got 9, expected: input should be less"),
        ([{"pie": {"densee": ["a"]}}], "slices.0.pie.densee: unknown key (value ['a']); allowed: dense, pruned; did"),
        ([{"pie": {"dense": ["a"]}}], "slices.0.pie.pruned: got {'dense': ['a']}, expected: field required"),
        ([{"discover": 9}], "slices.0.discover: got 9, expected"),
        (["classes", {"all_of": ["classes", {"hardest": 3}]}], "slices.1.all_of.1.hardest: got 3, expected"),
        ([{"any_of": []}], "slices.0.any_of: got [], expected"),
        ([{"none_of": [{"none_of": [{"colum": "x"}]}]}], "slices.0.none_of.0.none_of.0: got {'colum': 'x'}, expected"),
    ],
    ids=str,
)
def test_anything_else_gives_one_line_that_echoes_it(slices: Any, line: str) -> None:
    with pytest.raises(SliceError) as error:
        parse_slices(slices)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_objects_take_values_in_order_and_no_more() -> None:
    assert Hardest(0.1, "loss") == Hardest(hardest=0.1, by="loss")
    assert Column("site", "b", name="x") == Column(column="site", equals="b", name="x")
    with pytest.raises(TypeError, match="Label takes 1 values without a name, but got 2"):
        Label("cat", "dog")

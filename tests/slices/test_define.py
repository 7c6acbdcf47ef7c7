"""Which examples belong to which slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.errors import SliceError
from tfprune.recipe import Hardest, Rarest
from tfprune.slices.define import Slice, define_slices, parse_slices, slice_names

PROPERTY = settings(max_examples=150, deadline=None)
CLASSES = ("cat", "dog", "eel", "fox")


def define(specs: list, labels: object, train: object = None, margins: object = None) -> tuple[Slice, ...]:
    labels = np.asarray(labels)
    return define_slices(
        parse_slices(specs),
        classes=CLASSES,
        labels=labels,
        train_labels=labels if train is None else np.asarray(train),
        margins=None if margins is None else np.asarray(margins, np.float32),
        split="validation",
    )


def members(slices: tuple[Slice, ...]) -> dict[str, list[int]]:
    assert all(each.members.dtype == bool for each in slices)
    return {each.name: np.flatnonzero(each.members).tolist() for each in slices}


def test_one_slice_a_class() -> None:
    expected = {"class_cat": [0, 4], "class_dog": [1], "class_eel": [2, 5], "class_fox": [3]}
    assert members(define(["classes"], [0, 1, 2, 3, 0, 2])) == expected


def test_rare_is_what_training_saw_least() -> None:
    # The split itself has one dog and many eels; training has it the other way round.
    labels, train = [0, 0, 1, 2, 2, 2, 3, 3], [0] * 5 + [1] * 9 + [2] * 2 + [3] * 4
    assert members(define([{"rarest": 0.25}], labels, train)) == {"rarest": [3, 4, 5]}
    assert members(define([{"rarest": 0.5}], labels, train)) == {"rarest": [3, 4, 5, 6, 7]}


def test_equally_rare_classes_are_taken_by_index() -> None:
    assert members(define([{"rarest": 0.5}], [3, 2, 1, 0], [0, 0, 1, 2, 3])) == {"rarest": [1, 2]}


def test_a_class_unseen_in_training_is_the_rarest() -> None:
    assert members(define([{"rarest": 0.25}], [0, 1, 2, 3], [0, 1, 2])) == {"rarest": [3]}


@PROPERTY
@given(
    train=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 3)),
    share=st.floats(0.01, 1),
)
def test_rarest_takes_its_share_of_the_classes(train: np.ndarray, share: float) -> None:
    labels = np.arange(4)
    chosen = members(define([{"rarest": share}], labels, train))["rarest"]
    counts = [(train == index).sum() for index in range(4)]
    assert abs(len(chosen) - max(1, share * 4)) <= 0.5
    left = [index for index in range(4) if index not in chosen]
    assert all((counts[one], one) < (counts[other], other) for one in chosen for other in left)


@PROPERTY
@given(
    margins=hnp.arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.one_of(st.sampled_from([-0.5, 0.0, 1.0]), st.floats(-1, 1, width=32)),
    ),
    share=st.floats(0.01, 1),
)
def test_hardest_takes_exactly_its_share_of_the_smallest_margins(margins: np.ndarray, share: float) -> None:
    count = round(share * len(margins))
    labels = np.zeros(len(margins), int)
    if not count:
        with pytest.raises(SliceError, match="slice 'hardest' has no example"):
            define([{"hardest": share}], labels, margins=margins)
        return
    chosen = members(define([{"hardest": share}], labels, margins=margins))["hardest"]
    assert len(chosen) == count
    left = [index for index in range(len(margins)) if index not in set(chosen)]
    assert all((margins[one], one) < (margins[other], other) for one in chosen for other in left)


def test_names_carry_the_share_where_there_are_several_of_a_kind() -> None:
    specs = parse_slices([{"hardest": 0.05}, "classes", {"rarest": 0.5}, {"hardest": 0.25}])
    names = ["hardest_0.05", "class_cat", "class_dog", "class_eel", "class_fox", "rarest", "hardest_0.25"]
    assert slice_names(specs, CLASSES) == names
    made = define([{"hardest": 0.05}, "classes", {"rarest": 0.5}, {"hardest": 0.25}], np.arange(40) % 4, None, [0] * 40)
    assert [each.name for each in made] == names
    assert [int(each.members.sum()) for each in made] == [2, 10, 10, 10, 10, 20, 10]


def test_no_slices_are_none() -> None:
    assert define([], [0, 1]) == () and slice_names((), CLASSES) == []


@pytest.mark.parametrize(
    ("specs", "name"),
    [(["classes"], "class_dog"), ([{"rarest": 0.25}], "rarest"), (["classes", {"hardest": 0.01}], "class_dog")],
)
def test_a_slice_without_an_example_is_named(specs: list, name: str) -> None:
    with pytest.raises(
        SliceError, match=rf"^slice '{name}' has no example in the validation split of 3 examples; "
    ) as e:
        define(specs, [0, 2, 3], [0, 0, 2, 2, 3, 3], [0.1, 0.2, 0.3])
    assert "\n" not in str(e.value)


def test_hardest_without_margins_says_what_is_missing() -> None:
    with pytest.raises(SliceError, match="needs the dense model's margins"):
        define([{"hardest": 0.5}], [0, 1])


# ------------------------------------------------------------------------------------------------- parsing


@pytest.mark.parametrize("kind", [list, tuple])
def test_slices_as_a_recipe_writes_them(kind: type) -> None:
    given_ = kind(["classes", {"rarest": 0.2}, Hardest(hardest=1)])
    assert parse_slices(given_) == ("classes", Rarest(rarest=0.2), Hardest(hardest=1.0))


@pytest.mark.parametrize(
    "slices",
    [
        ["clases"],
        "classes",
        None,
        0.2,
        {"rarest": 0.2},
        [{"rarest": 0}],
        [{"rarest": 1.1}],
        [{"hardest": -0.1}],
        [{"hardest": float("nan")}],
        [{"hardest": True}],
        [{"hardest": "many"}],
        [{"hardest": 0.1, "rarest": 0.1}],
        [{"easiest": 0.1}],
        [{}],
        [None],
        [["classes"]],
    ],
    ids=repr,
)
def test_anything_else_gives_one_line_that_echoes_it(slices: object) -> None:
    with pytest.raises(SliceError, match="expected 'classes'") as error:
        parse_slices(slices)  # type: ignore[arg-type]
    assert repr(slices) in str(error.value) and "\n" not in str(error.value)

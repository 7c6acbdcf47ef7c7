"""Groups of examples by columns of metadata."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.errors import SliceError
from tfprune.recipe import Column
from tfprune.slices.columns import groups_of_column
from tfprune.slices.evaluate import columns_of

PROPERTY = settings(max_examples=150, deadline=None)
NAN = math.nan


def groups(spec: Column, train: Any = None, **columns: Any) -> dict[str, list[int]]:
    known = {} if train is None else columns_of({spec.column: train})
    found = groups_of_column(spec, columns_of(columns), known, "validation")
    assert all(members.dtype == bool for _, members in found)
    assert len({name for name, _ in found}) == len(found)
    return {name: np.flatnonzero(members).tolist() for name, members in found}


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        # one value
        (Column("c", 60), [60, 61, 60.0], {"c_60": [0, 2]}),
        (Column("c", 0.5), [0.5, 0.25, 0.5], {"c_0.5": [0, 2]}),
        (Column("c", "60"), [60, 61, 7], {"c_60": [0]}),
        (Column("c", 1234567), [1234567, 1234568], {"c_1234567": [0]}),
        (Column("c", "b"), ["a", "b", "b"], {"c_b": [1, 2]}),
        (Column("c", 7), ["7", "x", "07"], {"c_7": [0]}),
        (Column("c", 1234567), ["1234567", "x"], {"c_1234567": [0]}),
        (Column("c", True), [True, False, True], {"c_True": [0, 2]}),
        (Column("c", False), [True, False, True], {"c_False": [1]}),
        (Column("c", 1), [True, False, True], {"c_1": [0, 2]}),
        (Column("c", 2), [NAN, 2, None], {"c_2": [1]}),
        # one of several
        (Column("c", among=("a", "c")), ["a", "b", "c"], {"c_a_c": [0, 2]}),
        (Column("c", among=(1, 3.5)), [1, 2, 3.5], {"c_1_3.5": [0, 2]}),
        (Column("c", among=("zz", "a")), ["a", "b"], {"c_zz_a": [0]}),
        # ranges: the first is in, the second is not, and NaN is in none
        (Column("c", range=(10, 20)), [9.9, 10, 19.9, 20, NAN], {"c_from_10_under_20": [1, 2]}),
        (Column("c", range=(60, None)), [59, 60, NAN, 1e9], {"c_from_60": [1, 3]}),
        (Column("c", range=(None, 60)), [59, 60, NAN, -1e9], {"c_under_60": [0, 3]}),
        (Column("c", range=(-0.5, 1234567)), [-1, 0, 1234567], {"c_from_-0.5_under_1234567": [1]}),
        (Column("c", range=(1, None)), [True, False], {"c_from_1": [0]}),
        # a group for each value; what is missing is in none
        (Column("c"), ["b", "a", "b", ""], {"c_a": [1], "c_b": [0, 2]}),
        (Column("c"), ["b", None], {"c_b": [0]}),
        (Column("c"), [2, 1, 2.5, NAN], {"c_1": [1], "c_2": [0], "c_2.5": [2]}),
        (Column("c"), [1234567, 1234568], {"c_1234567": [0], "c_1234568": [1]}),
        (Column("c"), [True, False, True], {"c_False": [1], "c_True": [0, 2]}),
        # quantiles
        (Column("c", quantiles=2), [1, 2, 3, 4], {"c_q1": [0, 1], "c_q2": [2, 3]}),
        (Column("c", quantiles=2), [4, NAN, 1, NAN], {"c_q1": [2], "c_q2": [0]}),
        (Column("c", quantiles=4), list(range(8)), {"c_q1": [0, 1], "c_q2": [2, 3], "c_q3": [4, 5], "c_q4": [6, 7]}),
    ],
    ids=str,
)
def test_groups_by_a_column(spec: Column, values: list, expected: dict) -> None:
    assert groups(spec, c=values) == expected


def test_quantiles_lie_where_the_training_part_has_them() -> None:
    spec, values = Column("c", quantiles=2), [1, 2, 3, 4, 11]
    assert groups(spec, c=values) == {"c_q1": [0, 1, 2], "c_q2": [3, 4]}
    assert groups(spec, train=[0, 10, 20, NAN], c=values) == {"c_q1": [0, 1, 2, 3], "c_q2": [4]}


@PROPERTY
@given(
    values=hnp.arrays(np.float64, st.integers(1, 80), elements=st.floats(-100, 100) | st.just(NAN)),
    count=st.integers(2, 10),
)
def test_quantiles_partition_what_is_known(values: np.ndarray, count: int) -> None:
    if np.isnan(values).all():
        values[0] = 0
    found = groups_of_column(Column("c", quantiles=count), {"c": values}, {}, "validation")
    assert len(found) == count
    held = np.sum([members for _, members in found], axis=0)
    assert np.array_equal(held == 1, ~np.isnan(values)) and held.max() == 1
    known = [values[members] for _, members in found if members.any()]
    assert all(lower.max() < higher.min() for lower, higher in pairwise(known))
    if len(np.unique(values[~np.isnan(values)])) == np.count_nonzero(~np.isnan(values)):  # no ties: of about one size
        sizes = [int(members.sum()) for _, members in found]
        assert max(sizes) - min(sizes) <= 1


@PROPERTY
@given(
    values=st.lists(st.sampled_from(["a", "b", "", None]) | st.booleans(), min_size=1, max_size=30)
    | st.lists(st.integers(-3, 3) | st.just(NAN), min_size=1, max_size=30)
)
def test_each_known_value_is_in_one_group(values: list) -> None:
    column = columns_of({"c": values})["c"]
    missing = [each in ("", None) or each != each for each in values]
    if all(missing):
        with pytest.raises(SliceError, match=r"^metadata column 'c' holds no value in the validation split; leave it"):
            groups(Column("c"), c=values)
        return
    held = np.sum([members for _, members in groups_of_column(Column("c"), {"c": column}, {}, "validation")], axis=0)
    assert held.tolist() == [int(not each) for each in missing]


@pytest.mark.parametrize(
    ("spec", "columns", "line"),
    [
        (Column("agee"), {"age": [1], "site": ["a"]}, "the validation split has no metadata column 'agee'; there are"),
        (Column("agee"), {"age": [1], "site": ["a"]}, "did you mean 'age'?"),
        (Column("age"), {}, "no metadata column 'age'; the data has no metadata; see data.metadata"),
        (Column("age", "old"), {"age": [1, 2]}, "'age' holds numbers, but the slice asks for 'old'"),
        (Column("age", among=(1, "x")), {"age": [1, 2]}, "'age' holds numbers, but the slice asks for 'x'"),
        (Column("site", range=(1, 2)), {"site": ["a"]}, "'site' holds words such as 'a', and range and quantiles need"),
        (Column("site", quantiles=2), {"site": ["a"]}, "use equals or among"),
        (Column("id"), {"id": range(51)}, "'id' has 51 values, and at most 50 become one slice each; give the slice"),
    ],
    ids=str,
)
def test_what_cannot_be_grouped_gives_one_line(spec: Column, columns: dict, line: str) -> None:
    with pytest.raises(SliceError) as error:
        groups(spec, **columns)
    assert line in str(error.value) and "\n" not in str(error.value)

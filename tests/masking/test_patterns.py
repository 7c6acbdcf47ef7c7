"""Patterns read from text, units pooled and spread, and what a pattern cannot divide."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfprune
from tfprune.backend import keras
from tfprune.errors import SelectionError
from tfprune.masking.masked import masked_layers
from tfprune.masking.patterns import Block, NOfM, Pattern, pattern_of

layers = keras.layers
PROPERTY = settings(max_examples=80, deadline=None)
HALF = tfprune.ConstantSparsity(final_sparsity=0.5)


@pytest.mark.parametrize(
    ("text", "expected", "most", "unit"),
    [
        (None, Pattern, 1.0, 1),
        ("element", Pattern, 1.0, 1),
        ("2:4", NOfM(2, 4), 0.5, 1),
        ("1:16", NOfM(1, 16), 0.9375, 1),
        ("1x4", Block(1, 4), 1.0, 4),
        ("16x2", Block(16, 2), 1.0, 32),
    ],
)
def test_patterns_are_read(text: str | None, expected: object, most: float, unit: int) -> None:
    found = pattern_of(text)
    assert type(found) is expected if isinstance(expected, type) else found == expected
    assert (found.most, found.unit) == (most, unit)


@pytest.mark.parametrize("text", ["", "2", "4x", "0x4", "2:0", "1.5:4", "2:4:8", "-1x4", "block", 24, ["2:4"], True])
def test_what_is_no_pattern_is_told_in_one_line(text: object) -> None:
    with pytest.raises(SelectionError) as caught:
        pattern_of(text)
    assert f"N:M such as '2:4', or AxB such as '1x4', but got {text!r}" in str(caught.value)


@pytest.mark.parametrize("text", ["4:4", "4:2"])
def test_n_must_be_under_m(text: str) -> None:
    with pytest.raises(SelectionError, match=f"keeps N of every M weights, so N must be under M, but got '{text}'"):
        pattern_of(text)


@st.composite
def placed(draw: st.DrawFn, rows: int, columns: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Values whose input axis `rows` divides and whose output axis `columns` divides, wherever these axes lie."""
    rank = draw(st.integers(2, 4))
    axes = tuple(draw(st.permutations(range(rank)))[:2])
    shape = [draw(st.integers(1, 3)) for _ in range(rank)]
    shape[axes[0]], shape[axes[1]] = rows * draw(st.integers(1, 3)), columns * draw(st.integers(1, 3))
    values = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=shape).astype(np.float32)
    return values, axes


@PROPERTY
@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_blocks_pool_their_mean_and_spread_back(data: st.DataObject, rows: int, columns: int) -> None:
    values, axes = data.draw(placed(rows, columns))
    block = Block(rows, columns)
    assert block.misfit(values.shape, axes) == ""
    pooled = block.pool(values, axes)
    assert pooled.size == values.size // block.unit
    back = block.spread(pooled, values.shape, axes)
    assert back.shape == values.shape and back.flags.c_contiguous
    size = [1] * values.ndim
    size[axes[0]], size[axes[1]] = rows, columns
    for place in np.ndindex(*values.shape):
        window = tuple(slice(at // step * step, at // step * step + step) for at, step in zip(place, size, strict=True))
        assert back[place] == pytest.approx(math.fsum(values[window].ravel()) / block.unit, abs=1e-6)


@PROPERTY
@given(st.data(), st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 4)]), st.booleans())
def test_the_best_n_of_each_group_are_held(data: st.DataObject, pair: tuple[int, int], ties: bool) -> None:
    n, m = pair
    values, axes = data.draw(placed(m, 1))
    values = np.round(values) if ties else values
    before = values.copy()
    held = NOfM(n, m).held(values, axes)
    assert np.array_equal(values, before) and held.shape == values.shape
    lines, kept = (np.moveaxis(each, axes[0], -1).reshape(-1, m) for each in (values, held))
    assert (kept.sum(axis=1) == n).all()
    for line, keep in zip(lines, kept, strict=True):
        assert sorted(line[keep]) == sorted(line)[-n:]


@pytest.mark.parametrize(
    ("pattern", "shape", "axes", "words"),
    [
        ("2:4", (6, 8), (0, 1), "has 6 inputs"),
        ("2:4", (8, 6), (0, 1), ""),
        ("2:4", (8, 6), (1, 0), "has 6 inputs"),
        ("1x4", (6, 8), (0, 1), ""),
        ("1x4", (8, 6), (0, 1), "has 8 inputs and 6 outputs"),
        ("4x2", (3, 3, 8, 6), (2, 3), ""),
        ("4x2", (3, 3, 8, 6), (3, 2), "has 6 inputs and 8 outputs"),
        ("2:4", (8, 8), None, "is no matrix product"),
        ("2x2", (8, 8), None, "is no matrix product"),
        (None, (3, 5), None, ""),
    ],
)
def test_misfits(pattern: str | None, shape: tuple, axes: tuple | None, words: str) -> None:
    assert pattern_of(pattern).misfit(shape, axes) == words


# --------------------------------------------------------------------------------------------- in a model


def model() -> keras.Model:
    return keras.Sequential(
        [
            layers.InputLayer((6, 6, 3)),
            layers.Conv2D(8, 3, name="first"),
            layers.Conv2D(8, 3, name="second"),
            layers.Flatten(),
            layers.Dense(10, name="head"),
        ]
    )


def test_layers_left_dense_are_named_with_their_sizes() -> None:
    with pytest.warns(UserWarning) as caught:
        pruned = tfprune.wrap(model(), HALF, pattern="2:4")
    (warning,) = [each for each in caught if "pattern" in str(each.message)]
    assert str(warning.message) == "pattern 2:4 does not divide first (has 3 inputs); left dense"
    assert [layer.layer.name for layer in masked_layers(pruned)] == ["second", "head"]


def test_all_that_are_left_dense_are_named() -> None:
    with pytest.warns(
        UserWarning, match=r"first \(has 3 inputs and 8 outputs\), head \(has 32 inputs and 10 outputs\)"
    ):
        tfprune.wrap(model(), HALF, pattern="4x4")


def test_a_pattern_that_divides_all_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tfprune.wrap(model(), HALF, pattern="1x2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pattern": "1x16"}, r"pattern 1x16 does not divide first \(has .*\), second .*, head .*; choose another"),
        ({"pattern": "2:4", "layers": ["first"]}, r"pattern 2:4 does not divide first \(has 3 inputs\); choose"),
        ({"pattern": "2:4", "layers": ["first", "second"]}, r"does not divide first \(has 3 inputs\); choose another"),
        ({"pattern": "2:4", "schedule": tfprune.ConstantSparsity(final_sparsity=0.6)}, "at most 0.5 .*ends at 0.6"),
        ({"pattern": "2:4", "scope": {"second": 0.7}}, "at most 0.5 sparsity, but scope sets 'second' to 0.7"),
        ({"pattern": "2:4", "scope": "erk"}, "scope 'erk' does not go with pattern '2:4'"),
    ],
)
@pytest.mark.filterwarnings("ignore:pattern")
def test_a_pattern_that_cannot_be_is_told_in_one_line(arguments: dict, words: str) -> None:
    with pytest.raises(SelectionError, match=words) as caught:
        tfprune.wrap(model(), **{"schedule": HALF, **arguments})
    assert "\n" not in str(caught.value)


def test_a_new_goal_with_a_pattern_that_does_not_divide_is_told_and_changes_nothing() -> None:
    pruned = tfprune.wrap(model(), HALF)
    with pytest.raises(SelectionError, match=r"pattern 2:4 does not divide first \(has 3 inputs\); wrap the original"):
        tfprune.retarget(pruned, pattern="2:4")
    assert {layer.selection.pattern for layer in masked_layers(pruned)} == {None}

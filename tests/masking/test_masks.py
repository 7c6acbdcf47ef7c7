"""Counts are exact, zeros stay, no tensor is emptied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.importance import magnitude
from tfprune.masking.masks import RANKINGS, global_masks, layer_masks

PROPERTY = settings(max_examples=150, deadline=None)
sparsities = st.floats(0, 0.999)
# Few different values: ties, all-equal and all-zero tensors are common, and so are spread ones.
values = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 8, width=32))
tensors = st.lists(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=values),
    min_size=1,
    max_size=4,
)


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores, and masks as an earlier pruning may have left them: at least one weight kept in each."""
    scores = draw(tensors)
    masks = []
    for score in scores:
        mask = draw(hnp.arrays(np.float32, score.shape, elements=st.sampled_from([0.0, 1.0])))
        mask.flat[draw(st.integers(0, mask.size - 1))] = 1.0
        masks.append(mask)
    return scores, masks


def zeros(*arrays: np.ndarray) -> int:
    return sum(int((each == 0).sum()) for each in arrays)


def fresh(scores: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ones_like(score) for score in scores]


def expected_zeros(size: int, tensors: int, earlier: int, sparsity: float) -> tuple[float, float]:
    """The interval in which the count must lie."""
    wanted = min(max(sparsity * size, earlier), size - tensors)
    return wanted - 0.5, wanted + 0.5


@PROPERTY
@given(scored(), sparsities)
def test_layer_counts_are_exact_in_every_tensor(given_: tuple[list, list], sparsity: float) -> None:
    scores, masks = given_
    for mask, earlier in zip(layer_masks(scores, masks, sparsity), masks, strict=True):
        low, high = expected_zeros(mask.size, 1, zeros(earlier), sparsity)
        assert low <= zeros(mask) <= high


@PROPERTY
@given(scored(), sparsities)
def test_global_count_is_exact_over_all_tensors(given_: tuple[list, list], sparsity: float) -> None:
    scores, masks = given_
    size = sum(mask.size for mask in masks)
    low, high = expected_zeros(size, len(masks), zeros(*masks), sparsity)
    assert low <= zeros(*global_masks(scores, masks, sparsity)) <= high


@PROPERTY
@given(scored(), sparsities, st.sampled_from(sorted(RANKINGS)))
def test_nothing_revives_nothing_is_emptied_nothing_is_random(
    given_: tuple[list, list], sparsity: float, scope: str
) -> None:
    scores, masks = given_
    before = [(score.copy(), mask.copy()) for score, mask in zip(scores, masks, strict=True)]
    new = RANKINGS[scope](scores, masks, sparsity)
    for mask, (score, earlier) in zip(new, before, strict=True):
        assert mask.shape == score.shape and mask.dtype == np.float32
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert not mask[earlier == 0].any(), "a zero came back"
        assert mask.any(), "a tensor lost its last weight"
    again = RANKINGS[scope](scores, masks, sparsity)
    assert all(np.array_equal(one, other) for one, other in zip(new, again, strict=True))
    for score, mask, (old_score, old_mask) in zip(scores, masks, before, strict=True):
        assert np.array_equal(score, old_score) and np.array_equal(mask, old_mask), "arguments are left alone"


@PROPERTY
@given(scored(), sparsities, sparsities, st.sampled_from(sorted(RANKINGS)))
def test_pruning_twice_to_the_same_sparsity_is_pruning_once(
    given_: tuple[list, list], sparsity: float, lower: float, scope: str
) -> None:
    scores, masks = given_
    once = RANKINGS[scope](scores, masks, sparsity)
    for again in (sparsity, min(lower, sparsity)):
        twice = RANKINGS[scope](scores, once, again)
        assert all(np.array_equal(one, other) for one, other in zip(once, twice, strict=True))


@PROPERTY
@given(scored(), sparsities, st.sampled_from(sorted(RANKINGS)))
def test_what_falls_scores_no_higher_than_what_stays(given_: tuple[list, list], sparsity: float, scope: str) -> None:
    scores, masks = given_
    new = RANKINGS[scope](scores, masks, sparsity)
    groups = [range(len(scores))] if scope == "global" else [[index] for index in range(len(scores))]
    for group in groups:
        fallen = np.concatenate([scores[i][(masks[i] == 1) & (new[i] == 0)] for i in group])
        # Apart from the one weight that keeps its tensor alive, which is the best it has.
        stayed = np.concatenate([scores[i][new[i] == 1] for i in group if zeros(new[i]) < new[i].size - 1] or [[]])
        if fallen.size and stayed.size:
            assert fallen.max() <= stayed.min()
        for i in group:
            assert scores[i][new[i] == 1].max() == scores[i][masks[i] == 1].max(), "the best of a tensor stays"


def test_global_takes_from_where_the_scores_are_lowest() -> None:
    small, large = np.arange(1, 11, dtype=np.float32), np.arange(101, 111, dtype=np.float32)
    masks = global_masks([small, large], fresh([small, large]), 0.4)
    assert masks[0].tolist() == [0.0] * 8 + [1.0] * 2
    assert masks[1].tolist() == [1.0] * 10


def test_global_leaves_one_weight_in_the_weakest_tensor_and_goes_on_elsewhere() -> None:
    small, large = np.arange(1, 5, dtype=np.float32), np.arange(101, 107, dtype=np.float32)
    masks = global_masks([small, large], fresh([small, large]), 0.5)
    assert masks[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert masks[1].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_whole_tensor_is_pruned_by_score_not_by_place() -> None:
    scores = np.array([[3.0, 1.0], [4.0, 2.0]], np.float32)
    assert layer_masks([scores], fresh([scores]), 0.5)[0].tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_magnitude_forgets_signs_and_is_float32(dtype: type) -> None:
    weights = np.array([[-3.0, 0.5], [0.0, -0.0]], dtype)
    scores = magnitude(weights)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[3.0, 0.5], [0.0, 0.0]]
    assert weights[0, 0] == -3.0


def test_a_tensor_of_zeros_stays_so_and_costs_the_others_nothing() -> None:
    scores = [np.array([3.0, 1.0], np.float32), np.array([9.0, 9.0], np.float32)]
    masks = global_masks(scores, [np.ones(2, np.float32), np.zeros(2, np.float32)], 0.75)
    assert [mask.tolist() for mask in masks] == [[1.0, 0.0], [0.0, 0.0]]

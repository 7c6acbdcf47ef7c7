"""Counts are exact, zeros stay, no tensor is emptied, and the lowest fall first: for every scope, pattern and limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.masking import masks as masks_module
from tfprune.masking.masks import Tensor, next_masks
from tfprune.masking.selection import Selection

PROPERTY = settings(max_examples=120, deadline=None)
SCOPES = ("layer", "global", "erk", "mapping")
N_OF_M = {"2:4": (2, 4), "1:4": (1, 4), "3:4": (3, 4)}
BLOCKS = {"1x4": (1, 4), "4x1": (4, 1), "2x2": (2, 2)}
PATTERNS = (None, *N_OF_M, *BLOCKS)
FINALS = {"t0": 0.3, "t*": 0.45, "*": 0.1}

SCORES = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "ties": lambda draw, shape: draw.integers(-2, 3, shape),
    "constant": lambda draw, shape: np.full(shape, draw.choice([-1.0, 0.25])),
    "zeros of both signs": lambda draw, shape: draw.choice([0.0, -0.0], shape),
    "negative": lambda draw, shape: -draw.exponential(size=shape),
    "huge": lambda draw, shape: draw.uniform(1e38, 3e38, shape) * draw.choice([-1, 1], shape),
    "smallest": lambda draw, shape: draw.integers(-3, 4, shape) * 1e-45,
    "every size": lambda draw, shape: 10.0 ** draw.uniform(-44, 38, shape),
}


@dataclass(frozen=True)
class Problem:
    tensors: list[Tensor]
    selection: Selection
    sparsity: float
    progress: float = 1.0

    def solve(self) -> list[np.ndarray]:
        return list(next_masks(iter(self.tensors), self.selection, self.sparsity, self.progress))

    @property
    def groups(self) -> list[list[int]]:
        """Which tensors compete with each other."""
        every = range(len(self.tensors))
        return [list(every)] if self.selection.scope == "global" else [[index] for index in every]


@st.composite
def problems(draw: st.DrawFn, scope: str, pattern: str | None, regrow: float = 0.0, whole: bool = True) -> Problem:
    """Tensors as an earlier pruning may have left them; `whole`: by units of the pattern."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    most = 1 - N_OF_M[pattern][0] / N_OF_M[pattern][1] if pattern in N_OF_M else 0.999
    tensors = []
    for index in range(draw(st.integers(1, 3))):
        if pattern is None:
            shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
            axes = None
        else:
            rest = draw(st.lists(st.integers(1, 3), max_size=2))
            shape = (*rest, 4 * draw(st.integers(1, 2)), 4 * draw(st.integers(1, 2)))
            axes = draw(st.sampled_from([(len(shape) - 2, len(shape) - 1), (len(shape) - 1, len(shape) - 2)]))
        scores = SCORES[draw(st.sampled_from(sorted(SCORES)))](random, shape).astype(np.float32)
        if draw(st.booleans()):
            scores = np.asfortranarray(scores)  # as a user's function may return them
        kept = random.random(shape) >= draw(st.sampled_from([0, 0, 0.2, 0.9, 1]))
        if pattern in N_OF_M and whole:  # what the pattern itself may have left
            kept |= ranks_in_groups(-random.random(shape), axes, 4) < N_OF_M[pattern][0]
        elif pattern in BLOCKS and whole:
            kept = per_block(kept.astype(float), pattern, axes, np.min) > 0
        growth = random.random(shape).astype(np.float32) if regrow else None
        tensors.append(Tensor(f"t{index}", scores, kept.astype(np.float32), axes, growth))
    selection = Selection(
        scope=FINALS if scope == "mapping" else scope,
        pattern=pattern,
        regrow=regrow,
        seed=draw(st.integers(0, 9)),
    )
    sparsity = draw(st.sampled_from([0.0, 1e-17, most]) | st.floats(0, most))
    return Problem(tensors, selection, sparsity, draw(st.floats(0, 1)))


def as_matrix(values: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
    """A view with inputs and outputs last."""
    return values.transpose([axis for axis in range(values.ndim) if axis not in axes] + list(axes))


def ranks_in_groups(values: np.ndarray, axes: tuple[int, int], m: int) -> np.ndarray:
    """The place of each weight among m consecutive inputs, 0 for the lowest value."""
    places = np.empty(values.shape, int)
    source, target = as_matrix(values, axes), as_matrix(places, axes)
    for start in range(0, source.shape[-2], m):
        part = source[..., start : start + m, :]
        target[..., start : start + m, :] = np.argsort(np.argsort(part, axis=-2, kind="stable"), axis=-2)
    return places


def blocks(shape: tuple[int, ...], pattern: str, axes: tuple[int, int]) -> Iterator[tuple[slice, ...]]:
    size = dict(zip(axes, BLOCKS[pattern], strict=True))
    steps = [size.get(axis, 1) for axis in range(len(shape))]
    for corner in np.ndindex(*(length // step for length, step in zip(shape, steps, strict=True))):
        yield tuple(slice(at * step, (at + 1) * step) for at, step in zip(corner, steps, strict=True))


def per_block(values: np.ndarray, pattern: str, axes: tuple[int, int], what: object = np.mean) -> np.ndarray:
    """Each weight gets the value of its block."""
    found = np.empty(values.shape)
    for place in blocks(values.shape, pattern, axes):
        found[place] = what(values[place].astype(np.float64))
    return found


def in_groups(mask: np.ndarray, axes: tuple[int, int], m: int = 4) -> np.ndarray:
    """How many of the weight's group of m are kept, one figure a weight."""
    counts = np.empty(mask.shape)
    source, target = as_matrix(mask, axes), as_matrix(counts, axes)
    for start in range(0, source.shape[-2], m):
        target[..., start : start + m, :] = source[..., start : start + m, :].sum(axis=-2, keepdims=True)
    return counts


def zeros(*arrays: np.ndarray) -> int:
    return sum(int((each == 0).sum()) for each in arrays)


def shares(problem: Problem) -> list[float]:
    """The sparsity asked of each tensor, worked out anew."""
    scope, sparsity = problem.selection.scope, problem.sparsity
    if isinstance(scope, dict):
        return [problem.progress * FINALS["t0" if each.layer == "t0" else "t*"] for each in problem.tensors]
    if scope == "erk":
        return erdos_renyi([each.scores.shape for each in problem.tensors], sparsity)
    return [sparsity] * len(problem.tensors)


def erdos_renyi(shapes: list[tuple[int, ...]], sparsity: float) -> list[float]:
    """Density of each: min(1, e * sum / prod), with e by bisection such that the total is met."""
    sizes = np.array([math.prod(shape) for shape in shapes], float)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    low, high = 0.0, 1 / raw.min()
    for _ in range(200):
        middle = (low + high) / 2
        total = (np.minimum(1, middle * raw) * sizes).sum()
        low, high = (middle, high) if total < (1 - sparsity) * sizes.sum() else (low, middle)
    return list(1 - np.minimum(1, high * raw))


def may_fall(tensor: Tensor, pattern: str | None) -> int:
    """How many weights can be zero at most."""
    if pattern in N_OF_M:
        alive = in_groups(tensor.mask, tensor.axes)
        return tensor.mask.size - round(float((np.minimum(alive, N_OF_M[pattern][0]) / 4).sum()))
    size = math.prod(BLOCKS.get(pattern, (1, 1)))
    return tensor.mask.size - (size if tensor.mask.any() else 0)


EVERY = [
    (scope, pattern)
    for scope in SCOPES
    for pattern in PATTERNS
    if not (scope == "erk" and pattern in N_OF_M) and not (scope == "mapping" and pattern in ("1:4", "3:4", "2x2"))
]
every = pytest.mark.parametrize(("scope", "pattern"), EVERY)


@every
@settings(PROPERTY, max_examples=40)
@given(data=st.data())
def test_counts_zeros_and_survivors(scope: str, pattern: str | None, data: st.DataObject) -> None:
    problem = data.draw(problems(scope, pattern))
    before = [(each.scores.copy(), each.mask.copy()) for each in problem.tensors]
    masks = problem.solve()
    for mask, tensor in zip(masks, problem.tensors, strict=True):
        assert mask.shape == tensor.scores.shape and mask.dtype == bool
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert not mask[tensor.mask == 0].any(), "a zero came back"
        assert mask.any() == tensor.mask.any(), "a tensor lost its last weight, or a lost one came back"
        if pattern in BLOCKS:
            assert np.array_equal(mask, per_block(mask, pattern, tensor.axes, np.max)), "a block was cut"
        if pattern in N_OF_M:
            n = N_OF_M[pattern][0]
            kept, earlier = in_groups(mask, tensor.axes), in_groups(tensor.mask, tensor.axes)
            assert (kept >= np.minimum(n, earlier)).all()
            if scope != "mapping" and problem.sparsity == 1 - n / 4:
                assert (kept == n).all(), "exactly N of M at the end"
    unit = math.prod(BLOCKS.get(pattern, (1, 1)))
    asked = shares(problem)
    for group in problem.groups:
        size = sum(masks[index].size for index in group)
        wanted = sum(asked[index] * masks[index].size for index in group)
        least = sum(zeros(problem.tensors[index].mask) for index in group)
        most = sum(may_fall(problem.tensors[index], pattern) for index in group)
        found = zeros(*(masks[index] for index in group))
        assert abs(found - max(least, min(wanted, most))) <= unit / 2 + 1e-6 * size
    again = problem.solve()
    assert all(np.array_equal(one, other) for one, other in zip(masks, again, strict=True))
    for tensor, (scores, mask) in zip(problem.tensors, before, strict=True):
        assert np.array_equal(tensor.scores, scores) and np.array_equal(tensor.mask, mask), "arguments are left alone"


@every
@settings(PROPERTY, max_examples=40)
@given(data=st.data())
def test_what_falls_outranks_nothing_that_stays(scope: str, pattern: str | None, data: st.DataObject) -> None:
    problem = data.draw(problems(scope, pattern))
    masks = problem.solve()
    for group in problem.groups:
        fallen, stayed = [], []
        for index in group:
            tensor, mask = problem.tensors[index], masks[index]
            scores = tensor.scores.astype(np.float64)
            if pattern in BLOCKS:
                scores = per_block(scores, pattern, tensor.axes).astype(np.float32).astype(np.float64)
            kept, fell = mask == 1, (mask == 0) & (tensor.mask == 1)
            free = kept
            if pattern in N_OF_M:
                free = kept & (in_groups(mask, tensor.axes) > N_OF_M[pattern][0])
                for place in zip(*np.nonzero(kept), strict=True):
                    rivals = group_of(place, tensor.axes)
                    lost = scores[rivals][fell[rivals]]
                    assert (lost <= scores[place]).all(), "in a group the lowest fall"
            elif kept.sum() <= math.prod(BLOCKS.get(pattern, (1, 1))):
                free = np.zeros_like(kept)  # the last unit of a tensor stays, whatever it scores
            fallen.append(scores[fell])
            stayed.append(scores[free])
            if kept.any():
                assert scores[kept].max() >= scores[tensor.mask == 1].max(), "the best of a tensor stays"
        low, high = np.concatenate(fallen), np.concatenate(stayed)
        if low.size and high.size:
            # The mean of a block is rounded to 32 bits, and its sum depends on the order.
            slack = 1e-6 * abs(high.min()) if pattern in BLOCKS else 0.0
            assert low.max() <= high.min() + slack


def group_of(place: tuple[int, ...], axes: tuple[int, int]) -> tuple[object, ...]:
    start = place[axes[0]] // 4 * 4
    return tuple(slice(start, start + 4) if axis == axes[0] else at for axis, at in enumerate(place))


@pytest.mark.parametrize("pattern", BLOCKS)
@pytest.mark.parametrize("scope", ["layer", "global"])
@settings(PROPERTY, max_examples=40)
@given(data=st.data())
def test_zeros_from_before_the_blocks_stay_zero(scope: str, pattern: str, data: st.DataObject) -> None:
    """As in a model that single weights were pruned of, or after a change of the pattern."""
    problem = data.draw(problems(scope, pattern, whole=False))
    for mask, tensor in zip(problem.solve(), problem.tensors, strict=True):
        assert not mask[tensor.mask == 0].any()
        block = per_block(mask, pattern, tensor.axes, np.max)
        assert np.array_equal(mask == 1, (block == 1) & (tensor.mask == 1)), "what lives falls by whole blocks"
        assert mask.any() == tensor.mask.any()


@PROPERTY
@given(st.data(), st.sampled_from(EVERY), st.floats(0, 1))
def test_pruning_on_is_no_harm_and_pruning_twice_is_once(data: st.DataObject, pair: tuple, lower: float) -> None:
    problem = data.draw(problems(*pair))
    once = problem.solve()
    tensors = [replace(each, mask=mask.astype(np.float32)) for each, mask in zip(problem.tensors, once, strict=True)]
    for share in (1.0, lower):
        twice = replace(problem, tensors=tensors, sparsity=problem.sparsity * share, progress=problem.progress * share)
        if pair[0] == "erk" and share < 1:
            continue  # other shares, not only less of them
        assert all(np.array_equal(one, other) for one, other in zip(once, twice.solve(), strict=True))


# ----------------------------------------------------------------------------------------- ties and seeds


@pytest.mark.parametrize("scope", ["layer", "global", "erk", "mapping"])
@pytest.mark.parametrize("pattern", [None, "2x2"])
def test_ties_depend_on_the_seed_alone(scope: str, pattern: str | None) -> None:
    tensors = [Tensor(f"t{i}", np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32), (0, 1)) for i in range(3)]
    selections = [
        Selection(scope=FINALS if scope == "mapping" else scope, pattern=pattern, seed=seed) for seed in (0, 1)
    ]
    one, again, other = (
        np.stack(list(next_masks(tensors, each, 0.5))) for each in (selections[0], selections[0], selections[1])
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[1], one[2]), "each tensor has a lot of its own"
    counts = (one == 0).sum(axis=(1, 2))
    assert counts.min() > 0, "ties in all tensors fall alike, not those of the first one"


# ------------------------------------------------------------------------------------------ the threshold


def assert_cut(ranks: list[np.ndarray], count: int) -> None:
    """Against sorting all of them."""
    everything = np.sort(np.concatenate([rank.ravel() for rank in ranks]))
    count = max(int(np.isneginf(everything).sum()), min(count, int((~np.isposinf(everything)).sum())))
    limit, spare = masks_module._cut(ranks, count)
    if count:
        assert limit == everything[count - 1]
        assert spare == (everything <= limit).sum() - count
    else:
        assert (limit, spare) == (-np.inf, 0)


@pytest.mark.parametrize("few", [0, 10**9], ids=["by bits", "by sorting"])
@PROPERTY
@given(
    ranks=st.lists(
        hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False)),
        min_size=1,
        max_size=4,
    ),
    count=st.integers(0, 160),
)
def test_the_cut_is_what_sorting_finds(few: int, ranks: list[np.ndarray], count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks_module, "_FEW", few)  # below it the way is another
        if sum(rank.size for rank in ranks):
            assert_cut(ranks, count)


def test_the_cut_of_more_than_a_chunk_and_of_strides() -> None:
    draw = np.random.default_rng(0)
    long = draw.normal(size=2 * masks_module._CHUNK + 17).astype(np.float32)
    ranks = [long, np.asfortranarray(draw.normal(size=(30, 40)).astype(np.float32)), long[::3]]
    for count in (1, 2, 300_000, sum(rank.size for rank in ranks) - 1, sum(rank.size for rank in ranks)):
        assert_cut(ranks, count)


# ----------------------------------------------------------------------------------- limits of the global scope

LOW_HIGH = (("low", 1), ("high", 1001))


@PROPERTY
@given(
    problems("global", None) | problems("global", "1x4") | problems("global", "2:4"),
    st.floats(0, 0.5),
    st.floats(0.51, 1),
    st.booleans(),
)
def test_floor_and_ceiling_hold_in_every_tensor(
    problem: Problem, floor: float, ceiling: float, normalize: bool
) -> None:
    problem = replace(problem, selection=replace(problem.selection, floor=floor, ceiling=ceiling, normalize=normalize))
    pattern = problem.selection.pattern
    unit = math.prod(BLOCKS.get(pattern, (1, 1)))
    masks = problem.solve()
    least = most = 0
    for mask, tensor in zip(masks, problem.tensors, strict=True):
        units, earlier, hardest = mask.size // unit, zeros(tensor.mask) // unit, may_fall(tensor, pattern) // unit
        low = max(earlier, min(math.floor(floor * problem.progress * units + 1e-6), hardest))
        high = max(earlier, min(math.floor(ceiling * units + 1e-6), hardest))
        assert low <= zeros(mask) / unit <= max(low, high)
        least, most = least + low * unit, most + max(low, high) * unit
    wanted = problem.sparsity * sum(mask.size for mask in masks)
    assert abs(zeros(*masks) - max(least, min(wanted, most))) <= unit / 2


def test_a_floor_of_29_percent_is_29_of_100() -> None:
    tensors = [Tensor(name, np.arange(start, start + 100, dtype=np.float32), np.ones(100)) for name, start in LOW_HIGH]
    masks = list(next_masks(tensors, Selection(scope="global", floor=0.29), 0.4))
    assert [zeros(mask) for mask in masks] == [51, 29]  # 0.29 * 100 is 28.999…


def test_a_floor_and_a_ceiling_by_hand() -> None:
    small = Tensor("small", np.arange(1, 11, dtype=np.float32), np.ones(10, np.float32))
    large = Tensor("large", np.arange(101, 111, dtype=np.float32), np.ones(10, np.float32))

    def fallen(**limits: float) -> list[list[int]]:
        masks = next_masks([small, large], Selection(scope="global", **limits), 0.4)
        return [np.flatnonzero(mask == 0).tolist() for mask in masks]

    assert fallen() == [[0, 1, 2, 3, 4, 5, 6, 7], []]
    assert fallen(floor=0.2) == [[0, 1, 2, 3, 4, 5], [0, 1]]
    assert fallen(ceiling=0.5) == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert fallen(floor=0.2, ceiling=0.5) == [[0, 1, 2, 3, 4], [0, 1, 2]]
    # Over their means, 5.5 and 105.5, the large ones lie around 1 and the small ones from 0.2 to 1.8.
    assert fallen(normalize=True) == [[0, 1, 2, 3, 4], [0, 1, 2]]


def test_a_floor_grows_with_the_sparsity_and_a_ceiling_does_not() -> None:
    small = Tensor("small", np.arange(1, 11, dtype=np.float32), np.ones(10, np.float32))
    large = Tensor("large", np.arange(101, 111, dtype=np.float32), np.ones(10, np.float32))
    selection = Selection(scope="global", floor=0.4, ceiling=0.6)
    masks = list(next_masks([small, large], selection, 0.3, progress=0.5))
    assert [zeros(mask) for mask in masks] == [4, 2]


@pytest.mark.parametrize("scores", [np.full(16, 1e-45), np.r_[np.zeros(15), 1e-45], np.full(16, 3e38), np.zeros(16)])
def test_to_normalize_neither_overflows_nor_divides_by_zero(scores: np.ndarray) -> None:
    tensors = [Tensor("a", scores.astype(np.float32), np.ones(16, np.float32)), Tensor("b", *np.ones((2, 16), "f4"))]
    with np.errstate(all="raise", under="ignore"):
        masks = list(next_masks(tensors, Selection(scope="global", normalize=True), 0.5))
    assert zeros(*masks) == 16
    if len(set(scores)) == 2:
        assert zeros(masks[0]) == 15, "zeros score less than what is there"


@pytest.mark.parametrize("limits", [{"floor": 0.5}, {"ceiling": 0.5}, {"normalize": True}])
def test_limits_hold_whatever_the_order_in_memory(limits: dict) -> None:
    draw = np.random.default_rng(0)
    scores = [draw.normal(size=(4, 8, 4)) * size for size in (1, 9, 99)]
    both = []
    for order in ("C", "F"):
        tensors = [
            Tensor("a", np.array(score, np.float32, order=order), np.ones(score.shape, np.float32)) for score in scores
        ]
        both.append(list(next_masks(tensors, Selection(scope="global", **limits), 0.5)))
    assert all(np.array_equal(one, other) for one, other in zip(*both, strict=True))


# -------------------------------------------------------------------------------------------------- regrowth


@pytest.mark.parametrize(
    ("scope", "pattern"),
    [("layer", None), ("global", None), ("erk", None), ("mapping", None), ("global", "2x2"), ("layer", "2:4")],
)
@settings(PROPERTY, max_examples=40)
@given(data=st.data(), share=st.floats(0.01, 0.99))
def test_regrowth_keeps_the_count_and_takes_the_largest_gradients(
    scope: str, pattern: str | None, share: float, data: st.DataObject
) -> None:
    problem = data.draw(problems(scope, pattern, regrow=share))
    unit = math.prod(BLOCKS.get(pattern, (1, 1)))
    masks = problem.solve()
    again = problem.solve()
    assert all(np.array_equal(one, other) for one, other in zip(masks, again, strict=True))
    asked = shares(problem)
    for group in problem.groups:
        tensors = [problem.tensors[index] for index in group]
        wanted = sum(share_ * each.mask.size for share_, each in zip([asked[i] for i in group], tensors, strict=True))
        most = sum(may_fall(each, pattern) for each in tensors)
        # No zero has to stay: their number is what is asked for, and not what was there before.
        assert abs(zeros(*(masks[index] for index in group)) - min(wanted, most)) <= unit / 2 + 1e-4
    for mask, tensor in zip(masks, problem.tensors, strict=True):
        assert mask.any() or not tensor.mask.any(), "a tensor lost its last weight"
        if pattern in N_OF_M:
            assert (in_groups(mask, tensor.axes) >= 2).all()
        if pattern in BLOCKS:
            assert np.array_equal(mask, per_block(mask, pattern, tensor.axes, np.max))


def test_regrowth_by_hand() -> None:
    """Of 8 weights 6 live; 4 are to live, of which a half is grown anew."""
    scores = np.array([8, 7, 6, 5, 4, 3, 2, 1], np.float32)
    mask = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    growth = np.array([0, 0, 0, 5, 0, 0, 9, 1], np.float32)
    selection = Selection(regrow=0.5)
    (new,) = next_masks([Tensor("t", scores, mask, None, growth)], selection, 0.5)
    assert new.tolist() == [1, 1, 0, 1, 0, 0, 1, 0]


def test_regrowth_over_the_model_moves_weights_between_tensors() -> None:
    poor = Tensor("a", *(np.array(v, np.float32) for v in ([1, 2, 3, 9], [1, 1, 1, 1])), None, np.zeros(4, np.float32))
    rich = Tensor("b", *(np.array(v, np.float32) for v in ([8, 0, 0, 0], [1, 0, 0, 0])), None, np.arange(4.0))
    masks = list(next_masks([poor, rich], Selection(scope="global", regrow=0.5), 0.5))
    assert [mask.tolist() for mask in masks] == [[0, 0, 0, 1], [1, 0, 1, 1]]


def test_regrowth_changes_full_groups_too() -> None:
    """At exactly 2 of 4, one of the two lowest falls for the largest gradient of its own group."""
    scores = np.array([[9, 8, 0, 0, 7, 1, 0, 0]], np.float32).T
    mask = (scores > 0).astype(np.float32)
    growth = np.array([[0, 0, 5, 6, 0, 0, 3, 2]], np.float32).T
    (new,) = next_masks([Tensor("t", scores, mask, (0, 1), growth)], Selection(pattern="2:4", regrow=0.25), 0.5)
    assert new.ravel().tolist() == [1, 1, 0, 0, 1, 0, 1, 0]


# ------------------------------------------------------------------------------------------------- by hand


def solve(scores: list[list[float]], scope: str, sparsity: float, masks: list | None = None) -> list[list[float]]:
    arrays = [np.array(each, np.float32) for each in scores]
    kept = [np.ones_like(each) for each in arrays] if masks is None else [np.array(each, np.float32) for each in masks]
    tensors = [Tensor("t", score, mask) for score, mask in zip(arrays, kept, strict=True)]
    return [mask.tolist() for mask in next_masks(tensors, Selection(scope=scope), sparsity)]


def test_global_takes_from_where_the_scores_are_lowest() -> None:
    assert solve([[*range(1, 11)], [*range(101, 111)]], "global", 0.4) == [[0.0] * 8 + [1.0] * 2, [1.0] * 10]


def test_global_leaves_one_weight_in_the_weakest_tensor_and_goes_on_elsewhere() -> None:
    found = solve([[*range(1, 5)], [*range(101, 107)]], "global", 0.5)
    assert found == [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]]


def test_a_whole_tensor_is_pruned_by_score_not_by_place() -> None:
    assert solve([[[3.0, 1.0], [4.0, 2.0]]], "layer", 0.5) == [[[1.0, 0.0], [1.0, 0.0]]]


def test_a_tensor_of_zeros_stays_so_and_costs_the_others_nothing() -> None:
    found = solve([[3.0, 1.0], [9.0, 9.0]], "global", 0.75, masks=[[1.0, 1.0], [0.0, 0.0]])
    assert found == [[1.0, 0.0], [0.0, 0.0]]


def test_zero_without_and_with_a_sign_are_the_same_score() -> None:
    kept = np.zeros(64)
    for seed in range(40):
        scores = np.where(np.arange(64) % 2, np.float32(0.0), np.float32(-0.0))
        (mask,) = next_masks([Tensor("t", scores, np.ones(64, np.float32))], Selection(seed=seed), 0.5)
        kept += mask
    assert abs(kept[::2].mean() - kept[1::2].mean()) < 4, "-0.0 falls as often as 0.0"


def test_an_infinite_score_of_nobody_is_made_where_blocks_are_huge() -> None:
    scores = np.full((4, 4), 3e38, np.float32)
    scores[0] = 1e38
    with np.errstate(all="raise"):
        (mask,) = next_masks([Tensor("t", scores, np.ones((4, 4), "f4"), (0, 1))], Selection(pattern="1x4"), 0.25)
    assert mask.tolist() == [[0.0] * 4, *[[1.0] * 4] * 3]

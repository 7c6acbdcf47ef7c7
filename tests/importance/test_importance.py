"""Scores against formulas worked out anew, and functions of the user's own."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.errors import ImportanceError
from tfprune.importance.scores import IMPORTANCES, importance_of

PROPERTY = settings(max_examples=100, deadline=None)
floats = st.floats(-8, 8, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)
tensors = hnp.arrays(np.float32, shapes, elements=floats)
pairs = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=floats)] * 2))

BY_HAND = {
    "gradient": lambda w, g: abs(g),
    "taylor": lambda w, g: abs(w * g),
    "fisher": lambda w, g: (w * g) ** 2,
    "movement": lambda w, g: -(w * g),
}


def lamp_of_the_paper(weights: np.ndarray) -> np.ndarray:
    """Equation 3 of Lee et al. 2021, sum by sum: indices by rising magnitude, the earlier first among equals."""
    flat = [float(weight) for weight in weights.ravel()]
    order = sorted(range(len(flat)), key=lambda index: abs(flat[index]))
    scores = [0.0] * len(flat)
    for place, index in enumerate(order):
        total = sum(flat[other] ** 2 for other in order[place:])
        scores[index] = flat[index] ** 2 / total if total else 0.0
    return np.array(scores).reshape(weights.shape)


@PROPERTY
@given(tensors)
def test_lamp_is_that_of_the_paper(weights: np.ndarray) -> None:
    found = importance_of("lamp")(weights)
    np.testing.assert_allclose(found, lamp_of_the_paper(weights), rtol=1e-5, atol=1e-12)
    if weights.any():
        assert found.max() == 1, "the greatest of each tensor scores 1, so that no tensor is emptied before others"


@PROPERTY
@given(tensors)
def test_lamp_ranks_a_tensor_as_magnitude_does(weights: np.ndarray) -> None:
    order = np.argsort(importance_of("lamp")(weights), axis=None, kind="stable")
    assert (np.diff(np.abs(weights).ravel()[order]) >= 0).all()


@pytest.mark.parametrize("name", BY_HAND)
@PROPERTY
@given(pairs)
def test_scores_of_gradients(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores = importance_of(name)(*pair)
    expected = [BY_HAND[name](float(w), float(g)) for w, g in zip(*(each.ravel() for each in pair), strict=True)]
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-5)
    assert scores.shape == pair[0].shape and scores.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_magnitude_forgets_signs_and_is_float32(dtype: type) -> None:
    weights = np.array([[-3.0, 0.5], [0.0, -0.0]], dtype)
    scores = importance_of("magnitude")(weights)
    assert scores.dtype == np.float32
    assert scores.tolist() == [[3.0, 0.5], [0.0, 0.0]]
    assert weights[0, 0] == -3.0


def test_random_is_even_repeats_and_depends_on_seed_and_tensor_alone() -> None:
    ones, others = np.ones((200, 50), np.float32), np.arange(10_000, dtype=np.float32).reshape(200, 50)
    first, again, other_seed = (importance_of("random", seed) for seed in (1, 1, 2))
    one, two = first(ones), first(ones)
    assert np.array_equal(one, again(others)), "whatever the weights"
    assert not np.array_equal(one, two), "a second tensor has scores of its own"
    assert not np.array_equal(one, other_seed(ones))
    assert np.histogram(one, bins=10, range=(0, 1))[0] == pytest.approx(1000, abs=150)


@pytest.mark.parametrize("name", IMPORTANCES)
def test_arguments_are_left_alone(name: str) -> None:
    importance = importance_of(name)
    arrays = [np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4) for _ in range(1 + importance.needs_gradients)]
    before = [array.copy() for array in arrays]
    importance(*arrays)
    assert all(np.array_equal(array, old) for array, old in zip(arrays, before, strict=True))


def test_which_scores_look_at_data() -> None:
    looking = {name for name in IMPORTANCES if importance_of(name).needs_gradients}
    assert looking == {"gradient", "taylor", "fisher", "movement"}


# ------------------------------------------------------------------------------------ functions of one's own


def of_both(weights: np.ndarray, gradients: np.ndarray, power: float = 2.0, *, sign: float = 1.0) -> np.ndarray:
    return sign * np.abs(weights * gradients) ** power


class Scorer:
    def __call__(self, weights: np.ndarray) -> list:
        return np.abs(weights).tolist()


@pytest.mark.parametrize(
    ("function", "needs_gradients"),
    [
        (lambda weights: weights**2, False),
        (of_both, True),
        (partial(of_both, power=1.0), True),
        (Scorer(), False),
        (Scorer().__call__, False),
        (np.abs, False),
        (np.multiply, True),
    ],
    ids=["lambda", "function", "partial", "object", "method", "ufunc", "ufunc of two"],
)
def test_any_callable_of_one_or_two_arguments(function: object, needs_gradients: bool) -> None:
    importance = importance_of(function)
    assert importance.needs_gradients is needs_gradients
    weights = np.array([[1.0, -2.0]], np.float32)
    arrays = (weights, 3 * weights) if needs_gradients else (weights,)
    scores = importance(*arrays)
    assert np.array_equal(scores, np.asarray(function(*arrays), np.float32)) and scores.dtype == np.float32


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float16, np.float64])
def test_numbers_of_any_kind_become_float32(dtype: type) -> None:
    scores = importance_of(lambda weights: (weights > 0).astype(dtype))(np.array([1.0, -1.0], np.float32))
    assert scores.dtype == np.float32 and scores.tolist() == [1.0, 0.0]


def raising(weights: np.ndarray) -> np.ndarray:
    raise KeyError("two\nlines")


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("magnitud", "importance must be one of magnitude, .* or a function, but got 'magnitud'; .* 'magnitude'"),
        ("zzz", "but got 'zzz'$"),
        (None, "expected a name or a function of .*, but got None"),
        (3, "but got 3"),
        (lambda: 0, "a function of \\(weights\\) or \\(weights, gradients\\), but got <function"),
        (lambda one, two, three: one, "but got <function"),
        (lambda *arrays: arrays[0], "but got <function"),
    ],
)
def test_what_is_no_score_is_told_in_one_line(given_: object, words: str) -> None:
    with pytest.raises(ImportanceError, match=words) as caught:
        importance_of(given_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raising, "importance raising raised KeyError: 'two"),
        (lambda weights: weights[0], r"expected scores of the weights' shape \(2, 3\), got \(3,\)"),
        (lambda weights: weights.sum(), r"shape \(2, 3\), got \(\)"),
        (lambda weights: weights.T, r"shape \(2, 3\), got \(3, 2\)"),
        (lambda weights: None, r"got \(\)"),
        (lambda weights: np.full(weights.shape, "much"), "expected numbers as scores, got <U4"),
        (lambda weights: weights + 1j, "expected numbers as scores, got complex"),
        (lambda weights, *, strength: weights, "raised TypeError: .*strength"),
    ],
)
def test_a_function_that_fails_is_told_in_one_line(function: object, words: str) -> None:
    with pytest.raises(ImportanceError, match=words) as caught:
        importance_of(function)(np.ones((2, 3), np.float32))
    assert "\n" not in str(caught.value)

"""Numbers as words: short, and never another number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rounds import score

from tfprune.report.words import (
    change_words,
    dense_score,
    drop_words,
    interval_words,
    mark_of,
    p_words,
    score_words,
    short_interval,
    signed_points,
)
from tfprune.results import SliceScore


@given(st.floats(-1, 1))
def test_points_are_what_was_given(drop):
    assert float(drop_words(drop)) == pytest.approx(100 * drop, abs=0.051)
    assert float(change_words(drop)) == -float(drop_words(drop))
    assert drop_words(drop) != "-0.0" and change_words(drop) not in ("+0.0", "-0.0")


@given(st.floats(1e-6, 1e12))
def test_errors_keep_their_digits(error):
    assert float(score_words(error, "error").replace(",", "")) == pytest.approx(error, rel=6e-4)
    assert float(drop_words(-error, "error").replace(",", "")) == pytest.approx(-error, rel=6e-3)


@pytest.mark.parametrize(
    ("error", "words"), [(0.123456, "0.1235"), (23456.7, "23,457"), (2.0, "2"), (0.0, "0"), (1e-7, "1e-07")]
)
def test_errors_as_numbers(error, words):
    assert score_words(error, "error") == words


def test_the_little_words():
    assert signed_points(-0.012) == "-1.2 points" and signed_points(0.0) == "0.0 points"
    assert change_words(0.25, "error") == "+0.25" and change_words(-2500.0, "error") == "-2,500"
    assert change_words(0.0, "error") == "0"
    assert interval_words((-0.004, 0.091)) == "-0.4 to 9.1" and interval_words(None) == ""
    assert short_interval((-0.004, 0.091)) == "[-0.4,9.1]" and short_interval(None) == ""
    assert (p_words(0.00001), p_words(0.0123), p_words(1.0), p_words(None)) == ("<0.001", "0.012", "1", "")


def test_what_was_before():
    assert dense_score(score("a", 10, 0.7, 0.2)) == pytest.approx(0.9)
    assert dense_score(SliceScore("a", 10, 2.5, 0.5, "error")) == 2.0
    assert dense_score(SliceScore("a", 10, 2.5)) is None


def test_a_mark_is_of_the_adjusted_p():
    assert mark_of(score("a", 10, 0.7, 0.2, p_value=0.001, p_adjusted=0.06)) == ""
    assert mark_of(score("a", 10, 0.7, 0.2, p_adjusted=0.049)) == "*"
    assert mark_of(score("a", 10, 0.7, 0.2, p_adjusted=None)) == ""

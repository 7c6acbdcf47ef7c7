"""Intervals, paired tests and calibration: against scipy and statsmodels, by simulation, and by what always holds."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import contingency_tables, multitest, proportion
from statsmodels.stats.weightstats import DescrStatsW

from tfprune.errors import DataError
from tfprune.slices.statistics import (
    accuracy_interval,
    drop_interval,
    drop_p_value,
    expected_calibration_error,
    holm,
    mcnemar,
    mean_interval,
)

COMPARISONS = 2_000

p_of = cache(drop_p_value)


@pytest.fixture(scope="module", autouse=True)
def no_collecting() -> Iterator[None]:
    """statsmodels collects garbage in each Holm correction, 25 ms: nothing once, a minute in thousands of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield


@st.composite
def compared(draw: st.DrawFn, most: int = 5_000) -> tuple[int, int, int]:
    """Lost, gained and support of two models."""
    support = draw(st.integers(1, most))
    lost = draw(st.integers(0, support))
    return lost, draw(st.integers(0, support - lost)), support


# ------------------------------------------------------------------------------------ interval of an accuracy


@pytest.mark.parametrize(("right", "support"), [(0, 1), (1, 1), (9, 10), (50, 100), (999_000, 1_000_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_of_an_accuracy_is_wilsons(right, support, confidence):
    expected = proportion.proportion_confint(right, support, alpha=1 - confidence, method="wilson")
    assert accuracy_interval(right, support, confidence) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_the_interval_holds_the_accuracy_and_stays_a_share(counts, confidence):
    right, support = counts
    low, high = accuracy_interval(right, support, confidence)
    assert 0 <= low <= right / support + 1e-12 and right / support - 1e-12 <= high <= 1


def test_the_interval_narrows_with_support():
    widths = [np.ptp(accuracy_interval(9 * n, 10 * n)) for n in (1, 10, 100)]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("right", "support"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_told(right, support):
    with pytest.raises(DataError, match=f"{right} and 0 among {support} examples"):
        accuracy_interval(right, support)


# -------------------------------------------------------------------------------------------------- McNemar


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (5, 0), (8, 1), (10, 10), (30, 12), (10_000, 10_300)])
def test_mcnemar_is_the_binomial_test_of_differing_pairs(lost, gained):
    assert mcnemar(lost, gained) == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, rel=1e-9)


def test_pairs_that_are_alike_count_for_nothing():
    full = contingency_tables.mcnemar([[500, 30], [12, 90]], exact=True).pvalue
    assert mcnemar(30, 12) == pytest.approx(full)


def test_mcnemar_without_a_difference_is_one():
    assert mcnemar(0, 0) == 1.0


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_mcnemar_is_symmetric(lost, gained):
    assert mcnemar(lost, gained) == mcnemar(gained, lost)
    assert 0 <= mcnemar(lost, gained) <= 1


# --------------------------------------------------------------------------------------- interval of a drop


@pytest.mark.parametrize(("lost", "gained", "support"), [(26, 6, 200), (12, 9, 100), (3, 0, 50), (400, 380, 2_000)])
def test_drawing_three_counts_is_the_paired_bootstrap_over_pairs(lost, gained, support):
    before = np.repeat([1, 0, 1], [lost, gained, support - lost - gained])
    after = np.repeat([0, 1, 1], [lost, gained, support - lost - gained])
    pairs = stats.bootstrap(
        (before, after),
        lambda one, other, axis: one.mean(axis) - other.mean(axis),
        paired=True,
        method="percentile",
        batch=500,
        rng=np.random.default_rng(1),
    ).confidence_interval
    # Two draws of 9,999 agree to a tenth of a standard error, or to the one example between two values.
    error = np.sqrt(lost + gained) / support
    within = max(0.15 * error, 1.01 / support)
    assert drop_interval(lost, gained, support) == pytest.approx((pairs.low, pairs.high), abs=within)


@given(compared(most=100_000), st.floats(0.5, 0.999), st.integers(0, 5))
def test_the_interval_holds_the_drop(counts, confidence, seed):
    lost, gained, support = counts
    low, high = drop_interval(lost, gained, support, confidence, seed)
    assert -1 <= low <= (lost - gained) / support + 1e-9 and (lost - gained) / support - 1e-9 <= high <= 1


def test_the_interval_of_a_drop_is_the_same_each_time():
    assert drop_interval(2600, 600, 20_000) == drop_interval(2600, 600, 20_000)
    assert drop_interval(2600, 600, 20_000) != drop_interval(2600, 600, 20_000, seed=1)


def test_more_confidence_is_a_wider_interval():
    widths = [np.ptp(drop_interval(26, 6, 200, confidence)) for confidence in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(set(widths))


def test_the_interval_of_a_drop_covers_the_truth():
    counts = simulated(support=500, differing=0.2, drop=0.05, seed=0)[:400]
    intervals = [drop_interval(int(lost), int(gained), 500) for lost, gained in counts]
    assert np.mean([low <= 0.05 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.025)


def test_a_million_examples_cost_no_more_than_a_thousand():
    started = time.perf_counter()
    drop_interval(100_000, 99_000, 10**6)
    drop_p_value(100_000, 99_000, 10**6, limit=0.001)
    assert time.perf_counter() - started < 1


# ------------------------------------------------------------------------- the gate: calibrated by simulation


def simulated(support: int, differing: float, drop: float, seed: int | None = None) -> np.ndarray:
    """(comparisons, 2): lost and gained of two models whose true drop and share of differing answers are given.

    Independent draws of a seed. Without one they are spread evenly (Halton's sequence): a share of 5% among 2,000
    independent draws is off by a whole point in 1 of 25 settings by chance alone, and here in none.
    """
    if seed is not None:
        shares = [(differing + drop) / 2, (differing - drop) / 2, 1 - differing]
        return np.random.default_rng([seed, support]).multinomial(support, shares, size=COMPARISONS)[:, :2]
    even = stats.qmc.Halton(2, rng=0).random(COMPARISONS)
    total = stats.binom.ppf(even[:, 0], support, differing)
    lost = stats.binom.ppf(even[:, 1], total, (1 + drop / differing) / 2)
    return np.stack([lost, total - lost], axis=1).astype(int)


def share_that_fails(support: int, differing: float, drop: float, limit: float, seed: int | None = None) -> float:
    """Of simulated comparisons, those that a gate with 95% confidence fails."""
    counts, times = np.unique(simulated(support, differing, drop, seed), axis=0, return_counts=True)
    fails = [p_of(int(lost), int(gained), support, limit) < 0.05 for lost, gained in counts]
    return float(times @ fails / COMPARISONS)


def chance_to_fail(support: int, differing: float, limit: float, drop: float | None = None) -> float:
    """What `share_that_fails` estimates, summed over all counts, without luck. By default the drop is the limit."""
    among = (1 + (limit if drop is None else drop) / differing) / 2
    first, last = (int(total) for total in stats.binom.interval(1 - 1e-5, support, differing))
    chance, fewest = 0.0, 0
    for total in range(first, last + 1):
        # Where one more pair differs, one more lost one is needed now and then: look on from there.
        fewest = max(0, fewest - 2)
        while fewest <= total and p_of(fewest, total - fewest, support, limit) >= 0.05:
            fewest += 1
        chance += stats.binom.pmf(total, support, differing) * stats.binom.sf(fewest - 1, total, among)
    return float(chance)


# Settings where 15 or more differing pairs are expected.
NO_DROP = [(n, share) for n in (100, 200, 500, 1_000, 5_000) for share in (0.04, 0.1, 0.2, 0.4) if n * share >= 15]


@pytest.mark.parametrize(("support", "differing"), NO_DROP)
def test_a_gate_fails_without_a_drop_in_5_percent_of_comparisons(support, differing):
    assert share_that_fails(support, differing, drop=0, limit=0) == pytest.approx(0.05, abs=0.01)


def test_a_gate_fails_without_a_drop_in_5_percent_of_independent_comparisons():
    # One setting after another, 30,000 comparisons together.
    shares = [share_that_fails(n, 0.2, drop=0, limit=0, seed=seed) for n in (100, 200, 500) for seed in range(5)]
    assert np.mean(shares) == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize(("support", "differing"), [each for each in NO_DROP if each[0] <= 500])
def test_the_level_without_a_drop_is_held_exactly(support, differing):
    assert chance_to_fail(support, differing, limit=0) == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("limit", [0.02, 0.05])
@pytest.mark.parametrize(
    ("support", "differing"), [each for each in NO_DROP if each[0] <= 500 and each[1] > 0.05] + [(1_000, 0.1)]
)
def test_a_gate_fails_at_its_limit_in_5_percent_of_comparisons(support, differing, limit):
    assert share_that_fails(support, differing, drop=limit, limit=limit) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(("support", "differing"), [(100, 0.2), (200, 0.1), (200, 0.4), (500, 0.1)])
@pytest.mark.parametrize("limit", [0.02, 0.05])
def test_the_level_at_a_limit_is_held_exactly(support, differing, limit):
    assert chance_to_fail(support, differing, limit) == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize("support", [50, 200, 1_000])
@pytest.mark.parametrize("expected", [1, 2, 4, 8, 12])
def test_with_few_differing_pairs_a_gate_errs_to_passing(support, expected):
    assert chance_to_fail(support, expected / support, limit=0) < 0.05


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("expected", [6, 8, 10, 12])
def test_with_few_differing_pairs_a_gate_at_a_limit_stays_near_its_level(limit, expected):
    assert chance_to_fail(100, expected / 100, limit) < 0.065


def test_a_gate_fails_a_drop_of_ten_points_on_200_examples():
    assert share_that_fails(200, differing=0.16, drop=0.1, limit=0) >= 0.95
    assert share_that_fails(200, differing=0.16, drop=0.1, limit=0, seed=0) >= 0.9
    assert chance_to_fail(200, differing=0.16, limit=0, drop=0.1) >= 0.95


def test_a_gate_seldom_fails_a_drop_within_its_limit():
    assert share_that_fails(500, differing=0.2, drop=0, limit=0.05) < 0.002


# -------------------------------------------------------------------------------- the gate: what always holds


def test_without_a_drop_allowed_p_is_at_least_the_mid_p_of_mcnemar():
    for lost, gained in [(1, 0), (4, 0), (9, 2), (26, 6), (6, 26), (200, 160)]:
        exact = stats.binomtest(lost, lost + gained, alternative="greater").pvalue
        mid_p = exact - stats.binom.pmf(lost, lost + gained, 0.5) / 2
        assert mid_p - 1e-12 <= drop_p_value(lost, gained, 500, 0) <= mid_p + 0.01


def test_p_at_a_limit_is_that_of_a_drawn_bootstrap_from_the_likeliest_shares():
    lost, gained, support, limit = 26, 6, 200, 0.05
    shares = np.linspace(limit, 1, 200_001)[:-1]
    with np.errstate(divide="ignore"):
        likely = lost * np.log(shares) + gained * np.log(shares - limit)
        likely += (support - lost - gained) * np.log(np.maximum(0, 1 - 2 * shares + limit))
    share = shares[likely.argmax()]
    drawn = np.random.default_rng(0).multinomial(support, [share, share - limit, 1 - 2 * share + limit], 400_000)
    drops = drawn[:, 0] - drawn[:, 1]
    expected = (drops > lost - gained).mean() + (drops == lost - gained).mean() / 2
    assert drop_p_value(lost, gained, support, limit) == pytest.approx(expected, abs=0.002)


@settings(deadline=None)
@example((0, 0, 2), 0.0, 1.1125369292536007e-308)
@given(compared(), st.floats(0, 1), st.floats(0, 1))
def test_p_is_a_probability_that_falls_with_what_is_lost(counts, one, other):
    lost, gained, support = counts
    limit, larger = sorted((one, other))
    p = drop_p_value(lost, gained, support, limit)
    assert 0 <= p <= 1
    assert drop_p_value(lost, gained, support, larger) >= p - 1e-9
    if lost + gained < support:
        assert drop_p_value(lost + 1, gained, support, limit) <= p + 1e-9
        # Above 0.999, where no gate looks, the last digits may go the other way.
        assert drop_p_value(lost, gained + 1, support, limit) >= min(p, 0.999) - 1e-9


@pytest.mark.parametrize("limit", [0, 0.02, 0.3])
def test_p_is_monotone_over_all_counts_of_few_examples(limit):
    for support in (3, 12):
        for lost in range(support):
            for gained in range(support - lost):
                p = p_of(lost, gained, support, limit)
                assert p_of(lost + 1, gained, support, limit) <= p
                assert p_of(lost, gained + 1, support, limit) >= min(p, 0.999)


@pytest.mark.parametrize("support", [10, 200, 10**6])
def test_three_differing_pairs_never_fail_a_gate_and_five_only_if_all_are_lost(support):
    assert all(drop_p_value(lost, 0, support, 0) > 0.05 for lost in range(4))
    assert drop_p_value(4, 1, support, 0) > 0.05 and drop_p_value(5, 0, support, 0) < 0.05


@pytest.mark.parametrize("support", [1, 7, 10**6])
def test_models_that_answer_alike_never_fail_a_gate(support):
    assert drop_p_value(0, 0, support, 0) == pytest.approx(0.5)
    assert all(drop_p_value(0, 0, support, limit) >= 0.5 for limit in (0.01, 0.5, 1))


def test_all_lost_is_a_drop_at_any_limit_but_the_largest():
    assert drop_p_value(100, 0, 100, 0.9) < 0.01
    assert drop_p_value(100, 0, 100, 1) == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("support", [1, 2, 5_000, 10**6])
@pytest.mark.parametrize("limit", [0, 1e-308, 1e-9, 0.5, 1 - 1e-16, 1])
def test_counts_and_limits_at_their_edges_give_a_probability(support, limit):
    for lost, gained in [(0, 0), (1, 0), (0, 1), (support, 0), (0, support), (support // 2, support // 2)]:
        assert 0 <= drop_p_value(lost, gained, support, limit) <= 1


@pytest.mark.parametrize("limit", [-0.01, 1.5, float("nan")])
def test_a_limit_that_is_no_share_is_told(limit):
    with pytest.raises(DataError, match="give a share from 0 to 1"):
        drop_p_value(1, 0, 10, limit)


@pytest.mark.parametrize("function", [drop_interval, lambda *counts: drop_p_value(*counts, limit=0.0)])
@pytest.mark.parametrize("counts", [(6, 5, 10), (-1, 0, 10), (0, -1, 10), (0, 0, 0)])
def test_counts_of_a_drop_that_do_not_fit_are_told(function, counts):
    with pytest.raises(DataError, match="among"):
        function(*counts)


# ----------------------------------------------------------------------------------------------------- Holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_that_of_statsmodels_and_never_smaller(p_values):
    adjusted = holm(p_values)
    assert adjusted == tuple(multitest.multipletests(p_values, method="holm")[1])
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.5]) == pytest.approx((0.08, 0.03, 0.5))
    assert holm([]) == () and holm([0.2]) == (0.2,)


@pytest.mark.parametrize("p_of_counts", [lambda b, c: mcnemar(b, c), lambda b, c: p_of(b, c, 300, 0)])
def test_any_of_20_slices_seems_worse_in_at_most_5_percent(p_of_counts):
    rng = np.random.default_rng(0)
    counts = rng.multinomial(300, [0.1, 0.1, 0.8], size=(COMPARISONS, 20))[..., :2]
    known = {(b, c): p_of_counts(b, c) for b, c in {tuple(map(int, each)) for each in counts.reshape(-1, 2)}}
    families = [[known[int(b), int(c)] for b, c in family] for family in counts]
    assert np.mean([min(family) < 0.05 for family in families]) > 0.3
    assert np.mean([min(holm(family)) < 0.05 for family in families]) <= 0.06


# ---------------------------------------------------------------------------------------- interval of a mean


def test_the_interval_of_a_mean_is_the_bootstrap_of_scipy():
    values = np.random.default_rng(0).exponential(size=200)
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1))
    found = mean_interval(values)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.02)
    assert found == mean_interval(values) != mean_interval(values, seed=1)


def test_the_interval_of_many_is_that_of_t():
    values = np.random.default_rng(0).exponential(size=20_000)
    expected = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
    assert mean_interval(values, confidence=0.9) == pytest.approx(expected, abs=1e-12)
    assert mean_interval(values, np.full(20_000, 0.5), 0.9) == pytest.approx(expected, abs=1e-12)


def test_many_of_a_weight_unlike_their_values_are_as_with_the_effective_sample_size():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=20_000), rng.exponential(size=20_000)
    effective = weights.sum() ** 2 / (weights**2).sum()
    kish = DescrStatsW(values, weights * effective / weights.sum()).tconfint_mean()
    assert mean_interval(values, weights) == pytest.approx(kish, abs=0.001)


@pytest.mark.parametrize("weighted", [False, True])
def test_bootstrap_and_t_meet_where_they_change_places(weighted):
    rng = np.random.default_rng(0)
    values = rng.exponential(size=10_001)
    # Weights that go with the values, which an effective sample size alone gets wrong.
    weights = values + 0.1 if weighted else None
    bootstrap = mean_interval(values[:-1], None if weights is None else weights[:-1])
    error = np.ptp(bootstrap) / 4
    assert mean_interval(values, weights) == pytest.approx(bootstrap, abs=0.2 * error)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 10)), min_size=1, max_size=30))
def test_the_interval_holds_the_mean_and_stays_within_the_values(pairs):
    values, weights = np.array(pairs).T
    low, high = mean_interval(values, weights, confidence=0.9)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    low, high = mean_interval(values, confidence=0.9)
    assert low - 1e-9 <= values.mean() <= high + 1e-9


@pytest.mark.parametrize("size", [1, 2, 20_000])
def test_equal_values_are_known_exactly(size):
    assert mean_interval(np.full(size, 0.3)) == (0.3, 0.3)
    assert mean_interval(np.full(size, 0.3), np.arange(1, size + 1)) == (0.3, 0.3)


@pytest.mark.parametrize("size", [50, 20_000])
def test_examples_of_no_weight_count_for_nothing(size):
    values = np.random.default_rng(0).normal(size=size)
    more, weights = np.append(values, [1e6, -1e6]), np.append(np.ones(size), [0, 0])
    assert mean_interval(more, weights) == mean_interval(values)


def test_a_weight_of_two_draws_the_mean():
    low, high = mean_interval(np.array([True, False] * 200), np.array([3.0, 1.0] * 200))
    assert low < 0.75 < high and high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1875 / 400 * 1.0), rel=0.3)


def test_the_interval_of_a_weighted_mean_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        values = rng.normal(size=100)
        weights = 1 + (values > 0)
        low, high = mean_interval(values, weights, seed=seed)
        # E[w v] / E[w] for w = 1 + (v > 0) is density(0) / 1.5.
        covered += low <= stats.norm.pdf(0) / 1.5 <= high
    assert covered / 200 == pytest.approx(0.95, abs=0.03)


def test_a_long_bootstrap_stays_in_bounded_memory():
    values = np.random.default_rng(0).normal(size=10_000)
    tracemalloc.start()
    mean_interval(values, np.ones(10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All 2,000 resamples at once would take 160 MB an array.
    assert peak < 80e6


@pytest.mark.parametrize(
    ("values", "weights", "told"),
    [
        ([], None, "at least one"),
        ([1.0, np.nan], None, "not finite"),
        ([[1.0]], None, r"\(1, 1\)"),
        ([1.0, 2.0], [1.0], "for 2 examples"),
        ([1.0, 2.0], [1.0, -1.0], "none negative"),
        ([1.0, 2.0], [0.0, 0.0], "give one each"),
        ([1.0, 2.0], [1.0, np.nan], "none negative"),
    ],
)
def test_values_and_weights_that_do_not_fit_are_told(values, weights, told):
    with pytest.raises(DataError, match=told):
        mean_interval(np.array(values), None if weights is None else np.array(weights))


# ---------------------------------------------------------------------------------------- calibration error


def slow_calibration_error(confidence, correct, weights, bins):
    """Bin by bin, as the paper has it."""
    total = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        inside |= (confidence == 0) & (index == 0)
        if inside.any():
            share = weights[inside].sum() / weights.sum()
            accuracy = np.average(correct[inside], weights=weights[inside])
            total += share * abs(accuracy - np.average(confidence[inside], weights=weights[inside]))
    return total


@pytest.mark.parametrize("bins", [1, 8, 16])
@pytest.mark.parametrize("weighted", [False, True])
def test_calibration_error_is_that_of_the_paper(bins, weighted):
    rng = np.random.default_rng(0)
    # Edges of bins among them; with powers of two they are exact.
    confidence = np.concatenate([rng.random(500), np.arange(17) / 16])
    # Too sure in one bin and not enough in the next, or bins that run together would sum to the same.
    correct = rng.random(517) < np.sin(25 * confidence) ** 2
    weights = rng.random(517) + 0.1 if weighted else np.ones(517)
    found = expected_calibration_error(confidence, correct, weights if weighted else None, bins)
    assert found == pytest.approx(slow_calibration_error(confidence, correct, weights, bins), abs=1e-12)


def test_calibration_error_by_hand():
    sure = np.ones(10)
    assert expected_calibration_error(sure, np.ones(10, bool)) == 0
    assert expected_calibration_error(sure, np.zeros(10, bool)) == 1
    assert expected_calibration_error(np.zeros(10), np.zeros(10, bool)) == 0
    assert expected_calibration_error(np.full(4, 0.75), np.array([1, 1, 1, 0])) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.9, 0.5]), np.array([1, 0]), np.array([1, 0])) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 30))
def test_calibration_error_is_a_share_and_weights_of_two_are_examples_twice(pairs, bins):
    confidence, correct = np.array([p for p, _ in pairs]), np.array([right for _, right in pairs])
    found = expected_calibration_error(confidence, correct, np.arange(1, len(pairs) + 1), bins)
    twice = expected_calibration_error(
        np.repeat(confidence, np.arange(1, len(pairs) + 1)), np.repeat(correct, np.arange(1, len(pairs) + 1)), bins=bins
    )
    assert 0 <= found <= 1 + 1e-12 and found == pytest.approx(twice, abs=1e-9)


def test_a_calibrated_model_has_next_to_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    right = rng.random(200_000)
    assert expected_calibration_error(confidence, right < confidence) < 0.01
    assert expected_calibration_error(confidence, right < confidence - 0.1) > 0.08


def test_calibration_error_of_a_million_takes_no_time():
    confidence = np.random.default_rng(0).random(10**6).astype(np.float32)
    correct = confidence < 0.5
    times = []
    for _ in range(5):
        started = time.perf_counter()
        expected_calibration_error(confidence, correct)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05


@pytest.mark.parametrize("wrong", [[0.5, 1.2], [-0.1, 0.5]])
def test_confidences_that_are_no_probabilities_are_told(wrong):
    with pytest.raises(DataError, match="give probabilities"):
        expected_calibration_error(np.array(wrong), np.array([1, 0]))


def test_calibration_error_of_nothing_is_told():
    with pytest.raises(DataError, match="at least one"):
        expected_calibration_error(np.array([]), np.array([], bool))

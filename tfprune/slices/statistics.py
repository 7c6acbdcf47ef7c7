"""How far a score can be trusted: intervals, paired tests and calibration, from counts where counts are enough.

Two models that answer the same examples differ in `lost` (right before, wrong now) and `gained` (the reverse); all
other pairs are alike. These two counts and the support hold all that a test of the drop in accuracy needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import WLS
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from tfprune.errors import DataError

_DRAWS = 9_999
"""Resamples of three counts: they cost nothing."""

_RESAMPLES = 2_000
"""Resamples of examples: 0.2 s at the most examples that are resampled."""

_MOST_RESAMPLED = 10_000
"""Examples beyond which a mean is as good as normal and a bootstrap takes seconds."""


def accuracy_interval(right: int, support: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of an accuracy: within [0, 1], and honest for few examples (Wilson 1927).

    Args:
        right: examples answered right, 0 to `support`.
        support: examples, at least 1.
        confidence: in (0, 1).

    Raises:
        DataError: counts that do not fit together.

    Example:
        >>> low, high = accuracy_interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)
    """
    _check_counts(right, 0, support)
    low, high = proportion_confint(right, support, 1 - confidence, method="wilson")
    return float(max(0.0, low)), float(min(1.0, high))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p, in (0, 1], of "the two models are equally accurate" (McNemar 1947); 1 where none differs.

    Example:
        >>> mcnemar(8, 1)
        0.0390625
    """
    return float(contingency_tables.mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)


def drop_interval(lost: int, gained: int, support: int, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Paired percentile bootstrap of the drop in accuracy, (lost - gained) / support (Efron & Tibshirani 1993).

    A pair is worth -1, 0 or 1, so drawing `support` pairs with replacement is drawing three counts from a multinomial
    distribution: the same bootstrap, at a cost that does not grow with the support.

    Args:
        lost, gained: at least 0, together at most `support`.
        support: pairs, at least 1.
        confidence: in (0, 1), two-sided.

    Returns:
        Low and high, within [-1, 1]. Without a single difference both are 0, as a bootstrap knows only what it saw.

    Raises:
        DataError: counts that do not fit together.
    """
    _check_counts(lost, gained, support)
    shares = np.array([lost, gained, support - lost - gained]) / support
    drawn = np.random.default_rng(seed).multinomial(support, shares, size=_DRAWS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / support, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def drop_p_value(lost: int, gained: int, support: int, limit: float) -> float:
    """One-sided p of "the true drop is no more than `limit`": a gate with 95% confidence fails where it is under 0.05.

    The larger of two p-values, in each of which a tie with what was seen counts half (mid-p):

    - of McNemar's test that there is no drop at all, which Fagerland, Lydersen & Laake (2013) found to hold its level
      where the exact test fails too seldom;
    - of a drop as large as this one where the true drop is `limit`: a bootstrap from the likeliest shares of lost and
      gained pairs that lie `limit` apart (Tango 1998), summed exactly and not drawn.

    So the same counts give the same p, which falls with `lost` and rises with `gained` and `limit` (above 0.999, where
    no gate looks, to 1e-4). Where the true drop is the limit, a 95% gate fails in 4.8% to 5.0% of comparisons at limit
    0, and in 4.5% to 5.4% at limits up to 0.1, if 15 or more differing pairs are expected. With fewer it errs to
    passing at limit 0 (4.2% at 10, 2.4% at 4, 0.1% at 1): it cannot fail with less than 4 differing pairs, and with 4
    or 5 only where all are lost. At a larger limit and few differing pairs it fails in at most 6.5%.

    Args:
        lost, gained: at least 0, together at most `support`.
        support: pairs, at least 1.
        limit: the drop that is allowed, in [0, 1].

    Returns:
        p in [0, 1]; 0.5 without a difference at limit 0.

    Raises:
        DataError: counts that do not fit together, or a limit outside [0, 1].

    Example:
        >>> round(drop_p_value(26, 6, 200, limit=0.0), 4), round(drop_p_value(26, 6, 200, limit=0.08), 4)
        (0.0002, 0.2273)
    """
    _check_counts(lost, gained, support)
    if not 0 <= limit <= 1:
        raise DataError(f"the limit of a drop is {limit}; give a share from 0 to 1")
    differing = lost + gained
    no_drop = (stats.binom.sf(lost, differing, 0.5) + stats.binom.sf(lost - 1, differing, 0.5)) / 2
    # Rounded, as scipy's binomial overflows on chances near the smallest float.
    return min(1.0, max(float(no_drop), _tail_at_limit(lost, gained, support, round(limit, 12))))


def _tail_at_limit(lost: int, gained: int, support: int, limit: float) -> float:
    """P(D > d) + P(D = d) / 2 for D = lost - gained of pairs whose true drop is `limit`, d being what was seen."""
    share_lost, share_gained = _shares_apart(lost, gained, support, limit)
    differing = min(1.0, share_lost + share_gained)
    # D follows from two numbers: how many pairs differ in total, and how many of those are lost. Totals whose chances
    # sum to less than 1e-15 are left out, or a million examples would take a million terms.
    middle, reach = support * differing, 9 * stats.binom.std(support, differing) + 40
    totals = np.arange(max(0, int(middle - reach)), min(support, int(middle + reach)) + 1)
    among = share_lost / differing if differing else 0.5
    # D > d says 2 lost > total + d, and D >= d says 2 lost > total + d - 1.
    more, at_least = ((totals + lost - gained - tie) // 2 for tie in (0, 1))
    tails = (stats.binom.sf(more, totals, among) + stats.binom.sf(at_least, totals, among)) / 2
    return float(tails @ stats.binom.pmf(totals, support, differing))


def _shares_apart(lost: int, gained: int, support: int, limit: float) -> tuple[float, float]:
    """The likeliest shares of lost and gained pairs among those with lost - gained = limit: the root in Tango 1998."""
    linear = (2 * support - lost + gained) * limit - lost - gained
    roots = np.roots([2 * support, linear, -gained * limit * (1 - limit)])
    share_gained = max(0.0, float(roots.real.max()))
    return share_gained + limit, share_gained


def mean_p_value(drop: float, interval: tuple[float, float], support: int, limit: float) -> float:
    """The same for a mean that has no counts, an error or a weighted accuracy: by Student's t.

    Args:
        drop: mean of the paired differences, positive where the pruned model is worse.
        interval: of it, 95%, see `mean_interval`; its width tells the standard error.
        support: examples, at least 1.
        limit: that the drop may have.

    Example:
        >>> mean_p_value(0.3, (0.1, 0.5), 100, 0.0) < 0.01 < mean_p_value(0.3, (0.1, 0.5), 100, 0.2)
        True
    """
    freedom = max(1, support - 1)
    error = (interval[1] - interval[0]) / (2 * stats.t.ppf(0.975, freedom))
    if not error > 0:
        return 0.0 if drop > limit else 1.0
    return float(stats.t.sf((drop - limit) / error, freedom))


def weighted_accuracy_interval(
    correct: np.ndarray, weights: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval for examples that weigh differently, at their effective number (Kish 1965).

    Args:
        correct: 0 or 1, (n,).
        weights: (n,), none negative, not all 0.
        confidence: in (0, 1).

    Example:
        >>> weighted_accuracy_interval(np.ones(10), np.ones(10)) == accuracy_interval(10, 10)
        True
    """
    weights = _checked_weights(np.asarray(correct, np.float64), weights)
    number = weights.sum() ** 2 / np.square(weights).sum()
    low, high = proportion_confint(
        np.average(correct, weights=weights) * number, number, 1 - confidence, method="wilson"
    )
    return float(max(0.0, low)), float(min(1.0, high))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for being several, in their order: where nothing differs, one is under 0.05 in 5% (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.5])
        (0.03, 0.08, 0.5)
    """
    if not len(p_values):
        return ()
    return tuple(float(p) for p in multipletests(p_values, method="holm")[1])


def mean_interval(
    values: np.ndarray, weights: np.ndarray | None = None, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean, weighted or not: of errors, of paired differences of errors, of weighted accuracies.

    Up to 10,000 examples the percentile bootstrap over examples with their weights (Efron & Tibshirani 1993). Beyond,
    the t interval; of a weighted mean with the sandwich variance of a regression on a constant (HC1, MacKinnon & White
    1985), which without weights is the plain t interval.

    Args:
        values: (n,), finite, n at least 1; bool is read as 0 and 1.
        weights: (n,), at least 0, not all 0; examples of weight 0 count for nothing.
        confidence: in (0, 1), two-sided.

    Returns:
        Low and high, in the unit of `values`; both the value itself where there is only one, or all are equal.

    Raises:
        DataError: no value, values that are not finite, or weights that do not fit.
    """
    values = np.asarray(values, np.float64)
    weights = _checked_weights(values, weights)
    values, weights = values[weights > 0], weights[weights > 0]
    if not np.ptp(values):
        return float(values[0]), float(values[0])
    if len(values) > _MOST_RESAMPLED:
        fitted = WLS(values, np.ones_like(values), weights=weights).fit(cov_type="HC1", use_t=True)
        ((low, high),) = fitted.conf_int(1 - confidence)
        return float(low), float(high)
    interval = stats.bootstrap(
        (values, weights),
        lambda value, weight, axis: (value * weight).sum(axis) / weight.sum(axis),
        paired=True,
        confidence_level=confidence,
        method="percentile",
        n_resamples=_RESAMPLES,
        # A batch of a million numbers, 8 MB an array.
        batch=max(1, 1_000_000 // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> float:
    """How far confidence is from accuracy, over bins of equal width (Guo et al. 2017).

    Args:
        confidence: (n,), probability of the answer given, in [0, 1].
        correct: (n,), whether the answer was right.
        weights: (n,), at least 0, not all 0.
        bins: at least 1; bin i holds ((i - 1) / bins, i / bins].

    Returns:
        In [0, 1]; 0 is calibrated.

    Raises:
        DataError: no example, confidences that are not in [0, 1], or weights that do not fit.

    Example:
        >>> round(expected_calibration_error(np.array([0.9, 0.9, 0.6]), np.array([True, False, True])), 3)
        0.4
    """
    confidence = np.asarray(confidence, np.float64)
    weights = _checked_weights(confidence, weights)
    if confidence.min() < 0 or confidence.max() > 1:
        raise DataError(f"confidences run from {confidence.min():g} to {confidence.max():g}; give probabilities")
    places = np.maximum(np.ceil(confidence * bins).astype(np.int64), 1) - 1
    # Of a bin, share times |accuracy - confidence| is the sum of its differences.
    return float(np.abs(np.bincount(places, weights * (correct - confidence))).sum() / weights.sum())


def _check_counts(one: int, other: int, support: int) -> None:
    if min(one, other) < 0 or one + other > support or support < 1:
        raise DataError(f"counts of {one} and {other} among {support} examples; give parts of at least one example")


def _checked_weights(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weights (n,) as float64, ones where there are none."""
    if not values.size or values.ndim != 1 or not np.isfinite(values).all():
        raise DataError(f"values of shape {values.shape}, or not finite; give one number an example, at least one")
    if weights is None:
        return np.ones_like(values)
    weights = np.asarray(weights, np.float64)
    if weights.shape != values.shape or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise DataError(f"weights of shape {weights.shape} for {len(values)} examples; give one each, none negative")
    return weights

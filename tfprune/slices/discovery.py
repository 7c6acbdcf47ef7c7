"""The group of examples that pays most for pruning, found by trees on one half and confirmed on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.errors import SliceError, nearest
from tfprune.slices.rules import Category, Range, check_columns, numbers_of, texts_of

TREES = 24
"""A single tree misses groups that only two columns together tell; more trees than this found no more of them."""

ROWS = 20_000
"""Examples a tree grows on at most, so that time stays bounded; leaves are scored on all of the half."""

CUTS = 256
"""Places at which a column of numbers may be cut, at most."""

CATEGORIES = 32
"""Values of a column of text that a rule may name, at most: the most frequent."""

LEVELS = 64
"""Distinct values of harm that the test tells apart, at most."""

RELABELINGS = 9_999
"""Random draws of the test, whose p-value is hence 0.0001 at least."""


@dataclass(frozen=True, eq=False)
class Found:
    """A group that pays for pruning.

    Attributes:
        rule: the group in words, such as ``age > 60 and site = b``.
        members: bool (n,), the examples of the group.
        confirming: bool (n,), the half that the search never saw. Score the group on ``members & confirming``: on the
            other half it looks worse than it is, because it was chosen for looking bad there.
        p_value: in [0.0001, 1], one-sided, of the confirmation.
        conditions: the rule as it is evaluated; all must hold.
    """

    rule: str
    members: np.ndarray
    confirming: np.ndarray
    p_value: float
    conditions: tuple[Range | Category, ...]

    def matches(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Members among the examples of any split that has the rule's columns; bool (m,).

        Raises:
            SliceError: a column is not there, has another length than the others, or holds text in place of numbers.
        """
        for condition in self.conditions:
            if condition.column not in columns:
                hint = nearest(condition.column, columns)
                raise SliceError(
                    f"rule {self.rule!r} needs the column {condition.column!r}, but there is "
                    f"{', '.join(map(repr, columns)) or 'none'}{hint}"
                )
        needed = {condition.column: columns[condition.column] for condition in self.conditions}
        check_columns(needed, np.size(next(iter(needed.values()))))
        return np.logical_and.reduce([each.matches(needed[each.column]) for each in self.conditions])


def discover(
    columns: Mapping[str, np.ndarray],
    harm: np.ndarray,
    *,
    depth: int = 3,
    min_support: int = 20,
    confidence: float = 0.95,
    seed: int = 0,
) -> Found | None:
    """Find the group of examples that pays most for pruning.

    The examples are halved at random, with the harm spread evenly. On one half, shallow regression trees grow on random
    parts of examples and columns (Breiman 2001, doi:10.1023/A:1010933404324). Every node is a candidate; taken is the
    one whose mean harm stands out most from the rest in standard errors, which, unlike the plain mean, does not favour
    fragments of a group. Only this one is tested, on the other half, so no correction for the search is due.

    The test is a permutation test of the mean (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585): how often are
    as many examples, drawn at random, harmed as much? It is exact for any distribution and for groups with few harmed
    examples, where Welch's test and Mann-Whitney's approximation promise too much. Examples must be independent of each
    other; several of one patient are not.

    Args:
        columns: (n,) each. Numbers are cut at thresholds, NaN is missing. Text, booleans and mixed objects are
            categories; None is the category ``missing`` there. The order of columns is of no effect.
        harm: float (n,), how much worse the pruned model is on each example: 1 newly wrong, -1 newly right, 0 else; or
            the increase of an error.
        depth: questions a rule may ask, at least 1.
        min_support: least number of members in each half, at least 1. Leaves are also no smaller than the square root
            of the number of examples that a tree sees.
        confidence: of the confirmation, in [0.5, 0.999].
        seed: of halves, trees and test.

    Returns:
        The group, or None where none is confirmed: also for too few examples (under 4 times min_support), no column,
        equal harm, or groups that all gain.

    Raises:
        SliceError: a column or an option that cannot be used.

    Example:
        >>> age, harm = np.arange(400) % 80, np.zeros(400)
        >>> harm[age > 60] = 1.0
        >>> found = discover({"age": age}, harm)
        >>> found.rule, int(found.members.sum()), found.p_value
        ('age > 60', 95, 0.0001)
        >>> found.matches({"age": np.array([60, 61])})
        array([False,  True])
    """
    harm = _check(columns, harm, depth, min_support, confidence)
    rng = np.random.default_rng(seed)
    confirming = _halve(harm, rng)
    features = _features(columns, min_support)
    if not features or len(harm) < 4 * min_support or np.ptp(harm) == 0:
        return None
    conditions = _search(features, ~confirming, harm, depth, min_support, int(rng.integers(2**31)))
    if conditions is None:
        return None
    members = np.logical_and.reduce([each.matches(columns[each.column]) for each in conditions])
    inside = members[confirming]
    if not min_support <= inside.sum() < len(inside):
        return None
    p_value = _confirm(harm[confirming], inside, rng)
    if p_value > 1 - confidence:
        return None
    return Found(" and ".join(map(str, conditions)), members, confirming, p_value, conditions)


# ---------------------------------------------------------------------------------------------- the input


def _check(columns: Mapping[str, np.ndarray], harm: Any, depth: int, min_support: int, confidence: float) -> np.ndarray:
    harm = np.asarray(harm, np.float64)
    if harm.ndim != 1 or not np.isfinite(harm).all():
        raise SliceError(
            f"harm must be one finite number an example, but got shape {harm.shape} or NaN; check the answers"
        )
    if depth < 1 or min_support < 1:
        raise SliceError(f"discovery needs depth and min_support of at least 1, but got {depth} and {min_support}")
    if not 0.5 <= confidence <= 0.999:
        raise SliceError(f"discovery needs a confidence from 0.5 to 0.999, but got {confidence}; 0.95 is usual")
    check_columns(columns, len(harm))
    return harm


# --------------------------------------------------------------------------------------------- the search


@dataclass(frozen=True)
class _Feature:
    """What a tree may ask about.

    Attributes:
        column: where it comes from.
        values: float32 (n,): 0 or 1 for a category, the rank among the cuts for numbers (so that neither scale nor
            infinity nor float32 matters), NaN for missing.
        known: all categories of the column, or its float64 numbers, sorted.
        cuts: the largest number of each rank; empty for a category.
        category: the one in question, or None for numbers.
    """

    column: str
    values: np.ndarray
    known: np.ndarray
    cuts: np.ndarray
    category: str | None = None


def _features(columns: Mapping[str, np.ndarray], min_support: int) -> list[_Feature]:
    """In the order of names, so that the order of columns is of no effect; what cannot split anything is left out."""
    features: list[_Feature] = []
    for name in sorted(columns):
        column = np.asarray(columns[name])
        numbers = numbers_of(column)
        if numbers is None:
            texts = texts_of(column)
            known, counts = np.unique(texts, return_counts=True)
            frequent = np.argsort(-counts, kind="stable")[:CATEGORIES]
            # Of two categories the second says nothing that the first does not.
            chosen = [str(known[i]) for i in frequent if counts[i] >= min_support][: 1 if len(known) == 2 else None]
            if len(known) > 1:
                features += [
                    _Feature(name, (texts == each).astype(np.float32), known, np.empty(0), each) for each in chosen
                ]
            continue
        known = np.sort(numbers[~np.isnan(numbers)])
        cuts = np.unique(known)
        if len(cuts) > CUTS:
            cuts = np.unique(known[np.linspace(0, len(known) - 1, CUTS + 1).astype(int)])
        ranks = np.where(np.isnan(numbers), np.nan, np.searchsorted(cuts, numbers)).astype(np.float32)
        if len(cuts) > 1 or 0 < len(known) < len(numbers):
            features.append(_Feature(name, ranks, known, cuts))
    return features


def _halve(harm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of each two neighbours in harm, at random; bool (n,)."""
    confirming = np.zeros(len(harm), bool)
    pairs = np.lexsort((rng.random(len(harm)), harm))[: len(harm) // 2 * 2].reshape(-1, 2)
    confirming[np.where(rng.random(len(pairs)) < 0.5, pairs[:, 0], pairs[:, 1])] = True
    return confirming


def _search(
    features: list[_Feature], finding: np.ndarray, harm: np.ndarray, depth: int, min_support: int, seed: int
) -> tuple[Range | Category, ...] | None:
    """The rule of the node whose harm stands out most; None where no node is harmed more than the whole."""
    from sklearn.ensemble import RandomForestRegressor  # takes a second to import

    table, harm = np.column_stack([feature.values[finding] for feature in features]), harm[finding]
    seen = min(len(harm), ROWS)
    forest = RandomForestRegressor(
        n_estimators=TREES,
        max_depth=depth,
        min_samples_leaf=max(min_support, math.isqrt(seen)),
        max_features=1 / 3,
        max_samples=seen,
        random_state=seed,
    ).fit(table, harm)
    paths, starts = forest.decision_path(table)
    support, total = np.asarray(paths.sum(axis=0)).ravel(), np.asarray(paths.T @ harm).ravel()
    rest = len(harm) - support
    candidates = (support >= min_support) & (rest >= min_support) & (total > support * max(0.0, harm.mean()))
    if not candidates.any():
        return None
    excess = total / support - (harm.sum() - total) / np.maximum(rest, 1)
    best = int(np.where(candidates, excess * np.sqrt(support * rest), -np.inf).argmax())
    index = int(np.searchsorted(starts, best, side="right")) - 1
    return _conditions(features, _path_to(forest.estimators_[index].tree_, best - int(starts[index])))


def _path_to(tree: Any, node: int) -> list[tuple[int, float, bool, bool]]:
    """Feature, threshold, whether it goes right, and whether missing values go with it, from the root to a node."""
    steps = []
    while node:
        (parent,) = np.flatnonzero((tree.children_left == node) | (tree.children_right == node))
        right = bool(tree.children_right[parent] == node)
        missing = bool(tree.missing_go_to_left[parent]) != right
        steps.append((int(tree.feature[parent]), float(tree.threshold[parent]), right, missing))
        node = int(parent)
    return steps[::-1]


def _conditions(features: list[_Feature], steps: list[tuple[int, float, bool, bool]]) -> tuple[Range | Category, ...]:
    """One condition a column, in the order in which the tree first asks about it."""
    merged: dict[str, Range | Category] = {}
    for index, threshold, right, missing in steps:
        feature = features[index]
        before = merged.get(feature.column)
        if feature.category is None:
            merged[feature.column] = _narrow(feature, before, threshold, right, missing)
        else:
            merged[feature.column] = _choose(feature, before, feature.category, right)
    return tuple(merged.values())


def _narrow(feature: _Feature, before: Any, threshold: float, right: bool, missing: bool) -> Range:
    holed = len(feature.known) < len(feature.values)
    old = before or Range(feature.column, missing=holed)
    low, high, known = old.low, old.high, old.known
    if math.isinf(threshold):  # the tree parts the missing from the known
        known = known and not right
    elif right:
        low = _cut(feature, threshold)
    else:
        high = _cut(feature, threshold)
    return Range(feature.column, low, high, known, old.missing and missing)


def _cut(feature: _Feature, threshold: float) -> float:
    """The roundest number that parts the examples as the threshold between two ranks does."""
    below = float(feature.cuts[math.floor(threshold)])
    above = float(feature.known[np.searchsorted(feature.known, below, side="right")])
    middle = below / 2 + above / 2
    if below.is_integer() and above.is_integer():
        middle = float(math.floor(middle))
    for digits in range(17):
        rounded = float(f"{middle:.{digits}e}") + 0.0  # no -0
        if below <= rounded < above:
            return rounded
    return below


def _choose(feature: _Feature, before: Any, category: str, right: bool) -> Category:
    """A tree asks no more about a column once one value is left, so only exclusions add up."""
    if right:
        return Category(feature.column, category)
    excluded = (*(before.excluded if before else ()), category)
    left = [str(each) for each in feature.known if each not in excluded]
    return Category(feature.column, left[0]) if len(left) == 1 else Category(feature.column, None, excluded)


# --------------------------------------------------------------------------------------- the confirmation


def _confirm(harm: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> float:
    """One-sided p-value of the mean harm inside, among groups of the same size drawn at random.

    How often each level of harm is drawn follows the multivariate hypergeometric law, so nothing is shuffled. Harm with
    many levels is first binned by quantiles; the test stays exact, as bins do not look at the group.
    """
    from scipy import stats  # takes a second to import

    levels, at = np.unique(harm, return_inverse=True)
    if len(levels) > LEVELS:
        edges = np.unique(np.quantile(harm, np.linspace(0, 1, LEVELS + 1)[1:-1]))
        at = np.unique(np.searchsorted(edges, harm), return_inverse=True)[1]
        levels = np.bincount(at, harm) / np.bincount(at)
    counts = np.bincount(at)
    tested = stats.monte_carlo_test(
        np.bincount(at[inside], minlength=len(levels)),
        lambda size: rng.multivariate_hypergeometric(counts, int(inside.sum()), size=size[:-1]),
        lambda drawn, axis: drawn @ levels,
        vectorized=True,
        n_resamples=RELABELINGS,
        alternative="greater",
    )
    return float(tested.pvalue)

"""Which hidden groups are found, and how seldom one is found where there is none."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfprune.errors import SliceError
from tfprune.slices.discovery import Found, _confirm, discover

Columns = dict[str, np.ndarray]


def metadata(seed: int, n: int = 4000, holes: float = 0.05) -> Columns:
    """Columns of every kind, none of which has to do with another."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n).astype(float)
    age[rng.random(n) < holes] = np.nan
    return {
        "age": age,
        "site": rng.choice(list("abcdefgh"), n),
        "device": rng.choice(np.array(["old", "new", None], dtype=object), n),
        "male": rng.random(n) < 0.5,
        "weight": rng.normal(75, 12, n).astype(np.float32),
        "visits": rng.poisson(2, n),
        "country": np.full(n, "nl"),
        "constant": np.zeros(n),
    }


def old_of_site_b(columns: Columns) -> np.ndarray:
    return (columns["site"] == "b") & (columns["age"] > 50)


def clusters(seed: int, shape: str, n: int = 4000) -> tuple[Columns, np.ndarray]:
    """Eight principal components of 32 features, and which examples are of the cluster in question, about 5%."""
    rng = np.random.default_rng(seed)
    if shape == "apart":  # one cluster five standard deviations from one cloud
        inside = rng.random(n) < 0.05
        way = rng.normal(size=32)
        features = rng.normal(size=(n, 32)) + np.outer(inside, 5 * way / np.linalg.norm(way))
    else:  # the smallest of ten clusters
        of = rng.choice(10, n, p=[0.05] + [0.95 / 9] * 9)
        inside, features = of == 0, rng.normal(size=(10, 32))[of] * 1.5 + rng.normal(size=(n, 32))
    features -= features.mean(axis=0)
    components = features @ np.linalg.eigh(features.T @ features)[1][:, :-9:-1]
    return {f"embedding_{i}": components[:, i] for i in range(8)}, inside


def harm_on(group: np.ndarray, seed: int, share: float = 0.4) -> np.ndarray:
    """In the group that share is newly wrong; elsewhere 1% is newly wrong and 1% newly right."""
    rng = np.random.default_rng(seed + 10_000)
    harm = rng.choice([1.0, -1.0, 0.0], len(group), p=[0.01, 0.01, 0.98])
    return np.where(group & (rng.random(len(group)) < share), 1.0, harm)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def must(found: Found | None) -> Found:
    assert found is not None
    return found


def read_rule(rule: str, columns: Columns) -> np.ndarray:
    """The examples that a rule in words means; knows nothing of how `matches` does it."""

    def ask(name: str, sign: str, text: str) -> np.ndarray:
        column = columns[name]
        if sign == "is":
            absent = np.array([v is None or v != v for v in column])
            return absent if text == "missing" else ~absent
        if sign in ("=", "!="):
            same = np.array([("missing" if v is None else str(v)) == text for v in column])
            return same if sign == "=" else ~same
        numbers = column.astype(float)
        return numbers > float(text) if sign == ">" else numbers <= float(text)

    code = re.sub(r"(\w+) (>|<=|=|!=|is) ([^\s()]+)", r"ask('\1', '\2', '\3')", rule)
    return eval(code.replace(" and ", " & ").replace(" or ", " | "), {"ask": ask})


# ------------------------------------------------------------------------------------------ what is found


def test_a_group_of_two_columns_is_found() -> None:
    found, changes = [], []
    for seed in range(10):
        columns = metadata(seed)
        group = old_of_site_b(columns)
        harm = harm_on(group, seed)
        changes.append(harm.mean())
        each = discover(columns, harm, seed=seed)
        found.append(0.0 if each is None else jaccard(each.members, group))
    assert np.mean(np.array(found) >= 0.5) >= 0.9, found
    assert np.mean(found) >= 0.8, found
    assert np.mean(changes) < 0.04, "the whole accuracy barely moves"


@pytest.mark.parametrize(("shape", "mean"), [("apart", 0.75), ("smallest of ten", 0.6)])
def test_a_cluster_of_embeddings_is_found(shape: str, mean: float) -> None:
    found = []
    for seed in range(10):
        columns, group = clusters(seed, shape)
        each = discover(columns, harm_on(group, seed), seed=seed)
        found.append(0.0 if each is None else jaccard(each.members, group))
    assert np.mean(np.array(found) >= 0.5) >= 0.9, found
    assert np.mean(found) >= mean, found


def test_a_larger_error_is_found_in_regression() -> None:
    columns = metadata(3)
    group = old_of_site_b(columns)
    harm = np.random.default_rng(3).standard_t(3, len(group)) + 2 * group
    assert jaccard(must(discover(columns, harm)).members, group) >= 0.5


def test_nothing_is_found_where_nothing_is_hidden() -> None:
    found = 0
    for seed in range(200):
        columns = metadata(seed % 10, 1000)
        found += discover(columns, harm_on(np.zeros(1000, bool), seed), seed=seed) is not None
    assert found <= 0.07 * 200


@pytest.mark.full
def test_nothing_is_found_in_heavy_tailed_errors() -> None:
    found = 0
    for seed in range(40):
        harm = np.random.default_rng(seed).standard_t(2, 500)
        found += discover(metadata(seed % 10, 500), harm, seed=seed) is not None
    assert found <= 0.1 * 40


def test_a_group_on_which_pruning_is_right_more_often_does_not_pay() -> None:
    columns = metadata(0)
    group = old_of_site_b(columns)
    assert discover(columns, -np.float64(group)) is None
    # Nor one that is merely harmed less than others gain.
    assert discover(columns, np.where(group, -0.1, -1.0)) is None


def test_hundred_thousand_examples_take_seconds() -> None:
    columns = metadata(0, 100_000)
    columns |= {f"embedding_{i}": np.random.default_rng(i).normal(size=100_000) for i in range(4)}
    group = old_of_site_b(columns)
    harm = harm_on(group, 0)
    discover(metadata(0, 200), harm[:200])  # imports
    start = time.process_time()
    found = must(discover(columns, harm))
    assert time.process_time() - start < 3
    assert jaccard(found.members, group) >= 0.8


# ------------------------------------------------------------------------------------------------ the rule


def test_a_rule_reads_well() -> None:
    columns = metadata(0, holes=0)
    columns["age"] = columns["age"].astype(int)
    found = must(discover(columns, np.float64(old_of_site_b(columns))))
    assert found.rule in ("site = b and age > 50", "age > 50 and site = b")
    assert (found.members == old_of_site_b(columns)).all()
    assert found.p_value == 0.0001


def one_column(column: np.ndarray, group: np.ndarray) -> str:
    found = must(discover({"it": column}, np.float64(group)))
    assert (found.members == group).all()
    assert (read_rule(found.rule, {"it": column}) == group).all()
    return found.rule


HUNDRED = np.arange(4000) % 100
"""Each value 40 times, so that both halves know all of them."""


def test_thresholds_are_the_roundest_that_tell_apart() -> None:
    x = HUNDRED
    assert one_column(x, x > 50) == "it > 50"
    assert one_column(x, (x > 30) & (x <= 71)) == "it > 30 and it <= 71"
    assert one_column(x - 90, x <= 30) == "it <= -60"
    assert one_column(x / 1000, x > 62) == "it > 0.062"
    assert one_column(np.where(x < 50, 1234.567, 1987.6), x < 50) == "it <= 1600"
    assert one_column(x % 2, x % 2 == 1) == "it > 0"
    assert one_column(2_000_000_000 + x, x > 60) == "it > 2000000060"
    assert one_column(x * 10, x <= 60) == "it <= 600"


def test_missing_numbers() -> None:
    x = HUNDRED.astype(float)
    some = np.where(x % 3 == 0, np.nan, x)
    assert one_column(some, np.isnan(some)) == "it is missing"
    assert one_column(some, ~np.isnan(some)) == "it is known"
    assert one_column(some, np.isnan(some) | (some > 70)) == "(it > 70 or it is missing)"
    assert one_column(some, some > 71) == "it > 72"
    assert one_column(np.where(x % 3 == 0, np.nan, 7.0), x % 3 == 0) == "it is missing"
    assert one_column(np.array([None if v % 3 == 0 else int(v) for v in x], object), x % 3 == 0) == "it is missing"


def test_infinite_numbers() -> None:
    x = HUNDRED.astype(float)
    column = np.where(x < 20, -np.inf, np.where(x > 80, np.inf, x))
    assert one_column(column, column == np.inf) == "it > 80"
    assert one_column(column, column == -np.inf) == "it <= -inf"
    assert one_column(column, column > -np.inf) == "it > -inf"


def test_categories_and_booleans() -> None:
    x = HUNDRED
    assert one_column(x % 2 == 0, x % 2 == 0) == "it = True"
    assert one_column(x % 2 == 0, x % 2 == 1) == "it = False"
    three = np.array(["a", "b", "c"])[x % 3]
    assert one_column(three, three == "c") == "it = c"
    assert one_column(three, three != "c") == "it != c"
    four = np.array(["a", "b", "c", "d"])[x % 4]
    assert one_column(four, x % 4 > 1) in ("it != a and it != b", "it != b and it != a")
    assert one_column(np.array(["a", None], object)[x % 2], x % 2 == 1) == "it = missing"
    for texts in (np.array([b"a", "b", None], object), np.array([b"a", b"b", b"c"])):
        found = must(discover({"it": texts[x % 3]}, np.float64(x % 3 == 0)))
        assert found.rule == "it = a"
        assert (found.members == (x % 3 == 0)).all()


def test_of_many_categories_the_frequent_ones_are_asked() -> None:
    x = np.arange(3000)
    names = np.where(x % 5 == 0, "frequent", np.array([f"rare_{i}" for i in range(1000)])[x % 1000])
    assert one_column(names, x % 5 == 0) == "it = frequent"
    assert discover({"it": np.array([f"id_{i}" for i in x])}, np.float64(x % 5 == 0)) is None


def test_another_split() -> None:
    columns, other = metadata(1), metadata(2, 500)
    found = must(discover(columns, harm_on(old_of_site_b(columns), 1)))
    members = found.matches(other)
    assert members.shape == (500,)
    assert members.dtype == bool
    assert jaccard(members, old_of_site_b(other)) >= 0.5
    assert (members == read_rule(found.rule, other)).all()
    # Missing values and categories that the search never saw.
    whole = must(discover({"age": HUNDRED}, np.float64(HUNDRED > 60)))
    assert whole.matches({"age": np.array([np.nan, 61, np.inf])}).tolist() == [False, True, True]
    two = must(discover({"sex": np.array(["f", "m"] * 200)}, np.array([1.0, 0.0] * 200)))
    assert two.matches({"sex": np.array(["f", "m", "x"])}).tolist() == [True, False, False]


def test_another_split_that_does_not_fit() -> None:
    found = must(discover({"age": HUNDRED}, np.float64(HUNDRED > 60)))
    with pytest.raises(
        SliceError, match=r"'age > 60' needs the column 'age', but there is 'ages'; did you mean 'ages'"
    ):
        found.matches({"ages": np.arange(3)})
    with pytest.raises(SliceError, match="column 'age' holds text, but the rule 'age > 60' expects numbers"):
        found.matches({"age": np.array(["x", "y"])})
    with pytest.raises(SliceError, match="column 'age' has shape"):
        found.matches({"age": np.zeros((3, 2))})


# ---------------------------------------------------------------------------------------------- the halves


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(80, 600),
    seed=st.integers(0, 2**32),
    depth=st.integers(1, 4),
    min_support=st.integers(1, 30),
    kinds=st.sets(st.sampled_from(["age", "site", "device", "male", "weight", "visits", "constant"]), min_size=1),
    levels=st.sampled_from(["newly wrong", "error"]),
    order=st.randoms(use_true_random=False),
)
def test_what_always_holds(n, seed, depth, min_support, kinds, levels, order) -> None:
    every = metadata(seed, n)
    columns = {name: every[name] for name in sorted(kinds)}
    rng = np.random.default_rng(seed)
    group = (every["age"] > 60) | (every["site"] == "b")
    harm = np.float64(rng.random(n) < 0.1 + 0.6 * group) if levels == "newly wrong" else rng.gamma(0.3, size=n) + group
    options = {"depth": depth, "min_support": min_support, "seed": seed}
    before = {name: column.copy() for name, column in columns.items()}
    found = discover(columns, harm, **options)
    shuffled = list(columns)
    order.shuffle(shuffled)
    again = discover({name: columns[name] for name in shuffled}, harm, **options)
    assert all(np.array_equal(columns[k], before[k], equal_nan=columns[k].dtype.kind == "f") for k in columns)
    if found is None:
        assert again is None
        return
    assert (found.rule, found.p_value) == (must(again).rule, must(again).p_value)
    assert (found.members == must(again).members).all()
    assert (found.confirming == must(again).confirming).all()
    assert found.members.dtype == found.confirming.dtype == bool
    assert (found.members == found.matches(columns)).all()
    assert (found.members == read_rule(found.rule, columns)).all()
    assert 0.0001 <= found.p_value <= 0.0501
    assert 1 <= len(found.conditions) <= depth
    for half in (found.confirming, ~found.confirming):
        assert half.sum() in (n // 2, n - n // 2)
        assert (found.members & half).sum() >= min_support
        assert harm[found.members & half].mean() > harm[~found.members & half].mean()


def test_the_order_of_columns_is_of_no_effect() -> None:
    for seed in range(3):
        columns, group = clusters(seed, "smallest of ten")
        harm = harm_on(group, seed)
        one, other = (must(discover(dict(order), harm)) for order in (columns.items(), reversed(columns.items())))
        assert one.rule == other.rule
        assert (one.members == other.members).all()


def test_harm_is_spread_evenly_over_the_halves() -> None:
    columns = metadata(0)
    harm = harm_on(old_of_site_b(columns), 0)
    confirming = must(discover(columns, harm)).confirming
    for level in (-1, 0, 1):
        assert abs((harm[confirming] == level).sum() - (harm[~confirming] == level).sum()) <= 2


def test_another_seed_is_another_split() -> None:
    columns = metadata(0)
    harm = harm_on(old_of_site_b(columns), 0)
    a, b = (must(discover(columns, harm, seed=seed)).confirming for seed in (0, 1))
    assert 0.4 < (a == b).mean() < 0.6


# ----------------------------------------------------------------------------------------------- the test


@pytest.mark.parametrize(("harmed", "of"), [(0, 25), (1, 25), (2, 25), (5, 60), (14, 200)])
def test_the_p_value_is_fishers_for_right_and_wrong(harmed: int, of: int) -> None:
    harm, inside = np.zeros(1000), np.zeros(1000, bool)
    inside[:of], harm[:harmed], harm[500:530] = True, 1, 1
    table = [[harmed, of - harmed], [30, 1000 - of - 30]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert _confirm(harm, inside, np.random.default_rng(0)) == pytest.approx(expected, abs=0.02)


def test_the_p_value_is_that_of_shuffling_for_errors() -> None:
    rng = np.random.default_rng(0)
    harm, inside = rng.gamma(0.5, size=400), np.arange(400) < 50
    harm[:50] += 0.12

    def excess(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis=axis) - b.mean(axis=axis)

    halves = (harm[inside], harm[~inside])
    expected = stats.permutation_test(halves, excess, vectorized=True, alternative="greater", rng=rng).pvalue
    assert 0.01 < expected < 0.5
    assert _confirm(harm, inside, rng) == pytest.approx(expected, abs=0.03)


# ---------------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_searched_is_none() -> None:
    x = np.arange(1000)
    harm = np.float64(x > 700)
    assert discover({}, harm) is None
    assert discover({"x": x}, np.ones(1000)) is None
    assert discover({"x": np.zeros(1000), "y": np.full(1000, np.nan), "z": np.full(1000, "a")}, harm) is None
    assert discover({"x": x[::20]}, harm[::20]) is None
    assert discover({"x": x[:0]}, harm[:0]) is None


@pytest.mark.parametrize(
    ("columns", "harm", "options", "message"),
    [
        ({"a": np.zeros(9), "age": np.zeros(8)}, np.zeros(9), {}, r"column 'age' has shape \(8,\), but there are 9 ex"),
        ({"age": np.zeros((9, 2))}, np.zeros(9), {}, r"column 'age' has shape \(9, 2\)"),
        ({"day": np.zeros(9, "M8[D]")}, np.zeros(9), {}, r"column 'day' holds datetime64\[D\], expected numbers"),
        ({}, np.full(9, np.nan), {}, "harm must be one finite number an example"),
        ({}, np.zeros((9, 1)), {}, "harm must be one finite number an example"),
        ({}, np.zeros(9), {"depth": 0}, "depth and min_support of at least 1, but got 0 and 20"),
        ({}, np.zeros(9), {"min_support": 0}, "depth and min_support of at least 1, but got 3 and 0"),
        ({}, np.zeros(9), {"confidence": 95}, "confidence from 0.5 to 0.999, but got 95"),
    ],
)
def test_bad_input_is_one_line(columns, harm, options, message) -> None:
    with pytest.raises(SliceError, match=message) as caught:
        discover(columns, harm, **options)
    assert "\n" not in str(caught.value)

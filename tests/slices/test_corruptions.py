"""Corruptions: every one at every severity, on every size that makes sense; the same bits in any batch."""

from __future__ import annotations

import doctest
import importlib
import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tfprune.errors import SliceError
from tfprune.slices.corruptions import KINDS, NAMES, SEVERITIES, Scale, check, corrupt, kind_of, scale_of

PROPERTY = settings(max_examples=100, deadline=None)
IMAGES, TEXTS, TABLES = KINDS["image"], KINDS["text"], KINDS["table"]
WITHOUT_CHANCE = {"blur", "contrast", "brightness", "jpeg", "pixelation"}
SIZES = ((8, 8, 1), (8, 8, 3), (24, 32, 3), (33, 20, 1))
RANGES = {"unit": (0.0, 1.0), "bytes": (0.0, 255.0), "signed": (-1.0, 1.0), "normalized": (-2.1, 2.6)}


def pictures(n: int, shape: tuple[int, ...] = (32, 32, 3), low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Blobs of every size, the larger the stronger: like photographs, neither plain nor noise."""
    rng = np.random.default_rng(len(shape) + sum(shape))
    total = rng.normal(0, 0.05, (n, *shape))
    for width in 2.0 ** np.arange(-1, np.log2(min(shape[:2])) - 1):
        blobs = ndimage.gaussian_filter(rng.normal(size=total.shape), (0, width, width, 0))
        total += blobs / blobs.std() * np.sqrt(width)
    total = 0.5 + 0.2 * total / total.std()
    return (low + (high - low) * np.clip(total, 0, 1)).astype(np.float32)


def texts(n: int = 60, length: int = 80) -> np.ndarray:
    """Token ids of many lengths, an empty text and a full one among them."""
    rng = np.random.default_rng(1)
    tokens = np.linspace(0, length, n).astype(int)
    return np.where(np.arange(length) < tokens[:, None], rng.integers(1, 1000, (n, length)), 0)


def table(n: int = 200) -> np.ndarray:
    """Four columns of very different spread; the last is constant."""
    rng = np.random.default_rng(2)
    return (rng.normal(size=(n, 4)) * (1, 100, 0.01, 0) + (0, 50, 3, 7)).astype(np.float32)


CLEAN = {"image": pictures(24), "text": texts(), "table": table()}


def clean(name: str) -> np.ndarray:
    return next(CLEAN[kind] for kind, names in KINDS.items() if name in names)


def corrupted(x: np.ndarray, name: str, severity: int = 3, seed: int = 0, scale: Scale | None = None) -> np.ndarray:
    kind = kind_of(x.shape[1:], x.dtype)
    return corrupt(
        x, name, severity, ordinals=np.arange(len(x)), scale=scale_of(x, kind) if scale is None else scale, seed=seed
    )


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """Of texts the share of places that changed, else the mean absolute difference over the columns' spread."""
    if x.dtype.kind == "i":
        return float((x != y).mean())
    spread = x.std(axis=0) if x.ndim == 2 else np.float32(1)
    return float((np.abs(x - y) / np.where(spread > 0, spread, 1)).mean())


# ------------------------------------------------------------------------- every corruption x every severity


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_shape_type_and_input_and_changes_something(name: str, severity: int) -> None:
    x = clean(name)
    before = x.copy()
    y = corrupted(x, name, severity)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert np.isfinite(y).all()
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)
    assert distance(x, y) > 0.003


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_any_batching_gives_the_same_bits(name: str, severity: int) -> None:
    x = clean(name)[:23]
    scale = scale_of(clean(name), kind_of(x.shape[1:], x.dtype))
    ordinals = np.arange(len(x)) * 7 + 3
    whole = corrupt(x, name, severity, ordinals=ordinals, scale=scale, seed=5)
    for size in (1, 2, 7):
        parts = [
            corrupt(x[at : at + size], name, severity, ordinals=ordinals[at : at + size], scale=scale, seed=5)
            for at in range(0, len(x), size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(0).permutation(len(x))
    shuffled = corrupt(x[order], name, severity, ordinals=ordinals[order], scale=scale, seed=5)
    np.testing.assert_array_equal(shuffled, whole[order])


@pytest.mark.parametrize("shape", [(8, 8, 1), (33, 20, 3), (57, 64, 3)])
@pytest.mark.parametrize("name", IMAGES)
def test_one_image_alone_is_as_in_the_batch_however_it_lies_in_memory(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(5, shape, 0, 255)
    scale = Scale(0.0, 255.0)
    whole = corrupted(x, name, 4, scale=scale)
    np.testing.assert_array_equal(corrupted(np.asfortranarray(x), name, 4, scale=scale), whole)
    for at in range(len(x)):
        alone = corrupt(x[at : at + 1], name, 4, ordinals=np.array([at]), scale=scale)
        np.testing.assert_array_equal(alone[0], whole[at])


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    x = clean(name)
    np.testing.assert_array_equal(corrupted(x, name, seed=3), corrupted(x, name, seed=3))
    other = distance(corrupted(x, name, seed=3), corrupted(x, name, seed=4))
    assert (other == 0) == (name in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT_CHANCE))
def test_the_ordinal_decides(name: str) -> None:
    x = np.repeat(clean(name)[-2:-1], 30, axis=0)
    scale = scale_of(clean(name), kind_of(x.shape[1:], x.dtype))
    alike = corrupt(x, name, 3, ordinals=np.full(30, 9), scale=scale)
    assert (alike == alike[0]).all()
    assert not (corrupted(x, name, scale=scale) == corrupted(x, name, scale=scale)[0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_severer_is_farther(name: str) -> None:
    x = clean(name)
    far = [distance(x, corrupted(x, name, severity)) for severity in SEVERITIES]
    # After the first token that leaves every place changes, so dropping more changes few places more.
    step = 1.01 if name == "token_drop" else 1.03
    assert all(less * step < more for less, more in itertools.pairwise(far)), far


@pytest.mark.parametrize("shape", [*SIZES, (224, 224, 3)], ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_severer_is_farther_on_images_of_any_size(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(3 if shape[0] > 100 else 40, shape)
    far = [distance(x, corrupted(x, name, severity)) for severity in SEVERITIES]
    assert far[0] > 0.001
    assert all(less * 1.03 < more for less, more in itertools.pairwise(far)), far


@pytest.mark.parametrize("span", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("name", IMAGES)
def test_images_stay_in_their_range_and_the_range_does_not_matter(name: str, span: tuple[float, float]) -> None:
    low, high = span
    unit = pictures(12, (16, 16, 3))
    x = (low + unit * (high - low)).astype(np.float32)
    scale = Scale(low, high)
    for severity in (1, 5):
        y = corrupted(x, name, severity, scale=scale)
        assert y.min() >= np.float32(low) and y.max() <= np.float32(high)
        expected = low + corrupted(unit, name, severity, scale=Scale()) * (high - low)
        # A value that rounds to another byte moves a whole block of JPEG by a step.
        typical = np.quantile(np.abs(y - expected), 0.95 if name == "jpeg" else 1.0)
        assert typical <= 1e-5 * (high - low)


@pytest.mark.parametrize("name", IMAGES)
def test_images_beyond_the_range_count_as_its_ends(name: str) -> None:
    x = 2 * pictures(6, (16, 16, 3)) - 0.5
    expected = corrupted(np.clip(x, 0, 1), name, scale=Scale())
    np.testing.assert_array_equal(corrupted(x, name, scale=Scale()), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1])
def test_batches_of_none_and_of_one(name: str, n: int) -> None:
    x = clean(name)[-1:][:n]
    y = corrupt(x, name, 5, ordinals=np.arange(n), scale=scale_of(clean(name), kind_of(x.shape[1:], x.dtype)))
    assert y.shape == x.shape and y.dtype == x.dtype and y is not x


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 2, 1), (3, 3, 3)])
@pytest.mark.parametrize("name", IMAGES)
def test_the_smallest_images_pass(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((3, *shape), np.float32)
    for severity in SEVERITIES:
        y = corrupted(x, name, severity, scale=Scale())
        assert y.shape == x.shape and np.isfinite(y).all() and y.min() >= 0 and y.max() <= 1


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_come_back_as_they_came(name: str, dtype: type) -> None:
    x = pictures(3).astype(dtype)
    assert corrupted(x, name).dtype == dtype


@pytest.mark.parametrize("name", sorted(set(IMAGES) - {"jpeg"}))
def test_images_of_other_channels(name: str) -> None:
    x = pictures(8, (16, 16, 5))
    assert distance(x, corrupted(x, name)) > 0.003


# ------------------------------------------------------------------------------------- what each one means


def test_noise_has_the_said_spread_and_grows_in_one_direction() -> None:
    x = np.full((50, 16, 16, 3), 0.5, np.float32)
    mild, more = (corrupted(x, "noise", severity, scale=Scale()) - x for severity in (1, 2))
    assert abs(mild.std() - 0.04) < 0.001 and abs(mild.mean()) < 0.001
    np.testing.assert_allclose(more, 2 * mild, atol=1e-5)


def test_contrast_keeps_the_mean_colour() -> None:
    x = pictures(6)
    y = corrupted(x, "contrast", 5)
    np.testing.assert_allclose(y.mean(axis=(1, 2)), x.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 2)), 0.15 * x.std(axis=(1, 2)), rtol=1e-3)


def test_blur_keeps_a_plain_image_and_shrinks_steps() -> None:
    plain = np.full((2, 8, 8, 1), 0.25, np.float32)
    np.testing.assert_allclose(corrupted(plain, "blur", 5, scale=Scale()), plain, atol=1e-6)
    x = pictures(6)
    assert np.abs(np.diff(corrupted(x, "blur", 5), axis=1)).mean() < 0.5 * np.abs(np.diff(x, axis=1)).mean()


def test_fog_is_brighter_and_thicker_in_places() -> None:
    black = np.zeros((6, 32, 32, 3), np.float32)
    y = corrupted(black, "fog", 5, scale=Scale())
    assert y.mean() > 0.4
    assert (y.std(axis=(1, 2)) > 0.02).all()
    assert (y[..., :1] == y).all(), "fog has no colour"


@pytest.mark.parametrize("shape", [(8, 8, 3), (24, 32, 1)])
def test_pixelation_leaves_fewer_colours(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((1, *shape), np.float32)
    colours = [len(np.unique(corrupted(x, "pixelation", s, scale=Scale())[0, ..., 0])) for s in SEVERITIES]
    assert all(more > fewer for more, fewer in itertools.pairwise([shape[0] * shape[1], *colours]))
    np.testing.assert_allclose(corrupted(x, "pixelation", 2, scale=Scale()).mean(), x.mean(), atol=0.05)


def test_occlusion_hides_one_square_that_grows_around_itself() -> None:
    x = np.random.default_rng(0).random((20, 32, 24, 3), np.float32)
    hidden = np.stack([(corrupted(x, "occlusion", s, scale=Scale()) != x).all(axis=-1) for s in SEVERITIES])
    for severity, share in enumerate((0.25, 0.375, 0.475, 0.6, 0.7)):
        side = round(share * 24)
        assert (hidden[severity].sum(axis=(1, 2)) == side * side).all()
        assert (hidden[severity].any(axis=1).sum(axis=1) == side).all()
    assert (hidden[:-1] <= hidden[1:]).all()
    assert len(np.unique(hidden[0].reshape(20, -1), axis=0)) > 10, "not always in the same place"


def test_occlusion_may_hide_every_place() -> None:
    x = np.random.default_rng(0).random((300, 6, 6, 1), np.float32)
    assert (corrupted(x, "occlusion", 1, scale=Scale()) != x).any(axis=0).all()


def test_rotation_goes_both_ways_and_turns_an_edge_by_the_said_angle() -> None:
    x = np.zeros((30, 65, 65, 1), np.float32)
    x[:, :32] = 1.0
    x[:, 32] = 0.5  # the edge runs through the centre
    y = corrupted(x, "rotation", 5, scale=Scale())
    # Heights of the edge at columns 22 and 42, around the centre and away from the border.
    slope = (y[:, :, 42].sum(axis=(1, 2)) - y[:, :, 22].sum(axis=(1, 2))) / 20
    np.testing.assert_allclose(np.abs(slope), np.tan(np.radians(30)), atol=0.05)
    assert {-1, 1} == set(np.sign(slope))


def test_jpeg_of_few_colours_is_close_and_of_many_is_not() -> None:
    plain = np.full((2, 16, 16, 3), 0.5, np.float32)
    np.testing.assert_allclose(corrupted(plain, "jpeg", 5, scale=Scale()), plain, atol=0.05)
    x = pictures(4)
    assert distance(x, corrupted(x, "jpeg", 1)) < 0.1


def test_feature_noise_follows_each_columns_spread() -> None:
    x = table(4000)
    change = corrupted(x, "feature_noise", 5) - x
    np.testing.assert_allclose(change.std(axis=0), x.std(axis=0), rtol=0.06)
    assert (change[:, 3] == 0).all(), "a constant column stays"


def test_missing_is_the_columns_mean_in_the_said_share() -> None:
    x = table(4000)
    y, mean = corrupted(x, "missing", 5), np.float32(scale_of(x, "table").mean)
    lost = (y != x)[:, :3]
    assert (y[:, :3][lost] == np.broadcast_to(mean[:3], lost.shape)[lost]).all()
    np.testing.assert_allclose(lost.mean(axis=0), 0.5, atol=0.04)
    mild = (corrupted(x, "missing", 1) != x)[:, :3]
    assert (mild <= lost).all(), "what a mild corruption loses, a severe one loses too"


def test_corruptions_of_one_seed_do_not_share_their_chances() -> None:
    x = np.tile(np.arange(1, 101), (50, 1))
    dropped = np.array(
        [np.isin(row, kept, invert=True) for row, kept in zip(x, corrupted(x, "token_drop"), strict=True)]
    )
    swapped = corrupted(x, "token_swap") != x
    assert abs(np.corrcoef(dropped.ravel(), swapped.ravel())[0, 1]) < 0.1


# --------------------------------------------------------------------------------------------------- texts

SENTENCES = hnp.arrays(np.int64, (6, 12), elements=st.integers(1, 5))
LENGTHS = hnp.arrays(np.int64, 6, elements=st.integers(0, 12))


def padded(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.where(np.arange(tokens.shape[1]) < lengths[:, None], tokens, 0)


def is_subsequence(short: list[int], long: list[int]) -> bool:
    rest = iter(long)
    return all(token in rest for token in short)


@PROPERTY
@given(tokens=SENTENCES, lengths=LENGTHS, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**40))
def test_padding_stays_at_the_end_and_empty_texts_stay_empty(tokens, lengths, severity, seed) -> None:
    x = padded(tokens, lengths)
    for name in TEXTS:
        y = corrupted(x, name, severity, seed)
        kept = (y != 0).sum(axis=1)
        np.testing.assert_array_equal(y != 0, np.arange(12) < kept[:, None])
        assert ((kept == 0) == (lengths == 0)).all(), "a text keeps at least one token"
        assert (kept <= lengths).all()


@PROPERTY
@given(tokens=SENTENCES, lengths=LENGTHS, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**40))
def test_token_drop_keeps_the_order_of_the_rest(tokens, lengths, severity, seed) -> None:
    x = padded(tokens, lengths)
    for before, after in zip(x.tolist(), corrupted(x, "token_drop", severity, seed).tolist(), strict=True):
        assert is_subsequence([token for token in after if token], before)


@PROPERTY
@given(tokens=SENTENCES, lengths=LENGTHS, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**40))
def test_token_swap_keeps_the_tokens_and_moves_none_far(tokens, lengths, severity, seed) -> None:
    x = padded(tokens, lengths)
    np.testing.assert_array_equal(np.sort(corrupted(x, "token_swap", severity, seed), axis=1), np.sort(x, axis=1))
    places = padded(np.tile(np.arange(1, 13), (6, 1)), lengths)
    moved = corrupted(places, "token_swap", severity, seed) - places
    assert np.abs(moved).max() <= 1


@PROPERTY
@given(tokens=SENTENCES, lengths=LENGTHS, severity=st.sampled_from(SEVERITIES), more=st.integers(1, 9))
def test_longer_padding_changes_nothing(tokens, lengths, severity, more) -> None:
    x = padded(tokens, lengths)
    for name in TEXTS:
        wide = corrupted(np.pad(x, ((0, 0), (0, more))), name, severity)
        np.testing.assert_array_equal(wide[:, :12], corrupted(x, name, severity))
        assert not wide[:, 12:].any()


def test_tokens_leave_and_swap_in_the_said_share() -> None:
    x = np.tile(np.arange(1, 401), (50, 1))
    for severity, share in zip(SEVERITIES, (0.05, 0.1, 0.2, 0.3, 0.45), strict=True):
        assert abs((corrupted(x, "token_drop", severity) == 0).mean() - share) < 0.02
    for severity, share in zip(SEVERITIES, (0.1, 0.2, 0.35, 0.5, 0.75), strict=True):
        assert abs((corrupted(x, "token_swap", severity) != x).mean() - share) < 0.03


def test_every_two_neighbours_may_swap() -> None:
    x = np.tile(np.arange(1, 8), (200, 1))
    assert set(np.unique((corrupted(x, "token_swap", 5) - x)[:, 1:-1])) == {-1, 0, 1}
    pairs = np.tile(np.array([4, 9, 0, 0]), (200, 1))
    share = (corrupted(pairs, "token_swap", 5) != pairs).any(axis=1).mean()
    assert 0.65 < share < 0.85, "two tokens are one pair, wherever pairs begin"


def test_padding_at_the_start_stays_there() -> None:
    x = np.tile(np.array([0, 0, 0, 5, 6, 7, 8]), (100, 1))
    y = corrupted(x, "token_swap", 5)
    assert not y[:, :3].any() and (np.sort(y[:, 3:], axis=1) == [5, 6, 7, 8]).all() and (y != x).any()
    pairs = np.tile(np.array([0, 4, 9]), (100, 1))
    assert (corrupted(pairs, "token_swap", 5) == [0, 9, 4]).all(axis=1).any(), "two tokens are a pair there, too"
    y = corrupted(x, "token_drop", 5)
    assert not y[:, :3].any() and y[:, 3].all() and (y[:, 6] == 0).any()


# --------------------------------------------------------------------------------------------------- scale


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.9], (0, 1)),
        ([0, 0], (0, 1)),
        ([0, 1.0000001], (0, 1)),
        ([0, 255], (0, 255)),
        ([3, 170], (0, 255)),
        ([0, 16], (0, 16)),
        ([-1, 1], (-1, 1)),
        ([-0.4, 0.2], (-1, 1)),
        ([-2, 2.5], (-2, 2.5)),
        ([0, 65535], (0, 65535)),
    ],
)
def test_range_of_images(values: list[float], expected: tuple[float, float]) -> None:
    scale = scale_of(np.array(values, np.float32).reshape(1, 2, 1, 1), "image")
    assert (scale.low, scale.high) == expected


def test_spread_of_a_table_leaves_out_what_is_missing() -> None:
    scale = scale_of(np.array([[1, np.nan, np.nan], [3, 4, np.inf]], np.float32), "table")
    assert scale == Scale(mean=(2.0, 4.0, 0.0), std=(1.0, 0.0, 0.0))


def test_a_text_has_no_scale() -> None:
    assert scale_of(np.zeros((0, 4), np.int64), "text") == Scale()


@pytest.mark.parametrize(
    ("sample", "kind", "words"),
    [
        (np.zeros((0, 4, 4, 1)), "image", "at least one"),
        (np.zeros((0, 4)), "table", "at least one"),
        (np.full((1, 2, 2, 1), np.nan), "image", "NaN"),
        (np.full((1, 2, 2, 1), -7.0), "image", "from -7 to -7 are no range"),
    ],
)
def test_samples_that_tell_nothing(sample: np.ndarray, kind: str, words: str) -> None:
    assert words in message(scale_of, sample, kind)


# ----------------------------------------------------------------------------------------------- bad input


def message(function, *args, **kwargs) -> str:
    with pytest.raises(SliceError) as error:
        function(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_kinds_of_data() -> None:
    assert kind_of((None, None, 3), np.float32) == "image"
    assert kind_of((12,), np.int32) == "text"
    assert kind_of((12,), np.float64) == "table"


@pytest.mark.parametrize("example", [((), "float32"), ((4, 4), "float32"), ((8, 8, 3), "uint8"), ((3,), "str")])
def test_other_data_is_of_no_kind(example: tuple) -> None:
    text = message(kind_of, *example)
    assert str(example[0]) in text and "leave the corruptions out" in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_of_other_data_is_refused(name: str, kind: str) -> None:
    if name in KINDS[kind]:
        check(name, kind)
        return
    text = message(check, name, kind)
    meant = next(each for each, names in KINDS.items() if name in names)
    assert repr(name) in text and f"for {meant} data" in text and f"not for {kind} data" in text
    assert all(fitting in text for fitting in KINDS[kind])
    with pytest.raises(SliceError, match=f"not for {kind} data"):
        corrupted(CLEAN[kind], name)


def test_unknown_names_are_told_the_nearest() -> None:
    text = message(check, "blurr", "image")
    assert "'blurr' is not known" in text and "did you mean 'blur'?" in text and "pixelation" in text
    assert "did you mean 'image'?" in message(check, "blur", "images")


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3", None])
def test_severities_are_one_to_five(severity: object) -> None:
    assert f"severity {severity!r}" in message(corrupted, CLEAN["image"], "blur", severity)


def test_arguments_that_do_not_fit() -> None:
    x, rows = CLEAN["image"], CLEAN["table"]
    assert "seed -1" in message(corrupted, x, "noise", seed=-1)
    few = message(corrupt, x, "noise", 1, ordinals=np.arange(3), scale=Scale())
    assert "ordinals of shape (3,) for 24 examples" in few
    assert "knows 0 columns and the table has 4" in message(corrupted, rows, "missing", scale=Scale())
    assert "1 or 3 channels, not of 2" in message(corrupted, pictures(2, (8, 8, 2)), "jpeg")


# ---------------------------------------------------------------------------------------------- the package


def test_tensorflow_is_not_loaded() -> None:
    code = "import sys, tfprune.slices.corruptions; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("module", ["apply", "kinds", "scale"])
def test_examples_of_the_public_functions_run(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"tfprune.slices.corruptions.{module}"))
    assert outcome.attempted > 0 and outcome.failed == 0


@pytest.mark.parametrize("name", IMAGES)
def test_a_thousand_images_take_no_minute(name: str) -> None:
    x = np.tile(pictures(10), (100, 1, 1, 1))
    start = time.perf_counter()
    corrupted(x, name)
    assert time.perf_counter() - start < 20  # takes 0.03 to 0.3 s; twenty is for a machine with much else to do

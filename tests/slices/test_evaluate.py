"""Accuracy, margin and loss against scikit-learn and numpy, in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError, SliceError
from tfprune.slices.answers import Answers, answer
from tfprune.slices.define import Slice
from tfprune.slices.evaluate import as_batches
from tfprune.slices.score import score

layers = keras.layers
DRAW = np.random.default_rng(5)
LOGITS = DRAW.normal(scale=2, size=(53, 4)).astype("float32")
LABELS = DRAW.integers(0, 4, 53)


def identity(width: int = 4) -> keras.Model:
    """Answers what it is asked: inputs are logits or probabilities."""
    return keras.Sequential([layers.Activation("linear", input_shape=(width,))])


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits.astype(np.float64))
    return odds / odds.sum(axis=1, keepdims=True)


IDENTITY = identity()
ODDS = softmax(LOGITS)


def margins(odds: np.ndarray, labels: np.ndarray) -> list[float]:
    return [row[label] - max(np.delete(row, label)) for row, label in zip(odds, labels, strict=True)]


@pytest.mark.parametrize("x", [LOGITS, ODDS.astype("float32")], ids=["logits", "probabilities"])
@pytest.mark.parametrize("batch_size", [1, 10, 53, 64])
def test_answers_match_the_references_whatever_the_batches(x: np.ndarray, batch_size: int) -> None:
    answers = answer(IDENTITY, as_batches((x, LABELS), batch_size))
    assert answers.labels.tolist() == LABELS.tolist()
    assert answers.score.tolist() == (LOGITS.argmax(axis=1) == LABELS).tolist()
    np.testing.assert_allclose(answers.margin, margins(ODDS, LABELS), atol=1e-5)
    np.testing.assert_allclose(answers.loss.mean(), log_loss(LABELS, ODDS, labels=range(4)), rtol=1e-5)


def test_logits_that_look_like_probabilities_in_one_batch_are_logits() -> None:
    logits = np.array([[3.0, -2.0, 0.5], [0.2, 0.7, 0.1]], "float32")  # the second row sums to one by chance
    labels = np.array([0, 1])
    whole, singly = (answer(identity(3), as_batches((logits, labels), size)) for size in (2, 1))
    np.testing.assert_allclose(singly.margin, margins(softmax(logits), labels), atol=1e-6)
    assert np.array_equal(whole.margin, singly.margin) and np.array_equal(whole.loss, singly.loss)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    batch_size=st.integers(1, 16),
    probabilities=st.booleans(),
)
def test_evaluation_matches_scikit_learn(seed: int, size: int, batch_size: int, probabilities: bool) -> None:
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=3, size=(size, 4)).astype("float32")
    labels = draw.integers(0, 4, size)
    labels[0] = 0  # a class there is for sure
    odds = softmax(logits)
    data = as_batches((odds.astype("float32") if probabilities else logits, labels), batch_size)
    evaluation = tfprune.evaluate(IDENTITY, data, slices=[{"rarest": 1.0}, {"hardest": 1.0}])
    assert evaluation.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(axis=1)))
    assert evaluation.loss == pytest.approx(log_loss(labels, np.clip(odds, 1e-7, 1), labels=range(4)), rel=1e-4)
    assert evaluation.support == size and evaluation.drop is None
    for each in evaluation.slices:  # the slice of everything is the whole
        assert (each.support, each.accuracy, each.drop) == (size, evaluation.accuracy, None)


@pytest.mark.parametrize("slices", [[], ["classes"], ["classes", {"rarest": 0.5}, {"hardest": 0.1}, {"hardest": 0.4}]])
def test_one_pass_whatever_the_number_of_slices(slices: list) -> None:
    read: list[int] = []

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, 53, 10):
            read.append(start)
            yield LOGITS[start : start + 10], LABELS[start : start + 10]

    signature = (tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    evaluation = tfprune.evaluate(IDENTITY, data, slices=slices)
    assert read == [0, 10, 20, 30, 40, 50]
    assert evaluation.support == 53


def test_slices_are_scored_each_by_its_members() -> None:
    evaluation = tfprune.evaluate(IDENTITY, (LOGITS, LABELS), slices=["classes", {"hardest": 0.2}])
    right = LOGITS.argmax(axis=1) == LABELS
    for index in range(4):
        each = evaluation.slice(f"class_{index}")
        assert (each.support, each.accuracy) == ((index == LABELS).sum(), right[index == LABELS].mean())
    hardest = np.argsort(margins(ODDS, LABELS), kind="stable")[: round(0.2 * 53)]
    assert evaluation.slice("hardest").support == 11
    assert evaluation.slice("hardest").accuracy == right[hardest].mean()


def reversing() -> keras.Model:
    """Prefers what the identity likes least."""
    return keras.Sequential([layers.Rescaling(-1.0, input_shape=(4,))])


REVERSING = reversing()


def test_a_drop_is_positive_where_the_model_got_worse() -> None:
    good = (LOGITS, LOGITS.argmax(axis=1))
    worse = tfprune.evaluate(reversing(), good, slices=["classes", {"hardest": 0.5}], baseline=IDENTITY)
    better = tfprune.evaluate(IDENTITY, good, slices=["classes", {"hardest": 0.5}], baseline=reversing())
    assert (worse.accuracy, worse.drop) == (0.0, 1.0)
    assert (better.accuracy, better.drop) == (1.0, -1.0)
    assert {each.drop for each in worse.slices} == {1.0}
    assert {each.drop for each in better.slices} == {-1.0}
    same = tfprune.evaluate(IDENTITY, good, baseline=IDENTITY)
    assert same.drop == 0.0


def test_hard_is_what_is_hard_for_the_baseline() -> None:
    labels = LOGITS.argmax(axis=1)
    evaluation = tfprune.evaluate(reversing(), (LOGITS, labels), slices=[{"hardest": 0.2}], baseline=IDENTITY)
    by_hand = Slice("hardest", np.zeros(53, bool))
    by_hand.members[np.argsort(margins(ODDS, labels), kind="stable")[:11]] = True
    reference, answers = (answer(each, as_batches((LOGITS, labels))) for each in (IDENTITY, reversing()))
    assert evaluation == score({"": answers}, [by_hand], {"": reference}, min_support=20)


def test_score_weighs_every_example_alike() -> None:
    labels, blank = np.zeros(3, np.int64), np.zeros(3, np.float32)
    loss = np.array([1.0, 2.0, 6.0], np.float32)

    def answered(right: list[int]) -> Answers:
        answers = np.array(right, np.float32)
        return Answers(labels, 1 - answers.astype(int), answers, blank, loss, blank, blank, "multiclass")

    before, after = answered([1, 1, 1]), answered([1, 0, 0])
    evaluation = score({"": after}, [Slice("last", np.array([False, True, True]))], {"": before})
    assert (evaluation.accuracy, evaluation.loss, evaluation.support) == (1 / 3, 3.0, 3)
    assert evaluation.drop == pytest.approx(2 / 3)
    assert (evaluation.slice("last").accuracy, evaluation.slice("last").drop) == (0.0, 1.0)


# ---------------------------------------------------------------------------------------------- what always holds

PARTS = [
    "classes",
    {"where": lambda x: True, "name": "everything"},
    {"column": "site"},
    {"column": "age", "quantiles": 3},
    {"hardest": 0.3},
    {"none_of": [{"hardest": 0.3}]},
    {"none_of": [{"column": "site", "equals": "b"}]},
]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(12, 60), batch_size=st.integers(1, 70))
def test_slices_add_up(seed: int, size: int, batch_size: int) -> None:
    draw = np.random.default_rng(seed)
    x, labels = draw.normal(size=(size, 4)).astype("float32"), draw.integers(0, 4, size)
    labels[:4] = range(4)
    metadata = {"site": np.array(["a", "b"])[np.arange(size) % 2], "age": np.arange(size) * 1.0}
    known = {"slices": PARTS, "metadata": metadata, "baseline": REVERSING}
    found = tfprune.evaluate(IDENTITY, as_batches((x, labels), batch_size), **known)
    right, before = x.argmax(axis=1) == labels, x.argmin(axis=1) == labels
    assert found.drop == pytest.approx(before.mean() - right.mean())
    everything = found.slice("everything")
    for field in dataclasses.fields(everything):
        if field.name not in ("name", "p_adjusted"):
            assert getattr(everything, field.name) == getattr(found.whole, field.name)
    partitions = [["class_0", "class_1", "class_2", "class_3"], ["site_a", "site_b"], ["age_q1", "age_q2", "age_q3"]]
    for names in [*partitions, ["hardest", "not_hardest"], ["site_b", "not_site_b"]]:
        parts = [found.slice(name) for name in names]
        assert sum(each.support for each in parts) == size
        assert sum(each.lost or 0 for each in parts) == (before & ~right).sum() == found.whole.lost
        assert sum(each.gained or 0 for each in parts) == (right & ~before).sum() == found.whole.gained
        assert sum(each.accuracy * each.support for each in parts) == pytest.approx(right.sum())
        assert sum((each.churn or 0) * each.support for each in parts) == size
    for each in found.slices:
        assert each.lost is not None and each.gained is not None and each.interval is not None
        assert each.drop == pytest.approx((each.lost - each.gained) / each.support)
        assert each.interval[0] - 1e-9 <= each.accuracy <= each.interval[1] + 1e-9
        if each.support >= found.min_support:
            assert each.p_adjusted is not None and each.p_value is not None and each.p_adjusted >= each.p_value


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_neither_batches_nor_the_order_of_examples_matter(seed: int, sizes: tuple[int, int]) -> None:
    order = np.random.default_rng(seed).permutation(53)
    site, age = np.arange(53) % 3, np.arange(53) * 0.5
    specs = ["classes", {"column": "site"}, {"column": "age", "range": [5, None]}, {"hardest": 0.3}, "pie"]
    one, other = (
        tfprune.evaluate(
            IDENTITY,
            as_batches((LOGITS[rows], LABELS[rows]), size),
            slices=specs,
            metadata={"site": site[rows], "age": age[rows]},
            baseline=REVERSING,
        )
        for rows, size in ((np.arange(53), sizes[0]), (order, sizes[1]))
    )
    for each, same in zip((one.whole, *one.slices), (other.whole, *other.slices), strict=True):
        assert (each.name, each.support, each.lost, each.gained) == (same.name, same.support, same.lost, same.gained)
        assert (each.accuracy, each.drop, each.churn) == pytest.approx((same.accuracy, same.drop, same.churn))
        assert each.calibration_error == pytest.approx(same.calibration_error, abs=1e-6)


# -------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(bad: float) -> None:
    x = LOGITS.copy()
    x[52, 1] = bad  # in the last, ragged batch
    with pytest.raises(DataError, match="the model answers NaN or infinity"):
        tfprune.evaluate(IDENTITY, as_batches((x, LABELS), 10))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((LOGITS[:0], LABELS[:0]), "no example to evaluate on"),
        ((LOGITS, LABELS[:9]), "x and y must be of one length, but got 53 and 9"),
        ([LOGITS, LABELS], r"expected arrays \(x, y\) or a batched tf\.data\.Dataset, but got list"),
        (LOGITS, "but got ndarray"),
        ((LOGITS, 3), r"expected arrays of one entry an example, but got int"),
        ((LOGITS, LABELS + 1), "class indices from 0 to 3, or one-hot rows, but got 1 to 4"),
        ((LOGITS, LABELS - 1), "class indices from 0 to 3, or one-hot rows, but got -1 to 2"),
        (tf.data.Dataset.from_tensor_slices(LOGITS).batch(9), "the data has no labels"),
        (tf.data.Dataset.from_tensor_slices((LOGITS,)).batch(9), "the data has no labels"),
        (tf.data.Dataset.from_tensor_slices((LOGITS, LABELS)), "the data comes example by example; give batches"),
        (
            (LOGITS, LABELS, {"age": LABELS}),
            "got values named age, expected one an example; metadata goes into metadata=",
        ),
    ],
)
def test_data_that_does_not_fit_gives_one_line(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        tfprune.evaluate(IDENTITY, data)
    assert "\n" not in str(error.value)


def test_inputs_that_the_model_does_not_take_give_one_line() -> None:
    model = keras.Sequential([layers.Dense(4, input_shape=(4,))])
    for x, shape in ((LOGITS[:, :3], r"\(53, 3\)"), (np.array(["a"] * 53), r"\(53,\)")):
        with pytest.raises(
            DataError, match=rf"^the model does not take inputs of shape {shape}: ValueError: "
        ) as error:
            tfprune.evaluate(model, (x, LABELS))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "more", [{}, {"metrics": True}, {"slices": [{"corrupted": "missing"}]}, {"slices": ["discover"]}]
)
def test_no_example_is_an_error_whatever_is_asked(more: dict) -> None:
    model = identity()
    model.compile(loss="mse", metrics=["mae"])
    with pytest.raises(DataError, match="there is no example to evaluate on"):
        tfprune.evaluate(model, (LOGITS[:0], LABELS[:0]), **more)
    with pytest.raises(DataError, match="the data has no labels"):
        tfprune.evaluate(model, tf.data.Dataset.from_tensor_slices(LOGITS).batch(9), **more)


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"age": np.arange(9)}, "metadata column 'age' has 9 values, but there are 53 examples in the given split"),
        ({"age": 9}, r"metadata column 'age' of the given part has shape \(\); expected one value an example"),
        ({"age": np.zeros((53, 2))}, r"has shape \(53, 2\); expected one value an example"),
        ([1, 2], "metadata: got list, expected columns by name, or a DataFrame"),
    ],
)
def test_metadata_that_does_not_line_up_gives_one_line(metadata: object, line: str) -> None:
    with pytest.raises((DataError, SliceError), match=line) as error:
        tfprune.evaluate(IDENTITY, (LOGITS, LABELS), slices=[{"column": "age", "quantiles": 2}], metadata=metadata)
    assert "\n" not in str(error.value)


def test_metadata_may_be_a_frame_and_data_lists() -> None:
    frame = pd.DataFrame({"age": np.arange(53), "site": ["a", "b", None] * 17 + ["a", "b"]})
    specs = [{"column": "age", "range": [None, 10]}, {"column": "site"}]
    found = tfprune.evaluate(IDENTITY, (LOGITS.tolist(), LABELS.tolist()), slices=specs, metadata=frame)
    assert [(each.name, each.support) for each in found.slices] == [
        ("age_under_10", 10),
        ("site_a", 18),
        ("site_b", 18),
    ]
    assert found == tfprune.evaluate(IDENTITY, (LOGITS, LABELS), slices=specs, metadata=dict(frame.items()))


def test_labels_may_be_a_column_and_of_any_number_type() -> None:
    expected = tfprune.evaluate(IDENTITY, (LOGITS, LABELS))
    for labels in (LABELS.reshape(-1, 1), LABELS.astype("float32"), LABELS.astype("uint8")):
        assert tfprune.evaluate(IDENTITY, (LOGITS, labels)) == expected


def test_models_of_another_shape_are_refused() -> None:
    inputs = layers.Input((4,))
    two = keras.Model(inputs, [layers.Dense(4, name="a")(inputs), layers.Dense(4, name="b")(inputs)])
    single = keras.Sequential([layers.Dense(1, "sigmoid", input_shape=(4,))])
    sequence = keras.Sequential([layers.Reshape((2, 2), input_shape=(4,))])
    for model, got in [
        (two, "the model has the outputs a, b, and none is named; name one: output='a'"),
        (single, r"one output of shape \(batch, classes\), but got \(53, 1\)"),
        (sequence, r"one output of shape \(batch, classes\), but got \(53, 2, 2\)"),
    ]:
        with pytest.raises(ModelError, match=got):
            tfprune.evaluate(model, (LOGITS, LABELS), task="multiclass")


def test_an_empty_slice_is_an_error_of_its_own() -> None:
    rows = LABELS != 2
    with pytest.raises(SliceError, match="slice 'class_2' has no example in the given split"):
        tfprune.evaluate(IDENTITY, (LOGITS[rows], LABELS[rows]), slices=["classes"])

"""Accuracy, margin and loss against scikit-learn and numpy, in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError, SliceError
from tfprune.slices.define import Slice
from tfprune.slices.evaluate import Answers, answer, as_batches, looks_like_probabilities, score

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
    assert answers.correct.tolist() == (LOGITS.argmax(axis=1) == LABELS).tolist()
    np.testing.assert_allclose(answers.margin, margins(ODDS, LABELS), atol=1e-5)
    np.testing.assert_allclose(answers.loss.mean(), log_loss(LABELS, ODDS, labels=range(4)), rtol=1e-5)
    assert [column.dtype for column in (answers.labels, answers.correct, answers.margin, answers.loss)] == [
        np.int64,
        np.bool_,
        np.float32,
        np.float32,
    ]


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


def test_sixteen_bit_probabilities_are_probabilities() -> None:
    rounded = tf.cast(ODDS, tf.bfloat16).numpy().astype(np.float64)
    assert looks_like_probabilities(rounded)
    assert not looks_like_probabilities(LOGITS)
    assert not looks_like_probabilities(np.array([[0.9, 0.2]]))
    assert not looks_like_probabilities(np.array([[1.5, -0.5]]))


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
    assert evaluation == score(answers, [by_hand], reference)


def test_score_weighs_every_example_alike() -> None:
    labels = np.zeros(3, np.int64)
    loss = np.array([1.0, 2.0, 6.0], np.float32)
    before = Answers(labels, np.array([True, True, True]), loss, loss)
    after = Answers(labels, np.array([True, False, False]), loss, loss)
    evaluation = score(after, [Slice("last", np.array([False, True, True]))], before)
    assert (evaluation.accuracy, evaluation.loss, evaluation.support) == (1 / 3, 3.0, 3)
    assert evaluation.drop == pytest.approx(2 / 3)
    assert (evaluation.slice("last").accuracy, evaluation.slice("last").drop) == (0.0, 1.0)


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
        ((LOGITS, LABELS + 1), "class indices from 0 to 3, but got 1 to 4"),
        ((LOGITS, LABELS - 1), "class indices from 0 to 3, but got -1 to 2"),
        ((LOGITS, np.eye(4)[LABELS]), r"one-hot labels into indices with y\.argmax\(axis=1\)"),
    ],
)
def test_data_that_does_not_fit_gives_one_line(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        tfprune.evaluate(IDENTITY, data)
    assert "\n" not in str(error.value)


def test_labels_may_be_a_column_and_of_any_number_type() -> None:
    expected = tfprune.evaluate(IDENTITY, (LOGITS, LABELS))
    for labels in (LABELS.reshape(-1, 1), LABELS.astype("float32"), LABELS.astype("uint8")):
        assert tfprune.evaluate(IDENTITY, (LOGITS, labels)) == expected


def test_data_that_changes_its_order_is_found_out() -> None:
    data = tf.data.Dataset.from_tensor_slices((LOGITS, LABELS)).shuffle(53, seed=1).batch(10)
    with pytest.raises(DataError, match="another order each time"):
        tfprune.evaluate(IDENTITY, data, baseline=IDENTITY)


def test_models_of_another_shape_are_refused() -> None:
    inputs = layers.Input((4,))
    two = keras.Model(inputs, [layers.Dense(4)(inputs), layers.Dense(4)(inputs)])
    single = keras.Sequential([layers.Dense(1, "sigmoid", input_shape=(4,))])
    sequence = keras.Sequential([layers.Reshape((2, 2), input_shape=(4,))])
    for model, got in [(two, "several"), (single, r"\(53, 1\)"), (sequence, r"\(53, 2, 2\)")]:
        with pytest.raises(ModelError, match=rf"one output of shape \(batch, classes\), but got {got}"):
            tfprune.evaluate(model, (LOGITS, LABELS))


def test_an_empty_slice_is_an_error_of_its_own() -> None:
    rows = LABELS != 2
    with pytest.raises(SliceError, match="slice 'class_2' has no example in the given split"):
        tfprune.evaluate(IDENTITY, (LOGITS[rows], LABELS[rows]), slices=["classes"])

"""What outputs mean: each task against references, and how it is told which one it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError
from tfprune.slices.answers import Answers, Question, answer
from tfprune.slices.evaluate import as_batches
from tfprune.slices.tasks import check_task, looks_like_probabilities, sigmoid, softmax, task_of

layers = keras.layers
DRAW = np.random.default_rng(3)
N = 60
LOGITS = DRAW.normal(scale=2, size=(N, 3)).astype("float32")
LABELS = DRAW.integers(0, 3, N)
BITS = DRAW.integers(0, 2, (N, 3))
NUMBERS = DRAW.normal(size=(N, 3)).astype("float32")
ODDS = softmax(LOGITS.astype(np.float64)).astype("float32")


def echo(width: int = 3, *more: Any) -> keras.Model:
    """Answers what it is asked: inputs are outputs."""
    return keras.Sequential([layers.Activation("linear", input_shape=(width,)), *more])


ECHO = {width: echo(width) for width in (1, 2, 3)}
FLAT = keras.Sequential([layers.Lambda(lambda x: x[:, 0], input_shape=(1,))])


def asked(x: np.ndarray, y: Any, model: Any = None, batch_size: int = 16, **question: Any) -> Answers:
    return answer(model or ECHO[x.shape[1]], as_batches((x, y), batch_size), Question(**question))


# ------------------------------------------------------------------------------------------------- multi-class


@pytest.mark.parametrize("x", [LOGITS, ODDS], ids=["logits", "probabilities"])
@pytest.mark.parametrize(
    "y", [LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype("float32")], ids=["int", "column", "hot", "float"]
)
def test_one_class_of_several(x: np.ndarray, y: np.ndarray) -> None:
    answers = asked(x, y)
    assert answers.task == "multiclass" and answers.measure == "accuracy"
    assert answers.is_one_hot == (y.shape == (N, 3))
    assert answers.labels.tolist() == LABELS.tolist() and answers.labels.dtype == np.int64
    assert answers.answer.tolist() == LOGITS.argmax(axis=1).tolist()
    assert answers.score.tolist() == (LOGITS.argmax(axis=1) == LABELS).tolist()
    others = [max(np.delete(row, label)) for row, label in zip(ODDS, LABELS, strict=True)]
    np.testing.assert_allclose(answers.margin, ODDS[np.arange(N), LABELS] - others, atol=1e-6)
    np.testing.assert_allclose(answers.loss.mean(), log_loss(LABELS, ODDS), rtol=1e-5)
    np.testing.assert_allclose(answers.confidence, ODDS.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(answers.entropy, -(ODDS * np.log(ODDS)).sum(axis=1), atol=1e-5)
    floats = (answers.score, answers.margin, answers.loss, answers.confidence, answers.entropy)
    assert {each.dtype for each in floats} == {np.dtype(np.float32)}


def test_rounded_probabilities_give_confidences_of_one_at_most() -> None:
    x = np.array([[1.0000001, 0, 0], [1.004, 0, 0]], "float32")
    assert tfprune.evaluate(ECHO[3], (x, np.array([0, 1]))).whole.calibration_error == pytest.approx(0.5)


def test_sixteen_bit_probabilities_are_probabilities() -> None:
    assert looks_like_probabilities(tf.cast(ODDS, tf.bfloat16).numpy().astype(np.float64))
    assert not looks_like_probabilities(LOGITS)
    assert not looks_like_probabilities(np.array([[0.9, 0.2]]))
    assert not looks_like_probabilities(np.array([[1.5, -0.5]]))


# ------------------------------------------------------------------------------------------------- binary


@pytest.mark.parametrize("scale", ["logits", "probabilities"])
@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_two_classes(scale: str, is_flat: bool, shape: tuple[int, ...]) -> None:
    logits, known = LOGITS[:, :1], BITS[:, 0]
    odds = sigmoid(logits.astype(np.float64))
    x = logits if scale == "logits" else odds.astype("float32")
    answers = asked(x, known.reshape(shape), FLAT if is_flat else None)
    assert answers.task == "binary"
    assert answers.answer.tolist() == (logits[:, 0] > 0).tolist()
    assert answers.score.tolist() == ((logits[:, 0] > 0) == known).tolist()
    np.testing.assert_allclose(answers.loss.mean(), log_loss(known, odds[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(answers.margin, (2 * odds[:, 0] - 1) * (2 * known - 1), atol=1e-6)
    np.testing.assert_allclose(answers.confidence, np.maximum(odds, 1 - odds)[:, 0], atol=1e-6)


def test_a_binary_model_has_slices_of_two_classes() -> None:
    evaluation = tfprune.evaluate(ECHO[1], (LOGITS[:, :1], BITS[:, 0]), slices=["classes"], classes=("ham", "spam"))
    right = (LOGITS[:, 0] > 0) == BITS[:, 0]
    for index, name in enumerate(("ham", "spam")):
        assert evaluation.slice(f"class_{name}").accuracy == pytest.approx(right[BITS[:, 0] == index].mean())


# ------------------------------------------------------------------------------------------------- several labels


@pytest.mark.parametrize("scale", ["logits", "probabilities"])
def test_several_labels(scale: str) -> None:
    odds = sigmoid(LOGITS.astype(np.float64))
    answers = asked(LOGITS if scale == "logits" else odds.astype("float32"), BITS)
    assert answers.task == "multilabel"
    answered = (LOGITS > 0).astype(int)
    assert answers.score.tolist() == (answered == BITS).all(axis=1).tolist()
    # The number that stands for a set is that of no other set.
    assert len(np.unique(answers.answer)) == len(np.unique(answered, axis=0))
    assert [len(np.unique(answers.answer[(answered == each).all(axis=1)])) for each in np.unique(answered, axis=0)]
    np.testing.assert_allclose(answers.loss.mean(), np.mean([log_loss(BITS[:, i], odds[:, i]) for i in range(3)]), 1e-5)
    assert np.isnan(answers.confidence).all() and answers.labels.tolist() == BITS.tolist()


def test_slices_and_churn_of_several_labels() -> None:
    base = keras.Sequential([layers.Rescaling(-1.0, input_shape=(3,))])
    found = tfprune.evaluate(ECHO[3], (LOGITS, BITS), slices=["classes", "pie", {"hardest": 0.5}], baseline=base)
    right, before = (LOGITS > 0) == BITS, (LOGITS < 0) == BITS
    assert found.accuracy == pytest.approx(right.all(axis=1).mean())
    assert found.drop == pytest.approx(before.all(axis=1).mean() - right.all(axis=1).mean())
    assert found.whole.churn == 1.0 and found.slice("pie").support == N  # every set is turned round
    assert found.whole.calibration_error is None
    for index in range(3):
        bears = BITS[:, index] == 1
        each = found.slice(f"class_{index}")
        assert (each.support, each.accuracy) == (bears.sum(), pytest.approx(right.all(axis=1)[bears].mean()))


# ------------------------------------------------------------------------------------------------- regression


@pytest.mark.parametrize("width", [1, 3])
def test_numbers(width: int) -> None:
    x, y = LOGITS[:, :width], NUMBERS[:, :width]
    answers = asked(x, y[:, 0] if width == 1 else y)
    assert (answers.task, answers.measure) == ("regression", "error")
    np.testing.assert_allclose(answers.score, np.abs(x - y).mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(answers.margin, -answers.score)
    np.testing.assert_allclose(answers.loss, np.square(x - y).mean(axis=1), rtol=1e-5)
    assert np.isnan(answers.confidence).all() and np.isnan(answers.entropy).all()


def test_a_regression_has_errors_in_place_of_accuracies() -> None:
    worse = keras.Sequential([layers.Rescaling(1.0, offset=1.0, input_shape=(1,))])
    y = LOGITS[:, :1] + 0.25
    site = np.arange(N) % 2
    found = tfprune.evaluate(
        worse,
        (LOGITS[:, :1], y),
        baseline=ECHO[1],
        slices=[{"column": "site"}, {"hardest": 0.5}],
        metadata={"site": site},
    )
    assert found.measure == "error" and found.error == pytest.approx(0.75, rel=1e-5)
    assert found.drop == pytest.approx(0.5, rel=1e-5)  # error gained
    each = found.slice("site_1")
    assert (each.error, each.support, each.lost, each.churn, each.calibration_error) == (
        pytest.approx(0.75, rel=1e-5),
        30,
        None,
        None,
        None,
    )
    assert each.drop_interval == pytest.approx((0.5, 0.5), rel=1e-5)
    assert found.worst is not None and found.worst.drop == pytest.approx(0.5, rel=1e-5)
    with pytest.raises(AttributeError, match="there is no accuracy here, but error"):
        _ = found.accuracy


# ------------------------------------------------------------------------------------------------- which task


@pytest.mark.parametrize(
    ("width", "labels", "loss", "task"),
    [
        (1, [0, 1, 1], "", "binary"),
        (1, [[0.0], [1.0], [1.0]], "", "binary"),
        (1, [0, 1, 2], "", "regression"),
        (1, [0.5, 1, 2], "", "regression"),
        (3, [0, 1, 2], "", "multiclass"),
        (3, [[0], [1], [2]], "", "multiclass"),
        (3, [0.0, 1.0, 2.0], "", "multiclass"),
        (3, np.eye(3), "", "multiclass"),
        (3, [[1, 1, 0], [0, 1, 0], [0, 0, 0]], "", "multilabel"),
        (3, [[1.5, 1, 0], [0, 1, 0], [0, 0, 0]], "", "regression"),
        (3, np.eye(3), "binary_crossentropy", "multilabel"),
        (3, np.eye(3), "mse", "regression"),
        (1, [0, 1, 1], "mean_absolute_error", "regression"),
        (1, [0, 1, 1], "huber_loss", "regression"),
        (1, [0, 1, 1], "BinaryFocalCrossentropy", "binary"),
        (3, [0, 1, 1], "sparse_categorical_crossentropy", "multiclass"),
        (3, np.eye(3), "CategoricalCrossentropy", "multiclass"),
        (3, [0, 1, 2], "my_maelstrom_loss", "multiclass"),
        (3, [0, 1, 2], "<lambda>", "multiclass"),
    ],
    ids=str,
)
def test_the_task_is_told_by_the_loss_or_the_shapes(width: int, labels: Any, loss: str, task: str) -> None:
    assert task_of(np.zeros((3, width)), np.asarray(labels), loss) == task


LOSSES = [
    ("mse", "regression"),
    ("mean_squared_error", "regression"),
    (keras.losses.MeanAbsoluteError(), "regression"),
    (keras.losses.mean_squared_error, "regression"),
    (keras.losses.Huber(), "regression"),
    (keras.losses.LogCosh(), "regression"),
    (keras.losses.BinaryCrossentropy(from_logits=True), "multilabel"),
    ("categorical_crossentropy", "multiclass"),
    ({"out": "mse"}, "regression"),
]


@pytest.mark.parametrize(
    ("loss", "task"), LOSSES, ids=lambda given: given if isinstance(given, str) else type(given).__name__
)
def test_a_compiled_model_tells_its_task(loss: Any, task: str) -> None:
    model = keras.Sequential([layers.Activation("linear", input_shape=(3,), name="out")])
    model.compile(loss=loss)
    assert asked(LOGITS, np.eye(3)[LABELS], model, output="out").task == task


def test_a_given_task_counts() -> None:
    one_hot = np.eye(3, dtype="float32")[LABELS]
    for task in ("multiclass", "multilabel", "regression"):
        assert asked(LOGITS, one_hot, task=task).task == task
    assert tfprune.evaluate(ECHO[3], (LOGITS, one_hot), task="regression").measure == "error"
    assert [check_task(each) for each in (None, "binary")] == [None, "binary"]


def test_models_read_as_of_other_tasks_are_not_compared() -> None:
    number = echo(1)
    number.compile(loss="mse")
    with pytest.raises(
        DataError, match=r"^the dense model is read as binary, and this one as regression; name the task$"
    ):
        tfprune.evaluate(number, (LOGITS[:, :1], BITS[:, 0]), baseline=ECHO[1])
    assert tfprune.evaluate(number, (LOGITS[:, :1], BITS[:, 0]), baseline=ECHO[1], task="binary").drop == 0


# ------------------------------------------------------------------------------------------------- several outputs


def two_heads(as_dict: bool = False) -> keras.Model:
    """An animal's class, and its weight; named otherwise than their layers where it answers by name."""
    inputs = layers.Input((3,))
    kind = layers.Activation("linear", name="kind")(inputs)
    weight = layers.Lambda(lambda x: x[:, :1] * 2, name="weight")(inputs)
    return keras.Model(inputs, {"a_kind": kind, "weight": weight} if as_dict else [kind, weight])


@pytest.mark.parametrize("form", ["dict", "list", "tuple", "single"])
@pytest.mark.parametrize("embed", [False, True])
def test_one_of_several_outputs(form: str, embed: bool) -> None:
    forms = {"dict": {"kind": LABELS, "weight": NUMBERS[:, :1]}, "list": [LABELS, NUMBERS[:, :1]]}
    forms["tuple"] = tuple(forms["list"])
    y = LABELS if form == "single" else forms[form]
    slices: list[Any] = ["discover"] if embed else []
    found = tfprune.evaluate(two_heads(), (LOGITS, y), output="kind", slices=slices)
    assert found.accuracy == pytest.approx((LOGITS.argmax(axis=1) == LABELS).mean())
    y = NUMBERS[:, :1] if form == "single" else forms[form]
    found = tfprune.evaluate(two_heads(), (LOGITS, y), output="weight")
    assert found.error == pytest.approx(np.abs(2 * LOGITS[:, :1] - NUMBERS[:, :1]).mean(), rel=1e-5)


@pytest.mark.parametrize("embed", [False, True])
def test_outputs_by_name(embed: bool) -> None:
    inputs = layers.Input((3,))
    hidden = layers.Dense(4, activation="tanh")(inputs)
    model = keras.Model(inputs, {"a_kind": layers.Dense(3)(hidden), "weight": layers.Dense(1)(hidden)})
    y = {"a_kind": LABELS, "weight": NUMBERS[:, 0]}
    answers = answer(model, as_batches((LOGITS, y)), Question(output="a_kind", embed=embed))
    assert answers.answer.tolist() == model(LOGITS)["a_kind"].numpy().argmax(axis=1).tolist()
    assert (answers.embedding is not None) == embed


@pytest.mark.parametrize(
    ("output", "y", "line"),
    [
        (None, LABELS, "the model has the outputs kind, weight, and none is named; name one: output='kind'"),
        ("kid", LABELS, "none is 'kid'; did you mean 'kind'?"),
        ("kind", {"kid": LABELS}, "the labels are of kid, but not of 'kind'; did you mean 'kid'?"),
    ],
)
def test_an_output_that_is_not_there_is_named(output: str | None, y: Any, line: str) -> None:
    with pytest.raises((ModelError, DataError)) as error:
        tfprune.evaluate(two_heads(), (LOGITS, y), output=output)
    assert line in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ModelError, match=r"^the model has no output 'x', only "):
        tfprune.evaluate(ECHO[3], (LOGITS, LABELS), output="x")


class Subclass(keras.Model):
    """No graph, and no names of outputs unless it answers by name."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def call(self, x: tf.Tensor) -> Any:
        one, other = tf.identity(x), 2 * x[:, :1]
        return {"one": one, "pair": (one, other), "named": {"kind": one, "weight": other}}[self.form]


@pytest.mark.parametrize(("form", "output"), [("one", None), ("pair", "output_1"), ("named", "kind")])
def test_a_subclass_needs_no_graph(form: str, output: str | None) -> None:
    y = {"one": LABELS, "pair": (LABELS, NUMBERS[:, 0]), "named": {"kind": LABELS, "weight": NUMBERS[:, 0]}}[form]
    found = tfprune.evaluate(Subclass(form), (LOGITS, y), output=output, slices=["discover"])
    assert found.accuracy == pytest.approx((LOGITS.argmax(axis=1) == LABELS).mean())
    with pytest.raises(ModelError, match=r"output_1|kind"):
        tfprune.evaluate(Subclass(form), (LOGITS, y), output="x")


@pytest.mark.parametrize("form", ["dict", "tuple", "list"])
def test_several_inputs(form: str) -> None:
    one, other = layers.Input((3,), name="one"), layers.Input((3,), name="other")
    model = keras.Model([one, other], layers.Dense(3, name="out")(layers.Add()([one, other])))
    x = {"dict": {"one": LOGITS, "other": NUMBERS}, "tuple": (LOGITS, NUMBERS), "list": [LOGITS, NUMBERS]}[form]
    expected = model([LOGITS, NUMBERS]).numpy().argmax(axis=1) == LABELS
    for slices in ([], ["discover"], [{"where": lambda x: True}]):
        found = tfprune.evaluate(model, (x, LABELS), slices=slices, batch_size=16)
        assert found.accuracy == pytest.approx(expected.mean())


# ------------------------------------------------------------------------------------------------- sample weights


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), batch_size=st.integers(1, 70))
def test_examples_count_by_their_weight(seed: int, batch_size: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, N).astype("float32") + 0.5 * (np.arange(N) < 3)
    worse = keras.Sequential([layers.Rescaling(-1.0, input_shape=(3,))])
    data = as_batches((LOGITS, LABELS, weights), batch_size)
    found = tfprune.evaluate(worse, data, baseline=ECHO[3], slices=["classes"])
    right, before = LOGITS.argmin(axis=1) == LABELS, LOGITS.argmax(axis=1) == LABELS
    parts = [(found.whole, np.ones(N, bool))]
    parts += [(found.slice(f"class_{index}"), index == LABELS) for index in range(3)]
    for each, rows in parts:
        assert each.accuracy == pytest.approx(np.average(right[rows], weights=weights[rows]))
        assert each.drop == pytest.approx(np.average(before[rows] * 1.0 - right[rows], weights=weights[rows]))
        assert each.support == rows.sum() and each.churn == pytest.approx(1.0)
        assert (each.lost, each.p_value) == (None, None)
        assert each.interval is not None and each.interval[0] <= each.accuracy <= each.interval[1]


def test_a_weight_of_two_is_two_examples_and_of_none_is_none() -> None:
    rows = np.repeat(np.arange(N), np.arange(N) % 3)
    weighted = tfprune.evaluate(ECHO[3], (LOGITS, LABELS, (np.arange(N) % 3).astype("float32")))
    repeated = tfprune.evaluate(ECHO[3], (LOGITS[rows], LABELS[rows]))
    assert weighted.accuracy == pytest.approx(repeated.accuracy) and weighted.loss == pytest.approx(repeated.loss)
    assert weighted.whole.calibration_error == pytest.approx(repeated.whole.calibration_error)


def test_weights_may_be_by_output() -> None:
    y = {"kind": LABELS, "weight": NUMBERS[:, :1]}
    weights = {"kind": np.arange(N, dtype="float32"), "weight": np.ones(N, "float32")}
    found = tfprune.evaluate(two_heads(), (LOGITS, y, weights), output="kind")
    assert found.accuracy == pytest.approx(np.average(LOGITS.argmax(axis=1) == LABELS, weights=np.arange(N)))


def test_weights_that_cannot_be_give_one_line() -> None:
    for bad in (-np.ones(N, "float32"), np.full(N, np.nan, "float32"), np.ones((N, 3), "float32")):
        with pytest.raises(DataError, match=r"^sample weights: got shape .* give one each, 0 or more$"):
            tfprune.evaluate(ECHO[3], (LOGITS, LABELS, bad))
    with pytest.raises(
        tfprune.errors.SliceError, match=r"^slice 'class_1' holds only examples of weight 0; leave it out"
    ):
        tfprune.evaluate(ECHO[3], (LOGITS, LABELS, (LABELS != 1).astype("float32")), slices=["classes"])


# ------------------------------------------------------------------------------------------------- errors

SHAPES = {"images": keras.Sequential([layers.Reshape((1, 3), input_shape=(3,))])}


@pytest.mark.parametrize(
    ("x", "y", "task", "line"),
    [
        (LOGITS, LABELS + 1, None, "y must hold class indices from 0 to 2, or one-hot rows, but got 1 to 3"),
        (LOGITS, LABELS - 1, None, "class indices from 0 to 2, or one-hot rows, but got -1 to 1"),
        (LOGITS, LABELS + 0.5, "multiclass", "class indices from 0 to 2, or one-hot rows, but got 0.5 to 2.5"),
        (LOGITS, np.eye(4)[LABELS], "multiclass", "or one-hot rows, but got shape (60, 4)"),
        (LOGITS, np.array(["a"] * N), None, "y must hold numbers, but got values of type"),
        (LOGITS, np.array(["a"] * N), "multiclass", "but got values of type"),
        (LOGITS[:, :1], LABELS, "multiclass", "one output of shape (batch, classes), but got (60, 1)"),
        (LOGITS[:, :1], LABELS + 1, "binary", "y must hold 0 and 1, one an example, but got 1 to 3"),
        (LOGITS, BITS, "binary", "a binary model has one output an example, but this one has 3"),
        (LOGITS, BITS * 2, "multilabel", "y must hold 0 and 1 in the shape of the outputs, (60, 3), but got shape"),
        (LOGITS, BITS[:, :2], "multilabel", "but got shape (60, 2)"),
        (LOGITS, NUMBERS[:, :2], "regression", "y must hold finite numbers in the shape of the outputs, (60, 3)"),
        (LOGITS, np.full((N, 3), np.nan), "regression", "y must hold finite numbers"),
        (LOGITS, LABELS, "binry", "task: got 'binry', expected one of multiclass, binary, multilabel, regression; did"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_labels_that_do_not_fit_give_one_line(x: Any, y: Any, task: str | None, line: str) -> None:
    with pytest.raises((DataError, ModelError)) as error:
        tfprune.evaluate(ECHO[x.shape[1]], (x, y), task=task, batch_size=16)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_outputs_of_more_axes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"^expected outputs of shape \(batch, outputs\), but got \(60, 1, 3\)"):
        tfprune.evaluate(SHAPES["images"], (LOGITS, LABELS))


@pytest.mark.parametrize("task", [None, "multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(task: str | None, bad: float) -> None:
    x = LOGITS.copy()
    x[-1, 1] = bad
    y = np.eye(3)[LABELS]
    for slices in ([], ["discover"]):
        with pytest.raises(DataError, match="the model answers NaN or infinity"):
            tfprune.evaluate(ECHO[3], as_batches((x, y), 16), task=task, slices=slices)

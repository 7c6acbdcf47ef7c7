"""One pass a variant, slices that hang on answers, and planted defects."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, SliceError
from tfprune.recipe import Column, Corrupted, Discover, Exemplars, Hardest, Label, Where
from tfprune.results import Evaluation
from tfprune.slices.answers import Question, answer
from tfprune.slices.corruptions import corrupt, scale_of
from tfprune.slices.evaluate import as_batches, examine
from tfprune.slices.exam import Examination

layers = keras.layers
DRAW = np.random.default_rng(8)
N = 90
X = DRAW.normal(size=(N, 4)).astype("float32")
LABELS = (X.argmax(axis=1) + (DRAW.random(N) < 0.2)) % 4
AGE = np.arange(N) % 60


class Counter(layers.Layer):
    """Counts the examples that go through it."""

    def build(self, shape: Any) -> None:
        self.seen = self.add_weight("seen", (), tf.int32, "zeros", trainable=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        self.seen.assign_add(tf.shape(x)[0])
        return tf.identity(x)


def counting(scale: float = 1.0) -> keras.Model:
    return keras.Sequential([Counter(input_shape=(4,)), layers.Rescaling(scale), layers.Dense(4, weights=eye())])


def eye() -> list[np.ndarray]:
    return [np.eye(4, dtype="float32"), np.zeros(4, "float32")]


def passes(model: keras.Model) -> float:
    return int(model.layers[0].seen) / N


FIFTY: list[Any] = [
    "classes",
    *(Column("age", range=(low, low + 20), name=f"age{low}") for low in range(40)),
    {"hardest": 0.1},
    {"hardest": 0.2},
    {"hardest": 0.3, "by": "entropy"},
    {"rarest": 0.25},
    Label("1") & Hardest(0.5),
    ~Label("2"),
]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([], 1),
        (FIFTY, 1),
        ([*FIFTY, "pie", "discover"], 1),
        ([{"corrupted": "missing"}, Corrupted("feature_noise", 2) & Label("1"), Corrupted("missing", name="again")], 3),
        ([*FIFTY, "pie", {"corrupted": "missing", "severity": [1, 2, 3, 4, 5]}], 6),
    ],
    ids=["none", "fifty", "moving", "corruptions", "all"],
)
def test_one_pass_a_variant_and_model_whatever_the_slices(slices: list, expected: int) -> None:
    model, baseline = counting(), counting(-1.0)
    metadata = {"age": AGE}
    alone = [each for each in slices if each != "pie"]
    tfprune.evaluate(model, (X, LABELS), slices=alone, metadata=metadata, batch_size=16)
    assert passes(model) == expected
    tfprune.evaluate(model, (X, LABELS), slices=slices, metadata=metadata, baseline=baseline, batch_size=16)
    assert (passes(model), passes(baseline)) == (2 * expected, expected)


def test_fifty_slices_are_fifty() -> None:
    found = tfprune.evaluate(counting(), (X, LABELS), slices=FIFTY, metadata={"age": AGE})
    assert len(found.slices) == 50 and len({each.name for each in found.slices}) == 50


# ------------------------------------------------------------------------------------------------- corruptions


def test_a_corruption_is_answered_as_if_the_data_were_so() -> None:
    specs = [Corrupted("feature_noise", 5), Corrupted("feature_noise", 5) & Label("1"), "classes"]
    dense, pruned = counting(), counting(-1.0)
    found = tfprune.evaluate(pruned, (X, LABELS), slices=specs, baseline=dense, seed=4, batch_size=N)
    harder = corrupt(X, "feature_noise", 5, ordinals=np.arange(N), scale=scale_of(X, "table"), seed=4)
    expected = tfprune.evaluate(pruned, (harder, LABELS), slices=["classes"], baseline=dense)
    whole, one = found.slice("feature_noise_5"), found.slice("feature_noise_5_and_class_1")
    for each, wanted in ((whole, expected.whole), (one, expected.slice("class_1"))):
        assert each.variant == "feature_noise_5"
        assert (each.accuracy, each.drop, each.support) == (wanted.accuracy, wanted.drop, wanted.support)
        assert (each.lost, each.gained, each.churn) == (wanted.lost, wanted.gained, wanted.churn)
    assert found.whole.accuracy != whole.accuracy and found.whole.variant == ""


def test_the_batches_of_a_corruption_do_not_matter() -> None:
    scale_from = X  # else the first batch says how wide the values spread
    answers = []
    for size in (7, N):
        batches = as_batches((X, LABELS), size)
        exam = examine(batches, [Corrupted("missing", 4)])
        exam = Examination(exam.facts, exam.specs, scale_from)
        answers.append(exam.sit(counting())["missing_4"])
    assert np.array_equal(answers[0].margin, answers[1].margin)


def test_images_of_bytes_can_be_corrupted() -> None:
    x = DRAW.integers(0, 256, (20, 6, 6, 1)).astype(np.uint8)
    model = keras.Sequential([layers.Rescaling(1 / 255, input_shape=(6, 6, 1)), layers.Flatten(), layers.Dense(3)])
    found = tfprune.evaluate(model, (x, np.arange(20) % 3), slices=[Corrupted("blur", (1, 5)), Corrupted("noise")])
    assert [each.name for each in found.slices] == ["blur_1", "blur_5", "noise_3"]


def test_an_unknown_corruption_is_found_out_before_a_pass() -> None:
    model = counting()
    with pytest.raises(SliceError, match=r"^corruption 'feature_nois' is not known; .*did you mean 'feature_noise'\?$"):
        tfprune.evaluate(model, (X, LABELS), slices=[{"corrupted": "feature_nois"}])
    assert passes(model) == 0


# ------------------------------------------------------------------------------------------------- the order


def test_data_that_changes_its_order_is_found_out() -> None:
    data = tf.data.Dataset.from_tensor_slices((X, LABELS)).shuffle(N, seed=1).batch(10)
    with pytest.raises(DataError, match="another order each time"):
        tfprune.evaluate(counting(), data, baseline=counting())
    with pytest.raises(DataError, match="another order each time"):
        tfprune.evaluate(counting(), data, slices=[{"corrupted": "missing"}])


# ------------------------------------------------------------------------------------- what hangs on answers


def test_the_dense_model_itself_has_neither_drops_nor_exemplars() -> None:
    exam = examine(as_batches((X, LABELS)), ["classes", "pie", ~Exemplars(), Discover(2)])
    dense, now = exam.sit(counting()), exam.sit(counting(-1.0))
    exam.compare_with(dense)
    alone, pruned = exam.evaluate(dense), exam.evaluate(now)
    assert [each.name for each in alone.slices] == [f"class_{index}" for index in range(4)]
    assert alone.drop is None and all(each.drop is None for each in alone.slices)
    assert pruned.slice("pie").support == (dense[""].answer != now[""].answer).sum() == N
    assert pruned.slice("pie").churn == 1.0 and "not_pie" not in [each.name for each in pruned.slices]


def test_exemplars_need_a_baseline() -> None:
    with pytest.raises(SliceError, match="slice 'pie' compares with the dense model: give it as the baseline"):
        tfprune.evaluate(counting(), (X, LABELS), slices=["pie"])


def test_steady_slices_are_cut_once_and_those_of_answers_for_each_model() -> None:
    exam = examine(as_batches((X, LABELS)), [Hardest(0.2), "pie"])
    exam.compare_with(exam.sit(counting()))
    one, other = exam.sit(counting(-1.0)), exam.sit(counting(0.0))
    assert exam.slices(one)[0] is exam.slices(other)[0]
    assert exam.slices(one)[1] is exam.slices(one)[1]
    assert exam.slices(one)[1].members.sum() != exam.slices(other)[1].members.sum()
    exam.compare_with(other)
    assert exam.slices(one)[0].members.sum() == 18 and exam.slices(one)[1].members.sum() < N


def checked(specs: list, **more: Any) -> dict[str, int | None]:
    exam = examine(as_batches((X, LABELS)), specs, metadata={"age": AGE})
    facts = replace(exam.facts, labels=LABELS, **more)
    return Examination(facts, exam.specs).check()


def test_supports_are_known_before_any_answer() -> None:
    old = int((AGE >= 50).sum())
    known = [Column("age", range=(50, None)), Hardest(0.5), "pie", Discover(2, name="worst"), "classes" & Exemplars()]
    moving = ["pie", "worst", *(f"class_{index}_and_pie" for index in range(4))]
    assert checked(known) == {"age_from_50": old, "hardest": 45, **dict.fromkeys(moving)}


@pytest.mark.parametrize(
    ("specs", "line"),
    [
        ([Column("agee")], "no metadata column 'agee'; there are age; did you mean 'age'?"),
        ([Label("1") & Exemplars() & Column("agee")], "no metadata column 'agee'"),
        ([Discover(2, columns=("agee",))], "no metadata column 'agee'; there are age; did you mean 'age'?"),
        ([Where(lambda x: 1 / 0)], "slice where: lambda raised ZeroDivisionError: division by zero at example 0 of"),
        (["pie", Label("1", name="pie")], "2 slices are called 'pie'"),
        (["pie", {"pie": None}], "2 slices are called 'pie'"),
        ([Column("age", 77)], "slice 'age_77' has no example in the given split of 90 examples"),
    ],
)
def test_what_cannot_be_is_told_before_any_answer(specs: list, line: str) -> None:
    with pytest.raises(SliceError) as error:
        checked(specs)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_slice_that_hangs_on_answers_may_not_share_a_name() -> None:
    specs = ["pie", Label("1", name="pie")]
    with pytest.raises(SliceError, match=r"^2 slices are called 'pie'"):
        tfprune.evaluate(counting(-1.0), (X, LABELS), slices=specs, baseline=counting())


# ------------------------------------------------------------------------------------------------- embeddings


def attentive() -> keras.Model:
    inputs = layers.Input((4,))
    hidden = layers.Reshape((1, 4))(layers.Dense(4)(inputs))
    return keras.Model(inputs, layers.Reshape((4,))(layers.AdditiveAttention()([hidden, hidden])))  # of several inputs


def by_name() -> keras.Model:
    inputs = {"u": layers.Input((4,), name="first"), "v": layers.Input((4,), name="second")}
    return keras.Model(inputs, layers.Dense(4)(layers.Add()([inputs["u"], inputs["v"]])))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (attentive(), X),
        (by_name(), {"u": X, "v": -X}),
        (keras.Sequential([layers.Dense(4)]), X),
        (counting(), X[:1]),
        (counting(), 0 * X),
        (counting(), np.tile(X, (30, 1))),
    ],
    ids=["several inputs of a layer", "inputs by name", "no graph yet", "one example", "all alike", "many"],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_embedding_changes_no_answer(model: keras.Model, x: Any) -> None:
    labels = np.resize(LABELS, len(next(iter(x.values())) if isinstance(x, dict) else x))
    plain, wide = (answer(model, as_batches((x, labels), 50), Question(embed=embed)) for embed in (False, True))
    np.testing.assert_allclose(wide.margin, plain.margin, atol=1e-6)
    assert plain.embedding is None
    if wide.embedding is not None:
        assert wide.embedding.shape[0] == len(labels) and 1 <= wide.embedding.shape[1] <= 8
        assert np.isfinite(wide.embedding).all()


def test_an_embedding_is_what_the_last_layer_sees() -> None:
    answers = answer(counting(), as_batches((X, LABELS), 7), Question(embed=True))
    assert answers.embedding is not None
    expected = PCA(4, svd_solver="full").fit_transform(X)
    np.testing.assert_allclose(np.abs(answers.embedding), np.abs(expected), atol=1e-4)


# ------------------------------------------------------------------------------------------------- in model.fit


def test_a_slice_report_holds_every_kind_of_slice() -> None:
    dense = keras.Sequential([layers.Dense(16, "relu", input_shape=(4,)), layers.Dense(4, name="last")])
    pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.9, begin_step=0, end_step=6, frequency=1))
    pruned.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    specs = [Column("age", quantiles=2), Corrupted("missing", 2), "pie", Hardest(0.2), Label("cat"), "discover"]
    own = tfprune.callbacks(
        pruned, validation=(X, LABELS), slices=specs, metadata={"age": AGE}, classes=["cat", "dog", "eel", "fox"]
    )
    pruned.fit(X, LABELS, epochs=2, batch_size=30, verbose=0, callbacks=own)
    report = own[1]
    steady = ["age_q1", "age_q2", "missing_2", "hardest", "class_cat"]
    assert [each.name for each in report.baseline.slices] == steady and len(report.evaluations) == 2
    for evaluation in report.evaluations:
        assert {each.name for each in evaluation.slices} - {"discovered"} == {*steady, "pie"}
        assert all(each.drop is not None for each in evaluation.slices)
    last = report.evaluations[-1]
    again = tfprune.evaluate(pruned, (X, LABELS), slices=[Corrupted("missing", 2)])
    assert last.accuracy == again.accuracy and last.slice("missing_2").accuracy == again.slice("missing_2").accuracy


# ------------------------------------------------------------------------------------------------- planted defects

CENTRES = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
SIZE, SHARE, HARM = 4_000, 0.05, 0.45


def pair(width: int) -> tuple[keras.Model, keras.Model]:
    """A dense model, and one that answers as it does but where the last input says so."""
    inputs = layers.Input((width + 1,))
    hidden = layers.Lambda(lambda x: x[:, :width])(inputs)
    logits = layers.Dense(3, weights=[np.eye(width, 3), np.zeros(3)], name="last")(hidden)
    turned = layers.Lambda(lambda each: each[0] * (1 - 2 * each[1][:, -1:]))([logits, inputs])
    return keras.Model(inputs, logits), keras.Model(inputs, turned)


def examples(seed: int, width: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, SIZE)
    x = draw.normal(size=(SIZE, width + 1)).astype("float32")
    x[:, :3] += CENTRES[labels]
    x[:, -1] = 0
    return x, labels, draw


def purity_and_recall(found: Evaluation, hidden: np.ndarray, dense_accuracy: float) -> tuple[float, float]:
    """How much of the discovered slice is of the hidden group, and how much of the group's half it holds."""
    slices = [each for each in found.slices if each.name == "discovered"]
    if not slices:
        return 0.0, 0.0
    (each,) = slices
    assert each.drop is not None
    purity = each.drop / (HARM * dense_accuracy)
    return purity, purity * each.support / (hidden.sum() / 2)


def test_a_defect_on_a_group_of_metadata_is_found() -> None:
    dense, pruned = pair(3)
    hits, rules = 0, []
    for seed in range(10):
        x, labels, draw = examples(seed, 3)
        age, site = draw.integers(20, 90, SIZE), draw.choice(["a", "b", "c", "d"], SIZE)
        hidden = (age > 75) & (site == "b")
        x[:, -1] = hidden & (draw.random(SIZE) < HARM)
        metadata = {"age": age, "site": site, "height": draw.normal(size=SIZE), "lens": draw.integers(0, 5, SIZE)}
        spec = Discover(3, embeddings=False)
        found = tfprune.evaluate(pruned, (x, labels), slices=[spec], metadata=metadata, baseline=dense, seed=seed)
        assert found.drop is not None and 0 < found.drop < 0.03  # the whole barely moves
        purity, recall = purity_and_recall(found, hidden, found.accuracy + found.drop)
        if purity > 0.7 and 0.6 < recall < 1.5:
            rule = found.slice("discovered").rule
            rules.append(rule)
            hits += "site = b" in rule and re.search(r"age > 7\d", rule) is not None
    assert hits >= 9, rules


def test_a_defect_that_only_embeddings_show_is_found() -> None:
    dense, pruned = pair(6)
    hits = 0
    for seed in range(10):
        x, labels, draw = examples(seed, 6)
        hidden = draw.random(SIZE) < SHARE
        x[hidden, 3:6] += [4, 4, -4]  # of no weight for the answer, but the last layer sees it
        x[:, -1] = hidden & (draw.random(SIZE) < HARM)
        metadata = {"age": draw.integers(20, 90, SIZE)}
        found = tfprune.evaluate(pruned, (x, labels), slices=["discover"], metadata=metadata, baseline=dense, seed=seed)
        assert found.drop is not None and 0 < found.drop < 0.03
        purity, recall = purity_and_recall(found, hidden, found.accuracy + found.drop)
        hits += purity > 0.7 and 0.6 < recall < 1.5 and "embedding_" in found.slice("discovered").rule
    assert hits >= 9


def test_nothing_is_discovered_where_nothing_is_hidden() -> None:
    dense, pruned = pair(3)
    false = 0
    for seed in range(10):
        x, labels, draw = examples(seed, 3)
        x[:, -1] = draw.random(SIZE) < 0.03
        found = tfprune.evaluate(
            pruned, (x, labels), slices=["discover"], metadata={"age": draw.integers(20, 90, SIZE)}, baseline=dense
        )
        false += len(found.slices)
    assert false <= 2

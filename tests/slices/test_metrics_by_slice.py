"""Metrics of the compiled model by slice, against Keras on the subset itself; calibration, churn, worst and gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, roc_auc_score, top_k_accuracy_score

import tfprune
from tfprune.backend import keras
from tfprune.errors import DataError, ModelError
from tfprune.recipe import Column
from tfprune.slices.answers import Question, answer
from tfprune.slices.evaluate import as_batches
from tfprune.slices.metrics import compiled_metrics, value_over

layers = keras.layers
DRAW = np.random.default_rng(12)
N = 120
X = DRAW.normal(size=(N, 4)).astype("float32")
LABELS = (X.argmax(axis=1) + (DRAW.random(N) < 0.3)) % 4
BITS = (DRAW.random((N, 4)) < 1 / (1 + np.exp(-X))).astype(int)
SITE = np.arange(N) % 3
WEIGHTS = DRAW.integers(1, 4, N).astype("float32")
SLICES = [Column("site")]


def compiled(kind: str, metrics: Any, **more: Any) -> tuple[keras.Model, np.ndarray]:
    """A model of a task, compiled and not trained, and its labels."""
    width, activation, loss, y = {
        "sparse": (4, "softmax", "sparse_categorical_crossentropy", LABELS),
        "hot": (4, "softmax", "categorical_crossentropy", np.eye(4, dtype="float32")[LABELS]),
        "binary": (1, "sigmoid", "binary_crossentropy", BITS[:, 0]),
        "several": (4, "sigmoid", "binary_crossentropy", BITS),
        "number": (1, None, "mse", X[:, 0] + 0.5),
    }[kind]
    model = keras.Sequential(
        [layers.Dense(width, activation, input_shape=(4,), weights=[np.eye(4, width), np.zeros(width)])]
    )
    model.compile(loss=loss, metrics=metrics, **more)
    return model, y


CASES = [
    ("sparse", lambda: ["accuracy"]),
    ("sparse", lambda: ["acc", keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")]),
    ("hot", lambda: [keras.metrics.CategoricalAccuracy(), keras.metrics.TopKCategoricalAccuracy(k=3)]),
    ("hot", lambda: ["accuracy", keras.metrics.AUC(), keras.metrics.CategoricalCrossentropy()]),
    ("hot", lambda: [keras.metrics.F1Score(average="macro")]),
    ("binary", lambda: ["accuracy", keras.metrics.AUC(), keras.metrics.Precision(), keras.metrics.Recall()]),
    ("several", lambda: [keras.metrics.AUC(multi_label=True), keras.metrics.BinaryAccuracy()]),
    ("number", lambda: ["mae", keras.metrics.RootMeanSquaredError(), keras.metrics.MeanSquaredError()]),
]


@pytest.mark.parametrize(("kind", "metrics"), CASES)
def test_metrics_are_those_of_keras_on_the_subset(kind: str, metrics: Any) -> None:
    model, y = compiled(kind, metrics())
    found = tfprune.evaluate(model, (X, y), slices=SLICES, metadata={"site": SITE}, metrics=True, batch_size=32)
    parts = [(found.whole, np.ones(N, bool)), *((found.slice(f"site_{site}"), site == SITE) for site in range(3))]
    for each, rows in parts:
        expected = model.evaluate(X[rows], y[rows], verbose=0, return_dict=True)
        expected.pop("loss")
        assert each.metrics == pytest.approx(expected, abs=1e-5) and expected


@pytest.mark.parametrize("kind", ["sparse", "binary", "number"])
def test_metrics_are_weighted_as_the_examples_are(kind: str) -> None:
    metrics = {"sparse": ["accuracy"], "binary": [keras.metrics.AUC(name="auc")], "number": ["mae"]}[kind]
    model, y = compiled(kind, None, weighted_metrics=metrics)
    found = tfprune.evaluate(model, (X, y, WEIGHTS), slices=SLICES, metadata={"site": SITE}, metrics=True)
    for site in range(3):
        rows = site == SITE
        expected = model.evaluate(X[rows], y[rows], sample_weight=WEIGHTS[rows], verbose=0, return_dict=True)
        expected.pop("loss")
        assert found.slice(f"site_{site}").metrics == pytest.approx(expected, abs=1e-5)


def test_metrics_against_scikit_learn() -> None:
    model, y = compiled("binary", [keras.metrics.AUC(num_thresholds=5_000, name="auc")])
    found = tfprune.evaluate(model, (X, y), slices=SLICES, metadata={"site": SITE}, metrics=["auc"])
    odds = model.predict(X, verbose=0)[:, 0]
    for site in range(3):
        rows = site == SITE
        assert found.slice(f"site_{site}").metrics["auc"] == pytest.approx(roc_auc_score(y[rows], odds[rows]), abs=2e-3)
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top")
    model, y = compiled("sparse", [top])
    found = tfprune.evaluate(model, (X, y), metrics=True)
    assert found.whole.metrics["top"] == pytest.approx(top_k_accuracy_score(y, X, k=2, labels=range(4)))


def test_metrics_under_a_corruption_are_of_its_answers() -> None:
    model, y = compiled("sparse", ["accuracy"])
    found = tfprune.evaluate(model, (X, y), slices=[{"corrupted": "feature_noise", "severity": 5}], metrics=True)
    (noisy,) = found.slices
    assert noisy.metrics["accuracy"] == pytest.approx(noisy.accuracy) and noisy.accuracy < found.accuracy


def test_what_a_metric_saw_before_does_not_count() -> None:
    model, y = compiled("sparse", ["accuracy"])
    model.evaluate(X, (y + 1) % 4, verbose=0)
    found = tfprune.evaluate(model, (X, y), metrics=True)
    assert found.whole.metrics["accuracy"] == pytest.approx(found.accuracy)


def test_some_metrics_by_name_and_none_unless_asked_for() -> None:
    model, y = compiled("sparse", ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")])
    assert set(tfprune.evaluate(model, (X, y), metrics=["top2"]).whole.metrics) == {"top2"}
    assert set(tfprune.evaluate(model, (X, y), metrics="top2").whole.metrics) == {"top2"}
    assert tfprune.evaluate(model, (X, y)).whole.metrics == {}


def test_metrics_of_one_of_several_outputs() -> None:
    inputs = layers.Input((4,))
    kind = layers.Activation("softmax", name="kind")(inputs)
    weight = layers.Lambda(lambda x: x[:, :1], name="weight")(inputs)
    model = keras.Model(inputs, [kind, weight])
    model.compile(
        loss={"kind": "sparse_categorical_crossentropy", "weight": "mse"},
        metrics={"kind": ["accuracy"], "weight": ["mae"]},
    )
    y = {"kind": LABELS, "weight": X[:, 1]}
    whole = model.evaluate(X, y, verbose=0, return_dict=True)
    for output, name in (("kind", "kind_accuracy"), ("weight", "weight_mae")):
        found = tfprune.evaluate(model, (X, y), output=output, metrics=True).whole.metrics
        assert found == pytest.approx({name: whole[name]}, abs=1e-5)


def test_metrics_that_are_not_there_give_one_line() -> None:
    model, y = compiled("sparse", ["accuracy"])
    with pytest.raises(
        ModelError, match=r"^the model is compiled without metric 'acuracy', only accuracy; did you mean"
    ):
        tfprune.evaluate(model, (X, y), metrics=["acuracy"])
    bare = keras.Sequential([layers.Dense(4, input_shape=(4,))])
    with pytest.raises(ModelError, match="metrics were asked for, but the model is not compiled; compile it with"):
        tfprune.evaluate(bare, (X, LABELS), metrics=True)
    model, y = compiled("hot", [keras.metrics.F1Score(name="f1")])
    with pytest.raises(ModelError, match=r"^metric 'f1' gives several values; ask for metrics that give one$"):
        tfprune.evaluate(model, (X, y), metrics=True)
    with pytest.raises(DataError, match="need its outputs; ask for them in the pass"):
        value_over(keras.metrics.MeanSquaredError(), answer(bare, as_batches((X, LABELS))), np.arange(3))


def test_many_examples_go_through_a_metric_in_chunks() -> None:
    model, _ = compiled("sparse", ["accuracy"])
    x = np.tile(X, (200, 1))
    y = np.tile(LABELS, 200)
    answers = answer(model, as_batches((x, y), 1_000), Question(keep_outputs=True))
    assert isinstance(answers.outputs, np.memmap) and answers.outputs.shape == (24_000, 4)
    np.testing.assert_allclose(answers.outputs[-N:], model.predict(X, verbose=0), atol=1e-6)
    metric = compiled_metrics(model, True, None, (x[:5], y[:5]))["accuracy"]
    rows = np.arange(0, 24_000, 2)
    right = (X.argmax(axis=1) == LABELS)[rows % N]
    assert value_over(metric, answers, rows) == pytest.approx(right.mean(), abs=1e-6)


# ------------------------------------------------------------------------------- calibration, churn, worst and gap


def test_calibration_error_against_scikit_learn() -> None:
    model, _ = compiled("sparse", None)
    found = tfprune.evaluate(model, (X, LABELS), slices=SLICES, metadata={"site": SITE})
    odds = model.predict(X, verbose=0)
    confidence, right = odds.max(axis=1), odds.argmax(axis=1) == LABELS
    for site in range(3):
        rows = site == SITE
        accuracy, mean = calibration_curve(right[rows], confidence[rows], n_bins=15)
        counts = np.bincount(np.clip(np.ceil(confidence[rows] * 15).astype(int) - 1, 0, 14), minlength=15)
        expected = np.average(np.abs(accuracy - mean), weights=counts[counts > 0])
        assert found.slice(f"site_{site}").calibration_error == pytest.approx(expected, abs=1e-6)


def test_churn_worst_and_gap_against_numpy() -> None:
    dense, _ = compiled("sparse", None)
    pruned = keras.Sequential([layers.Dense(4, use_bias=False, input_shape=(4,), weights=[np.diag([1.0, 1, 0.2, 1])])])
    specs = [*SLICES, "classes", Column("site", 1, name="tiny") & Column("small", True)]
    small = np.arange(N) < 20
    metadata = {"site": SITE, "small": small}
    found = tfprune.evaluate(pruned, (X, LABELS), slices=specs, metadata=metadata, baseline=dense, min_support=8)
    before, now = dense.predict(X, verbose=0).argmax(axis=1), pruned.predict(X, verbose=0).argmax(axis=1)
    rows = {f"site_{site}": site == SITE for site in range(3)} | {
        f"class_{label}": label == LABELS for label in range(4)
    }
    rows["tiny_and_small_True"] = (SITE == 1) & small
    drops, scores = {}, {}
    for name, which in rows.items():
        each = found.slice(name)
        assert each.churn == pytest.approx((before != now)[which].mean())
        assert each.accuracy == pytest.approx(accuracy_score(LABELS[which], now[which]))
        drops[name] = accuracy_score(LABELS[which], before[which]) - scores.setdefault(name, each.accuracy)
        assert each.drop == pytest.approx(drops[name])
    judged = {name for name in rows if rows[name].sum() >= 8}
    assert "tiny_and_small_True" not in judged and len(judged) == 7
    assert found.worst is not None and found.worst_scored is not None
    assert found.worst.drop == pytest.approx(max(drops[name] for name in judged))
    assert found.worst_scored.accuracy == min(scores[name] for name in judged)
    assert found.gap == pytest.approx(max(scores[n] for n in judged) - min(scores[n] for n in judged))
    assert found.slice("tiny_and_small_True").p_adjusted is None
    assert all(found.slice(name).p_adjusted is not None for name in judged)

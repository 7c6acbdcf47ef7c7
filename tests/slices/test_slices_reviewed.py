"""What a reviewer found once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import DataError, SliceError, TfpruneError
from tfprune.recipe import Column, Exemplars, ModelFiles
from tfprune.slices.answers import answer
from tfprune.slices.asking import asker
from tfprune.slices.statistics import accuracy_interval, mean_interval, mean_p_value

layers = keras.layers
DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(60, 4)).astype(np.float32)
Y = DRAW.integers(0, 3, 60)


def classifier(seed: int = 0, activation: str | None = "softmax") -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([layers.Dense(8, "relu", input_shape=(4,)), layers.Dense(3, activation)])


def test_logits_between_nought_and_one_are_logits_where_the_loss_says_so() -> None:
    model = keras.Sequential([layers.Activation("linear", input_shape=(1,))])
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    evaluation = tfprune.evaluate(model, (np.full((20, 1), 0.3, np.float32), np.ones(20)), task="binary")
    assert evaluation.accuracy == 1.0  # a logit of 0.3 is a probability of 0.57


def test_a_softmax_that_is_off_by_rounding_gives_probabilities() -> None:
    answers = answer(classifier(), [(X, Y)])
    np.testing.assert_allclose(answers.confidence, classifier().predict(X, verbose=0).max(axis=1), atol=1e-6)


def test_a_change_of_the_model_is_heard_after_an_evaluation() -> None:
    model = classifier()
    before = tfprune.evaluate(model, (X, Y))
    model.layers[-1].activation = lambda logits: tf.nn.softmax(-logits)
    model.compile()
    assert tfprune.evaluate(model, (X, Y)).accuracy != before.accuracy
    expected = (model.predict(X, verbose=0).argmax(axis=1) == Y).mean()
    assert tfprune.evaluate(model, (X, Y)).accuracy == expected


def test_new_weights_need_no_new_trace() -> None:
    model = classifier()
    ask = asker(model)
    model.set_weights([each + 1 for each in model.get_weights()])
    assert asker(model) is ask
    np.testing.assert_allclose(ask(X), model.predict(X, verbose=0), atol=1e-6)


@pytest.mark.parametrize("change", ["eager", "ragged"])
def test_what_cannot_be_traced_is_asked_as_keras_does(change: str) -> None:
    if change == "eager":
        model = classifier()
        model.compile(run_eagerly=True)
        assert tfprune.evaluate(model, (X, Y)).support == 60
        return
    inputs = keras.Input((None,), dtype=tf.int64, ragged=True)
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(5, 4)(inputs).to_tensor())
    model = keras.Model(inputs, layers.Dense(3, "softmax")(pooled))
    rows = tf.ragged.constant([[1, 2], [3], [4, 1, 2]], dtype=tf.int64)
    data = tf.data.Dataset.from_tensors((rows, tf.constant([0, 1, 2])))
    assert tfprune.evaluate(model, data).support == 3


def test_a_function_over_data_that_shuffles_is_refused() -> None:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(60).batch(10)
    with pytest.raises(DataError, match="another order each time"):
        tfprune.evaluate(classifier(), data, slices=[{"where": lambda x, y: y == 1}])


def test_the_opposite_of_pie_gates_no_more_than_pie() -> None:
    slices = ["pie", {"none_of": ["pie"]}, {"none_of": ["pie"], "name": "calm"}]
    evaluation = tfprune.evaluate(classifier(1), (X, Y), baseline=classifier(), slices=slices, min_support=1)
    assert all(each.selected and each.p_adjusted is None for each in evaluation.slices)
    assert evaluation.judged == () and evaluation.gap is None


def test_exemplars_of_models_are_chosen_by_answers() -> None:
    models = ModelFiles(dense=(classifier(),), pruned=(classifier(1),))
    evaluation = tfprune.evaluate(
        classifier(1), (X, Y), baseline=classifier(), slices=[Exemplars(models)], min_support=1
    )
    assert evaluation.slice("pie").selected and evaluation.worst is None


def test_changed_examples_of_no_weight_end_nothing() -> None:
    dense, pruned = classifier(), classifier(1)
    changed = dense.predict(X, verbose=0).argmax(axis=1) != pruned.predict(X, verbose=0).argmax(axis=1)
    assert changed.any()
    weights = np.where(changed, 0.0, 1.0)
    evaluation = tfprune.evaluate(pruned, (X, Y, weights), baseline=dense, slices=["pie"])
    assert evaluation.slices == () and evaluation.drop == 0


def test_a_weighted_accuracy_has_the_interval_of_its_effective_number() -> None:
    right = classifier().predict(X, verbose=0).argmax(axis=1)
    evaluation = tfprune.evaluate(classifier(), (X, right, np.full(60, 2.0)))
    assert evaluation.whole.interval == pytest.approx(accuracy_interval(60, 60))


@pytest.mark.parametrize(("limit", "low", "high"), [(0.0, 0.0, 0.001), (1.0, 0.4, 0.6), (2.0, 0.99, 1.0)])
def test_a_gate_on_a_mean_is_students(limit: float, low: float, high: float) -> None:
    worse = np.random.default_rng(0).normal(1.0, 1.0, 400)
    worse += 1.0 - worse.mean()
    assert low <= mean_p_value(1.0, mean_interval(worse), 400, limit) <= high


def test_the_name_of_the_whole_is_taken() -> None:
    with pytest.raises(SliceError, match="a slice is called 'all'"):
        tfprune.evaluate(classifier(), (X, Y), slices=[{"label": "1", "name": "all"}])


def test_booleans_and_columns_without_a_number() -> None:
    metadata = {"flag": np.arange(60) < 20, "none": np.full(60, np.nan)}
    evaluation = tfprune.evaluate(classifier(), (X, Y), metadata=metadata, slices=[Column("flag", "True")])
    assert evaluation.slices[0].support == 20
    with pytest.raises(SliceError, match="holds no number to take quantiles of"):
        tfprune.evaluate(classifier(), (X, Y), metadata=metadata, slices=[Column("none", quantiles=2)])


def test_embeddings_do_not_pile_up(tmp_path) -> None:
    """40,000 examples of 1,000 features, of which eight components are kept: 160 MB if they waited."""
    script = """
import resource, numpy as np, tfprune
from tfprune.backend import keras, tf
batches = tf.data.Dataset.range(40_000).batch(500).map(lambda n: (tf.cast(n, tf.float32)[:, None] / 4e4, n % 2))
model = keras.Sequential([keras.layers.Dense(1_000, "relu", input_shape=(1,)), keras.layers.Dense(1, "sigmoid")])
tfprune.evaluate(model, batches.take(4), slices=["discover"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tfprune.evaluate(model, batches, slices=["discover"])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert float(done.stdout.split()[-1]) < 110


@pytest.mark.parametrize("label", ["1", 1, "class_1"])
def test_a_class_may_be_given_as_its_number_or_as_tables_have_it(label: str | int) -> None:
    evaluation = tfprune.evaluate(classifier(), (X, Y), slices=[{"label": label}])
    assert evaluation.slices[0].support == (Y == 1).sum()


def test_a_dataset_that_is_not_batched_is_refused_before_tensorflow_aborts() -> None:
    with pytest.raises(DataError, match=r"give batches: dataset\.batch"):
        tfprune.evaluate(classifier(), tf.data.Dataset.from_tensor_slices((X, Y)))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"model": "small.keras"}, "expected a tf_keras model, but got str; read a file with tfprune.load"),
        ({"baseline": "dense.keras"}, "expected a tf_keras model, but got str"),
        ({"batch_size": 0}, "batch_size: got 0, expected at least 1"),
        ({"data": (list(X), list(Y))}, "x and y must be of one length, but got 4 and 60"),
    ],
)
def test_mistakes_of_a_new_user_are_one_line(arguments: dict, line: str) -> None:
    given = {"model": classifier(), "data": (X, Y), **arguments}
    with pytest.raises(TfpruneError) as error:
        tfprune.evaluate(given.pop("model"), given.pop("data"), **given)
    assert line in str(error.value) and "\n" not in str(error.value)

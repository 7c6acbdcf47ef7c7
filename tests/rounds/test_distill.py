"""A teacher in `fit`: its loss against a reference, what it leaves alone, and rounds that it takes part in."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from rich.console import Console

import tfprune
from tfprune.backend import keras, make_deterministic, tf
from tfprune.data.load import from_arrays
from tfprune.errors import DistillationError, RecipeError, TrainingError
from tfprune.masking.masked import masked_layers
from tfprune.models.clone import with_precision
from tfprune.recipe import DistillSection, TrainSection, parse
from tfprune.report.markdown import workflow_markdown
from tfprune.report.tables import rounds_table
from tfprune.report.watch import Watch
from tfprune.rounds.checkpoint import Workflow
from tfprune.rounds.distill import distill, is_taught
from tfprune.rounds.features import apart
from tfprune.rounds.finetune import Stretch, train
from tfprune.rounds.softened import Heads
from tfprune.rounds.start import execute
from tfprune.rounds.teaching import Teacher

X, Y = tiny_workflow.examples(64)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy


def tiny(seed: int = 1, width: int = 16, logits: bool = False) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return tiny_workflow.build((8,), 3, width, logits)


def compiled(model: keras.Model, rate: float = 0.01, loss="sparse_categorical_crossentropy", **options) -> keras.Model:
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], **options)
    return model


def same(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs)


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    """A model that has learned something; its normalization has statistics that training would change."""
    model = tiny(5)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=8, batch_size=32, verbose=0)
    return model


# ---------------------------------------------------------------------------------------------- references


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def of_classes(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """Hinton et al. 2015, of each example."""
    ours, theirs = softmax(student / temperature), softmax(teacher / temperature)
    return temperature**2 * (theirs * np.log(theirs / ours)).sum(axis=-1)


def of_labels(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    ours, theirs = sigmoid(student / temperature), sigmoid(teacher / temperature)
    both = theirs * np.log(theirs / ours) + (1 - theirs) * np.log((1 - theirs) / (1 - ours))
    return temperature**2 * both.mean(axis=-1)


def of_numbers(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    return np.square(student.astype(np.float64) - teacher).mean(axis=-1)


logits = st.lists(st.floats(-8, 8, width=32), min_size=6, max_size=6).map(lambda row: np.array(row).reshape(2, 3))


@given(logits, logits, st.floats(0.5, 20), st.floats(-5, 5))
@settings(deadline=None, max_examples=40)
def test_softened_classes_are_what_hinton_says(student, teacher, temperature, shift):
    by_logits = Heads("multiclass", False, False)
    found = by_logits.values(tf.constant(student), tf.constant(teacher), temperature).numpy()
    # A cancellation of logarithms in float32, times the temperature squared.
    near = {"rel": 1e-4, "abs": 3e-6 * temperature**2}
    assert found == pytest.approx(of_classes(student, teacher, temperature), **near)
    of_shares = Heads("multiclass", True, True).values(softmax(student), softmax(teacher), temperature).numpy()
    shifted = by_logits.values(tf.constant(student + shift), tf.constant(teacher), temperature).numpy()
    assert of_shares == pytest.approx(found, rel=2e-3, abs=3e-5 * temperature**2)
    assert shifted == pytest.approx(found, **near)
    assert by_logits.values(tf.constant(teacher), tf.constant(teacher), temperature).numpy() == pytest.approx([0, 0])


def linear(units: int, activation: str | None, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.layers.Dense(units, activation, input_shape=(8,), name="out")])


HEADS = {
    "softmax": (3, "softmax", "softmax", "sparse_categorical_crossentropy", of_classes),
    "logits": (3, None, None, CROSS_ENTROPY(from_logits=True), of_classes),
    "softmax taught by logits": (3, "softmax", None, "sparse_categorical_crossentropy", of_classes),
    "logits taught by softmax": (3, None, "softmax", CROSS_ENTROPY(from_logits=True), of_classes),
    "sigmoid": (1, "sigmoid", "sigmoid", "binary_crossentropy", of_labels),
    "several labels": (3, "sigmoid", None, "binary_crossentropy", of_labels),
    "regression": (2, None, None, "mse", of_numbers),
}


QUICK = ("softmax taught by logits", "several labels", "regression")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.full) for kind in HEADS]
)
def test_a_step_is_that_of_the_reference(kind):
    """Losses and the step that follows from their gradient, with weights of examples, in float64."""
    units, ours, theirs, loss, divergence = HEADS[kind]
    temperature, weight = (3.0, 0.3) if divergence is not of_numbers else (None, 0.3)
    student, teacher = linear(units, ours, 1), linear(units, theirs, 2)
    y = Y if kind not in ("sigmoid", "several labels", "regression") else (X[:, :units] > 0).astype(np.float32)
    weights = np.linspace(0, 2, len(X)).astype(np.float32)
    compiled(student, rate=1.0, loss=loss)
    kernel, bias = student.get_weights()
    distill(student, teacher, temperature=temperature, weight=weight)
    told = student.fit(X, y, batch_size=len(X), sample_weight=weights, verbose=0).history

    def labelled(z: np.ndarray) -> np.ndarray:
        if divergence is of_classes:
            return -np.log(softmax(z)[np.arange(len(y)), y])
        if divergence is of_labels:
            return -(y * np.log(sigmoid(z)) + (1 - y) * np.log(1 - sigmoid(z))).mean(axis=-1)
        return np.square(z - y).mean(axis=-1)

    taught = X.astype(np.float64) @ teacher.get_weights()[0] + teacher.get_weights()[1]

    def losses(kernel: np.ndarray, bias: np.ndarray) -> tuple[float, float]:
        z = X.astype(np.float64) @ kernel + bias
        soft = divergence(z, taught, temperature or 1.0)
        return float((weights * labelled(z)).mean()), float((weights * soft).mean())

    hard, soft = losses(kernel, bias)
    assert told["label_loss"][0] == pytest.approx(hard, rel=1e-5)
    assert told["distillation_loss"][0] == pytest.approx(soft, rel=1e-4)
    assert told["loss"][0] == pytest.approx((1 - weight) * hard + weight * soft, rel=1e-5)
    moved = kernel - student.get_weights()[0]
    for place in np.ndindex(*kernel.shape):
        nudge = np.zeros(kernel.shape)
        nudge[place] = 1e-5
        up, down = losses(kernel + nudge, bias), losses(kernel - nudge, bias)
        slope = sum(share * (a - b) / 2e-5 for share, a, b in zip((1 - weight, weight), up, down, strict=True))
        assert moved[place] == pytest.approx(slope, rel=1e-3, abs=1e-6)


# -------------------------------------------------------------------------------------- what is left alone


def test_a_weight_of_zero_changes_not_a_bit(teacher):
    """With dropout, normalization, a regularizer and momentum in the way."""
    found = []
    for taught in (False, True):
        make_deterministic(3)
        regularized = tiny(2)
        regularized.get_layer("second").kernel_regularizer = keras.regularizers.L2(0.01)
        student = keras.models.clone_model(regularized)
        student.set_weights(regularized.get_weights())
        student.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
        assert student.losses, "the regularizer counts"
        if taught:
            distill(student, teacher, weight=0.0)
        keras.utils.set_random_seed(4)
        told = student.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False).history
        found.append((student, told))
    (plain, before), (student, told) = found
    assert same(plain, student)
    assert told["loss"] == told["label_loss"] == before["loss"]
    assert min(told["distillation_loss"]) > 0, "the teacher was asked all the same"


def test_regularization_counts_in_full_and_labels_not_at_all_with_a_weight_of_one(teacher):
    student = keras.models.clone_model(tiny(2))
    student.get_layer("last").kernel_regularizer = keras.regularizers.L2(0.1)
    student = compiled(keras.models.clone_model(student))
    (free,) = (float(each) for each in student.losses)
    told = distill(student, teacher, weight=1.0).fit(X, Y, batch_size=64, verbose=0).history
    assert told["loss"][0] == pytest.approx(told["distillation_loss"][0] + free, rel=1e-5)
    assert told["label_loss"][0] > free


def test_only_the_student_learns(teacher):
    before, student = teacher.get_weights(), compiled(tiny(2))
    start = student.get_weights()
    distill(student, teacher, features=["second"]).fit(X, Y, epochs=2, verbose=0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(teacher.get_weights(), before, strict=True))
    assert not any(a.tobytes() == b.tobytes() for a, b in zip(student.get_weights(), start, strict=True))
    assert len(student.optimizer.variables) == 1 + 1 * (len(student.trainable_variables)), (
        "one slot a weight, ours alone"
    )


def test_the_student_stays_the_model_that_it_is(teacher, tmp_path):
    student = compiled(tiny(2))
    layers, names = [each.name for each in student.layers], student.metrics_names
    told = distill(student, teacher, features=["second"]).fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert set(told) == {
        "loss",
        "accuracy",
        "label_loss",
        "distillation_loss",
        "feature_loss",
        "val_loss",
        "val_accuracy",
    }
    assert told["val_loss"][-1] == student.evaluate(X, Y, verbose=0)[0], "an evaluation is as compiled"
    assert [each.name for each in student.layers] == layers and set(names) <= set(student.metrics_names)
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert same(loaded, student) and not is_taught(loaded)
    assert not is_taught(tfprune.strip(student)) and not is_taught(keras.models.clone_model(student))
    assert distill(student, None) is student
    assert set(student.fit(X, Y, verbose=0).history) == {"loss", "accuracy"}
    assert distill(student, None) is student, "letting go of nobody is fine"


@pytest.mark.full
@pytest.mark.parametrize("name", ["student.keras", "student.h5", "saved_model"])
def test_a_file_holds_nothing_of_the_teacher(name, teacher, tmp_path):
    student = compiled(tiny(2))
    distill(student, teacher, features=["second"]).fit(X, Y, verbose=0)
    student.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    assert len(loaded.weights) == len(student.weights) and same(loaded, student)
    assert set(loaded.fit(X, Y, verbose=0).history) == {"loss", "accuracy"}


def test_masks_hold(teacher):
    schedule = tfprune.PolynomialDecay(final_sparsity=0.7, end_step=6, frequency=2)
    student = compiled(tfprune.wrap(teacher, schedule))
    distill(student, teacher, features={"first": "first", "masked_second": "second"})
    told = student.fit(X, Y, batch_size=16, epochs=3, verbose=0).history
    assert told["sparsity"][-1] == pytest.approx(0.7, abs=0.02)
    for layer in masked_layers(student):
        for weight, mask, _ in layer.pruning_vars:
            assert not weight.numpy()[mask.numpy() == 0].any()
    assert told["feature_loss"][-1] > 0
    assert tfprune.measure(tfprune.strip(student)).sparsity == pytest.approx(0.7, abs=0.02)


def test_nothing_is_traced_twice_and_nothing_stays(teacher):
    student = compiled(tiny(2))
    distill(student, teacher, features=["second"])
    traced = []
    for epoch in range(3):
        student.fit(
            tf.data.Dataset.from_tensor_slices((X, Y)).batch(16), initial_epoch=epoch, epochs=epoch + 1, verbose=0
        )
        traced.append(student.train_tf_function.experimental_get_tracing_count())
    assert traced[1:] == traced[:1] * 2
    nodes = [len(layer._outbound_nodes) for layer in teacher.layers]
    gone = []
    for _ in range(3):
        other = distill(compiled(tiny(2)), teacher, features=["second"])
        other.fit(X, Y, verbose=0)
        gone.append(weakref.ref(other))
        del other
    keras.backend.clear_session()
    gc.collect()
    assert [each() for each in gone] == [None] * 3, "the teacher holds no student"
    assert [len(layer._outbound_nodes) for layer in teacher.layers] == nodes


@pytest.mark.full
def test_a_student_may_be_compiled_before_or_after_and_anew(teacher):
    student = distill(tiny(2), teacher)
    for loss in ("sparse_categorical_crossentropy", CROSS_ENTROPY()):
        compiled(student, loss=loss)
        assert "distillation_loss" in student.fit(X, Y, verbose=0).history
    assert "distillation_loss" in distill(student, tiny(7)).fit(X, Y, verbose=0).history, "another teacher"


@pytest.mark.full
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"steps_per_execution": 2}, {"jit_compile": True}])
def test_however_keras_runs_the_step(options, teacher):
    losses = []
    for more in ({}, options):
        student = compiled(tiny_without_dropout(), **more)
        distill(student, teacher, weight=0.7)
        losses.append(student.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def tiny_without_dropout() -> keras.Model:
    model = tiny(2)
    model.get_layer("dropout").rate = 0.0
    return model


@pytest.mark.parametrize("policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.full)])
def test_mixed_precision(policy, teacher):
    student = with_precision(tiny(2), policy)
    optimizer = keras.optimizers.Adam(0.01)
    scaled = keras.mixed_precision.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer
    student.compile(scaled, "sparse_categorical_crossentropy")
    distill(student, with_precision(teacher, policy), features=["second"])
    told = student.fit(X, Y, batch_size=16, epochs=6, verbose=0).history
    assert told["loss"][-1] < told["loss"][0]
    assert all(np.isfinite(values).all() for values in told.values())


# ------------------------------------------------------------------------------------------------ features


def test_features_of_one_shape_are_compared_number_by_number():
    ours, theirs = np.random.default_rng(1).normal(size=(2, 5, 4, 3)).astype(np.float32)
    assert apart(ours, theirs).numpy() == pytest.approx(np.square(ours - theirs).mean(axis=(1, 2)), rel=1e-5)


def test_features_of_other_widths_are_compared_by_what_is_alike():
    draw = np.random.default_rng(1)
    ours, theirs = draw.normal(size=(5, 4, 3)).astype(np.float32), draw.normal(size=(5, 4, 7)).astype(np.float32)

    def alike(values: np.ndarray) -> np.ndarray:
        rows = values.reshape(5, -1).astype(np.float64)
        products = rows @ rows.T
        return products / np.linalg.norm(products, axis=1, keepdims=True)

    expected = np.square(alike(ours) - alike(theirs)).sum(axis=1)
    assert apart(ours, theirs).numpy() == pytest.approx(expected, rel=1e-4)
    wider = np.concatenate([ours, ours], axis=2)  # the same, said twice
    assert apart(ours, wider).numpy() == pytest.approx(np.zeros(5), abs=1e-6)
    assert apart(np.zeros_like(ours), theirs).numpy() == pytest.approx(np.ones(5), rel=1e-5), "and no NaN"


def test_the_feature_loss_is_their_sum(teacher):
    student, _ = tfprune.shrink(teacher, ratio=0.5)
    compiled(student, rate=0.0)
    student.get_layer("dropout").rate = 0.0

    def seen(model: keras.Model, name: str, training: bool) -> np.ndarray:
        return keras.Model(model.input, model.get_layer(name).output)(X, training=training).numpy()

    pairs = {"relu": "relu", "second": "first", "last": "last"}
    sums = sum(apart(seen(student, a, True), seen(teacher, b, False)).numpy().mean() for a, b in pairs.items())
    distill(student, teacher, weight=0.0, features=pairs, feature_weight=2.0)
    told = student.fit(X, Y, batch_size=len(X), verbose=0).history
    assert told["feature_loss"][0] == pytest.approx(sums, rel=1e-4)
    assert told["loss"][0] == pytest.approx(told["label_loss"][0] + 2 * sums, rel=1e-4)


# ----------------------------------------------------------------------------------------------- bad input


def other_input() -> keras.Model:
    return tiny_workflow.build((5,), 3)


def with_two_outputs() -> keras.Model:
    inputs = keras.Input((8,))
    return keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)])


def with_a_shared_layer() -> keras.Model:
    inputs, shared = keras.Input((8,)), keras.layers.Dense(8, name="shared")
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(shared(shared(inputs))))


def with_a_nested_model() -> keras.Model:
    inner = keras.Sequential([keras.layers.Dense(8, input_shape=(8,), name="hidden")], name="inner")
    return keras.Sequential([inner, keras.layers.Dense(3, "softmax", name="out")])


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}


def with_its_own_step() -> keras.Model:
    inputs = keras.Input((8,))
    return OwnStep(inputs, keras.layers.Dense(3, "softmax")(inputs))


def with_a_step_on_it() -> keras.Model:
    model = tiny()
    model.train_step = lambda data: {}
    return model


def regression() -> keras.Model:
    return compiled(linear(3, None, 1), loss="mse")


def untold() -> keras.Model:
    return compiled(linear(3, None, 1), loss=lambda y, p: tf.reduce_mean(p))


WRONG = {
    "no model": (tiny, lambda: "resnet", {}, "teacher: expected a tf_keras model, but got builtins.str"),
    "not built": (lambda: keras.Sequential([keras.layers.Dense(3)]), tiny, {}, "is not built yet"),
    "inputs": (tiny, other_input, {}, r"takes inputs \[\(None, 8\)\], teacher 'tiny' takes \[\(None, 5\)\]"),
    "outputs": (tiny, lambda: linear(4, "softmax", 1), {}, r"answers \(3,\) an example, teacher '.*' \(4,\)"),
    "two outputs": (
        with_two_outputs,
        tiny,
        {},
        "student: model '.*' has 2 outputs; distillation takes models with one",
    ),
    "own step": (with_its_own_step, tiny, {}, "OwnStep '.*' has a train_step of its own"),
    "a step on it": (with_a_step_on_it, tiny, {}, "Functional 'tiny' has a train_step of its own"),
    "temperature": (tiny, tiny, {"temperature": 0}, "temperature: got 0, expected a number above 0"),
    "yes": (tiny, tiny, {"temperature": True}, "temperature: got True, expected a number above 0"),
    "weight": (tiny, tiny, {"weight": 1.5}, "weight: got 1.5, expected a number from 0 to 1"),
    "NaN": (tiny, tiny, {"weight": float("nan")}, "weight: got nan"),
    "feature weight": (tiny, tiny, {"feature_weight": "1"}, "feature_weight: got '1', expected a number above 0"),
    "one name": (tiny, tiny, {"features": "second"}, "features: got 'second', expected a list of layer names"),
    "no name": (tiny, tiny, {"features": [3]}, r"features: got \[3\], expected a list"),
    "unknown": (
        tiny,
        tiny,
        {"features": ["secnod"]},
        "the student 'tiny' has no layer 'secnod'; did you mean 'second'",
    ),
    "unknown there": (tiny, tiny, {"features": {"second": "zzz"}}, "the teacher 'tiny' has no layer 'zzz'"),
    "shared": (with_a_shared_layer, tiny, {"features": {"shared": "first"}}, "'shared' is called 2 times"),
    "nested": (with_a_nested_model, tiny, {"features": {"hidden": "first"}}, "'hidden' inside a nested model"),
    "soft numbers": (regression, lambda: linear(3, None, 2), {"temperature": 2}, "a regression, whose outputs cannot"),
    "untold": (untold, lambda: linear(3, None, 2), {}, "tells what its outputs mean; compile it with a loss of Keras"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_bad_input_is_one_line_and_changes_nothing(kind):
    student, teacher, options, message = WRONG[kind]
    given = student()
    with pytest.raises(DistillationError, match=message) as told:
        distill(given, teacher(), **options)
    assert "\n" not in str(told.value)
    assert not is_taught(given)


def test_a_model_does_not_teach_itself(teacher):
    with pytest.raises(DistillationError, match="share weight 'first/kernel:0', so the teacher would learn as well"):
        distill(teacher, teacher)


def test_a_regression_that_is_compiled_later_is_refused_in_fit():
    student = distill(linear(3, None, 1), linear(3, None, 2), temperature=2)
    with pytest.raises(DistillationError, match="cannot be softened; leave it out") as told:
        compiled(student, loss="mse").fit(X, X[:, :3], verbose=0)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"temperture": 2}, "finetune.distill.temperture: unknown key .* did you mean 'temperature'"),
        ({"weight": 1.5}, "finetune.distill.weight: got 1.5, expected: input should be less than or equal to 1"),
        (
            {"features": "second"},
            "finetune.distill.features: got 'second', expected a list of layer names, or a mapping",
        ),
        ({"features": {"first": 3}}, "finetune.distill.features: got {'first': 3}, expected a list"),
        ({"feature_weight": 2}, "finetune.distill: feature_weight weighs features, but there are none"),
        (True, "finetune.distill: got True, expected a section with keys such as feature_weight"),
    ],
)
def test_a_recipe_is_told_what_is_wrong(section, message):
    with pytest.raises(RecipeError, match=message):
        parse(tiny_workflow.recipe(finetune__distill=section))


def test_a_recipe_without_it_is_what_it_was():
    plain = parse(tiny_workflow.recipe())
    assert "distill" not in plain.to_yaml()
    digests = {
        plain.digest,
        *(parse(tiny_workflow.recipe(finetune__distill=each)).digest for each in ({}, {"weight": 1})),
    }
    assert len(digests) == 3
    with pytest.raises(RecipeError, match=r"finetune.distill needs training to take part in, but finetune.epochs is 0"):
        parse(tiny_workflow.recipe(finetune={"epochs": 0, "distill": {}}))


# ------------------------------------------------------------------------------------------------- rounds


def test_a_round_without_the_layer_of_a_feature_is_taught_without_it(teacher):
    train_split = from_arrays(X, Y).train
    section = DistillSection(features=("first", "second"))
    inputs = keras.Input((8,))
    short = compiled(keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.Dense(9, name="first")(inputs))))
    tutor = Teacher(section, teacher, train_split, 16)
    assert tutor.teach(short) == ("second",)
    step = short.train_step
    assert tutor.teach(short) == ("second",) and short.train_step is step, "nothing is traced anew"
    assert "feature_loss" in short.fit(X, Y, verbose=0).history
    tutor.leave(short)
    assert not is_taught(short)
    cost = tutor.cost([{"seconds": 1.0}, {"seconds": 3.0}], steps=10)
    assert cost.macs == tfprune.measure(teacher).macs
    assert 0 < cost.seconds < 4 and cost.share == pytest.approx(cost.seconds / 4, abs=1e-3)
    assert tutor.cost([{"seconds": 1e-6}], steps=10**6).share == 1.0


def test_a_loss_that_is_no_number_is_named(teacher):
    """The part that is none, where the labels' own loss still is one."""
    broken = tfprune.strip(teacher)
    broken.get_layer("last").set_weights([np.full((16, 3), np.nan), np.zeros(3)])
    student = distill(compiled(tiny(2)), broken)
    split = from_arrays(X, Y).train
    with pytest.raises(TrainingError, match="the distillation loss became nan in epoch 1"):
        train(
            student,
            split,
            TrainSection(batch_size=64),  # a single step: after it, nothing is a number
            Stretch("r01", 1, lambda progress: 0.01, 1),
            history=[],
            watch=Watch(),
            stop_asked=lambda: False,
            keep=lambda history: None,
        )


MASKS = {"target": {"sparsity": 0.6}, "rounds": 1, "schedule": {"frequency": 2}}
UNITS = {"method": "structured", "target": {"ratio": 0.4}, "rounds": 1}


def recipe(name: str, **changes):
    taught = {"finetune__distill": {"features": ["second"], "weight": 0.8}, "train__epochs": 1, "track__models": False}
    return parse(tiny_workflow.recipe(name=f"distil-{name}", **{"prune": [UNITS, MASKS], **taught, **changes}))


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def workflow(warm_home):
    """A workflow of both methods whose every round is taught."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        yield execute(recipe("both"))


def test_rounds_of_both_methods_are_taught_and_it_is_on_record(workflow, warm_home):
    dense, *rounds = workflow.rounds
    assert [each.method for each in rounds] == ["structured", "masking"]
    assert dense.teacher is None and "distillation_loss" not in dense.history[0]
    for each in rounds:
        assert all(row["distillation_loss"] > 0 and row["feature_loss"] > 0 for row in each.history)
        assert each.teacher is not None and each.teacher.macs == dense.measurement.macs
        assert 0 < each.teacher.share < 1 and 0 < each.teacher.seconds < each.seconds
    assert not is_taught(workflow.model)
    client = MlflowClient(f"sqlite:///{warm_home / 'mlflow.db'}")
    runs = client.search_runs(
        [client.get_experiment_by_name("tfprune").experiment_id], "tags.`tfprune.workflow` = 'distil-both-1'"
    )
    found = {run.data.tags["tfprune.label"]: run.data for run in runs}
    assert found["workflow"].params["finetune.distill.weight"] == "0.8"
    assert found["r01"].metrics["teacher_macs"] == dense.measurement.macs
    assert found["r02"].metrics["teacher_share"] == pytest.approx(rounds[1].teacher.share)
    assert "finetune/distillation_loss" in found["r01"].metrics and "teacher_macs" not in found["dense"].metrics
    sentence = f"The dense model taught ({dense.measurement.macs:,} MACs an example), in "
    assert sentence in workflow_markdown("w", workflow.rounds, "")
    console = Console(width=80, record=True)
    console.print(rounds_table("w", workflow.rounds))
    assert sentence in " ".join(console.export_text().split())


@pytest.mark.full
def test_the_teacher_makes_a_difference_and_a_weight_of_zero_makes_none(home):
    pruned = {"prune": MASKS, "finetune__epochs": 1}
    plain = execute(recipe("plain", **pruned, finetune__distill=None))
    idle = execute(recipe("idle", **pruned, finetune__distill={"weight": 0}))
    taught = execute(recipe("taught", **pruned))
    assert same(plain.model, idle.model)
    assert not same(plain.model, taught.model)


def test_killed_after_an_epoch_of_each_round_it_ends_the_same(workflow, home, monkeypatch):
    """The teacher of a later process is the dense model of round 0, and nothing else of it is left to restore."""
    keep, killed = Workflow.keep_progress, []

    def keep_and_die(self, stretch, model, history):
        keep(self, stretch, model, history)
        if len(history) == 1 and stretch not in ("dense", *killed):
            killed.append(stretch)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Workflow, "keep_progress", keep_and_die)
        for _ in range(2):
            with pytest.raises(Killed):
                execute(recipe("both"))
    again = execute(recipe("both"))
    assert (killed, again.workflow) == (["r01", "r02"], "distil-both-2")
    assert same(again.model, workflow.model)
    for ours, theirs in zip(again.rounds, workflow.rounds, strict=True):
        for row, other in zip(ours.history, theirs.history, strict=True):
            clock = {"seconds", "ended"}
            assert {k: v for k, v in row.items() if k not in clock} == {
                k: v for k, v in other.items() if k not in clock
            }


def test_a_feature_that_is_not_there_is_refused_before_training(home):
    wrong = recipe("wrong", finetune__distill={"features": ["secnod"]})
    with pytest.raises(DistillationError, match="has no layer 'secnod'; did you mean 'second'"):
        execute(wrong)
    assert not list(Path(home, "workflows").glob("distil-wrong*"))


# ------------------------------------------------------------------------------------------------- others


@pytest.mark.full
@pytest.mark.parametrize("prune", [{"target": {"sparsity": 0.8}, "rounds": 1}, {**UNITS, "batches": 1}])
def test_finals_of_a_search_are_taught_and_trials_are_not(prune, home):
    content = tiny_workflow.recipe(
        name=f"distil-search-{prune.get('method', 'masking')}",
        prune=prune,
        finetune={"epochs": 2, "distill": {"features": ["second"]}},
        search={"oracle": "random", "trials": 1, "epochs": 1, "sensitivity": [0.5, 0.9], "finalists": 1},
    )
    found = tfprune.search(content)
    assert all("distillation_loss" not in row for each in found.trials for row in each.history)
    assert all(each.teacher is None for each in found.trials)
    (final,) = found.finals
    assert all(row["distillation_loss"] > 0 and row["feature_loss"] > 0 for row in final.history)
    assert final.teacher is not None and 0 < final.teacher.share < 1
    assert "distill:" in found.recipe.read_text("utf-8")


MIRRORED = """
import sys
import numpy as np
import tfprune
from tfprune.backend import keras, tf
from tfprune.rounds.distill import distill
import tiny_workflow

count, out = int(sys.argv[1]), sys.argv[2]
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
devices = [f"CPU:{index}" for index in range(count)]
strategy = tf.distribute.MirroredStrategy(devices) if count > 1 else tf.distribute.get_strategy()
x, y = tiny_workflow.examples(64)
layers = keras.layers

def model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([layers.Dense(16, "tanh", input_shape=(8,), name="a",
        kernel_regularizer="l2"), layers.Dense(3, "softmax")])

teacher = model(1)  # made by itself, as a file is read
with strategy.scope():
    student = model(2)
    student.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
distill(student, teacher, weight=0.6, features=["a"])
history = student.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
np.savez(out, *student.get_weights(), **{k: v for k, v in history.items()})
"""


@pytest.mark.full
def test_two_replicas_learn_what_one_learns(tmp_path):
    results = []
    for count in (1, 2):
        path = tmp_path / f"{count}.npz"
        command = [sys.executable, "-c", MIRRORED, str(count), str(path)]
        done = subprocess.run(
            command, env=tiny_workflow.environment(tmp_path), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        results.append(np.load(path))
    one, two = results
    assert set(one.files) == set(two.files)
    for name in one.files:
        assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), name

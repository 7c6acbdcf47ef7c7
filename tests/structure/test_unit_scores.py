"""Scores of units, each against what loops over the definition give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import TrainingError
from tfprune.importance.gradients import Gradients
from tfprune.structure.analysis import Analysis
from tfprune.structure.inspect import couplings
from tfprune.structure.scores import IMPORTANCES, score_units

layers = keras.layers
Input, Dense = keras.Input, layers.Dense
BATCH, EXAMPLES = 4, 10


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def dense_net() -> keras.Model:
    """Two hidden layers, one of them in a model of its own, and a shortcut that couples them."""
    inputs = Input((5,))
    a = Dense(6, activation="relu", name="a")(inputs)
    inner = keras.Sequential([Dense(6, activation="tanh", input_shape=(6,), name="b")], name="inner")
    x = layers.Add(name="sum")([a, inner(a)])
    return _ready(keras.Model(inputs, Dense(3, name="out")(Dense(4, activation="relu", name="c")(x))))


def conv_net() -> keras.Model:
    inputs = Input((6, 6, 2))
    x = layers.Conv2D(5, 3, name="conv")(inputs)
    x = layers.ReLU(name="act")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(4, 2, activation="relu", name="plain")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return _ready(keras.Model(inputs, Dense(3, name="out")(x)))


def _ready(model: keras.Model, seed: int = 0) -> keras.Model:
    oracle.randomise(model, seed)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], run_eagerly=True
    )
    return model


def data(model: keras.Model, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(EXAMPLES, *model.input_shape[1:])).astype(np.float32), rng.integers(0, 3, EXAMPLES)


def batched(model: keras.Model) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(data(model)).batch(BATCH)


def by_name(model: keras.Model, importance: Any, given: Any = None, **options: Any) -> dict[str, np.ndarray]:
    """Scores by coupling."""
    analysis = Analysis(model)
    scores = score_units(analysis, importance, given, **options)
    assert scores.shape == (analysis.size + 1,)
    return {group.name: scores[group.units] for group in analysis.groups}


Member = tuple[str, int, Callable[[int], Any]]
"""A layer, the place of a weight in it, and the index into that weight for a unit."""

# What leaves with a unit, written out by hand.
DENSE: dict[str, list[Member]] = {
    "a": [
        ("a", 0, lambda u: np.s_[:, u]),
        ("a", 1, lambda u: np.s_[u]),
        ("inner/b", 0, lambda u: np.s_[u, :]),
        ("inner/b", 0, lambda u: np.s_[:, u]),
        ("inner/b", 1, lambda u: np.s_[u]),
        ("c", 0, lambda u: np.s_[u, :]),
    ],
    "c": [("c", 0, lambda u: np.s_[:, u]), ("c", 1, lambda u: np.s_[u]), ("out", 0, lambda u: np.s_[u, :])],
}
CONV: dict[str, list[Member]] = {
    "conv": [
        ("conv", 0, lambda u: np.s_[..., u]),
        ("conv", 1, lambda u: np.s_[u]),
        ("norm", 0, lambda u: np.s_[u]),
        ("norm", 1, lambda u: np.s_[u]),
        ("plain", 0, lambda u: np.s_[:, :, u]),
    ],
    "plain": [("plain", 0, lambda u: np.s_[..., u]), ("plain", 1, lambda u: np.s_[u]), ("out", 0, lambda u: np.s_[u])],
}
NETS = [(dense_net, DENSE), (conv_net, CONV)]


def by_hand(model: keras.Model, members: dict[str, list[Member]], of: Callable[[Any], np.ndarray]) -> dict[str, list]:
    """Sum what a function says of single weights, unit by unit, weight by weight."""
    named = dict(oracle.walk(model))
    sizes = {name: named[name].weights[0].shape[-1] for name in members}
    found = {}
    for name, parts in members.items():
        found[name] = [
            sum(float(of(named[layer].weights[place])[at(unit)].astype(np.float64).sum()) for layer, place, at in parts)
            for unit in range(sizes[name])
        ]
    return found


def assert_same(found: dict[str, np.ndarray], expected: dict[str, Any], rtol: float = 1e-5) -> None:
    assert set(expected) <= set(found)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=1e-9, err_msg=name)
        assert np.unique(np.asarray(values)).size > 1, "units that score alike show nothing"


@pytest.mark.parametrize(("make", "members"), NETS)
def test_norms_reduce_over_every_coupled_weight(make: Callable[[], keras.Model], members: dict) -> None:
    model = make()
    assert_same(by_name(model, "l1"), by_hand(model, members, lambda w: np.abs(w.numpy())))
    squares = by_hand(model, members, lambda w: np.square(w.numpy(), dtype=np.float64))
    assert_same(by_name(model, "l2"), {name: np.sqrt(values) for name, values in squares.items()})
    assert_same(
        by_name(model, lambda weights: weights**2 + 1), by_hand(model, members, lambda w: np.square(w.numpy()) + 1)
    )


def batch_gradients(
    model: keras.Model, sizes: int = BATCH, examples: int = EXAMPLES
) -> Iterator[dict[int, np.ndarray]]:
    """Gradients of the mean loss of each batch, by the id of the weight."""
    x, y = data(model)
    weights = model.trainable_weights
    for start in range(0, examples, sizes):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    y[start : start + sizes], model(x[start : start + sizes], training=False), from_logits=True
                )
            )
        yield {id(w): g.numpy() for w, g in zip(weights, tape.gradient(loss, weights), strict=True)}


@pytest.mark.parametrize(("make", "members"), NETS)
@pytest.mark.parametrize("name", ["taylor", "gradient", "own"])
def test_gradient_scores_are_means_over_batches(make: Callable, members: dict, name: str) -> None:
    def own(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        return np.abs(weights) + 3 * gradients**2

    single = {"taylor": lambda w, g: np.abs(w * g), "gradient": lambda w, g: np.abs(g), "own": own}[name]
    model = make()
    steps = list(batch_gradients(model))

    def mean(weight: Any) -> np.ndarray:
        return np.mean([single(weight.numpy(), each[id(weight)]) for each in steps], axis=0)

    assert_same(by_name(model, own if name == "own" else name, batched(model)), by_hand(model, members, mean), 1e-4)
    model = make()  # a bound on batches is one
    steps = list(batch_gradients(model))[:2]
    found = by_name(model, own if name == "own" else name, batched(model), batches=2)
    assert_same(found, by_hand(model, members, mean), 1e-4)


def test_arrays_are_read_in_an_order_that_the_seed_gives() -> None:
    model = dense_net()
    rng = np.random.default_rng(0)
    given = rng.normal(size=(100, 5)).astype(np.float32), rng.integers(0, 3, 100)
    first, again, other = (by_name(model, "taylor", given, batches=1, seed=seed)["a"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    order = np.random.default_rng(1).permutation(100)[:32]
    chosen = tf.data.Dataset.from_tensor_slices((given[0][order], given[1][order])).batch(32)
    np.testing.assert_allclose(by_name(model, "taylor", chosen)["a"], other, rtol=1e-5)


# ----------------------------------------------------------------------------------------- gates of units


def gate_gradients(
    build: Callable[[Any], keras.Model], model: keras.Model, shapes: dict[str, int], x: Any, y: Any
) -> dict[str, np.ndarray]:
    """dL/dg of gates at 1 that really stand in the model, example by example: (examples, units)."""
    gates = {name: tf.Variable(np.ones(size, np.float32)) for name, size in shapes.items()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in gates}
    for place in range(len(x)):
        with tf.GradientTape() as tape:
            answers = build(gates)(tf.constant(x[place : place + 1]))
            loss = model.loss(y[place : place + 1], answers)
        for name, each in zip(gates, tape.gradient(loss, list(gates.values())), strict=True):
            found[name].append(np.asarray(each))
    return {name: np.stack(each) for name, each in found.items()}


def gated_dense(model: keras.Model) -> Callable[[Any], Any]:
    named = dict(oracle.walk(model))

    def build(gates: Any) -> Any:
        def run(x: Any) -> Any:
            a = named["a"](x)
            # Every reader of the coupling sees gated numbers: the inner layer, and the sum behind the shortcut.
            inner = named["inner/b"](a * gates["a"])
            return named["out"](named["c"]((a + inner) * gates["a"]) * gates["c"])

        return run

    return build


def gated_conv(model: keras.Model) -> Callable[[Any], Any]:
    named = dict(oracle.walk(model))

    def build(gates: Any) -> Any:
        def run(x: Any) -> Any:
            x = named["act"](named["norm"](named["conv"](x), training=False)) * gates["conv"]
            return named["out"](tf.reduce_mean(named["plain"](x), (1, 2)) * gates["plain"])

        return run

    return build


@pytest.mark.parametrize(
    ("make", "gated", "sizes"),
    [(dense_net, gated_dense, {"a": 6, "c": 4}), (conv_net, gated_conv, {"conv": 5, "plain": 4})],
)
def test_gate_and_fisher_are_those_of_gates_that_really_stand_there(
    make: Callable, gated: Callable, sizes: dict[str, int]
) -> None:
    model = make()
    x, y = data(model)
    each = gate_gradients(gated(model), model, sizes, x, y)
    assert_same(by_name(model, "gate", batched(model)), {n: np.abs(g).mean(0) for n, g in each.items()}, 1e-3)
    assert_same(by_name(model, "fisher", batched(model)), {n: (g**2).mean(0) for n, g in each.items()}, 1e-3)
    part = {n: np.abs(g[:BATCH]).mean(0) for n, g in each.items()}
    assert_same(by_name(model, "gate", batched(model), batches=1), part, 1e-3)


def test_gates_of_heads_are_those_of_michel() -> None:
    """E over examples of |dL/d xi_h|, with xi_h on what head h gives, before the heads are mixed."""
    inputs = Input((4, 6))
    attend = layers.MultiHeadAttention(3, 5, name="mha")
    x = layers.Add(name="sum")([inputs, attend(inputs, inputs)])
    model = _ready(keras.Model(inputs, Dense(3, name="out")(layers.Flatten()(x))))
    given, labels = data(model)

    def build(gates: Any) -> Any:
        def run(x: Any) -> Any:
            query, key, value = (part(x) for part in (attend._query_dense, attend._key_dense, attend._value_dense))
            scores = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(5))
            heads = tf.einsum("bhqk,bkhd->bqhd", scores, value) * gates["mha/heads"][:, None]
            return model.get_layer("out")(tf.reshape(x + attend._output_dense(heads), (-1, 24)))

        return run

    one = tf.constant(given[:2])
    np.testing.assert_allclose(build({"mha/heads": np.ones(3, np.float32)})(one), model(one), rtol=1e-4, atol=1e-5)
    each = gate_gradients(build, model, {"mha/heads": 3}, given, labels)["mha/heads"]
    assert_same(by_name(model, "gate", batched(model)), {"mha/heads": np.abs(each).mean(0)}, 1e-3)
    assert_same(by_name(model, "fisher", batched(model)), {"mha/heads": (each**2).mean(0)}, 1e-3)
    small, _ = tfprune.shrink(model, ratio=0.34, importance="gate", data=batched(model))
    left = np.delete(attend._output_dense.kernel.numpy(), np.abs(each).mean(0).argmin(), axis=0)
    np.testing.assert_array_equal(small.get_layer("mha")._output_dense.kernel, left)


def test_gradients_may_leave_regularizers_out() -> None:
    """lambda * |w|^2 has a derivative by a gate that no example speaks of."""
    found = {}
    for factor in (0.0, 0.5):
        keras.utils.set_random_seed(0)
        hidden = Dense(4, kernel_regularizer=keras.regularizers.L2(factor), input_shape=(5,), name="a")
        model = _ready(keras.Sequential([hidden, Dense(3, name="out")]))
        for regularized in (True, False):
            of = Gradients(model, [hidden.kernel], ["a"], regularized=regularized)
            x, y = data(model)
            found[factor, regularized] = next(of.each([(x, y, None)], "gate"))[0]
    np.testing.assert_array_equal(found[0.5, False], found[0.0, True])
    np.testing.assert_allclose(found[0.5, True], found[0.0, True] + hidden.kernel.numpy(), rtol=1e-4, atol=1e-6)


def test_a_loss_of_ones_own_is_the_loss_regularized_or_not() -> None:
    class Own(keras.Model):
        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:
            return 3 * super().compute_loss(x, y, y_pred, sample_weight)

    inputs = Input((5,))
    outputs = Dense(3, name="out")(Dense(4, name="a")(inputs))
    own, plain = _ready(Own(inputs, outputs)), _ready(keras.Model(inputs, outputs))
    added = keras.Model(inputs, outputs)
    added.add_loss(tf.reduce_mean(outputs**2))
    added.compile("sgd")
    x, y = data(plain)
    for model, factor in ((own, 3), (added, None)):
        one, other = (
            next(Gradients(model, model.weights, [""] * 4, regularized=given).each([(x, y, None)], "gate"))
            for given in (True, False)
        )
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
        assert np.abs(one[0]).max() > 0
        if factor:
            (expected, *_) = next(Gradients(plain, plain.weights, [""] * 4).each([(x, y, None)], "gate"))
            np.testing.assert_allclose(one[0], factor * expected, rtol=1e-5)


def test_no_more_than_256_examples_are_looked_at_one_by_one() -> None:
    model = dense_net()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 3, 300)
    far = x.copy()
    far[256:] = 100.0
    found = [by_name(model, "gate", tf.data.Dataset.from_tensor_slices((each, y)).batch(60))["a"] for each in (x, far)]
    np.testing.assert_array_equal(*found)


# ------------------------------------------------------------------------ statistics, geometry, activations


def test_scale_of_batch_normalization_where_there_is_one() -> None:
    model = conv_net()
    found = by_name(model, "bn_scale")
    np.testing.assert_allclose(found["conv"], np.abs(model.get_layer("norm").gamma.numpy()), rtol=1e-6)
    assert np.isinf(found["plain"]).all()
    small, report = tfprune.shrink(model, ratio=0.4, importance="bn_scale")
    assert small.get_layer("conv").filters == 3 and small.get_layer("plain").filters == 4
    np.testing.assert_array_equal(
        report.layers["conv"].kept_outputs, np.sort(np.argsort(np.abs(model.get_layer("norm").gamma.numpy()))[2:])
    )


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_units_without_a_scale_stay_whatever_is_asked(scope: str) -> None:
    small, _ = tfprune.shrink(conv_net(), ratio=0.99, importance="bn_scale", scope=scope)
    assert (small.get_layer("conv").filters, small.get_layer("plain").filters) == (1, 4)


def test_several_scales_on_a_unit_are_averaged() -> None:
    inputs = Input((4, 4, 2))
    x = layers.BatchNormalization(name="one")(layers.Conv2D(5, 1, name="a")(inputs))
    y = layers.BatchNormalization(name="two")(layers.Conv2D(5, 1, name="b")(inputs))
    model = _ready(keras.Model(inputs, Dense(3)(layers.GlobalMaxPooling2D()(layers.Add()([x, y])))))
    scales = [np.abs(model.get_layer(name).gamma.numpy()) for name in ("one", "two")]
    (found,) = by_name(model, "bn_scale").values()
    np.testing.assert_allclose(found, np.mean(scales, axis=0), rtol=1e-6)


def test_fpgm_sums_distances_to_the_other_filters() -> None:
    for model, expected in (
        (conv_net(), {"conv": ["conv"], "plain": ["plain"]}),
        (dense_net(), {"a": ["a", "inner/b"], "c": ["c"]}),
    ):
        named, found = dict(oracle.walk(model)), by_name(model, "fpgm")
        for name, makers in expected.items():
            kernels = [named[maker].get_weights()[0].astype(np.float64) for maker in makers]
            size = kernels[0].shape[-1]
            by_loops = [
                sum(np.linalg.norm(kernel[..., u] - kernel[..., v]) for kernel in kernels for v in range(size))
                for u in range(size)
            ]
            np.testing.assert_allclose(found[name], by_loops, rtol=1e-5)


def test_apoz_is_the_share_of_zeros_behind_the_activation() -> None:
    model = conv_net()
    x, _ = data(model)
    parts = {"conv": model.get_layer("act").output, "plain": model.get_layer("plain").output}
    found = by_name(model, "apoz", batched(model))
    for name, tensor in parts.items():
        batches = [keras.Model(model.inputs, tensor)(x[at : at + BATCH]).numpy() for at in range(0, len(x), BATCH)]
        zeros = np.mean([(values == 0).mean(axis=(0, 1, 2)) for values in batches], axis=0)
        assert 0 < zeros.min() < zeros.max()
        np.testing.assert_allclose(found[name], 1 - zeros, rtol=1e-6)


def test_apoz_sees_into_models_and_both_calls_of_one() -> None:
    tower = keras.Sequential([Dense(6, activation="relu", input_shape=(5,), name="first"), Dense(4, name="second")])
    one, two = Input((5,)), Input((5,))
    x = layers.Concatenate()([tower(one), tower(two)])
    model = oracle.randomise(keras.Model([one, two], Dense(2, name="out")(layers.ReLU(name="act")(x))))
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 7, 5)).astype(np.float32)
    found = by_name(model, "apoz", ([left, right], np.zeros(7)))
    name = next(each for each in found if each.endswith("first"))
    active = [(tower.get_layer("first")(each).numpy() > 0).mean(axis=0) for each in (left, right)]
    np.testing.assert_allclose(found[name], np.mean(active, axis=0), rtol=1e-6)
    both = (np.concatenate([tower(left), tower(right)], axis=1) > 0).mean(axis=0).reshape(2, 4).mean(axis=0)
    np.testing.assert_allclose(found[name.replace("first", "second")], both, rtol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_apoz_takes_a_dictionary_by_the_names_of_the_inputs(inside: bool) -> None:
    """Their order in the model need not be that of their names."""
    b, a = Input((4,), name="b"), Input((4,), name="a")
    first = Dense(4, activation="relu", name="first")
    hidden = layers.Concatenate()([first(b), Dense(4, activation="relu", name="second")(a)])
    model = keras.Model([b, a], Dense(2, name="out")(hidden))
    if inside:
        two, one = Input((4,), name="two"), Input((4,), name="one")
        model = keras.Model([one, two], Dense(2)(keras.Model([b, a], hidden, name="in")({"a": one, "b": two})))
    first.kernel.assign(np.tile([1.0, 1, -1, -1], (4, 1)))
    zeros, ones = np.zeros((6, 4), np.float32), np.ones((6, 4), np.float32)
    given = {"one": zeros, "two": ones} if inside else {"a": zeros, "b": ones}
    found = by_name(model, "apoz", (given, np.zeros(6)))
    np.testing.assert_array_equal(found["in/first" if inside else "first"], [1, 1, 0, 0])


def test_apoz_takes_what_predict_takes() -> None:
    rng = np.random.default_rng(0)
    for shape, x in (((6, 6, 2), rng.integers(0, 255, (5, 6, 6, 2)).astype(np.uint8)), ((1,), rng.normal(size=5))):
        inputs = Input(shape)
        first = layers.Conv2D(4, 3, activation="relu") if len(shape) > 1 else Dense(4, activation="relu")
        hidden = first(inputs)
        model = _ready(keras.Model(inputs, Dense(2)(layers.Flatten()(hidden))))
        (found,) = by_name(model, "apoz", (x, np.zeros(5, np.int64))).values()
        values = keras.Model(inputs, hidden).predict(x, verbose=0)
        np.testing.assert_allclose(found, (values > 0).reshape(-1, 4).mean(axis=0), rtol=1e-6)


def test_a_random_score_is_one_of_the_seed() -> None:
    model = dense_net()
    one, same, other = (by_name(model, "random", seed=seed)["a"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other) and np.unique(one).size == one.size


# ------------------------------------------------------------------------------------------------ branches


def residual(tiny: int) -> keras.Model:
    """Three branches, one of whose weights hardly say anything."""
    inputs = Input((6,))
    x = Dense(8, name="stem")(inputs)
    for place in range(3):
        y = Dense(5 + 4 * place, activation="relu", name=f"in{place}")(x)
        x = layers.Add(name=f"sum{place}")([x, Dense(8, name=f"back{place}")(y)])
    model = _ready(keras.Model(inputs, Dense(3, name="out")(x)))
    for name in (f"in{tiny}", f"back{tiny}"):
        layer = model.get_layer(name)
        layer.set_weights([0.01 * each for each in layer.get_weights()])
    return model


@pytest.mark.parametrize("tiny", range(3))
@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "gate", "fisher", "fpgm"])
def test_a_branch_that_says_little_ranks_lowest_and_goes_first(tiny: int, importance: str) -> None:
    model = residual(tiny)
    scores = by_name(model, importance, batched(model))["blocks"]
    assert scores.argmin() == tiny and (scores > 0).all()
    _, report = tfprune.shrink(model, ratio=0.34, importance=importance, data=batched(model), units=["blocks"])
    assert report.blocks == (f"sum{tiny}",)


# ------------------------------------------------------------------------------------------- what stays so


@pytest.mark.parametrize("importance", sorted(IMPORTANCES))
def test_scoring_changes_nothing(importance: str) -> None:
    model = conv_net()
    x, y = data(model)
    model.fit(x, y, batch_size=5, verbose=0)
    model.evaluate(x, y, verbose=0)

    def state() -> list[np.ndarray]:
        metrics = [variable for metric in model.metrics for variable in metric.variables]
        return [each.numpy() for each in (*model.weights, *model.optimizer.variables, *metrics)]

    before = state()
    scores = by_name(model, importance, batched(model))
    assert all(np.isfinite(values).any() for values in scores.values() if importance != "bn_scale")
    for one, other in zip(before, state(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_that_fail_change_nothing_either() -> None:
    model = dense_net()
    x, y = data(model)
    model.evaluate(x, y, verbose=0)

    def state() -> list[np.ndarray]:
        return [variable.numpy() for metric in model.metrics for variable in metric.variables]

    before, bad = state(), x.copy()
    bad[5] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        by_name(model, "taylor", (bad, y))
    stopped = Gradients(model, model.trainable_weights, [""] * 8).each([(x, y, None)] * 2, "gate")
    next(stopped)
    assert any((one != other).any() for one, other in zip(before, state(), strict=True))
    stopped.close()
    for one, other in zip(before, state(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_couplings_have_finite_scores() -> None:
    found = {each.name: each.score for each in couplings(conv_net(), importance="bn_scale")}
    assert found["plain"] == 0 and 0 < found["conv"] < np.inf


def test_dropout_does_not_touch_scores() -> None:
    inputs = Input((5,))
    x = layers.Dropout(0.9)(Dense(6, activation="relu", name="a")(inputs))
    model = _ready(keras.Model(inputs, Dense(3)(x)))
    for importance in ("taylor", "gate", "apoz"):
        one, other = (by_name(model, importance, batched(model))["a"] for _ in range(2))
        np.testing.assert_array_equal(one, other)

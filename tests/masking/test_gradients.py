"""Scores from data, and the optimizer of a wrapped model: nothing else of training is touched by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.data.batches import Batches
from tfprune.errors import ImportanceError, TrainingError
from tfprune.importance.gradients import Gradients
from tfprune.importance.scores import importance_of
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.pruner import pruner_of

layers = keras.layers
optimizers = keras.optimizers
KINDS = ("gradient", "taylor", "fisher", "movement")
BY_HAND = {
    "gradient": lambda w, g: np.abs(g),
    "taylor": lambda w, g: np.abs(w * g),
    "fisher": lambda w, g: w**2 * g**2,
    "movement": lambda w, g: -w * g,
}
LOSS = "sparse_categorical_crossentropy"
EVERY_STEP = {"final_sparsity": 0.5, "end_step": 8, "frequency": 1}


def kernels(model: keras.Model) -> tuple[list, list[str]]:
    found = [layer for layer in model.layers if hasattr(layer, "kernel") or hasattr(layer, "embeddings")]
    return [layer.trainable_weights[0] for layer in found], [layer.name for layer in found]


def scores(model: keras.Model, batches: list, kinds: tuple[str, ...] = KINDS) -> list[list[np.ndarray]]:
    return Gradients(model, *kernels(model)).scores([importance_of(kind) for kind in kinds], batches)


def by_tape(model: keras.Model, weights: list, loss: Callable, batches: list) -> dict[str, list[np.ndarray]]:
    """Each score as the mean over batches, with a tape of one's own."""
    sums = {kind: [np.zeros(weight.shape) for weight in weights] for kind in KINDS}
    for batch in batches:
        with tf.GradientTape() as tape:
            value = loss(model, *batch)
        for place, gradient in enumerate(tape.gradient(value, weights)):
            g, w = tf.convert_to_tensor(gradient).numpy().astype(float), weights[place].numpy().astype(float)
            for kind in KINDS:
                sums[kind][place] += BY_HAND[kind](w, g) / len(batches)
    return sums


def cross_entropy(model: keras.Model, x: object, y: object, weight: object) -> tf.Tensor:
    each = keras.losses.sparse_categorical_crossentropy(y, model(x, training=False))
    return tf.reduce_mean(each if weight is None else each * weight) + sum(model.losses)


def cut(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, size: int = 16) -> list[tuple]:
    return [
        (x[at : at + size], y[at : at + size], None if weight is None else weight[at : at + size])
        for at in range(0, len(y), size)
    ]


# -------------------------------------------------------------------------------------- against a tape by hand


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_means_over_batches(weighted: bool, dense: Callable, data: tuple) -> None:
    model = dense()
    model.layers[0].add_loss(lambda: 0.1 * tf.reduce_sum(model.layers[0].kernel ** 2))
    model.compile("sgd", LOSS)
    weight = np.linspace(0, 2, 64).astype("float32") if weighted else None
    batches = cut(*data, weight, size=24)  # the last one is smaller
    found = scores(model, batches)
    expected = by_tape(model, kernels(model)[0], cross_entropy, batches)
    for kind, ours in zip(KINDS, found, strict=True):
        for one, other in zip(ours, expected[kind], strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-9)
            assert one.any()


def test_all_kinds_in_one_pass_are_those_one_by_one(dense: Callable, data: tuple) -> None:
    model = dense()
    model.compile("sgd", LOSS)
    together = scores(model, cut(*data))
    for kind, ours in zip(KINDS, together, strict=True):
        (alone,) = scores(model, cut(*data), (kind,))
        assert all(np.array_equal(one, other) for one, other in zip(ours, alone, strict=True))


def test_sparse_gradients_of_an_embedding(data: tuple) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [layers.Embedding(9, 4, input_length=8, name="words"), layers.Flatten(), layers.Dense(4, "softmax")]
    )
    model.compile("sgd", LOSS)
    tokens = np.abs(data[0] * 2).astype(int).clip(0, 6)  # 7 and 8 never come
    found = scores(model, cut(tokens, data[1]))
    expected = by_tape(model, kernels(model)[0], cross_entropy, cut(tokens, data[1]))
    for kind, ours in zip(KINDS, found, strict=True):
        np.testing.assert_allclose(ours[0], expected[kind][0], rtol=2e-4, atol=1e-9)
        assert not ours[0][7:].any() and ours[0][:5].any()


def two_inputs() -> keras.Model:
    keras.utils.set_random_seed(0)
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    left, right = layers.Dense(8, name="left")(a), layers.Dense(8, name="right")(b)
    model = keras.Model({"a": a, "b": b}, layers.Dense(4, "softmax", name="head")(left + right))
    model.compile("sgd", LOSS)
    return model


class Pages(keras.utils.Sequence):
    """Batches by number."""

    def __init__(self, batches: list) -> None:
        self.batches = batches
        self.drawn: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple:
        self.drawn.append(index)
        return self.batches[index]


@pytest.mark.parametrize("source", ["arrays", "tensors", "tf.data", "Sequence"])
def test_dicts_of_inputs_from_any_source(source: str, data: tuple) -> None:
    x, y = {"a": data[0][:, :4], "b": data[0][:, 4:]}, data[1]
    weight = np.linspace(0, 2, 64).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(16)
    given = {
        "arrays": (x, y, weight),
        "tensors": ({name: tf.constant(value) for name, value in x.items()}, tf.constant(y), weight),
        "tf.data": dataset,
        "Sequence": Pages([tuple(tf.nest.map_structure(np.array, batch)) for batch in dataset]),
    }[source]
    model = tfprune.wrap(two_inputs(), tfprune.ConstantSparsity(final_sparsity=0.5), importance="taylor", data=given)
    model.compile("sgd", LOSS)
    pruner = pruner_of(model)
    batches = list(pruner.data.first(2, seed=5))
    assert [batch[1].shape[0] for batch in batches] == ([32, 32] if source in ("arrays", "tensors") else [16, 16])
    pruner.layers[0].selection = tfprune.masking.selection.Selection(importance="taylor", batches=2, seed=5)
    weights = [weight_ for weight_, _ in masked_variables(model)]
    expected = by_tape(model, weights, cross_entropy, batches)["taylor"]
    pruner.update(0.5)
    for (_, mask), score in zip(masked_variables(model), expected, strict=True):
        assert (mask.numpy() == 0).sum() == mask.numpy().size // 2
        assert score[mask.numpy() == 0].max() <= score[mask.numpy() == 1].min() * (1 + 1e-4)


def test_one_pass_over_the_data_serves_all_layers_and_regrowth(dense: Callable, data: tuple) -> None:
    pages = Pages([(x, y) for x, y, _ in cut(*data)])
    schedule = tfprune.ConstantSparsity(final_sparsity=0.5)
    model = tfprune.wrap(dense(), schedule, importance="fisher", regrow=0.2, data=pages, batches=3)
    model.compile("sgd", LOSS)
    pruner_of(model).update(0.5)
    assert pages.drawn == [0, 1, 2]


def test_arrays_are_read_once_each_in_the_order_of_the_seed(data: tuple) -> None:
    x = np.arange(10, dtype="float32")[:, None]
    source = Batches(x, np.arange(10), np.arange(10.0), batch_size=4)
    for seed in (1, 2):
        batches = list(source.first(9, seed))
        assert [len(y) for _, y, _ in batches] == [4, 4, 2]
        rows = np.concatenate([y for _, y, _ in batches])
        assert sorted(rows) == list(range(10))
        assert np.array_equal(rows, np.concatenate([x[:, 0] for x, _, _ in batches]))
        assert np.array_equal(rows, np.concatenate([weight for _, _, weight in batches]))
        again = np.concatenate([y for _, y, _ in source.first(9, seed)])
        assert np.array_equal(rows, again)
    assert not np.array_equal(rows, np.concatenate([y for _, y, _ in source.first(9, 1)]))
    assert len(list(source.first(1, 1))) == 1


def test_a_model_compiled_anew_is_scored_by_its_new_loss(dense: Callable, data: tuple) -> None:
    model = dense()
    one_hot = np.eye(4, dtype="float32")[data[1]]
    gradients = Gradients(model, *kernels(model))
    found = {}
    for loss in ("mse", "categorical_crossentropy"):
        model.compile("sgd", loss)
        found[loss] = gradients.scores([importance_of("gradient")], cut(data[0], one_hot))[0]
        reference = by_tape(
            model,
            kernels(model)[0],
            lambda m, x, y, _, loss=loss: tf.reduce_mean(keras.losses.get(loss)(y, m(x))),
            cut(data[0], one_hot),
        )
        np.testing.assert_allclose(found[loss][0], reference["gradient"][0], rtol=2e-4, atol=1e-8)
    assert not np.allclose(found["mse"][0], found["categorical_crossentropy"][0])


# ------------------------------------------------------------------------------------ nothing else is touched


def busy() -> keras.Model:
    """With statistics and chance."""
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            layers.Dense(16, input_shape=(8,), name="hidden"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.GaussianNoise(0.1),
            layers.Dense(4, "softmax", name="head"),
        ]
    )


class Plain(keras.callbacks.Callback):
    """Metrics of an epoch as plain bookkeeping has them: what every batch added, by example."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seen.append({key: float(value) for key, value in logs.items()})


@pytest.mark.parametrize("more", [{}, {"scope": "global"}], ids=str)
def test_scores_within_an_epoch_touch_no_metric_no_statistic_and_no_chance(more: dict, data: tuple) -> None:
    """With nothing to prune, a fit that scores at every step is the same to the bit as one that never does."""
    results = []
    for importance, schedule in [
        ("magnitude", tfprune.FrozenMasks()),
        ("taylor", tfprune.LinearDecay(**{**EVERY_STEP, "final_sparsity": 0.0})),
    ]:
        model = tfprune.wrap(busy(), schedule, importance=importance, **more)
        keras.utils.set_random_seed(7)
        model.compile(optimizers.Adam(0.01), LOSS, metrics=["accuracy"])
        plain = Plain()
        history = model.fit(
            *data, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[plain], validation_data=data
        ).history
        del history["sparsity"]
        results.append((history, plain.seen, [each.tobytes() for each in model.get_weights()[:-1]]))
    (one, seen, weights), (two, seen_too, weights_too) = results
    assert one == two and seen == seen_too
    assert len(weights) == len(weights_too) and sum(a != b for a, b in zip(weights, weights_too, strict=True)) == 0


def test_history_is_what_plain_bookkeeping_says(dense: Callable, data: tuple) -> None:
    model = tfprune.wrap(dense(), tfprune.LinearDecay(**EVERY_STEP), importance="fisher")
    model.compile(optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    losses: list[list[float]] = []
    hits: list[list[float]] = []

    class Before(keras.callbacks.Callback):
        """Looks at each batch as the step is about to see it."""

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            losses.append([])
            hits.append([])

        def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
            x, y = (each[16 * batch : 16 * batch + 16] for each in data)
            answers = self.model(x, training=True).numpy().astype(float)
            losses[-1].append(-np.log(answers[np.arange(16), y]).mean())
            hits[-1].append((answers.argmax(axis=1) == y).mean())

    settings = {"batch_size": 16, "epochs": 3, "shuffle": False, "verbose": 0}
    history = model.fit(*data, callbacks=[Before()], **settings).history
    assert history["loss"] == pytest.approx([np.mean(each) for each in losses], rel=1e-5)
    assert history["accuracy"] == pytest.approx([np.mean(each) for each in hits], abs=1e-6)
    assert history["sparsity"][-1] == 0.5


# --------------------------------------------------------------------------------------------- half precision


@pytest.fixture
def mixed_float16() -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy(before)


def regression(output_dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [layers.Dense(16, input_shape=(8,), name="hidden"), layers.Dense(1, name="head", dtype=output_dtype)]
    )


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e6], ids=["small", "usual", "great"])
def test_half_precision_neither_loses_nor_overflows_gradients(size: float, mixed_float16: None, data: tuple) -> None:
    """Gradients of the hidden layer pass through 16 bits, whose least number is 6e-8 and whose greatest is 65504."""
    x, y = data[0], np.ones((64, 1), "float32")

    def loss(truth: tf.Tensor, answer: tf.Tensor) -> tf.Tensor:
        return size * tf.abs(truth - answer)

    model = regression()
    model.compile("sgd", loss)
    full = keras.Sequential([layers.Dense(16, input_shape=(8,), dtype="float32"), layers.Dense(1, dtype="float32")])
    full.set_weights(model.get_weights())
    full.compile("sgd", loss)
    batches = cut(x, y)
    half, exact = (scores(each, batches, ("taylor",))[0] for each in (model, full))
    for one, other in zip(half, exact, strict=True):
        assert one.dtype == np.float32
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
        assert one.sum() == pytest.approx(other.sum(), rel=0.05)


# ------------------------------------------------------------------------------------------------- bad input


def wrapped(dense: Callable, **arguments: object) -> keras.Model:
    schedule = tfprune.LinearDecay(**EVERY_STEP)
    return tfprune.wrap(dense(), schedule, **{"importance": "taylor", **arguments})


def test_data_that_cannot_be_read_again_is_told(dense: Callable, data: tuple) -> None:
    model = wrapped(dense)
    model.compile("sgd", LOSS)
    before = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(ImportanceError, match=r"read again: arrays, .* but got generator; pass data="):
        model.fit(((x, y) for x, y, _ in cut(*data)), verbose=0)
    assert [weight.tobytes() for weight in model.get_weights()] == before
    given = wrapped(dense, data=data)
    given.compile("sgd", LOSS)
    given.fit(((x, y) for x, y, _ in cut(*data) * 2), verbose=0)
    assert given.history.history["sparsity"] == [0.5]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"importance taylor needs data to compute gradients; pass data=\(x, y\)"),
        (np.ones((4, 8)), r"scores need labels: give data=\(x, y\)"),
        ((np.ones((4, 8)), None), "scores need labels"),
        (tf.data.Dataset.from_tensor_slices(np.ones((4, 8))).batch(2), "the data has none; give batches"),
        (tf.data.Dataset.from_tensor_slices((np.ones((4, 8)), np.ones(4))).take(0).batch(2), "not a single batch"),
        (Pages([]), "not a single batch"),
        ((np.ones((4, 8)), np.ones(3)), r"as many labels, .* as examples, but got ndarray\[4, 8\], ndarray\[3\]"),
        ((np.ones((4, 8)), [0, 1, 2, 3]), r"as many labels, .* but got ndarray\[4, 8\], int"),
        ("examples.csv", "read again: .* but got str"),
        ((np.float32(1), np.ones(4)), "read again"),
    ],
    ids=range(10),
)
def test_data_without_use_is_told_in_one_line(given: object, words: str, dense: Callable) -> None:
    model = None
    with pytest.raises(ImportanceError, match=words) as caught:
        model = wrapped(dense, data=given)  # at once, where it can be seen
        model.compile("sgd", LOSS)
        pruner_of(model).update(0.5)
    assert "\n" not in str(caught.value)
    assert model is None or all(mask.numpy().all() for _, mask in masked_variables(model))


@pytest.mark.parametrize("compile_first", [False, True])
def test_a_model_without_a_loss_is_told(compile_first: bool, dense: Callable, data: tuple) -> None:
    model = wrapped(dense, data=data)
    if compile_first:
        model.compile("sgd")
    with pytest.raises(ImportanceError, match=r"^importance taylor needs a loss; compile the model with one first$"):
        pruner_of(model).update(0.5)


def half_pruned(dense: Callable, data: tuple, **arguments: object) -> tuple[keras.Model, list[np.ndarray]]:
    model = wrapped(dense, data=data, **arguments)
    model.compile("sgd", LOSS)
    pruner_of(model).update(0.25)
    return model, [mask.numpy() for _, mask in masked_variables(model)]


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "random", "lamp"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_stop_training_and_change_no_mask(
    importance: str, value: float, dense: Callable, data: tuple
) -> None:
    model, masks = half_pruned(dense, data, importance=importance)
    layer = masked_layers(model)[1].layer
    layer.kernel.assign(np.where(np.arange(4) == 2, value, layer.kernel.numpy()))
    with pytest.raises(TrainingError, match="weights of layer 'head' are not finite; lower the learning rate") as error:
        pruner_of(model).update(0.5)
    assert "\n" not in str(error.value)
    assert all(np.array_equal(a, b.numpy()) for a, (_, b) in zip(masks, masked_variables(model), strict=True))


@pytest.mark.parametrize("regrow", [0.0, 0.2])
def test_gradients_that_are_no_numbers_stop_training_and_change_no_mask(
    regrow: float, dense: Callable, data: tuple
) -> None:
    model, masks = half_pruned(dense, data, importance="magnitude" if regrow else "fisher", regrow=regrow)
    pruner_of(model).data = Batches(np.where(np.arange(8) == 3, np.nan, data[0]), data[1])
    words = r"the gradients of layer 'hidden' are not finite; lower the learning rate, or check the data"
    with pytest.raises(TrainingError, match=words):
        pruner_of(model).update(0.5)
    assert all(np.array_equal(a, b.numpy()) for a, (_, b) in zip(masks, masked_variables(model), strict=True))


def failing(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("importance", "words"),
    [
        (failing, "importance failing raised ValueError: no such thing"),
        (lambda weights: weights.sum(axis=0), r"expected scores of the weights' shape \(8, 16\), got \(16,\)"),
        (lambda weights: weights * np.nan, "the scores of layer 'hidden' are not all finite numbers of 32 bits"),
        (lambda weights: weights.astype(float) + 1e300, "the scores of layer 'hidden' are not all finite numbers"),
        (lambda weights, gradients: np.log(gradients * 0), "the scores of layer 'hidden' are not all finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_users_function_that_fails_is_told_and_changes_no_mask(
    importance: Callable, words: str, dense: Callable, data: tuple
) -> None:
    model = wrapped(dense, importance=importance)
    model.compile("sgd", LOSS)
    with pytest.raises(ImportanceError, match=words) as caught:
        model.fit(*data, verbose=0)
    assert "\n" not in str(caught.value)
    assert all(mask.numpy().all() for _, mask in masked_variables(model))


# ---------------------------------------------------------------------------------------------- the optimizer


def scaled(inner: object) -> object:
    return keras.mixed_precision.LossScaleOptimizer(inner)


OPTIMIZERS: dict[str, Callable[[], object]] = {
    "Adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "Nadam": lambda: optimizers.Nadam(0.01),
    "Adamax": lambda: optimizers.Adamax(0.01),
    "SGD momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "Ftrl": lambda: optimizers.Ftrl(0.1),
    "legacy Adam": lambda: optimizers.legacy.Adam(0.01),
    "legacy RMSprop": lambda: optimizers.legacy.RMSprop(0.01, momentum=0.9, centered=True),
    "scaled Adam": lambda: scaled(optimizers.Adam(0.01)),
    "scaled legacy SGD": lambda: scaled(optimizers.legacy.SGD(0.1, momentum=0.9)),
    "Adam EMA": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5),
    "SGD EMA overwrite": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3),
}
GROWING = ("accum",)  # sums that only divide


def variables_of(optimizer: object) -> list[tf.Variable]:
    found = getattr(optimizer, "inner_optimizer", optimizer).variables
    return [each for each in (found() if callable(found) else found) if not any(word in each.name for word in GROWING)]


def fit_with(optimizer: object, dense: Callable, data: tuple, **arguments: object) -> keras.Model:
    schedule = tfprune.LinearDecay(final_sparsity=0.75, end_step=7, frequency=2)
    model = tfprune.wrap(dense(), schedule, **arguments)
    model.compile(optimizer, LOSS)
    model.fit(*data, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_is_remembered_of_pruned_weights(name: str, dense: Callable, data: tuple) -> None:
    optimizer = OPTIMIZERS[name]()
    model = fit_with(optimizer, dense, data)
    found = 0
    for weight, mask in masked_variables(model):
        kept = mask.numpy()
        assert kept.mean() == 0.25
        assert np.array_equal(weight.numpy() == 0, kept == 0)
        for each in variables_of(optimizer):
            if each.shape == weight.shape:
                found += 1
                assert not each.numpy()[kept == 0].any(), each.name
                assert each.numpy()[kept == 1].any(), each.name
    assert found >= (0 if "overwrite" in name else 2)


@pytest.mark.parametrize("name", ["Adam", "legacy Adam", "scaled Adam"])
def test_mixed_precision_remembers_nothing_either(name: str, mixed_float16: None, dense: Callable, data: tuple) -> None:
    test_nothing_is_remembered_of_pruned_weights(name, dense, data)


@pytest.mark.parametrize("name", ["Adam", "legacy Adam", "scaled legacy SGD"])
def test_frozen_layers_that_were_asked_for_are_pruned_too(name: str, dense: Callable, data: tuple) -> None:
    model = dense()
    model.get_layer("hidden").trainable = False
    model = tfprune.wrap(model, tfprune.LinearDecay(**EVERY_STEP), layers=["hidden", "head"])
    model.compile(OPTIMIZERS[name](), LOSS)
    model.fit(*data, batch_size=16, epochs=2, verbose=0)
    assert [(weight.numpy() == 0).mean() for weight, _ in masked_variables(model)] == [0.5, 0.5]


@pytest.mark.parametrize("legacy", [False, True])
def test_clipping_by_global_norm_counts_only_what_lives(legacy: bool, dense: Callable, data: tuple) -> None:
    make = optimizers.legacy.SGD if legacy else optimizers.SGD
    model = tfprune.wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.75))
    model.compile(make(0.5, global_clipnorm=0.01), LOSS)
    pruner_of(model).update(0.75)
    tfprune.retarget(model, tfprune.FrozenMasks())
    before = [each.numpy().astype(float) for each in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(data[1], model(data[0], training=True)))
    gradients = [each.numpy().astype(float) for each in tape.gradient(loss, model.trainable_variables)]
    masks = {weight.name: mask.numpy() for weight, mask in masked_variables(model)}
    live = [g * masks.get(v.name, 1.0) for g, v in zip(gradients, model.trainable_variables, strict=True)]
    norms = [np.sqrt(sum((each**2).sum() for each in these)) for these in (live, gradients)]
    assert norms[0] < 0.9 * norms[1], "dead gradients would count"
    model.fit(*data, batch_size=64, verbose=0)
    for old, gradient, now in zip(before, live, model.trainable_variables, strict=True):
        np.testing.assert_allclose(now.numpy() - old, -0.5 * gradient * 0.01 / norms[0], rtol=1e-3, atol=2e-7)


def test_live_weights_train_as_if_dead_ones_were_not_there(data: tuple) -> None:
    """One input of four is cut off; a model without that input learns the same, to rounding."""
    kernel = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    kernel[5] = 0
    trained = []
    for x, start in ((data[0], kernel), (np.delete(data[0], 5, 1), np.delete(kernel, 5, 0))):
        model = keras.Sequential([layers.Dense(4, "softmax", input_shape=start.shape[:1])])
        model.layers[0].kernel.assign(start)
        model = tfprune.wrap(model, tfprune.FrozenMasks())
        model.compile(optimizers.Adam(0.05, clipnorm=0.1), LOSS)
        model.fit(x, data[1], batch_size=16, epochs=2, shuffle=False, verbose=0)
        trained.append(next(masked_variables(model))[0].numpy())
    np.testing.assert_allclose(np.delete(trained[0], 5, 0), trained[1], rtol=1e-4, atol=1e-6)
    assert not trained[0][5].any()


def test_an_optimizer_lives_through_compiling_anew(dense: Callable, data: tuple) -> None:
    optimizer = optimizers.Adam(0.01)
    model = fit_with(optimizer, dense, data)
    model.compile(optimizer, LOSS, metrics=["accuracy"])
    model.fit(*data, batch_size=16, verbose=0)
    for weight, mask in masked_variables(model):
        assert np.array_equal(weight.numpy() == 0, mask.numpy() == 0)


@pytest.mark.parametrize("name", ["Adam", "SGD momentum", "RMSprop", "legacy Adam", "Adam EMA"])
def test_regrown_weights_begin_at_zero_with_nothing_remembered(name: str, dense: Callable, data: tuple) -> None:
    optimizer = OPTIMIZERS[name]()
    grown = 0

    class Watcher(keras.callbacks.Callback):
        """After each update, before the next step."""

        def on_train_begin(self, logs: dict | None = None) -> None:
            self.before = [mask.numpy() for _, mask in masked_variables(self.model)]

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            nonlocal grown
            now = list(masked_variables(self.model))
            for (weight, mask), before in zip(now, self.before, strict=True):
                new = (before == 0) & (mask.numpy() == 1)
                grown += int(new.sum())
                assert not weight.numpy()[new].any()
                for each in variables_of(optimizer):
                    if each.shape == weight.shape:
                        assert not each.numpy()[new].any(), each.name
            self.before = [mask.numpy() for _, mask in now]

    schedule = tfprune.LinearDecay(final_sparsity=0.5, initial_sparsity=0.5, end_step=11, frequency=2)
    model = tfprune.wrap(dense(), schedule, regrow=0.3)
    model.compile(optimizer, LOSS)
    model.fit(*data, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=[Watcher()])
    assert grown > 20
    for weight, mask in masked_variables(model):
        assert (mask.numpy() == 0).mean() == 0.5
        assert (weight.numpy()[mask.numpy() == 1] != 0).mean() > 0.9, "what came back trains"


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        (keras.constraints.NonNeg(), lambda kernel: (kernel >= 0).all()),
        (keras.constraints.MaxNorm(0.5), lambda kernel: (np.linalg.norm(kernel, axis=0) <= 0.5 + 1e-6).all()),
        (
            keras.constraints.UnitNorm(),
            lambda kernel: np.allclose(np.linalg.norm(kernel, axis=0)[kernel.any(axis=0)], 1, atol=1e-5),
        ),
    ],
    ids=["NonNeg", "MaxNorm", "UnitNorm"],
)
@pytest.mark.parametrize("name", ["Adam", "legacy Adam"])
def test_the_users_constraints_hold_in_fit(name: str, constraint: object, holds: Callable, data: tuple) -> None:
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(16, "relu", kernel_constraint=constraint, input_shape=(8,))
    model = tfprune.wrap(
        keras.Sequential([hidden, layers.Dense(4, "softmax")]), tfprune.LinearDecay(**EVERY_STEP, initial_sparsity=0.2)
    )
    model.compile(OPTIMIZERS[name](), LOSS)
    model.fit(*data, batch_size=16, epochs=3, verbose=0)
    weight, mask = next(masked_variables(model))
    assert holds(weight.numpy()) and (mask.numpy() == 0).mean() == 0.5
    assert not weight.numpy()[mask.numpy() == 0].any() and weight.numpy().any()

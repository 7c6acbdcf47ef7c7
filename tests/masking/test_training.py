"""While a model trains: zeros stay zeros, the schedule is kept, and the user's own callbacks stay right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.masking.masked import masked_layers, masked_variables
from tfprune.masking.optimizer import memories
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.wrap import retarget, strip, wrap
from tfprune.models.clone import with_precision

layers = keras.layers
optimizers = keras.optimizers
EPOCH = 4  # steps: 64 examples in batches of 16
AT_ONCE = tfprune.ConstantSparsity(final_sparsity=0.75)
LOSS = "sparse_categorical_crossentropy"


def polynomial(final: float = 0.75, end: int = 10, frequency: int = 3, **more: float) -> tfprune.PolynomialDecay:
    return tfprune.PolynomialDecay(final_sparsity=final, end_step=end, frequency=frequency, **more)


def compiled(model: keras.Model, optimizer: object = None, **arguments: object) -> keras.Model:
    model.compile(optimizer or optimizers.SGD(0.1, momentum=0.9), LOSS, **arguments)
    return model


def fit(model: keras.Model, data: tuple, epochs: int, **arguments: object) -> dict[str, list[float]]:
    settings = {"batch_size": 16, "shuffle": False, "verbose": 0, "epochs": epochs, **arguments}
    return model.fit(*data, **settings).history


def sparsity(model: keras.Model) -> float:
    return sparsity_of(masked_layers(model))


def step_of(model: keras.Model) -> int:
    return int(masked_layers(model)[0].pruning_step.numpy())


def held(model: keras.Model) -> bool:
    """Whether every pruned weight is zero, to the bit of the sign."""
    return all(not weight.numpy()[mask.numpy() == 0].any() for weight, mask in masked_variables(model))


def masks(model: keras.Model) -> list[np.ndarray]:
    return [mask.numpy() for _, mask in masked_variables(model)]


class Watcher(keras.callbacks.Callback):
    """Looks at masks and weights after every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.sparsities: list[float] = []
        self.held: list[bool] = []
        self.revived = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._masks = masks(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = masks(self.model)
        self.revived += sum(int(new[old == 0].sum()) for new, old in zip(now, self._masks, strict=True))
        self._masks = now
        self.held.append(held(self.model))
        self.sparsities.append(sparsity(self.model))


OPTIMIZERS = {
    "Adam": lambda: optimizers.Adam(0.01),
    "AdamW": lambda: optimizers.AdamW(0.01),
    "SGD momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "legacy Adam": lambda: optimizers.legacy.Adam(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masks_hold_after_every_batch_and_the_schedule_is_kept(name: str, dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial()), OPTIMIZERS[name]())
    watcher = Watcher()
    history = fit(model, data, 3, callbacks=[watcher, *tfprune.callbacks(model)])
    expected = [polynomial().sparsity(polynomial().update_at(step)) for step in range(1, 13)]
    assert watcher.sparsities == pytest.approx(expected, abs=1 / 64)
    assert all(watcher.held) and len(watcher.held) == 12
    assert watcher.revived == 0
    assert history["sparsity"] == [watcher.sparsities[i] for i in (3, 7, 11)]
    assert sparsity(model) == 0.75 and step_of(model) == 12
    assert [(layer.kernel.numpy() == 0).mean() for layer in strip(model).layers] == [0.75, 0.75]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masks_hold_in_a_loop_of_ones_own(name: str, dense: Callable, data: tuple) -> None:
    model = wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5))
    pruner_of(model).update(0.5)
    before, zeros = [each.numpy() for each in model.trainable_variables], masks(model)
    optimizer, loss = OPTIMIZERS[name](), keras.losses.SparseCategoricalCrossentropy()
    for _ in range(3):
        with tf.GradientTape() as tape:
            cost = loss(data[1], model(data[0], training=True))
        gradients = tape.gradient(cost, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        assert held(model)
    assert all(not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_variables, strict=True))
    assert all(np.array_equal(old, new) for old, new in zip(zeros, masks(model), strict=True))


@pytest.mark.parametrize(
    ("schedule", "compile_with", "fit_with"),
    [
        (polynomial(end=12, frequency=1), {}, {}),
        (polynomial(end=12, frequency=100), {}, {}),
        (polynomial(end=12, frequency=5, begin_step=11), {}, {}),
        (polynomial(end=11, frequency=4, initial_sparsity=0.5), {}, {}),
        (polynomial(end=12, frequency=5), {"steps_per_execution": 3}, {}),
        (polynomial(end=12, frequency=1), {"steps_per_execution": 4}, {}),
        (polynomial(end=12, frequency=5), {"run_eagerly": True}, {}),
        (polynomial(end=12, frequency=5), {"jit_compile": True}, {}),
        (polynomial(end=3, frequency=2), {}, {"batch_size": 64}),
        (polynomial(end=9, frequency=2), {}, {"batch_size": 25}),
        (polynomial(end=6, frequency=2), {}, {"steps_per_epoch": 2}),
        (AT_ONCE, {}, {}),
        (tfprune.ConstantSparsity(final_sparsity=0.75, begin_step=12), {}, {}),
    ],
    ids=str,
)
def test_final_sparsity_is_exact(
    schedule: tfprune.PolynomialDecay, compile_with: dict, fit_with: dict, dense: Callable, data: tuple
) -> None:
    model = compiled(wrap(dense(), schedule), **compile_with)
    history = fit(model, data, 3, **fit_with)
    assert sparsity(model) == history["sparsity"][-1] == 0.75
    assert [mask.mean() for mask in masks(model)] == [0.25, 0.25]
    assert held(model)


def test_global_scope_is_exact_over_the_model(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(), scope="global"))
    fit(model, data, 3)
    assert sparsity(model) == 0.75
    assert len({mask.mean() for mask in masks(model)}) == 2


def test_an_update_waits_for_its_step(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.75, begin_step=6)))
    watcher = Watcher()
    fit(model, data, 2, callbacks=watcher)
    assert watcher.sparsities == [0.0] * 5 + [0.75] * 3


# ---------------------------------------------------------------------------------- going on where one was


def test_a_second_fit_goes_on_with_the_schedule(dense: Callable, data: tuple) -> None:
    whole, halves = (compiled(wrap(dense(), polynomial(end=12))) for _ in range(2))
    fit(whole, data, 3)
    fit(halves, data, 1)
    assert step_of(halves) == 4 and 0 < sparsity(halves) < 0.75
    fit(halves, data, 3, initial_epoch=1)
    assert step_of(halves) == 12 and sparsity(halves) == 0.75
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), halves.get_weights(), strict=True))


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_model_saved_halfway_goes_on(ending: str, tmp_path: Path, dense: Callable, data: tuple) -> None:
    path = tmp_path / f"half.{ending}"
    whole, half = (compiled(wrap(dense(), polynomial(end=12), scope="global")) for _ in range(2))
    fit(whole, data, 3)
    fit(half, data, 1)
    half.save(path)
    loaded = keras.models.load_model(path)
    assert step_of(loaded) == 4
    assert all(np.array_equal(a, b) for a, b in zip(masks(half), masks(loaded), strict=True))
    assert (masked_layers(loaded)[0].schedule, masked_layers(loaded)[0].selection.scope) == (
        polynomial(end=12),
        "global",
    )
    watcher = Watcher()
    fit(loaded, data, 2, callbacks=[watcher, *tfprune.callbacks(loaded)])
    assert all(watcher.held) and watcher.revived == 0
    assert sparsity(loaded) == 0.75 and step_of(loaded) == 12
    assert all(np.array_equal(a, b) for a, b in zip(masks(whole), masks(loaded), strict=True))


def test_a_schedule_of_numpy_numbers_is_saved_too(tmp_path: Path, dense: Callable) -> None:
    steps = np.ceil(64 / 16).astype(np.int32) * 3
    model = wrap(dense(), polynomial(final=np.float64(0.75), end=steps))
    for ending in ("keras", "h5"):
        model.save(tmp_path / f"model.{ending}")
        loaded = keras.models.load_model(tmp_path / f"model.{ending}")
        assert masked_layers(loaded)[0].schedule == polynomial(end=12)


def test_a_checkpoint_within_an_epoch_knows_its_step(tmp_path: Path, dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(end=100, frequency=50)))
    fit(model, data, 1, callbacks=keras.callbacks.ModelCheckpoint(str(tmp_path / "at.keras"), save_freq=3))
    assert step_of(keras.models.load_model(tmp_path / "at.keras")) == 3


class Crash(keras.callbacks.Callback):
    """Ends a fit the hard way."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 2:
            raise RuntimeError("power cut")


def test_backup_and_restore_goes_on_with_the_schedule(tmp_path: Path, dense: Callable, data: tuple) -> None:
    def start() -> tuple[keras.Model, keras.callbacks.Callback]:
        return compiled(wrap(dense(), polynomial(end=16))), keras.callbacks.BackupAndRestore(tmp_path / "backup")

    whole, _ = start()
    fit(whole, data, 4)
    model, backup = start()
    with pytest.raises(RuntimeError, match="power cut"):
        fit(model, data, 4, callbacks=[backup, Crash()])
    model, backup = start()
    history = fit(model, data, 4, callbacks=[backup])
    assert len(history["loss"]) == 2 and step_of(model) == 16
    assert all(np.array_equal(a, b) for a, b in zip(masks(whole), masks(model), strict=True))


def test_retarget_keeps_zeros_and_traces_nothing_anew(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(final=0.5, end=4)))
    fit(model, data, 1)
    first, traces = masks(model), model.train_function.experimental_get_tracing_count()
    assert sparsity(model) == 0.5 and traces > 0
    retarget(model, polynomial(initial_sparsity=0.5, end=8))
    watcher = Watcher()
    fit(model, data, 2, callbacks=[watcher])
    assert watcher.revived == 0 and watcher.sparsities == sorted(watcher.sparsities)
    assert sparsity(model) == 0.75 and step_of(model) == 8
    assert all(not new[old == 0].any() for old, new in zip(first, masks(model), strict=True))
    assert model.train_function.experimental_get_tracing_count() == traces


def test_retarget_to_all_at_once_prunes_before_the_first_batch(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(final=0.5, end=4)))
    fit(model, data, 1)
    retarget(model, AT_ONCE)
    watcher = Watcher()
    fit(model, data, 1, callbacks=[watcher])
    assert watcher.sparsities == [0.75] * 4


# ----------------------------------------------------------------------------------------------- precision


@pytest.fixture
def mixed_policy() -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy(before)


def assert_trains_in_full_precision(model: keras.Model, data: tuple) -> None:
    compiled(model, optimizers.SGD(1e-3))  # steps too small for 8 bits of a weight
    before = [each.numpy() for each in model.trainable_variables]
    history = fit(model, data, 3)
    assert history["loss"][-1] < history["loss"][0]
    assert sparsity(model) == 0.75 and held(model)
    for weight, _ in masked_variables(model):
        values = weight.numpy()
        assert values.dtype == np.float32
        low_bits = values[values != 0].view(np.uint32) & 0xFFFF
        assert (low_bits != 0).mean() > 0.9, "master weights were rounded to bfloat16"
    assert all(not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_variables, strict=True))


def test_mixed_precision_by_global_policy(mixed_policy: None, dense: Callable, data: tuple) -> None:
    model = wrap(dense(), AT_ONCE)
    assert model.layers[0].layer.compute_dtype == "bfloat16"
    assert_trains_in_full_precision(model, data)


def test_mixed_precision_by_copy(dense: Callable, data: tuple) -> None:
    assert_trains_in_full_precision(wrap(with_precision(dense(), "mixed_bfloat16"), AT_ONCE), data)


def test_predict_and_evaluate_assign_nothing(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial()))
    fit(model, data, 3)
    # A weight that somebody set behind the mask shows whether looking at the model writes to it.
    for weight, _ in masked_variables(model):
        weight.assign(tf.ones_like(weight))
    before = [(variable, variable.numpy().tobytes()) for variable in model.weights]
    model.predict(data[0], verbose=0)
    model.evaluate(*data, verbose=0)
    model(data[0])
    after = [(variable, variable.numpy().tobytes()) for variable in model.weights]
    assert all(a is b and x == y for (a, x), (b, y) in zip(before, after, strict=True))


# ------------------------------------------------------------------------------- the user's own fit arguments


def test_sample_weights_class_weights_and_validation_go_through(dense: Callable, data: tuple) -> None:
    x, y = data
    weights = np.linspace(0.1, 2, len(y)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(16)
    losses = []
    for arguments in (
        {"x": x, "y": y, "sample_weight": weights},
        {"x": dataset},
        {"x": x, "y": y},
        {"x": x, "y": y, "class_weight": {0: 3.0, 1: 1.0, 2: 1.0, 3: 1.0}},
    ):
        model = compiled(wrap(dense(), polynomial()), metrics=["accuracy"])
        plain = compiled(dense(), metrics=["accuracy"])
        settings = {"epochs": 3, "verbose": 0, "shuffle": False, "validation_data": (x, y, weights)}
        if arguments["x"] is x:
            settings["batch_size"] = 16
        history = model.fit(**arguments, **settings).history
        assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "sparsity"}
        assert sparsity(model) == 0.75
        # Nothing is pruned in the first three steps, so the first batches tell that the weights arrived.
        losses.append(plain.fit(**arguments, **{**settings, "epochs": 1}).history["loss"][0])
        assert history["loss"][0] == pytest.approx(losses[-1], rel=0.2)
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x, y: model.fit(x, y, 16, 3, 0),
        lambda model, x, y: model.fit(x, y, 16, 3, 0, None),
        lambda model, x, y: model.fit(x, y, 16, 3, 0, [keras.callbacks.History()]),
        lambda model, x, y: model.fit(x, y, 16, 3, 0, tfprune.callbacks(model)),
        lambda model, x, y: model.fit(x=x, y=y, batch_size=16, epochs=3, verbose=0, callbacks=None),
        lambda model, x, y: model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=keras.callbacks.History()),
        lambda model, x, y: model.fit(x, y, 16, 3, 0, [tfprune.callbacks(model), tfprune.callbacks(model)]),
    ],
)
def test_fit_takes_its_arguments_as_keras_does(call: Callable, dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(end=12)))
    history = call(model, *data)
    assert len(history.history["sparsity"]) == 3
    assert sparsity(model) == 0.75


def test_a_list_of_callbacks_in_keras_own_class(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial()))
    fit(model, data, 3, callbacks=keras.callbacks.CallbackList([Watcher()], model=model))
    assert sparsity(model) == 0.75


def test_an_embedding_trains_and_a_legacy_optimizer_for_it_is_refused_in_one_line(data: tuple) -> None:
    plain = keras.Sequential(
        [layers.Embedding(9, 4, input_length=8, name="words"), layers.Flatten(), layers.Dense(4, "softmax")]
    )
    tokens = (data[0] > 0).astype(int), data[1]
    model = compiled(wrap(plain, polynomial()), optimizers.Adam(0.01))
    watcher = Watcher()
    fit(model, tokens, 3, callbacks=watcher)
    assert all(watcher.held) and sparsity(model) == 0.75
    compiled(model, optimizers.legacy.Adam())
    with pytest.raises(ModelError, match=r"legacy\.Adam cannot hold .*'words'; compile with keras\.optimizers\.Adam"):
        fit(model, tokens, 1)


def test_a_wrong_fit_argument_is_refused(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial()))
    with pytest.raises(TypeError, match="epoch"):
        model.fit(*data, epoch=3)


# ------------------------------------------------------------------------- stopping and keeping the best epoch


class EarlierIsBetter(keras.callbacks.Callback):
    """Gives every epoch a figure worse than the one before: a dense epoch would always be the best."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._sign = 1 if mode == "min" else -1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs["figure"] = self._sign * epoch


@pytest.mark.parametrize("order", list(itertools.permutations(("tfprune", "stop", "save"))), ids=",".join)
@pytest.mark.parametrize(("mode", "ending"), [("min", "keras"), ("max", "h5")])
def test_only_a_pruned_epoch_is_kept_or_restored(
    order: tuple[str, ...], mode: str, ending: str, tmp_path: Path, dense: Callable, data: tuple
) -> None:
    path = str(tmp_path / f"best.{ending}")
    model = compiled(wrap(dense(), polynomial(end=10)))
    after_epoch: list[list[np.ndarray]] = []
    own = {
        "tfprune": tfprune.callbacks(model),
        "stop": [keras.callbacks.EarlyStopping("figure", patience=1, mode=mode, restore_best_weights=True)],
        "save": [keras.callbacks.ModelCheckpoint(path, "figure", mode=mode, save_best_only=True)],
    }
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: after_epoch.append(model.get_weights()))
    fit(model, data, 9, callbacks=[EarlierIsBetter(mode), keep, *(each for name in order for each in own[name])])
    # Step 10 lies in the third epoch: that is the first pruned one and so the best; one more runs out of patience.
    assert len(after_epoch) == 4
    assert sparsity(model) == 0.75
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), after_epoch[2], strict=True))
    saved = keras.models.load_model(path)
    assert sparsity(saved) == 0.75 and held(saved)
    saved_kernels = [weight.numpy() for weight, _ in masked_variables(saved)]
    best_kernels = [weight.numpy() for weight, _ in masked_variables(model)]
    assert all(np.array_equal(a, b) for a, b in zip(saved_kernels, best_kernels, strict=True))


@pytest.mark.parametrize("tfprune_first", [True, False])
def test_every_epoch_is_saved_pruned_as_far_as_it_is(
    tfprune_first: bool, tmp_path: Path, dense: Callable, data: tuple
) -> None:
    model = compiled(wrap(dense(), polynomial(end=12)))
    save = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    own = tfprune.callbacks(model)
    history = fit(model, data, 3, callbacks=[*own, save] if tfprune_first else [save, *own])
    saved = [keras.models.load_model(tmp_path / f"{epoch}.keras") for epoch in (1, 2, 3)]
    assert [sparsity(each) for each in saved] == history["sparsity"]
    assert [step_of(each) for each in saved] == [4, 8, 12]
    assert history["sparsity"][-1] == 0.75


def test_a_checkpoint_that_served_dense_training_forgets_its_best(tmp_path: Path, dense: Callable, data: tuple) -> None:
    path = str(tmp_path / "best.keras")
    save = keras.callbacks.ModelCheckpoint(path, "figure", mode="min", save_best_only=True)
    plain = compiled(dense())
    figure = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(figure=-100))
    fit(plain, data, 1, callbacks=[figure, save])
    model = compiled(wrap(plain, polynomial(end=4)))  # pruned within its first epoch
    fit(model, data, 1, callbacks=[EarlierIsBetter("min"), save])
    assert sparsity(keras.models.load_model(path)) == 0.75


def test_a_later_fit_of_a_pruned_model_keeps_the_best_so_far(tmp_path: Path, dense: Callable, data: tuple) -> None:
    path = str(tmp_path / "best.keras")
    save = keras.callbacks.ModelCheckpoint(path, "figure", mode="min", save_best_only=True)
    model = compiled(wrap(dense(), polynomial(end=4)))
    fit(model, data, 1, callbacks=[EarlierIsBetter("min"), save])
    before = Path(path).read_bytes()
    fit(model, data, 3, initial_epoch=1, callbacks=[EarlierIsBetter("min"), save])
    assert Path(path).read_bytes() == before


def test_a_checkpoint_between_batches_keeps_a_pruned_batch(tmp_path: Path, dense: Callable, data: tuple) -> None:
    path = str(tmp_path / "best.keras")
    model = compiled(wrap(dense(), polynomial(end=2, frequency=1)), optimizers.SGD(-0.5))  # the loss only grows
    fit(model, data, 1, callbacks=keras.callbacks.ModelCheckpoint(path, "loss", save_best_only=True, save_freq=1))
    saved = keras.models.load_model(path)
    assert step_of(saved) >= 2 and sparsity(saved) == 0.75


def test_others_may_stop_training_before_the_final_sparsity(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(end=100)))
    stop = [keras.callbacks.EarlyStopping("loss", patience=5), keras.callbacks.TerminateOnNaN()]
    history = fit(model, data, 5, sample_weight=np.full(len(data[1]), np.nan), callbacks=stop)
    assert len(history["loss"]) == 1


# ------------------------------------------------------------------------------------------- goals set on the way


def shares(model: keras.Model) -> list[float]:
    return [float((mask == 0).mean()) for mask in masks(model)]


def test_a_loaded_model_takes_a_new_scope_of_a_finished_schedule(tmp_path: Path, dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5)))
    fit(model, data, 1)
    loaded = tfprune.load(tfprune.save(model, tmp_path / "half.keras"))
    for each in (model, loaded):
        tfprune.retarget(each, scope={"hidden": 0.75})
        fit(each, data, 1)
        assert shares(each) == [0.75, 0.5]


def test_a_goal_set_between_two_epochs_counts_at_once(dense: Callable, data: tuple) -> None:
    class Aim(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            if epoch == 0:
                tfprune.retarget(self.model, tfprune.ConstantSparsity(final_sparsity=0.75))

    model = compiled(wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5)))
    fit(model, data, 2, callbacks=[Aim()])
    assert shares(model) == [0.75, 0.75]


def test_training_by_another_fit_is_told_when_stripped(dense: Callable, data: tuple) -> None:
    model = wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5))
    around = keras.Sequential([keras.layers.InputLayer(8), model])
    around.compile("sgd", LOSS)
    around.fit(*data, verbose=0)
    with pytest.warns(UserWarning, match="nothing is pruned: masks follow their schedule in the `fit`") as told:
        tfprune.strip(model)
    assert told[0].filename == __file__


def test_what_grows_last_would_stay_zero_so_nothing_does(dense: Callable, data: tuple) -> None:
    model = compiled(wrap(dense(), polynomial(end=4), regrow=0.3))
    fit(model, data, 1)
    assert shares(model) == [0.75, 0.75]
    assert all(np.array_equal(weight.numpy() != 0, mask.numpy() != 0) for weight, mask in masked_variables(model))


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adadelta, keras.optimizers.legacy.Adadelta])
def test_adadelta_remembers_nothing_of_what_fell(optimizer: type, dense: Callable, data: tuple) -> None:
    model = wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5, begin_step=2))
    model.compile(optimizer(1.0), LOSS)
    fit(model, data, 1)
    for weight, mask in masked_variables(model):
        slots = list(memories(model.optimizer, weight))
        assert len(slots) == 2
        assert not any(slot.numpy()[mask.numpy() == 0].any() for slot in slots)


def test_weights_of_bfloat16_are_scored() -> None:
    model = keras.Sequential([layers.Dense(8, input_shape=(4,), dtype="bfloat16"), layers.Dense(2, dtype="bfloat16")])
    assert tfprune.measure(tfprune.prune(model, 0.5)).sparsity == 0.5

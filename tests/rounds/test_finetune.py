"""Learning rates, losses, and an order of examples that follows from seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_workflow
from hypothesis import given
from hypothesis import strategies as st

from tfprune.backend import keras, make_deterministic
from tfprune.data.load import from_arrays
from tfprune.errors import Interrupted, TrainingError
from tfprune.recipe import TrainSection, parse
from tfprune.report.watch import Watch
from tfprune.rounds.finetune import Stretch, compile_for_training, finetune_rate, learning_rate, sample_of, train

progresses = st.floats(0, 1)


def rate(decay: str, progress: float) -> float:
    return learning_rate(TrainSection(learning_rate=0.4, decay=decay), progress)


def test_cosine_falls_to_nothing():
    assert [rate("cosine", each) for each in (0, 0.5, 1)] == pytest.approx([0.4, 0.2, 0.0])


@given(progresses, progresses)
def test_cosine_never_rises(one, other):
    assert rate("cosine", min(one, other)) >= rate("cosine", max(one, other))


def test_step_falls_twice():
    values = [rate("step", each) for each in (0, 0.49, 0.5, 0.74, 0.75, 1)]
    assert values == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


@given(progresses)
def test_constant_stays(progress):
    assert rate("constant", progress) == 0.4


@given(progresses, st.sampled_from(["cosine", "step", "constant"]), st.integers(1, 20), st.integers(1, 20))
def test_rewinding_repeats_the_end_of_the_dense_curve(progress, decay, dense, epochs):
    recipe = parse(tiny_workflow.recipe(train__epochs=dense, train__decay=decay, finetune__epochs=epochs))
    given_up = max(0, dense - epochs) / dense  # fine-tuning longer than dense training takes the whole curve
    expected = learning_rate(recipe.train, given_up + progress * (1 - given_up))
    if decay != "step":  # a hair before a step is another rate than a hair behind it
        assert finetune_rate(recipe)(progress) == pytest.approx(expected)
    assert finetune_rate(recipe)(1.0) == pytest.approx(learning_rate(recipe.train, 1.0))


def test_a_number_starts_there():
    recipe = parse(tiny_workflow.recipe(finetune__learning_rate=0.5))
    assert [finetune_rate(recipe)(each) for each in (0, 0.5, 1)] == pytest.approx([0.5, 0.25, 0])


# ------------------------------------------------------------------------------------------------- losses


def fresh(logits: bool = False, **section) -> keras.Model:
    make_deterministic(1)
    model = tiny_workflow.build((8,), 3, logits=logits)
    compile_for_training(model, TrainSection(**section), tiny_workflow.examples()[0][:8])
    return model


@pytest.mark.parametrize("logits", [True, False])
def test_the_loss_fits_what_the_model_answers(logits):
    model = fresh(logits)
    assert model.loss.get_config()["from_logits"] is logits
    x, y = tiny_workflow.examples()
    outputs = model.predict(x, verbose=0).astype(np.float64)
    if logits:
        outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    expected = -np.log(outputs[np.arange(len(y)), y]).mean()
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD"), ("rmsprop", "RMSprop")]
)
def test_the_recipes_optimizer(name, kind):
    model = fresh(optimizer=name, learning_rate=0.125)
    assert type(model.optimizer).__name__ == kind
    assert float(model.optimizer.learning_rate) == 0.125
    assert len(model.optimizer.variables) > 2 - (name == "sgd"), "its slots are there before training"
    if name == "sgd":
        assert model.optimizer.momentum == 0.9 and model.optimizer.nesterov


# ----------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def split():
    return from_arrays(*tiny_workflow.examples()).train


class Steps(Watch):
    count = 0

    def step(self) -> None:
        self.count += 1


def fit(split, *, model=None, epochs=2, seed=1, history=(), rate=lambda progress: 0.01, stop=lambda: False, keep=None):
    model = model or fresh()
    kept: list = []
    watch = Steps()
    done = train(
        model,
        split,
        TrainSection(batch_size=32),
        Stretch("dense", epochs, rate, seed),
        history=list(history),
        watch=watch,
        stop_asked=stop,
        keep=keep or (lambda so_far: kept.append(list(so_far))),
    )
    return model, done, kept, watch.count


def test_history_is_kept_and_the_rate_follows_the_progress_of_all_epochs(split):
    seen = []

    def rate(progress: float) -> float:
        seen.append(progress)
        return 0.01 * (1 - progress)

    _, history, kept, steps = fit(split, rate=rate)
    assert kept == [history[:1], history]
    assert steps == 2 * 6  # 168 examples in batches of 32
    assert set(history[0]) == {"loss", "accuracy", "learning_rate", "seconds", "ended"}
    assert history[1]["loss"] < history[0]["loss"]
    assert seen == pytest.approx([step / 12 for step in range(12)])
    assert [row["learning_rate"] for row in history] == pytest.approx([0.01 * (1 - 5 / 12), 0.01 * (1 - 11 / 12)])


def test_the_same_seed_trains_the_same_and_another_does_not(split):
    one, other, different = (fit(split, seed=seed)[0].get_weights() for seed in (1, 1, 2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    assert any(a.tobytes() != b.tobytes() for a, b in zip(one, different, strict=True))


def test_an_epoch_does_not_depend_on_those_before(split):
    """The second epoch, in a model brought to where the first one ended, ends the same: dropout and order too."""
    whole, _history, _, _ = fit(split)
    states: list = []
    model = fresh()
    fit(split, model=model, epochs=1, rate=lambda p: 0.01, keep=lambda so_far: states.append(so_far))
    continued = fresh()
    continued.set_weights(model.get_weights())
    for ours, theirs in zip(continued.optimizer.variables, model.optimizer.variables, strict=True):
        ours.assign(theirs)
    np.random.default_rng().normal(size=9)  # nothing that happened in between matters
    fit(split, model=continued, history=states[0])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(continued.get_weights(), whole.get_weights(), strict=True))


def test_examples_come_in_another_order_each_epoch(split):
    def order(seed: int, epoch: int) -> list[bytes]:
        return [x.tobytes() for batch, _ in split.epoch(32, seed=seed, epoch=epoch) for x in batch.numpy()]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*each)) for each in ((1, 0), (1, 1), (2, 0))}) == 3
    assert sorted(order(1, 0)) == sorted(order(2, 5))


def test_a_loss_that_is_no_number(split):
    kept: list = []
    model = fresh()
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch \d; lower the learning rate"):
        fit(split, model=model, epochs=3, rate=lambda progress: 1e30, keep=kept.append)
    assert all(np.isfinite(row["loss"]) for each in kept for row in each)


def test_a_wish_to_stop_is_heard_after_the_batch(split):
    kept: list = []
    counted = iter(range(100))
    with pytest.raises(Interrupted, match="stopped by the user after a batch"):
        fit(split, stop=lambda: next(counted) == 8, keep=kept.append)
    assert len(kept) == 1, "the finished epoch is kept, the other is not"


def test_nothing_is_trained_twice(split):
    model = fresh()
    before = model.get_weights()
    _, history, kept, steps = fit(split, model=model, history=[{"loss": 1.0}, {"loss": 0.5}])
    assert (history, kept, steps) == ([{"loss": 1.0}, {"loss": 0.5}], [], 0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(model.get_weights(), before, strict=True))


def test_a_sample_is_the_first_few(split):
    assert sample_of(split, 3).shape == (3, 8)

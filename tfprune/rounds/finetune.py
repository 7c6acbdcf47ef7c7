"""Training, dense or masked, one epoch at a time, so that every finished epoch can be kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, reset_layer_randomness
from tfprune.data.augment import augment
from tfprune.data.splits import Split
from tfprune.errors import DataError, Interrupted, TrainingError
from tfprune.recipe import Recipe, TrainSection
from tfprune.report.watch import Watch
from tfprune.results import History
from tfprune.slices.tasks import looks_like_probabilities

_OPTIMIZERS: dict[str, Callable[[float], Any]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


def compile_for_training(model: keras.Model, train: TrainSection, sample: np.ndarray) -> None:
    """Compile with the recipe's optimizer and a cross-entropy that fits what the model answers."""
    outputs = np.asarray(model.predict_on_batch(sample), np.float64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not looks_like_probabilities(outputs))
    optimizer = _OPTIMIZERS[train.optimizer](train.learning_rate)
    if any(layer.dtype_policy.name == "mixed_float16" for layer in model._flatten_layers()):
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)  # small gradients would vanish
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)


def learning_rate(train: TrainSection, progress: float, start: float | None = None) -> float:
    """The learning rate at a point of training.

    Args:
        train: start and decay of dense training.
        progress: share of the training that is done, in [0, 1].
        start: a start other than dense training's.
    """
    start = train.learning_rate if start is None else start
    if train.decay == "cosine":
        return start * 0.5 * (1 + math.cos(math.pi * progress))
    if train.decay == "step":
        return start * (0.1 if progress >= 0.5 else 1.0) * (0.1 if progress >= 0.75 else 1.0)
    return start


def finetune_rate(recipe: Recipe) -> Callable[[float], float]:
    """Learning rate of fine-tuning by its own progress; rewound, it repeats the end of dense training's curve."""
    given = recipe.finetune.learning_rate
    if given != "rewind":
        return lambda progress: learning_rate(recipe.train, progress, start=float(given))
    rewound = min(1.0, recipe.finetune_epochs / recipe.train.epochs)
    return lambda progress: learning_rate(recipe.train, 1 - rewound * (1 - progress))


@dataclass(frozen=True)
class Stretch:
    """A stretch of training that belongs together.

    Attributes:
        label: ``dense``, ``r01`` ….
        epochs: in all.
        rate: learning rate by progress in [0, 1].
        seed: of the order of examples, of dropout and of augmentation.
        batches: of each epoch, the first so many; None takes all.
    """

    label: str
    epochs: int
    rate: Callable[[float], float]
    seed: int
    batches: int | None = None

    def steps(self, split: Split, batch_size: int) -> int:
        """Steps of an epoch."""
        whole = math.ceil(split.size / batch_size)
        return whole if self.batches is None else min(whole, self.batches)


def train(
    model: keras.Model,
    split: Split,
    section: TrainSection,
    stretch: Stretch,
    *,
    history: History,
    watch: Watch,
    stop_asked: Callable[[], bool],
    keep: Callable[[History], None],
    until: int | None = None,
) -> History:
    """Train a compiled model from the epoch after `history` to the last.

    Order of examples, dropout and learning rate follow from the seed and the epoch alone, so training that
    was cut off and taken up again ends at the same weights.

    Args:
        model: compiled.
        split: what to train on.
        section: batch size and augmentation.
        stretch: epochs, learning rate and seed.
        history: one dict an epoch done before.
        watch: hears of each step.
        stop_asked: looked at after each batch.
        keep: called with the history after each epoch.
        until: epoch after which to stop for now, counted from the start of the stretch.

    Returns:
        The whole history.

    Raises:
        TrainingError: the loss is no longer a number.
        Interrupted: `stop_asked` said so; all finished epochs are kept.
    """
    history = list(history)
    steps = stretch.steps(split, section.batch_size)
    follow = _Follow(stretch, steps, watch, stop_asked)
    for epoch in range(len(history), stretch.epochs if until is None else until):
        reset_layer_randomness(model, stretch.seed * 10_007 + epoch)
        batches = split.epoch(section.batch_size, seed=stretch.seed, epoch=epoch).take(steps)
        batches = augment(batches, section.augment, seed=stretch.seed, epoch=epoch)
        start = time.time()
        figures = model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, callbacks=[follow], verbose=0).history
        row = {name: float(values[-1]) for name, values in figures.items()}
        name, loss = _worst_loss(row)
        loss = loss if all(np.isfinite(each).all() for each in model.get_weights()) else math.nan
        if not math.isfinite(loss):
            raise TrainingError(
                f"the {name} became {loss} in epoch {epoch + 1}; lower the learning rate, or check the data"
            )
        history.append(
            {**row, "learning_rate": follow.rate_now, "seconds": round(time.time() - start, 3), "ended": now()}
        )
        keep(history)
    return history


def _worst_loss(row: Mapping[str, float]) -> tuple[str, float]:
    """The one part of the loss, by its name, that is no number; else the whole of it."""
    parts = {name.replace("_", " "): value for name, value in row.items() if name.endswith("_loss")}
    broken = [(name, value) for name, value in parts.items() if not math.isfinite(value)]
    return broken[0] if len(broken) == 1 else ("loss", row["loss"])


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class _Follow(keras.callbacks.Callback):
    """Sets the learning rate before each batch; after it, tells the watch and looks for a stop."""

    def __init__(self, stretch: Stretch, steps: int, watch: Watch, stop_asked: Callable[[], bool]) -> None:
        super().__init__()
        self._rate, self._steps, self._total = stretch.rate, steps, steps * stretch.epochs
        self._watch, self._stop_asked = watch, stop_asked
        self._epoch = 0
        self.rate_now = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.rate_now = self._rate((self._epoch * self._steps + batch) / self._total)
        self.model.optimizer.learning_rate = self.rate_now

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._watch.step()
        if self._stop_asked():
            raise Interrupted(
                "stopped by the user after a batch; the same command goes on from the last finished epoch"
            )


def sample_of(split: Split, examples: int = 8) -> np.ndarray:
    """A few inputs.

    Raises:
        DataError: the split is empty.
    """
    for x, _ in split.batches(examples).take(1):
        return np.asarray(x)
    raise DataError(f"the {split.name} split has no example")

"""Training, fine-tuning, and the gates that a round has to pass."""

from __future__ import annotations

from typing import ClassVar, Literal

from tfprune.recipe.base import Confidence, Count, NumberFrom0, Positive, Section, Share


class TrainSection(Section):
    """Training of the dense model.

    Attributes:
        epochs: passes over the training part.
        batch_size: examples a step, here and in fine-tuning.
        optimizer: by name, with the defaults of Keras; ``sgd`` with Nesterov momentum 0.9.
        learning_rate: at the start.
        decay: how it falls over the whole training: ``cosine`` to zero, ``step`` (a tenth after one half and
            again after three quarters), or ``constant``.
        augment: random changes of images, here and in fine-tuning: ``flip`` sideways, ``shift`` by up to an eighth.
    """

    epochs: Count = 20
    batch_size: Count = 64
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Positive = 0.001
    decay: Literal["cosine", "step", "constant"] = "cosine"
    augment: tuple[Literal["flip", "shift"], ...] = ()


class FinetuneSection(Section):
    """Fine-tuning after each pruning.

    Attributes:
        epochs: by default three tenths of `train.epochs`, or what is left of them behind `prune.rewind_to_epoch`; with
            0, each round prunes at once and is evaluated as it is.
        learning_rate: ``rewind`` repeats the last `epochs` epochs of dense training's learning-rate curve
            (Renda et al. 2020); a number starts there and decays as `train.decay` says.
    """

    epochs: NumberFrom0 | None = None
    learning_rate: Literal["rewind"] | Positive = "rewind"


class StopSection(Section):
    """The gates of a round, and when to give up.

    Attributes:
        max_drop: accuracy that may be lost against the dense model, as a fraction (0.01 is one point).
        max_relative_drop: the same as a share of the dense accuracy.
        max_slice_drop: accuracy that any slice may lose.
        slice_drops: limits for slices by name, in place of `max_slice_drop`.
        min_slice_size: a slice with fewer examples is shown but fails nobody.
        confidence: a gate fails when the drop is over its limit with this confidence, e.g. 0.95, over all slices
            together (Holm 1979); by default when it is over it in the examples at hand.
        min_step: give up when a retry would prune less than this share of what remains.
        max_rounds: rounds in all, failed ones included; by default twice `prune.rounds`.
        patience: give up after so many failed rounds in a row.
    """

    _newer: ClassVar = frozenset(("confidence",))

    max_drop: Share | None = 0.02
    max_relative_drop: Share | None = None
    max_slice_drop: Share | None = 0.1
    slice_drops: dict[str, Share] = {}
    min_slice_size: Count = 20
    confidence: Confidence | None = None
    min_step: Share = 0.05
    max_rounds: Count | None = None
    patience: Count = 4

"""Training, fine-tuning, and the gates that a round has to pass."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfprune.recipe.base import NUMBER, Confidence, Count, NumberFrom0, Positive, Section, Share


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


class DistillSection(Section):
    """Distillation in fine-tuning: the dense model teaches every round, see `tfprune.distill`.

    Attributes:
        temperature: that softens the answers of both (Hinton et al. 2015).
        weight: of the teacher's answers, in [0, 1]; the labels have the rest.
        features: layers of the dense model whose outputs are to be alike, by name, or the student's with the teacher's;
            a round that has lost one of them to the removal of a branch goes without it.
        feature_weight: of the sum over all features.
    """

    temperature: Positive = 4.0
    weight: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.5
    features: tuple[str, ...] | dict[str, str] = ()
    feature_weight: Positive = 1.0

    @model_validator(mode="after")
    def _has_something_to_weigh(self) -> Self:
        if not self.features and self.feature_weight != 1.0:
            raise ValueError("feature_weight weighs features, but there are none; add features: [layer]")
        return self


class FinetuneSection(Section):
    """Fine-tuning after each pruning.

    Attributes:
        epochs: by default three tenths of `train.epochs`, or what is left of them behind `prune.rewind_to_epoch`; with
            0, each round prunes at once and is evaluated as it is.
        learning_rate: ``rewind`` repeats the last `epochs` epochs of dense training's learning-rate curve
            (Renda et al. 2020); a number starts there and decays as `train.decay` says.
        distill: how the dense model teaches; by default it does not.
    """

    _newer: ClassVar = frozenset(("distill",))

    epochs: NumberFrom0 | None = None
    learning_rate: Literal["rewind"] | Positive = "rewind"
    distill: DistillSection | None = None


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

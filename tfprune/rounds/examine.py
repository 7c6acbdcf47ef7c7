"""The slices of a recipe on the splits of its data."""

from __future__ import annotations

from tfprune.data.splits import Data, Split
from tfprune.errors import SliceError, nearest
from tfprune.recipe import Recipe
from tfprune.rounds.finetune import sample_of
from tfprune.slices.answers import Question
from tfprune.slices.define import needs_embedding
from tfprune.slices.exam import Examination
from tfprune.slices.facts import Facts

_SAMPLE = 256


def examination(split: Split, recipe: Recipe, data: Data) -> Examination:
    """The slices of a recipe on one split.

    Args:
        split: the validation or the test split.
        recipe: names the slices.
        data: its training part says which classes are rare, where quantiles lie, and in which range inputs are.

    Raises:
        SliceError: a corruption of the wrong kind of data.
    """
    facts = Facts(
        split.name,
        lambda: split.batches(max(256, recipe.train.batch_size)),
        split.labels,
        classes=data.classes,
        metadata=split.metadata,
        train_labels=data.train.labels,
        train_metadata=data.train.metadata,
        question=Question("multiclass", embed=needs_embedding(recipe.slices)),
        min_support=recipe.stop.min_slice_size,
        seed=recipe.seed,
    )
    return Examination(facts, recipe.slices, sample_of(data.train, _SAMPLE))


def check_slices(recipe: Recipe, validation: Examination, test: Examination) -> list[str]:
    """Refuse slices that cannot be, and gates on slices that are not there or too small to gate.

    Returns:
        Names of the slices, as far as they are known before any answer.

    Raises:
        SliceError: names the slice.
    """
    supports = validation.check()
    test.check()
    for name in recipe.stop.slice_drops:
        if name not in supports:
            there = f"there are {', '.join(supports)}" if supports else "the recipe has none"
            raise SliceError(f"stop.slice_drops: no slice is named {name!r}; {there}{nearest(name, supports)}")
        support = supports[name]
        if support is not None and support < recipe.stop.min_slice_size:
            raise SliceError(
                f"stop.slice_drops: slice {name!r} has {support} validation examples and so gates nothing: "
                f"stop.min_slice_size is {recipe.stop.min_slice_size}; lower that, or leave the limit out"
            )
    return list(supports)

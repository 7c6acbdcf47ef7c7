"""The dense model of a workflow as the teacher of its rounds, and what that costs."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfprune.backend import keras, tf
from tfprune.cost.measure import measure
from tfprune.data.splits import Split
from tfprune.recipe import DistillSection, Recipe
from tfprune.results import TeacherCost
from tfprune.rounds.distill import distill, is_taught
from tfprune.rounds.features import check_features, has_layer, pairs_of

_TIMED = 5
"""Batches that the teacher is timed on."""


class Teacher:
    """A trained dense model that takes part in fine-tuning.

    Args:
        section: how it teaches.
        dense: the model; never changed, and nobody else may while it teaches.
        train: what is trained on.
        batch_size: of a step.
    """

    def __init__(self, section: DistillSection, dense: keras.Model, train: Split, batch_size: int) -> None:
        self._section, self._dense, self._train, self._batch_size = section, dense, train, batch_size
        self._student: weakref.ref[keras.Model] | None = None
        self._answer = tf.function(lambda x: dense(x, training=False), reduce_retracing=True)
        self._macs: int | None = None

    @classmethod
    def of(cls, recipe: Recipe, dense: keras.Model, train: Split) -> Teacher | None:
        """The teacher that a recipe asks for, if it does."""
        section = recipe.finetune.distill
        return None if section is None else cls(section, dense, train, recipe.train.batch_size)

    def teach(self, student: keras.Model) -> tuple[str, ...]:
        """Take part in the training of a compiled model; one that is taught already goes on without a new trace.

        Returns:
            Features that it goes without, as pruning has removed their layers.
        """
        pairs = pairs_of(self._section.features)
        kept = {ours: theirs for ours, theirs in pairs if has_layer(student, ours)}
        if self._student is None or self._student() is not student or not is_taught(student):
            given = self._section
            distill(
                student,
                self._dense,
                temperature=given.temperature,
                weight=given.weight,
                features=kept,
                feature_weight=given.feature_weight,
            )
            self._student = weakref.ref(student)
        return tuple(ours for ours, _ in pairs if ours not in kept)

    def leave(self, student: keras.Model) -> None:
        """Take no part in it any more."""
        if is_taught(student):
            distill(student, None)

    def cost(self, history: Sequence[Mapping[str, float]], steps: int) -> TeacherCost:
        """What teaching took of a fine-tuning.

        The teacher is timed by itself, on batches as they are trained on: its share is what its answers would take
        one after the other with the rest of the step.

        Args:
            history: of the fine-tuning, an epoch each.
            steps: of an epoch.
        """
        if self._macs is None:
            self._macs = measure(self._dense, gzipped=False).macs
        batches = [x for x, *_ in self._train.batches(self._batch_size).take(_TIMED)]
        seconds = seconds_a_batch(self._answer, batches) * steps * len(history)
        whole = sum(each["seconds"] for each in history)
        return TeacherCost(self._macs, round(seconds, 3), round(min(1.0, seconds / max(whole, 1e-9)), 4))


def seconds_a_batch(answer: Callable[[Any], Any], batches: Sequence[Any]) -> float:
    """Median time of an answer, the second time that each batch is seen."""
    for x in batches:  # whatever is traced or allocated, it is now
        answer(x)
    found = []
    for x in batches:
        start = time.perf_counter()
        tf.nest.map_structure(lambda each: each.numpy(), answer(x))
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def check_teaching(recipe: Recipe, dense: keras.Model) -> None:
    """Refuse features that the dense model does not have; every round's model has its layers' names.

    Raises:
        DistillationError: it names the nearest.
    """
    section = recipe.finetune.distill
    for ours, theirs in pairs_of(section.features) if section is not None else ():
        check_features(dense, [ours], "student")
        check_features(dense, [theirs], "teacher")

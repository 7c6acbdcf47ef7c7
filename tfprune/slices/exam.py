"""One split, its slices, and any number of models that answer it: one pass a model and variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfprune.backend import keras
from tfprune.errors import DataError
from tfprune.recipe import Corrupted, Discover, ModelFiles, SliceSpec
from tfprune.results import Evaluation
from tfprune.slices.answers import OTHER_ORDER, Answers, Ask, Change, answer
from tfprune.slices.columns import column
from tfprune.slices.corruptions import Scale, corrupt, scale_of
from tfprune.slices.define import Slice, check_names, define_slices, hangs_on_answers, names_of, variants_of
from tfprune.slices.facts import Facts, kind_of_inputs
from tfprune.slices.metrics import Metrics
from tfprune.slices.score import Sitting, score


class _Unanswered(Facts):
    """Facts to name slices by that hang on answers, before there are any."""

    def exemplars(self, models: ModelFiles | None) -> np.ndarray:
        return np.ones(self.size, bool)

    def discovered(self, spec: Discover) -> tuple[np.ndarray, str] | None:
        for name in spec.columns or ():
            column(self.metadata, name, self.split)
        return np.ones(self.size, bool), ""


class Examination:
    """A split and its slices.

    Args:
        facts: of the split.
        specs: its slices, as in a recipe.
        scale_from: inputs that tell the range of values for corruptions; by default the split's first batch.

    Raises:
        SliceError: a slice that cannot be, as far as that is known before any model has answered.
    """

    def __init__(self, facts: Facts, specs: Sequence[SliceSpec], scale_from: np.ndarray | None = None) -> None:
        self.facts = facts
        self.specs = tuple(specs)
        self._changes = self._changes_of(variants_of(specs), scale_from)
        self._dense: Sitting | None = None
        self._steady: tuple[Slice, ...] | None = None
        self._latest: tuple[Sitting, tuple[Slice, ...]] | None = None

    def sit(self, model: keras.Model, *, keep_outputs: bool = True, ask: Ask | None = None) -> Sitting:
        """Let a model answer the clean examples and every variant of them.

        Args:
            model: to ask.
            keep_outputs: False keeps none even where the question asks for them.
            ask: answers in its place, see `answer`.

        Raises:
            DataError: the examples come in another order under a variant; see also `answer`.
        """
        question = self.facts.question
        question = replace(question, keep_outputs=question.keep_outputs and keep_outputs)
        plain = replace(question, embed=False)
        sitting = {"": answer(model, self.facts.batches(), question, ask=ask)}
        for name, change in self._changes.items():
            sitting[name] = answer(model, self.facts.batches(), replace(plain, task=sitting[""].task), change, ask)
            if not np.array_equal(sitting[name].labels, sitting[""].labels):
                raise DataError(OTHER_ORDER)
        return sitting

    def compare_with(self, dense: Sitting) -> None:
        """Take the dense model's answers as those that drops are measured against, and that say what is hard."""
        self._dense = dense
        self._steady = self._latest = None

    def check(self) -> dict[str, int | None]:
        """Cut the slices before any model has answered, as if all examples were equally hard.

        Returns:
            Support by name; None of the slices that hang on answers.

        Raises:
            SliceError: a slice that cannot be.
        """
        labels = self.facts.labels
        blank = np.zeros(len(labels), np.float32)
        nobody = Answers(labels, labels, blank, blank, blank, blank, blank, "multiclass")
        facts = self._facts_of({"": nobody})
        steady = define_slices([spec for spec in self.specs if not hangs_on_answers(spec)], facts)
        moving = names_of([spec for spec in self.specs if hangs_on_answers(spec)], _Unanswered(**vars(facts)))
        check_names([*(each.name for each in steady), *moving])
        return {each.name: int(each.members.sum()) for each in steady} | dict.fromkeys(moving)

    def evaluate(self, now: Sitting, metrics: Metrics | None = None, *, tests: bool = True) -> Evaluation:
        """Score a model that has answered; the dense model itself has no drops. See `score` for the rest."""
        before = None if now is self._dense else self._dense
        return score(now, self.slices(now), before, min_support=self.facts.min_support, metrics=metrics, tests=tests)

    def slices(self, now: Sitting) -> tuple[Slice, ...]:
        """The slices as they are for a model; those that hang on answers are none of the dense model's."""
        moving = [spec for spec in self.specs if hangs_on_answers(spec)]
        if not moving or now is self._dense:
            return self.steady(now)
        if self._latest is None or self._latest[0] is not now:
            weights = now[""].weights
            found = define_slices(moving, self._facts_of(now))
            # That all examples that changed weigh nothing is nobody's mistake.
            self._latest = now, tuple(each for each in found if weights is None or weights[each.members].any())
        found = (*self.steady(now), *self._latest[1])
        check_names([each.name for each in found])
        return found

    @property
    def dense(self) -> Sitting | None:
        """The dense model's answers, where there are some."""
        return self._dense

    def steady(self, now: Sitting) -> tuple[Slice, ...]:
        """The slices that are the same for every model; they are cut once."""
        if self._steady is None or self._dense is None:
            specs = [spec for spec in self.specs if not hangs_on_answers(spec)]
            self._steady = define_slices(specs, self._facts_of(now))
        return self._steady

    def _facts_of(self, now: Sitting) -> Facts:
        dense = None if self._dense is None else self._dense[""]
        return replace(self.facts, labels=now[""].labels, dense=dense, answers=now[""])

    def _changes_of(self, variants: Mapping[str, Corrupted], scale_from: np.ndarray | None) -> dict[str, Change]:
        if not variants:
            return {}
        for each in variants.values():
            self.facts.check_corruption(each.corrupted)
        first = self.facts.first_input
        scale = scale_of(np.asarray(first if scale_from is None else scale_from, np.float32), kind_of_inputs(first))
        return {name: _change(each, scale, self.facts.seed) for name, each in variants.items()}


def _change(spec: Corrupted, scale: Scale, seed: int) -> Change:
    severity = spec.severity
    assert isinstance(severity, int)

    def change(x: np.ndarray, ordinals: np.ndarray) -> np.ndarray:
        values = x.astype(np.float32) if x.ndim == 4 else x
        return corrupt(values, spec.corrupted, severity, ordinals=ordinals, scale=scale, seed=seed)

    return change

"""An exported file held against the Keras model that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.deploy.names import inputs_by_name
from tfprune.errors import ModelError
from tfprune.results import Check, Tolerance
from tfprune.slices.asking import asker
from tfprune.slices.exam import Examination

Ask = Callable[[Any], Any]
"""Inputs to outputs, both in the structure that the Keras model has."""

RANDOM_EXAMPLES = 32


class Comparison:
    """Two ways to answer, compared batch by batch.

    Args:
        model: a Keras model.
        ask: another way to its answers.
    """

    def __init__(self, model: keras.Model, ask: Ask) -> None:
        self._known, self._ask = asker(model), ask
        self.examples = 0
        self._apart: list[float] = []
        self._ends: list[tuple[float, float]] = []

    def __call__(self, x: Any) -> Any:
        """Ask both, take note, and return what the other way answered.

        Raises:
            ModelError: it is NaN or infinite where the model's answer is neither.
        """
        answered = self._ask(x)
        ours, theirs = tf.nest.flatten(self._known(x)), tf.nest.flatten(answered)
        if not self._apart:
            self._apart = [0.0] * len(ours)
            self._ends = [(np.inf, -np.inf)] * len(ours)
        self.examples += len(ours[0])
        for place, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            our, their = np.asarray(our, np.float64), np.asarray(their, np.float64)
            if not np.isfinite(their[np.isfinite(our)]).all():
                raise ModelError("the file answers NaN or infinity where the Keras model does not")
            low, high = self._ends[place]
            self._apart[place] = max(self._apart[place], float(np.abs(our - their).max()))
            self._ends[place] = min(low, float(our.min())), max(high, float(our.max()))
        return answered

    @property
    def max_difference(self) -> float:
        """Between any two numbers."""
        return max(self._apart)

    @property
    def relative_differences(self) -> list[float]:
        """By output, as a share of the range of the Keras model's answers."""
        pairs = zip(self._apart, self._ends, strict=True)
        return [apart / max(high - low, 1e-6, 1e-6 * abs(high)) for apart, (low, high) in pairs]


class Verification:
    """Examples of a split, to hold files against the Keras model on; the model itself is asked once.

    Args:
        model: a plain Keras model.
        exam: a split and its slices. Drops are measured against its dense model; where it has none yet, against
            `model` from here on.
    """

    def __init__(self, model: keras.Model, exam: Examination) -> None:
        self._model, self._exam = model, exam
        self._before = exam.sit(model)
        if exam.dense is None:
            exam.compare_with(self._before)
        self._known = exam.evaluate(self._before)

    def __call__(self, ask: Ask) -> Check:
        """What comes of a file.

        Raises:
            DataError: examples that it does not take.
            ModelError: it answers NaN or infinity.
        """
        comparison = Comparison(self._model, ask)
        after = self._exam.sit(self._model, ask=comparison)
        ours, theirs = self._before[""], after[""]
        is_class = ours.measure == "accuracy"
        apart = comparison.relative_differences
        names, output = list(self._model.output_names), self._exam.facts.question.output
        spoken_of = names.index(output) if output in names else 0
        others = [each for place, each in enumerate(apart) if not (is_class and place == spoken_of)]
        return Check(
            examples=len(ours.score),
            source=self._exam.facts.split,
            max_difference=comparison.max_difference,
            relative_difference=max(apart),
            others_difference=max(others, default=0.0),
            agreement=float(np.mean(ours.answer == theirs.answer)) if is_class else None,
            model=self._known,
            file=self._exam.evaluate(after),
        )


def verify_at_random(model: keras.Model, ask: Ask) -> Check:
    """The same where there is no data: random inputs tell whether the file computes the same, and no more."""
    comparison = Comparison(model, ask)
    for x in random_inputs(model):
        comparison(x)
    apart = max(comparison.relative_differences)
    return Check(comparison.examples, "random", comparison.max_difference, apart, apart)


def random_inputs(model: keras.Model, examples: int = RANDOM_EXAMPLES, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs for a model of which no data is known: floats in [0, 1), token ids 0 and 1, which any vocabulary has."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(examples):
        values = {}
        for name, tensor in zip(model.input_names, model.inputs, strict=True):
            shape = (1, *(size or 1 for size in tensor.shape[1:]))
            values[name] = rng.random(shape) if tensor.dtype.is_floating else rng.integers(0, 2, shape)
        found.append(inputs_by_name(model, values))
    return found


def outside(check: Check, tolerance: Tolerance) -> str:
    """Why a file is outside its tolerance, in one clause with the figures; empty where it is inside.

    Classes are held to the agreement, everything else to the difference, and classes too where the file is to be exact.
    """
    apart = f"the largest difference is {check.max_difference:.3g}, {check.relative_difference:.2%} of the range"
    if check.agreement is not None and check.agreement < tolerance.agreement:
        return (
            f"it agrees with the Keras model on {check.agreement:.2%} of {check.examples:,} examples, at least "
            f"{tolerance.agreement:.2%} is asked for; {apart}"
        )
    held = check.relative_difference if tolerance.exact else check.others_difference
    if held > tolerance.difference:
        what = "" if held == check.relative_difference else f", of outputs that are no classes {held:.2%}"
        to = f"of its answers to {check.examples:,} {check.source} examples{what}"
        return f"{apart} {to}, {tolerance.difference:.2%} allowed"
    return ""

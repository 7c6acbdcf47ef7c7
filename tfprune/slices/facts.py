"""What slices are cut by: what is known of the examples of a split, and of how models answered them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import mode

from tfprune.backend import keras, tf
from tfprune.errors import DataError, SliceError
from tfprune.importing import load_function, one_line
from tfprune.masking.files import load
from tfprune.slices.answers import OTHER_ORDER, Answers, Question, answer, first_of, parts_of
from tfprune.slices.columns import column
from tfprune.slices.corruptions import check, kind_of
from tfprune.slices.discovery import discover

if TYPE_CHECKING:
    from tfprune.recipe import Discover, ModelFiles

Batches = Callable[[], Iterable[Any]]
"""Gives the examples of a split in batches of (x, y) or (x, y, sample_weight), in the same order each time."""


@dataclass(frozen=True)
class Facts:
    """What is known of one split.

    Attributes:
        split: its name, for messages.
        batches: its examples.
        labels: (n,) or (n, k), see `Columns`; none before they are known.
        classes: names of the classes; numbers where there are none.
        metadata: columns of shape (n,) by name.
        train_labels: of the training part: which classes are rare is decided there; those of the split where unknown.
        train_metadata: the same: bounds of quantiles are decided there.
        dense: the dense model's answers to the clean examples; None where there are none yet.
        answers: those of the model that is evaluated.
        question: how models are asked.
        min_support: fewer examples are not discovered as a group.
        seed: of discovery.
        cache: what has been worked out before, shared with facts made of these by `dataclasses.replace`.
    """

    split: str
    batches: Batches
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: tuple[str, ...] = ()
    metadata: Mapping[str, np.ndarray] = field(default_factory=dict)
    train_labels: np.ndarray | None = None
    train_metadata: Mapping[str, np.ndarray] = field(default_factory=dict)
    dense: Answers | None = None
    answers: Answers | None = None
    question: Question = field(default_factory=Question)
    min_support: int = 20
    seed: int = 0
    cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, values in self.metadata.items():
            if self.size and len(values) != self.size:
                raise SliceError(
                    f"metadata column {name!r} has {len(values)} values, but there are {self.size} examples in the "
                    f"{self.split} split; give one value an example, in the same order"
                )

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.labels)

    # --- classes

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes.

        Raises:
            SliceError: a regression has none.
        """
        if self.labels.dtype.kind == "f":
            raise SliceError("slices by class need classes, but the labels are numbers of a regression")
        count = self.labels.shape[1] if self.labels.ndim > 1 else int(self.labels.max()) + 1
        if self.classes and len(self.classes) < count:
            raise SliceError(
                f"{len(self.classes)} classes are named, but the labels are of {count}; name every class, in order"
            )
        if self.labels.ndim > 1:
            return self.classes[:count] or tuple(map(str, range(count)))
        return self.classes or tuple(map(str, range(count)))

    def of_classes(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The examples of some classes; of several labels, those that bear any of them."""
        if self.labels.ndim > 1:
            return np.asarray(self.labels[:, indices].any(axis=1))
        return np.isin(self.labels, indices)

    def rarest(self, count: int) -> np.ndarray:
        """Indices of the classes with the fewest training examples, the lower index first among equals."""
        classes = len(self.class_names())
        known = self.labels if self.train_labels is None else self.train_labels
        counts = known.sum(axis=0, dtype=np.int64) if known.ndim > 1 else np.bincount(known, minlength=classes)
        return np.argsort(counts, kind="stable")[:count]

    # --- answers

    def hardest(self, share: float, by: str) -> np.ndarray:
        """The hardest examples for the dense model; exactly that share, the earlier first among equals."""
        known = self.dense or self.answers
        if known is None:
            raise SliceError("slice 'hardest' needs the dense model's answers: give the dense model as the baseline")
        order = {"margin": known.margin, "loss": -known.loss, "entropy": -known.entropy}[by]
        if np.isnan(order).any():
            raise SliceError(f"hardest by {by} needs probabilities, but the model is a regression; take by: loss")
        members = np.zeros(self.size, bool)
        members[np.argsort(order, kind="stable")[: round(share * self.size)]] = True
        return members

    def exemplars(self, models: ModelFiles | None) -> np.ndarray:
        """Examples that pruned models answer otherwise than dense ones, both by what most of them answer."""
        if models is not None:
            key = ("pie", id(models))
            if key not in self.cache:
                self.cache[key] = self._modal(models.dense) != self._modal(models.pruned)
            return self.cache[key]
        if self.dense is None or self.answers is None:
            raise SliceError("slice 'pie' compares with the dense model: give it as the baseline")
        self._check_has_answers(self.answers)
        return np.asarray(self.dense.answer != self.answers.answer)

    def discovered(self, spec: Discover) -> tuple[np.ndarray, str] | None:
        """The half of the worst group that it is confirmed on, and what its examples have in common."""
        if self.answers is None:
            return None
        names = tuple(self.metadata) if spec.columns is None else spec.columns
        columns = {name: column(self.metadata, name, self.split) for name in names}
        known = self.dense or self.answers
        if spec.embeddings and known.embedding is not None:
            columns |= {f"embedding_{place}": each for place, each in enumerate(known.embedding.T)}
        if self.labels.ndim == 1 and self.labels.dtype.kind != "f" and "class" not in columns:
            columns["class"] = np.array(self.class_names(), object)[self.labels]
        harm = self._harm()
        found = discover(columns, harm, depth=spec.discover, min_support=self.min_support, seed=self.seed)
        if found is None:
            return None
        members = found.members & found.confirming
        return (members, found.rule) if harm[members].mean() > 0 else None  # it may only gain less than the others

    def _harm(self) -> np.ndarray:
        """How much worse each example is answered than by the dense model; without one, how badly."""
        assert self.answers is not None
        now = self.answers.score.astype(np.float64)
        is_error = self.answers.measure == "error"
        if self.dense is None:
            return now if is_error else 1 - now
        return (now - self.dense.score) * (1 if is_error else -1)

    def _modal(self, models: Sequence[Any]) -> np.ndarray:
        """What most of some models answer, by example; of several such answers the smallest."""
        given = [each if isinstance(each, keras.Model) else load(each) for each in models]
        task = self.question.task if self.answers is None else self.answers.task
        question = replace(self.question, task=task, embed=False, keep_outputs=False)
        answers = [answer(each, self.batches(), question) for each in given]
        for each in answers:
            self._check_has_answers(each)
        return np.asarray(mode(np.stack([each.answer for each in answers]), axis=0).mode)

    def _check_has_answers(self, answers: Answers) -> None:
        if answers.task == "regression":
            raise SliceError("slice 'pie' compares answers, but a regression gives numbers, which always differ")

    # --- functions and inputs

    def where(self, function: str | Callable[..., Any]) -> np.ndarray:
        """The examples that a function of the user's is true for.

        Raises:
            SliceError: it cannot be imported, or raises; names the example.
        """
        if ("where", function) not in self.cache:
            self.cache["where", function] = self._where(function)
        return self.cache["where", function]

    def _where(self, function: str | Callable[..., Any]) -> np.ndarray:
        if isinstance(function, str):
            function = load_function(function, "slices.where", SliceError)
        name, taken = name_of_function(function), _count_taken(function)
        members: list[bool] = []
        seen: list[np.ndarray] = []
        for batch in self.batches():
            x, y = tf.nest.map_structure(np.asarray, parts_of(batch)[:2])
            for row in range(len(tf.nest.flatten(y)[0])):
                place = len(members)
                example = (
                    *tf.nest.map_structure(lambda each, row=row: each[row], (x, y)),
                    {key: values[place] for key, values in self.metadata.items()},
                )
                try:
                    members.append(bool(function(*example[:taken])))
                except Exception as error:  # whatever the user's function raises
                    raise SliceError(
                        f"slice where: {name} raised {one_line(error)} at example {place} of the {self.split} split"
                    ) from error
            seen.append(tf.nest.flatten(y)[0])
        self._check_order(np.concatenate(seen))
        return np.array(members, bool)

    def _check_order(self, labels: np.ndarray) -> None:
        """Refuse labels, as the data has them, that come in another order than those of the pass before."""
        if self.labels.ndim != 1 or not self.size:
            return
        values = labels.reshape(len(labels), -1)
        flat = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
        if len(flat) != self.size or not np.allclose(flat.astype(np.float64), self.labels):
            raise DataError(OTHER_ORDER)

    @property
    def first_input(self) -> Any:
        """Inputs of a first batch."""
        if "first" not in self.cache:
            self.cache["first"] = parts_of(first_of(self.batches()))[0]
        return self.cache["first"]

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Inputs of some examples of one input, in the order of their places; read batch by batch."""
        found: dict[int, np.ndarray] = {}
        start, wanted = 0, set(rows.tolist())
        for batch in self.batches():
            x = np.asarray(batch[0])
            found |= {place: x[place - start] for place in wanted if start <= place < start + len(x)}
            start += len(x)
            if len(found) == len(wanted):
                break
        return np.stack([found[place] for place in rows.tolist()])

    def check_corruption(self, name: str) -> None:
        """Raise SliceError for a corruption that does not exist, or does not go with the inputs."""
        check(name, kind_of_inputs(self.first_input))


def kind_of_inputs(x: Any) -> str:
    """``image``, ``text`` or ``table``.

    Raises:
        SliceError: several inputs, or inputs of another shape.
    """
    if tf.nest.is_nested(x):
        raise SliceError("corruptions go with models of one input, an array; the data gives several, or names them")
    values = np.asarray(x)
    is_bytes = values.ndim == 4 and values.dtype.kind in "iu"
    return kind_of(values.shape[1:], np.float32 if is_bytes else values.dtype)


def name_of_function(function: str | Callable[..., Any]) -> str:
    """What a function is called, by itself or in a recipe."""
    if isinstance(function, str):
        return function.rpartition(":")[2]
    own = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(own, "__name__", type(own).__name__)).strip("<>")


def _count_taken(function: Callable[..., Any]) -> int:
    """How many of x, y and metadata a function takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 3
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return min(3, len(places))

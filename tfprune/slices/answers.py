"""One pass of a model over examples; what it answered is kept as small columns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError, nearest
from tfprune.importing import one_line
from tfprune.slices.asking import asker
from tfprune.slices.embeddings import Components, pooled, with_embedding
from tfprune.slices.tasks import Columns, Reader, Task, task_of

NO_EXAMPLE = "there is no example to evaluate on"
OTHER_ORDER = "the data comes in another order each time it is read; do not shuffle it for an evaluation"
_READ_AT_ONCE = 1_000_000  # numbers

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Inputs of a batch and the places of its examples in the split, to inputs."""

Ask = Callable[[Any], Any]
"""Inputs of a batch to outputs, in the structure that the Keras model has for both."""


@dataclass(frozen=True)
class Answers(Columns):
    """What a model answered, one entry an example, see `Columns`.

    Attributes:
        task: what the model is for.
        weights: float32 (n,), of the examples; None where they count alike.
        embedding: float32 (n, up to 8), see `with_embedding`; None where it was not asked for, or there is none.
        outputs: float32 (n, ...), in a file without a name; None where they were not asked for.
        is_one_hot: whether the data gives class indices as rows.
    """

    task: Task
    weights: np.ndarray | None = None
    embedding: np.ndarray | None = None
    outputs: np.ndarray | None = None
    is_one_hot: bool = False

    @property
    def measure(self) -> str:
        """``accuracy``, or ``error`` of a regression."""
        return "error" if self.task == "regression" else "accuracy"


@dataclass(frozen=True)
class Question:
    """How a model is asked.

    Attributes:
        task: what it is for; None to tell by its loss, or by the first batch.
        output: name of one of several outputs.
        embed: whether to keep an embedding.
        keep_outputs: whether to keep the outputs, in a temporary file.
    """

    task: Task | None = None
    output: str | None = None
    embed: bool = False
    keep_outputs: bool = False


def answer(
    model: keras.Model,
    batches: Iterable[Any],
    question: Question | None = None,
    change: Change | None = None,
    ask: Ask | None = None,
) -> Answers:
    """Run a model over batches once.

    Args:
        model: outputs are probabilities, logits or numbers; one of several is named by the question.
        batches: of (x, y) or (x, y, sample_weight), in the order of the split.
        question: how it is asked.
        change: of the inputs, on the way in.
        ask: answers in the model's place, such as a file that was made of it; then there is no embedding.

    Returns:
        Small arrays in the order of the batches.

    Raises:
        DataError: no example, outputs that are not numbers, or labels that do not fit them.
        ModelError: outputs of another shape than the task has, or several and none is named.
    """
    seen = _Pass(model, question or Question(), ask)
    start = 0
    for batch in batches:
        x, y, weights = parts_of(batch)
        if change is not None:
            x = change(np.asarray(x), np.arange(start, start + len(x)))
            start += len(x)
        seen.take(x, y, weights)
    return seen.answers()


def first_of(batches: Iterable[Any]) -> Any:
    """A first batch.

    Raises:
        DataError: there is none.
    """
    for batch in batches:
        return batch
    raise DataError(NO_EXAMPLE)


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels, and weights or None.

    Raises:
        DataError: there are no labels.
    """
    x, y, *weights = batch if isinstance(batch, tuple | list) and len(batch) > 1 else (batch, None)
    if y is None:
        raise DataError("the data has no labels; give (x, y), or a tf.data.Dataset of (x, y)")
    return x, y, weights[0] if weights else None


class _Pass:
    """What is gathered of batches on the way."""

    def __init__(self, model: keras.Model, question: Question, ask: Ask | None) -> None:
        self._model, self._question = model, question
        self._wide = with_embedding(model) if question.embed and ask is None else None
        self._ask = ask or asker(self._wide or model)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
        self._size = 0
        self._components = Components()
        self._reader: Reader | None = None
        self._weights: list[np.ndarray] = []
        self._file = tempfile.TemporaryFile() if question.keep_outputs else None  # noqa: SIM115 - closed by answers()
        self._shape: tuple[int, ...] = ()
        self._is_one_hot = False

    def take(self, x: Any, y: Any, weights: Any) -> None:
        answered, seen = self._answered(x), None
        if self._wide is not None:
            answered, seen = answered
        outputs, labels = _picked(answered, y, self._model, self._question.output)
        if not labels.ndim:
            raise DataError("the data comes example by example; give batches: dataset.batch(256)")
        seen = None if seen is None else pooled(seen)
        self._waiting.append((outputs, labels, seen))
        self._size += outputs.size + (0 if seen is None else seen.size)
        if self._size >= _READ_AT_ONCE:
            self._read()
        if weights is not None:
            self._weights.append(_weights_of(weights, self._model, self._question.output, len(outputs)))
        if self._file is not None:
            kept = np.asarray(outputs, np.float32)
            self._shape = kept.shape[1:]
            self._file.write(kept.tobytes())

    def _answered(self, x: Any) -> Any:
        try:
            return self._ask(x)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            shapes = ", ".join(str(np.shape(each)) for each in tf.nest.flatten(x))
            raise DataError(f"the model does not take inputs of shape {shapes}: {one_line(error)}") from error

    def _read(self) -> None:
        """Read what waits; for a small model, reading batch by batch would take as long as answering."""
        if not self._waiting:
            return
        outputs, labels = (np.concatenate(each) for each in list(zip(*self._waiting, strict=True))[:2])
        if self._reader is None:
            loss = loss_name(self._model, self._question.output)
            task: Task = self._question.task or task_of(outputs, labels, loss)
            self._reader = Reader(task, gives_probabilities(self._model, self._question.output))
        self._reader.read(outputs, labels)
        self._is_one_hot = self._reader.task == "multiclass" and labels.shape == outputs.shape
        for _, _, seen in self._waiting:
            if seen is not None:  # once the outputs are known to be numbers
                self._components.add(seen)
        self._waiting, self._size = [], 0

    def answers(self) -> Answers:
        self._read()
        if self._reader is None:
            raise DataError(NO_EXAMPLE)
        columns = self._reader.columns()
        outputs = None
        if self._file is not None:
            self._file.flush()
            with self._file:  # what is mapped stays until nobody looks at it
                outputs = np.memmap(self._file, np.float32, "r", shape=(len(columns.score), *self._shape))
        return Answers(
            **vars(columns),
            task=self._reader.task,
            weights=np.concatenate(self._weights) if self._weights else None,
            embedding=None if self._wide is None else self._components.all(),
            outputs=outputs,
            is_one_hot=self._is_one_hot,
        )


def _picked(answered: Any, y: Any, model: keras.Model, output: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Of several outputs, and labels by output, those that are meant."""
    names = list(answered) if isinstance(answered, Mapping) else _names_of(model, answered)
    if not isinstance(answered, Mapping | list | tuple):
        if output is not None and output not in names:
            raise ModelError(f"the model has no output {output!r}, only {', '.join(names)}{nearest(output, names)}")
        return answered, np.asarray(y[names[0]] if isinstance(y, Mapping) and len(y) == 1 else y)
    if output is None or output not in names:
        given = "none is named" if output is None else f"none is {output!r}{nearest(output, names)}"
        raise ModelError(f"the model has the outputs {', '.join(names)}, and {given}; name one: output={names[0]!r}")
    place = names.index(output)
    outputs = answered[output] if isinstance(answered, Mapping) else answered[place]
    if isinstance(y, Mapping):
        if output not in y:
            raise DataError(f"the labels are of {', '.join(y)}, but not of {output!r}{nearest(output, y)}")
        return outputs, np.asarray(y[output])
    return outputs, np.asarray(y[place] if isinstance(y, list | tuple) else y)


def _names_of(model: keras.Model, answered: Any = ()) -> list[str]:
    """Names of a model's outputs; a subclass has none, and gets those that Keras would give them."""
    known = getattr(model, "output_names", None)
    count = len(answered) if isinstance(answered, list | tuple) else 1
    return list(known or (f"output_{place + 1}" for place in range(count)))


def _weights_of(weights: Any, model: keras.Model, output: str | None, count: int) -> np.ndarray:
    """Of weights by output, those that are meant; one an example."""
    if isinstance(weights, Mapping):
        if output not in weights:
            what = "one an example; metadata goes into metadata=…" if output is None else f"those of output {output!r}"
            raise DataError(f"sample weights: got values named {', '.join(weights)}, expected {what}")
        weights = weights[output]
    if isinstance(weights, list | tuple):
        weights = weights[_names_of(model, weights).index(output)] if output is not None else weights
    found = np.asarray(weights, np.float32).reshape(-1)
    if len(found) != count or not (found >= 0).all():
        raise DataError(f"sample weights: got shape {np.shape(weights)} for {count} examples; give one each, 0 or more")
    return found


def gives_probabilities(model: keras.Model, output: str | None) -> bool | None:
    """Whether a model gives probabilities or logits, by its loss or its last layer; None where neither tells."""
    loss = _loss_of(model, output)
    if hasattr(loss, "get_config") and loss.get_config().get("from_logits"):
        return False
    if not getattr(model, "_is_graph_network", False):
        return None
    names = _names_of(model)
    tensor = model.outputs[names.index(output) if output in names else 0]
    last = tensor._keras_history.layer
    while isinstance(last, keras.Sequential):
        last = last.layers[-1]
    last = getattr(last, "layer", last)  # inside a wrapper that carries masks
    known = (keras.activations.softmax, keras.activations.sigmoid)
    return True if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in known else None


def loss_name(model: keras.Model, output: str | None) -> str:
    """Name of the loss that a model is compiled with, as far as it has one."""
    loss = _loss_of(model, output)
    return loss if isinstance(loss, str) else str(getattr(loss, "name", None) or getattr(loss, "__name__", "") or "")


def _loss_of(model: keras.Model, output: str | None) -> Any:
    """The loss that a model is compiled with for an output."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        return loss.get(output)
    if isinstance(loss, list | tuple):
        names = _names_of(model, loss)
        return loss[names.index(output)] if output in names else None
    return loss

"""What a teacher's answers say to a student's: softened classes, labels by themselves, or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import DistillationError
from tfprune.slices.answers import loss_name
from tfprune.slices.tasks import Task, task_of_loss

_SMALLEST = 1e-7
_SOFTMAX, _SIGMOID, _LINEAR = keras.activations.softmax, keras.activations.sigmoid, keras.activations.linear


@dataclass(frozen=True)
class Heads:
    """What the outputs of a student and of its teacher are.

    Attributes:
        task: what they are for; both alike.
        student: whether the student gives probabilities; of a regression nobody does.
        teacher: whether the teacher does.
    """

    task: Task
    student: bool
    teacher: bool

    def values(self, student: Any, teacher: Any, temperature: float) -> Any:
        """The loss of each example, or of each of its places.

        Args:
            student: outputs (batch, ..., k), differentiable.
            teacher: outputs of the same shape.
            temperature: that softens both, above 0; a regression has none.
        """
        if self.task == "regression":
            return tf.reduce_mean(tf.math.squared_difference(_float32(student), _float32(teacher)), -1)
        is_one_of_several = self.task == "multiclass"
        ours = _logits(student, self.student, is_one_of_several) / temperature
        theirs = _logits(teacher, self.teacher, is_one_of_several) / temperature
        divergence = _of_classes if is_one_of_several else _of_labels
        return temperature**2 * divergence(ours, theirs)


def heads_of(student: keras.Model, teacher: keras.Model) -> Heads:
    """What the outputs of a compiled student and its teacher are.

    Raises:
        DistillationError: neither losses nor last layers tell.
    """
    task = _task_of(student) or _task_of(teacher)
    if task is None:
        raise DistillationError(
            f"model {student.name!r}: neither its loss {loss_name(student, None)!r} nor its last layer tells what its "
            "outputs mean; compile it with a loss of Keras, or end it with a softmax or a sigmoid"
        )
    if task == "regression":
        return Heads(task, False, False)
    ours = _gives_probabilities(student)
    theirs = _gives_probabilities(teacher)
    ours, theirs = theirs if ours is None else ours, ours if theirs is None else theirs
    if ours is None or theirs is None:
        raise DistillationError(
            f"model {student.name!r}: nothing tells whether its outputs are probabilities or logits; compile it with a "
            "cross-entropy of Keras, or end it with a softmax or a sigmoid"
        )
    return Heads(task, ours, theirs)


# ------------------------------------------------------------------------------------------- divergences


def _of_classes(student: Any, teacher: Any) -> Any:
    """Kullback-Leibler divergence of the student's softmax from the teacher's."""
    ours, theirs = tf.nn.log_softmax(student), tf.nn.log_softmax(teacher)
    return tf.reduce_sum(tf.exp(theirs) * (theirs - ours), -1)


def _of_labels(student: Any, teacher: Any) -> Any:
    """The same of each output by itself, a mean over them."""
    wanted = tf.sigmoid(teacher)
    crosses = [tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits) for logits in (student, teacher)]
    return tf.reduce_mean(crosses[0] - crosses[1], -1)


def _logits(outputs: Any, are_probabilities: bool, is_one_of_several: bool) -> Any:
    """Logits in float32: those that a softmax or sigmoid of Keras was made of, or else the logarithms.

    They may differ by a constant, which a softmax does not see.
    """
    made_of = getattr(outputs, "_keras_logits", None)
    if made_of is not None:
        return _float32(made_of)
    if not are_probabilities:
        return _float32(outputs)
    shares = tf.clip_by_value(_float32(outputs), _SMALLEST, 1.0 if is_one_of_several else 1.0 - _SMALLEST)
    return tf.math.log(shares) if is_one_of_several else tf.math.log(shares) - tf.math.log1p(-shares)


def _float32(values: Any) -> Any:
    return tf.cast(values, tf.float32)


# ------------------------------------------------------------------------------------- what outputs mean


def _task_of(model: keras.Model) -> Task | None:
    width = _width(model)
    task = task_of_loss(loss_name(model, _name(model)), width)
    if task is not None:
        return task
    activation = _last_activation(model)
    if activation is _SOFTMAX:
        return "multiclass"
    return ("binary" if width == 1 else "multilabel") if activation is _SIGMOID else None


def _gives_probabilities(model: keras.Model) -> bool | None:
    """By the loss where it says so, by the last layer, or by a cross-entropy that takes probabilities."""
    loss = _loss(model)
    says_logits = bool(hasattr(loss, "get_config") and loss.get_config().get("from_logits"))
    if says_logits:
        return False
    activation = _last_activation(model)
    if activation in (_SOFTMAX, _SIGMOID, _LINEAR):
        return activation is not _LINEAR
    return True if task_of_loss(loss_name(model, _name(model)), _width(model)) else None


def _last_activation(model: keras.Model) -> Any:
    """The activation of the last layer; None where it has none of its own, or there is no graph."""
    if not getattr(model, "_is_graph_network", False):
        return None
    last = model.outputs[0]._keras_history.layer
    while isinstance(last, keras.Sequential):
        last = last.layers[-1]
    last = getattr(last, "layer", last)  # inside a wrapper that carries masks
    return _SOFTMAX if isinstance(last, keras.layers.Softmax) else getattr(last, "activation", None)


def _loss(model: keras.Model) -> Any:
    """The loss of the one output."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        return next(iter(loss.values()), None)
    return loss[0] if isinstance(loss, Sequence) and not isinstance(loss, str) and loss else loss


def _name(model: keras.Model) -> str | None:
    return next(iter(getattr(model, "output_names", None) or ()), None)


def _width(model: keras.Model) -> int:
    shape = getattr(model, "output_shape", None) if getattr(model, "_is_graph_network", False) else None
    return shape[-1] or 0 if isinstance(shape, tuple) and len(shape) > 1 else 0

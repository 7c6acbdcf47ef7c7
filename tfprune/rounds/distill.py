"""Distillation: in training, a teacher's answers count besides the labels (Hinton et al. 2015)."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import DistillationError
from tfprune.keras3.bridged import arrived
from tfprune.rounds.features import Features, Pairs, apart, pairs_of, with_features
from tfprune.rounds.pairing import check_model, check_numbers, check_pair, check_step, of_other_shape
from tfprune.rounds.softened import Heads, heads_of

TEMPERATURE = 4.0
_PARTS = ("train_step", "make_train_function", "reset_metrics")


def distill(
    student: keras.Model,
    teacher: keras.Model | None,
    *,
    temperature: float | None = None,
    weight: float = 0.5,
    features: Features | None = None,
    feature_weight: float = 1.0,
) -> keras.Model:
    """Let a teacher take part in the training of a student, from its next `fit` on; or let it go.

    The loss becomes ``(1 - weight) * compiled + weight * T**2 * KL(softmax(teacher / T), softmax(student / T))``
    (Hinton et al. 2015). Sigmoid outputs are compared one by one; of a regression the mean squared error of the outputs
    counts in place of the divergence. Regularization counts in full, sample weights for both. The history tells
    ``loss`` as it is minimized, and its parts: ``label_loss`` (as compiled), ``distillation_loss`` and
    ``feature_loss``; ``val_loss`` is as compiled.

    The student stays the model that it is: it is saved, copied, stripped and pruned as before, without the teacher,
    which answers with ``training=False`` and is neither trained nor changed.

    Args:
        student: one output; plain, wrapped or shrunk, a Functional or Sequential model for `features`. Compiled before
            or after. Changed in place.
        teacher: takes the same inputs and gives outputs of the same shape; None lets an earlier one go.
        temperature: above 0, by default 4. A regression has none.
        weight: of the teacher's answers, in [0, 1].
        features: names of layers whose outputs are to be alike, in a wrapped model those from before; or a mapping of
            the student's to the teacher's. Of the same shape, by their mean squared error (Romero et al. 2015); where
            widths differ, by how alike the examples of a batch are to each other (Tung & Mori 2019, times the batch
            size), which takes no weights.
        feature_weight: of the sum over all features, above 0.

    Returns:
        The student.

    Raises:
        DistillationError: models, layers or numbers that do not go together.

    Example:
        >>> import numpy as np
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> teacher = keras.Sequential([
        ...     keras.layers.Dense(8, "relu", input_shape=(4,), name="hidden"),
        ...     keras.layers.Dense(3, "softmax"),
        ... ])
        >>> student, _ = tfprune.shrink(teacher, ratio=0.5)
        >>> student.compile("adam", "sparse_categorical_crossentropy")
        >>> x, y = np.ones((6, 4), "float32"), np.arange(6) % 3
        >>> history = tfprune.distill(student, teacher, features=["hidden"]).fit(x, y, verbose=0).history
        >>> sorted(history)
        ['distillation_loss', 'feature_loss', 'label_loss', 'loss']
        >>> "distillation_loss" in tfprune.distill(student, None).fit(x, y, verbose=0).history
        False
    """
    check_model("student", student)
    if teacher is None:
        return _released(student)
    if not is_taught(student):
        check_step(student)
    teacher = arrived(teacher)
    check_model("teacher", teacher)
    check_numbers(temperature, weight, feature_weight)
    check_pair(student, teacher)
    lesson = _Lesson(student, teacher, temperature, weight, pairs_of(features), feature_weight)
    if getattr(student, "compiled_loss", None) is not None:
        lesson.prepare()
    _released(student)
    for part in _PARTS:
        setattr(student, part, getattr(lesson, part))
    return student


def is_taught(student: keras.Model) -> bool:
    """Whether a teacher takes part in the training of a model."""
    return isinstance(getattr(vars(student).get("train_step"), "__self__", None), _Lesson)


def _released(student: keras.Model) -> keras.Model:
    if is_taught(student):
        for part in _PARTS:
            delattr(student, part)
    student.train_function = student.train_tf_function = None  # what is traced holds the other step
    return student


class _Lesson:
    """The training step of a student with its teacher, and the means that its history tells."""

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        temperature: float | None,
        weight: float,
        pairs: Pairs,
        feature_weight: float,
    ) -> None:
        self._student = student
        self._wide_student = with_features(student, [name for name, _ in pairs], "student")
        self._wide_teacher = with_features(teacher, [name for _, name in pairs], "teacher")
        self._teacher = teacher
        self._temperature, self._weight = temperature, float(weight)
        self._has_features, self._feature_weight = bool(pairs), float(feature_weight)
        self._heads: Heads
        self._means: dict[str, keras.metrics.Mean] = {}

    def prepare(self) -> None:
        """Read what the student is compiled for.

        Raises:
            DistillationError: outputs that nothing tells the meaning of, or a temperature for a regression.
        """
        self._heads = heads_of(self._student, self._teacher)
        if self._heads.task == "regression" and self._temperature is not None:
            raise DistillationError(
                f"temperature: got {self._temperature:g}, but {self._student.name!r} is a regression, whose outputs "
                "cannot be softened; leave it out"
            )
        names = ["loss", "distillation_loss", *(["feature_loss"] if self._has_features else [])]
        with self._student.distribute_strategy.scope():
            self._means = {name: keras.metrics.Mean(name) for name in names}

    def make_train_function(self, force: bool = False) -> Any:
        """As Keras makes it, around the step below."""
        if self._student.train_function is None or force:
            self.prepare()  # it may have been compiled anew
        return type(self._student).make_train_function(self._student, force)

    def reset_metrics(self) -> None:
        """As Keras does at the start of an epoch, and of an evaluation."""
        type(self._student).reset_metrics(self._student)
        for mean in self._means.values():
            mean.reset_state()

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, Any]:
        """One step, as Keras takes it but for the loss."""
        student = self._student
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        taught = self._wide_teacher(x, training=False)
        with tf.GradientTape() as tape:
            given = self._wide_student(x, training=True)
            answer = given[0] if self._has_features else given
            label_loss = student.compute_loss(x, y, answer, weights)
            parts = self._losses(given, taught, weights)
            loss = self._together(label_loss, parts)
        student._validate_target_and_loss(y, label_loss)
        student.optimizer.minimize(loss, student.trainable_variables, tape=tape)
        figures = student.compute_metrics(x, y, answer, weights)
        return self._told(figures, {"loss": loss, **parts}, tf.shape(_only(answer))[0])

    def _losses(self, given: Any, taught: Any, weights: Any) -> dict[str, Any]:
        """What the teacher adds, by name, each as a share of the batch that all replicas see."""
        answers = (given[0], taught[0]) if self._has_features else (given, taught)
        student, teacher = map(_only, answers)
        if student.shape.rank != teacher.shape.rank or not student.shape.is_compatible_with(teacher.shape):
            raise DistillationError(of_other_shape(self._student, student.shape, self._teacher, teacher.shape))
        temperature = TEMPERATURE if self._temperature is None else self._temperature
        values = self._heads.values(student, teacher, temperature)
        parts = {"distillation_loss": _mean(values, weights, getattr(student, "_keras_mask", None))}
        if self._has_features:
            means = [_mean(apart(*pair), weights) for pair in zip(given[1:], taught[1:], strict=True)]
            parts["feature_loss"] = tf.add_n(means)
        return {name: part / _replicas() for name, part in parts.items()}

    def _together(self, label_loss: Any, parts: dict[str, Any]) -> Any:
        """The loss to minimize; weights of zero leave the compiled one as it is, to the bit."""
        own = [tf.cast(each, tf.float32) for each in self._student.losses]
        free = tf.add_n(own) / _replicas() if own else 0.0  # regularization hangs on no label
        loss = tf.cast(label_loss, tf.float32)
        if self._weight:
            loss += self._weight * (parts["distillation_loss"] - (loss - free))
        return loss + self._feature_weight * parts["feature_loss"] if self._has_features else loss

    def _told(self, figures: dict[str, Any], losses: dict[str, Any], examples: Any) -> dict[str, Any]:
        """Figures of the epoch so far, as Keras tells them, and our losses among them."""
        for name, mean in self._means.items():
            mean.update_state(losses[name] * _replicas(), sample_weight=examples)
        own = {name: mean.result() for name, mean in self._means.items()}
        return {**figures, "loss": own.pop("loss"), "label_loss": figures["loss"], **own}


# ------------------------------------------------------------------------------------------------ sums


def _mean(values: Any, weights: Any, mask: Any = None) -> Any:
    """Mean over the batch and all places as Keras takes it: what weighs nothing still counts as one of them."""
    for each in (weights, mask):
        if each is None:
            continue
        factors = tf.cast(each, values.dtype)
        if factors.shape.rank == values.shape.rank + 1:
            factors = tf.squeeze(factors, -1)
        while factors.shape.rank < values.shape.rank:
            factors = factors[..., None]
        if factors.shape.rank > values.shape.rank:  # of places, where a value is of a whole example
            factors = tf.reduce_mean(factors, list(range(values.shape.rank, factors.shape.rank)))
        values *= factors
    return tf.reduce_mean(values)


def _only(structure: Any) -> Any:
    """The one output, which may stand in a list or a dictionary."""
    (tensor,) = tf.nest.flatten(structure)
    return tensor


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync

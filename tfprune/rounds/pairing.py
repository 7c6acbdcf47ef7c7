"""What a student and its teacher have to be, to go together."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from tfprune.backend import keras
from tfprune.errors import DistillationError


def check_model(what: str, model: Any) -> None:
    """Refuse what is no built model, or has several outputs.

    Raises:
        DistillationError: it says which.
    """
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise DistillationError(f"{what}: expected a tf_keras model, but got {kind}")
    if not model.built:
        raise DistillationError(f"{what}: model {model.name!r} is not built yet; call it on some examples first")
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) > 1:
        raise DistillationError(
            f"{what}: model {model.name!r} has {len(outputs)} outputs; distillation takes models with one"
        )


def check_step(student: keras.Model) -> None:
    """Refuse a student that trains in its own way.

    Raises:
        DistillationError: its class, or itself, has another step than Keras.
    """
    if type(student).train_step is not keras.Model.train_step or "train_step" in vars(student):
        raise DistillationError(
            f"student: {type(student).__name__} {student.name!r} has a train_step of its own, which would be left out; "
            "give a model that trains as Keras does"
        )


def check_numbers(temperature: Any, weight: Any, feature_weight: Any) -> None:
    """Refuse a weight or a temperature that cannot be.

    Raises:
        DistillationError: it says which.
    """
    given = [("weight", weight, "a number from 0 to 1", 0 <= _number(weight) <= 1)]
    given.append(("feature_weight", feature_weight, "a number above 0", 0 < _number(feature_weight) < math.inf))
    if temperature is not None:
        given.append(("temperature", temperature, "a number above 0", 0 < _number(temperature) < math.inf))
    for name, value, wanted, is_fine in given:
        if not is_fine:
            raise DistillationError(f"{name}: got {value!r}, expected {wanted}")


def _number(value: Any) -> float:
    """The number, or one that nothing allows."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan


def check_pair(student: keras.Model, teacher: keras.Model) -> None:
    """Refuse models that share weights, take other inputs or give other outputs, as far as their graphs tell.

    Raises:
        DistillationError: it says which.
    """
    shared = {id(each) for each in student.weights} & {id(each) for each in teacher.weights}
    if shared:
        name = next(each.name for each in student.weights if id(each) in shared)
        raise DistillationError(
            f"student and teacher share weight {name!r}, so the teacher would learn as well; give a copy: "
            "tfprune.strip(model)"
        )
    if not all(getattr(model, "_is_graph_network", False) for model in (student, teacher)):
        return
    ours, theirs = student.outputs[0].shape, teacher.outputs[0].shape
    if ours.rank != theirs.rank or not ours.is_compatible_with(theirs):
        raise DistillationError(of_other_shape(student, ours, teacher, theirs))
    takes = [[tuple(each.shape) for each in model.inputs] for model in (student, teacher)]
    fits = len(student.inputs) == len(teacher.inputs) and all(
        one.shape.is_compatible_with(other.shape) for one, other in zip(student.inputs, teacher.inputs, strict=True)
    )
    if not fits:
        raise DistillationError(
            f"student {student.name!r} takes inputs {takes[0]}, teacher {teacher.name!r} takes {takes[1]}; both have "
            "to take the same"
        )


def of_other_shape(student: keras.Model, ours: Any, teacher: keras.Model, theirs: Any) -> str:
    """That outputs are of different shapes, as a sentence."""
    return (
        f"student {student.name!r} answers {tuple(ours)[1:]} an example, teacher {teacher.name!r} {tuple(theirs)[1:]}; "
        "both have to answer the same"
    )

"""Named groups of examples, as boolean columns over a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tfprune.errors import SliceError
from tfprune.recipe import Hardest, Rarest, SliceSpec

_SPECS = TypeAdapter(tuple[SliceSpec, ...])


@dataclass(frozen=True)
class Slice:
    """A named group.

    Attributes:
        name: ``class_<name>``, ``rarest`` or ``hardest`` (with the share where there are several of a kind).
        members: bool, one for each example of the split, in its order.
    """

    name: str
    members: np.ndarray


def parse_slices(slices: Sequence[Any]) -> tuple[SliceSpec, ...]:
    """Read slices as a recipe writes them: ``"classes"``, ``{"rarest": 0.2}``, ``{"hardest": 0.1}``.

    Raises:
        SliceError: anything else.
    """
    try:
        return _SPECS.validate_python(slices)
    except ValidationError as error:
        raise SliceError(
            f"slices {slices!r}: expected 'classes', {{'rarest': SHARE}} or {{'hardest': SHARE}} with a share in (0, 1]"
        ) from error


def slice_names(specs: Sequence[SliceSpec], classes: Sequence[str]) -> list[str]:
    """Names of the slices that `define_slices` will make, in the same order."""
    names: list[str] = []
    for spec in specs:
        if spec == "classes":
            names += [f"class_{name}" for name in classes]
        else:
            kind, share = next(iter(spec.model_dump().items()))
            alone = sum(isinstance(other, type(spec)) for other in specs) == 1
            names.append(kind if alone else f"{kind}_{share:g}")
    return names


def define_slices(
    specs: Sequence[SliceSpec],
    *,
    classes: Sequence[str],
    labels: np.ndarray,
    train_labels: np.ndarray,
    margins: np.ndarray | None,
    split: str,
) -> tuple[Slice, ...]:
    """Say which examples of a split belong to which slice.

    Args:
        specs: as in a recipe.
        classes: names of the classes.
        labels: int (n,), class indices of the split.
        train_labels: int (m,), of the training part: which classes are rare is decided there.
        margins: float (n,), the dense model's; needed by ``hardest`` only.
        split: the split's name, for messages.

    Returns:
        Slices with at least one example each.

    Raises:
        SliceError: a slice without an example.
    """
    columns: list[np.ndarray] = []
    for spec in specs:
        if spec == "classes":
            columns += [labels == index for index in range(len(classes))]
        elif isinstance(spec, Rarest):
            columns.append(np.isin(labels, _rarest(train_labels, len(classes), spec.rarest)))
        elif isinstance(spec, Hardest):
            columns.append(_hardest(margins, spec.hardest))
    slices = tuple(Slice(*each) for each in zip(slice_names(specs, classes), columns, strict=True))
    for each in slices:
        if not each.members.any():
            raise SliceError(
                f"slice {each.name!r} has no example in the {split} split of {len(labels)} examples; "
                "leave it out, enlarge its share, or give the split more data"
            )
    return slices


def _rarest(train_labels: np.ndarray, classes: int, share: float) -> np.ndarray:
    """Indices of the classes with the fewest training examples, the lower index first among equals."""
    counts = np.bincount(train_labels, minlength=classes)
    return np.argsort(counts, kind="stable")[: max(1, round(share * classes))]


def _hardest(margins: np.ndarray | None, share: float) -> np.ndarray:
    """The examples with the smallest margins; exactly that share, the earlier first among equals."""
    if margins is None:
        raise SliceError("slice 'hardest' needs the dense model's margins: give the dense model as the baseline")
    members = np.zeros(len(margins), bool)
    members[np.argsort(margins, kind="stable")[: round(share * len(margins))]] = True
    return members

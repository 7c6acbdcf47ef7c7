"""Who goes where: every example of a source to exactly one split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfprune.data.labels import check_range, class_names
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.recipe import DataSection

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Place:
    """Where a split is found: positions (ascending) in one part of the source, and the labels there."""

    part: str
    ordinals: np.ndarray
    labels: np.ndarray


def assign(labels: np.ndarray, *, validation: float, test: float, seed: int) -> np.ndarray:
    """Divide examples at random, each class in the same proportions as far as its size allows.

    Args:
        labels: class indices, shape (n,).
        validation: share of the n examples, in [0, 1).
        test: the same.
        seed: decides who goes where.

    Returns:
        For each example the index of its split in `SPLITS`, int8 of shape (n,). The sizes are exactly the rounded
        shares; a class keeps at least one example to train on while there is room.

    Example:
        >>> np.bincount(assign(np.arange(100) % 5, validation=0.1, test=0.2, seed=0))
        array([70, 10, 20])
    """
    n = len(labels)
    held_out = round(n * validation), round(n * test)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    # An example's rank as a share of its class: any stretch of examples sorted by rank holds every class in
    # proportion, and the last of each class comes at the very end, which is left to training.
    rank = np.concatenate([np.arange(1, count + 1) / count for count in counts]) if n else np.zeros(0)
    queue = by_class[np.lexsort((rng.random(n), rank))]
    splits = np.zeros(n, np.int8)
    splits[queue[: held_out[0]]] = 1
    splits[queue[held_out[0] : sum(held_out)]] = 2
    return splits


def plan(
    labels: Mapping[str, np.ndarray], section: DataSection, seed: int, names: Collection[str] | None = None
) -> tuple[tuple[str, ...], dict[str, Place]]:
    """Decide classes and splits for a source.

    Args:
        labels: class indices of each part the source has: ``train``, and ``validation`` or ``test`` where given;
            what is missing is taken from ``train``.
        section: shares and class names.
        seed: for `assign`.
        names: class names that the source knows; the section's come first.

    Returns:
        The class names, and a place for each of `SPLITS`.

    Raises:
        DataError: an unknown or missing part, a label or class that cannot be, a split without examples.
    """
    check_parts(labels)
    for part, values in labels.items():
        if not len(values):
            raise DataError(f"the {part} part of the data is empty; expected at least one example")
    classes = class_names(labels["train"], section.classes or tuple(names or ()))
    for part, values in labels.items():
        check_range(values, len(classes), part)
    shares = {name: 0.0 if name in labels else getattr(section, name) for name in SPLITS[1:]}
    splits = assign(labels["train"], **shares, seed=seed)
    places = {}
    for index, name in enumerate(SPLITS):
        part = name if name in labels else "train"
        ordinals = np.flatnonzero(splits == index) if part == "train" else np.arange(len(labels[part]))
        if not len(ordinals):
            wish = "less held out" if name == "train" else f"a larger share than data.{name} = {shares[name]:g}"
            raise DataError(f"the {name} split has 0 of {len(splits)} examples; it needs more data or {wish}")
        places[name] = Place(part, ordinals, labels[part][ordinals])
    return classes, places


def check_parts(parts: Collection[str]) -> None:
    """Raise DataError unless the parts are named as splits and ``train`` is among them."""
    for part in parts:
        if part not in SPLITS:
            raise DataError(f"the data has a part {part!r}; expected train, validation or test{nearest(part, SPLITS)}")
    if "train" not in parts:
        raise DataError(f"the data has no part 'train', only {', '.join(parts) or 'nothing'}")

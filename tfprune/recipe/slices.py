"""Slices: which examples are looked at by themselves. `&`, `|` and `~` combine them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_serializer, model_validator

from tfprune.recipe.base import NUMBER, Count, FunctionName, PositiveShare, Section

ClassName = Annotated[str, BeforeValidator(lambda given: str(given) if type(given) is int else given)]
Severity = Annotated[int, Field(ge=1, le=5), NUMBER]
Value = str | int | float | bool
Bound = Annotated[float, NUMBER]


class SliceSection(Section):
    """A group of examples, or several of a kind.

    Attributes:
        name: in tables and in MLflow; by default it follows from the rest. Several groups get it as a prefix.
    """

    _newer: ClassVar = frozenset(("name",))

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    def __init__(self, *first: Any, **rest: Any) -> None:
        """Take fields without their names, in their order: ``Hardest(0.1)``, ``Column("site", "lab")``."""
        own = [each for each in type(self).model_fields if each != "name"]
        if len(first) > len(own):
            raise TypeError(f"{type(self).__name__} takes {len(own)} values without a name, but got {len(first)}")
        super().__init__(**dict(zip(own, first, strict=False)), **rest)

    def __and__(self, other: Any) -> AllOf:
        return _joined(AllOf, self, other)

    def __rand__(self, other: Any) -> AllOf:
        return _joined(AllOf, other, self)

    def __or__(self, other: Any) -> AnyOf:
        return _joined(AnyOf, self, other)

    def __ror__(self, other: Any) -> AnyOf:
        return _joined(AnyOf, other, self)

    def __invert__(self) -> NoneOf:
        return _joined(NoneOf, self)


def _joined(kind: Any, *parts: Any) -> Any:
    return kind(parts)


class Label(SliceSection):
    """The examples of one class, by its name, or of several."""

    label: ClassName | Annotated[tuple[ClassName, ...], Field(min_length=1)]


class Rarest(SliceSection):
    """The classes with the fewest training examples: a share of all classes."""

    rarest: PositiveShare


class RarestCount(SliceSection):
    """So many classes with the fewest training examples."""

    rarest_count: Count


class Hardest(SliceSection):
    """The share of examples that are hardest for the dense model.

    Attributes:
        hardest: the share, in (0, 1].
        by: smallest ``margin`` between the true class and the best other one, highest ``loss``, or highest ``entropy``
            of the answer, which looks at no label.
    """

    _newer: ClassVar = frozenset(("name", "by"))

    hardest: PositiveShare
    by: Literal["margin", "loss", "entropy"] = "margin"


class Column(SliceSection):
    """Examples by a column of metadata; without a condition, one group for each of its values.

    Attributes:
        column: its name.
        equals: this value.
        among: one of these values.
        range: numbers from the first up to, but not including, the second; null leaves an end open.
        quantiles: so many groups of about one size, lowest first; their bounds are those of the training part.
    """

    _newer: ClassVar = frozenset(("name", "equals", "among", "range", "quantiles"))

    column: str
    equals: Value | None = None
    among: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None
    range: tuple[Bound | None, Bound | None] | None = None
    quantiles: Annotated[int, Field(ge=2, le=100), NUMBER] | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [key for key in ("equals", "among", "range", "quantiles") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"got {' and '.join(given)}, expected one of them")
        if self.range is not None:
            low, high = self.range
            is_open, is_ordered = (low is None) != (high is None), low is not None and high is not None and low < high
            if not (is_open or is_ordered):
                raise ValueError(
                    f"range: got [{low}, {high}], expected two numbers, the lower one first, or one and null"
                )
        return self


class Where(SliceSection):
    """Examples for which a function is true; it is called with (x, y, metadata), or as many of them as it takes.

    Attributes:
        where: ``package.module:function``; in Python also the function itself.
    """

    where: FunctionName | Callable[..., Any]

    @field_serializer("where")
    def _by_name(self, where: Any) -> str:
        if isinstance(where, str):
            return where
        own = getattr(where, "func", where)  # of a functools.partial
        return f"{own.__module__}:{getattr(own, '__qualname__', type(own).__qualname__)}"


class Corrupted(SliceSection):
    """All examples with their inputs corrupted (Hendrycks & Dietterich 2019), one group a severity.

    Attributes:
        corrupted: ``noise``, ``blur``, ``contrast``, ``brightness``, ``fog``, ``jpeg``, ``pixelation``, ``occlusion``,
            ``rotation`` of images, ``token_drop``, ``token_swap`` of texts, ``feature_noise``, ``missing`` of tables.
        severity: from 1 to 5, or several.
    """

    corrupted: str
    severity: Severity | Annotated[tuple[Severity, ...], Field(min_length=1)] = 3


class ModelFiles(Section):
    """Files of dense and of pruned models, several of each."""

    dense: Annotated[tuple[Any, ...], Field(min_length=1)]
    pruned: Annotated[tuple[Any, ...], Field(min_length=1)]

    @field_serializer("dense", "pruned")
    def _by_name(self, models: tuple[Any, ...]) -> list[str]:
        return [str(each) if isinstance(each, str | PurePath) else each.name for each in models]


class Exemplars(SliceSection):
    """Pruning-identified exemplars: pruned models together answer otherwise than dense ones do (Hooker 2019).

    Attributes:
        pie: model files, or in Python models. Plain ``pie`` in a recipe compares each round with the dense model alone.
    """

    # No plain default: a file has to say `pie: null`, for nothing else says what the slice is.
    pie: ModelFiles | None = Field(default_factory=lambda: None)


class Discover(SliceSection):
    """The group that pays most, found by a shallow tree on one half of the split and confirmed on the other.

    Attributes:
        discover: depth of the tree.
        columns: of the metadata; all by default.
        embeddings: whether the tree also sees what the dense model's last layer sees, as eight principal components.
    """

    discover: Annotated[int, Field(ge=1, le=6), NUMBER] = 3
    columns: tuple[str, ...] | None = None
    embeddings: bool = True


class AllOf(SliceSection):
    """Examples that are in all of these groups; where one stands for several, each of them is combined."""

    all_of: Annotated[tuple[SliceSpec, ...], Field(min_length=1)]


class AnyOf(SliceSection):
    """Examples that are in any of these groups."""

    any_of: Annotated[tuple[SliceSpec, ...], Field(min_length=1)]


class NoneOf(SliceSection):
    """Examples that are in none of these groups."""

    none_of: Annotated[tuple[SliceSpec, ...], Field(min_length=1)]


SLICES: dict[str, type[SliceSection]] = {
    "label": Label,
    "rarest": Rarest,
    "rarest_count": RarestCount,
    "hardest": Hardest,
    "column": Column,
    "where": Where,
    "corrupted": Corrupted,
    "pie": Exemplars,
    "discover": Discover,
    "all_of": AllOf,
    "any_of": AnyOf,
    "none_of": NoneOf,
}
"""What a slice is written with, and what it becomes."""

WORDS = ("classes", "pie", "discover")
"""Slices that need no value."""


def kind_of_slice(spec: Any) -> str:
    """The key that says what a slice is; what has none is held to be a word."""
    if isinstance(spec, SliceSection):
        return next((key for key, kind in SLICES.items() if type(spec) is kind), "word")
    keys = [key for key in SLICES if isinstance(spec, dict) and key in spec]
    return keys[0] if keys else "word"


SliceSpec = Annotated[
    Annotated[Literal["classes", "pie", "discover"], Tag("word")]
    | Annotated[Label, Tag("label")]
    | Annotated[Rarest, Tag("rarest")]
    | Annotated[RarestCount, Tag("rarest_count")]
    | Annotated[Hardest, Tag("hardest")]
    | Annotated[Column, Tag("column")]
    | Annotated[Where, Tag("where")]
    | Annotated[Corrupted, Tag("corrupted")]
    | Annotated[Exemplars, Tag("pie")]
    | Annotated[Discover, Tag("discover")]
    | Annotated[AllOf, Tag("all_of")]
    | Annotated[AnyOf, Tag("any_of")]
    | Annotated[NoneOf, Tag("none_of")],
    Discriminator(kind_of_slice),
]

for _section in (AllOf, AnyOf, NoneOf):
    _section.model_rebuild()

"""Named groups of examples, as boolean columns over a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tfprune.errors import SliceError, nearest
from tfprune.recipe import (
    AllOf,
    AnyOf,
    Column,
    Corrupted,
    Discover,
    Exemplars,
    Hardest,
    Label,
    NoneOf,
    Rarest,
    RarestCount,
    SliceSection,
    SliceSpec,
    Where,
)
from tfprune.recipe.base import shown
from tfprune.recipe.explain import explain_slice
from tfprune.slices.columns import groups_of_column
from tfprune.slices.facts import Facts, name_of_function

_SPECS = TypeAdapter(tuple[SliceSpec, ...])
_WORDS: dict[str, SliceSection] = {"pie": Exemplars(), "discover": Discover()}


@dataclass(frozen=True)
class Slice:
    """A named group.

    Attributes:
        name: as the user calls it, or as follows from what it is: ``class_8``, ``hardest``, ``age_from_60``.
        members: bool, one for each example of the split, in its order.
        variant: the corruption under which its examples are answered, e.g. ``blur_3``; empty for none.
        rule: what the members of a discovered slice have in common.
        selected: answers of pruned models have chosen the members, so that a drop says how they were chosen.
    """

    name: str
    members: np.ndarray
    variant: str = ""
    rule: str = ""
    selected: bool = False


def parse_slices(slices: Any) -> tuple[SliceSpec, ...]:
    """Read slices as a recipe or Python code writes them.

    Raises:
        SliceError: not a list of slices; names what is wrong and where.

    Example:
        >>> from tfprune.recipe import Column, Hardest
        >>> [len(parse_slices([each])) for each in ("classes", {"rarest": 0.2}, Hardest(0.1) & ~Column("lens", "wide"))]
        [1, 1, 1]
    """
    is_one = isinstance(slices, SliceSection)  # pydantic would read its fields as a list
    try:
        return _SPECS.validate_python(None if is_one else slices)
    except ValidationError as error:
        problems: list[dict[str, Any]] = [
            {**each, "loc": ("slices", *each["loc"])} for each in error.errors(include_url=False)
        ]
        if len(problems[0]["loc"]) == 1:
            raise SliceError(
                f"slices: got {shown(slices)}, expected a list, e.g. ['classes', {{'hardest': 0.1}}]"
            ) from error
        raise SliceError(" ".join(explain_slice(problems).splitlines())) from error


def hangs_on_answers(spec: SliceSpec) -> bool:
    """Whether a slice has other members for each model that is evaluated."""
    return any(
        each in _WORDS
        if isinstance(each, str)
        else isinstance(each, Discover) or (isinstance(each, Exemplars) and each.pie is None)
        for each in _leaves([spec])
    )


def _may_be_empty(spec: SliceSpec) -> bool:
    """Whether only answers can tell if a slice has an example."""
    parts = _leaves([spec])
    is_of_dense = any(isinstance(each, Hardest | Exemplars) for each in parts)
    return hangs_on_answers(spec) or (is_of_dense and parts != [spec]) or isinstance(spec, Exemplars)


def needs_embedding(specs: Sequence[SliceSpec]) -> bool:
    """Whether some slice looks at what the dense model's last layer sees."""
    return any(spec == "discover" or (isinstance(spec, Discover) and spec.embeddings) for spec in _leaves(specs))


def _leaves(specs: Sequence[SliceSpec]) -> list[SliceSpec]:
    """The slices that others are made of."""
    found: list[SliceSpec] = []
    for spec in specs:
        parts = [part for key in ("all_of", "any_of", "none_of") for part in getattr(spec, key, ())]
        found += _leaves(parts) if parts else [spec]
    return found


def columns_in(specs: Sequence[SliceSpec]) -> list[str]:
    """The columns of metadata that slices look at by name."""
    found = [each.column for each in _leaves(specs) if isinstance(each, Column)]
    return found + [name for each in _leaves(specs) if isinstance(each, Discover) for name in each.columns or ()]


def variants_of(specs: Sequence[SliceSpec]) -> dict[str, Corrupted]:
    """Every corruption that some slice asks for, with one severity each, by name."""
    found: dict[str, Corrupted] = {}
    for spec in _leaves(specs):
        if isinstance(spec, Corrupted):
            severities = spec.severity if isinstance(spec.severity, tuple) else (spec.severity,)
            found |= {
                f"{spec.corrupted}_{each}": Corrupted(corrupted=spec.corrupted, severity=each) for each in severities
            }
    return found


def define_slices(specs: Sequence[SliceSpec], facts: Facts) -> tuple[Slice, ...]:
    """Say which examples of a split belong to which slice.

    Args:
        specs: as in a recipe.
        facts: what is known of the split; slices that hang on answers are left out where there are none.

    Returns:
        Slices with at least one example each; those that hang on answers, also on the dense model's, and that only
        together with others may have none, are left out then.

    Raises:
        SliceError: a slice without an example, of a column or class that does not exist, two of one name, a function
            that raises.
    """
    kinds = Counter(map(_alike, specs))
    found: list[Slice] = []
    for spec in specs:
        if hangs_on_answers(spec) and facts.answers is None:
            continue
        groups = _groups(spec, facts, alone=kinds[_alike(spec)] == 1)
        for each in groups:
            if not each.members.any() and not _may_be_empty(spec):
                raise SliceError(
                    f"slice {each.name!r} has no example in the {facts.split} split of {facts.size} examples; "
                    "leave it out, widen it, or give the split more data"
                )
        found += [each for each in groups if each.members.any()]
    check_names([each.name for each in found])
    return tuple(found)


def names_of(specs: Sequence[SliceSpec], facts: Facts) -> list[str]:
    """What the groups are called that slices which hang on answers stand for, whether or not they have examples."""
    return [each.name for spec in specs for each in _groups(spec, facts)]


def check_names(names: Sequence[str]) -> None:
    """Raise SliceError where two slices have one name, or one that of the whole."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SliceError(f"{names.count(twice)} slices are called {twice!r}; give them names of their own: name: …")
    if "all" in names:
        raise SliceError("a slice is called 'all', which is the name of the whole; give it another: name: …")


def _alike(spec: SliceSpec) -> tuple[type, str]:
    """What slices have in common that only a share tells apart."""
    return type(spec), getattr(spec, "by", "")


def _groups(spec: SliceSpec, facts: Facts, alone: bool = True) -> list[Slice]:
    """The groups that one spec stands for, under their names."""
    if spec == "classes":
        return [_of_class(facts, name, [index]) for index, name in enumerate(facts.class_names())]
    section = _WORDS[spec] if isinstance(spec, str) else spec
    groups = _plain_groups(section, facts, alone)
    if section.name is None:
        return groups
    if len(groups) == 1:
        return [replace(groups[0], name=section.name)]
    return [replace(each, name=f"{section.name}_{each.name}") for each in groups]


def _plain_groups(spec: SliceSection, facts: Facts, alone: bool) -> list[Slice]:
    match spec:
        case Label(label=str() as label):
            return [_of_class(facts, label, [_index(facts, label)])]
        case Label(label=labels):
            return [_of_class(facts, "_".join(labels), [_index(facts, each) for each in labels])]
        case Rarest(rarest=share):
            count = max(1, round(share * len(facts.class_names())))
            return [Slice("rarest" if alone else f"rarest_{share:g}", facts.of_classes(facts.rarest(count)))]
        case RarestCount(rarest_count=count):
            name = "rarest_classes" if alone else f"rarest_{count}_classes"
            return [Slice(name, facts.of_classes(facts.rarest(count)))]
        case Hardest(hardest=share, by=by):
            name = "hardest" if by == "margin" else f"hardest_by_{by}"
            return [Slice(name if alone else f"{name}_{share:g}", facts.hardest(share, by))]
        case Column():
            return [Slice(*each) for each in groups_of_column(spec, facts.metadata, facts.train_metadata, facts.split)]
        case Where(where=function):
            return [Slice(name_of_function(function), facts.where(function))]
        case Corrupted():
            facts.check_corruption(spec.corrupted)
            return [Slice(name, np.ones(facts.size, bool), name) for name in variants_of([spec])]
        case Exemplars():
            return [Slice("pie", facts.exemplars(spec.pie), selected=True)]
        case Discover():
            found = facts.discovered(spec)
            return [] if found is None else [Slice("discovered", found[0], rule=found[1])]
        case AllOf(all_of=parts):
            return _combined(parts, facts, np.logical_and, "_and_")
        case AnyOf(any_of=parts):
            return _combined(parts, facts, np.logical_or, "_or_")
        case NoneOf(none_of=parts):
            groups = _combined(parts, facts, np.logical_or, "_or_")
            if any(each.variant for each in groups):
                raise SliceError(f"a corruption has no opposite; leave {groups[0].variant} out of none_of")
            return [replace(each, name=f"not_{each.name}", members=~each.members, rule="") for each in groups]
    raise SliceError(f"slice {spec!r} is of a kind that is not handled")


def _combined(parts: Sequence[SliceSpec], facts: Facts, join: np.ufunc, word: str) -> list[Slice]:
    """Every choice of one group from each part, joined."""
    return [_joined(groups, join, word) for groups in product(*(_groups(part, facts) for part in parts))]


def _joined(groups: Sequence[Slice], join: np.ufunc, word: str) -> Slice:
    name = word.join(each.name for each in groups)
    variants = {each.variant for each in groups if each.variant}
    is_mixed = join is np.logical_or and variants and any(not each.variant for each in groups)
    if len(variants) > 1 or is_mixed:
        raise SliceError(
            f"slice {name!r} joins inputs under {', '.join(sorted(variants))}{' and clean ones' if is_mixed else ''}; "
            "an example is answered once, so take one corruption for all of a slice"
        )
    members = reduce(join, [each.members for each in groups])
    rule = " and ".join(each.rule for each in groups if each.rule)
    return Slice(name, members, next(iter(variants), ""), rule, any(each.selected for each in groups))


def _of_class(facts: Facts, name: str, indices: Sequence[int]) -> Slice:
    return Slice(f"class_{name}", facts.of_classes(indices))


def _index(facts: Facts, label: str) -> int:
    names = facts.class_names()
    if label not in names:
        label = label.removeprefix("class_")  # as tables have it
    if label not in names:
        raise SliceError(f"no class is called {label!r}; there are {', '.join(names[:20])}{nearest(label, names)}")
    return names.index(label)

"""What is wrong with a recipe, in one line that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tfprune.errors import nearest
from tfprune.recipe.base import Section, shown
from tfprune.recipe.data import DATA_SOURCES
from tfprune.recipe.masking import Importance, PruneSection, Scope
from tfprune.recipe.slices import SLICES, WORDS, ModelFiles
from tfprune.recipe.structured import StructuredSection, UnitImportance
from tfprune.recipe.whole import Recipe

METHODS: dict[str, type[Section]] = {"masking": PruneSection, "structured": StructuredSection}
_IMPORTANCES = {"masking": get_args(Importance), "structured": get_args(UnitImportance)}
_TYPES = ("str", "int", "float", "bool", "callable")
"""What pydantic calls the members of a union, besides names that no key could have."""


def explain(error: ValidationError, content: dict[str, Any]) -> str:
    """The problem of a validation error that helps most, in one line."""
    problems: list[dict[str, Any]] = [{**each, "loc": _place(each["loc"])} for each in error.errors(include_url=False)]
    # A misspelt key is also a missing one; the misspelling says more.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = [str(part) for part in problem["loc"]]
    kind, given = problem["type"], problem["input"]
    if place[:1] == ["slices"] and len(place) > 1:
        return explain_slice(problems)
    if place[:2] == ["finetune", "learning_rate"]:
        word = nearest(given, ["rewind"]) if isinstance(given, str) else ""
        return f"finetune.learning_rate: got {shown(given)}, expected rewind or a number greater than 0{word}"
    if place[:3] == ["finetune", "distill", "features"]:
        features = content["finetune"]["distill"]["features"]
        wanted = "a list of layer names, or a mapping of the student's to the teacher's"
        return f"finetune.distill.features: got {shown(features)}, expected {wanted}"
    if place[:1] == ["prune"] and (line := _explain_prune(problem, problems, content)):
        return line
    if place[1:2] == ["arguments"] and kind != "extra_forbidden":
        where = ".".join(place[:3])
        return f"{where}: got {shown(given)}, expected text as keys, and text, numbers, yes/no, lists or mappings"
    where = ".".join(place) or "top level"
    if kind == "extra_forbidden":
        known = sorted(_section(place[:-1], content).model_fields)
        return f"{where}: unknown key (value {shown(given)}); allowed: {', '.join(known)}{nearest(place[-1], known)}"
    if kind == "missing":
        return f"{where}: is missing; a recipe needs it"
    if kind == "literal_error":
        words = [word or number for word, number in re.findall(r"'([^']+)'|(\d+)", problem["ctx"]["expected"])]
        return f"{where}: got {shown(given)}, expected one of {', '.join(words)}{nearest(str(given), words)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = given.get("source") if isinstance(given, dict) else given
        known_sources = ", ".join(DATA_SOURCES)
        return f"{where}.source: got {shown(tag)}, expected one of {known_sources}{nearest(str(tag), DATA_SOURCES)}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']}" if place else str(problem["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type"):
        known = ["source"] if where == "data" else sorted(_section(place, content).model_fields)
        return f"{where}: got {shown(given)}, expected a section with keys such as {', '.join(known)}"
    if kind == "tuple_type":
        return f"{where}: got {shown(given)}, expected a list, e.g. [first, second]"
    message = problem["msg"]
    return f"{where}: got {shown(given)}, expected: {message[0].lower()}{message[1:]}"


def _place(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where in the file a problem is: pydantic names members of unions besides, which are no keys of it."""
    if loc[:1] == ("data",) and len(loc) > 1 and loc[1] in DATA_SOURCES:
        return (loc[0], *loc[2:])
    if loc[:2] == ("prune", "several"):
        return ("prune", *loc[2:3], *loc[4:])
    if loc[:2] == ("search", "objective"):
        return (*loc[:2], *loc[3:])
    return (loc[0], *loc[2:]) if loc[:1] == ("prune",) else loc


def _explain_prune(problem: Any, problems: Sequence[Any], content: dict[str, Any]) -> str:
    """What is wrong in a section of `prune` that a word about its method explains; empty where none does."""
    loc, given = problem["loc"], problem["input"]
    if problem["type"] == "too_short" and len(loc) == 1:
        return f"prune: got {shown(given)}, expected a section, or a list of some"
    section: Any = content.get("prune")
    depth = 1
    if isinstance(section, list) and len(loc) > 1:
        section, depth = section[loc[1]], 2
    method = "structured" if isinstance(section, dict) and section.get("method") == "structured" else "masking"
    where, outer, inner = ".".join(map(str, loc)), ".".join(map(str, loc[:depth])), loc[depth:]
    if inner == ("method",):
        return f"{where}: got {shown(given)}, expected one of {', '.join(METHODS)}{nearest(str(given), METHODS)}"
    if inner[:1] == ("importance",):
        known = _IMPORTANCES[method]
        close = nearest(given, known) if isinstance(given, str) else ""
        return (
            f"{outer}.importance: got {shown(given)}, expected one of {', '.join(known)}, or package.module:function, "
            f"with method {method}{close}"
        )
    if inner[:1] == ("scope",) and len(inner) > 1:
        return _explain_scope([p["loc"][depth:] for p in problems], outer, section["scope"])
    if problem["type"] == "extra_forbidden":
        for other, kind in METHODS.items():
            fields: Any = kind.model_fields
            if inner[:1] == ("target",) and len(inner) == 2:
                fields = fields["target"].annotation.model_fields
            elif len(inner) != 1:
                continue
            if other != method and inner[-1] in fields:
                told = section.get("method")
                if told is not None and told not in METHODS:
                    wanted = f"expected one of {', '.join(METHODS)}{nearest(str(told), METHODS)}"
                    return f"{outer}.method: got {shown(told)}, {wanted}"
                add = "" if told else f" unless it is told; add method: {other}"
                return f"{where}: goes with method {other}, but method is {method}{add}"
    return ""


def _explain_scope(places: Sequence[tuple[Any, ...]], section: str, given: Any) -> str:
    """What is wrong with a scope; pydantic lists a problem for each kind of scope."""
    if isinstance(given, dict):
        layer = next(place[2] for place in places if place[:1] == ("scope",) and len(place) > 2)
        if not isinstance(layer, str):
            return f"{section}.scope: got {shown(layer)}, expected the name or pattern of a layer"
        return f"{section}.scope.{layer}: got {shown(given[layer])}, expected a sparsity, from 0 to less than 1"
    known = list(get_args(Scope))
    close = nearest(given, known) if isinstance(given, str) else ""
    return f"{section}.scope: got {shown(given)}, expected one of {', '.join(known)}, or sparsities by layer{close}"


def explain_slice(problems: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with one slice, from the problems that pydantic has with it."""
    # Of a value that may be one of several types, pydantic tries each; the one that went deepest was meant.
    misspelt = next((each for each in problems if each["type"] == "extra_forbidden"), None)
    problem = misspelt or max(problems, key=lambda each: len(each["loc"]))
    place, kind, given = problem["loc"], problem["type"], shown(problem["input"])
    kinds = [str(part) for at, part in enumerate(place) if at and isinstance(place[at - 1], int)]
    # Pydantic names the kind of a slice besides its keys, and the members of a union besides their place.
    keys = [part for at, part in enumerate(place) if not (at and isinstance(place[at - 1], int))]
    named = [part for part in keys if isinstance(part, int) or (part.isidentifier() and part not in _TYPES)]
    where = ".".join(map(str, named))
    if kinds[-1] == "word":
        name = next(iter(problem["input"]), "") if isinstance(problem["input"], dict) else problem["input"]
        key = str(name).partition(":")[0].strip()
        if isinstance(problem["input"], str) and key in SLICES:
            return f"{where}: got {given}, expected a mapping: {{{key}: VALUE}} in YAML, {{{key!r}: VALUE}} in Python"
        close = nearest(str(name), dict.fromkeys((*WORDS, *SLICES)))
        return f"{where}: got {given}, expected {', '.join(WORDS)}, or a value for one of {', '.join(SLICES)}{close}"
    if kind == "extra_forbidden":
        section = ModelFiles if kinds[-1] == "pie" and named[-2:-1] == ["pie"] else SLICES[kinds[-1]]
        known = sorted(section.model_fields)
        return f"{where}: unknown key (value {given}); allowed: {', '.join(known)}{nearest(str(keys[-1]), known)}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    if kind == "string_pattern_mismatch":
        return f"{where}: got {given}, expected package.module:function"
    message = problem["msg"]
    return f"{where}: got {given}, expected: {message[0].lower()}{message[1:]}"


def _section(place: list[str], content: dict[str, Any]) -> type[BaseModel]:
    """The section of the recipe at a place, as a class."""
    section: type[BaseModel] = Recipe
    given: Any = content
    for depth, key in enumerate(place):
        given = given[int(key)] if isinstance(given, list) else given.get(key)
        if key == "data":
            section = DATA_SOURCES[given["source"]]
        elif place[0] == "prune" and (depth == 0 or (depth == 1 and key.isdecimal())):
            method = given.get("method") if isinstance(given, dict) else None
            section = METHODS.get(str(method), PruneSection)
        else:
            members = _members(section.model_fields[key].annotation)
            section = next(m for m in members if isinstance(m, type) and issubclass(m, BaseModel))
    return section


def _members(annotation: Any) -> Iterator[Any]:
    """A type and what it is made of, unions of unions taken apart."""
    yield annotation
    for each in get_args(annotation):
        yield from _members(each)

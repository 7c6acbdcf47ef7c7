"""Which functions of the user's own a recipe names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfprune.recipe.base import Section

_NAMING = ("function", "importance", "where")


def named_functions(section: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every ``module:function`` of a recipe, with its place.

    Example:
        >>> from tfprune.recipe import FunctionData
        >>> list(named_functions(FunctionData(source="function", function="mine:read"), "data"))
        [('data.function', 'mine:read')]
    """
    if isinstance(section, Section):
        for key in type(section).model_fields:
            value, inner = getattr(section, key), f"{place}.{key}".lstrip(".")
            if key in _NAMING and isinstance(value, str) and ":" in value:
                yield inner, value
            else:
                yield from named_functions(value, inner)
    elif isinstance(section, list | tuple):
        for number, each in enumerate(section):
            yield from named_functions(each, f"{place}.{number}")

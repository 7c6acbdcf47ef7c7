"""YAML and overrides as plain values."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tfprune.errors import RecipeError
from tfprune.recipe.base import shown
from tfprune.recipe.masking import N_OF_M

LONGEST = 1_000_000
"""Characters of a recipe."""

MOST = 100_000
"""Values of a recipe, each counted as often as it is referred to."""


class _Loader(yaml.SafeLoader):
    """Plain YAML, where a key that stands twice is an error and not a silent loss of the first."""

    def get_single_node(self) -> yaml.Node | None:
        """The whole, before anything is made of it: a few lines of references can stand for billions of values."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """As YAML 1.2 does: `2:4` is text, where YAML 1.1 reads a number of base 60."""
        if kind is yaml.ScalarNode and implicit[0] and re.fullmatch(N_OF_M, value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


def _count(node: yaml.Node, counted: dict[yaml.Node, int]) -> int:
    """How many values a node stands for.

    Raises:
        YAMLError: too many, or it refers to itself.
    """
    if node in counted:
        if not counted[node]:
            raise yaml.constructor.ConstructorError(None, None, "a value that refers to itself", node.start_mark)
        return counted[node]
    counted[node] = 0
    parts = node.value if isinstance(node, yaml.CollectionNode) else ()
    inner = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
    counted[node] = 1 + sum(_count(each, counted) for each in inner)
    if counted[node] > MOST:
        raise yaml.constructor.ConstructorError(
            None, None, f"references that stand for over {MOST} values", node.start_mark
        )
    return counted[node]


# PyYAML lets these through: a date like 2026-13-45, a number of thousands of digits, brackets a thousand deep.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def read_yaml(text: str) -> Any:
    """Read YAML as safely as `yaml.safe_load`, with the loader above.

    Raises:
        Exception: one of `NOT_YAML`.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters, of which a recipe has at most {LONGEST}")
    return yaml.load(text, Loader=_Loader)


def override(content: dict[str, Any], setting: str) -> None:
    """Set one ``path.to.key=value`` in a mapping read from YAML; a number is a place in a list.

    Raises:
        RecipeError: another form, a value that is no YAML, or a path that leads nowhere.
    """
    path, separator, text = setting.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError(f"--set {setting!r}: expected path.to.key=value, e.g. prune.target.sparsity=0.9")
    try:
        value = read_yaml(text)
    except NOT_YAML as error:
        raise RecipeError(f"--set {shown(setting)}: the value is not valid YAML") from error
    place: Any = content
    for depth, key in enumerate(keys):
        where = ".".join(keys[:depth])
        if isinstance(place, list):
            if not (key.isdecimal() and int(key) < len(place)):
                places = ", ".join(f"{where}.{index}" for index in range(len(place))) or "none, as it is empty"
                raise RecipeError(f"--set {setting!r}: {where} is a list; its places are {places}")
        elif not isinstance(place, dict):
            raise RecipeError(f"--set {setting!r}: {where} is a value, not a section")
        index: Any = int(key) if isinstance(place, list) else key
        if depth == len(keys) - 1:
            place[index] = value
            return
        if isinstance(place, dict) and place.get(key) is None:  # missing, or an empty section
            place[key] = {}
        place = place[index]

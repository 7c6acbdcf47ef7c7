"""The house keeps its shape: imports point down, and an outside package enters by one door."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import tfprune

PACKAGE = Path(tfprune.__file__).parent

ROOMS = (
    "cli",
    "tuning",
    "rounds",
    "report",
    "deploy",
    "tracking",
    "slices",
    "masking",
    "structure",
    "importance",
    "cost",
    "litert",
    "models",
    "keras3",
    "data",
    "recipe",
    "results",
    "mot",
    "backend",
    "importing",
    "storage",
    "errors",
)
"""From top to bottom: a room may import itself and what stands below it."""

DOORS = {
    "ai_edge_litert": {"tfprune.litert.runtime"},
    "ai_edge_quantizer": {"tfprune.litert.quantizer"},
    "flatbuffers": {"tfprune.litert.tables"},
    "keras": {"tfprune.keras3.library"},
    "keras_tuner": {"tfprune.tuning.oracle"},
    "mlflow": {"tfprune.tracking.store"},
    "pyarrow": {"tfprune.slices.records"},
    "ray": {"tfprune.tuning.engines.cluster"},
    "tensorflow": {"tfprune.backend"},
    "tensorflow_model_optimization": {"tfprune.mot"},
    "tf_keras": {"tfprune.backend"},
}
"""Outside package -> the only module that may import it."""

ABOVE_ALL = ("tfprune", "tfprune.__main__")


# ------------------------------------------------------------------------------------- reading imports


def modules_of(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, source: str, is_package: bool = False) -> set[str]:
    """Dotted names that a module imports: anywhere in it, under TYPE_CHECKING, relative, or through importlib."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__") and node.args:
                target = node.args[0]
                if isinstance(target, ast.Constant) and isinstance(target.value, str):
                    found.add(target.value)
    return found


def graph_of(package: Path) -> dict[str, set[str]]:
    """Which module of the package imports which others of it, and which outside names."""
    modules = modules_of(package)
    return {
        name: {_owner(target, modules) for target in imports_of(name, path.read_text("utf-8"), path.stem == "__init__")}
        for name, path in modules.items()
    }


def _owner(target: str, modules: dict[str, Path]) -> str:
    """The module that holds an imported name; an outside name stays as it is."""
    place = target
    while place:
        if place in modules:
            return place
        place = place.rpartition(".")[0]
    return target


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def misplaced(graph: dict[str, set[str]]) -> list[str]:
    """Imports that point up, as sentences."""
    wrong = []
    for module, targets in graph.items():
        if module in ABOVE_ALL:
            continue
        for target in sorted(targets):
            if target.split(".")[0] != "tfprune" or room_of(target) == room_of(module):
                continue
            if target == "tfprune":
                wrong.append(f"{module} imports the package itself; import the room that has the name")
            elif room_of(target) not in ROOMS or ROOMS.index(room_of(target)) < ROOMS.index(room_of(module)):
                wrong.append(f"{module} imports {target}, which stands above it")
    return wrong


def through_walls(graph: dict[str, set[str]]) -> list[str]:
    """Outside packages that enter by another way than their door, as sentences."""
    wrong = []
    for module, targets in graph.items():
        for target in sorted(targets):
            doors = DOORS.get(target.split(".")[0])
            if doors is not None and module not in doors:
                wrong.append(f"{module} imports {target}; only {', '.join(doors) or 'nobody'} may")
    return wrong


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """One import cycle as a path, or an empty list."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, set())):
            if target in graph and target != module and (found := visit(target, [*path, module])):
                return found
        done.add(module)
        return []

    for start in sorted(graph):
        if found := visit(start, []):
            return found
    return []


# -------------------------------------------------------------------------------------- the real house


GRAPH = graph_of(PACKAGE)


def test_the_reader_sees_the_modules():
    assert {"tfprune", "tfprune.backend", "tfprune.errors", "tfprune.recipe", "tfprune.results"} <= set(GRAPH)
    assert "tfprune.errors" in GRAPH["tfprune.recipe"]
    assert "tf_keras" in GRAPH["tfprune.backend"]


def test_every_module_stands_in_a_known_room():
    strangers = {m for m in GRAPH if m not in ABOVE_ALL and room_of(m) not in ROOMS}
    assert not strangers, "name the room in ROOMS here, in its place, and in CONTRIBUTING.md"


def test_every_room_is_explained_to_contributors():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    rooms = re.findall(r"^\| `([a-z0-9_]+(?:\.py|/))` \|", text, re.MULTILINE)
    order = [re.sub(r"\.py$|/$", "", room) for room in rooms]
    assert tuple(order) == ROOMS


def test_imports_point_down():
    assert misplaced(GRAPH) == []


def test_outside_packages_enter_by_one_door():
    assert through_walls(GRAPH) == []


@pytest.mark.parametrize("outside", [name for name, doors in DOORS.items() if doors])
def test_the_door_is_in_use(outside):
    (door,) = DOORS[outside]
    if door not in GRAPH:
        pytest.skip(f"{door} is not built yet")
    assert outside in {target.split(".")[0] for target in GRAPH[door]}


def test_no_import_cycle():
    # The package's own table is lazy: it names rooms for type checkers only.
    graph = {module: targets for module, targets in GRAPH.items() if module not in ABOVE_ALL}
    assert cycle_in(graph) == []


# ------------------------------------------------------------------ the rules themselves, on a toy house


@pytest.fixture
def toy(tmp_path):
    """A package tfprune of a few files, and its import graph."""

    def build(**files: str) -> dict[str, set[str]]:
        package = tmp_path / "tfprune"
        for name, source in {"__init__": "", **files}.items():
            path = package / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")
        return graph_of(package)

    return build


@pytest.mark.parametrize(
    "source",
    [
        "from tfprune.rounds import loop",
        "from tfprune import rounds",
        "import tfprune.rounds.loop",
        "from .rounds.loop import run",
        "from . import rounds",
        "def f():\n    from tfprune.rounds.loop import run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tfprune.rounds.loop import run",
        "import importlib\nimportlib.import_module('tfprune.rounds.loop')",
    ],
)
def test_an_upward_import_is_seen_in_every_form(toy, source):
    graph = toy(rounds__in____init__="", rounds__in__loop="run = 1", slices=source)
    (found,) = misplaced(graph)
    assert "tfprune.slices imports tfprune.rounds" in found


def test_importing_the_package_itself_is_seen(toy):
    assert misplaced(toy(slices="from tfprune import run"))
    assert misplaced(toy(slices="import tfprune"))


def test_downward_and_inward_imports_pass(toy):
    graph = toy(
        rounds__in____init__="",
        rounds__in__loop="from tfprune.rounds.stop import a\nfrom .stop import b\nfrom ..errors import c\nimport os",
        rounds__in__stop="from tfprune.errors import c",
        errors="",
    )
    assert misplaced(graph) == []
    assert graph["tfprune.rounds.loop"] == {"tfprune.rounds.stop", "tfprune.errors", "os"}


@pytest.mark.parametrize("source", ["import mlflow", "from mlflow.tracking import x", "import tf_keras as keras"])
def test_a_hole_in_the_wall_is_seen(toy, source):
    assert through_walls(toy(slices=source))


def test_a_cycle_is_seen(toy):
    assert cycle_in(toy(slices="import tfprune.results", results="import tfprune.slices"))
    assert not cycle_in(toy(slices="import tfprune.results", results=""))


# ------------------------------------------------------------------------------------- the public names


def test_public_names_are_sorted_unique_and_complete():
    assert list(tfprune.__all__) == sorted(set(tfprune.__all__))
    assert set(tfprune.__all__) == set(tfprune._ROOMS)
    assert set(tfprune.__all__) <= set(dir(tfprune))


def test_type_checkers_see_the_same_table():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == tfprune._ROOMS


@pytest.mark.parametrize("name", tfprune.__all__)
def test_public_name_resolves(name):
    value = getattr(tfprune, name)
    assert value.__module__ == tfprune._ROOMS[name], "the table names the room that defines it"
    assert value is getattr(importlib.import_module(tfprune._ROOMS[name]), name)


def test_no_room_bears_the_name_of_a_public_function():
    # Importing such a room would replace the function by the module.
    assert not set(tfprune.__all__) & ({m.split(".")[1] for m in GRAPH if "." in m} | set(ROOMS))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tfprune' has no attribute 'prnue'"):
        _ = tfprune.prnue

"""Recipes of others: no code of theirs where that is forbidden, and no YAML that fills the memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import tiny_workflow

from tfprune import recipe as recipes
from tfprune.cli import main
from tfprune.errors import DataError, RecipeError, SliceError
from tfprune.importing import load_function, no_code
from tfprune.recipe.functions import named_functions
from tfprune.slices.define import parse_slices

NAMED = {
    "model": ({"model": {"function": "trap_module:build"}}, "model.function"),
    "data": ({"data": {"source": "function", "function": "trap_module:read"}}, "data.function"),
    "importance": ({"prune__importance": "trap_module:score"}, "prune.importance"),
    "units": (
        {"prune": {"method": "structured", "target": {"ratio": 0.5}, "importance": "trap_module:score"}},
        "prune.importance",
    ),
    "second section": (
        {"prune": [{"target": {"sparsity": 0.5}}, {"target": {"sparsity": 0.6}, "importance": "trap_module:score"}]},
        "prune.1.importance",
    ),
    "slice": ({"slices": ["classes", {"where": "trap_module:is_odd"}]}, "slices.1.where"),
    "slice inside": ({"slices": [{"none_of": [{"where": "trap_module:is_odd"}]}]}, "slices.0.none_of.0.where"),
}
WITHOUT = {"model": {"builtin": "digits-cnn"}, "data": {"source": "digits"}}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the working directory; the file is there once it was imported."""
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "trap_module", raising=False)
    return tmp_path / "sprung"


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", ["tfprune", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (2, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(("changes", "place"), NAMED.values(), ids=NAMED)
def test_a_recipe_that_names_code_is_refused_before_anything(changes, place, trap, tmp_path, monkeypatch, capfd):
    path = tiny_workflow.write(tmp_path / "theirs.yaml", **{**WITHOUT, **changes})
    function = next(each for each in str(changes).split("'") if each.startswith("trap_module:"))
    with no_code(), pytest.raises(RecipeError) as caught:
        recipes.load(path)
    assert str(caught.value) == f"{path}: {place} {function}: names code, which --no-code forbids"
    assert [each for each, _ in named_functions(recipes.load(path))] == [place]  # may be named again
    assert f"{place} {function}: names code" in refused(["run", str(path), "--no-code"], monkeypatch, capfd)
    assert not trap.exists() and not list(tmp_path.glob("mlruns"))


@pytest.mark.parametrize("verb", ["search", "inspect"])
def test_verbs_that_read_recipes(verb, trap, tmp_path, monkeypatch, capfd):
    path = tiny_workflow.write(tmp_path / "theirs.yaml", **{**WITHOUT, "model": {"function": "trap_module:build"}})
    assert "model.function trap_module:build: names code" in refused([verb, str(path), "--no-code"], monkeypatch, capfd)
    assert not trap.exists()


def test_other_ways_to_name_code(trap, tmp_path, monkeypatch, capfd):
    override = ["run", "digits", "--no-code", "--set", "prune.importance=trap_module:score"]
    assert "prune.importance trap_module:score: names code" in refused(override, monkeypatch, capfd)
    tiny_workflow.build((8,), 3).save(tmp_path / "model.h5")
    shrink = ["shrink", "model.h5", "-o", "small.h5", "--ratio", "0.5", "--importance", "trap_module:score"]
    assert "--importance trap_module:score: names code" in refused([*shrink, "--no-code"], monkeypatch, capfd)
    evaluate = ["evaluate", "model.h5", "--data", "digits", "--slices", "where: trap_module:is_odd", "--no-code"]
    assert "trap_module:is_odd: names code" in refused(evaluate, monkeypatch, capfd)
    theirs = tiny_workflow.write(
        tmp_path / "theirs.yaml", **{**WITHOUT, "data": {"source": "function", "function": "trap_module:read"}}
    )
    evaluate = ["evaluate", "model.h5", "--data", str(theirs), "--no-code"]
    assert "data.function trap_module:read: names code" in refused(evaluate, monkeypatch, capfd)
    assert not trap.exists() and not (tmp_path / "small.h5").exists()


def test_in_python(trap):
    with no_code():
        with pytest.raises(DataError, match=r"^here trap_module:f: names code, which --no-code forbids$"):
            load_function("trap_module:f", "here", DataError)
        specs = parse_slices([{"where": "trap_module:is_odd"}])  # as an object, code is named only when it is called
        assert specs[0].where == "trap_module:is_odd"
    assert not trap.exists()
    with pytest.raises(SliceError):
        load_function("trap_module:f", "here", SliceError)
    assert trap.exists()


# --------------------------------------------------------------------------------------------------- YAML

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
HOSTILE = {
    "laughs": (LAUGHS, "references that stand for over 100000 values"),
    "merged": (MERGED, "references that stand for over 100000 values"),
    "itself": ("prune: {target: {sparsity: 0.5}}\nslices: &s [*s]\n", "a value that refers to itself"),
    "deep": ("slices: " + "[" * 50_000, "not valid YAML"),
    "deep mappings": ("a:\n" + "".join(" " * n + "a:\n" for n in range(1, 1200)), "not valid YAML"),
    "long": ("# " + "x" * 1_000_001, "of which a recipe has at most"),
    "object": ("name: !!python/object/apply:os.system [touch sprung]\n", "not valid YAML"),
    "name": ("name: !!python/name:os.system\n", "not valid YAML"),
    "new tag": ("!mine {a: 1}\n", "not valid YAML"),
    "digits": (f"seed: {'9' * 10_000}\n", "not valid YAML"),
    "control": ("name: \x00\n", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_one_line_at_once(text, words, trap, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    start = time.monotonic()
    with pytest.raises(RecipeError) as caught:
        recipes.load(path)
    assert time.monotonic() - start < 10
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert not trap.exists()


def test_a_shared_value_is_no_bomb(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("prune: {target: {sparsity: 0.5}}\nslices: [&odd {label: a}, {all_of: [*odd, {label: b}]}]\n")
    first, both = recipes.load(path).slices
    assert both.all_of[0] == first

"""Examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import tfprune

PACKAGE = Path(tfprune.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _modules() -> list[str]:
    """Every module by name, __main__ left out: importing it would start the program."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.mark.parametrize("name", _modules())
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example that writes a file writes it here
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=OPTIONS, verbose=False, report=True)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples failed; see above"


@pytest.mark.parametrize("name", _modules())
def test_module_says_what_it_is_for(name):
    module = importlib.import_module(name)
    if Path(module.__file__).stat().st_size:  # an empty __init__.py has nothing to say
        assert (module.__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", tfprune.__all__)
def test_public_name_is_documented_with_an_example(name):
    value = getattr(tfprune, name)
    text = inspect.getdoc(value) or ""
    assert text, f"tfprune.{name} has no docstring"
    # A class may show its example in the class or in its constructor.
    finder = doctest.DocTestFinder(recurse=inspect.isclass(value))
    examples = [e for test in finder.find(value, name) for e in test.examples]
    assert examples, f"tfprune.{name} has no example that runs (>>> …)"
    assert any(name in e.source for test in finder.find(value, name) for e in test.examples)


@pytest.mark.parametrize("name", tfprune.__all__)
def test_public_name_is_typed(name):
    value = getattr(tfprune, name)
    function = value.__init__ if inspect.isclass(value) else value
    signature = inspect.signature(function)
    untyped = [
        p.name for p in signature.parameters.values() if p.name != "self" and p.annotation is inspect.Parameter.empty
    ]
    assert not untyped, f"tfprune.{name}: no type on {', '.join(untyped)}"
    assert signature.return_annotation is not inspect.Signature.empty or inspect.isclass(value)


def test_a_broken_example_would_be_caught():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "broken", None, 0)
    assert doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=lambda _: None).failed == 1

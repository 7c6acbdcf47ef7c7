"""Functions of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tfprune.errors import DataError
from tfprune.importing import call_function, load_function, one_line


def complaint(name: str) -> str:
    with pytest.raises(DataError) as caught:
        call_function(name, "data.function", DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A name of a module in the working directory, and a way to write it."""
    monkeypatch.chdir(tmp_path)
    yield (tmp_path / "users_own.py").write_text
    sys.modules.pop("users_own", None)


def test_a_module_of_the_working_directory_is_found_and_the_path_restored(module) -> None:
    module("def double(n): return 2 * n")
    before = list(sys.path)
    assert call_function("users_own:double", "x", DataError, n=4) == 8
    assert sys.path == before


def test_what_the_function_imports_late_is_found_too(module, tmp_path: Path) -> None:
    (tmp_path / "late_friend.py").write_text("value = 3")
    module("def late():\n    import late_friend\n    return late_friend.value")
    assert call_function("users_own:late", "x", DataError) == 3


def test_a_function_to_be_called_later(module) -> None:
    module("def double(n): return 2 * n")
    before = list(sys.path)
    assert load_function("users_own:double", "x", DataError)(4) == 8
    assert sys.path == before
    with pytest.raises(DataError, match=r"^x users_own:duoble: users_own has no function 'duoble'; did you mean 'doub"):
        load_function("users_own:duoble", "x", DataError)


def test_complaints(module) -> None:
    assert complaint("no_such_module:f").startswith("data.function no_such_module:f: no module 'no_such_module' in ")
    assert "math has no function 'hypto'; did you mean 'hypot'?" in complaint("math:hypto")
    module("def fail():\n    raise RuntimeError('first\\nsecond')\nnumber = 3\n")
    assert complaint("users_own:fail") == "data.function users_own:fail raised RuntimeError: first second"
    assert "users_own has no function 'number'" in complaint("users_own:number")


def test_a_module_that_does_not_import(module) -> None:
    module("import nowhere_to_be_found")
    assert "importing users_own raised ModuleNotFoundError" in complaint("users_own:f")
    module("def broken(:")
    assert "importing users_own raised SyntaxError" in complaint("users_own:f")


def test_errors_on_purpose_pass_through(module) -> None:
    module("from tfprune.errors import SliceError\ndef f(): raise SliceError('mine')")
    with pytest.raises(Exception, match=r"^mine$"):
        call_function("users_own:f", "x", DataError)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            'in user code:\n\n  File "a.py", line 3, in f *\n\n    ValueError: too long\n\n\nCall arguments: x',
            "too long",
        ),
        (
            "Graph execution error:\n\nDetected at node a\n  File b\nlabel 7 is out of range\n\t [[{{node a}}]]",
            "label 7 is out",
        ),
        ("plain", "plain"),
    ],
)
def test_of_what_tensorflow_tells_the_cause_is_kept(message, cause):
    assert one_line(ValueError(message)).startswith(f"ValueError: {cause}")

"""A function of the user's that returns data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tfprune.data.datasets import data_from_objects
from tfprune.errors import DataError, TfpruneError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import FunctionData


def load_function(section: FunctionData, seed: int) -> Data:
    """Call ``package.module:function`` and split what it returns.

    Raises:
        DataError: the function cannot be found, fails, or returns something else; says which.
    """
    where = f"data.function {section.function}"
    with _working_directory_first():
        function = _find(section.function, where)
        try:
            given = function(**section.arguments)
        except Exception as error:
            raise DataError(f"{where} raised {_shown(error)}") from error
        try:
            return data_from_objects(given, section, seed)
        except TfpruneError as error:
            raise DataError(f"{where}: {error}") from error


def _find(name: str, where: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    module = _import(module_name, where)
    function = getattr(module, function_name, None)
    if function is None:
        known = [key for key, value in vars(module).items() if callable(value)]
        raise DataError(f"{where}: module {module_name} has no {function_name!r}{nearest(function_name, known)}")
    if not callable(function):
        raise DataError(f"{where}: {function_name!r} is of type {type(function).__name__}; expected a function")
    return function


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise DataError(
                f"{where}: no module {error.name!r} in {Path.cwd()} or among the installed packages"
            ) from error
        raise DataError(f"{where}: importing {name} raised {_shown(error)}") from error


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


@contextmanager
def _working_directory_first() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)

"""Functions of the user's own, named ``package.module:function`` in a recipe.

Who may name one: the recipe that the user runs (``run``, ``resume``, ``search``, or one named on the command line for
its model or its data), and the command line itself. No other file can: not a model, a plan, data or a record. Under
`no_code`, which is what ``--no-code`` does, nobody can.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfprune.errors import TfpruneError, nearest

_forbidden = False


@contextmanager
def no_code() -> Iterator[None]:
    """Refuse every function that is named meanwhile, for a recipe that somebody else wrote.

    Example:
        >>> from tfprune.errors import DataError
        >>> with no_code():
        ...     load_function("math:fsum", "data.function", DataError)
        Traceback (most recent call last):
        tfprune.errors.DataError: data.function math:fsum: names code, which --no-code forbids
    """
    global _forbidden
    before, _forbidden = _forbidden, True
    try:
        yield
    finally:
        _forbidden = before


def refuse_code(place: str, error: type[TfpruneError]) -> None:
    """Raise if code may not be named just now.

    Args:
        place: where it is named, and what; opens the error line.
        error: what to raise.
    """
    if _forbidden:
        raise error(f"{place}: names code, which --no-code forbids")


def load_function(name: str, where: str, error: type[TfpruneError]) -> Callable[..., Any]:
    """Import a function; the working directory is searched before the installed packages.

    Args:
        name: ``package.module:function``.
        where: the place in the recipe, opens the error line.
        error: what to raise.

    Raises:
        TfpruneError: of the class `error`: no such module, no such function, importing it raised, or `no_code`.

    Example:
        >>> from tfprune.errors import ImportanceError
        >>> load_function("math:fsum", "prune.importance", ImportanceError)([1, 2])
        3.0
    """
    with _working_directory_first():
        return _found(name, f"{where} {name}", error)


def call_function(name: str, where: str, error: type[TfpruneError], **arguments: Any) -> Any:
    """Import and call a function; the working directory is searched before the installed packages.

    Args:
        name: ``package.module:function``.
        where: the place in the recipe, opens the error line.
        error: what to raise.
        arguments: given to the function.

    Raises:
        TfpruneError: of the class `error`: no such module, no such function, either of them raised, or `no_code`.

    Example:
        >>> from tfprune.errors import ModelError
        >>> call_function("math:fsum", "model.function", ModelError, seq=[1, 2])
        Traceback (most recent call last):
        tfprune.errors.ModelError: model.function math:fsum raised TypeError: math.fsum() takes no keyword arguments
    """
    with _working_directory_first():  # the function itself may import more
        return call(_found(name, f"{where} {name}", error), f"{where} {name}", error, **arguments)


def _found(name: str, where: str, error: type[TfpruneError]) -> Callable[..., Any]:
    refuse_code(where, error)
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:
        missing = getattr(problem, "name", None) if isinstance(problem, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise error(f"{where}: no module {missing!r} in {Path.cwd()} or among the installed packages") from problem
        raise error(f"{where}: importing {module_name} raised {one_line(problem)}") from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise error(f"{where}: {module_name} has no function {function_name!r}{nearest(function_name, known)}")
    return function


def call(function: Callable[..., Any], where: str, error: type[TfpruneError], *args: Any, **arguments: Any) -> Any:
    """Call a function of the user's, or with the user's arguments; whatever it raises becomes one line of `error`."""
    try:
        return function(*args, **arguments)
    except TfpruneError:
        raise
    except Exception as problem:
        raise error(f"{where} raised {one_line(problem)}") from problem


def one_line(error: BaseException) -> str:
    """Return an exception as ``Type: message`` in one line of at most 200 characters."""
    text = " ".join(f"{type(error).__name__}: {_cause(str(error)) or 'no message'}".split())
    return text if len(text) <= 200 else text[:197] + "..."


def _cause(message: str) -> str:
    """What TensorFlow says went wrong, without the way there, which it tells first."""
    if "in user code:" in message:
        causes = re.findall(r"^\s*\w+(?:Error|Exception): (.+)", message, re.MULTILINE)
        return causes[-1] if causes else message
    if message.startswith("Graph execution error"):
        before = message.partition("[[")[0].strip().splitlines()
        return before[-1].strip()
    return message


@contextmanager
def _working_directory_first() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    # A module written since the last import would otherwise stay unseen.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)

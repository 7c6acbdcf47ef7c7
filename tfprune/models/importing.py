"""Functions of the user's own, named ``package.module:function`` in a recipe."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfprune.errors import ModelError, nearest


def import_function(name: str) -> Callable[..., Any]:
    """Return a function by its full name; the working directory is searched like an installed package.

    Args:
        name: ``package.module:function``.

    Raises:
        ModelError: no such module, no such function in it, or the module fails while it is imported.

    Example:
        >>> import_function("math:hypot")(3, 4)
        5.0
    """
    module_name, _, attribute = name.partition(":")
    try:
        with _working_directory_first():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{name}: {error}; modules are looked up in the working directory and among packages"
        ) from error
    except Exception as error:  # whatever the user's module raises at import
        raise ModelError(f"{name}: importing {module_name} failed: {one_line(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{name}: {module_name} has no function {attribute!r}{nearest(attribute, known)}")
    return function


def one_line(error: BaseException) -> str:
    """Return an exception as ``Type: message`` in one line of at most 200 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."


@contextmanager
def _working_directory_first() -> Iterator[None]:
    directory = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    sys.path.insert(0, directory)
    # A module written since the last import would otherwise stay unseen.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(directory)

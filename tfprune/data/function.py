"""A function of the user's that returns data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfprune.data.datasets import data_from_objects
from tfprune.errors import DataError, TfpruneError
from tfprune.importing import call_function

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import FunctionData


def load_function(section: FunctionData, seed: int) -> Data:
    """Call ``package.module:function`` and split what it returns.

    Raises:
        DataError: the function cannot be found, fails, or returns something else; says which.
    """
    given = call_function(section.function, "data.function", DataError, **section.arguments)
    try:
        return data_from_objects(given, section, seed)
    except TfpruneError as error:
        raise DataError(f"data.function {section.function}: {error}") from error

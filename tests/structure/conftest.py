"""What holds for the tests of structured pruning."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tfprune.backend import keras


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    gc.collect()

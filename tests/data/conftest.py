"""The fixture that runs a test on every kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sources import WRITERS, Source


@pytest.fixture(params=sorted(WRITERS))
def writer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Writes one kind of source, as it is or changed in one example; functions are found in the working directory."""
    monkeypatch.chdir(tmp_path)
    return lambda changed=False: WRITERS[request.param](tmp_path, changed)

"""One home for all workflows that run inside the test's own process."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_workflow


@pytest.fixture(scope="session")
def warm_home(tmp_path_factory) -> Path:
    return tiny_workflow.warm_home(tmp_path_factory)


@pytest.fixture
def home(warm_home, monkeypatch) -> Path:
    monkeypatch.setenv("TFPRUNE_HOME", str(warm_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return warm_home


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Folder and result of a workflow that ran undisturbed in a process of its own."""
    return tiny_workflow.finished(tmp_path_factory)

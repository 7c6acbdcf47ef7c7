"""What holds for every test."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

# Models of tests are small, and there is a process for every core: threads of TensorFlow and BLAS would only wait for
# one another. Set before NumPy is imported; processes that tests start inherit it.
for _threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import tiny_workflow  # noqa: E402

import tfprune  # noqa: E402, F401 - chooses tf_keras before a test imports TensorFlow

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests record in homes of their own, whatever the shell says.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("TFPRUNE_HOME", None)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_search() -> None:
    """What lives as a file begins is searched for garbage no more; each search of all that came to take a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def warm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose MLflow tables are made."""
    return tiny_workflow.warm_home(tmp_path_factory)


@pytest.fixture
def home(warm_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The warm home, as the one that tfprune records in."""
    monkeypatch.setenv("TFPRUNE_HOME", str(warm_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return warm_home


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """Folder and result of a workflow that ran undisturbed in a process of its own."""
    return tiny_workflow.finished(tmp_path_factory)


# Each file stays with one process. Those that take longest begin first: no process is left with one at the end.
LONGEST = (
    "test_resume.py",
    "test_engines.py",
    "test_search_faults.py",
    "test_search_engines.py",
    "test_search.py",
    "test_zoo.py",
    "test_postgresql.py",
    "test_bad_input.py",
    "test_loop.py",
    "test_rebuilt.py",
    "test_examples.py",
    "test_cli.py",
    "test_browser.py",
    "test_goal.py",
    "test_exam.py",
    "test_recipe_slices.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))

"""A search small enough to run many times: the tiny workflow's points and model, trials of one epoch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import tiny_workflow
import yaml

STRUCTURED = {"method": "structured", "target": {"ratio": 0.5}}


def recipe(**changes: Any) -> dict[str, Any]:
    """A dense epoch, five starting allocations, three questions and two finals; `section__key=value` changes a value."""
    content = tiny_workflow.recipe(
        name="small",
        train={"epochs": 2, "batch_size": 32, "learning_rate": 0.02},
        prune={"target": {"sparsity": 0.8}, "rounds": 1, "schedule": {"frequency": 2}},
        finetune={"epochs": 1},
        search={"oracle": "random", "trials": 3, "epochs": 1, "sensitivity": [0.5, 0.9], "finalists": 2},
    )
    for path, value in changes.items():
        *sections, key = path.split("__")
        functools.reduce(lambda place, section: place.setdefault(section, {}), sections, content)[key] = value
    return content


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(recipe(**changes)))
    return path

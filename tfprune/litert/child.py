"""A module of this package as a program of its own, for what only a fresh process can tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def told_by_child(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module and return what it told by `tell`, key by key; what it told before it died, if it does.

    Args:
        module: dotted name.
        arguments: of its command line.
    """
    # This package may lie in a folder that is on this process's path only.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, capture_output=True, env=environment, check=False, encoding="utf-8", errors="replace"
    )
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            told |= json.loads(line.removeprefix(_MARK))
    return told


def tell(**values: Any) -> None:
    """Print for `told_by_child`, which knows its lines from what libraries print."""
    print(_MARK + json.dumps(values), flush=True)


_MARK = "told: "

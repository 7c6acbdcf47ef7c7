"""What a process of the engine `Processes` does.

It does not import the script that started the search, unless the spec or a task refers to something in it. So a script
without ``if __name__ == "__main__":`` works as the user expects, or is told what it lacks.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import threading
from contextlib import suppress
from multiprocessing import connection, spawn
from multiprocessing.connection import Connection
from typing import Any

from tfprune.errors import RecipeError
from tfprune.tuning.engines.base import Reading, attempt, finish, make, packed, told_threads

_importing_script = False  # true in a worker's process while it imports the script that started the search


def forbid_in_script_import() -> None:
    """Refuse to search in a worker that only imports the user's script.

    Raises:
        RecipeError: the script starts the search at import.
    """
    if _importing_script:
        raise RecipeError(
            "workers import this script, as the search refers to something in it, and would start the search anew; "
            'put the search under `if __name__ == "__main__":`, or what it refers to in a module of its own'
        )


def script_of_search() -> dict[str, Any]:
    """How a worker would import the script that started this process, should it need something from there."""
    plan = spawn.get_preparation_data("worker")
    return {name: plan[name] for name in ("init_main_from_name", "init_main_from_path") if name in plan}


def work(pipe: Connection, cores: tuple[int, ...], script: dict[str, Any]) -> None:
    """Make the worker and run what comes through the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.current_process().daemon = False  # reading data may need processes of its own
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    told_threads(len(cores))

    def loads(content: bytes) -> Any:
        return _Unpickler(io.BytesIO(content), script).load()

    with suppress(EOFError, OSError):  # the search is over
        worker, reply = make(lambda: loads(pipe.recv_bytes()).build())
        pipe.send_bytes(packed(reply, pickle.dumps))
        while worker is not None:
            # Nothing of a task may outlive it, so none gets a name here.
            pipe.send_bytes(packed(attempt(Reading(worker, loads), pipe.recv_bytes()), pickle.dumps))
    with suppress(Exception):  # nobody would hear it
        finish(worker)


class _Unpickler(pickle.Unpickler):
    """Imports the script that started the search when something in it is referred to."""

    def __init__(self, file: io.BytesIO, script: dict[str, Any]) -> None:
        super().__init__(file)
        self._script = script

    def find_class(self, module: str, name: str) -> Any:
        global _importing_script
        if module in ("__main__", "__mp_main__") and self._script:
            plan = dict(self._script)
            self._script.clear()
            _importing_script = True
            try:
                spawn.prepare(plan)
            finally:
                _importing_script = False
        return super().find_class(module, name)


def _leave_with_parent() -> None:
    """End this process, in the middle of whatever it does, once the search's process is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while not connection.wait([parent.sentinel], timeout=1.0):
        if os.name == "posix" and os.getppid() != parent.pid:  # somebody else holds the sentinel open
            break
    os._exit(1)

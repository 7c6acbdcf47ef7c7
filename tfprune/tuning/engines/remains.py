"""A folder of a Ray cluster of our own, which leaves with us even if we are killed.

When the process that started Ray is killed, some of Ray's take minutes to notice, and its folder stays. So a small
process waits for the end and clears up. It runs this file by itself; the file imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LONGEST = 40  # characters; Ray makes sockets in its folder, whose paths may hold 107
_ENDED = b"ended"


class Remains:
    """A short temporary folder, and a process that clears up when `clear` is called or this process is gone.

    Attributes:
        folder: for Ray alone.
    """

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="tfp-")
        if len(self.folder) > _LONGEST and os.name == "posix":
            Path(self.folder).rmdir()
            self.folder = tempfile.mkdtemp(prefix="tfp-", dir="/tmp")
        self._process = subprocess.Popen(
            [sys.executable, "-S", __file__, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not meant for it
        )

    def clear(self) -> None:
        """Remove the folder; Ray has ended its processes."""
        self._process.communicate(_ENDED)


def clear_up(folder: str, killing: bool) -> None:
    """Remove a folder, and end what has files in it open where those who should are gone."""
    for _ in range(20):
        users = _users_of(folder) if killing else []
        for user in users:
            with contextlib.suppress(OSError):
                os.kill(user, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        if not users and not Path(folder).exists():
            break
        time.sleep(0.1)


def _users_of(folder: str) -> list[int]:
    """Processes that have files of a folder open, where the system tells."""
    users = []
    for files in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(str(file.readlink()).startswith(f"{folder}/") for file in files.iterdir()):
                users.append(int(files.parent.name))
    return users


if __name__ == "__main__":
    # The end of the input is the end of the process that started this one.
    clear_up(sys.argv[1], killing=sys.stdin.buffer.read() != _ENDED)

"""What a LiteRT file takes of memory, measured in a process that does nothing else.

Run as a program by `memory_of`, this module is that process. It loads no TensorFlow.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.litert.child import tell, told_by_child
from tfprune.litert.runtime import Interpreter, example, opened
from tfprune.results import Delegate


@dataclass(frozen=True)
class Memory:
    """Bytes that a file takes, see `FileCost`."""

    arena_bytes: int | None
    peak_memory: int | None


def memory_of(content: bytes, threads: int = 1, batch: int = 1, delegate: Delegate = "xnnpack") -> Memory:
    """Load and run a file in a process of its own, and tell by how much that grew; takes a quarter of a second.

    Args:
        content: a flatbuffer that runs, see `Session`.
        threads: of the interpreter.
        batch: examples a run.
        delegate: as in `Session`; the arena is always told without one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        told = told_by_child("tfprune.litert.memory", str(path), str(threads), str(batch), delegate)
    return Memory(told.get("arena_bytes"), told.get("peak_memory"))


# --------------------------------------------------------------------------------------- in the process itself


def _peak_of(path: Path, threads: int, batch: int, delegate: Delegate) -> int | None:
    """By how many bytes this process grew, at most, to open a file and to run it thrice; None outside of Linux."""
    try:
        before = _resident("VmRSS") - _of_code(path)
        _PEAK.write_text("5", "ascii")  # forget the peak that imports had
        interpreter = opened(path, threads, delegate, batch)
        details = interpreter.get_input_details()
        for each, value in zip(details, example(details), strict=True):
            interpreter.set_tensor(each["index"], value)
        for _ in range(3):
            interpreter.invoke()
        return max(0, _resident("VmHWM") - _of_code(path) - before)
    except OSError:
        return None


_PEAK, _STATUS, _MAPS = (Path("/proc/self") / name for name in ("clear_refs", "status", "smaps"))


def _resident(key: str) -> int:
    # Not by getrusage: its peak is inherited from the process that started this one, where that was larger.
    return sum(1024 * int(size) for size in re.findall(rf"{key}:\s+(\d+) kB", _STATUS.read_text("utf-8")))


def _of_code(model: Path) -> int:
    """Bytes of mapped files but the model: libraries come into memory as they are used, the same for every model."""
    total, counts = 0, False
    for line in _MAPS.read_text("utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            place = line.split(maxsplit=5)[5:]
            counts = bool(place) and place[0].startswith("/") and place[0] != str(model.resolve())
        elif counts and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


def arena_of(interpreter: Interpreter, content: bytes) -> int:
    """Bytes of all places where an interpreter without delegate put tensors that are not in the file itself.

    Tensors whose lives do not overlap share places, which count once.
    """
    own = np.frombuffer(content, np.uint8)
    start = own.__array_interface__["data"][0]
    places = []
    for graph in range(interpreter.num_subgraphs()):
        for each in interpreter.get_tensor_details(graph):
            try:
                value = interpreter._interpreter.tensor(interpreter, each["index"], graph)
            except (RuntimeError, ValueError):  # it has no place before an operation gives it one
                continue
            address = value.__array_interface__["data"][0]
            if value.nbytes and not start <= address < start + own.nbytes:
                places.append((address, address + -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT))
    return _covered(places)


_ALIGNMENT = 64  # LiteRT's, of every tensor


def _covered(places: list[tuple[int, int]]) -> int:
    """How many bytes lie in at least one place.

    >>> _covered([(8, 12), (0, 4), (10, 14), (2, 3)])
    10
    """
    total, reached = 0, 0
    for start, end in sorted(places):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _main(path: Path, threads: int, batch: int, delegate: Delegate) -> None:
    tell(peak_memory=_peak_of(path, threads, batch, delegate))
    content = path.read_bytes()
    # Last, as it touches what the interpreter may not have laid out: a crash costs this figure only.
    tell(arena_bytes=arena_of(opened(content, threads, "none", batch), content))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])  # type: ignore[arg-type]

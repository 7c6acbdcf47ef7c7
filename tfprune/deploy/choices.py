"""What is asked of an export, and what of it goes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tfprune.errors import ExportError, StorageError, nearest
from tfprune.results import Format, Quantize, Tolerance

ENDINGS: dict[Format, tuple[str, ...]] = {
    "litert": (".tflite", ".litert"),
    "onnx": (".onnx",),
    "savedmodel": ("",),
    "keras": (".keras", ".h5", ".hdf5"),
    "keras3": (".keras",),
}
"""How files of a format end; the first is what is told."""

TOLERANCES: dict[Quantize, Tolerance] = {
    "none": Tolerance(agreement=0.999, difference=1e-3, exact=True),
    "float16": Tolerance(agreement=0.99, difference=0.02, exact=True),
    "dynamic": Tolerance(agreement=0.98, difference=0.1),
    "int8": Tolerance(agreement=0.98, difference=0.1),
}
"""What is allowed unless it is said otherwise, by what became of the numbers."""

QUANTIZES: tuple[Format, ...] = ("litert", "onnx")
"""Formats that hold fewer bits, and are timed."""

_FILES = {ending for ends in ENDINGS.values() for ending in ends if ending}
_OF_SAVED_MODELS = {"assets", "assets.extra", "fingerprint.pb", "keras_metadata.pb", "saved_model.pb", "variables"}


@dataclass(frozen=True)
class About:
    """What is written into a file besides the model; see `tfprune.litert.metadata`.

    Attributes:
        labels: names of the classes.
        mean: that was taken from inputs before they are given, in units of the raw inputs.
        std: by which they were divided after that.
    """

    labels: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Choices:
    """What is asked of an export.

    Attributes:
        to: the format; None to tell by the ending.
        quantize: what becomes of numbers.
        integer_io: int8 inputs and outputs, and no operation in float.
        sparse: encode zeros sparsely, where such a file loads and is smaller.
        select_ops: let TensorFlow's kernels stand in for operations that LiteRT lacks.
        about: to be written into the file; None leaves it out.
        agreement: least share of the examples with the same answer; None takes that of `TOLERANCES`.
        difference: greatest difference as a share of the range, likewise.
        size_mb: budget of the file, in MB of 1,000,000 bytes.
        latency_ms: budget of one example on this machine, one thread.
        force: replace what is there.
    """

    to: Format | None = None
    quantize: Quantize = "none"
    integer_io: bool = False
    sparse: bool = False
    select_ops: bool = False
    about: About | None = None
    agreement: float | None = None
    difference: float | None = None
    size_mb: float | None = None
    latency_ms: float | None = None
    force: bool = False

    @property
    def tolerance(self) -> Tolerance:
        """What is allowed."""
        usual = TOLERANCES[self.quantize]
        return replace(
            usual,
            agreement=usual.agreement if self.agreement is None else self.agreement,
            difference=usual.difference if self.difference is None else self.difference,
            exact=usual.exact or self.difference is not None,
        )

    def format_of(self, path: Path) -> Format:
        """The format that is asked for, held against the ending of a path and the other choices.

        Raises:
            ExportError: an unknown word, an ending of another format, or choices that do not go together.
        """
        _check_word("quantize", self.quantize, get_args(Quantize))
        if self.to is not None:
            _check_word("to", self.to, get_args(Format))
        ending = path.suffix.lower()
        found = self.to or next((name for name, ends in ENDINGS.items() if ending in ends), None)
        fits = ending not in _FILES if found == "savedmodel" else found is not None and ending in ENDINGS[found]
        if found is None:
            raise ExportError(f"{path}: cannot tell a format by {path.suffix!r}; {_expected()}")
        if not fits:
            wanted = ENDINGS[found][0] or "nothing, as it is a folder"
            raise ExportError(f"{path}: got the ending {path.suffix!r}, but a file of {found} ends in {wanted}")
        if self.quantize != "none" and found not in QUANTIZES:
            raise ExportError(
                f"quantize {self.quantize} goes with {' and '.join(QUANTIZES)}, but the format is {found}"
            )
        for name in ("integer_io", "sparse", "select_ops", "about"):
            if getattr(self, name) and found != "litert":
                flag = "labels" if name == "about" else name.replace("_", "-")
                raise ExportError(f"--{flag} goes with litert, but the format is {found}; leave it out")
        if self.integer_io and self.quantize != "int8":
            raise ExportError(f"--integer-io goes with quantize int8, but got {self.quantize}; add --quantize int8")
        if self.integer_io and self.select_ops:
            raise ExportError("--select-ops brings operations in float, but --integer-io allows none; leave one out")
        if self.latency_ms is not None and found not in QUANTIZES:
            raise ExportError(f"latency is measured in LiteRT and onnxruntime, but the format is {found}")
        for name in ("agreement", "difference"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ExportError(f"--{name}: got {value:g}, expected a share from 0 to 1")
        return found


def check_place(path: Path, found: Format, force: bool) -> None:
    """Refuse a place where something is, before any work.

    Raises:
        StorageError: a file or a folder is there; with `force` only what the new file could not replace alone.
    """
    if path.exists() and not force:
        raise StorageError(f"{path} exists; give --force (force=True) to replace it, or another path")
    if path.is_dir() and (found != "savedmodel" or not {each.name for each in path.iterdir()} <= _OF_SAVED_MODELS):
        raise StorageError(f"{path}: a folder of other things is in the way; give another path or remove it")
    if path.is_file() and found == "savedmodel":
        raise StorageError(f"{path}: a file is in the way of a SavedModel folder; give another path or remove it")


def _check_word(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ExportError(f"{name}: got {given!r}, expected one of {', '.join(known)}{nearest(str(given), known)}")


def _expected() -> str:
    endings = ", ".join(f"{ends[0]} for {name}" for name, ends in ENDINGS.items() if ends[0] and name != "keras3")
    return f"expected {endings}, nothing for a SavedModel folder"

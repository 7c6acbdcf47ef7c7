"""TensorFlow Lite Metadata: what task libraries on a device read of a file besides the model.

Names, normalization and labels, in the flatbuffer that the buffer ``TFLITE_METADATA`` holds; the labels themselves in a
ZIP archive behind the model, so that ``unzip model.tflite`` gives them.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.errors import ExportError, ModelError
from tfprune.importing import one_line
from tfprune.litert.runtime import schema
from tfprune.litert.tables import buffer_of, read_table, with_buffer, write_table

_ENTRY, _IDENTIFIER = "TFLITE_METADATA", b"M001"
_LABELS = "labels.txt"
_AXIS_LABELS = 2
_COLORS = {3: 1, 1: 2}  # by channels: RGB, grayscale
_PARSER = "1.0.0"  # the version of the schema that has all that is written here
_LONGEST = 16_000_000  # bytes of a file of labels
_BROKEN = (
    *(AttributeError, EOFError, IndexError, KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Attributes:
        name: of the model.
        description: for people.
        version: of the model, as its makers count.
        inputs: names of the inputs, in the order of the file.
        outputs: names of the outputs.
        mean: of the first input that is normalized, one number or one a channel; empty where none is.
        std: the same.
        image: (height, width, channels) of the first input that is an image; None where none is.
        labels: names of the classes; empty where the file has none.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    image: tuple[int, int, int] | None = None
    labels: tuple[str, ...] = ()


def with_metadata(
    content: bytes,
    *,
    name: str,
    description: str = "",
    labels: Sequence[str] = (),
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    version: str = "v1",
) -> bytes:
    """Add metadata to a LiteRT flatbuffer; the model in it stays as it is, byte by byte.

    Args:
        content: of a file without metadata.
        name: of the model.
        description: for people.
        labels: names of the classes, in the order of the outputs.
        mean: taken from inputs before the model gets them, in units of the raw inputs: one number, or one a channel.
            Of several inputs only images are normalized.
        std: by which they are divided after that. It is the same for a quantized file, whose input is quantized later.
        version: of the model, as its makers count.

    Returns:
        The content of a file that any interpreter of LiteRT takes.

    Raises:
        ExportError: labels that no output has room for or that hold line breaks, or a normalization that is none.
        ModelError: no LiteRT flatbuffer, or one that has metadata.

    Example:
        >>> from tfprune.backend import keras
        >>> from tfprune.litert.convert import convert
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        >>> content = with_metadata(convert(model), name="pets", labels=["cat", "dog"], std=255.0)
        >>> found = read_metadata(content)
        >>> found.labels, found.std, found.image
        (('cat', 'dog'), (255.0,), (8, 8, 3))
    """
    if _readable(content, lambda: buffer_of(content, _ENTRY)) is not None:
        raise ModelError("the LiteRT file has metadata already; export the model anew")
    inputs, outputs = _readable(content, lambda: _tensors(content))
    means, stds = _normalization(mean, std, inputs)
    _check_labels(labels, outputs)
    metadata = {
        "name": name,
        "description": description,
        "version": version,
        "subgraph_metadata": [
            {
                "input_tensor_metadata": [
                    _input(tensor, shape, means, stds, len(inputs) == 1) for tensor, shape in inputs
                ],
                "output_tensor_metadata": [_output(tensor, shape, labels) for tensor, shape in outputs],
            }
        ],
        "min_parser_version": _PARSER,
    }
    table = write_table(metadata, "ModelMetadata", _IDENTIFIER)
    whole = _readable(content, lambda: with_buffer(content, _ENTRY, table))
    return _with_file(whole, _LABELS, "".join(f"{label}\n" for label in labels)) if labels else whole


def read_metadata(content: bytes) -> Metadata:
    """Read the metadata of a LiteRT file, whoever wrote it.

    Raises:
        ModelError: no LiteRT flatbuffer, none in it, or a damaged one.
    """
    return _readable(content, lambda: _read(content))


def _read(content: bytes) -> Metadata:
    found = buffer_of(content, _ENTRY)
    if found is None:
        raise ModelError("the LiteRT file has no metadata; export the model with labels")
    whole = read_table(found, "ModelMetadata")
    graph = (whole.get("subgraph_metadata") or [{}])[0]
    inputs, outputs = graph.get("input_tensor_metadata", []), graph.get("output_tensor_metadata", [])
    units = [unit["normalization"] for each in inputs for unit in each.get("process_units", ()) if unit]
    images = [each["content"]["image"] for each in inputs if "image" in each.get("content", {})]
    files = [file for each in outputs for file in each.get("associated_files", ()) if file.get("type") == _AXIS_LABELS]
    labels: tuple[str, ...] = ()
    if files:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(files[0]["name"]) as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"its labels take more than {_LONGEST:,} bytes")
        labels = tuple(text.decode("utf-8").removesuffix("\n").split("\n"))
    channels = {color: count for count, color in _COLORS.items()}
    return Metadata(
        name=whole.get("name", ""),
        description=whole.get("description", ""),
        version=whole.get("version", ""),
        inputs=tuple(each.get("name", "") for each in inputs),
        outputs=tuple(each.get("name", "") for each in outputs),
        mean=tuple(units[0].get("mean", ())) if units else (),
        std=tuple(units[0].get("std", ())) if units else (),
        image=next(
            (
                (each["default_size"]["height"], each["default_size"]["width"], channels.get(each["color_space"], 0))
                for each in images
                if "default_size" in each
            ),
            None,
        ),
        labels=labels,
    )


# -------------------------------------------------------------------------------------------- tensors


def _tensors(content: bytes) -> tuple[list[tuple[str, tuple[int, ...]]], list[tuple[str, tuple[int, ...]]]]:
    """Inputs and outputs by name and shape, in the order of the file; names as its signature has them."""
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    names: dict[str, dict[int, str]] = {"Inputs": {}, "Outputs": {}}
    if model.SignatureDefsLength():
        signature = model.SignatureDefs(0)
        for side in names:
            entries = [getattr(signature, side)(each) for each in range(getattr(signature, f"{side}Length")())]
            names[side] = {each.TensorIndex(): each.Name().decode("utf-8") for each in entries}

    def described(side: str) -> list[tuple[str, tuple[int, ...]]]:
        found = []
        for index in (getattr(graph, side)(each) for each in range(getattr(graph, f"{side}Length")())):
            tensor = graph.Tensors(index)
            shape = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
            found.append((names[side].get(index) or tensor.Name().decode("utf-8"), shape))
        return found

    return described("Inputs"), described("Outputs")


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[-1] in _COLORS and shape[1] > 1


def _input(name: str, shape: tuple[int, ...], mean: list[float], std: list[float], alone: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    if _is_image(shape):
        size = {"width": shape[2], "height": shape[1]}
        found["content"] = {"image": {"color_space": _COLORS[shape[-1]], "default_size": size}}
    if alone or _is_image(shape):
        found["process_units"] = [{"normalization": {"mean": mean, "std": std}}]
    return found


def _output(name: str, shape: tuple[int, ...], labels: Sequence[str]) -> dict[str, Any]:
    if not labels or shape[-1:] != (len(labels),):
        return {"name": name}
    file = {"name": _LABELS, "description": "Names of the classes", "type": _AXIS_LABELS}
    return {"name": name, "associated_files": [file]}


def _normalization(mean: Any, std: Any, inputs: list[tuple[str, tuple[int, ...]]]) -> tuple[list[float], list[float]]:
    with np.errstate(over="ignore"):  # as the file has them: of 32 bits
        means, stds = (
            np.atleast_1d(np.asarray(given, np.float64)).astype(np.float32).tolist() for given in (mean, std)
        )
    shapes = [shape for _, shape in inputs if len(inputs) == 1 or _is_image(shape)]
    for what, values in (("mean", means), ("std", stds)):
        if not np.isfinite(values).all() or (what == "std" and min(values) <= 0):
            expected = "numbers above 0" if what == "std" else "finite numbers"
            raise ExportError(f"normalization: {what} is {values}, expected {expected}")
        for shape in shapes:
            if len(values) not in (1, shape[-1]):
                raise ExportError(
                    f"normalization: {what} has {len(values)} values, expected 1 or {shape[-1]}, one a channel"
                )
    return means, stds


def _check_labels(labels: Sequence[str], outputs: list[tuple[str, tuple[int, ...]]]) -> None:
    for label in labels:
        if not isinstance(label, str) or not label or len(label.splitlines()) != 1 or label != label.strip("\r\n"):
            raise ExportError(f"labels: got {label!r}, expected a name on one line, as a file of labels has lines")
    sizes = [shape[-1] for _, shape in outputs if shape]
    if labels and len(labels) not in sizes:
        wanted = " or ".join(str(size) for size in dict.fromkeys(sizes))
        raise ExportError(f"labels: got {len(labels)} names, but the model answers {wanted} numbers; give one a class")


# -------------------------------------------------------------------------------------------- the file


def _with_file(content: bytes, name: str, text: str) -> bytes:
    """With a ZIP archive behind it, uncompressed, as the readers on devices want it, and equal each time."""
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), text.encode("utf-8"))
    return whole.getvalue()


def _readable(content: bytes, read: Callable[[], Any]) -> Any:
    """Whatever reading gives; what is no LiteRT file, or is damaged, is told in one line."""
    if content[4:8] != b"TFL3":
        raise ModelError(f"not a LiteRT file: it starts with {content[:8]!r}, expected TFL3 at the fifth byte")
    try:
        return read()
    except _BROKEN as error:
        raise ModelError(f"the LiteRT file is damaged: {one_line(error)}; export the model anew") from error

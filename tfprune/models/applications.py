"""Models of keras.applications with a new head for the data's classes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.errors import ModelError, nearest
from tfprune.importing import one_line

_OURS = ("classes", "classifier_activation", "include_top", "input_shape", "input_tensor", "pooling", "weights")


def application_names() -> list[str]:
    """Names of the models of keras.applications, sorted.

    Example:
        >>> "MobileNetV2" in application_names()
        True
    """
    return sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))


def build_application(
    name: str, input_shape: tuple[int | None, ...], classes: int, weights: str | None, arguments: dict[str, Any]
) -> keras.Model:
    """Build an application without its top, and global average pooling and a softmax on it.

    Args:
        name: as in keras.applications, e.g. ``MobileNetV2``.
        input_shape: ``(height, width, channels)``; most need 32x32 at least.
        classes: width of the answer.
        weights: a weights file with or without the top, ``imagenet`` (needs a network once), or None.
        arguments: of the application, e.g. ``{"alpha": 0.25}``.

    Raises:
        ModelError: no such application, arguments it does not take, or weights that cannot be had.
    """
    known = application_names()
    if name not in known:
        raise ModelError(f"application {name!r} is not in keras.applications{nearest(name, known)}")
    taken = [key for key in arguments if key in _OURS]
    if taken:
        raise ModelError(f"application {name}: argument {taken[0]!r} follows from the recipe; leave it out")
    file = None if weights in (None, "imagenet") else Path(str(weights))
    if file is not None and not file.is_file():
        raise ModelError(f"application {name}: no weights file {file}; give a file, 'imagenet' or nothing")
    try:
        base = getattr(keras.applications, name)(
            include_top=False,
            weights="imagenet" if weights == "imagenet" else None,
            input_shape=input_shape,
            **arguments,
        )
    except Exception as error:  # Keras raises bare Exception where a download fails
        if "URL fetch failure" in str(error) or isinstance(error, OSError):
            raise ModelError(
                f"application {name}: the ImageNet weights could not be downloaded; "
                "without a network, download them elsewhere and give the file as model.weights"
            ) from error
        raise ModelError(f"application {name} failed: {one_line(error)}") from error
    x = keras.layers.GlobalAveragePooling2D(name="head_average")(base.output)
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")(x)
    model = keras.Model(base.input, outputs, name=base.name)
    if file is not None:
        _load_weights(file, base, model)
    return model


def _load_weights(file: Path, base: keras.Model, model: keras.Model) -> None:
    """Read a weights file of the base, of the whole model, or of the application with its top, whichever it is."""
    before = [value.copy() for value in model.get_weights()]
    problem: Exception | None = None
    for target, options in ((base, {}), (model, {}), (model, {"by_name": True, "skip_mismatch": True})):
        try:
            target.load_weights(file, **options)
        except Exception as error:  # another layout; the next attempt may know it
            problem = error
            continue
        if any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)):
            return
    why = one_line(problem) if problem else "no layer of it has a name and shape of this model"
    raise ModelError(f"{file}: not weights for {model.name}: {why}")

"""Model files of Keras 3, read into tf_keras and written for those who have Keras 3 alone."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tfprune.backend import keras
from tfprune.errors import ModelError, StorageError
from tfprune.importing import one_line
from tfprune.keras3.convert import from_keras3, to_keras3
from tfprune.keras3.library import application_layers, is_keras3, library
from tfprune.storage import replacing


def written_by_keras3(path: str | Path) -> bool:
    """Whether a file says that Keras 3 wrote it; does not load Keras 3.

    Args:
        path: anything; False where there is no such file, or where it is none of Keras.

    Example:
        >>> written_by_keras3("no-such-file.keras")
        False
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            with h5py.File(path, "r") as file:
                version = file.attrs["keras_version"]
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return False
    return (version.decode() if isinstance(version, bytes) else str(version)).startswith("3.")


def read(path: str | Path, *, trust: bool = False) -> keras.Model:
    """Read a model that Keras 3 wrote into tf_keras.

    Args:
        path: a ``.keras`` or ``.h5`` file.
        trust: run the code of Lambda layers that the file holds.

    Returns:
        The tf_keras model, as `from_keras3` makes it; uncompiled where its training state does not read.

    Raises:
        ModelError: damaged, or code without trust, or a layer without a counterpart, which is named.
        DependencyError: Keras 3 is not installed.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read(write(model, f"{folder}/tiny.keras")).output_shape
        (None, 2)
    """
    path = Path(path)
    try:
        model = _load(path, trust)
    except Exception as error:  # Keras raises a dozen types for a file that it cannot read
        raise ModelError(f"{path}: {_explain(error)}") from error
    try:
        return from_keras3(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def write(model: Any, path: str | Path) -> Path:
    """Write a model as a ``.keras`` file of Keras 3, whole or not at all; Keras 3 alone loads it.

    Args:
        model: a tf_keras model without masks, or one of Keras 3.
        path: ends in ``.keras``; missing parents are made, and a file already there is replaced.

    Returns:
        The path.

    Raises:
        ModelError: another ending, or a model that Keras 3 does not take.
        StorageError: the disk refuses.
        DependencyError: Keras 3 is not installed.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{path}: Keras 3 writes .keras files; give a path that ends so")
    made = model if is_keras3(model) else to_keras3(model)
    try:
        with replacing(path) as written, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.save(written)
            with written.open("rb") as file:
                os.fsync(file.fileno())
    except StorageError:
        raise
    except Exception as error:  # whatever get_config of any layer raises
        raise ModelError(f"{path}: Keras 3 cannot write this model: {one_line(error)}") from error
    return path


def opened(path: Path) -> Callable[[Any], Any]:
    """A file in Keras 3 itself: a function from a batch of inputs to answers, arrays in the structure of its outputs.

    Args:
        path: written in this process, as its Lambda layers run.
    """
    keras3 = library()
    model = keras3.saving.load_model(path, custom_objects=application_layers(), compile=False, safe_mode=False)
    return lambda x: keras3.tree.map_structure(np.asarray, model(x, training=False))


def _load(path: Path, trust: bool) -> Any:
    saving = library().saving
    with warnings.catch_warnings(), saving.custom_object_scope(application_layers()):
        warnings.simplefilter("ignore")
        try:
            return saving.load_model(path, safe_mode=not trust)
        except Exception:  # an unknown loss or optimizer; the second try tells whether the model itself reads
            return saving.load_model(path, compile=False, safe_mode=not trust)


def _explain(error: Exception) -> str:
    text = str(error)
    if "safe_mode" in text or "unsafe" in text.lower():
        return "holds a Lambda layer or other code, which is run only from a file that you trust: pass trust=True"
    if "Could not locate class '" in text:
        name = text.partition("Could not locate class '")[2].partition("'")[0]
        return (
            f"needs the custom class {name!r}; register it with keras.saving.register_keras_serializable and import it "
            "first, or replace it by layers that both Kerases have"
        )
    return f"damaged or not a model of Keras 3: {one_line(error)}"

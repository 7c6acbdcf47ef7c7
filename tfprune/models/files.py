"""Reading models from disk and writing them there: those of tf_keras in three formats, those of Keras 3 in one."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import h5py

from tfprune.backend import keras, tf
from tfprune.errors import ModelError, StorageError, nearest
from tfprune.importing import one_line
from tfprune.keras3.library import is_keras3
from tfprune.models.reading import HDF5, POSSIBLE, read
from tfprune.models.trust import is_trusted, unknown_part
from tfprune.storage import replacing

FORMATS = ("keras", "keras3", "h5", "savedmodel")


def load(path: str | Path, *, trust: bool = False) -> keras.Model:
    """Read a whole model; it comes back uncompiled where its training state does not read.

    The file may be anyone's: it is checked before Keras builds what it describes. `tfprune.models.trust` tells what a
    file may name.

    Args:
        path: a ``.keras`` or ``.h5`` file, or the folder of a SavedModel; what Keras 3 wrote is bridged.
        trust: let it run code: Lambda layers, custom layers that are not registered but can be imported, and graphs
            that read or write files. `tfprune.models.trust.trusting` says it for all files.

    Raises:
        ModelError: missing, damaged or of another kind; or it needs a custom layer, or to be trusted.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load(save(model, f"{folder}/tiny.keras")).output_shape
        (None, 2)
    """
    path = Path(path)
    model = read(path, trust=trust or is_trusted())
    if not isinstance(model, keras.Model):
        raise ModelError(f"{path}: a SavedModel without Keras layers; save it with tf_keras as {POSSIBLE}")
    revived = [layer for layer in model._flatten_layers() if _is_revived(layer)]
    if revived:
        # TensorFlow makes such layers up from their traced functions; they cannot be cloned, so not be pruned.
        raise ModelError(f"{path}: {unknown_part(type(revived[0]).__name__)}")
    return model


def check_writable(path: str | Path, format: str | None = None) -> None:
    """Refuse a path that `save` could not write to, before the work that leads there.

    Raises:
        ModelError: an ending that is none of a model's, an unknown format, or one that does not go with the ending.
        StorageError: a file or a folder of other things is in the way.
    """
    path = Path(path)
    if path.suffix and path.suffix not in (".keras", *HDF5):
        raise ModelError(f"{path}: cannot write {path.suffix!r}; possible are {POSSIBLE}")
    if format is not None and format not in FORMATS:
        raise ModelError(f"unknown format {format!r}; known are {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    endings = {"keras": (".keras",), "keras3": (".keras",), "h5": HDF5, "savedmodel": ("",)}
    if format is not None and path.suffix not in endings[format]:
        expected = " or ".join(endings[format]) if format != "savedmodel" else "no ending"
        raise ModelError(f"{path}: the format {format} has another ending; expected {expected}")
    is_saved_model = path.is_dir() and (path / "saved_model.pb").is_file()
    is_empty = path.is_dir() and not any(path.iterdir())
    if path.is_dir() and (path.suffix or not (is_saved_model or is_empty)):
        raise StorageError(f"{path}: a folder is in the way; give another path or remove it")
    if path.is_file() and not path.suffix:
        raise StorageError(f"{path}: a file is in the way of a SavedModel folder; give another path or remove it")


def save(model: Any, path: str | Path, *, format: str | None = None) -> Path:
    """Write a model whole or not at all; a file or a SavedModel already there is replaced.

    Args:
        model: a built model of tf_keras, or of Keras 3.
        path: ends in ``.keras`` or ``.h5``, or in nothing for a SavedModel folder. Missing parents are made.
        format: ``keras``, ``h5`` or ``savedmodel`` of tf_keras, or ``keras3``, a ``.keras`` file that Keras 3 reads
            without tfprune; by default what the ending says, and ``keras3`` for a model of Keras 3.

    Returns:
        The path.

    Raises:
        ModelError: another ending or format, or a model that cannot be written in it.
        StorageError: the disk is full or read-only, or a folder of other things is in the way.

    Example:
        >>> import tempfile, tfprune
        >>> model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tfprune.load(tfprune.save(model, f"{folder}/model.keras")).output_shape
        (None, 3)
    """
    path = Path(path)
    if is_keras3(model):
        if format not in (None, "keras3"):
            raise ModelError(f"a model of Keras 3 is written as keras3, but got the format {format!r}")
        format = "keras3"
    check_writable(path, format)
    try:
        with replacing(path) as written:
            if format == "keras3":
                from tfprune.keras3.files import write as write_keras3

                write_keras3(model, written)
            else:
                _write(model, written)
    except (ModelError, StorageError):
        raise
    except Exception as error:  # the disk's in the words of HDF5 or TensorFlow, or get_config's of any layer
        if isinstance(error, tf.errors.OpError) or "errno = " in str(error):
            raise StorageError(
                f"cannot write {path}: {_reason(error)}; free some space or choose another place"
            ) from error
        raise ModelError(f"{path}: Keras cannot write this model in this format: {one_line(error)}") from error
    return path


# ---------------------------------------------------------------------------------------------- writing


def _write(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix in HDF5:
            # By way of memory: where the disk is full, HDF5 leaves objects behind that crash the process later.
            with h5py.File(path, "w", driver="core", backing_store=False) as file:
                model.save(file, save_format="h5")
                file.flush()
                path.write_bytes(file.id.get_file_image())
        else:
            model.save(path, save_format="keras" if path.suffix else "tf")
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _reason(error: tf.errors.OpError) -> str:
    """The operating system's words, which TensorFlow hides in a long message of its own."""
    return " ".join(str(error).partition("[Op:")[0].split()).rpartition("; ")[2]


def _is_revived(layer: keras.layers.Layer) -> bool:
    return any(base.__name__ in ("RevivedLayer", "RevivedNetwork") for base in type(layer).__mro__)

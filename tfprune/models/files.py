"""Reading models from disk and writing them there: .keras, .h5 and SavedModel folders of tf_keras."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py

from tfprune.backend import keras, tf
from tfprune.errors import ModelError, StorageError
from tfprune.importing import one_line
from tfprune.storage import replacing

POSSIBLE = ".keras, .h5 or a SavedModel folder (no ending)"
_HDF5 = (".h5", ".hdf5")


def load(path: str | Path) -> keras.Model:
    """Read a whole tf_keras model; it comes back uncompiled where its training state does not read.

    Args:
        path: a ``.keras`` or ``.h5`` file, or the folder of a SavedModel.

    Raises:
        ModelError: missing, damaged or of another kind; written by Keras 3; or it needs a custom layer.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load(save(model, f"{folder}/tiny.keras")).output_shape
        (None, 2)
    """
    path = Path(path)
    _check_readable(path)
    try:
        model = _load(path)
    except Exception as error:  # Keras raises a dozen types for a file it cannot read
        raise ModelError(f"{path}: {_explain(path, error)}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{path}: a SavedModel without Keras layers; save it with tf_keras as {POSSIBLE}")
    revived = [layer for layer in model._flatten_layers() if _is_revived(layer)]
    if revived:
        # TensorFlow makes such layers up from their traced functions; they cannot be cloned, so not be pruned.
        raise ModelError(f"{path}: {_unknown_layer(type(revived[0]).__name__)}")
    return model


def check_writable(path: str | Path) -> None:
    """Refuse a path that `save` could not write to, before the work that leads there.

    Raises:
        ModelError: an ending that is none of a model's.
        StorageError: a file or a folder of other things is in the way.
    """
    path = Path(path)
    if path.suffix and path.suffix not in (".keras", *_HDF5):
        raise ModelError(f"{path}: cannot write {path.suffix!r}; possible are {POSSIBLE}")
    is_saved_model = path.is_dir() and (path / "saved_model.pb").is_file()
    is_empty = path.is_dir() and not any(path.iterdir())
    if path.is_dir() and (path.suffix or not (is_saved_model or is_empty)):
        raise StorageError(f"{path}: a folder is in the way; give another path or remove it")
    if path.is_file() and not path.suffix:
        raise StorageError(f"{path}: a file is in the way of a SavedModel folder; give another path or remove it")


def save(model: keras.Model, path: str | Path) -> Path:
    """Write a model whole or not at all; a file or a SavedModel already there is replaced.

    Args:
        model: a built tf_keras model.
        path: ends in ``.keras`` or ``.h5``, or in nothing for a SavedModel folder. Missing parents are made.

    Returns:
        The path.

    Raises:
        ModelError: another ending, or a model that Keras cannot write in that format.
        StorageError: the disk is full or read-only, or a folder of other things is in the way.

    Example:
        >>> import tempfile, tfprune
        >>> model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tfprune.load(tfprune.save(model, f"{folder}/model.keras")).output_shape
        (None, 3)
    """
    path = Path(path)
    check_writable(path)
    try:
        with replacing(path) as written:
            _write(model, written)
    except StorageError:
        raise
    except Exception as error:  # the disk's in the words of HDF5 or TensorFlow, or get_config's of any layer
        if isinstance(error, tf.errors.OpError) or "errno = " in str(error):
            raise StorageError(
                f"cannot write {path}: {_reason(error)}; free some space or choose another place"
            ) from error
        raise ModelError(f"{path}: Keras cannot write this model in this format: {one_line(error)}") from error
    return path


# ---------------------------------------------------------------------------------------------- reading


def _load(path: Path) -> keras.Model:
    # Layers of keras.applications that Keras itself forgot to register.
    known = {
        "CustomScaleLayer": keras.src.applications.inception_resnet_v2.CustomScaleLayer,
        "LayerScale": keras.src.applications.convnext.LayerScale,
        "StochasticDepth": keras.src.applications.convnext.StochasticDepth,
    }
    with warnings.catch_warnings(), keras.utils.custom_object_scope(known):
        warnings.simplefilter("ignore")
        try:
            return keras.models.load_model(path)
        except Exception:  # an unknown loss or optimizer; the second try tells whether the model itself reads
            return keras.models.load_model(path, compile=False)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; expected {POSSIBLE}")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ModelError(f"{path}: a folder without saved_model.pb, so no SavedModel; expected {POSSIBLE}")
        return
    if path.suffix not in (".keras", *_HDF5):
        raise ModelError(f"{path}: cannot read {path.suffix or 'a file without ending'!r}; expected {POSSIBLE}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    is_hdf5 = start == b"\x89HDF\r\n\x1a\n"
    # Keras 2 wrote HDF5 into whatever ending was asked for, so .keras may hold it.
    if not is_hdf5 and not (path.suffix == ".keras" and zipfile.is_zipfile(path)):
        kind = "a zip archive with a model in it" if path.suffix == ".keras" else "an HDF5 file"
        raise ModelError(f"{path}: damaged or of another kind; a {path.suffix} file is {kind}")


def _explain(path: Path, error: Exception) -> str:
    """Why a file that looks right does not read, in one line."""
    text = str(error)
    if _written_by(path).startswith("3."):
        return "written by Keras 3, which tf_keras cannot read; build and save it with tf_keras (TF_USE_LEGACY_KERAS=1)"
    if "No model config found" in text:
        return "holds weights only; a whole model is needed (model.save, not save_weights)"
    if "Unknown layer: '" in text:
        return _unknown_layer(text.partition("Unknown layer: '")[2].partition("'")[0])
    if unknown := _unregistered(path):
        return _unknown_layer(unknown)
    if "lambda" in text.lower() and "safe" in text.lower():
        return "holds a Lambda layer, whose code is not run from a file; replace it by a registered layer"
    return f"damaged or not a model: {one_line(error)}"


def _written_by(path: Path) -> str:
    """The Keras version that wrote a file; empty where it does not say."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        if path.is_file():
            with h5py.File(path) as file:
                version = file.attrs["keras_version"]
                return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    return ""


def _unregistered(path: Path) -> str:
    """The first class in a .keras file that Keras does not know; its own errors do not always name it."""

    def search(config: Any) -> str:
        if isinstance(config, dict):
            name = config.get("registered_name")
            if name and config.get("class_name") != "function" and keras.utils.get_registered_object(name) is None:
                return str(config["class_name"])
            config = list(config.values())
        return next((found for part in config if (found := search(part))), "") if isinstance(config, list) else ""

    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""
    return search({**config, "compile_config": None})


def _unknown_layer(name: str) -> str:
    return (
        f"needs the custom layer {name!r}; register it with keras.utils.register_keras_serializable and import it first"
    )


def _is_revived(layer: keras.layers.Layer) -> bool:
    return any(base.__name__ in ("RevivedLayer", "RevivedNetwork") for base in type(layer).__mro__)


# ---------------------------------------------------------------------------------------------- writing


def _write(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix in _HDF5:
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

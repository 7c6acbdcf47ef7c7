"""A model file of others on its way in: what it is, whether it is whole, what it names, and only then Keras."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.models.bounds import weights_within
from tfprune.models.hdf5 import LARGEST_CONFIG, check_hdf5, read_apart
from tfprune.models.named import is_known_to_keras3
from tfprune.models.saved_model import check_saved_model, held_bytes
from tfprune.models.trust import objection, read_json, unknown_part, unregistered_part
from tfprune.storage.archives import checked_archive

POSSIBLE = ".keras, .h5 or a SavedModel folder (no ending)"
HDF5 = (".h5", ".hdf5")

_NO_ARCHIVE = "damaged or of another kind; a .keras file is a zip archive with a model in it"
_IS_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Looked:
    """What a look at a file tells.

    Attributes:
        held: bytes of weights in it.
        written_by: the Keras version that wrote it; empty where it does not say.
        compiles: whether its training state, too, may be built.
        config: of the model, where that stands by itself.
    """

    held: int
    written_by: str = ""
    compiles: bool = True
    config: dict[str, Any] | None = None


def read(path: Path, *, trust: bool) -> keras.Model:
    """Look at a model file, and read it where nothing speaks against it.

    Raises:
        ModelError: one line that says what is wrong.
    """
    _check_readable(path)
    with warnings.catch_warnings(), keras.utils.custom_object_scope(_forgotten()):
        warnings.simplefilter("ignore")
        looked = _look(path, trust)
        with weights_within(looked.held, path):
            if _major(looked.written_by) == 3:
                from tfprune.keras3.files import read as read_keras3

                return read_keras3(path, trust=trust)
            try:
                with _own_folder(), keras.src.saving.serialization_lib.SafeModeScope(not trust):
                    return _read(path, looked.compiles, not trust)
            except ModelError:
                raise
            except Exception as error:  # Keras raises a dozen types for a file it cannot read
                raise ModelError(f"{path}: {_explain(error, looked)}") from error


def _read(path: Path, compiles: bool, safe: bool) -> keras.Model:
    if compiles:
        try:
            return keras.models.load_model(path, safe_mode=safe)
        except Exception:  # an unknown loss or optimizer; the second try tells whether the model itself reads
            pass
    return keras.models.load_model(path, compile=False, safe_mode=safe)


def _forgotten() -> dict[str, Any]:
    """Layers of keras.applications that Keras itself forgot to register."""
    applications = keras.src.applications
    return {
        "CustomScaleLayer": applications.inception_resnet_v2.CustomScaleLayer,
        "LayerScale": applications.convnext.LayerScale,
        "StochasticDepth": applications.convnext.StochasticDepth,
    }


@contextmanager
def _own_folder() -> Iterator[None]:
    """Keras unpacks assets to a temporary folder that it leaves behind when something goes wrong."""
    library = keras.src.saving.saving_lib
    usual = library.get_temp_dir
    with tempfile.TemporaryDirectory() as folder:
        library.get_temp_dir = lambda: tempfile.mkdtemp(dir=folder)
        try:
            yield
        finally:
            library.get_temp_dir = usual


# ---------------------------------------------------------------------------------------------- looking


def _check_readable(path: Path) -> None:
    try:
        if not path.exists():
            raise ModelError(f"{path}: no such file or folder; expected {POSSIBLE}")
        if path.is_dir():
            if not (path / "saved_model.pb").is_file():
                raise ModelError(f"{path}: a folder without saved_model.pb, so no SavedModel; expected {POSSIBLE}")
            return
        if path.suffix not in (".keras", *HDF5):
            raise ModelError(f"{path}: cannot read {path.suffix or 'a file without ending'!r}; expected {POSSIBLE}")
        if not path.is_file():
            raise ModelError(f"{path}: no regular file; expected {POSSIBLE}")
        if not _is_hdf5(path) and path.suffix != ".keras":
            raise ModelError(f"{path}: damaged or of another kind; a {path.suffix} file is an HDF5 file")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_IS_HDF5)) == _IS_HDF5


def _look(path: Path, trust: bool) -> Looked:
    if path.is_dir():
        return Looked(held_bytes(path), compiles=check_saved_model(path, trust=trust))
    # Keras 2 wrote HDF5 into whatever ending was asked for, so .keras may hold it.
    return _look_at_hdf5(path, trust) if _is_hdf5(path) else _look_at_archive(path, trust)


def _look_at_hdf5(path: Path, trust: bool) -> Looked:
    texts = read_apart(path)
    written_by = texts["keras_version"]
    if not texts["model_config"]:
        raise ModelError(f"{path}: holds weights only; a whole model is needed (model.save, not save_weights)")
    _check_version(written_by, path)
    config, training = _mapping(texts["model_config"], path), texts["training_config"]
    compiles = trust or not training or not objection(read_json(training)[0])
    _object(config, path, trust, keras3=_major(written_by) == 3)
    return Looked(path.stat().st_size, written_by, compiles, config)


def _look_at_archive(path: Path, trust: bool) -> Looked:
    with checked_archive(path, ModelError, _NO_ARCHIVE) as archive:
        members = {member.filename: member for member in archive.infolist()}
        about = _content(archive, "metadata.json", path)
        written_by = str((read_json(about)[0] or {}).get("keras_version", ""))
        if "config.json" not in members:
            weights = any(name.endswith(".h5") for name in members)
            what = "weights only; a whole model is needed (model.save, not save_weights)" if weights else "no model"
            raise ModelError(f"{path}: holds {what}")
        if any(name.endswith((".npz", ".pkl", ".pickle")) for name in members):
            raise ModelError(f"{path}: holds pickled content, which is never read; save the model anew")
        _check_version(written_by, path)
        config = _mapping(_content(archive, "config.json", path), path)
        for name, member in members.items():
            if name.endswith(".h5"):
                with archive.open(member) as file:
                    if problem := check_hdf5(file, member.file_size):
                        raise ModelError(f"{path}: {name}: {problem}")
    _object({**config, "compile_config": None}, path, trust, keras3=_major(written_by) == 3)
    held = sum(member.file_size for member in members.values())
    return Looked(held, written_by, trust or not objection(config.get("compile_config")), config)


def _content(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """A text of an archive; empty where there is none."""
    if name not in archive.namelist():
        return b""
    if (size := archive.getinfo(name).file_size) > LARGEST_CONFIG:
        raise ModelError(f"{path}: {name} is {size} bytes long, of which {LARGEST_CONFIG} are plausible")
    return archive.read(name)


def _mapping(text: str | bytes, path: Path) -> dict[str, Any]:
    config, problem = read_json(text)
    if config is None:
        raise ModelError(f"{path}: {problem}")
    return config


def _object(config: dict[str, Any], path: Path, trust: bool, *, keras3: bool = False) -> None:
    how = (is_known_to_keras3, _not_of_keras3) if keras3 else ()
    if not trust and (problem := objection(config, *how)):
        raise ModelError(f"{path}: {problem}")


def _not_of_keras3(name: str) -> str:
    return f"needs {name!r}, which is no part of Keras 3; only what both Kerases have is read"


def _check_version(version: str, path: Path) -> None:
    if _major(version) > 3:
        raise ModelError(f"{path}: written by Keras {version}; tfprune reads those of Keras 3 and tf_keras")


def _major(version: str) -> int:
    start = version.partition(".")[0]
    return int(start) if start.isdecimal() and len(start) < 4 else 0


# ------------------------------------------------------------------------------------------- explaining


def _explain(error: Exception, looked: Looked) -> str:
    """Why a file that looks right does not read, in one line."""
    text = str(error)
    if "Unknown layer: '" in text:
        return unknown_part(text.partition("Unknown layer: '")[2].partition("'")[0])
    if unknown := unregistered_part({**(looked.config or {}), "compile_config": None}):
        return unknown_part(unknown)
    return f"damaged or not a model: {one_line(error)}"

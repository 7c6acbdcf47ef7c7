"""A folder of pictures, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.backend import tf
from tfprune.data.digests import digest_files
from tfprune.data.labels import ordered_names
from tfprune.data.metadata import Brought
from tfprune.data.pictures import decode, problem, width_and_height
from tfprune.data.splits import scaled
from tfprune.data.streams import Stream, data_from_streams
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import ImagesData

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
SIZES = ("width", "height")


def load_images(section: ImagesData, seed: int) -> Data:
    """Return pictures resized to `size` (height, width); classes are the names of the folders, sorted.

    Every file is looked at once, for its digest and its header; pixels are decoded when asked for.

    Raises:
        DataError: a folder is missing or has no picture, or a picture is corrupt; names it.
    """
    names = ordered_names([folder.name for folder in class_folders(section.path)], section.classes)
    roots = {"train": section.path} | ({"test": section.test_path} if section.test_path else {})
    files = {part: _files(root, names) for part, root in roots.items()}
    parts = {part: _stream(found, roots[part], section) for part, found in files.items()}
    digests = [digest_files([file for file, _ in files[part]], relative_to=root) for part, root in roots.items()]
    return data_from_streams(parts, section, seed, names, digest="".join(digests))


def class_folders(root: Path) -> list[Path]:
    """Return the class folders in a folder, sorted by name; hidden ones do not count.

    Raises:
        DataError: no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{root}: has no folders; expected one folder of pictures a class")
    return folders


def _files(root: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """Every picture below a folder with its class index, in the order of their paths."""
    found = []
    for folder in class_folders(root):
        if folder.name not in names:
            raise DataError(f"{folder}: not one of the {len(names)} classes{nearest(folder.name, names)}")
        pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        if not pictures:
            raise DataError(f"{folder}: no picture in it; expected files that end in {', '.join(ENDINGS)}")
        found += [(path, names.index(folder.name)) for path in pictures]
    for path, _ in found:
        try:
            complaint = problem(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if complaint:
            raise DataError(f"{path}: {complaint}")
    return found


def _stream(files: list[tuple[Path, int]], root: Path, section: ImagesData) -> Stream:
    paths = np.array([str(path) for path, _ in files])

    def records(rng: np.random.Generator | None) -> tf.data.Dataset:
        order = np.arange(len(paths)) if rng is None else rng.permutation(len(paths))
        return tf.data.Dataset.from_tensor_slices((order.astype(np.int64), paths[order]))

    def to_input(path: tf.Tensor) -> tf.Tensor:
        picture = decode(tf.io.read_file(path), section.channels)
        picture.set_shape((None, None, section.channels))
        return scaled(tf.image.resize(picture, section.size, antialias=True), section.divide_by)

    labels = np.array([label for _, label in files], np.int64)
    return Stream(labels, records, to_input, brought=_columns([path for path, _ in files], root, section))


def _columns(paths: list[Path], root: Path, section: ImagesData) -> Brought:
    """The sizes of the pictures where they are asked for, and their paths below the root."""
    columns = {}
    if set(SIZES) & set(section.metadata):
        sizes = np.array([width_and_height(path) for path in paths], np.float64)
        columns = {name: sizes[:, i] for i, name in enumerate(SIZES) if name in section.metadata}
    return Brought(columns, SIZES, [path.relative_to(root).as_posix() for path in paths])

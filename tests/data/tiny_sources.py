"""Tiny real sources, one of each kind: 60 examples of three classes, each example telling its own class."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tfprune.backend import tf
from tfprune.data.splits import Data
from tfprune.recipe import (
    CsvData,
    DataSection,
    DigitsData,
    FunctionData,
    ImagesData,
    NpzData,
    TFRecordData,
)

COUNT, CLASSES = 60, 3


@dataclass(frozen=True)
class Source:
    """A source on disk, and how to tell the class of one of its inputs."""

    section: DataSection
    label_of: Callable[[np.ndarray, Data], int]
    count: int = COUNT


def number_of(x: np.ndarray, _: Data) -> int:
    return round(float(x.flat[0])) % CLASSES


def numbers(changed: bool) -> np.ndarray:
    """Example i holds i everywhere; a changed source has 60 in place of 0, which is of the same class."""
    values = np.arange(COUNT)
    values[0] = COUNT if changed else 0
    return values


def write_npz(folder: Path, changed: bool = False) -> Source:
    x = np.repeat(numbers(changed)[:, None].astype(np.float32), 4, axis=1)
    np.savez(folder / "data.npz", x=x, y=np.arange(COUNT) % CLASSES)
    return Source(NpzData(source="npz", path=folder / "data.npz"), number_of)


def write_images(folder: Path, changed: bool = False) -> Source:
    for value in numbers(changed):
        target = folder / "pictures" / "abc"[value % CLASSES]
        target.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (int(value),) * 3).save(target / f"{value % COUNT:02d}.png")
    return Source(ImagesData(source="images", path=folder / "pictures", size=(4, 4)), number_of)


def write_records(path: Path, images: list[bytes], labels: list[int]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(images, labels, strict=True):
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def write_tfrecord(folder: Path, changed: bool = False, encoding: str = "image") -> Source:
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in numbers(changed)]
    content = [p.tobytes() if encoding == "raw" else tf.io.encode_png(p).numpy() for p in pictures]
    labels = [int(value) % CLASSES for value in numbers(changed)]
    for part, span in enumerate((slice(0, 25), slice(25, COUNT))):
        write_records(folder / f"part-{part}.tfrecord", content[span], labels[span])
    section = TFRecordData(
        source="tfrecord", path=str(folder / "part-*"), encoding=encoding, shape=(4, 4, 3), shuffle_buffer=16
    )
    return Source(section, number_of)


def write_raw(folder: Path, changed: bool = False) -> Source:
    return write_tfrecord(folder, changed, "raw")


def write_rows(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def write_csv(folder: Path, changed: bool = False) -> Source:
    rows = [[value, value / 2, "abc"[value % CLASSES]] for value in numbers(changed)]
    path = write_rows(folder / "numbers.csv", ["first", "second", "kind"], rows)
    return Source(CsvData(source="csv", path=path, label="kind"), number_of)


def write_text(folder: Path, changed: bool = False) -> Source:
    def bits(value: int) -> str:  # words that training texts hold too, whatever the split
        return " ".join(f"bit{place}is{value >> place & 1}" for place in range(6))

    rows = [[f"about kind{value % CLASSES}", value % CLASSES, bits(int(value))] for value in numbers(changed)]
    path = write_rows(folder / "texts.csv", ["title", "kind", "text"], rows)

    def label_of(x: np.ndarray, data: Data) -> int:
        return int(data.vocabulary[x[1]].removeprefix("kind"))

    section = CsvData(source="csv", path=path, label="kind", text=("title", "text"), length=10, vocabulary=100)
    return Source(section, label_of)


FUNCTION = """
import numpy as np
from tfprune.backend import tf

def pair():
    values = np.array({values})
    return np.repeat(values[:, None].astype(np.float32), 4, axis=1), values % 3

def dataset():
    return {{"train": tf.data.Dataset.from_tensor_slices(pair())}}
"""


def write_module(folder: Path, content: str) -> str:
    """Write a module under a name of its own, for a module is imported only once."""
    name = f"made_{len(sys.modules)}_{abs(hash(folder))}_{len(list(folder.iterdir()))}"
    (folder / f"{name}.py").write_text(content)
    return name


def write_function(folder: Path, changed: bool = False, function: str = "pair") -> Source:
    name = write_module(folder, FUNCTION.format(values=json.dumps(numbers(changed).tolist())))
    section = FunctionData(source="function", function=f"{name}:{function}", shuffle_buffer=16)
    return Source(section, number_of)


def write_dataset(folder: Path, changed: bool = False) -> Source:
    return write_function(folder, changed, "dataset")


def use_digits(folder: Path, changed: bool = False) -> Source:
    from sklearn import datasets

    digits = datasets.load_digits()
    labels = {
        (image / 16).astype(np.float32).tobytes(): y for image, y in zip(digits.images, digits.target, strict=True)
    }
    return Source(DigitsData(source="digits"), lambda x, _: labels[x.tobytes()], count=len(digits.target))


WRITERS = {
    "csv": write_csv,
    "dataset": write_dataset,
    "digits": use_digits,
    "function": write_function,
    "images": write_images,
    "npz": write_npz,
    "raw": write_raw,
    "text": write_text,
    "tfrecord": write_tfrecord,
}

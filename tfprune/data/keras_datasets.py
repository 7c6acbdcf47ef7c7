"""The classification data sets of keras.datasets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.backend import keras
from tfprune.data.arrays import data_from_arrays
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import KerasData

IMAGES = ("cifar10", "cifar100", "fashion_mnist", "mnist")
TEXTS = ("imdb", "reuters")
WORDS, LENGTH = 10_000, 256
_TIMEOUT = 30.0


def load_keras(section: KerasData, seed: int) -> Data:
    """Return a data set of keras.datasets; its own test part is the test split.

    Images have shape (height, width, channels); texts are the first 256 of their token ids, of 10,000 words.

    Raises:
        DataError: an unknown name, or the data set is not on this machine and cannot be fetched.
    """
    known = (*IMAGES, *TEXTS)
    if section.name not in known:
        raise DataError(
            f"data.name: got {section.name!r}, expected one of {', '.join(sorted(known))}{nearest(section.name, known)}"
        )
    options = {"num_words": WORDS} if section.name in TEXTS else {}
    try:
        with network_timeout(_TIMEOUT):
            train, test = getattr(keras.datasets, section.name).load_data(**options)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise DataError(
            f"keras data set {section.name!r} is not on this machine, and its first use needs a network: "
            f"connect once, or copy its file to ~/.keras/datasets ({' '.join(str(error).split())})"
        ) from error
    return data_from_arrays({"train": tidy(*train), "test": tidy(*test)}, section, seed)


def tidy(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images with a channel axis, and lists of token ids cut or padded to one length."""
    if x.dtype == object:
        x = keras.preprocessing.sequence.pad_sequences(x, LENGTH, padding="post", truncating="post")
    elif x.ndim == 3:
        x = x[..., np.newaxis]
    return x, y


@contextmanager
def network_timeout(seconds: float) -> Iterator[None]:
    """Let sockets that are opened meanwhile give up after some seconds of silence, where they know no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

"""What a model's last layer sees of each example, as a few principal components."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from tfprune.backend import keras, tf

COMPONENTS = 8
_FITTED_ON = 2_048


def with_embedding(model: keras.Model) -> keras.Model | None:
    """The model with what its last layer with weights takes as a further output; None where it has no such graph."""
    if not getattr(model, "_is_graph_network", False):
        return None
    known, wide = vars(model).get("_tfprune_wide", (None, None))
    if wide is not None and known is model.outputs[0]:
        return wide
    for layer in reversed(model.layers):
        is_last = layer.weights and not isinstance(layer, keras.Model) and len(layer.inbound_nodes) == 1
        if is_last and not tf.nest.is_nested(layer.input):
            wide = keras.Model(model.input, [model.output, layer.input])
            # Kept, so that it is traced once; Keras would track it as a part of the model.
            object.__setattr__(model, "_tfprune_wide", (model.outputs[0], wide))
            return wide
    return None


def pooled(rows: np.ndarray) -> np.ndarray:
    """float32 (n, features) of (n, ..., features): means over the axes between."""
    flat = np.asarray(rows, np.float32)
    return flat.mean(axis=tuple(range(1, flat.ndim - 1)))


class Components:
    """Principal components of rows that come batch by batch, fitted on the first of them."""

    def __init__(self) -> None:
        self._waiting: list[np.ndarray] = []
        self._count = 0
        self._pca: PCA | None = None
        self._parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Take rows of shape (n, features), see `pooled`."""
        flat = pooled(rows)
        if self._pca is not None:
            self._parts.append(self._pca.transform(flat).astype(np.float32))
            return
        self._waiting.append(flat)
        self._count += len(flat)
        if self._count >= _FITTED_ON:
            self._fit()

    def all(self) -> np.ndarray:
        """float32 (n, up to 8), of all rows."""
        if self._pca is None:
            self._fit()
        return np.concatenate(self._parts)

    def _fit(self) -> None:
        rows = np.concatenate(self._waiting)
        with np.errstate(invalid="ignore", divide="ignore"):  # shares of no variance, which nobody asks for
            self._pca = PCA(min(COMPONENTS, *rows.shape), svd_solver="randomized", random_state=0).fit(rows)
        self._parts = [self._pca.transform(rows).astype(np.float32)]
        self._waiting = []

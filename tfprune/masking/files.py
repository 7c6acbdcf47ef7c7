"""Model files whose layers may carry masks."""

from __future__ import annotations

from pathlib import Path

from tfprune.backend import keras
from tfprune.masking.fit import keep_masks_in_fit
from tfprune.masking.masked import masked_layers
from tfprune.models import files


def load(path: str | Path, *, trust: bool = False) -> keras.Model:
    """Read a Keras model; one that `wrap` made goes on where its masks and its schedule stopped.

    A file may be anyone's. It may name parts of Keras, operations of TensorFlow that compute tensors, and what this
    process has registered (``keras.utils.register_keras_serializable``); nothing is imported because a file names it.

    Args:
        path: a ``.keras`` or ``.h5`` file, or a SavedModel folder, of tf_keras; or a file of Keras 3, which becomes
            a tf_keras model.
        trust: run the code in it: Lambda layers, custom parts that are not registered, graphs that reach for files.

    Returns:
        The model, compiled if it was saved so and its parts are known.

    Raises:
        ModelError: no such file, damaged, not a model that can be read, or one that needs `trust`; says why.

    Example:
        >>> import tempfile, tfprune
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=50))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = tfprune.load(tfprune.save(pruned, f"{folder}/pruned.keras"))
        >>> [layer.name for layer in again.layers]
        ['masked_scores']
    """
    model = files.load(path, trust=trust)
    return keep_masks_in_fit(model) if masked_layers(model) else model

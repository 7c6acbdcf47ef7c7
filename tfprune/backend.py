"""The one place where TensorFlow and its Keras are chosen and loaded.

TF-MOT works on tf_keras objects only, so tfprune does too; every other module writes
``from tfprune.backend import keras, tf``.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code prints before its log level can be set (about GPUs that are not there)."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


with warnings.catch_warnings(), quiet_stderr():
    warnings.simplefilter("ignore")
    import tensorflow as tf
    import tf_keras as keras
    from tf_keras.src.layers.core.tf_op_layer import SlicingOpLambda, TFOpLambda

    tf.config.list_physical_devices()

tf.get_logger().setLevel("ERROR")
# Dropout and its kin keep their random state in a variable that `reset_layer_randomness` can set;
# the older kind hides it in op kernels, where no checkpoint reaches it.
keras.backend.experimental.enable_tf_random_generator()

operation_layers = (TFOpLambda, SlicingOpLambda)
"""What Keras puts into a graph for an operation on its tensors, such as ``x + y`` or ``tf.reshape``."""

__all__ = ["keras", "make_deterministic", "operation_layers", "reset_layer_randomness", "tf"]


def make_deterministic(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow and ask TensorFlow for repeatable kernels.

    Args:
        seed: any int; the same seed gives bit-equal weights on the same machine.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def reset_layer_randomness(model: keras.Model, seed: int) -> None:
    """Give every random layer (dropout, noise) of a model a state that follows from `seed` alone.

    Called at the start of each epoch, so an epoch repeated after a restart draws the same numbers.
    """
    for index, layer in enumerate(model._flatten_layers()):
        holder = getattr(layer, "_random_generator", None)
        generator = getattr(holder, "_generator", None)
        if generator is not None:
            generator.reset_from_seed((seed * 1_000_003 + index) % (2**63))

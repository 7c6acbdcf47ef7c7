"""How long a model takes in TensorFlow, as a traced `tf.function`.

TensorFlow's threads are fixed once it has started, so the function runs in a process of its own: run as a program by
`tensorflow_latency`, this module is that process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import numpy as np

from tfprune.backend import keras, quiet_stderr, tf
from tfprune.cost.timing import in_turns, latency_of
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.litert.child import tell, told_by_child
from tfprune.litert.convert import answers_by_name
from tfprune.results import Latency


def tensorflow_latency(
    model: keras.Model, *, threads: int = 1, batch: int = 1, repeats: int = 1000, seconds: float = 2.0
) -> Latency:
    """Measure a model as a traced function in its own precision, one operation after the other.

    Takes about 4 s more than the runs: saving the function, and TensorFlow's start.

    Args:
        model: as in `latency`.
        threads: of each operation.
        batch: examples a run.
        repeats: runs that count, at most.
        seconds: time for all runs, at most; three runs are made in any case.

    Raises:
        ModelError: the model cannot be traced, or its function cannot run elsewhere.
    """
    holder = tf.Module()
    holder.weights = list(model.variables)
    function = tf.function(answers_by_name(model), autograph=False)
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        try:
            holder.answer = function.get_concrete_function(
                *(tf.TensorSpec((batch, *each.shape[1:]), each.dtype) for each in model.inputs)
            )
            tf.saved_model.save(holder, folder)
        except Exception as error:  # whatever a layer raises when it is traced
            raise ModelError(f"model {model.name!r} cannot be traced: {one_line(error)}") from error
        told = told_by_child("tfprune.cost.traced", folder, str(threads), str(repeats), str(seconds))
    if "failure" in told or not told:
        reason = told.get("failure", "the process died")
        raise ModelError(f"model {model.name!r} cannot run in a TensorFlow of its own: {reason}")
    return latency_of(
        told["milliseconds"],
        told["settled"],
        threads=told["threads"],
        batch=batch,
        runtime="tensorflow",
        delegate="none",
    )


# --------------------------------------------------------------------------------------- in the process itself


class _Function:
    """A traced function with inputs that are set once."""

    def __init__(self, folder: str) -> None:
        self._loaded = tf.saved_model.load(folder)  # its function lives as long as this
        self._inputs = [_example(each) for each in self._loaded.answer.structured_input_signature[0]]

    def seconds(self) -> float:
        start = time.perf_counter()
        self._loaded.answer(*self._inputs)
        return time.perf_counter() - start


def _example(spec: Any) -> tf.Tensor:
    rng = np.random.default_rng(0)
    return tf.cast(rng.random(spec.shape) if spec.dtype.is_floating else np.zeros(spec.shape), spec.dtype)


def _main(folder: str, threads: int, repeats: int, seconds: float) -> None:
    threading = tf.config.threading
    threading.set_intra_op_parallelism_threads(threads)
    threading.set_inter_op_parallelism_threads(1)
    try:
        runs = in_turns([_Function(folder)], 3, repeats, seconds)
    except Exception as error:  # of any operation
        tell(failure=one_line(error))
        return
    used = threading.get_intra_op_parallelism_threads()
    tell(milliseconds=runs.milliseconds[0], settled=runs.settled, threads=used)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))

"""Files with TensorFlow's own kernels in them: ai-edge-litert has none of these; some builds of TensorFlow have."""

from __future__ import annotations

import warnings

from tfprune.backend import quiet_stderr, tf
from tfprune.errors import ModelError
from tfprune.litert.look import operations
from tfprune.litert.session import Session


def needs_flex(content: bytes) -> bool:
    """Whether a file asks for kernels of TensorFlow."""
    return bool(_flex(content))


def session_of(content: bytes) -> Session:
    """A LiteRT file in ai-edge-litert; in TensorFlow's interpreter where it asks for kernels of TensorFlow.

    Raises:
        ModelError: it does not run; where nothing here has those kernels, it names them.
    """
    wanted = _flex(content)
    if not wanted:
        return Session(content)
    try:
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")  # of its move to another package
            interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the file asks for TensorFlow's kernels {', '.join(wanted)}, which neither ai-edge-litert nor TensorFlow "
            f"{tf.__version__} has here, so it cannot be checked; replace the layer that uses them"
        ) from error
    return Session(content, interpreter=interpreter)


def _flex(content: bytes) -> list[str]:
    return [name for name in operations(content) if name.startswith("Flex")]

"""What the description of a model may name: parts of Keras, operations that only compute, registered parts.

Keras itself imports any module that a description names, and calls what it finds there; it looks names up in the whole
of TensorFlow, where reading and writing files are operations as addition is.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from tfprune.backend import keras, tf

_serialization = keras.src.saving.serialization_lib
_exported = _serialization.tf_export

_PARTS = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.legacy.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.mixed_precision.Policy,
    tf.constant_initializer.__base__,  # of initializers of TensorFlow's own, which keras.applications have
    tf.TypeSpec,
)
_FUNCTIONS = tuple(
    f"tf_keras.src.{room}."
    for room in ("activations", "backend", "constraints", "initializers", "losses", "metrics", "regularizers")
)
_COMPUTING = frozenset(
    (
        *("", "math", "math.special", "nn", "nn.experimental", "linalg", "image", "signal", "spectral", "strings"),
        *("sparse", "ragged", "bitwise", "random", "random.experimental", "dtypes", "quantization", "sets", "manip"),
        *("__operators__", "debugging", "keras.activations", "keras.backend", "keras.losses", "keras.metrics"),
    )
)
"""Where TensorFlow keeps operations on tensors."""

_NOT_COMPUTING = frozenset(
    (
        *(
            "deserialize",
            "fixed_unigram_candidate_sampler",
            "get",
            "matching_files",
            "numpy_function",
            "print",
            "Print",
        ),
        *("py_func", "py_function", "read_file", "serialize", "write_file"),
    )
)
_OTHER_MACHINES = ("configure_and_", "copy_to_mesh", "d_tensor", "delete_rpc", "relayout", "rpc_", "shutdown_", "xla_")


def is_computing(symbol: Any) -> bool:
    """Whether a name of TensorFlow's is that of an operation that does no more than compute tensors from tensors.

    Example:
        >>> is_computing("math.add"), is_computing("io.write_file"), is_computing("compat.v1.py_func")
        (True, False, False)
    """
    if not isinstance(symbol, str):
        return False
    room, _, name = symbol.removeprefix("compat.v1.").rpartition(".")
    if room not in _COMPUTING or name in _NOT_COMPUTING or name.startswith(_OTHER_MACHINES):
        return False
    # What takes part in dispatch is an operation: no function of files, no class, no module.
    return hasattr(_exported.get_symbol_from_name(symbol), "_tf_fallback_dispatchers")


_OF_KERAS3 = re.compile(
    r"(keras(\.src)?(\.(activations|applications|constraints|dtype_policies|initializers|layers|losses|metrics|models|ops|optimizers"
    r"|random|regularizers|trainers)(\.\w+)*)?|builtins)"
)


def is_known_to_keras3(entry: dict[str, Any]) -> bool:
    """Whether what an entry names lies where Keras 3 keeps the parts of models; it finds them there itself."""
    module, name = entry.get("module"), entry.get("config" if entry["class_name"] == "function" else "class_name")
    return isinstance(module, str) and bool(_OF_KERAS3.fullmatch(module)) and name not in _NOT_COMPUTING


def is_known(entry: dict[str, Any]) -> bool:
    """Whether what an entry of a description names is registered in this process, or a part of Keras.

    Nothing is imported to find out.

    Args:
        entry: with ``class_name`` and ``module``, as Keras serializes objects.
    """
    module, kind, registered = entry.get("module"), entry["class_name"], entry.get("registered_name")
    name = {"function": entry.get("config"), "__typespec__": entry.get("spec_name")}.get(kind, kind)
    if not (isinstance(name, str) and isinstance(registered, str | None)):
        return False
    if keras.utils.get_registered_object(name if kind == "function" else registered or name) is not None:
        return True
    if not isinstance(module, str):
        return False
    place = f"tf_{module}" if module.startswith("keras") else module
    if place.partition(".")[0] not in ("tf_keras", "tensorflow", "builtins") or place not in sys.modules:
        return False
    wanted = "function" if kind == "function" else "class"
    try:
        found = _serialization._retrieve_class_or_fn(name, registered, module, wanted, entry)
    except TypeError:  # there is none
        return False
    if inspect.isclass(found):
        return issubclass(found, _PARTS)
    home = str(getattr(found, "__module__", ""))
    if f"{home}.".startswith(_FUNCTIONS):
        return name not in _NOT_COMPUTING
    return is_computing(_exported.get_canonical_name_for_symbol(found, add_prefix_to_v1_names=True))

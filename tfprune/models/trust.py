"""What the description of a model would make this process do, found out without doing it.

A model file says which layers to build. Some of them are code (a Lambda layer holds Python bytecode), and a name in
any place can be that of a function that has nothing to do with models. The rule: a file may name parts of Keras,
operations of TensorFlow that compute tensors, and what this process has registered before
(``keras.utils.register_keras_serializable``). Nothing is imported because a file names it, and no code in a file runs,
unless the user says that the file is trusted: ``--trust``, or ``trust=True``.

What a trusted model may still not do, and what an untrusted one cannot be kept from: it may be slow, and its layers
may want much memory once it is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfprune.backend import tf
from tfprune.models.hdf5 import LARGEST_CONFIG
from tfprune.models.named import is_computing, is_known

WHEN_TRUSTED = "give --trust (trust=True) if you trust the file"

_CODE = frozenset(("Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"))
_RUNS_OTHERS = frozenset(("TFSMLayer", "TensorFlowOpLayer"))
_OPERATIONS = frozenset(("TFOpLambda", "SlicingOpLambda"))
_ATTRIBUTES = frozenset(("ClassMethod", "InstanceMethod", "InstanceProperty"))
_FILES = ("vocabulary", "vocabulary_file")
_DEEPEST = 400

Known = Callable[[dict[str, Any]], bool]

_trusting = False


@contextmanager
def trusting() -> Iterator[None]:
    """Trust every model file that is read meanwhile, those that a recipe names included: what ``--trust`` does.

    Example:
        >>> with trusting():
        ...     is_trusted()
        True
        >>> is_trusted()
        False
    """
    global _trusting
    before, _trusting = _trusting, True
    try:
        yield
    finally:
        _trusting = before


def is_trusted() -> bool:
    """Whether model files are trusted just now."""
    return _trusting


def read_json(text: str | bytes) -> tuple[dict[str, Any] | None, str]:
    """A mapping from JSON of others, or what is wrong with it."""
    if len(text) > LARGEST_CONFIG:
        return None, f"its description is {len(text)} bytes long, of which {LARGEST_CONFIG} are plausible"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None, "damaged: its description is no JSON"
    if not isinstance(content, dict):
        return None, f"damaged: its description is a {type(content).__name__}, expected a mapping"
    return (content, "") if _is_shallow(content) else (None, f"its description is nested over {_DEEPEST} levels deep")


def objection(config: Any, known: Known | None = None, unknown: Callable[[str], str] | None = None) -> str:
    """Why a description is not built unless its file is trusted; empty where nothing speaks against it.

    Args:
        config: of a model, a layer or another part, as Keras serializes it; lists and mappings.
        known: whether what an entry names is known without an import; by default to tf_keras.
        unknown: what to say of a name that is not.

    Example:
        >>> objection({"class_name": "Dense", "config": {"name": "scores", "units": 3}})
        ''
        >>> objection({"class_name": "Lambda", "config": {"name": "double", "function": ["4wEAAAA..."]}})
        "layer 'double' is a Lambda layer, code that would run here; give --trust (trust=True) if you trust the file"
    """
    for entry, layer in _entries(config):
        problem = _problem(entry)
        if not problem and _is_foreign(entry, known or is_known):
            problem = (unknown or unknown_part)(_name(entry))
        if problem:
            return f"layer {layer!r} {problem}" if layer else problem[0].upper() + problem[1:]
    return ""


def _problem(entry: dict[str, Any]) -> str:
    """What speaks against one mapping of a description."""
    for key in _FILES:
        if isinstance(entry.get(key), str) and entry[key]:
            return f"reads the file {entry[key][:60]!r} of this machine; {WHEN_TRUSTED}"
    if "lambda" in [entry.get(f"{key}_type") for key in ("function", "output_shape", "mask")]:
        return f"is a Lambda layer, code that would run here; {WHEN_TRUSTED}"
    if "class_name" not in entry:
        return ""
    # Keras takes the name from any of three places, as it is written in others.
    given = [entry["class_name"], entry.get("registered_name"), entry.get("config")]
    names = {each.rpartition(">")[2] for each in given if isinstance(each, str)}
    inner = entry["config"] if isinstance(entry.get("config"), dict) else {}
    if code := sorted(names & _CODE):
        kind = "Lambda" if "ambda" in code[0] else code[0]
        return f"is a {kind} layer, code that would run here; {WHEN_TRUSTED}"
    if others := sorted(names & _RUNS_OTHERS):
        return f"is a {others[0]}, which runs any operation; {WHEN_TRUSTED}"
    if names & _OPERATIONS and not is_computing(inner.get("function")):
        return f"calls {str(inner.get('function'))[:60]}, which is no operation on tensors; {WHEN_TRUSTED}"
    if names & _ATTRIBUTES and not _is_of_tensors(inner):
        return f"reaches for {str(inner.get('attr_name'))[:60]!r}, which is none of a tensor's; {WHEN_TRUSTED}"
    return ""


def unregistered_part(config: Any) -> str:
    """The first part of a description that Keras does not know; its own errors do not always name it."""
    return next((_name(entry) for entry, _ in _entries(config) if _is_foreign(entry, is_known)), "")


def unknown_part(name: str) -> str:
    """What to do about a layer or a function that Keras does not know."""
    return (
        f"needs the custom layer {name!r}; register it with keras.utils.register_keras_serializable and import it first"
    )


def _is_foreign(entry: dict[str, Any], known: Known) -> bool:
    """Whether Keras would have to import what an entry names, or finds something there that is no part of models."""
    if "class_name" not in entry:
        return False
    if entry["class_name"] == "function" and not isinstance(entry.get("config"), str):
        return True
    # Without a module, as HDF5 and SavedModels tell it, Keras looks among its own and the registered only.
    return bool(entry.get("module") or entry.get("registered_name")) and not known(entry)


def _name(entry: dict[str, Any]) -> str:
    return str(entry["config"] if entry["class_name"] == "function" else entry["class_name"])[:60]


def _is_of_tensors(config: dict[str, Any]) -> bool:
    """Whether an attribute is one that Keras reads from ragged or sparse tensors."""
    name, owner = config.get("attr_name"), config.get("cls_symbol", "RaggedTensor")
    if not isinstance(name, str) or name.startswith("_") or owner not in ("RaggedTensor", "SparseTensor"):
        return False
    return hasattr(tf.RaggedTensor, name) or hasattr(tf.SparseTensor, name)


def _entries(config: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """All mappings of a description, each with the name of the layer that it belongs to."""
    waiting: list[tuple[Any, str]] = [(config, "")]
    while waiting:
        value, layer = waiting.pop()
        if isinstance(value, dict):
            inner = value.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            # A model is no layer to name; the layers in it are.
            if isinstance(name, str) and "class_name" in value and "layers" not in inner:  # type: ignore[operator]
                layer = name[:60]
            yield value, layer
            waiting += [(each, layer) for each in reversed(value.values())]
        elif isinstance(value, list | tuple):
            waiting += [(each, layer) for each in reversed(value)]


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            each
            for outer in level
            for each in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(each, dict | list)
        ]
        if not level:
            return True
    return False

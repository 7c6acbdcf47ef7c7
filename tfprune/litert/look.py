"""What operations a LiteRT flatbuffer holds, which of them compute in float, and which XNNPACK leaves to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tfprune.litert.flatbuffer import TYPES, read, readable
from tfprune.litert.runtime import schema
from tfprune.litert.session import Session

_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_FLOATS = {"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16", "COMPLEX64", "COMPLEX128"}


def operations(content: bytes) -> dict[str, int]:
    """How often a file has which operation, over all its graphs, most frequent first; TensorFlow's as ``FlexErf``.

    Raises:
        ModelError: it is no flatbuffer, or damaged.

    Example:
        >>> from tfprune.backend import keras
        >>> from tfprune.litert.convert import convert
        >>> operations(convert(keras.Sequential([keras.layers.Dense(2, input_shape=(3,), activation="softmax")])))
        {'FULLY_CONNECTED': 1, 'SOFTMAX': 1}
    """
    model = read(content)
    with readable("its list of operations"):
        return _counted(_name(model, operator) for graph in model.subgraphs for operator in graph.operators or ())


def float_operations(content: bytes) -> dict[str, int]:
    """How often a file has which operation that computes in float.

    What turns a float input of the whole into integers, or integers into a float output, does not count, so a file
    that is integer but for its borders has none.

    Raises:
        ModelError: as in `operations`.
    """
    model = read(content)
    with readable("its list of operations"):
        return _counted(
            _name(model, operator)
            for graph in model.subgraphs
            for operator in graph.operators or ()
            if _computes_in_float(model, graph, operator) and not _is_border(model, graph, operator)
        )


def undelegated(session: Session) -> dict[str, int]:
    """How often XNNPACK left which operation of the main graph to LiteRT's own kernels; all, without a delegate.

    The bodies of loops are not looked into.
    """
    nodes = session.nodes
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    maker = {int(output): index for index, node in enumerate(own) for output in node["outputs"]}
    taken: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == "DELEGATE"):
        # What a delegate computes lies between its outputs and its inputs.
        given, wanted = {int(each) for each in delegate["inputs"]}, [int(each) for each in delegate["outputs"]]
        while wanted:
            index = maker.get(wanted.pop(), -1)
            if index >= 0 and index not in taken:
                taken.add(index)
                wanted += [int(each) for each in own[index]["inputs"] if int(each) not in given]
    return _counted(node["op_name"] for index, node in enumerate(own) if index not in taken)


def _counted(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda each: (-each[1], each[0])))


def _name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    kind = max(code.builtinCode, code.deprecatedBuiltinCode)  # files of before 2020 have the second only
    if kind == schema.BuiltinOperator.CUSTOM:
        return (code.customCode or b"custom").decode("utf-8", "replace")
    return _NAMES.get(kind, f"operation {kind}")


def _computes_in_float(model: Any, graph: Any, operator: Any) -> bool:
    """Whether any number that is computed with, or comes out, is float; constants alone make no float operation."""
    tensors = [graph.tensors[index] for index in (*_listed(operator.inputs), *_listed(operator.outputs)) if index >= 0]
    return any(TYPES.get(each.type) in _FLOATS and model.buffers[each.buffer].data is None for each in tensors)


def _is_border(model: Any, graph: Any, operator: Any) -> bool:
    name = _name(model, operator)
    if name == "QUANTIZE":
        return operator.inputs[0] in _listed(graph.inputs)
    return name == "DEQUANTIZE" and operator.outputs[0] in _listed(graph.outputs)


def _listed(indices: Any) -> list[int]:
    return [] if indices is None else [int(each) for each in indices]

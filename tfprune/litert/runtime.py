"""LiteRT's interpreter, and its schema of flatbuffers; the only module that imports ai_edge_litert.

It loads no TensorFlow, so that a process of its own can tell what the interpreter alone takes, see `memory`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tfprune.results import Delegate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

__all__ = ["DELEGATES", "Interpreter", "example", "opened", "schema"]

DELEGATES: tuple[Delegate, ...] = get_args(Delegate)
"""Who computes: XNNPACK what it can and LiteRT's own kernels the rest, or these everything."""


def opened(source: bytes | Path, threads: int = 1, delegate: Delegate = "xnnpack", batch: int = 1) -> Interpreter:
    """An interpreter with its tensors allocated.

    Args:
        source: a flatbuffer, or the file that it is in, which is mapped into memory and not read.
        threads: of its kernels.
        delegate: one of `DELEGATES`.
        batch: examples a run.

    Raises:
        RuntimeError, ValueError: of the interpreter, in several lines.
    """
    kinds = OpResolverType
    resolver = kinds.BUILTIN if delegate == "xnnpack" else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    place = {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
    interpreter = Interpreter(**place, num_threads=threads, experimental_op_resolver_type=resolver)
    for each in interpreter.get_input_details():
        if len(each["shape"]) and each["shape"][0] != batch:
            interpreter.resize_tensor_input(each["index"], (batch, *each["shape"][1:]))
    interpreter.allocate_tensors()
    return interpreter


def example(details: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """Inputs to run with: equal each time, and none that kernels could take a shortcut for."""
    rng = np.random.default_rng(0)
    # Zeros are token ids of every vocabulary; zeros as pixels could be multiplied faster.
    return [
        rng.random(each["shape"]).astype(each["dtype"])
        if np.issubdtype(each["dtype"], np.floating)
        else np.zeros(each["shape"], each["dtype"])
        for each in details
    ]

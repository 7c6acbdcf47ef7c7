"""A LiteRT flatbuffer in its interpreter: timed, or asked in real numbers by name."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import quiet_stderr
from tfprune.errors import ModelError, nearest
from tfprune.importing import one_line
from tfprune.litert.runtime import DELEGATES, Interpreter, example, opened
from tfprune.litert.stored import check_shape, filled, real, shape_words, stored
from tfprune.results import Delegate


class Session:
    """A flatbuffer in its interpreter.

    Inputs and outputs go by the names of the file's signature, where it has one, else by those of its tensors. An order
    of the model's the file does not keep: names stand in that of the alphabet, but `inputs_10` behind `inputs_9`.
    Whoever asks or is told sees real numbers, whatever the file stores.

    Args:
        content: the flatbuffer.
        threads: of the interpreter.
        delegate: ``xnnpack`` computes what it can, LiteRT's own kernels the rest; with ``none`` these do everything.
        batch: examples a run. The file is resized to it.
        interpreter: that the file is in already, in place of one of ai-edge-litert's; see `flex`.

    Raises:
        ModelError: threads or batch below 1, no such delegate, an axis of unknown length, or LiteRT does not run the
            file at all or not with this batch.

    Example:
        >>> from tfprune.backend import keras
        >>> from tfprune.litert.convert import convert
        >>> inputs = keras.Input((3,), name="numbers")
        >>> session = Session(convert(keras.Model(inputs, keras.layers.ReLU(name="positive")(inputs))))
        >>> session.input_names, session.output_names
        (('numbers',), ('positive',))
        >>> session.ask({"numbers": [[1, -2, 3], [-1, 2, -3]]})["positive"].tolist()
        [[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]]
    """

    def __init__(
        self,
        content: bytes,
        threads: int = 1,
        delegate: Delegate = "xnnpack",
        batch: int = 1,
        interpreter: Interpreter | None = None,
    ) -> None:
        check_options(threads, batch, delegate)
        self.threads, self.delegate, self.batch = threads, delegate, batch
        try:
            with quiet_stderr():
                self._interpreter = interpreter or opened(content, threads, delegate, batch)
                self._inputs, self._outputs = _by_name(self._interpreter)
                self._check_sizes()
                for each, value in zip(self._inputs.values(), example([*self._inputs.values()]), strict=True):
                    self._interpreter.set_tensor(each["index"], value)
                self.seconds()
        except (RuntimeError, ValueError) as error:
            runs = "the file" if batch == 1 else f"the file with a batch of {batch}, take a batch of 1"
            raise ModelError(f"LiteRT cannot run {runs}: {one_line(error)}") from error
        if batch > 1 and (fixed := [name for name, value in self._answers().items() if value.shape[:1] != (batch,)]):
            raise ModelError(
                f"LiteRT cannot run the file with a batch of {batch}: output {fixed[0]!r} stays of one size; "
                "take a batch of 1"
            )

    @property
    def input_names(self) -> tuple[str, ...]:
        """In the order of `set_inputs`."""
        return tuple(self._inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """In the order of `outputs`."""
        return tuple(self._outputs)

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The interpreter's operations: ``op_name``, and the tensors that are its ``inputs`` and ``outputs``.

        What a delegate took is still listed, and behind it the delegate as one more operation.
        """
        return list(self._interpreter._get_ops_details())

    def set_inputs(self, *values: Any) -> None:
        """Set the inputs of the next runs in real numbers, `batch` examples of each, in the order of `input_names`.

        Raises:
            ModelError: another number of inputs, another shape, or numbers that the file cannot take.
        """
        self._set(self._checked(values, self.batch))

    def seconds(self) -> float:
        """Run once and return the seconds it took, inputs and outputs not copied."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def outputs(self) -> list[np.ndarray]:
        """What the last run gave, in real numbers, in the order of `output_names`."""
        return [*self._answers().values()]

    def ask(self, x: Any) -> dict[str, np.ndarray]:
        """Answer examples, each by itself: what a model remembers from one run to the next is reset between them.

        Args:
            x: one array for a file of one input, a list in the order of `input_names`, or arrays by name; at least one
                example, batch axis first.

        Returns:
            By the names of the outputs, in the order of `output_names`, batch axis first.

        Raises:
            ModelError: as in `set_inputs`, a name that no input has, or no example at all.
        """
        values = self._checked(self._in_order(x))
        count = len(values[0])
        answers = []
        for start in range(0, count, self.batch):
            self._interpreter.reset_all_variables()
            # The last run is filled up with its last example.
            self._set([filled(value[start : start + self.batch], self.batch) for value in values])
            self._run()
            answers.append(self._answers())
        return {name: np.concatenate([each[name] for each in answers])[:count] for name in self._outputs}

    def _run(self) -> None:
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:  # a token id outside of the vocabulary, for one
            raise ModelError(f"LiteRT cannot run these inputs: {one_line(error)}") from error

    def _set(self, values: Sequence[np.ndarray]) -> None:
        for each, value in zip(self._inputs.values(), values, strict=True):
            self._interpreter.set_tensor(each["index"], np.ascontiguousarray(value))

    def _answers(self) -> dict[str, np.ndarray]:
        return {name: real(self._interpreter.get_tensor(each["index"]), each) for name, each in self._outputs.items()}

    def _in_order(self, x: Any) -> list[Any]:
        if isinstance(x, Mapping):
            for name in x:
                if name not in self._inputs:
                    raise ModelError(f"the file has no input {name!r}{nearest(name, self._inputs)}")
            if missing := [name for name in self._inputs if name not in x]:
                raise ModelError(f"input {missing[0]!r} of the file is missing; given were {', '.join(x) or 'none'}")
            return [x[name] for name in self._inputs]
        return list(x) if isinstance(x, (list, tuple)) and len(self._inputs) > 1 else [x]

    def _checked(self, values: Sequence[Any], count: int | None = None) -> list[np.ndarray]:
        """Inputs as the file stores them, of `count` examples, or all of as many as the first."""
        names = ", ".join(self._inputs)
        if len(values) != len(self._inputs):
            raise ModelError(f"got {len(values)} inputs, expected {len(self._inputs)}: {names}")
        arrays = [np.asarray(value) for value in values]
        if count is None:
            count = len(arrays[0]) if arrays[0].ndim else 0
        for array, (name, each) in zip(arrays, self._inputs.items(), strict=True):
            check_shape(array, count, name, each)
        return [stored(array, name, each) for array, (name, each) in zip(arrays, self._inputs.items(), strict=True)]

    def _check_sizes(self) -> None:
        for name, each in self._inputs.items():
            if -1 in each["shape_signature"][1:]:
                raise ModelError(
                    f"input {name!r} of the file has axes of unknown length, {shape_words(each['shape_signature'])}; "
                    "LiteRT runs one size: convert the model with the input size that counts"
                )


def check_options(threads: int, batch: int, delegate: str = "xnnpack") -> None:
    """Refuse what no interpreter takes.

    Raises:
        ModelError: threads or batch below 1, or no such delegate.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelError(f"{name} must be a whole number of 1 or more, but got {value!r}")
    if delegate not in DELEGATES:
        raise ModelError(f"delegate must be one of {', '.join(DELEGATES)}, but got {delegate!r}")


def _by_name(interpreter: Interpreter) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Inputs and outputs: by the signature that has all inputs of the main graph, or by the names of the tensors."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    for key in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(key)
        named = runner.get_input_details(), runner.get_output_details()
        if {_identity(each) for each in named[0].values()} == {_identity(each) for each in inputs}:
            return _sorted(named[0]), _sorted(named[1])
    return {each["name"]: each for each in inputs}, {each["name"]: each for each in outputs}


def _identity(detail: dict[str, Any]) -> tuple[int, str]:
    return detail["index"], detail["name"]


def _sorted(named: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    def key(name: str) -> list[tuple[str, int]]:
        return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]

    return {name: named[name] for name in sorted(named, key=key)}

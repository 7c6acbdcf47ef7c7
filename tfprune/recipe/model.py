"""Where the dense model comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from tfprune.recipe.base import Arguments, FunctionName, Section


class ModelSection(Section):
    """Where the dense model comes from: exactly one of builtin, file, application, function.

    Attributes:
        builtin: ``digits-cnn``, ``resnet8``, ``resnet20``, ``resnet56`` or ``text-transformer``.
        file: a tf_keras ``.keras``, ``.h5`` or SavedModel directory.
        application: a class of tf.keras.applications, given a new head for the data's classes.
        function: ``package.module:function``, called with ``input_shape``, ``classes`` and `arguments`.
        arguments: keyword arguments for a builtin, an application or a function.
        weights: for an application: a weights file, ``imagenet`` (needs a network) or nothing.
        trained: skip dense training; by default true for a file and false for the rest.
    """

    builtin: Literal["digits-cnn", "resnet8", "resnet20", "resnet56", "text-transformer"] | None = None
    file: Path | None = None
    application: str | None = None
    function: FunctionName | None = None
    arguments: Arguments = {}
    weights: str | None = None
    trained: bool | None = None

    @model_validator(mode="after")
    def _exactly_one_source(self) -> Self:
        sources = ("builtin", "file", "application", "function")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(sources)}, but got {' and '.join(given) or 'none'}")
        if self.weights is not None and self.application is None:
            raise ValueError("'weights' goes with 'application'; a model file brings its own")
        return self

    @property
    def is_trained(self) -> bool:
        """Whether dense training is skipped."""
        return self.file is not None if self.trained is None else self.trained

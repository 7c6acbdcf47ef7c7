"""The one place where TF-MOT is loaded, quietly: its pruning wrapper and its quantization-aware training.

It takes seconds, so whatever needs it is imported when it is needed.
"""

from __future__ import annotations

import warnings

from tfprune import backend  # noqa: F401  (it chooses the Keras that TF-MOT takes)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_annotate import QuantizeAnnotate
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude
    from tensorflow_model_optimization.quantization.keras import (
        QuantizeWrapper,
        quantize_annotate_layer,
        quantize_apply,
        quantize_scope,
    )
    from tensorflow_model_optimization.quantization.keras.default_8bit import Default8BitQuantizeRegistry
    from tensorflow_model_optimization.quantization.keras.quantizers import MovingAverageQuantizer
    from tensorflow_model_optimization.sparsity.keras import PruningSchedule

__all__ = [
    "Default8BitQuantizeRegistry",
    "MovingAverageQuantizer",
    "PruneLowMagnitude",
    "PruningSchedule",
    "QuantizeAnnotate",
    "QuantizeLayer",
    "QuantizeWrapper",
    "quantize_annotate_layer",
    "quantize_apply",
    "quantize_scope",
]

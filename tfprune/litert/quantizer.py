"""Another way to int8: ranges and scales by ai-edge-quantizer, on the float file; its only importer."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable

from tfprune.backend import quiet_stderr
from tfprune.errors import DependencyError, ModelError
from tfprune.importing import one_line
from tfprune.litert.convert import Named

SIGNATURE = "serving_default"


def quantize(content: bytes, calibration: Iterable[Named], *, integer_io: bool = False) -> bytes:
    """An int8 file of a float32 one: weights by channel, activations by tensor.

    Args:
        content: made by `convert` without a conversion.
        calibration: examples by the names of the inputs.
        integer_io: int8 inputs and outputs; float32 otherwise.

    Raises:
        DependencyError: ai-edge-quantizer is not installed.
        ModelError: it cannot quantize this file.
    """
    try:
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")
            from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
            from ai_edge_quantizer.utils import qsv_utils
    except ImportError as error:
        raise DependencyError(
            "ai-edge-quantizer is not installed; pip install 'tfprune[quantizer]', or let the converter quantize"
        ) from error
    try:
        with warnings.catch_warnings(), quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            rules = recipe.static_wi8_ai8()
            if not integer_io:
                left = {**rules[0], "algorithm_key": "no_quantize", "op_config": {}}
                rules = [*rules, {**left, "operation": "INPUT"}, {**left, "operation": "OUTPUT"}]
            manager = recipe_manager.RecipeManager()
            manager.load_quantization_recipe(rules)
            # Its own `calibrate` takes a moving average over the examples, and cuts off what is beyond.
            ranges = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
            ranges.calibrate({SIGNATURE: list(calibration)}, manager)
            return bytes(quantizer.Quantizer(content, rules).quantize(ranges.get_model_qsvs()).quantized_model)
    except Exception as error:  # it raises what it likes for operations that it does not know
        raise ModelError(f"ai-edge-quantizer cannot quantize this model: {one_line(error)}") from error

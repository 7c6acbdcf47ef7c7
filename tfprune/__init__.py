"""tfprune: prune Keras models in rounds, and see which inputs pay for it.

Names are loaded on first use, so that importing tfprune does not load TensorFlow.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfprune.cost.measure import measure
    from tfprune.deploy.export import export
    from tfprune.masking.decay import CosineDecay, ExponentialDecay, LinearDecay, PolynomialDecay
    from tfprune.masking.files import load
    from tfprune.masking.oneshot import prune
    from tfprune.masking.schedule import ConstantSparsity, FrozenMasks, StepSparsity
    from tfprune.masking.wrap import retarget, strip, wrap
    from tfprune.models.files import save
    from tfprune.results.structure import Plan
    from tfprune.rounds.callbacks import callbacks
    from tfprune.rounds.distill import distill
    from tfprune.rounds.start import run
    from tfprune.slices.evaluate import evaluate
    from tfprune.structure.shrink import apply, plan, shrink
    from tfprune.structure.visit import rule
    from tfprune.tuning.search import search, sensitivity

# Before anyone imports TensorFlow: TF-MOT works on tf_keras only.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"

_ROOMS = {
    "ConstantSparsity": "tfprune.masking.schedule",
    "CosineDecay": "tfprune.masking.decay",
    "ExponentialDecay": "tfprune.masking.decay",
    "FrozenMasks": "tfprune.masking.schedule",
    "LinearDecay": "tfprune.masking.decay",
    "Plan": "tfprune.results.structure",
    "PolynomialDecay": "tfprune.masking.decay",
    "StepSparsity": "tfprune.masking.schedule",
    "apply": "tfprune.structure.shrink",
    "callbacks": "tfprune.rounds.callbacks",
    "distill": "tfprune.rounds.distill",
    "evaluate": "tfprune.slices.evaluate",
    "export": "tfprune.deploy.export",
    "load": "tfprune.masking.files",
    "measure": "tfprune.cost.measure",
    "plan": "tfprune.structure.shrink",
    "prune": "tfprune.masking.oneshot",
    "retarget": "tfprune.masking.wrap",
    "rule": "tfprune.structure.visit",
    "run": "tfprune.rounds.start",
    "save": "tfprune.models.files",
    "search": "tfprune.tuning.search",
    "sensitivity": "tfprune.tuning.search",
    "shrink": "tfprune.structure.shrink",
    "strip": "tfprune.masking.wrap",
    "wrap": "tfprune.masking.wrap",
}

__all__ = [
    "ConstantSparsity",
    "CosineDecay",
    "ExponentialDecay",
    "FrozenMasks",
    "LinearDecay",
    "Plan",
    "PolynomialDecay",
    "StepSparsity",
    "apply",
    "callbacks",
    "distill",
    "evaluate",
    "export",
    "load",
    "measure",
    "plan",
    "prune",
    "retarget",
    "rule",
    "run",
    "save",
    "search",
    "sensitivity",
    "shrink",
    "strip",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
    value = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

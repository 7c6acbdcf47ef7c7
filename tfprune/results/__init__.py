"""Frozen values that one room hands to the next.

Accuracies and drops are fractions in [0, 1]; a drop is dense minus pruned, so positive means worse.
Sparsity is always the share of zeros among *prunable* weights (the kernels that masks may touch); where zeros are
counted among all weights, biases and normalization included, it is called overall sparsity.
"""

from __future__ import annotations

from tfprune.results.cost import LayerCost, Measurement
from tfprune.results.evaluation import Evaluation, Interval, SliceScore
from tfprune.results.rounds import History, Round, RunResult, Verdict, best_round
from tfprune.results.search import SearchResult, Sensitivity, SensitivityCurve, Trial
from tfprune.results.structure import Coupling, LayerSurgery, Plan, SurgeryReport

__all__ = [
    "Coupling",
    "Evaluation",
    "History",
    "Interval",
    "LayerCost",
    "LayerSurgery",
    "Measurement",
    "Plan",
    "Round",
    "RunResult",
    "SearchResult",
    "Sensitivity",
    "SensitivityCurve",
    "SliceScore",
    "SurgeryReport",
    "Trial",
    "Verdict",
    "best_round",
]

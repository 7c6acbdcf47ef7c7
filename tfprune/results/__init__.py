"""Frozen values that one room hands to the next.

Accuracies and drops are fractions in [0, 1]; a drop is dense minus pruned, so positive means worse.
Sparsity is always the share of zeros among *prunable* weights (the kernels that masks may touch); where zeros are
counted among all weights, biases and normalization included, it is called overall sparsity.
"""

from __future__ import annotations

from tfprune.results.cost import Delegate, FileCost, Latency, LayerCost, Measurement, Runtime
from tfprune.results.evaluation import Evaluation, Interval, SliceScore
from tfprune.results.export import Attempt, Check, Delivery, ExportReport, Format, Quantize, Stage, Tolerance
from tfprune.results.rounds import History, Round, RunResult, TeacherCost, Verdict, best_round
from tfprune.results.search import SearchResult, Sensitivity, SensitivityCurve, Trial
from tfprune.results.structure import Coupling, LayerSurgery, Plan, SurgeryReport

__all__ = [
    "Attempt",
    "Check",
    "Coupling",
    "Delegate",
    "Delivery",
    "Evaluation",
    "ExportReport",
    "FileCost",
    "Format",
    "History",
    "Interval",
    "Latency",
    "LayerCost",
    "LayerSurgery",
    "Measurement",
    "Plan",
    "Quantize",
    "Round",
    "RunResult",
    "Runtime",
    "SearchResult",
    "Sensitivity",
    "SensitivityCurve",
    "SliceScore",
    "Stage",
    "SurgeryReport",
    "TeacherCost",
    "Tolerance",
    "Trial",
    "Verdict",
    "best_round",
]

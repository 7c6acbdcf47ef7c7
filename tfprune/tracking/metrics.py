"""Results as flat names and numbers, the way MLflow keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tfprune.results import Evaluation, Round


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """An evaluation as metrics; all slices share a section of MLflow's charts page."""
    metrics = {"accuracy": evaluation.accuracy, "loss": evaluation.loss}
    if evaluation.drop is not None:
        metrics["accuracy_drop"] = evaluation.drop
    for each in evaluation.slices:
        name = _unlike(metrics, safe_name(each.name).replace("/", "_"), "slice_accuracy/")
        metrics[f"slice_accuracy/{name}"] = each.accuracy
        if each.drop is not None:
            metrics[f"slice_drop/{name}"] = each.drop
    worst = evaluation.worst
    if worst is not None and worst.drop is not None:
        metrics["worst_slice_drop"] = worst.drop
    return metrics


def round_metrics(finished: Round, dense: Round) -> dict[str, float]:
    """A round as metrics; sizes count where the model was rebuilt."""
    weight = finished.measurement
    sizes = {
        "units_removed": finished.removed,
        "parameters": weight.parameters,
        "macs": weight.macs,
        "size_kb": weight.bytes / 1000,
    }
    return {
        **evaluation_metrics(finished.evaluation),
        "sparsity": finished.sparsity,
        "overall_sparsity": weight.overall_sparsity,
        "nonzero": weight.nonzero,
        "compression": dense.measurement.nonzero / max(1, weight.nonzero),
        "gzipped_kb": (weight.gzipped_bytes or 0) / 1000,
        "passed": float(finished.verdict.passed),
        **(sizes if dense.method == "structured" else {}),
    }


def safe_name(name: str) -> str:
    """A name that MLflow takes for a metric: characters and parts that it refuses become ``_``; cut at 200."""
    cleaned = re.sub(r"[^\w\-. /]", "_", name[:200]).replace("..", "._").strip("/")
    return "/".join("_" if part in ("", ".") else part for part in cleaned.split("/"))


def safe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters under names that MLflow takes: patterns of layers and names of slices are parts of some."""
    safe: dict[str, Any] = {}
    for key, value in params.items():
        safe[_unlike(safe, safe_name(key))] = value
    return safe


def _unlike(taken: Mapping[str, Any], name: str, prefix: str = "") -> str:
    """The name, or a longer one where another already has it that differs only in what MLflow refuses."""
    while f"{prefix}{name}" in taken:
        name += "_"
    return name


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys."""
    if not isinstance(content, dict):
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat

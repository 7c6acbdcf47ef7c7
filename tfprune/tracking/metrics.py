"""Results as flat names and numbers, the way MLflow keeps them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping

from tfprune.results import Delivery, Evaluation, Measurement, Round, TeacherCost, Trial

_MEASURES = ("accuracy", "error", "drop", "churn", "calibration_error", "gap", "names")
_WHOLE = (
    *("loss", "accuracy_drop", "error_rise", "sparsity", "overall_sparsity", "nonzero", "compression", "gzipped_kb"),
    *("passed", "units_removed", "parameters", "macs", "size_kb"),
    *("teacher_macs", "teacher_seconds", "teacher_share"),
)
_TAKEN = frozenset((*_MEASURES, *_WHOLE))


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """An evaluation as metrics; all slices share a section of MLflow's charts page.

    Metrics of the compiled model keep their names, but for ``compiled_`` before those that tfprune has itself.

    Returns:
        Name to value; what is not known is left out.

    Example:
        >>> from tfprune.results import SliceScore
        >>> slices = (SliceScore("class_8", 20, 0.75, 0.125),)
        >>> list(evaluation_metrics(Evaluation(SliceScore("all", 100, 0.9, 0.02), 0.3, slices)))[:4]
        ['accuracy', 'loss', 'accuracy_drop', 'worst_slice_accuracy']
    """
    whole, measure = evaluation.whole, evaluation.measure
    worst, worst_scored = evaluation.worst, evaluation.worst_scored
    metrics: dict[str, float | None] = {
        measure: whole.score,
        "loss": evaluation.loss,
        "accuracy_drop" if measure == "accuracy" else "error_rise": whole.drop,
        "calibration_error": whole.calibration_error,
        "churn": whole.churn,
        f"worst_slice_{measure}": worst_scored.score if worst_scored else None,
        "worst_slice_drop": worst.drop if worst else None,
        "slice_gap": evaluation.gap,
        **{_of_compiled(name): value for name, value in whole.metrics.items()},
    }
    names = _safe_slices([each.name for each in evaluation.slices])
    for each in evaluation.slices:
        values: dict[str, float | None] = {measure: each.score, "drop": each.drop, "churn": each.churn}
        values |= {_of_compiled(name): value for name, value in each.metrics.items()}
        metrics |= {f"slice_{key}/{names[each.name]}": value for key, value in values.items()}
    return {name: value for name, value in metrics.items() if value is not None}


def renamed(names: Iterable[str]) -> dict[str, str]:
    """The names of slices that MLflow does not take as they are, and what they are recorded as.

    Example:
        >>> renamed(["class_8", "age > 60", "50%"])
        {'age > 60': 'age _ 60', '50%': '50_'}
    """
    return {name: safe for name, safe in _safe_slices(names).items() if safe != name}


def _safe_slices(names: Iterable[str]) -> dict[str, str]:
    """Each name as MLflow takes it, all different; a slash would begin a section of the charts page."""
    different = list(dict.fromkeys(names))
    safe = {name: safe_name(name).replace("/", "_") for name in different}
    taken: dict[str, str] = {}
    for name in sorted(different, key=lambda each: safe[each] != each):  # those that are fine keep their names
        taken[unlike(taken, safe[name])] = name
    found = {name: made for made, name in taken.items()}
    return {name: found[name] for name in different}


def _of_compiled(name: str) -> str:
    name = safe_name(name).replace("/", "_")
    return f"compiled_{name}" if name in _TAKEN else name


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
        **_of_teacher(finished.teacher),
    }


def trial_metrics(trial: Trial, dense: Evaluation) -> dict[str, float]:
    """A trial as metrics; what is not known is left out.

    Besides drops of single slices, from which `worst_slice_drop` is the largest, there is how much worse the worst
    slice is than the worst slice of the dense model, which may be another one.
    """
    metrics: dict[str, float | None] = {"objective": trial.objective}
    if trial.evaluation is not None:
        metrics |= evaluation_metrics(trial.evaluation)
        metrics |= _of_the_worst(trial.evaluation, dense)
    if trial.measurement is not None:
        metrics |= _sizes(trial.measurement)
    metrics |= _of_teacher(trial.teacher)
    metrics |= {"sparsity": trial.sparsity, "latency_ms": trial.latency_ms, "seconds": trial.seconds}
    return {name: value for name, value in metrics.items() if value is not None}


def _of_teacher(cost: TeacherCost | None) -> dict[str, float]:
    """What the dense model cost as a teacher, where it taught."""
    if cost is None:
        return {}
    return {"teacher_macs": cost.macs, "teacher_seconds": cost.seconds, "teacher_share": cost.share}


def _of_the_worst(evaluation: Evaluation, dense: Evaluation) -> dict[str, float]:
    now, before = evaluation.worst_scored, dense.worst_scored
    if now is None or before is None:
        return {}
    if evaluation.measure == "accuracy":
        return {"worst_slice_accuracy_drop": before.score - now.score}
    return {"worst_slice_error_rise": now.score - before.score}


def _sizes(weight: Measurement) -> dict[str, float | None]:
    return {
        "nonzero": weight.nonzero,
        "gzipped_kb": None if weight.gzipped_bytes is None else weight.gzipped_bytes / 1000,
        "macs": weight.macs,
        "parameters": weight.parameters,
    }


def metrics_on_test(dense: Evaluation, pruned: Evaluation) -> dict[str, float]:
    """What the test split says of the dense model and of the pruned one, without single slices."""
    sides = {"test/dense_": evaluation_metrics(dense), "test/": evaluation_metrics(pruned)}
    return {f"{side}{key}": value for side, found in sides.items() for key, value in found.items() if "/" not in key}


def metrics_of_export(delivery: Delivery | None) -> dict[str, float]:
    """What is known of an exported file, by the validation split, and of the stages to it, by the test split."""
    if delivery is None or delivery.report is None:
        return {}
    report, check = delivery.report, delivery.report.check
    found: dict[str, float | None] = {
        "bytes": report.bytes,
        "gzipped_bytes": report.gzipped_bytes,
        "written": float(not delivery.failure),
        "agreement": check.agreement,
        "max_difference": check.max_difference,
        "zeros_kept": report.zeros_kept,
        "latency_ms": report.latency.median_ms if report.latency else None,
        "arena_bytes": report.arena_bytes,
    }
    metrics = {f"export/{name}": float(value) for name, value in found.items() if value is not None}
    if check.file is not None:
        metrics |= {f"export/{key}": value for key, value in evaluation_metrics(check.file).items() if "/" not in key}
    for stage in delivery.stages:
        name = safe_name(stage.name.replace(", ", "_"))
        metrics |= {f"stage_bytes/{name}": stage.bytes, f"stage_latency_ms/{name}": stage.latency.median_ms}
        metrics |= {f"stage_{stage.evaluation.measure}/{name}": stage.evaluation.score}
    return metrics


def epoch_metrics(
    history: Iterable[Mapping[str, float]], first: int = 1, finished: int = 0
) -> Iterator[tuple[str, float, int, int]]:
    """Training figures as names, values, milliseconds since 1970 and epochs.

    Args:
        history: one dict an epoch; ``ended`` is its time.
        first: number of the first of these epochs.
        finished: the time of an epoch that does not know its own.
    """
    for epoch, row in enumerate(history, first):
        for key, value in row.items():
            if key != "ended":
                yield f"finetune/{safe_name(key)}", value, int(row.get("ended", finished)), epoch


def safe_name(name: str) -> str:
    """A name that MLflow takes for a metric: characters and parts that it refuses become ``_``; cut at 200."""
    cleaned = re.sub(r"[^\w\-. /]", "_", name[:200]).replace("..", "._").strip("/")
    return "/".join("_" if part in ("", ".") else part for part in cleaned.split("/"))


def unlike(taken: Container[str], name: str) -> str:
    """The name, or a longer one where another already has it that differs only in what MLflow refuses."""
    while name in taken:
        name += "_"
    return name

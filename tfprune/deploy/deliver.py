"""A file by the best way there is, opened, run, compared, and only then put where it was asked for."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfprune.deploy.choices import Choices, check_place
from tfprune.deploy.describe import described
from tfprune.deploy.formats import Material, Way, opened, ways_to
from tfprune.deploy.verify import Ask, outside
from tfprune.errors import Interrupted, TfpruneError, ToleranceError
from tfprune.results import Attempt, Check, ExportReport, Format
from tfprune.storage import replacing

Question = Callable[[Ask], Check]
"""Holds a file's answers against the Keras model's."""

Gate = Callable[[ExportReport, Path], Sequence[str]]
"""What a file does not keep of what was promised of it, a sentence each; it is at that path for now."""


def keeps_all(report: ExportReport, path: Path) -> Sequence[str]:
    """A gate that nothing fails."""
    return ()


@dataclass(frozen=True)
class _Tried:
    """A way that was gone: the file at its end, or why there is none."""

    attempt: Attempt
    path: Path | None = None
    error: TfpruneError | None = None

    @property
    def bytes(self) -> int:
        return size_of(self.path) if self.path is not None else 0


def deliver(
    material: Material,
    path: Path,
    choices: Choices,
    question: Question,
    gate: Gate = keeps_all,
    stop_asked: Callable[[], bool] = lambda: False,
) -> ExportReport:
    """Write a file that is known to work.

    Where several ways lead to it, that with the higher agreement is taken (with `sparse` the smaller file), and
    training is only tried where the others come out of tolerance.

    Args:
        material: the model and what its numbers are fitted with.
        path: of the file, or of the folder of a SavedModel.
        choices: what is asked for.
        question: asked of each file.
        gate: asked about the file that was taken, besides the budgets.
        stop_asked: looked at before each way.

    Returns:
        What was written, and how it answers.

    Raises:
        ExportError: choices that do not go together.
        ToleranceError: every way leads out of tolerance, or the gate fails; nothing is written.
        ModelError: the model cannot be converted, or the runtime does not take the file.
        StorageError: something is at the path, or the disk refuses.
        DependencyError: a package is missing.
    """
    found = choices.format_of(path)
    check_place(path, found, choices.force)
    with replacing(path) as written:
        tried: list[_Tried] = []
        for number, way in enumerate(ways_to(found, material, choices)):
            if stop_asked():
                raise Interrupted("stopped by the user before the export was done; nothing is written")
            if way.is_last and any(not each.attempt.failure for each in tried):
                break
            room = written.parent / f"way-{number}"
            room.mkdir()
            tried.append(_try(way, room / path.name, path, found, material, choices, question))
        best = _best(tried, choices)
        if best.error is not None:
            raise best.error
        assert best.path is not None and best.attempt.check is not None
        report = _report(best, tried, path, found, choices)
        report = described(report, best.path, material.model, choices)
        reasons = [best.attempt.failure] if best.attempt.failure else []
        reasons += [*_in_float(report, choices), *_over_budget(report, choices), *gate(report, best.path)]
        if reasons:
            raise ToleranceError(_refusal(path, reasons, tried), report)
        best.path.rename(written)
    return report


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(each.stat().st_size for each in _files(path))


def gzipped_size_of(path: Path) -> int:
    """The same after gzip, each file by itself."""
    return sum(len(gzip.compress(each.read_bytes(), mtime=0)) for each in _files(path))


def _files(path: Path) -> list[Path]:
    return [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else [path]


def _try(
    way: Way, path: Path, final: Path, found: Format, material: Material, choices: Choices, question: Question
) -> _Tried:
    try:
        way.write(path)
        check = question(opened(found, path, material.model))
    except Interrupted:
        raise
    except TfpruneError as error:
        told = type(error)(str(error).replace(str(path), str(final)))
        return _Tried(Attempt(way.name, None, str(told)), error=told)
    return _Tried(Attempt(way.name, check, outside(check, choices.tolerance)), path)


def _best(tried: Sequence[_Tried], choices: Choices) -> _Tried:
    """The file that is taken; where there is none, the way that was the first to fail."""
    there = [each for each in tried if each.path is not None]
    fine = [each for each in there if not each.attempt.failure]
    if choices.sparse and fine:
        return min(fine, key=lambda each: each.bytes)
    return max(fine or there, key=_closeness, default=tried[0])


def _closeness(tried: _Tried) -> tuple[float, float]:
    check = tried.attempt.check
    assert check is not None
    agreement = 1.0 if check.agreement is None else check.agreement
    return (agreement - check.others_difference, -check.relative_difference)


def _report(best: _Tried, tried: Sequence[_Tried], path: Path, found: Format, choices: Choices) -> ExportReport:
    assert best.path is not None and best.attempt.check is not None
    notes = []
    if choices.sparse:
        notes.append(_about_sparse(best, tried))
    return ExportReport(
        path=path,
        format=found,
        quantize=choices.quantize,
        way=best.attempt.way,
        bytes=best.bytes,
        gzipped_bytes=gzipped_size_of(best.path),
        check=best.attempt.check,
        operations={},
        attempts=tuple(each.attempt for each in tried),
        notes=tuple(notes),
    )


def _in_float(report: ExportReport, choices: Choices) -> list[str]:
    """What computes in float where nothing may."""
    found = [each for each in report.fell_back if each.endswith("(float)")] if choices.integer_io else []
    return [f"it has operations in float, {', '.join(found)}, and --integer-io allows none"] if found else []


def _about_sparse(best: _Tried, tried: Sequence[_Tried]) -> str:
    """What came of sparse encoding, in one sentence."""
    sparse = next(each for each in tried if each.attempt.way == "sparse encoding")
    if sparse is best:
        plain = next((each.bytes for each in tried if each is not best and each.path is not None), None)
        against = f" against {plain:,}" if plain else ""
        return f"Zeros are encoded sparsely: {best.bytes:,} bytes{against}."
    why = sparse.attempt.failure or f"it takes {sparse.bytes:,} bytes, and plain {best.bytes:,}"
    return f"Zeros are not encoded sparsely: {why}."


def _refusal(path: Path, reasons: Sequence[str], tried: Sequence[_Tried]) -> str:
    others = [
        f"{each.attempt.way}: {each.attempt.check.agreement:.2%} agree"
        for each in tried
        if each.attempt.check is not None and each.attempt.check.agreement is not None
    ]
    ways = f" ({', '.join(others)})" if len(others) > 1 else ""
    return f"{path} was not written: {'; '.join(reasons)}{ways}{_advice(tried)}"


def _advice(tried: Sequence[_Tried]) -> str:
    """What may help where every int8 file answers too differently."""
    names = [each.attempt.way for each in tried]
    if "ai-edge-quantizer" not in names or any(not each.attempt.failure for each in tried):
        return ""
    more = "" if "training" in names else ", or train with fake quantization (qat_epochs, training=)"
    return f"; give more calibration examples, or allow less agreement{more}"


def _over_budget(report: ExportReport, choices: Choices) -> list[str]:
    """Where a file is over its budgets, in sentences."""
    reasons, took = [], report.latency
    if choices.size_mb is not None and report.megabytes > choices.size_mb:
        reasons.append(f"it has {report.megabytes:.3f} MB, at most {choices.size_mb:g} are asked for")
    if choices.latency_ms is not None and took is None:
        reasons.append("it has an input axis of unknown length, so no latency that could be held to a budget")
    elif choices.latency_ms is not None and took is not None and took.median_ms > choices.latency_ms:
        noise = f", but do not trust it: {took.noise}" if took.noisy else ""
        found = f"it takes {took.median_ms:.3g} ms (median of {took.runs}{noise})"
        reasons.append(f"{found}, at most {choices.latency_ms:g} are asked for")
    return reasons

"""Rounds and their slices as JSON files: tables that MLflow's UI shows, and rounds that are read back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tfprune.errors import TrackingError
from tfprune.results import Evaluation, Round, SliceScore
from tfprune.tracking.metrics import renamed

TABLE = "slices.json"
"""Name of the file that holds a table of slices."""

# As words, for JSON knows neither NaN nor infinity, and a metric of a slice may be one.
_ROUNDS = TypeAdapter(tuple[Round, ...], config=ConfigDict(ser_json_inf_nan="strings"))


def round_files(rounds: Sequence[Round]) -> dict[str, str]:
    """The files of a workflow by name: its rounds, all their slices, and what slices are recorded as."""
    names = renamed(each.name for finished in rounds for each in finished.evaluation.slices)
    files = {"rounds.json": _ROUNDS.dump_json(tuple(rounds), indent=1).decode(), TABLE: slices_of_rounds(rounds)}
    return {**files, **({"slice_names.json": json.dumps(names, indent=1)} if names else {})}


def read_rounds(text: str, name: str) -> tuple[Round, ...]:
    """Rounds as `round_files` wrote them.

    Raises:
        TrackingError: an older tfprune wrote them, or the file is damaged.
    """
    try:
        return _ROUNDS.validate_json(text)
    except ValidationError as error:
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            raise TrackingError(f"rounds.json of workflow {name!r} is damaged; run it again") from error
        raise TrackingError(f"workflow {name!r} was recorded by an older tfprune; run it again") from error


def slices_of_round(evaluation: Evaluation) -> str:
    """One row a slice, all examples first, in the form that MLflow takes for a table."""
    return _table([_row(each) for each in (evaluation.whole, *evaluation.slices)])


def slices_of_rounds(rounds: Sequence[Round]) -> str:
    """The same of several rounds, with their numbers."""
    return _table(
        [
            {"round": finished.number, **_row(each)}
            for finished in rounds
            for each in (finished.evaluation.whole, *finished.evaluation.slices)
        ]
    )


def _row(score: SliceScore) -> dict[str, Any]:
    low, high = score.interval or (None, None)
    drop_low, drop_high = score.drop_interval or (None, None)
    return {
        "name": score.name,
        "support": score.support,
        score.measure: score.score,
        "low": low,
        "high": high,
        "drop": score.drop,
        "drop_low": drop_low,
        "drop_high": drop_high,
        "lost": score.lost,
        "gained": score.gained,
        "p": score.p_value,
        "p_adjusted": score.p_adjusted,
        "churn": score.churn,
        "calibration_error": score.calibration_error,
        "variant": score.variant,
        "rule": score.rule,
        "selected": score.selected,
        **{f"metric {name}": value for name, value in score.metrics.items()},
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    data = [[_cell(row.get(column)) for column in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, allow_nan=False)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None

"""Files of a run, in as few calls as can be."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.tracking.metrics import safe_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_files(client: Any, run_id: str, texts: Mapping[str, str], examples: Path | None = None) -> None:
    """Log texts by name, and a Parquet file as ``examples.parquet``; what was there of these names is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        if examples is not None:
            Path(folder, "examples.parquet").symlink_to(examples.absolute())
        client.log_artifacts(run_id, folder)


def log_figures(client: Any, run_id: str, figures: Mapping[str, Figure]) -> None:
    """Log figures as ``figures/<name>.png``."""
    if not figures:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in figures.items():
            figure.savefig(Path(folder, f"{safe_name(name).replace('/', '_')}.png"), dpi=120)
        client.log_artifacts(run_id, folder, "figures")

"""Progress bars with the time that remains."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tfprune.report.summary import round_sentence
from tfprune.report.trials import final_sentence, trial_sentence
from tfprune.report.watch import Watch
from tfprune.results import Round, Trial


class ProgressWatch(Watch):
    """Shows a bar for each stretch of training and a line for each round."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def phase(self, title: str, steps: int, done: int = 0) -> None:
        if not self._console.is_terminal:
            self._console.print(title)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task(title, total=steps, completed=done)
        self._progress.start()

    def step(self) -> None:
        if self._progress is not None:
            self._progress.advance(self._task)

    def phase_done(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def round(self, finished: Round) -> None:
        self._console.print(round_sentence(finished), markup=False)  # names are users' own

    def trial(self, trial: Trial, best: float | None) -> None:
        self._console.print(trial_sentence(trial, best), markup=False)  # messages may hold brackets

    def final(self, trial: Trial, best: float | None) -> None:
        self._console.print(final_sentence(trial, best), markup=False)

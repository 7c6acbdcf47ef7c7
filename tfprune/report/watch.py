"""What a running workflow tells whoever looks on."""

from __future__ import annotations

from tfprune.results import Round, Trial


class Watch:
    """Hears of progress; this one keeps quiet, others override what they want to hear."""

    def note(self, text: str) -> None:
        """One sentence worth reading."""

    def phase(self, title: str, steps: int, done: int = 0) -> None:
        """A stretch of work of so many steps begins, some of them done before a restart."""

    def step(self) -> None:
        """A step of the current phase is done."""

    def phase_done(self) -> None:
        """The current phase is over."""

    def round(self, finished: Round) -> None:
        """A round is evaluated and recorded."""

    def trial(self, trial: Trial, best: float | None) -> None:
        """A trial of a search has ended; `best` is the highest objective so far, None where all failed."""

    def final(self, trial: Trial, best: float | None) -> None:
        """A trial fine-tuned in full has ended; `best` is the highest objective among the finals so far, or None."""

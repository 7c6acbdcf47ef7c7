"""The command line: parse, wire, exit codes.

0 done; 1 the target was not met within the gates; 2 bad input; 3 a fault of ours; 130 interrupted, state kept.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

import tfprune.cli.compare
import tfprune.cli.evaluate
import tfprune.cli.export
import tfprune.cli.run
import tfprune.cli.schedules
import tfprune.cli.search
import tfprune.cli.structure  # noqa: F401  each module adds its verbs
from tfprune.cli.app import app, err
from tfprune.errors import TfpruneError, TfpruneWarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours in one plain line; those of other packages as Python shows them."""
    if issubclass(category, TfpruneWarning):
        err.print(f"warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    else:
        _shown_by_python(message, category, filename, lineno, file, line)


_shown_by_python = warnings.showwarning


def main() -> None:
    """Entry point: every error on purpose is one line and an exit code, every warning of ours one line."""
    warnings.showwarning = _show_warning
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # typer's answer to Ctrl-C
            err.print("interrupted; what was finished is kept", style="red")
        raise
    except TfpruneError as error:
        err.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept", style="red")
        sys.exit(130)
    except Exception as error:
        if os.environ.get("TFPRUNE_DEBUG"):
            raise
        text = " ".join(str(error).split())
        err.print(
            f"internal error: {type(error).__name__}: {text[:300]}; set TFPRUNE_DEBUG=1 to see where, and report it",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(3)

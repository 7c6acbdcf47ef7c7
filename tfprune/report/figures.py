"""What all pictures share: their colours, and how they are kept. Each picture has a module of its own."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure as Figure  # one door for all pictures, behind the choice of a backend

from tfprune.errors import RecipeError
from tfprune.storage import replacing

# Told apart also by the colour-blind, and darker than the grid (Okabe & Ito 2008, without yellow).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
GREY = "0.45"

_ENDINGS = (".png", ".svg", ".pdf")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending decides the format.

    Raises:
        RecipeError: an ending that is no picture's.
        StorageError: the disk refuses.
    """
    if path.suffix not in _ENDINGS:
        raise RecipeError(f"{path}: the ending must be one of {', '.join(_ENDINGS)}, but is {path.suffix!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def figure_png(figure: Figure, dpi: int = 120) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def give_title(figure: Figure, title: str) -> None:
    """A title over the whole figure, as text and not as mathematics, and no longer than the figure is wide."""
    most = int(9.5 * figure.get_figwidth())
    short = title if len(title) <= most else f"{title[: most - 1]}…"
    figure.suptitle(short, x=0.01, ha="left", size=11, parse_math=False)


def shortened(text: str, most: int) -> str:
    """A label with its middle left out where it is longer than `most`: names differ at both ends."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"

"""Images that the pruned model newly gets wrong, as tiles with captions and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.errors import DataError
from tfprune.report.figures import GREY, Figure, give_title, shortened

_MOST = 24
_COLUMNS = 6
_LONGEST = 16
_TILE, _LINE = 1.6, 0.145  # inches: width of a tile with its gap, height of a line of its caption


@dataclass(frozen=True, eq=False)
class Tile:
    """One image and what was said of it.

    Attributes:
        image: float32 (h, w, 3), in [0, 1].
        label: the true one.
        dense: answer of the dense model.
        pruned: answer of the pruned model.
        margin: how far the pruned model is from the true label, in [-1, 1]; None where that is unknown.
    """

    image: np.ndarray
    label: str
    dense: str
    pruned: str
    margin: float | None = None


def gallery_tiles(
    images: np.ndarray,
    labels: Sequence[str],
    dense: Sequence[str],
    pruned: Sequence[str],
    margins: Sequence[float] | None = None,
    most: int = _MOST,
) -> list[Tile]:
    """Images ready to be shown, the surest mistakes first.

    Args:
        images: uint8 or float (n, h, w, 1 or 3); floats are stretched over the range that they have together.
        labels: (n,) names of the true classes.
        dense: (n,) answers of the dense model.
        pruned: (n,) answers of the pruned model.
        margins: (n,) of the pruned model: probability of the true class minus that of the best other one.
        most: tiles.

    Raises:
        DataError: arrays that do not fit together, or that are no images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(f"images of shape {images.shape}; give (n, height, width, 1 or 3)")
    counts = {len(images), len(labels), len(dense), len(pruned), *([] if margins is None else [len(margins)])}
    if len(counts) > 1:
        raise DataError(f"{len(images)} images, but other numbers of labels, answers or margins; give one of each")
    order = range(len(images)) if margins is None else np.argsort(margins, kind="stable")
    chosen = list(order)[:most]
    scaled = _scaled(images)[chosen] if chosen else images
    told = [None if margins is None else float(margins[at]) for at in chosen]
    return [
        Tile(image, str(labels[at]), str(dense[at]), str(pruned[at]), margin)
        for image, at, margin in zip(scaled, chosen, told, strict=True)
    ]


def _scaled(images: np.ndarray) -> np.ndarray:
    """(n, h, w, 3) in [0, 1]: bytes by their range, numbers by the range that is in them."""
    if images.dtype == np.uint8:
        values = images.astype(np.float32) / 255
    else:
        values = np.nan_to_num(images.astype(np.float32))
        low, high = float(values.min()), float(values.max())
        values = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values


def draw_gallery(tiles: Sequence[Tile], title: str = "") -> Figure:
    """A grid of images; beneath each the true label, both answers and the margin.

    Args:
        tiles: as `gallery_tiles` makes them; without one the picture says that there is none.
        title: of the picture.
    """
    columns = min(_COLUMNS, max(3, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    shapes = [tile.image.shape[0] / tile.image.shape[1] for tile in tiles]
    lines = 3 + any(tile.margin is not None for tile in tiles)
    height = 0.93 * _TILE * min(1.6, max(shapes, default=0.2)) + _LINE * lines + 0.2
    figure = Figure(figsize=(_TILE * columns, height * rows + 0.4), layout="constrained")
    give_title(figure, title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
        axes.set_anchor("S")  # close to its caption
    for axes, tile in zip(grid, tiles, strict=False):
        axes.imshow(tile.image, interpolation="nearest" if max(tile.image.shape[:2]) < 64 else "antialiased")
        words = [("true ", tile.label), ("dense ", tile.dense), ("pruned ", tile.pruned)]
        caption = [start + shortened(name, _LONGEST) for start, name in words]
        caption += [] if tile.margin is None else [f"margin {tile.margin:+.2f}"]
        axes.text(
            0.5, -0.04, "\n".join(caption), transform=axes.transAxes, ha="center", va="top", size=7.5, parse_math=False
        )
    if not tiles:
        grid[0].text(0, 0.5, "no image is newly wrong", transform=grid[0].transAxes, color=GREY)
    return figure

"""Images that are newly wrong: tiles exact, and a grid with captions."""

from __future__ import annotations

import numpy as np
import pytest

from tfprune.errors import DataError
from tfprune.report.figures import figure_png
from tfprune.report.gallery import draw_gallery, gallery_tiles


def tiles(count: int, shape=(8, 8, 1), **more):
    images = np.random.default_rng(0).normal(size=(count, *shape))
    names = [str(place) for place in range(count)]
    return gallery_tiles(images, names, names, ["3"] * count, **more)


def test_the_surest_mistakes_come_first():
    found = tiles(4, margins=[-0.1, -0.9, 0.0, -0.5], most=3)
    assert [(tile.label, tile.dense, tile.pruned, tile.margin) for tile in found] == [
        ("1", "1", "3", -0.9),
        ("3", "3", "3", -0.5),
        ("0", "0", "3", -0.1),
    ]
    assert [tile.label for tile in tiles(30)] == [str(place) for place in range(24)]


def test_images_keep_their_brightness_relative_to_each_other():
    floats = np.array([[[[-1.0]]], [[[0.0]]], [[[3.0]]]])
    names = ["a", "b", "c"]
    found = gallery_tiles(floats, names, names, names)
    assert [tile.image.tolist() for tile in found] == [[[[0.0] * 3]], [[[0.25] * 3]], [[[1.0] * 3]]]
    grey = gallery_tiles(np.full((1, 2, 2, 3), 51, np.uint8), ["a"], ["a"], ["b"])
    np.testing.assert_allclose(grey[0].image, 0.2)
    flat = gallery_tiles(np.full((1, 2, 2, 3), 7.0), ["a"], ["a"], ["b"])
    np.testing.assert_allclose(flat[0].image, 0.5)
    broken = gallery_tiles(np.array([[[[np.nan]], [[2.0]]]]), ["a"], ["a"], ["b"])
    assert broken[0].image[:, 0, 0].tolist() == [0.0, 1.0]


def test_what_is_no_image_is_refused():
    with pytest.raises(DataError, match=r"images of shape \(3, 8\); give \(n, height, width, 1 or 3\)"):
        gallery_tiles(np.zeros((3, 8)), ["a"] * 3, ["a"] * 3, ["a"] * 3)
    with pytest.raises(DataError, match="2 images, but other numbers of labels, answers or margins"):
        gallery_tiles(np.zeros((2, 8, 8, 1)), ["a"], ["a"] * 2, ["a"] * 2)


@pytest.mark.parametrize(("count", "shape"), [(1, (8, 8, 1)), (7, (8, 8, 1)), (24, (32, 48, 3)), (24, (64, 32, 3))])
def test_captions_stand_beside_each_other(count, shape):
    found = tiles(count, shape, margins=[-0.5] * count)
    long = [
        type(tile)(tile.image, "$a$ long_name_of_a_class", "dense_name_that_is_long", "cat", tile.margin)
        for tile in found
    ]
    figure = draw_gallery(long, "w: newly wrong")
    figure_png(figure, dpi=80)
    captions = [axes.texts[0] for axes in figure.axes if axes.texts]
    assert len(captions) == count == sum(bool(axes.images) for axes in figure.axes)
    assert captions[0].get_text().splitlines()[2:] == ["pruned cat", "margin -0.50"]
    boxes = [caption.get_window_extent() for caption in captions]
    images = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[at + 1 :])
    assert not any(box.overlaps(image) for box in boxes for image in images)
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 for box in boxes)


def test_none_is_told():
    figure = draw_gallery([])
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["no image is newly wrong"]
    assert figure_png(figure)
    assert gallery_tiles(np.zeros((0, 8, 8, 1)), [], [], []) == []

"""What all pictures share: how they are written, and labels that fit."""

from __future__ import annotations

import io

import matplotlib.image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import RecipeError, StorageError
from tfprune.report.figures import Figure, figure_png, give_title, save_figure, shortened


def a_picture() -> Figure:
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written(ending, tmp_path):
    figure = a_picture()
    path = tmp_path / "new" / f"picture.{ending}"
    save_figure(figure, path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "png":
        picture = matplotlib.image.imread(path)
        assert picture.min() < 0.5 < picture.max(), "an empty picture"
    assert list(path.parent.iterdir()) == [path]


def test_a_bad_ending_writes_nothing(tmp_path):
    figure = a_picture()
    with pytest.raises(RecipeError, match=r"the ending must be one of .png, .svg, .pdf, but is '.docx'"):
        save_figure(figure, tmp_path / "new" / "picture.docx")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*picture\.png"):
        save_figure(a_picture(), tmp_path / "file" / "picture.png")


def test_a_picture_as_bytes():
    height, width, _ = matplotlib.image.imread(io.BytesIO(figure_png(a_picture(), dpi=50))).shape
    assert (height, width) == (100, 150)


def test_the_middle_of_long_labels_goes():
    assert shortened("age_over_60_and_site_b", 11) == "age_o…ite_b"
    assert shortened("short", 5) == "short"


@given(st.text(max_size=30), st.integers(1, 20))
def test_labels_fit(text, most):
    short = shortened(text, most)
    assert len(short) <= most and (short == text or len(short) == most)
    if len(text) > most > 2:
        assert text.startswith(short[: most // 2]) and text.endswith(short.split("…")[-1])


def test_a_title_fits_its_figure():
    figure = a_picture()
    give_title(figure, "$digits$: " + "a long title " * 20)
    figure_png(figure)
    box = figure._suptitle.get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert figure.get_suptitle().startswith("$digits$")

"""Files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfprune.errors import StorageError
from tfprune.storage import home, replacing, sweep


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_replaced_and_parents_made(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with replacing(tmp_path / "deep" / "file.txt") as temporary:
            temporary.write_text(content)
        with replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert (tmp_path / "deep" / "file.txt").read_text() == "second"
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["second"]


def test_a_refusal_of_the_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write") as caught, replacing(tmp_path / "file" / "inside"):
        pass
    assert "\n" not in str(caught.value)


def test_sweep_takes_temporaries_only(tmp_path: Path) -> None:
    (tmp_path / ".tmp-left").mkdir()
    (tmp_path / "kept").mkdir()
    sweep(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_home_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "mlruns"
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path / "other"))
    assert home() == tmp_path / "other"

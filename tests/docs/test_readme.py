"""The README keeps what it promises."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tfprune.recipe import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_pictures_and_links_are_in_the_repository() -> None:
    paths = re.findall(r"\]\(([^)#:]+)\)", README)
    assert "docs/images/compare.png" in paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert set(paths) <= set(listed.split())


def test_no_figure_is_left_out() -> None:
    table = [line for line in README.splitlines() if line.startswith("|")]
    assert not re.findall(r"[A-Z]+_[A-Z]+", "\n".join(table).replace("`TF_USE_LEGACY_KERAS", ""))


def test_the_recipe_that_is_explained_is_a_recipe() -> None:
    block = re.search(r"```yaml\n(name: digits .*?)```", README, re.S)
    assert block is not None
    recipe = parse(yaml.safe_load(block.group(1)))
    assert recipe.prune.target.sparsity == 0.92


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_code_is_python(block: str) -> None:
    compile(block, "README.md", "exec")

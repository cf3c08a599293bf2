"""The README and the documentation: every block of code runs, and every line of the tables of other tools."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from PIL import Image
from skimage import data
from torchvision import models

from optvis.attribution import METHODS
from optvis.cli import run
from optvis.stages import Stage

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
RUN_BY_CI = ("pip install", "git clone", "cd ", "pytest", "mkdocs ", "python docs/pictures.py")
MOST_STEPS = 2


class Block(NamedTuple):
    """A block of code: the line where it begins, its language, the name of the file that it shows, and the code."""

    line: int
    language: str
    file: str | None
    code: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in re.finditer(r'^```(\S*)(?: title="(.+?)")?\n(.*?)^```$', text, re.DOTALL | re.MULTILINE):
        yield Block(text[: found.start()].count("\n") + 2, found[1], found[2], found[3])


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take few steps; otherwise they are what a reader would see."""
    monkeypatch.setattr("optvis.stages.COARSE_STEPS", 3)
    monkeypatch.setattr("optvis.stages.FINE_STEPS", 1)
    from optvis.stages import plan_stages, plan_thresh

    def few_stages(stages: Any) -> list[Stage]:
        return [Stage(stage.size, min(stage.steps, MOST_STEPS)) for stage in plan_stages(stages)]

    def few_thresh(thresh: Any) -> tuple[int, ...]:
        steps = plan_thresh(thresh)
        return tuple(MOST_STEPS + i for i in range(len(steps)))

    monkeypatch.setattr("optvis.settings.plan_stages", few_stages)
    monkeypatch.setattr("optvis.settings.plan_thresh", few_thresh)


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks whose weights would be downloaded keep their initial weights."""

    def own_weights(self: Any, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        name = next(name for name in models.list_models() if models.get_model_weights(name) is type(self))
        return models.get_model(name, weights=None).state_dict()

    made = timm.create_model
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", own_weights)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: made(name, **options))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the photographs that the pages name."""
    (tmp_path / "photographs").mkdir()
    for name in ("cat", "photo", "photographs/chelsea"):
        Image.fromarray(data.chelsea()).save(tmp_path / f"{name}.jpg")
    Image.fromarray(data.coffee()).save(tmp_path / "photographs" / "coffee.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.fixture
def methods() -> Iterator[None]:
    """Takes methods away that a page registers."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def run_python(block: Block, page: str, space: dict[str, Any]) -> None:
    """Run a block in the names of those before it; an error names the line of the page."""
    tree = ast.parse(block.code)
    ast.increment_lineno(tree, block.line - 1)
    exec(compile(tree, page, "exec"), space)


def run_shell(block: Block, page: str) -> None:
    """Run the ``optvis`` commands of a block; the other commands are run in CI."""
    for line in block.code.replace("\\\n", " ").splitlines():
        for command in filter(None, re.split(r"&&|#.*", line)):
            if command.strip().startswith(RUN_BY_CI):
                continue
            words = shlex.split(command)
            assert words[0] == "optvis", f"{page}: no test runs {command!r}"
            assert run(words[1:]) == 0, f"{page}, line {block.line}: {command}"


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_every_block_of_a_page_runs(
    page: str, few_steps: None, no_downloads: None, folder: Path, methods: None
) -> None:
    space: dict[str, Any] = {"__name__": __name__}
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        if block.file is not None:
            (folder / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            run_python(block, page, space)
        elif block.language == "sh":
            run_shell(block, page)
        else:
            assert block.language == "text", f"{page}, line {block.line}: name the block's language: python, sh or text"


def lines_of_ours(text: str) -> list[str]:
    """The code in the last column of the tables whose last column is headed "optvis"."""
    tables = re.findall(r"^\|.*\| optvis \|\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [line.rstrip(" |\n").rsplit(" | ", 1)[1] for table in tables for line in table.splitlines()]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_each_line_for_users_of_other_tools_runs(few_steps: None, no_downloads: None, folder: Path) -> None:
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    space: dict[str, Any] = {"__name__": __name__}
    run_python(next(blocks(text)), "docs/coming-from.md", space)
    lines = lines_of_ours(text)
    assert len(lines) > 50
    for line in lines:
        exec(compile(line, line, "exec"), space)

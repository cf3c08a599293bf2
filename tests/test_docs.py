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
from safetensors.torch import save_file
from skimage import data
from torch import nn
from torchvision import models

from optvis import VIEWS
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
    """A folder with the files that the pages name: photographs, and a reader's own network."""
    (tmp_path / "photographs").mkdir()
    for name in ("cat", "photo", "photographs/chelsea"):
        Image.fromarray(data.chelsea()).save(tmp_path / f"{name}.jpg")
    Image.fromarray(data.coffee()).save(tmp_path / "photographs" / "coffee.jpg")
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n\ndef make_network():\n"
        "    network = nn.Sequential()\n    network.layer3 = nn.Conv2d(3, 8, 3)\n    return network\n"
    )
    save_file(nn.ModuleDict({"layer3": nn.Conv2d(3, 8, 3)}).state_dict(), tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.fixture
def methods() -> Iterator[None]:
    """Takes methods and views away that a page registers."""
    before = [(registry, dict(registry)) for registry in (METHODS, VIEWS)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


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


def marked(page: str) -> Any:
    """The page as a parameter; slow if it uses a network of full size."""
    text = (ROOT / page).read_text(encoding="utf-8")
    large = "load_network" in text or "efficientnet_lite0" in text
    return pytest.param(page, marks=[pytest.mark.slow] if large else [])


@pytest.mark.parametrize("page", map(marked, ["README.md", *PAGES]))
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


def code_in_tables(page: str) -> list[str]:
    """The code in the last column of tables of other tools, and in the gallery."""
    text = (ROOT / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\|.*\| optvis \|\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [line.rstrip(" |\n").rsplit(" | ", 1)[1] for table in tables for line in table.splitlines()]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)] + re.findall(r"<br> `([^`]+)`", text)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("docs/coming-from.md", 50), ("README.md", 10)])
def test_the_code_in_tables_runs(
    page: str, least: int, few_steps: None, no_downloads: None, folder: Path, methods: None
) -> None:
    space: dict[str, Any] = {"__name__": __name__, "data": data, "Image": Image}
    exec("from optvis import *; from optvis.attribution import *", space)
    run_python(next(block for block in blocks((ROOT / page).read_text()) if block.language == "python"), page, space)
    lines = code_in_tables(page)
    assert len(lines) >= least
    for line in lines:
        if line.startswith("optvis "):
            assert run(shlex.split(line)[1:]) == 0, line
        else:
            exec(compile(line, line, "exec"), space)

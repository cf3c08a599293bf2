"""docs/extending.md: each of its examples is run, is as short as it says, and has all that built-in ones have."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from optvis import VIEWS, Context, OptVis, View, redraw
from optvis.attribution import METHODS, attribute
from optvis.demo import DemoNetwork, demo_network
from optvis.demo.patterns import make_pictures

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
MOST = {"objective": 10, "parameterisation": 15, "transform": 10, "attribution method": 10, "recipe": 30, "view": 30}
STAGES = [(32, 6), (48, 4)]


def blocks() -> dict[str, str]:
    """The code under each heading."""
    found = re.findall(r"^## An? (.+?)\n(.*?)```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
    return {name: code for name, _, code in found}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What all the examples define."""
    space: dict[str, Any] = {"__name__": __name__}
    for code in blocks().values():
        exec(code, space)
    yield space
    METHODS.pop("magnitude_cam")
    VIEWS.pop("silhouette")


@pytest.fixture(scope="module")
def network() -> DemoNetwork:
    return demo_network()


@pytest.mark.parametrize("name", MOST)
def test_an_example_is_short(name: str) -> None:
    (definition,) = [
        node for node in ast.parse(blocks()[name]).body if not isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    first = min([definition.lineno, *(decorator.lineno for decorator in definition.decorator_list)])
    lines = blocks()[name].splitlines()[first - 1 : definition.end_lineno]
    code = [line for line in lines if line.strip() and '"""' not in line]
    assert len(code) <= MOST[name], "\n".join(code)


def test_the_objective(made: dict[str, Any], network: DemoNetwork, tmp_path: Path) -> None:
    Sparsest = made["Sparsest"]
    result = OptVis(network, Sparsest("features/12", [3, -1, 7])).vis(stages=STAGES)
    start = OptVis(network, Sparsest("features/12", [3, -1, 7])).vis(stages=STAGES, lr=0)
    assert (result.scores > start.scores + 0.1).all() and len(result) == 3
    alone = OptVis(network, Sparsest("features/12", 7)).vis(stages=STAGES)
    assert torch.allclose(result.images[2], alone.images[0], atol=0.02)
    again = redraw(result.save(tmp_path / "a.png"), network)
    assert torch.equal(again.images, result.images)
    mixed = OptVis(network, -2 * Sparsest("features/12", 3) + 1).vis(stages=STAGES)
    assert mixed.settings["objective"] == "-2 * Sparsest('features/12', 3) + 1"
    with pytest.raises(ValueError, match="no channel 500 in layer 'features/12'"):
        OptVis(network, Sparsest("features/12", 500)).vis()


def test_the_parameterisation(made: dict[str, Any], network: DemoNetwork, tmp_path: Path) -> None:
    start = made["Stripes"]((48, 64), batch=2, seed=3)
    result = OptVis(network, "features/12:7").vis(start, stages=[(24, 4), ((48, 64), 6)])
    assert result.images.shape == (2, 3, 48, 64) and torch.equal(result.images[:, :, 0], result.images[:, :, -1])
    assert (result.scores > OptVis(network, "features/12:7").vis(start, thresh=1, lr=0).scores).all()
    again = redraw(result.save(tmp_path / "a.png"), network)
    assert torch.equal(again.images, result.images)
    assert torch.equal(start.take([1])(), start()[1:])


def test_the_transform(made: dict[str, Any], network: DemoNetwork, tmp_path: Path) -> None:
    optvis = OptVis(network, ["features/12:7", "features/12:3"], transforms=[made["Fade"](0.5)])
    result = optvis.vis(stages=STAGES)
    alone = OptVis(network, "features/12:3", transforms=[made["Fade"](0.5)]).vis(stages=STAGES)
    assert torch.allclose(result.images[1], alone.images[0], atol=0.02)
    assert "Fade(amount=0.5)" in result.settings["transforms"]
    again = redraw(result.save(tmp_path / "a.png"), network)
    assert torch.equal(again.images, result.images)


def test_the_attribution_method(made: dict[str, Any], network: DemoNetwork) -> None:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    target = lambda output: output["pattern"][:, 3]  # noqa: E731
    plain = attribute(network, image, "gradcam", target, layer="features/21")
    found = attribute(network, image, "magnitude_cam", target, layer="features/21", power=0.0)
    assert found.values.shape == plain.values.shape and "magnitude_cam" in METHODS
    assert METHODS["magnitude_cam"].summary.startswith("|mean(G)|^power A")
    with pytest.raises(TypeError, match="magnitude_cam has no option 'powr': its options are power"):
        attribute(network, image, "magnitude_cam", target, layer="features/21", powr=2)


def test_the_recipe(made: dict[str, Any], network: DemoNetwork) -> None:
    result = made["both_ends"](network, "features/12", 7, stages=STAGES)
    assert result.labels == ("most features/12:7", "least features/12:7")
    assert result.scores[0] > -result.scores[1]
    assert result.grid().height > result.images.shape[-2]


def test_the_view(made: dict[str, Any], network: DemoNetwork) -> None:
    images = make_pictures(2, seed=3)[0]
    figure = View("silhouette", share=0.3)(network, Context(images=images))
    white = torch.tensor([min(figure.picture.getpixel((x, y))) == 255 for x in range(128) for y in range(64)])
    assert figure.picture.size == (128, 64) and 0.6 < white.float().mean() < 0.75
    assert len(figure.values["labels"]) == 2 and VIEWS["silhouette"].help["share"].startswith("of the image")

"""Settings as data: a saved picture is loaded, and drawn again to the bit from its file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from optvis import (
    L1,
    L2,
    Channel,
    Class,
    CPPNParam,
    DeepDream,
    Direction,
    ImageFile,
    ImageParam,
    Layer,
    Neuron,
    OptVis,
    TotalVariation,
    Visualisation,
    redraw,
)
from optvis.demo import DemoNetwork, demo_network, judge_network
from optvis.recipes import collage
from optvis.settings import Settings, adam
from optvis.transforms import Blur, ColorJitter, Crop, Flip, Jitter, Noise, Pad, RandomRotate, RandomScale
from optvis.visualisation import read_settings, read_tensors

STAGES = [(32, 3), (48, 3)]
VECTOR = torch.randn(64, generator=torch.Generator().manual_seed(0))
PHOTO = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network() -> DemoNetwork:
    return demo_network()


OBJECTIVES: dict[str, Any] = {
    "channel": "features/12:7",
    "channels": Channel("features/12", [1, 2, 2]),
    "class": Class("pattern", ["rings", "dots"]),
    "pair": Class("pattern", "dots") + Class("colour", "green"),
    "neuron": Neuron("features/12", 3, (2, 1)),
    "direction": Direction("features/12", VECTOR, "dot_cosine", 1.5),
    "directions": Direction("features/12", torch.stack([VECTOR, -VECTOR]), "cosine"),
    "layer": Layer("features/6"),
    "dream": DeepDream("features/6"),
    "sum": 0.5 * Channel("features/9", 4) - 2 * Channel("features/6", 1) - 0.1 * TotalVariation() - L1() + 0.3 * L2(),
    "list": ["features/12:3", "features/9:7", Layer("features/6")],
}
RUNS: dict[str, dict[str, Any]] = {
    "stages": {"stages": STAGES},
    "default": {"thresh": 6},
    "fourier": {"img_param": ImageParam((40, 48), batch=1, seed=5), "thresh": 4},
    "pixel": {"img_param": ImageParam(40, fft=False), "thresh": 4},
    "cppn": {"img_param": CPPNParam(40, seed=3), "thresh": 4},
    "photograph": {"img_param": ImageFile(PHOTO, 40), "lr": 0.02, "thresh": 4},
    "photograph in pixels": {"img_param": ImageFile(PHOTO, 40, fft=False), "thresh": 4},
    "plain": {"stages": STAGES, "transform": False, "wd": 0.01, "lr": 0.2, "seed": 9},
    "half": {"stages": STAGES, "precision": "bf16"},
    "plateau": {"stages": STAGES, "until": "plateau"},
    "tiles": {"stages": [(64, 3)], "tile": 40},
}
OWN: dict[str, dict[str, Any]] = {
    "warps": {"transforms": [Pad(), Jitter(0.2), RandomScale(0.7, 1.1), RandomRotate(30), Crop(0.8), Flip()]},
    "colours": {"transforms": [Blur(0.02), Noise(0.1), ColorJitter(0.2, 0.1, 0.3, 0.1), Jitter(fill="border")]},
    "adamw": {"optim": torch.optim.AdamW, "channel_noise": 0.3, "relu_softness": 0.2},
    "normalisation": {"mean": [0.3, 0.4, 0.5], "std": 0.2, "channel_axis": {"features/12": 1}},
}


def check(result: Visualisation, path: Path, again: Visualisation) -> None:
    assert torch.equal(again.images, result.images) and torch.equal(again.scores, result.scores)
    assert torch.equal(again.history, result.history)
    loaded = Visualisation.load(path)
    assert [a.tobytes() for a in loaded.to_pil()] == [b.tobytes() for b in result.to_pil()]
    assert torch.equal(loaded.scores, result.scores) and loaded.settings == json.loads(json.dumps(result.settings))
    assert loaded.labels == result.labels and loaded.pictures == result.pictures


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_drawn_again(network: DemoNetwork, name: str, tmp_path: Path) -> None:
    result = OptVis(network, OBJECTIVES[name]).vis(stages=STAGES)
    path = result.save(tmp_path / "a.png")
    check(result, path, redraw(path, demo_network()))


@pytest.mark.parametrize("name", RUNS)
def test_every_parameterisation_and_run_is_drawn_again(network: DemoNetwork, name: str, tmp_path: Path) -> None:
    result = OptVis(network, "features/12:7").vis(**RUNS[name])
    path = result.save(tmp_path / "a.png")
    check(result, path, redraw(path, network))


@pytest.mark.parametrize("name", OWN)
def test_every_transform_and_choice_is_drawn_again(network: DemoNetwork, name: str, tmp_path: Path) -> None:
    result = OptVis(network, "features/12:7", **OWN[name]).vis(stages=STAGES)
    path = result.save(tmp_path / "a.png")
    check(result, path, redraw(path, network))


def test_a_collage_in_several_batches_is_drawn_again(network: DemoNetwork, tmp_path: Path) -> None:
    result = collage(network, "features/12", range(5), size=32, batch=2, thresh=6)
    path = result.save(tmp_path / "a.png")
    check(result, path, redraw(path, network))


def test_a_continued_picture_is_drawn_again(network: DemoNetwork, tmp_path: Path) -> None:
    optvis = OptVis(network, "features/12:7")
    result = optvis.vis(optvis.vis(stages=STAGES).param, thresh=4)
    path = result.save(tmp_path / "a.png")
    check(result, path, redraw(path, network))


def test_the_settings_stand_without_defaults(network: DemoNetwork) -> None:
    result = OptVis(network, "features/12:7").vis(thresh=6)
    plan = result.settings["plan"]
    assert plan["stages"] and plan["channel_noise"] > 0 and plan["precision"] == "fp32" and plan["batch"] == 8
    assert plan["mean"] == DemoNetwork.image_mean
    settings = Settings.from_data(json.loads(json.dumps(plan)), {})
    assert settings.optim is adam and settings.to_data({}) == plan


def test_a_saved_interrupted_run_is_drawn_whole(network: DemoNetwork, tmp_path: Path) -> None:
    optvis = OptVis(network, Channel("features/12", range(3)))
    result = optvis.vis(stages=STAGES, batch=1, callback=lambda step, state: state.pictures != [1])
    assert result.pictures == [0]
    again = redraw(result.save(tmp_path / "a.png"), network)
    assert torch.equal(again.images, result.images) and again.labels == result.labels


def jostle(images: Tensor) -> Tensor:
    return images + 0.01


@pytest.mark.parametrize(
    ("own", "run", "message"),
    [
        ({"transforms": [jostle]}, {}, "a function that a file cannot hold: .*jostle"),
        ({"grad_tfms": lambda g: g}, {}, "a function that a file cannot hold"),
        ({"optim": lambda p, lr, weight_decay: torch.optim.SGD(p, lr)}, {}, "an optimiser that a file cannot hold"),
        ({}, {"until": lambda picture, scores: False}, "a function that a file cannot hold"),
    ],
)
def test_functions_are_refused(network: DemoNetwork, own: Any, run: Any, message: str, tmp_path: Path) -> None:
    path = OptVis(network, "features/12:7", **own).vis(stages=STAGES, **run).save(tmp_path / "a.png")
    assert len(Visualisation.load(path)) == 1
    with pytest.raises(ValueError, match=message):
        redraw(path, network)


def test_another_network_and_other_weights(network: DemoNetwork, tmp_path: Path) -> None:
    path = OptVis(network, "features/12:7").vis(stages=STAGES).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="drawn from a DemoNetwork, not from a JudgeNetwork"):
        redraw(path, judge_network())
    with pytest.raises(ValueError, match="was drawn from a DemoNetwork made in Python: give it"):
        redraw(path)
    other = demo_network()
    with torch.no_grad():
        other.features[0].weight.mul_(2)
    with pytest.warns(UserWarning, match="other weights"):
        redraw(path, other)


def test_what_is_no_saved_picture(tmp_path: Path, network: DemoNetwork) -> None:
    with pytest.raises(FileNotFoundError):
        Visualisation.load(tmp_path / "none.png")
    path = OptVis(network, "features/12:7").vis(stages=STAGES).save(tmp_path / "a.jpg")
    for read in (Visualisation.load, read_settings, lambda path: redraw(path, network)):
        with pytest.raises(ValueError, match="carries no settings"):
            read(path)
    assert read_tensors(path) == {}
    with pytest.raises(ValueError, match="settings hold 'nonsense'"):
        Settings.from_data({"nonsense": 1}, {})

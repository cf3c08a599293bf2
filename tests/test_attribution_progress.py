"""The progress bar of attribution methods that take many passes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import network_file
from torch import nn

from optvis import attribute
from optvis.attribution import METHODS, progress
from optvis.cli import run

SLOW = {
    "scorecam": {"batch_size": 3},
    "ablationcam": {"batch_size": 3},
    "smoothgrad": {"samples": 5},
    "smoothgrad_sq": {"samples": 5},
    "vargrad": {"samples": 5},
    "gradient_shap": {"samples": 5},
    "layer_conductance": {"steps": 5, "batch_size": 3},
    "internal_influence": {"steps": 5, "layer": "0"},
    "integrated_gradients": {},
    "occlusion": {"window": 6, "stride": (3, 4)},
    "feature_ablation": {"segments": (2, 3)},
    "lime": {"samples": 9, "alpha": 1e-5},
    "kernel_shap": {"samples": 9},
}


class Bar:
    """Counts as tqdm does."""

    def __init__(self, total: int, verbose: Any, name: str) -> None:
        self.total, self.verbose, self.name, self.n, self.closed = total, verbose, name, 0, False

    def update(self, n: int) -> None:
        self.n += n

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    made: list[Bar] = []

    def bar(*given: Any) -> Bar:
        made.append(Bar(*given))
        return made[-1]

    monkeypatch.setattr(progress, "progress_bar", bar)
    return made


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6, 3)).eval()


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 16, 18, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", SLOW)
def test_a_method_of_many_passes_counts_them(method: str, bars: list[Bar]) -> None:
    options = {"mean": 0, "std": 1, **SLOW[method]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples that are too few
        shown = attribute(network(), images(), method, 1, **options)
    (bar,) = bars
    assert bar.name == method and bar.closed and bar.n == bar.total > 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        silent = attribute(network(), images(), method, 1, verbose=False, **options)
    assert bars[1].verbose is False and torch.equal(shown.values, silent.values)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "deeplift"])
def test_a_method_of_few_passes_shows_none(method: str, bars: list[Bar]) -> None:
    attribute(network(), images(), method, 1, mean=0, std=1)
    assert not bars


def test_steps_that_are_added_are_counted(bars: list[Bar]) -> None:
    steep = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Steep()).eval()
    attribute(steep, images(1), "integrated_gradients", 0, mean=0, std=1)
    assert bars[0].n == bars[0].total > 52


class Steep(nn.Module):
    """A score that rises within a small part of the path."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(200 * (x - 0.3))


def test_several_layers_and_views_share_a_bar(bars: list[Bar]) -> None:
    attribute(network(), images(), "ablationcam", 1, ["0", "2"], aug_smooth=True, mean=0, std=1)
    (bar,) = bars
    assert bar.n == bar.total == 6 * 2 * (4 + 6)


def test_it_is_quiet_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars: list[Bar]) -> None:
    from PIL import Image

    (tmp_path / "nets.py").write_text(network_file(16, 24))
    Image.new("RGB", (24, 16), "red").save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    command = ["attribute", "nets.py:Small", "photo.png", "--method", "occlusion"]
    assert run([*command]) == 0 and run([*command, "--quiet"]) == 0
    assert [bar.verbose for bar in bars] == [True, False]


def test_what_verbose_takes() -> None:
    with pytest.raises(ValueError, match="verbose='never': choose True, False or 'always'"):
        attribute(network(), images(), mean=0, std=1, verbose="never")


def test_no_bar_outside_of_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert "ipykernel" not in sys.modules
    attribute(network(), images(), "occlusion", 1, mean=0, std=1)
    assert not capfd.readouterr().err
    attribute(network(), images(), "occlusion", 1, mean=0, std=1, verbose="always")
    assert "occlusion: 100%" in capfd.readouterr().err
    assert set(SLOW) <= set(METHODS)

"""The type in which a network computes: decided by the hardware or given, and how far the pictures agree."""

from __future__ import annotations

import pytest
import torch
from small_networks import Tiny, seeded, snapshot
from torch import nn

from optvis import ImageParam, OptVis
from optvis.network.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_half_precision_run_climbs_as_the_full_one(precision: str) -> None:
    network = seeded(Tiny)
    before = snapshot(network)
    optvis = OptVis.from_layer(network, "second", [1, 4])
    full = optvis.vis(ImageParam(32, 2), stages=[(32, 40)], precision="fp32")
    half = optvis.vis(ImageParam(32, 2), stages=[(32, 40)], precision=precision)
    assert half.settings["precision"] == {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert half.images.dtype == half.scores.dtype == torch.float32
    assert torch.allclose(half.scores, full.scores, rtol=0.1)
    assert snapshot(network) == before


def test_small_gradients_survive_half_precision() -> None:
    """A gradient of 1e-8, which float16 rounds to nothing, still reaches the image."""
    network = seeded(Tiny)
    with torch.no_grad():
        network.second.weight *= 1e-3
    optvis = OptVis(network, 1e-3 * OptVis.from_layer(network, "second", 1).objective)
    start = ImageParam(32)
    full, half = (
        optvis.vis(start, stages=[(32, 20)], transform=False, precision=precision).images
        for precision in ("fp32", "fp16")
    )
    climbed = (full - start()).norm()
    assert climbed > 0.1 and (half - full).norm() < 0.2 * climbed


@pytest.mark.native_precision
def test_the_precision_is_decided_by_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, has in (("_is_amx_tile_supported", False), ("_is_avx512_bf16_supported", True)):
        monkeypatch.setattr(torch.cpu, name, lambda has=has: has, raising=False)
    network = seeded(Tiny)
    assert choose_precision("auto", CPU, network) == torch.bfloat16
    assert choose_precision("fp32", CPU, network) == torch.float32
    depthwise = nn.Sequential(network, nn.Conv2d(4, 8, 3, groups=4))
    assert choose_precision("auto", CPU, depthwise) == torch.float32, "no faster in bfloat16, and worse"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision("auto", CPU, network) == torch.float32
    assert choose_precision("bf16", CPU, network) == torch.bfloat16
    assert choose_precision("auto", CPU, seeded(Tiny).half()) == torch.float16, "as the network comes"


def test_an_unknown_precision_is_refused_before_the_first_step() -> None:
    with pytest.raises(ValueError, match="precision 'half': choose 'auto', 'fp32', 'bf16' or 'fp16'"):
        OptVis.from_layer(seeded(Tiny), "second", 1).vis(ImageParam(16), thresh=1, precision="half")

"""The working copy: the same activations and gradients, batch norm folded, the caller's network untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn
from torchvision import models

from optvis import ImageParam, OptVis
from optvis.network import Tap, frozen, working_copy
from optvis.network.working_copy import choose_precision

CPU = torch.device("cpu")


class Normed(nn.Module):
    """Convolutions with batch norm after them, in each of the ways that may, or may not, be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.twice, self.twice_norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.forked, self.forked_norm = nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.bare, self.bare_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, affine=False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.2, 3)
                if module.affine:
                    nn.init.uniform_(module.weight, -2, 2)
                    nn.init.uniform_(module.bias, -1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        x = self.twice_norm(self.twice(self.twice_norm(self.twice(x)).relu()))
        y = self.forked(x)
        x = self.forked_norm(y) + y
        return self.bare_norm(self.bare(x))


def made(network: nn.Module, layers: list[str], size: int = 32, precision: str = "fp32") -> tuple[Any, Any]:
    def look(net: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> dict[str, Tensor]:
        x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        with Tap(net, layers, dict.fromkeys(layers, 1)) as tap:
            return tap(x.to(dtype).contiguous(memory_format=layout))

    with frozen(network):
        return working_copy(network, layers, look, CPU, precision)[0], look


def gradient(network: nn.Module, layer: str, size: int = 32) -> Tensor:
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)).requires_grad_()
    with frozen(network), Tap(network, [layer]) as tap:
        tap(x)[layer].square().mean().backward()
    assert x.grad is not None
    return x.grad


def test_batch_norm_is_folded_where_nothing_else_takes_what_the_convolution_gives() -> None:
    network = seeded(Normed)
    before = snapshot(network)
    copy, _ = made(network, ["bare_norm"])
    gone = {name for name, module in copy.named_modules() if isinstance(module, nn.Identity)}
    assert gone == {"norm", "bare_norm"}
    assert snapshot(network) == before and copy is not network
    assert torch.allclose(gradient(copy, "bare_norm"), gradient(network, "bare_norm"), atol=1e-6)


def test_a_convolution_that_is_looked_at_keeps_its_output() -> None:
    network = seeded(Normed)
    copy, look = made(network, ["conv", "bare"])
    assert isinstance(copy.norm, nn.BatchNorm2d) and isinstance(copy.bare_norm, nn.BatchNorm2d)
    plain, worked = (
        look(network, torch.float32, torch.contiguous_format),
        look(copy, torch.float32, torch.channels_last),
    )
    assert all(torch.allclose(plain[layer], worked[layer], atol=1e-4) for layer in plain)


def test_a_convolution_with_hooks_of_its_own_is_not_folded() -> None:
    network = seeded(Normed)
    network.conv.register_forward_hook(lambda *_: None)
    copy, _ = made(network, ["bare"])
    assert isinstance(copy.norm, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("make", "layer", "left"),
    [
        (models.resnet18, "layer3/0", 0),
        (models.mobilenet_v2, "features/10", 0),
        (models.densenet121, "features/norm0", 0),
    ],
)
def test_known_networks_work_as_they_do(make: Callable[..., nn.Module], layer: str, left: int) -> None:
    network = seeded(make)
    copy, _ = made(network, [layer], 64)
    norms = [module for module in copy.modules() if isinstance(module, nn.BatchNorm2d)]
    used = [module for module in norms if not any(module is other for other in network.modules())]
    assert len(norms) < sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) and used
    one, other = gradient(network, layer, 64), gradient(copy, layer, 64)
    assert (one - other).norm() < 1e-3 * one.norm()


def test_what_is_not_used_is_shared() -> None:
    network = seeded(Tiny)
    copy, _ = made(network, ["second"])
    assert copy.head.weight is network.head.weight
    assert copy.first.weight is not network.first.weight
    assert copy.first.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_views_its_activations_works_in_its_own_layout() -> None:
    class Viewing(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.relu(self.first(x)))
            return self.head(x.view(x.shape[0], x.shape[1], -1).mean(2))

    network = seeded(Viewing)
    plain = OptVis.from_layer(seeded(Tiny), "head", 1).vis(ImageParam(16), thresh=6)
    viewed = OptVis.from_layer(network, "head", 1).vis(ImageParam(16), thresh=6)
    assert torch.allclose(plain.images, viewed.images, atol=1e-4)


def test_a_network_that_cannot_be_copied_is_used_itself() -> None:
    class Single(Tiny):
        def __deepcopy__(self, memo: Any) -> None:
            raise RuntimeError("there is but one")

    network = seeded(Single)
    assert made(network, ["second"])[0] is network
    assert OptVis.from_layer(network, "second", 1).vis(ImageParam(16), thresh=3).scores.isfinite().all()
    with pytest.raises(ValueError, match=r"Single does not work in precision 'bf16' \(there is but one\)"):
        OptVis.from_layer(network, "second", 1).vis(ImageParam(16), thresh=3, precision="bf16")


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


def test_the_precision_is_decided_by_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, has in (("_is_amx_tile_supported", False), ("_is_avx512_bf16_supported", True)):
        monkeypatch.setattr(torch.cpu, name, lambda has=has: has, raising=False)
    assert choose_precision("auto", CPU, torch.float32) == torch.bfloat16
    assert choose_precision("fp32", CPU, torch.float32) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision("auto", CPU, torch.float32) == torch.float32
    assert choose_precision("auto", CPU, torch.float16) == torch.float16, "as the network comes"
    assert choose_precision("bf16", CPU, torch.float32) == torch.bfloat16


def test_an_unknown_precision_is_refused_before_the_first_step() -> None:
    with pytest.raises(ValueError, match="precision 'half': choose 'auto', 'fp32', 'bf16' or 'fp16'"):
        OptVis.from_layer(seeded(Tiny), "second", 1).vis(ImageParam(16), thresh=1, precision="half")

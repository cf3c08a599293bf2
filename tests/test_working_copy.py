"""The working copy: the same activations and gradients, batch norm folded, the network untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import Kept, Tiny, seeded, snapshot
from torch import Tensor, nn
from torchvision import models

from optvis import ImageParam, OptVis
from optvis.network import Tap, shadow, working_copy

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


def looking(layers: list[str], size: int = 32) -> Any:
    def look(net: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> dict[str, Tensor]:
        x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        with Tap(net, layers, dict.fromkeys(layers, 1)) as tap:
            return tap(x.to(dtype).contiguous(memory_format=layout))

    return look


def made(network: nn.Module, layers: list[str], size: int = 32, precision: str = "fp32") -> tuple[Any, Any]:
    look = looking(layers, size)
    return working_copy(shadow(network), layers, look, CPU, precision)[0], look


def gradient(network: nn.Module, layer: str, size: int = 32) -> Tensor:
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)).requires_grad_()
    with Tap(shadow(network), [layer]) as tap:
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
    assert copy.head.weight.data_ptr() == network.head.weight.data_ptr()
    assert copy.first.weight.data_ptr() != network.first.weight.data_ptr()
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


class Single(Tiny):
    """Works only as the first module object that was called: a shadow, and none of its copies."""

    def __init__(self) -> None:
        super().__init__()
        self.first_called: list[int] = Kept()

    def forward(self, x: Tensor) -> Any:
        self.first_called.append(id(self))
        if self.first_called[0] != id(self):
            raise RuntimeError("there is but one")
        return super().forward(x)


def test_a_network_whose_copies_do_not_work_is_used_itself() -> None:
    own = shadow(seeded(Single))
    assert working_copy(own, ["second"], looking(["second"]), CPU, "fp32")[0] is own


def test_a_run_uses_the_shadow_where_no_copy_works() -> None:
    network = seeded(Single)
    optvis = OptVis.from_layer(network, "second", 1)
    assert optvis.vis(ImageParam(16), thresh=3).scores.isfinite().all()
    with pytest.raises(ValueError, match=r"Single does not work in precision 'bf16' \(there is but one\)"):
        optvis.vis(ImageParam(16), thresh=3, precision="bf16")


def test_copies_of_networks_that_refuse_deepcopy_are_made_all_the_same() -> None:
    class Alone(Tiny):
        def __deepcopy__(self, memo: Any) -> None:
            raise RuntimeError("there is but one")

    network = seeded(Alone)
    copy, _ = made(network, ["second"], precision="bf16")
    assert type(copy) is Alone and copy.first.weight.dtype == torch.bfloat16
    assert network.first.weight.dtype == torch.float32

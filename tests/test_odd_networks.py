"""Every kind of objective on every kind of network: it draws and hands the network back, or says why it does not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import transformers
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torchvision.models import DenseNet, MobileNetV2, SwinTransformer, VisionTransformer

from optvis import (
    Batch,
    Channel,
    Class,
    DeepDream,
    Direction,
    ImageParam,
    Layer,
    Neuron,
    Objective,
    OptVis,
    TotalVariation,
)

STEPS = 6


@dataclass
class Odd:
    """A network, two layers of it to draw, and what the first of them has."""

    make: Callable[[], nn.Module]
    layer: str
    other: str
    width: int
    size: int | tuple[int, int] = 40
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    refused: str | None = None


class Functional(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Reused(nn.Module):
    """A residual block whose one in-place ReLU is called three times, each time upon the layer just before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        return self.relu(y)


class Recurrent(Tiny):
    """The same convolution twice in one pass."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.relu(self.second(self.relu(self.first(x)))))
        return self.head(x.mean((2, 3)))


class GivesDict(Tiny):
    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.second(self.relu(self.first(x)))
        return {"step": 3, "maps": x, "logits": self.head(x.mean((2, 3)))}


class GivesTuple(Tiny):
    def forward(self, x: Tensor) -> tuple[Any, ...]:
        x = self.second(self.relu(self.first(x)))
        return torch.arange(3), [x], self.head(x.mean((2, 3)))


class TwoInputs(Tiny):
    """A second input for each picture, and a number."""

    def forward(self, x: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
        assert style.shape == (x.shape[0], 8)
        x = self.relu(self.first(x)) + strength * style[..., None, None]
        return self.head(self.second(x).mean((2, 3)))


class Dropping(Tiny):
    """Drops at random whatever the mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.dropout(self.relu(self.first(x)), 0.2, training=True))
        return self.head(x.mean((2, 3)))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 8, 3, 1, 1))
        self.body.append(nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))


class Swallowing(Tiny):
    """Catches what goes wrong within, all of it."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.second(self.relu(self.first(x)))
        except Exception:
            x = x.mean() * torch.ones(x.shape[0], 8, 2, 2)
        try:
            return self.head(x.mean((2, 3)))
        except:  # noqa: E722
            return torch.zeros(x.shape[0], 5)


class WithoutGradient(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class InferenceOnly(Tiny):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def tiny(kind: type[Tiny] = Tiny, **options: Any) -> Tiny:
    return seeded(kind, **options)


def changed(change: Callable[[Any], Any], make: Callable[[], nn.Module] = tiny) -> Callable[[], nn.Module]:
    """A network after ``change``, which gives another one or changes it in place."""

    def made() -> nn.Module:
        network = make()
        return new if isinstance(new := change(network), nn.Module) else network

    return made


def freeze(network: nn.Module) -> None:
    network.first.requires_grad_(False)


def leave_gradients(network: nn.Module) -> None:
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    network.head.weight.register_hook(lambda gradient: gradient)
    network.first.register_forward_hook(lambda module, inputs, output: None)
    network.second.register_full_backward_pre_hook(lambda module, gradient: None)


def scale_norm(network: nn.Module) -> None:
    """The mean square of what a fresh LayerNorm puts out is 1 whatever it is shown: nothing to climb."""
    nn.init.uniform_(network.layernorm.weight, 0.2, 2.0, generator=torch.Generator().manual_seed(0))


def train_a_part(network: nn.Module) -> None:
    network.body[1].train()


def make_orthogonal(network: nn.Module) -> None:
    parametrizations.orthogonal(network.second)


def as_weights(parametrise: Callable[[nn.Module], Any]) -> Callable[[nn.Module], None]:
    def change(network: nn.Module) -> None:
        parametrise(network.first)
        parametrise(network.second)

    return change


def compile_part(network: nn.Module) -> None:
    network.second = torch.compile(network.second, backend="eager")
    network.first.compile(backend="eager")


def compile_and_use(network: nn.Module) -> nn.Module:
    compiled = torch.compile(network, backend="eager")
    compiled(torch.zeros(1, 3, 40, 40))
    return compiled


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return tiny()


def swin() -> nn.Module:
    return seeded(SwinTransformer, [2, 2], 8, [1, 1], [2, 2], [4, 4], num_classes=5)


IS_NEW = int(transformers.__version__.partition(".")[0]) >= 5  # layers were renamed in transformers 5
VIT_BLOCKS, VIT_MLP = ("layers", "mlp") if IS_NEW else ("encoder/layer", "output")


def vit_config() -> Any:
    return transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )


def resnet_config() -> Any:
    return transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")


SMALL = {"layer": "second", "other": "first", "width": 8}

ODD = {
    "torchvision ViT": Odd(
        lambda: seeded(VisionTransformer, 32, 8, 2, 2, 16, 32, num_classes=5),
        "encoder/layers/encoder_layer_1", "encoder/layers/encoder_layer_0/mlp", 16, size=32,
    ),
    "torchvision ViT, pictures of another size": Odd(
        lambda: seeded(VisionTransformer, 32, 8, 2, 2, 16, 32, num_classes=5),
        "encoder/layers/encoder_layer_1", "encoder/layers/encoder_layer_0", 16, size=(36, 48),
    ),
    "timm ViT": Odd(
        lambda: seeded(timm.create_model, "test_vit", img_size=64), "blocks/1", "blocks/0/mlp", 64, size=64
    ),
    "timm ViT with registers": Odd(
        lambda: seeded(timm.create_model, "test_vit", img_size=64, reg_tokens=4), "blocks/1", "blocks/0", 64, size=64
    ),
    "timm Swin": Odd(
        lambda: seeded(
            timm.create_model, "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=16,
            depths=(1, 1), num_heads=(2, 2),
        ),
        "layers/1", "layers/0", 32, size=64,
    ),
    "timm ConvNeXt": Odd(lambda: seeded(timm.create_model, "test_convnext"), "stages/1", "stages/0", 32, size=64),
    "timm EfficientNet": Odd(lambda: seeded(timm.create_model, "test_efficientnet"), "blocks/2", "blocks/1", 32,
                             size=64),
    "torchvision Swin": Odd(swin, "features/3", "features/1", 16, size=32),
    "torchvision Swin, its attention": Odd(swin, "features/3/0/attn", "features/1/0/mlp", 16, size=(24, 40)),
    "DenseNet": Odd(lambda: seeded(DenseNet, 4, (2, 2), 8, num_classes=5), "features/denseblock2", "features/norm5",
                    16, size=64),
    "MobileNetV2": Odd(lambda: seeded(MobileNetV2, num_classes=5, width_mult=0.25), "features/4", "features/2/conv/0",
                       8),
    "one in-place ReLU reused": Odd(lambda: seeded(Reused), "bn2", "conv1", 8),
    "one in-place ReLU reused, the ReLU": Odd(lambda: seeded(Reused), "relu", "stem", 8),
    "a layer called twice": Odd(lambda: tiny(Recurrent), **SMALL),
    "functional ReLU": Odd(lambda: tiny(Functional), **SMALL),
    "1 channel": Odd(lambda: tiny(channels=1), **SMALL, channels=1),
    "4 channels": Odd(lambda: tiny(channels=4), **SMALL, channels=4),
    "6 channels": Odd(lambda: tiny(channels=6), **SMALL, channels=6, options={"mean": 0.5, "std": [0.25] * 6}),
    "48 x 80": Odd(tiny, **SMALL, size=(48, 80)),
    "33 x 33": Odd(tiny, **SMALL, size=33),
    "dict": Odd(lambda: tiny(GivesDict), "", "first", 8),
    "tuple": Odd(lambda: tiny(GivesTuple), "", "first", 8),
    "logits": Odd(tiny, "head", "second", 5),
    "Hugging Face ViT": Odd(
        lambda: seeded(transformers.ViTModel, vit_config(), add_pooling_layer=False), f"{VIT_BLOCKS}/1",
        f"{VIT_BLOCKS}/0", 16, size=32,
    ),
    "Hugging Face ViT, its output": Odd(
        changed(scale_norm, lambda: seeded(transformers.ViTModel, vit_config(), add_pooling_layer=False)),
        "", f"{VIT_BLOCKS}/0/{VIT_MLP}", 16, size=32,
    ),
    "Hugging Face ResNet": Odd(
        lambda: seeded(transformers.ResNetModel, resnet_config()), "encoder/stages/1", "embedder", 12, size=64
    ),
    "Hugging Face ResNet, its output": Odd(
        lambda: seeded(transformers.ResNetModel, resnet_config()), "", "encoder", 12, size=64
    ),
    "second input": Odd(lambda: tiny(TwoInputs), **SMALL, options={"extra_inputs": (torch.ones(1, 8), 0.5)}),
    "second input by name": Odd(
        lambda: tiny(TwoInputs), **SMALL, options={"extra_inputs": {"style": torch.ones(1, 8)}}
    ),
    "frozen": Odd(changed(freeze), **SMALL),
    "gradients and hooks of its own": Odd(changed(leave_gradients), **SMALL),
    "inside no_grad": Odd(tiny, **SMALL, around=torch.no_grad),
    "inside inference_mode": Odd(tiny, **SMALL, around=torch.inference_mode),
    "inside autocast": Odd(tiny, **SMALL, around=lambda: torch.autocast("cpu", torch.bfloat16)),
    "float16": Odd(changed(lambda network: network.half()), **SMALL),
    "bfloat16": Odd(changed(lambda network: network.bfloat16()), **SMALL),
    "float64": Odd(changed(lambda network: network.double()), **SMALL),
    "channels last": Odd(changed(lambda network: network.to(memory_format=torch.channels_last)), **SMALL),
    "DataParallel": Odd(changed(nn.DataParallel), **SMALL),
    "compiled": Odd(changed(lambda network: torch.compile(network, backend="eager")), **SMALL),
    "compiled by the default backend": Odd(changed(torch.compile), **SMALL),
    "compiled and used": Odd(changed(compile_and_use), **SMALL),
    "compiled in place": Odd(changed(lambda network: network.compile(backend="eager")), **SMALL),
    "compiled in parts": Odd(changed(compile_part), **SMALL),
    "compiled DataParallel": Odd(changed(lambda n: torch.compile(nn.DataParallel(n), backend="eager")), **SMALL),
    "train mode": Odd(changed(lambda network: network.train(), lambda: seeded(Normed)), "body/4", "body/1", 8),
    "modes mixed": Odd(changed(train_a_part, lambda: seeded(Normed)), "body/4", "body/1", 8),
    "dropout in every mode": Odd(lambda: tiny(Dropping), **SMALL),
    "swallows exceptions": Odd(lambda: tiny(Swallowing), **SMALL),
    "weight norm": Odd(changed(as_weights(parametrizations.weight_norm)), **SMALL),
    "weight norm of old": Odd(changed(as_weights(weight_norm)), **SMALL),
    "spectral norm": Odd(changed(as_weights(parametrizations.spectral_norm)), **SMALL),
    "spectral norm of old": Odd(changed(as_weights(spectral_norm)), **SMALL),
    "orthogonal": Odd(changed(make_orthogonal), **SMALL),
    "no weights": Odd(lambda: nn.Sequential(nn.AvgPool2d(2), nn.Softplus()), "1", "0", 3),
    "weights made in inference_mode": Odd(
        made_in_inference_mode, **SMALL, refused="made under torch.inference_mode.*make or load the network outside"
    ),
    "no_grad within": Odd(lambda: tiny(WithoutGradient), **SMALL, refused="no gradient reaches the image.*no_grad"),
    "inference_mode within": Odd(lambda: tiny(InferenceOnly), **SMALL, refused="no gradient reaches the image"),
}  # fmt: skip

KINDS: dict[str, Callable[[Odd], Objective]] = {
    "layer": lambda odd: Layer(odd.layer),
    "channel": lambda odd: Channel(odd.layer, 1),
    "channels": lambda odd: Channel(odd.layer, (0, 2, 1)),
    "class": lambda odd: Class(odd.layer, 1),
    "neuron": lambda odd: Neuron(odd.layer, 1),
    "direction": lambda odd: Direction(odd.layer, torch.linspace(-1, 1, odd.width)),
    "dream": lambda odd: DeepDream(odd.layer),
    "sum": lambda odd: Channel(odd.layer, 1) - 0.1 * TotalVariation(),
    "batch": lambda odd: Batch((Channel(odd.layer, 0), DeepDream(odd.other), Neuron(odd.layer, 2), Layer(odd.other))),
}

network_of = cache(lambda name: ODD[name].make())


def count(objective: Objective) -> int:
    return objective.pictures or 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_it_draws_or_says_why_not(name: str, kind: str) -> None:
    odd, network = ODD[name], network_of(name)
    objective = KINDS[kind](odd)
    before = snapshot(network)
    called: list[int] = []
    with odd.around():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        start = ImageParam(odd.size, count(objective), channels=odd.channels)
        if odd.refused is not None:
            with pytest.raises(ValueError, match=odd.refused):
                OptVis(network, objective, **odd.options).vis(start, callback=lambda step, _: called.append(step))
            assert not called and snapshot(network) == before
            return
        optvis = OptVis(network, objective, **odd.options)
        uphill = optvis.vis(start, stages=[(odd.size, STEPS)], transform=False)
        result = optvis.vis(start, thresh=4)  # jostled, and from coarse to fine where the network can
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert snapshot(network) == before
    assert (uphill.scores > uphill.history[0]).all(), f"{uphill.history[0].tolist()} to {uphill.scores.tolist()}"
    height, width = (odd.size, odd.size) if isinstance(odd.size, int) else odd.size
    for made, steps in ((uphill, STEPS), (result, 4)):
        assert made.history.shape == (steps, count(objective)) and torch.isfinite(made.history).all()
        assert made.images.shape == (count(objective), odd.channels, height, width)
        assert torch.isfinite(made.images).all() and made.images.min() >= 0 and made.images.max() <= 1
        assert made.images.flatten(1).std(1).min() > 1e-3


def test_scores_are_of_what_the_layer_itself_put_out() -> None:
    """Not of what in-place activations and additions right after it make of that."""
    network, layers = seeded(Reused), ["stem", "bn1", "bn2", "relu"]
    result = OptVis(network, layers, mean=0.0, std=1.0).vis(ImageParam(24, 4, seed=[0] * 4), [(24, 1)], lr=0.0)
    with torch.no_grad():
        stem = network.stem(result.images[:1])
        bn1 = network.bn1(network.conv1(stem.relu()))
        bn2 = network.bn2(network.conv2(bn1.relu()))
        expected = [stem, bn1, bn2, (bn2 + stem.relu()).relu()]
    assert torch.allclose(result.scores, torch.stack([activation.mean() for activation in expected]), atol=1e-5)


HANDED_BACK = ["timm ViT with registers", "MobileNetV2", "one in-place ReLU reused", "gradients and hooks of its own",
               "frozen", "DataParallel", "compiled", "compiled in place", "compiled in parts", "train mode",
               "modes mixed", "bfloat16", "weight norm", "inside no_grad", "inside inference_mode"]  # fmt: skip


class Broken(Exception):
    """What goes wrong in these tests."""


def stop_with(error: type[BaseException], at: int) -> Callable[..., None]:
    def callback(step: int, _: Any) -> None:
        if step == at:
            raise error("on purpose")

    return callback


class FailsOnce(nn.Module):
    """In front of a layer; raises at the call of this number, its copies' included, and at no other."""

    def __init__(self, layer: nn.Module, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.layer, self.error, self.at = layer, error, at
        self.calls = itertools.count(1)

    def __deepcopy__(self, memo: dict[int, Any]) -> FailsOnce:
        made = FailsOnce(copy.deepcopy(self.layer, memo), self.error, self.at)
        made.calls = self.calls
        return made.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        if next(self.calls) == self.at:
            raise self.error("on purpose")
        return self.layer(x)


@pytest.mark.parametrize("name", HANDED_BACK)
def test_it_is_handed_back_after_an_error_and_after_ctrl_c(name: str) -> None:
    odd, network = ODD[name], network_of(name)
    before = snapshot(network)
    with odd.around():
        optvis = OptVis(network, Channel(odd.layer, (1, 0)), **odd.options)
        start = ImageParam(odd.size, 2, channels=odd.channels)
        with pytest.raises(Broken):
            optvis.vis(start, thresh=6, callback=stop_with(Broken, 2))
        assert snapshot(network) == before
        kept = optvis.vis(start, thresh=6, callback=stop_with(KeyboardInterrupt, 2))
    assert len(kept.history) == 2 and kept.images.shape[0] == 2
    assert snapshot(network) == before


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("at", range(1, 11))
def test_it_is_handed_back_after_an_error_and_after_ctrl_c_in_a_layer(at: int, error: type[BaseException]) -> None:
    """Whether it strikes in a look beforehand (1 to 4), in a coarse (5, 6) or fine (7, 8) step or in the last look."""
    network = tiny(width=6).train()
    network.second = FailsOnce(network.second, error, at)
    before = snapshot(network)
    optvis, start = OptVis(network, Channel("second", 1)), ImageParam(32)
    stages = [(16, 2), (32, 2)]
    if at == 10:
        assert len(optvis.vis(start, stages=stages).history) == 4, "nine looks in all: it does not strike"
    elif at == 4 and error is Broken:
        assert len(optvis.vis(start, stages=stages).history) == 4, "a working copy that fails is not used"
    elif error is KeyboardInterrupt and 4 < at < 9:
        assert len(optvis.vis(start, stages=stages).history) == at - 5, "the picture so far is kept"
    else:
        # Before the first step any error says that the network does not run.
        with pytest.raises(ValueError if error is Broken and at <= 2 else error, match="on purpose"):
            optvis.vis(start, stages=stages)
    assert snapshot(network) == before
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    network.second.at = 0
    assert len(optvis.vis(ImageParam(16), stages=[(16, 1)]).history) == 1, "nothing is left behind"


def test_training_goes_on_as_if_nothing_had_been() -> None:
    """Gradients that were there, the optimiser that holds the weights, and batch statistics are as without a run."""

    def weights(look: bool) -> list[Tensor]:
        network = seeded(Normed).train()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        for _ in range(3):
            network(images).square().sum().backward()
            if look:
                OptVis.from_layer(network, "body/4", 1).vis(ImageParam(16), thresh=2)
            optimiser.step()
        return [tensor.clone() for tensor in network.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(weights(look=False), weights(look=True), strict=True))

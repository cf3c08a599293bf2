"""Small networks of every kind, each with two layers to draw by every kind of objective."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torch.nn.functional as F
import transformers
from small_networks import Tiny, seeded
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torchvision.models import DenseNet, MobileNetV2, SwinTransformer, VisionTransformer


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
            timm.create_model, "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24,
            depths=(1, 1), num_heads=(2, 2),
        ),
        "layers/1", "layers/0", 48, size=64,
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
    "weights made in inference_mode": Odd(made_in_inference_mode, **SMALL),
    "no_grad within": Odd(lambda: tiny(WithoutGradient), **SMALL, refused="no gradient reaches the image.*no_grad"),
    "inference_mode within": Odd(lambda: tiny(InferenceOnly), **SMALL, refused="no gradient reaches the image"),
}  # fmt: skip

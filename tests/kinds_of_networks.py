"""Networks of every kind that a shadow has to be right for; ``KINDS`` makes each, for images of 32 px."""

from __future__ import annotations

import functools
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
import transformers
from small_networks import Small, Tiny, seeded, swin, vit
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm


class Alike(Tiny):
    """A fully connected layer with the weights of another, and one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.tied = self.second, nn.Linear(8, 5)
        self.tied.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.second(self.relu(self.first(x)))).mean((2, 3))
        return self.head(x) + self.tied(x)


class Referring(Tiny):
    """Reaches its own modules through every kind of object that is no module."""

    def __init__(self) -> None:
        super().__init__()
        second, third = self.second, nn.Conv2d(8, 8, 3, padding=1)
        self.third = third
        self.in_list, self.in_dict, self.in_tuple = [self.second], {"second": [self.second]}, (self.second, third)
        self.ordered, self.by_default = OrderedDict(a=third), defaultdict(list, {"a": [third]})
        self.in_deque, self.in_set = deque([third]), {third}
        self.bound, self.weak = second.forward, weakref.ref(second)
        self.closure = lambda x: second(x) + third(x)
        self.partial = functools.partial(lambda module, x, other: module(x) + other(x), second, other=third)
        self.weights, self.holder = [second.weight], types.SimpleNamespace(network=self, part=second)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        modules = [*self.in_list, *self.in_dict["second"], *self.in_tuple, self.ordered["a"], *self.by_default["a"]]
        for module in (*modules, *self.in_deque, *self.in_set, self.bound, self.weak(), self.closure, self.partial):
            x = x + 0.1 * module(x)
        x = x + self.holder.network.third(x) + self.holder.part(x) + self.weights[0].mean()
        return self.head(x.mean((2, 3)))


class Changing(Tiny):
    """Counts its calls in a buffer, in a number and in a list, and updates batch statistics by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("calls", torch.zeros(()))
        self.number, self.notes, self.cache = 0, ["made"], {"sizes": [1]}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.number += 1
        self.notes.append("called")
        self.cache["sizes"].append(x.shape[-1])
        x = self.last = self.first(x)
        self.norm.running_mean.mul_(0.9).add_(x.detach().mean((0, 2, 3)), alpha=0.1)
        self.norm.num_batches_tracked += 1
        return self.head(self.second(self.norm(x)).mean((2, 3))) + self.calls


class Replaced(Tiny):
    """Has another forward on the instance, a bound one and a plain function."""

    def __init__(self) -> None:
        super().__init__()
        self.second.forward = types.MethodType(
            lambda module, x: 2 * module._conv_forward(x, module.weight, None), self.second
        )
        first = self.first
        old = first.forward
        first.forward = lambda x: old(x) + first.bias[:, None, None]


class Flat(nn.Module):
    """One flat parameter, and weights that are views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(8 * 3 * 9 + 8))
        self.weight, self.bias = self.flat[:-8].view(8, 3, 3, 3), self.flat[-8:]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class LightningModule(Tiny):
    """What a Lightning module holds: a trainer that holds the whole training run."""

    def __init__(self) -> None:
        super().__init__()
        optimiser = torch.optim.SGD(self.parameters(), 0.1)
        self._trainer = types.SimpleNamespace(model=self, optimizers=[optimiser], lock=object())
        self._fabric = None


def hooked(network: Any) -> Any:
    """The network with hooks that change what it computes."""
    network.first.register_forward_hook(lambda module, inputs, output: output + network.head.bias.mean())
    network.second.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    return network


def changed(change: Callable[[Any], Any], kind: Callable[[], nn.Module] = Tiny) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        network = kind().eval() if kind is vit else seeded(kind)
        new = change(network)
        return new if isinstance(new, nn.Module) else network

    return make


def on_both(parametrise: Callable[[nn.Module], Any]) -> Callable[[Any], None]:
    return lambda network: [parametrise(network.first), parametrise(network.second)]


def compiled_parts(network: Any) -> None:
    network.second = torch.compile(network.second, backend="eager")
    network.first.compile(backend="eager")


def pruned(network: Any) -> None:
    prune.l1_unstructured(network.first, "weight", 0.4)
    prune.random_structured(network.second, "weight", 0.3, dim=0)


def under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return seeded(Tiny)


def exported() -> nn.Module:
    return torch.export.export(seeded(Tiny), (torch.zeros(2, 3, 32, 32),), strict=False).module()


KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: seeded(Tiny),
    "batch norm, shared module": lambda: seeded(Small),
    "tied weights": lambda: seeded(Alike),
    "attributes that refer": lambda: seeded(Referring),
    "changes itself": lambda: seeded(Changing),
    "forward replaced": lambda: seeded(Replaced),
    "flat parameter with views": lambda: seeded(Flat),
    "Lightning": lambda: seeded(LightningModule),
    "hooks": changed(hooked),
    "weight norm": changed(on_both(parametrizations.weight_norm)),
    "weight norm of old": changed(on_both(weight_norm)),
    "spectral norm": changed(on_both(parametrizations.spectral_norm)),
    "spectral norm of old": changed(on_both(spectral_norm)),
    "orthogonal": changed(on_both(parametrizations.orthogonal)),
    "pruned": changed(pruned),
    "DataParallel": changed(nn.DataParallel),
    "compiled": changed(lambda network: torch.compile(network, backend="eager")),
    "compiled in parts": changed(compiled_parts),
    "made under inference_mode": under_inference_mode,
    "fx": changed(torch.fx.symbolic_trace),
    "exported": exported,
    "scripted": changed(torch.jit.script),
    "scripted part": changed(lambda network: setattr(network, "second", torch.jit.script(network.second))),
    "torchvision ViT": changed(lambda network: [nn.init.normal_(network.heads.head.weight)], vit),
    "torchvision Swin": swin,
    "timm ResNet": lambda: seeded(timm.create_model, "test_resnet"),
    "timm ViT": lambda: seeded(timm.create_model, "test_vit", img_size=32),
    "timm EfficientNet": lambda: seeded(timm.create_model, "test_efficientnet"),
    "Hugging Face ViT": lambda: seeded(
        transformers.ViTForImageClassification,
        transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
        ),
    ),
    "Hugging Face ResNet": lambda: seeded(
        transformers.ResNetModel,
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"),
    ),
}

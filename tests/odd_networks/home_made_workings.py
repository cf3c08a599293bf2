"""Home-made networks that work in unusual ways: shared, wrapped, compiled, pointing back, random or stateful parts."""

from __future__ import annotations

import copy
import types
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from small_networks import Tiny
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from .architecture import Architecture, enlivened, first_wins

TRUTH = {"head|": "NC", ".*": "NC*"}
LAYERS = ("first", "relu", "second", "head", "")
Pair = namedtuple("Pair", ["maps", "logits"])


def tiny(make: Callable[[], nn.Module] = Tiny, truth: dict[str, str] | None = None, **fields: Any) -> Architecture:
    """``Tiny`` or a variant of it."""
    return Architecture(make, first_wins(truth or {}, TRUTH), fields.pop("size", 40), **fields)


def changed(change: Callable[[Any], Any], make: Callable[[], nn.Module] = Tiny) -> Callable[[], nn.Module]:
    """A network after ``change``, which returns another one or changes it in place."""

    def make_changed() -> nn.Module:
        network = enlivened(make()).eval()
        new = change(network)
        return new if isinstance(new, nn.Module) else network

    return make_changed


class Repeated(Tiny):
    """One convolution and one in-place ReLU three times in one pass."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        for _ in range(3):
            x = self.relu(self.second(x) + 0.1)
        return self.head(x.mean((2, 3)))


class InPlace(Tiny):
    """A chain of changes in place after each layer."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.first(x).mul_(2).add_(0.5))
        x = self.second(x).sub_(0.1).neg_()
        x[:, ::2] *= 0.5
        x = F.leaky_relu_(x, 0.1)
        return self.head(x.mean((2, 3)))


class Tied(Tiny):
    """Two convolutions that share their weight, and one module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.third.weight = self.second.weight
        self.again = self.second

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.third(self.second(self.relu(self.first(x)))).tanh())
        return self.head(x.mean((2, 3)))


class Outputs(Tiny):
    """``logits`` and maps in a container."""

    def __init__(self, pack: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.pack = pack

    def forward(self, x: Tensor) -> Any:
        maps = self.second(self.relu(self.first(x)))
        return self.pack(maps, self.head(maps.mean((2, 3))))


@dataclass
class Maps(ModelOutput):
    maps: Tensor | None = None
    logits: Tensor | None = None


@dataclass
class Plain:
    maps: Tensor
    logits: Tensor


class BatchStatistics(Tiny):
    """Batch norm without running statistics normalises by those of the batch even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.relu(self.norm(self.first(x)))).square().mean((2, 3)))


class OneAtATime(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[0] == 1, "one image at a time"
        return super().forward(x)


class RandomDrop(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.relu(self.first(x)), 0.05, training=True)
        return self.head(self.second(x).mean((2, 3)))


class Counts(Tiny):
    """Counts its calls in a buffer and keeps a running mean."""

    calls: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.relu(self.first(x))
        self.seen = 0.9 * self.seen + 0.1 * x.detach().mean((0, 2, 3))
        return self.head(self.second(x).mean((2, 3)))


class Checkpointed(Tiny):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(lambda y: self.relu(self.first(y)), x, use_reentrant=self.reentrant)
        x = checkpoint(self.second, x, use_reentrant=self.reentrant)
        return self.head(x.mean((2, 3)))


class PointsBack(Tiny):
    """Holds its own modules a second time, by means that module trees do not know."""

    def __init__(self, how: str) -> None:
        super().__init__()
        if how == "list":
            self.stages = [self.first, self.relu, self.second]
        elif how == "bound methods":
            self.stages = [self.first.forward, self.relu.forward, self.second.__call__]
        elif how == "closures":
            self.stages = [lambda x: self.first(x), lambda x: self.relu(x), lambda x: self.second(x)]
        elif how == "partials":
            self.stages = [partial(Tiny.__call__, layer) for layer in (self.first, self.relu, self.second)]
        else:
            self.stages = {"first": self.first, "rest": (self.relu, self.second)}

    def forward(self, x: Tensor) -> Tensor:
        stages = self.stages
        for stage in [stages["first"], *stages["rest"]] if isinstance(stages, dict) else stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


class Trainer:
    """What a Lightning module's ``trainer`` does: it holds the module."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.callbacks = module, [module.forward]


def with_trainer(network: nn.Module) -> None:
    network.trainer = Trainer(network)


def with_parent(network: nn.Module) -> None:
    for module in network.children():
        object.__setattr__(module, "parent", network)


def with_new_forward(network: nn.Module) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).sigmoid()).mean((2, 3)))

    network.forward = types.MethodType(forward, network)


def with_hooks(network: nn.Module) -> None:
    network.first.register_forward_hook(lambda module, inputs, output: output * 2 - 0.3)
    network.second.register_forward_pre_hook(lambda module, inputs: (inputs[0].tanh(),))


class Flat(Tiny):
    """All weights in one parameter, of which each forward pass hands the layers views, as FSDP does."""

    def __init__(self) -> None:
        super().__init__()
        self.places = []
        for module in (self.first, self.second, self.head):
            for name in ("weight", "bias"):
                self.places.append((module, name, getattr(module, name).shape))
        self.flat = nn.Parameter(torch.cat([getattr(m, n).detach().flatten() for m, n, _ in self.places]))
        for module, name, _ in self.places:
            del module._parameters[name]

    def forward(self, x: Tensor) -> Tensor:
        parts = self.flat.split([shape.numel() for _, _, shape in self.places])
        for (module, name, shape), part in zip(self.places, parts):
            setattr(module, name, part.view(shape))
        return super().forward(x)


class Proxy(nn.Module):
    """Passes everything that it does not have on to the network within."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Tiny()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def as_weights(parametrise: Callable[[nn.Module], Any]) -> Callable[[nn.Module], None]:
    def change(network: nn.Module) -> None:
        parametrise(network.first)
        parametrise(network.second)

    return change


def make_orthogonal(network: nn.Module) -> None:
    parametrizations.orthogonal(network.second)


def script_part(network: nn.Module) -> None:
    network.second = torch.jit.script(network.second)


def trace_part(network: nn.Module) -> None:
    network.second = torch.jit.trace(network.second, torch.zeros(2, 8, 20, 20))


def compile_part(network: nn.Module) -> None:
    network.second = torch.compile(network.second, backend="eager")


def exported(network: nn.Module) -> nn.Module:
    return torch.export.export(network, (torch.zeros(1, 3, 40, 40),)).module()


def plain_or_lazy(lazy: bool) -> nn.Module:
    first, second = (nn.LazyConv2d(8, 5), nn.LazyConv2d(8, 3)) if lazy else (nn.Conv2d(3, 8, 5), nn.Conv2d(8, 8, 3))
    return nn.Sequential(OrderedDict(first=first, relu=nn.ReLU(), second=second))


SCRIPTED = {"second|second/.*": "NC..|refused"}
MAY_BE_REFUSED = {"head|": "NC|refused", ".*": "NC..|refused"}

HOME_MADE_WORKINGS = {
    "a layer called several times": tiny(Repeated),
    "changes in place": tiny(InPlace),
    "tied weights, one module twice": tiny(Tied, draw=("first", "second", "third", "again", "head", "")),
    "output: a dict": tiny(partial(Outputs, lambda m, y: {"step": 3, "maps": m, "logits": y}), {"": "NC.."}),
    "output: a tuple": tiny(partial(Outputs, lambda m, y: (torch.arange(3), [y], m))),
    "output: a named tuple": tiny(partial(Outputs, Pair), {"": "NC.."}),
    "output: a ModelOutput": tiny(partial(Outputs, lambda m, y: Maps(m, y)), {"": "NC.."}),
    "output: a dataclass": tiny(partial(Outputs, Plain), {"": "refused"}, draw=LAYERS),
    "batch norm without statistics": tiny(BatchStatistics, alone=True),
    "asserts one image": tiny(OneAtATime, alone=True, refusal="one image at a time"),
    "draws random numbers": tiny(RandomDrop, noisy=True),
    "counts its calls": tiny(Counts),
    "checkpointing": tiny(partial(Checkpointed, False)),
    "checkpointing, reentrant": tiny(partial(Checkpointed, True), {"first|relu|second": "NC..|refused"}),
    "1 channel": tiny(partial(Tiny, channels=1), channels=1),
    "6 channels": tiny(partial(Tiny, channels=6), channels=6, options={"mean": 0.5, "std": [0.25] * 6}),
    "a wide picture": tiny(size=(24, 56)),
    "float64": tiny(changed(lambda network: network.double()), plain=Tiny),
    "channels last": tiny(changed(lambda network: network.to(memory_format=torch.channels_last))),
    "weight norm": tiny(changed(as_weights(parametrizations.weight_norm)), draw=LAYERS),
    "weight norm of old": tiny(changed(as_weights(weight_norm))),
    "spectral norm": tiny(changed(as_weights(parametrizations.spectral_norm)), draw=LAYERS),
    "spectral norm of old": tiny(changed(as_weights(spectral_norm))),
    "orthogonal weights": tiny(changed(make_orthogonal), draw=LAYERS),
    "modules in a plain list": tiny(partial(PointsBack, "list")),
    "modules in a plain dict of tuples": tiny(partial(PointsBack, "dict")),
    "bound methods of modules": tiny(partial(PointsBack, "bound methods"), draw=("second", "head", "")),
    "closures over the network": tiny(partial(PointsBack, "closures")),
    "partials of modules": tiny(partial(PointsBack, "partials")),
    "a trainer that holds the network": tiny(changed(with_trainer)),
    "modules that hold their parent": tiny(changed(with_parent)),
    "forward replaced on the instance": tiny(changed(with_new_forward)),
    "hooks that change outputs": tiny(changed(with_hooks)),
    "a flat parameter": tiny(Flat),
    "a proxy": Architecture(Proxy, {"inner/head|inner|": "NC", ".*": "NC.."}, 40),
    "DataParallel": tiny(changed(nn.DataParallel), plain=Tiny),
    "compiled": tiny(changed(lambda n: torch.compile(n, backend="eager")), plain=Tiny),
    "compiled in place": tiny(changed(lambda n: n.compile(backend="eager")), plain=Tiny),
    "compiled in parts": tiny(changed(compile_part), plain=Tiny),
    "a deep copy": tiny(changed(copy.deepcopy), plain=Tiny),
    "a scripted part": tiny(changed(script_part), SCRIPTED, plain=Tiny, refusal="scripted"),
    "a traced part": tiny(changed(trace_part), SCRIPTED, plain=Tiny, refusal="scripted|traced"),
    "scripted": tiny(changed(torch.jit.script), MAY_BE_REFUSED, plain=Tiny, refusal="scripted"),
    "traced": tiny(
        changed(lambda n: torch.jit.trace(n, torch.zeros(2, 3, 40, 40))), MAY_BE_REFUSED, plain=Tiny,
        refusal="scripted|traced",
    ),
    "a graph module of torch.fx": tiny(changed(torch.fx.symbolic_trace), plain=Tiny),
    "exported": tiny(changed(exported), MAY_BE_REFUSED, plain=Tiny, alone=True, refusal="export|GraphModule"),
    "lazy modules": tiny(
        partial(plain_or_lazy, True), {"": "refused", ".*": "refused"}, plain=partial(plain_or_lazy, False),
        refusal="[Ll]azy",
    ),
}  # fmt: skip

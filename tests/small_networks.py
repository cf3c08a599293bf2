"""Small seeded networks for the tests, and a snapshot of everything that must stay as it is in a network."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from optvis.network import NetworkInput
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD

Network = TypeVar("Network", bound=nn.Module)


def seeded(make: Callable[..., Network], *args: Any, seed: int = 0, **options: Any) -> Network:
    """``make(*args, **options)`` in eval mode, its weights drawn from ``seed``; the global random state is kept.

    A network that does not say how its images are normalised says that it is as ImageNet's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(*args, **options).eval()
    with warnings.catch_warnings(), suppress(ValueError, TypeError, RuntimeError):  # some are made to be refused
        warnings.simplefilter("ignore")
        given = NetworkInput.of(network)
        if "assumed" in given.normalisation.source:
            rgb, count = given.channels == 3, given.channels
            mean = IMAGENET_MEAN if rgb else [sum(IMAGENET_MEAN) / 3] * count
            std = IMAGENET_STD if rgb else [sum(IMAGENET_STD) / 3] * count
            network.image_mean, network.image_std = mean, std  # type: ignore[assignment]
    return network


class Kept(list[Any]):
    """A list that the shadow of a network shares with it: shadows copy plain lists alone."""

    def __deepcopy__(self, memo: Any) -> Kept:
        return self


class Tiny(nn.Module):
    """``[N, channels, H, W]`` to ``[N, 5]``: two convolutions, pooling, a fully connected layer."""

    def __init__(self, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 5, stride=2, padding=2)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.second(self.relu(self.first(x)))
        return self.head(x.mean((2, 3)))


class Small(nn.Module):
    """Two blocks; ``again`` is ``relu`` under a second name, ``unused`` is never called."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.BatchNorm2d(5),
        )
        self.relu = nn.ReLU()
        self.again = self.relu
        self.unused = nn.Conv2d(5, 5, 1)
        self.classifier = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.relu(self.features(x)).mean((2, 3)))


class Counting(nn.Module):
    """Mixed into a network; notes the number of images of each forward pass, its shadows' included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = Kept()

    def forward(self, x: Tensor) -> Any:
        self.seen.append(len(x))
        return super().forward(x)


class CountingTiny(Counting, Tiny):
    pass


class CountingSmall(Counting, Small):
    pass


def vit(**options: Any) -> nn.Module:
    """Torchvision's ViT for 32 px: 16 patches and a class token, 16 channels."""
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return seeded(VisionTransformer, **{**sizes, "num_classes": 5, **options})


def swin() -> nn.Module:
    """Torchvision's Swin: ``[N, H, W, C]``, for 32 px ``[8, 8, 8]`` after ``features/1``."""
    return seeded(SwinTransformer, [4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5)


def hooks_of(network: nn.Module) -> int:
    """Number of hooks on all modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)


def network_file(height: int, width: int) -> str:
    """The text of a file with a function ``Small`` that makes a network, for the command line."""
    return f"""
import torch
from torch import nn

class Small(nn.Module):
    input_size = (3, {height}, {width})
    output_names = {{"head": ["cat", "dog", "owl"]}}

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.features = nn.Sequential(nn.Conv2d(3, 6, 5, 2, 2), nn.ReLU(), nn.Conv2d(6, 8, 3, 1, 1))
            self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))
"""


def random_states() -> tuple[Any, ...]:
    """The global random state of torch, NumPy and Python, to be compared with ``==``."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), kind, keys.tobytes(), *rest, random.getstate()


@contextmanager
def watched(network: nn.Module) -> Iterator[list[set[str]]]:
    """Within the block a second thread compares the network, and the random states, with what they were.

    Yields:
        What was different, at each comparison; all are empty where nothing was ever changed.
    """
    before = {**snapshot(network), "random": random_states()}
    found: list[set[str]] = []
    done = threading.Event()

    def compare() -> None:
        while not done.is_set():
            try:
                now = {**snapshot(network), "random": random_states()}
            except RuntimeError as error:  # attributes came or went while they were read
                found.append({str(error)})
                continue
            found.append({key for key in before.keys() | now.keys() if before.get(key, done) != now.get(key, done)})

    watcher = threading.Thread(target=compare)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # so that it looks at any moment
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        sys.setswitchinterval(interval)


def snapshot(network: nn.Module) -> dict[str, Any]:
    """All of a network's state, to be compared with ``==``: every attribute, and weights and gradients to the bit."""
    state: dict[str, Any] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        state[f"{name}: class"] = type(module)
        state[f"{name}: training"] = module.training
        state[f"{name}: compiled"] = id(module.__dict__.get("_compiled_call_impl"))
        state[f"{name}: forward"] = module.__dict__.get("forward")
        for key, value in vars(module).items():
            state[f"{name}: {key}"] = _plain(value)
    tensors = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        hooks = list((tensor._backward_hooks or {}).values()) if not tensor.is_inference() else []
        state[name] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.device, tensor.dtype, hooks)
        state[f"{name}: bits"] = _bits(tensor)
        state[f"{name}: gradient"] = None if tensor.grad is None else (id(tensor.grad), _bits(tensor.grad))
    return state


def _plain(value: Any) -> Any:
    """Numbers, strings and what containers of them hold by value; everything else by its identity."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (list, tuple):
        return [_plain(part) for part in list(value)]
    if isinstance(value, dict):
        return [(key, _plain(part)) for key, part in list(value.items())]
    return id(value)


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

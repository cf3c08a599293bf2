"""Small seeded networks for the tests, and a snapshot of everything that a network must be handed back with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def seeded(make: Callable[..., Network], *args: Any, seed: int = 0, **options: Any) -> Network:
    """``make(*args, **options)`` in eval mode, its weights drawn from ``seed``; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*args, **options).eval()


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


def snapshot(network: nn.Module) -> dict[str, Any]:
    """All of a network's state, to be compared with ``==``: flags, hooks, weights and gradients to the bit."""
    state: dict[str, Any] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        state[f"{name}: class"] = type(module)
        state[f"{name}: training"] = module.training
        state[f"{name}: compiled"] = id(module.__dict__.get("_compiled_call_impl"))
        state[f"{name}: forward"] = module.__dict__.get("forward")
        for key, value in vars(module).items():
            if "hooks" in key:
                state[f"{name}: {key}"] = [(k, id(hook)) for k, hook in (value or {}).items()]
    tensors = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        hooks = list((tensor._backward_hooks or {}).values()) if not tensor.is_inference() else []
        state[name] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.device, tensor.dtype, hooks)
        state[f"{name}: bits"] = _bits(tensor)
        state[f"{name}: gradient"] = None if tensor.grad is None else (id(tensor.grad), _bits(tensor.grad))
    return state


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

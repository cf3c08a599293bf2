"""Training a small network on scikit-learn's digits, for the tests of ``Watch``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from optvis import Class, View


class Digits(Dataset):
    """Images of 8 by 8 px, augmented with random numbers of Python, NumPy, torch and a generator of its own."""

    def __init__(self, key: str | None = None) -> None:
        digits = load_digits()
        self.images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
        self.labels = torch.tensor(digits.target)
        self.own = np.random.default_rng(3)
        self.key = key

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        noise = 0.05 * torch.rand(1, 8, 8) * random.random() * float(np.random.rand()) * self.own.random()
        image = (self.images[i] + noise).clamp(0, 1)
        return {self.key: image, "labels": self.labels[i]} if self.key else (image, self.labels[i])


class DigitNetwork(nn.Module):
    """Convolutions with batch norm and dropout; the loss is the first output if labels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))

    image_mean, image_std = (0.0,), (1.0,)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.head(self.features(pixel_values))
        return logits if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


def seed_all(seed: int = 0) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def views(layer: str = "features/3") -> list[Any]:
    return [
        ("seven", View("vis", objective=Class("", 7), size=12, steps=3)),
        View("collage", layer=layer, channels=range(2), size=12, steps=2),
        View("attribute", layer=layer),
    ]


def train(after: Callable[[nn.Module, int], Any], steps: int = 40, **loading: Any) -> dict[str, Any]:
    """Train from one seed, call ``after(network, step)`` after each step, and return all that the training has left."""
    seed_all()
    network = DigitNetwork()
    network.features.register_forward_hook(lambda module, inputs, output: output)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loader = loading.pop("loader", None) or DataLoader(Digits(), 32, shuffle=True, **loading)
    network.train()
    losses, step = [], 0
    while step < steps:
        for images, labels in loader:
            loss = cross_entropy(network(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            step += 1
            after(network, step)
            if step == steps:
                break
    return {"losses": losses, **left_by(network, optimiser), "own": loader.dataset.own.random()}


def left_by(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Weights, buffers, gradients, optimiser, modes, hooks and random states, as far as they can be compared."""
    moments = [value for state in optimiser.state_dict()["state"].values() for value in state.values()]
    gradients = [parameter.grad for parameter in network.parameters()]
    return {
        "weights": _digest([*network.state_dict().values()]),
        "gradients": _digest([one for one in gradients if one is not None]),
        "optimiser": _digest([torch.as_tensor(one) for one in moments]),
        "modes": [module.training for module in network.modules()],
        "flags": [parameter.requires_grad for parameter in network.parameters()],
        "hooks": [len(module._forward_hooks) + len(module._backward_hooks) for module in network.modules()],
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": _digest([torch.get_rng_state()]),
    }


@cache
def left_alone(steps: int = 40, **loading: Any) -> dict[str, Any]:
    """What a training leaves that nobody watches."""
    return train(lambda network, step: None, steps, **loading)


def _digest(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()

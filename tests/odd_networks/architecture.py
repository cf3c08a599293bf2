"""An architecture: how to make it, and where each of its layers keeps its pictures and its channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@dataclass(frozen=True)
class Layout:
    """What each axis of a layer's raw output means, one letter for each.

    ``N`` holds the pictures. ``W`` holds pictures and windows, ``[N * k, ...]`` with the pictures outermost; ``V``
    holds branches and pictures, ``[k * N, ...]`` with the branches outermost. ``C`` holds the channels, and ``P`` holds
    pictures and channels, ``[..., N * C, ...]`` with the pictures outermost. ``.`` is any other axis, and ``*`` any
    number of other axes, none included. A layer that cannot be drawn is ``refused``; ``NC*|refused`` may be refused,
    but where it is drawn it must be drawn so.
    """

    text: str

    @property
    def must_be_refused(self) -> bool:
        return self.text == "refused"

    @property
    def may_be_refused(self) -> bool:
        return self.text.endswith("refused")

    def letters(self, rank: int) -> str:
        """One letter for each axis of a tensor of this rank; raises ``ValueError`` where the layout does not fit."""
        letters = self.text.removesuffix("|refused")
        letters = letters.replace("*", "." * (rank + 1 - len(letters))) if "*" in letters else letters
        if len(letters) != rank:
            raise ValueError(f"layout {self.text!r} does not fit an output of {rank} axes")
        return letters

    def channels(self, raw: Tensor) -> int:
        """How many channels the output ``raw`` for one picture has."""
        letters = self.letters(raw.dim())
        return raw.shape[letters.index("P" if "P" in letters else "C")]

    def pictures(self, raw: Tensor, count: int) -> Tensor:
        """The output for ``count`` pictures as ``[N, C, ...]``."""
        letters = self.letters(raw.dim())
        if "P" in letters:
            return raw.movedim(letters.index("P"), 0).unflatten(0, (count, -1))
        axis = next(i for i, letter in enumerate(letters) if letter in "NWV")
        channel = letters.index("C")
        first = raw.movedim((axis, channel), (0, 1))
        if letters[axis] == "N":
            if len(first) != count:
                raise ValueError(f"layout {self.text!r}: {len(first)} rows for {count} pictures")
            return first
        if letters[axis] == "W":
            return first.unflatten(0, (count, -1)).movedim(1, -1)
        return first.unflatten(0, (-1, count)).movedim(0, -1)


@dataclass(frozen=True)
class Architecture:
    """A network whose layers are drawn, and the truth about them.

    Attributes:
        make: makes the network; its weights are then drawn from a seed (see ``made``).
        truth: layouts by regular expression. The first that matches a layer's whole address, or else the name of its
            class, counts; ``CLASSES`` follow.
        size: of the pictures, pixels or (height, width).
        channels: of the pictures.
        draw: addresses to draw; by default up to 16, see ``check.pick``.
        count: how many layers are picked.
        options: of ``OptVis``.
        inputs: what the network takes beside the image, for a plain forward pass.
        plain: an equal network for the truth where hooks do not work on the network itself.
        alone: the network takes one picture at a time, or its pictures depend on each other.
        noisy: the network draws random numbers, so that scores are compared roughly.
        refusal: the network may be refused as a whole by an error that matches this.
    """

    make: Callable[[], nn.Module]
    truth: Mapping[str, str]
    size: int | tuple[int, int] = 64
    channels: int = 3
    draw: Sequence[str] = ()
    count: int = 16
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    plain: Callable[[], nn.Module] | None = None
    alone: bool = False
    noisy: bool = False
    refusal: str | None = None

    def made(self) -> nn.Module:
        """The network in eval mode, the same weights each time; the global random state is kept."""
        return _seeded(self.make)

    def made_plain(self) -> nn.Module:
        """A network for plain forward passes, of the same weights."""
        return _seeded(self.plain or self.make)

    def layout(self, address: str, module: nn.Module) -> Layout:
        kind = type(module).__name__
        for pattern, text in self.truth.items():
            if re.fullmatch(pattern, address) or re.fullmatch(pattern, kind):
                return Layout(text)
        for pattern, text in CLASSES.items():
            if re.fullmatch(pattern, kind):
                return Layout(text)
        raise LookupError(f"no truth for layer {address!r}, a {kind}")


CLASSES = {"Conv[12]d|BatchNorm.*|GroupNorm.*|.*AvgPool2d|MaxPool2d": "NC*", "Linear|Embedding|LayerNorm": "N*C"}
"""The layout of modules that says itself, after what an architecture says."""


def first_wins(*truths: Mapping[str, str]) -> dict[str, str]:
    """One truth; where several have the same expression, the first counts."""
    joined: dict[str, str] = {}
    for truth in truths:
        joined.update({pattern: layout for pattern, layout in truth.items() if pattern not in joined})
    return joined


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = enlivened(make())
    with suppress(NotImplementedError):  # an exported network is in eval mode and has no switch
        network.eval()
    return network


def enlivened(network: nn.Module) -> nn.Module:
    """The network with random numbers wherever its parameters and statistics are constant, so that nothing is dead.

    Fresh networks multiply whole branches by 0 or 1e-6, and their biases and norms are constants.
    """
    with torch.no_grad():
        for tensor in network.parameters():
            if is_lazy(tensor):
                continue
            if tensor.is_floating_point() and tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
                low, high = (-0.2, 0.2) if float(tensor.flatten()[0]) == 0 else (0.5, 1.5)
                tensor.uniform_(low, high)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network

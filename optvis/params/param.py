"""The base of every parameterisation."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..checks import as_count, as_list, as_seeds, as_size, as_whole

MOST_NUMBERS = 2**32
"""The largest number of values in the images of a parameterisation: 16 GiB."""

Self = TypeVar("Self", bound="Param")


class Param(nn.Module):
    """A module whose call returns images ``[N, C, H, W]`` in [0, 1].

    Subclasses define ``forward``, and ``grow`` if the shape of their parameters depends on the size. They keep each
    argument of their constructor as an attribute of the same name, from which ``arguments`` makes another one. The
    first axis of all parameters is that of the pictures.

    Attributes:
        size: (height, width) in pixels.
        batch: number of pictures N.
        channels: number of channels C.
        assumes_channels: True if the number of channels was not given: a run then takes the network's.
        seed: the seed of each picture's noise.
        lr_scale: factor of the run's learning rate.
        least_steps: number of steps of a default run, if it would have fewer.
        holds_picture: True if it holds more than its initial noise; a run then keeps its size.
    """

    lr_scale = 1.0
    least_steps = 1

    def __init__(
        self, size: int | Sequence[int], batch: int = 1, channels: int | None = None, seed: int | Sequence[int] = 0
    ) -> None:
        super().__init__()
        self.size = as_size(size)
        self.batch = as_count("batch", batch)
        self.assumes_channels = channels is None
        self.channels = as_count("channels", 3 if channels is None else channels)
        self.seed = as_seeds(seed, self.batch)
        self.holds_picture = False
        if self.batch * self.channels * self.size[0] * self.size[1] > MOST_NUMBERS:
            raise ValueError(
                f"size {self.size}: {self.batch} pictures of {self.channels} channels are too large for one "
                f"parameterisation: give at most {MOST_NUMBERS} numbers in all"
            )

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers ``[N, *shape]``, for each picture from its own seed."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in self.seed]
        return torch.stack([torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in generators])

    def forward(self) -> Tensor:
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor that make another one of the same class, batch, size and noise."""
        return {name: getattr(self, name) for name in argument_names(type(self))}

    def options(self) -> dict[str, Any]:
        """The arguments of the constructor, except the number of pictures and their noise."""
        names = [name for name in argument_names(type(self)) if name not in ("batch", "seed", "noise_scale")]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def for_channels(self: Self, channels: int) -> Self:
        """Itself, or one of as many channels if their number was not given; raises ``ValueError`` if it was another."""
        if self.channels == channels:
            return self
        if not self.assumes_channels or self.holds_picture:
            raise ValueError(f"img_param has {self.channels} channels, the network takes {channels}: give as many")
        return type(self)(**{**self.arguments(), "channels": channels})

    @torch.no_grad()
    def grow(self: Self, size: int | Sequence[int]) -> Self:
        """A new parameterisation that holds the same pictures at another size, (height, width) or pixels."""
        grown = self._at(size)
        grown.load_state_dict(self.state_dict())
        return grown

    def _at(self: Self, size: int | Sequence[int]) -> Self:
        """A new one with the same options at another size, on the same device, with initial noise."""
        made = type(self)(**{**self.arguments(), "size": as_size(size)})
        made.holds_picture = self.holds_picture
        return made.to(next(self.parameters()).device)

    def _fitting(self, image: Tensor) -> Tensor:
        expected = [self.batch, self.channels, *self.size]
        if list(image.shape) not in (expected, [1, *expected[1:]]):
            raise ValueError(f"images of shape {list(image.shape)} do not fit: {self!r} holds {expected}")
        return image

    @staticmethod
    def join(params: Sequence[Param]) -> Param:
        """One parameterisation with the pictures of several, which have the same class, size and options."""
        kinds = list(dict.fromkeys(f"{type(param).__name__}({_listed(param.options())})" for param in params))
        if len(kinds) != 1:
            raise ValueError(
                f"only some of one class, size and options can be joined, not {' and '.join(kinds) or 'none'}"
            )
        if len(params) == 1:
            return params[0]
        joined = copy.deepcopy(params[0])
        joined.batch = sum(param.batch for param in params)
        joined.seed = tuple(seed for param in params for seed in param.seed)
        joined.holds_picture = any(param.holds_picture for param in params)
        for name, parameter in joined.named_parameters():
            parameter.data = torch.cat([param.get_parameter(name).data for param in params])
            parameter.grad = None
        return joined

    def take(self, pictures: Sequence[int]) -> Param:
        """A parameterisation with some of the pictures, in this order; itself if that is all of them."""
        listed = as_list("pictures", pictures, "a list of their numbers")
        which = [as_whole("picture", i, 0, self.batch - 1) for i in listed]
        if not which:
            raise ValueError("pictures is empty: give the number of at least one picture")
        if which == list(range(self.batch)):
            return self
        slices = {id(p): torch.nn.Parameter(p.detach()[which]) for p in self.parameters()}
        taken = copy.deepcopy(self, slices)  # with slices instead of whole parameters
        taken.batch = len(which)
        taken.seed = tuple(self.seed[i] for i in which)
        return taken

    def extra_repr(self) -> str:
        return _listed({"batch": self.batch, **self.options()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def argument_names(kind: type) -> list[str]:
    """The named arguments of a constructor, including those that it passes to base classes as ``**options``."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        if "__init__" in vars(base):
            _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names.update({p.name: None for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)})
            if all(p.kind != p.VAR_KEYWORD for p in parameters):
                break
    return list(names)


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())

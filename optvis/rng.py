"""Random numbers for a batch of pictures, a stream for each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override


class Rng:
    """Random numbers for a batch of pictures, each picture from its own stream.

    Pictures with the same seed get the same numbers, so a picture gets the same numbers in a batch as alone. Numbers
    are float32, whatever torch's default type and device.

    Attributes:
        count: number of pictures.
        generators: one for each different seed.
        streams: the index of each picture's generator.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        streams = {seed: i for i, seed in enumerate(dict.fromkeys(seeds))}
        self.follow([torch.Generator(device).manual_seed(seed) for seed in streams], [streams[seed] for seed in seeds])

    def follow(self, generators: list[torch.Generator], streams: list[int]) -> None:
        """Draw from these generators; ``streams`` holds the index of each picture's generator."""
        self.count, self.generators, self.streams = len(streams), generators, streams
        self._stream = torch.tensor(streams, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the numbers are drawn."""
        return self.generators[0].device

    def take(self, pictures: Sequence[int]) -> Rng:
        """The streams of some pictures, as copies in their present state: drawing from one leaves the other alone."""
        taken = copy.copy(self)
        streams = [self.streams[i] for i in pictures]
        used = sorted(set(streams))
        taken.follow([self.generators[i].clone_state() for i in used], [used.index(i) for i in streams])
        return taken

    @classmethod
    def join(cls, parts: Sequence[Rng]) -> Rng:
        """The streams of several batches as those of one batch; drawing from it advances the parts."""
        if len(parts) == 1:
            return parts[0]
        joined = copy.copy(parts[0])
        streams: list[int] = []
        generators: list[torch.Generator] = []
        for part in parts:
            streams += [len(generators) + stream for stream in part.streams]
            generators += part.generators
        joined.follow(generators, streams)
        return joined

    @contextmanager
    def undone(self, on_error: bool = False) -> Iterator[None]:
        """Restore the streams after the block (or only ``on_error``), so that the same numbers are drawn again."""
        states, undo = [generator.get_state() for generator in self.generators], True
        try:
            yield
            undo = not on_error
        finally:
            for generator, state in zip(self.generators, states, strict=True) if undo else ():
                generator.set_state(state)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[N, *shape]``, uniform between low and high."""

        def draw(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
            return torch.empty(shape, dtype=torch.float32, device=device).uniform_(low, high, generator=generator)

        return self.draw(draw, shape)

    def normal(self, *shape: int) -> Tensor:
        """``[N, *shape]``, normal with mean 0 and standard deviation 1."""
        return self.draw(partial(torch.randn, dtype=torch.float32), shape)

    def draw(self, one: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        """``[N, *shape]``, where ``one(shape, generator=..., device=...)`` draws the numbers of one stream."""
        drawn = [one(shape, generator=generator, device=generator.device) for generator in self.generators]
        if len(drawn) == 1:
            return drawn[0].expand(self.count, *shape)
        return torch.stack(drawn)[self._stream]


class Echo(Rng):
    """Draws from another one, and gives the same numbers once more."""

    def __init__(self, rng: Rng) -> None:
        self.count, self.generators, self.streams, self._rng = rng.count, rng.generators, rng.streams, rng
        self._drawn: list[Tensor] = []

    @override
    def draw(self, one: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        self._drawn.append(self._rng.draw(one, shape))
        return self._drawn[-1]

    def again(self, pictures: slice) -> Rng:
        """The numbers drawn so far, in the same order, for some of the pictures."""
        return _Again(self, self._drawn, pictures)


class _Again(Rng):
    def __init__(self, rng: Rng, drawn: Sequence[Tensor], pictures: slice) -> None:
        self.generators, self.streams = rng.generators, rng.streams[pictures]
        self.count, self._numbers = len(self.streams), [numbers[pictures] for numbers in drawn]

    @override
    def draw(self, one: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return self._numbers.pop(0)


def fresh(image: Tensor) -> Rng:
    """Unpredictable numbers for a batch of images ``[N, C, H, W]``; the global random state is not used."""
    first = torch.Generator("cpu").seed() % 2**31
    return Rng(range(first, first + image.shape[0]), image.device)

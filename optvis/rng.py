"""Random numbers for a batch of pictures, each from a stream of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Rng:
    """Random numbers for a batch of pictures, each picture from a stream of its own.

    Pictures with the same seed draw the same numbers, so that a picture sees the same draws in a batch as alone.

    Args:
        seeds: one for each picture.
        device: where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        streams = list(dict.fromkeys(seeds))
        self._follow(
            [torch.Generator(device).manual_seed(seed) for seed in streams], [streams.index(seed) for seed in seeds]
        )

    def _follow(self, generators: list[torch.Generator], streams: list[int]) -> None:
        self.count, self.generators, self._streams = len(streams), generators, streams
        self._stream = torch.tensor(streams, device=generators[0].device)

    def take(self, pictures: Sequence[int]) -> Rng:
        """The numbers of some of the pictures: as they stand, and going on by themselves."""
        taken = copy.copy(self)
        streams = [self._streams[i] for i in pictures]
        used = sorted(set(streams))
        taken._follow([_same_generator(self.generators[i]) for i in used], [used.index(i) for i in streams])
        return taken

    @classmethod
    def join(cls, parts: Sequence[Rng]) -> Rng:
        """The numbers of several batches as those of one; each part goes on as its numbers are drawn."""
        if len(parts) == 1:
            return parts[0]
        joined = copy.copy(parts[0])
        streams: list[int] = []
        generators: list[torch.Generator] = []
        for part in parts:
            streams += [len(generators) + stream for stream in part._streams]
            generators += part.generators
        joined._follow(generators, streams)
        return joined

    @contextmanager
    def undone(self, on_error: bool = False) -> Iterator[None]:
        """What was drawn in the block will be drawn again: always, or where the block raises."""
        states, undo = [generator.get_state() for generator in self.generators], True
        try:
            yield
            undo = not on_error
        finally:
            for generator, state in zip(self.generators, states) if undo else ():
                generator.set_state(state)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[N, *shape]`` between low and high."""

        def draw(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
            return torch.empty(shape, device=device).uniform_(low, high, generator=generator)

        return self._each(draw, shape)

    def normal(self, *shape: int) -> Tensor:
        """``[N, *shape]`` of mean 0 and standard deviation 1."""
        return self._each(torch.randn, shape)

    def _each(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        drawn = [draw(shape, generator=generator, device=generator.device) for generator in self.generators]
        if len(drawn) == 1:
            return drawn[0].expand(self.count, *shape)
        return torch.stack(drawn)[self._stream]


def _same_generator(generator: torch.Generator) -> torch.Generator:
    same = torch.Generator(generator.device)
    same.set_state(generator.get_state())
    return same


def fresh(image: Tensor) -> Rng:
    """Numbers that were never drawn, for a batch of images."""
    first = torch.Generator().seed() % 2**31
    return Rng(range(first, first + image.shape[0]), image.device)

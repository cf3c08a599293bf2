"""Tiling: pictures too large for memory are scored in tiles, one after another."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from .checks import Size
from .rng import Rng
from .scoring import ScoreFunction, along_with_gradient, scores_and_gradient


def tile_size(size: Size, tile: int) -> Size:
    """(height, width) of the tiles of a picture: as few and as equal as possible, with sides of at most ``tile``."""
    height, width = (math.ceil(n / math.ceil(n / tile)) for n in size)
    return height, width


def in_tiles(see: ScoreFunction, tile: int, shift: bool) -> ScoreFunction:
    """A score function that is the mean of ``see`` over tiles, weighted by area; memory is used for one at a time.

    With ``shift`` the picture is rolled by a random number of pixels before it is cut, so that the seams are at other
    positions each time. After Mordvintsev, Olah, Tyka, "DeepDream", 2015.
    """

    def look(image: Tensor, rng: Rng) -> Tensor:
        size = (image.shape[-2], image.shape[-1])
        parts = rng.uniform(0, 1, 2)[0].tolist()
        rolled = [int(part * n) if shift else 0 for part, n in zip(parts, size, strict=True)]

        def compute(image: Tensor) -> tuple[Tensor, Tensor]:
            image = image.roll(rolled, (-2, -1)) if shift else image
            scores, gradient = image.new_zeros(len(image)), torch.zeros_like(image)
            height, width = tile_size(size, tile)
            for top, left in product(range(0, size[0], height), range(0, size[1], width)):
                place = (..., slice(top, top + height), slice(left, left + width))
                part = image[place]
                share = part[0, 0].numel() / image[0, 0].numel()
                some, slope = scores_and_gradient(see, part, rng)
                scores += share * some
                gradient[place] = share * slope
            return scores, gradient.roll([-n for n in rolled], (-2, -1)) if shift else gradient

        return along_with_gradient(image, compute)

    return look

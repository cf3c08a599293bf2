"""Random, differentiable changes to an image before the network sees it (augmentation).

Every transform takes ``[N, C, H, W]`` and draws random numbers for each image of the batch separately. Amounts are
relative to the image (0.1 is a tenth of its height and width), so that they do not depend on its size. A transform that
moves pixels is a ``Warp``, and ``Compose`` joins neighbouring warps into **one** resampling.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from .checks import Size, as_list, as_number, choice, shown
from .network.own_random import OwnRandom
from .rng import Rng, fresh

Fill = Literal["reflect", "border", "grey", "black"]


class Transform:
    """A random change to images ``[N, C, H, W]``; subclasses define ``apply``."""

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        raise NotImplementedError

    def __call__(self, image: Tensor, rng: Rng | None = None) -> Tensor:
        """Change float images ``[N, C, H, W]``, by default with new random numbers for each call.

        Torch's global random state is never used.
        """
        return self.apply(image, fresh(image) if rng is None else rng)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Warp(Transform):
    """A transform that moves pixels; subclasses define ``matrix``, and ``out_size`` if the size changes."""

    fill: Fill = "reflect"

    def matrix(self, rng: Rng, size: Size) -> Tensor:
        """``[N, 3, 3]``, from points (x, y, 1) of the new image to points of the old one, in pixels from the centre.

        ``size`` is the (height, width) of the old image.
        """
        raise NotImplementedError

    def out_size(self, size: Size) -> Size:
        """(height, width) of the new image from that of the old one."""
        return size

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        return _warped(image, rng, [self])


def resample(image: Tensor, matrix: Tensor, size: Size, fill: Fill = "reflect") -> Tensor:
    """One bilinear resampling of ``[N, C, H, W]`` onto a canvas of ``size`` (height, width).

    ``matrix`` ``[N, 3, 3]`` or ``[N, 2, 3]`` maps points (x, y, 1) of the canvas to points of the image, in pixels from
    the centre. Outside of the image is its mirror image, its border, mid-grey or black, as ``fill`` says.
    """
    theta = matrix[:, :2].to(image.dtype).clone()
    theta *= theta.new_tensor([[size[1], size[0], 2.0]]) / theta.new_tensor([[image.shape[-1]], [image.shape[-2]]])
    grid = F.affine_grid(theta, [image.shape[0], image.shape[1], *size], align_corners=False)
    if fill == "grey":
        return F.grid_sample(image - 0.5, grid, align_corners=False) + 0.5
    mode = {"reflect": "reflection", "border": "border", "black": "zeros"}[fill]
    return F.grid_sample(image, grid, padding_mode=mode, align_corners=False)


def _warped(image: Tensor, rng: Rng, warps: Sequence[Warp], size: Size | None = None) -> Tensor:
    """Several warps in one resampling, which also resizes to ``size`` if that is given."""
    canvas: Size = (image.shape[-2], image.shape[-1])
    matrix = None
    for warp in warps:
        step = warp.matrix(rng, canvas)
        matrix = step if matrix is None else matrix @ step
        canvas = warp.out_size(canvas)
    assert matrix is not None
    if size is not None:
        matrix = matrix * matrix.new_tensor([canvas[1] / size[1], canvas[0] / size[0], 1.0])
    return resample(image, matrix, size or canvas, warps[0].fill)


def _matrix(x_row: Sequence[Tensor | float], y_row: Sequence[Tensor | float], like: Tensor) -> Tensor:
    """``[N, 3, 3]`` from two rows of numbers and ``[N]`` tensors."""
    cells = [c if isinstance(c, Tensor) else torch.full_like(like, c) for c in (*x_row, *y_row, 0.0, 0.0, 1.0)]
    return torch.stack(cells, -1).view(-1, 3, 3)


def _shift(x: Tensor, y: Tensor) -> Tensor:
    return _matrix((1.0, 0.0, x), (0.0, 1.0, y), x)


def _fraction(name: str, value: float, high: float = 1.0, ends: str = "[]") -> float:
    return as_number(name, value, 0, high, ends, "a fraction of the image")


def _fill(fill: Any) -> Fill:
    return choice("fill", fill, ("reflect", "border", "grey", "black"))  # type: ignore[return-value]


class Pad(Warp):
    """A larger canvas: ``amount`` of the height and width is added on each side."""

    def __init__(self, amount: float = 0.05, fill: Fill = "grey") -> None:
        self.amount, self.fill = _fraction("amount", amount), _fill(fill)

    @override
    def matrix(self, rng: Rng, size: Size) -> Tensor:
        zero = torch.zeros(rng.count, dtype=torch.float32, device=rng.device)
        return _shift(zero, zero)

    def out_size(self, size: Size) -> Size:
        return size[0] + 2 * round(self.amount * size[0]), size[1] + 2 * round(self.amount * size[1])


class Jitter(Warp):
    """A shift by up to ``amount`` of the height and width, in either direction."""

    def __init__(self, amount: float = 0.1, fill: Fill = "reflect") -> None:
        self.amount, self.fill = _fraction("amount", amount), _fill(fill)

    def matrix(self, rng: Rng, size: Size) -> Tensor:
        x, y = rng.uniform(-self.amount, self.amount, 2).unbind(1)
        return _shift(x * size[1], y * size[0])


class RandomScale(Warp):
    """A magnification between ``low`` and ``high`` about the centre; the canvas keeps its size."""

    def __init__(self, low: float = 0.8, high: float = 1.2, fill: Fill = "reflect") -> None:
        self.low, self.high = (as_number(*one, 0.001, 1000, kind="a scale") for one in (("low", low), ("high", high)))
        if self.low > self.high:
            raise ValueError(f"scales from {low} to {high}: give the smaller one first")
        self.fill = _fill(fill)

    @override
    def matrix(self, rng: Rng, size: Size) -> Tensor:
        back = 1 / rng.uniform(self.low, self.high)
        return _matrix((back, 0.0, 0.0), (0.0, back, 0.0), back)


class RandomRotate(Warp):
    """A rotation about the centre by up to ``degrees``, in either direction."""

    def __init__(self, degrees: float = 15.0, fill: Fill = "reflect") -> None:
        self.degrees, self.fill = as_number("degrees", degrees, 0, 180, kind="an angle"), _fill(fill)

    @override
    def matrix(self, rng: Rng, size: Size) -> Tensor:
        angle = rng.uniform(-self.degrees, self.degrees) * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        return _matrix((cos, -sin, 0.0), (sin, cos, 0.0), cos)


class Crop(Warp):
    """A window of ``amount`` of the height and width, at a random position."""

    def __init__(self, amount: float = 0.9) -> None:
        self.amount = _fraction("amount", amount, ends="(]")

    def matrix(self, rng: Rng, size: Size) -> Tensor:
        out = self.out_size(size)
        x, y = rng.uniform(0.0, 1.0, 2).unbind(1)
        # Whole pixels, so that the window is cropped without resampling.
        left, top = (x * (size[1] - out[1] + 1)).floor(), (y * (size[0] - out[0] + 1)).floor()
        return _shift(left - (size[1] - out[1]) / 2, top - (size[0] - out[0]) / 2)

    def out_size(self, size: Size) -> Size:
        return max(round(self.amount * size[0]), 1), max(round(self.amount * size[1]), 1)


class Flip(Warp):
    """A horizontal flip, with ``probability``."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = _fraction("probability", probability)

    @override
    def matrix(self, rng: Rng, size: Size) -> Tensor:
        sign = 1 - 2 * (rng.uniform(0.0, 1.0) < self.probability).float()
        return _matrix((sign, 0.0, 0.0), (0.0, 1.0, 0.0), sign)


class Blur(Transform):
    """A Gaussian blur of up to ``sigma`` of the smaller side."""

    def __init__(self, sigma: float = 0.01) -> None:
        self.sigma = _fraction("sigma", sigma)

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        from kornia.filters import gaussian_blur2d

        widest = self.sigma * min(image.shape[-2:])
        kernel = 2 * max(math.ceil(2.5 * widest), 1) + 1
        kernel = min(kernel, min(image.shape[-2:]) // 2 * 2 - 1)
        if kernel < 3 or widest == 0:
            return image
        sigma = rng.uniform(0.0, widest).clamp_min(1e-3)
        return gaussian_blur2d(image, kernel, torch.stack([sigma, sigma], -1))


class Noise(Transform):
    """Gaussian noise of standard deviation ``std`` (the image's range is 0 to 1)."""

    def __init__(self, std: float = 0.05) -> None:
        self.std = as_number("std", std, 0, 1000)

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        return image + self.std * rng.normal(*image.shape[1:])


class ColorJitter(Transform):
    """Random changes of brightness (absolute), contrast and saturation (relative) and hue, by up to the given amounts.

    Hue is given as a fraction of the colour circle, 0 to 0.5. Saturation and hue need RGB.
    """

    def __init__(
        self, brightness: float = 0.1, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.0
    ) -> None:
        self.brightness = _fraction("brightness", brightness)
        self.contrast = _fraction("contrast", contrast)
        self.saturation = _fraction("saturation", saturation)
        self.hue = _fraction("hue", hue, 0.5)

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        from kornia.enhance import adjust_hue

        change = rng.uniform(-1.0, 1.0, 4)[..., None, None, None].unbind(1)
        mean = image.mean((1, 2, 3), keepdim=True)
        image = mean + (image - mean) * (1 + self.contrast * change[1]) + self.brightness * change[0]
        if self.saturation or self.hue:
            if image.shape[1] != 3:
                raise ValueError(f"saturation and hue need RGB, not {image.shape[1]} channels: set both to 0")
            grey = image.mean(1, keepdim=True)
            image = grey + (image - grey) * (1 + self.saturation * change[2])
        image = image.clamp(0, 1)
        return adjust_hue(image, self.hue * change[3].flatten() * (2 * math.pi)) if self.hue else image


class Compose(Transform):
    """Transforms one after another; neighbouring warps are joined into one resampling.

    Joined warps use the ``fill`` of the first one; parts that a crop or shift moves out of the image may be moved back
    by a later warp. Any callable from images to images is allowed, for example a module of kornia or torchvision.
    """

    def __init__(self, transforms: Sequence[Callable[..., Tensor]] = ()) -> None:
        self.transforms: list[Any] = []
        for transform in as_list("transforms", transforms, "a list of callables from images to images"):
            if not callable(transform):
                raise TypeError(f"{shown(transform)} is no transform: give a callable from images to images")
            self.transforms.extend(transform.transforms if isinstance(transform, Compose) else [transform])

    @property
    def traceable(self) -> bool:
        """True if all random numbers come from ``rng``, as for ``Transform``; otherwise a step cannot be compiled."""
        return all(isinstance(transform, Transform) for transform in self.transforms)

    def __call__(self, image: Tensor, rng: Rng | None = None, size: Size | None = None) -> Tensor:
        """Change images ``[N, C, H, W]`` and resize them to ``size`` (height, width), if that is given."""
        return self.apply(image, fresh(image) if rng is None else rng, size)

    def apply(self, image: Tensor, rng: Rng, size: Size | None = None) -> Tensor:
        left = len(self.transforms)
        for warps, group in itertools.groupby(self.transforms, lambda transform: isinstance(transform, Warp)):
            some = list(group)
            left -= len(some)
            if warps:
                image = _warped(image, rng, some, None if left else size)
            else:
                for transform in some:
                    image = _changed(image, rng, transform)
        return image if size is None or tuple(image.shape[-2:]) == size else resize(image, size)

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


def _changed(image: Tensor, rng: Rng, transform: Callable[..., Any]) -> Tensor:
    """Apply a transform; raises ``TypeError`` if it returns no images."""
    if isinstance(transform, Transform):
        changed: Any = transform(image, rng)
    else:
        with OwnRandom(rng.generators[0]):
            changed = transform(image)
    if not isinstance(changed, Tensor) or changed.dim() != 4 or changed.shape[:2] != image.shape[:2]:
        found = list(changed.shape) if isinstance(changed, Tensor) else shown(changed)
        shape = list(image.shape)
        raise TypeError(f"the transform {transform!r} gave {found} for {shape}: it must give images [N, C, H, W]")
    return changed


def resize(image: Tensor, size: Size) -> Tensor:
    """Images ``[N, C, H, W]`` at another size (height, width), antialiased."""
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def standard() -> Compose:
    """The default transforms: shifts by up to 10 %, scales from 0.8 to 1.2, rotations by up to 15 degrees."""
    return Compose([Jitter(0.1), RandomScale(0.8, 1.2), RandomRotate(15)])

"""Labelled pictures of coloured patterns, on which the bundled networks were trained."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PATTERNS = (
    "stripes", "zigzag", "checks", "grid", "dots", "rings",
    "spirals", "rays", "crosses", "stars", "triangles", "blobs",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")

_HUES = torch.tensor([0.0, 28.0, 56.0, 120.0, 182.0, 228.0, 288.0, 0.0]) / 360  # white has no hue
_TURN = 2 * torch.pi


class Dice:
    """Random numbers for `count` pictures: each call gives one number for each picture, [N, 1, 1]."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def __call__(self, low: float, high: float) -> Tensor:
        """Uniform between `low` and `high`."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def either(self, chance: float) -> Tensor:
        """True with a probability of `chance`, for each picture, [N, 1, 1]."""
        return torch.rand(self.count, 1, 1, generator=self.generator) < chance

    def field(self, size: int, low: int, high: int) -> Tensor:
        """Smooth noise [N, H, W] of about unit variance on a grid of `low` to `high` cells along each side."""
        cells = int(torch.randint(low, high + 1, (), generator=self.generator))
        noise = torch.randn(self.count, 1, cells, cells, generator=self.generator)
        return 1.4 * F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)[:, 0]


# Each pattern is a signed distance in pixels, negative inside. x, y [N, H, W] are coordinates in pixels of a picture
# of 64 by 64, already rotated and shifted, with the origin at the centre of the pattern.


def _bands(phase: Tensor, period: Tensor | float, duty: Tensor | float) -> Tensor:
    """Distance to bands that repeat with every unit of `phase`, which is `period` pixels."""
    return ((phase - phase.round()).abs() - duty / 2) * period


def _cells(x: Tensor, y: Tensor, dice: Dice, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Fold the plane into square cells; at random, odd rows are shifted by half a cell and cells are rotated."""
    pitch = dice(low, high)
    row = (y / pitch).round()
    x = x / pitch + 0.5 * row * dice.either(0.5)
    column = x.round()
    x, y = (x - column) * pitch, y - row * pitch
    turn = dice(0, _TURN) * dice.either(0.5) * (1.7 * row + 2.9 * column)
    return *_rotate(x, y, turn), pitch


def _rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    c, s = angle.cos(), angle.sin()
    return c * x - s * y, s * x + c * y


def _polar(x: Tensor, y: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Radius, and angle in turns, about one centre or about the centres of large cells."""
    pitch = torch.where(dice.either(0.6), dice(24, 52), 1e4)
    x, y = x - pitch * (x / pitch).round(), y - pitch * (y / pitch).round()
    return (x * x + y * y).sqrt().clamp_min(0.3), torch.atan2(y, x) / _TURN


def _stripes(x: Tensor, _y: Tensor, dice: Dice) -> Tensor:
    period = dice(7, 24)
    return _bands(x / period, period, dice(0.35, 0.65))


def _zigzag(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    period, wave = dice(8, 18), dice(14, 32)
    slope = dice(0.7, 1.3)
    y = y + slope * wave * ((x / wave - (x / wave).round()).abs() - 0.25) * 2
    return _bands(y / period, period / (1 + 4 * slope**2).sqrt(), dice(0.35, 0.65))


def _checks(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    period = dice(12, 36)
    a, b = _bands(x / period, period, 0.5), _bands(y / period, period, 0.5)
    return torch.minimum(torch.maximum(a, b), torch.maximum(-a, -b))


def _grid(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    period, duty = dice(9, 24), dice(0.18, 0.32)
    return torch.minimum(_bands(x / period, period, duty), _bands(y / period, period, duty))


def _dots(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    x, y, pitch = _cells(x, y, dice, 10, 36)
    return (x * x + y * y).sqrt() - pitch * dice(0.24, 0.4)


def _rings(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    radius, _ = _polar(x, y, dice)
    period = dice(6, 14)
    return _bands(radius / period + dice(0, 1), period, dice(0.35, 0.65))


def _spirals(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    radius, angle = _polar(x, y, dice)
    arms = dice(2.5, 5.5).round()
    pull = arms / _TURN * dice(0.8, 1.6) * torch.where(dice.either(0.5), 1, -1)
    steepness = ((arms / _TURN) ** 2 + pull**2).sqrt() / radius
    return _bands(arms * angle + pull * radius.log(), 1 / steepness, dice(0.4, 0.6))


def _rays(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    radius, angle = _polar(x, y, dice)
    count = dice(5.5, 12.5).round()
    return _bands(count * angle, _TURN * radius / count, dice(0.4, 0.6))


def _crosses(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    x, y, pitch = _cells(x, y, dice, 15, 40)
    length, width = pitch * dice(0.32, 0.42), pitch * dice(0.08, 0.14)
    x, y = x.abs(), y.abs()
    return torch.maximum(torch.maximum(x, y) - length, torch.minimum(x, y) - width)


def _stars(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    x, y, pitch = _cells(x, y, dice, 18, 44)
    tip = pitch * dice(0.42, 0.5)
    notch = tip * dice(0.36, 0.44)
    radius, angle = (x * x + y * y).sqrt(), torch.atan2(y, x) * 5 / _TURN
    fold = (angle - angle.round()).abs() * _TURN / 5  # 0 at a tip, pi / 5 at a notch
    # Distance beyond the straight edge from the tip (tip, 0) to the notch:
    nx, ny = notch * torch.sin(torch.tensor(_TURN / 10)), tip - notch * torch.cos(torch.tensor(_TURN / 10))
    return (radius * (nx * fold.cos() + ny * fold.sin()) - nx * tip) / (nx * nx + ny * ny).sqrt()


def _triangles(x: Tensor, y: Tensor, dice: Dice) -> Tensor:
    x, y, pitch = _cells(x, y, dice, 14, 40)
    return torch.maximum(x.abs() * 0.866 + y * 0.5, -y) - pitch * dice(0.22, 0.28)


def _blobs(x: Tensor, _y: Tensor, dice: Dice) -> Tensor:
    size = x.shape[-1]
    lumps = torch.where(dice.either(0.5), dice.field(size, 6, 8), dice.field(size, 9, 11))
    return 6 * (lumps - dice(-0.3, 0.2))


_DRAW: dict[str, Callable[[Tensor, Tensor, Dice], Tensor]] = {
    "stripes": _stripes, "zigzag": _zigzag, "checks": _checks, "grid": _grid, "dots": _dots, "rings": _rings,
    "spirals": _spirals, "rays": _rays, "crosses": _crosses, "stars": _stars, "triangles": _triangles,
    "blobs": _blobs,
}  # fmt: skip


def _paint(name: str, colour: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Pictures [N, 3, H, W] of one pattern in the colours [N]."""
    dice = Dice(len(colour), generator)
    unit = 64 / size  # lengths are in pixels of a picture of 64
    line = (torch.arange(size) + 0.5 - size / 2) * unit
    y, x = (t.expand(len(colour), -1, -1) for t in torch.meshgrid(line, line, indexing="ij"))

    # The pattern fills the whole picture, or a round or square window of at least a third of it.
    left, top = dice(-1, 1), dice(-1, 1)
    reach, whole = dice(19, 34), dice.either(0.5)
    away = torch.where(whole, dice(0, 26), (40 - reach).clamp(0, 18))
    px, py = _rotate(x - left * away, y - top * away, dice(0, _TURN))
    square = torch.maximum(px.abs(), py.abs()) - 0.9 * reach
    window = torch.where(dice.either(0.5), (px * px + py * py).sqrt() - reach, square)
    window = torch.where(whole, -1e3, window)
    finer = torch.where(whole, 1.0, (30 / reach).clamp(1, 1.5))  # so that a small window shows enough of the pattern
    px, py = _rotate(px * finer, py * finer, dice(0, _TURN))

    distance = torch.maximum(_DRAW[name](px, py, dice) / finer, window) / unit
    inside = torch.sigmoid(-distance / dice(0.3, 0.8))[:, None]
    ink = _ink(colour, dice)[:, :, None, None] * (1 - 0.25 * dice.field(size, 2, 3).abs().clamp(0, 1))[:, None]
    return (inside * ink + (1 - inside) * _ground(size, dice)).clamp(0, 1)


def _ink(colour: Tensor, dice: Dice) -> Tensor:
    """A random shade [N, 3] of each colour [N]."""
    hue = _HUES[colour] + dice(-8, 8)[:, 0, 0] / 360
    pale = torch.where(colour == COLOURS.index("white"), dice(0.0, 0.06)[:, 0, 0], dice(0.8, 1.0)[:, 0, 0])
    return hsv_to_rgb(hue, pale, dice(0.8, 1.0)[:, 0, 0])


def _ground(size: int, dice: Dice) -> Tensor:
    """Backgrounds [N, 3, H, W] of low saturation and brightness: two colours mixed by smooth noise, with grain."""

    def dull() -> Tensor:
        shade = hsv_to_rgb(*(dice(0, high)[:, 0, 0] for high in (1.0, 0.35, 0.55)))
        return shade[:, :, None, None]

    coarse, fine = dice.field(size, 2, 4), dice.field(size, 9, 20)
    mix = torch.where(dice.either(0.5), coarse, fine) * dice(0, 0.6) + 0.5
    first, second = dull(), dull()
    grain = torch.randn(dice.count, 3, size, size, generator=dice.generator) * dice(0, 0.06)[:, None]
    return first + (second - first) * mix.clamp(0, 1)[:, None] + grain


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB [N, 3] from hue (in turns), saturation and value, [N] each."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))


def make_pictures(
    count: int,
    size: int = 64,
    *,
    pattern: str | None = None,
    colour: str | None = None,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `count` pictures of a coloured pattern on a dull background.

    Args:
        count: how many pictures.
        size: their side in pixels; the pattern grows with it.
        pattern: a name of `PATTERNS` for every picture; by default a random one for each.
        colour: a name of `COLOURS`; likewise.
        seed: of the random numbers.
        generator: of the random numbers; replaces `seed`.

    Returns:
        Images [N, 3, size, size] in [0, 1], and indices [N] into `PATTERNS` and into `COLOURS`.
    """
    generator = generator if generator is not None else torch.Generator().manual_seed(seed)
    kinds = _labels("pattern", pattern, PATTERNS, count, generator)
    shades = _labels("colour", colour, COLOURS, count, generator)
    images = torch.empty(count, 3, size, size)
    for kind in kinds.unique().tolist():
        these = kinds == kind
        images[these] = _paint(PATTERNS[kind], shades[these], size, generator)
    return images, kinds, shades


def _labels(what: str, name: str | None, names: tuple[str, ...], count: int, generator: torch.Generator) -> Tensor:
    if name is None:
        return torch.randint(len(names), (count,), generator=generator)
    if name not in names:
        raise ValueError(f"no {what} {name!r}: there are {', '.join(names)}")
    return torch.full((count,), names.index(name))

"""Home-made networks that lay out their axes in every order, and modules whose outputs cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from small_networks import Tiny
from torch import Tensor, nn

from .architecture import Architecture


class Apply(nn.Module):
    """A module without parameters that applies a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class Positions(nn.Module):
    """Lays maps out by a function and adds position embeddings of one size."""

    def __init__(self, shape: tuple[int, ...], function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.position = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) + self.position


class Rows(nn.Module):
    """``[N, 3, H, W]`` to a sequence of rows, ``[T, N, C]`` or batch first ``[N, T, C]``, and a recurrence over it."""

    def __init__(self, cell: Callable[..., nn.Module], batch_first: bool, width: int) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.stem = nn.Conv2d(3, 10, 4, 4)
        self.norm = nn.LayerNorm(10)
        self.cell = cell(10, batch_first=batch_first)
        self.act = nn.GELU()
        self.head = nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.stem(x).mean(3).permute(0, 2, 1) if self.batch_first else self.stem(x).mean(3).permute(2, 0, 1)
        out = self.cell(self.norm(rows))
        out = out[0] if isinstance(out, tuple) else out
        return self.head(self.act(out)).mean(1 if self.batch_first else 0)


def rows(cell: Callable[..., nn.Module], batch_first: bool, width: int = 7) -> Architecture:
    sequence = "N.C" if batch_first else ".NC"
    return Architecture(
        partial(Rows, cell, batch_first, width),
        {"stem": "NC..", "": "NC", ".*": sequence}, (36, 44),
    )  # fmt: skip


def encoder(width: int, batch_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 2, 18, batch_first=batch_first)


def decoder(width: int, batch_first: bool) -> nn.Module:
    layer = nn.TransformerDecoderLayer(width, 2, 18, batch_first=batch_first)
    return WithMemory(layer)


class WithMemory(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x * 0.5)


class SelfAttention(nn.Module):
    def __init__(self, width: int, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class Siamese(Tiny):
    """Two branches of different content along the batch, ``[2N, ...]`` with the branches outermost."""

    def forward(self, x: Tensor) -> Tensor:
        both = self.second(self.relu(self.first(torch.cat([x, x.flip(-1) * 2 + 1]))))
        one, other = both.chunk(2)
        return self.head((one * other.sigmoid()).mean((2, 3)))


class Crops(Tiny):
    """Three crops of each picture along the batch, ``[N * 3, ...]`` with the pictures outermost."""

    def forward(self, x: Tensor) -> Tensor:
        crops = torch.stack([x[..., :24, :24], x[..., 8:, 8:], x[..., :24, 8:]], 1).flatten(0, 1)
        maps = self.second(self.relu(self.first(crops)))
        return self.head(maps.mean((2, 3)).unflatten(0, (-1, 3)).mean(1))


class OneSize(nn.Module):
    """``[N, C, T]`` with T = C, for pictures of one size: 16 patches and 16 channels."""

    image_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.tokens = Positions((16, 16), lambda x: x.flatten(2))
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.act = nn.GELU()
        self.mix = nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.tokens(self.patches(x))))
        return self.head(self.mix(x).mean(2))


class Cube(nn.Module):
    """``[N, H, W, C]`` with H = W = C, for pictures of one size."""

    image_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.turn = Positions((8, 8, 8), lambda x: x.permute(0, 2, 3, 1))
        self.norm, self.mlp, self.act = nn.LayerNorm(8), nn.Linear(8, 8), nn.SiLU()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.mlp(self.norm(self.turn(self.patches(x))))).mean((1, 2)))


class Layouts(nn.Module):
    """The same maps in every order, one module after another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 4, 4)
        self.last = Apply(lambda x: x.permute(0, 2, 3, 1))
        self.batch_third = Apply(lambda x: x.permute(1, 2, 0, 3))
        self.channels_outermost = Apply(lambda x: x.permute(3, 2, 0, 1))
        self.all_positions = Apply(lambda x: x.permute(1, 2, 3, 0).flatten(0, 2))
        self.wide = Apply(lambda x: x.reshape(1, -1, *x.shape[2:]))
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        x = self.stem(x)
        x = self.last(x)  # [N, H, W, C]
        x = self.batch_third(x)  # [H, W, N, C]
        x = self.channels_outermost(x)  # [C, N, H, W]
        maps = x.permute(1, 0, 2, 3)
        rows = self.all_positions(x)  # [N * H * W, C]
        wide = self.wide(maps)  # [1, N * C, H, W]
        return self.head(rows.unflatten(0, (n, -1)).mean(1) + wide.view(n, 10, -1).mean(2))


class Undrawable(Tiny):
    """Modules whose outputs hold no channels of the pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = Apply(lambda x: x.square().mean((1, 2, 3)))
        self.total = Apply(lambda x: x.sum())
        self.rows = Apply(lambda x: x.permute(0, 2, 3, 1)[x.mean(1) > x.mean()])
        self.best = Apply(lambda x: x.argmax(1))
        self.constant = nn.Linear(4, 6)
        self.detached = Apply(lambda x: x.detach() * 2)
        self.text = Apply(lambda x: "a word")
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.relu(self.first(x)))
        for module in (self.rows, self.total, self.best, self.text, self.detached):
            module(x)
        self.constant(x.new_ones(1, 4))
        return self.head(x.mean((2, 3)) + self.energy(x)[:, None])


class Experts(Tiny):
    """Each position of the maps goes to one of two experts: as many rows as are sent there."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.relu(self.first(x))).permute(0, 2, 3, 1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            chosen = (x.mean(-1) > 0) == bool(i)
            out = out.masked_scatter(chosen[..., None], expert(x[chosen]))
        return self.head(out.mean((1, 2)))


class PerPicture(Tiny):
    """Kernels made for each picture, applied by one grouped convolution: ``[1, N * C, H, W]``."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Linear(8, 8)
        self.grouped = Apply(
            lambda x, k: F.conv2d(x.reshape(1, -1, *x.shape[2:]), k.view(-1, 1, 1, 1), groups=k.numel())
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.relu(self.first(x)))
        wide = self.grouped(x, self.kernels(x.mean((2, 3))))
        return self.head(wide.view(x.shape).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8), nn.LocalResponseNorm(3), nn.PReLU(8))
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.ChannelShuffle(4), nn.GroupNorm(2, 8))
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 12, 1), nn.PixelShuffle(2))
        self.out = nn.Upsample(scale_factor=0.5)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        pooled, where = self.pool(skip)
        return self.out(self.up(torch.cat([skip, self.unpool(self.middle(pooled), where)], 1)))


class Spectrum(Tiny):
    """Filters maps in the complex plane."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum, self.back = Apply(torch.fft.rfft2), Apply(lambda x: torch.fft.irfft2(x, s=(20, 20)))
        self.phase = nn.Parameter(torch.zeros(8, 1, 1))
        self.real = Apply(torch.view_as_real)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spectrum(self.second(self.relu(self.first(x)))) * torch.polar(torch.ones(8, 1, 1), self.phase)
        self.real(x)
        return self.head(self.back(x).mean((2, 3)))


class Patches(nn.Module):
    """Unfolds maps into columns and folds them again; MLP-Mixer's transposes between."""

    def __init__(self) -> None:
        super().__init__()
        self.unfold, self.fold = nn.Unfold(4, stride=4), nn.Fold((32, 32), 4, stride=4)
        self.mix = nn.Linear(64, 64)
        self.tokens = Apply(lambda x: x.transpose(1, 2))
        self.mlp = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48))

    def forward(self, x: Tensor) -> Tensor:
        columns = self.mix(self.unfold(x))
        return self.fold(self.mlp(self.tokens(columns)).transpose(1, 2))


CONV = {"stem|first|relu|second|patches": "NC.."}

HOME_MADE_LAYOUTS = {
    "GRU, sequence first": rows(lambda c, batch_first: nn.GRU(c, 7, batch_first=batch_first), False),
    "GRU, batch first": rows(lambda c, batch_first: nn.GRU(c, 7, batch_first=batch_first), True),
    "LSTM, sequence first, both ways": rows(
        lambda c, batch_first: nn.LSTM(c, 7, bidirectional=True, batch_first=batch_first), False, 14
    ),
    "LSTM, batch first, two layers": rows(lambda c, batch_first: nn.LSTM(c, 7, 2, batch_first=batch_first), True),
    "transformer encoder layer, sequence first": rows(encoder, False, 10),
    "transformer encoder layer, batch first": rows(encoder, True, 10),
    "transformer decoder layer, sequence first": rows(decoder, False, 10),
    "multi-head attention, sequence first": rows(SelfAttention, False, 10),
    "multi-head attention, batch first": rows(SelfAttention, True, 10),
    "Siamese, along the batch": Architecture(Siamese, {"first|relu|second": "VC..|refused", ".*": "NC"}, 32),
    "crops, along the batch": Architecture(Crops, {"first|relu|second": "WC..", "head": "NC", "": "NC"}, 32),
    "[N, C, T] of one size, T = C": Architecture(
        OneSize, {"conv": "NC.", "mix": "N.C|refused", "tokens|act": "NC.|refused", "head|": "NC", **CONV}, 16
    ),
    "[N, H, W, C] of one size, H = W = C": Architecture(
        Cube, {"norm|mlp": "N..C", "turn|act": "N..C|refused", "head|": "NC", **CONV}, 32
    ),
    "every order of axes": Architecture(Layouts, {
        "last": "N..C", "batch_third": "..NC", "channels_outermost": "CN..", "all_positions": "WC|refused",
        "wide": ".P..|refused", "head|": "NC", **CONV,
    }, (32, 40), draw=("stem", "last", "batch_third", "channels_outermost", "all_positions", "wide", "head", "")),
    "every order of axes, a square picture": Architecture(Layouts, {
        "last": "N..C", "batch_third": "..NC", "channels_outermost": "CN..", "all_positions": "WC|refused",
        "wide": ".P..|refused", "head|": "NC", **CONV,
    }, 40, draw=("stem", "last", "batch_third", "channels_outermost", "all_positions", "wide", "head", "")),
    "outputs that cannot be drawn": Architecture(Undrawable, {
        "energy|total|rows|best|constant|detached|text|unused": "refused", "head|": "NC", **CONV,
    }, 32, draw=("first", "energy", "total", "rows", "best", "constant", "detached", "text", "unused", "head", "")),
    "experts that share the positions": Architecture(
        Experts, {"experts/.*": "refused", "head|": "NC", **CONV}, 32,
    ),
    "kernels for each picture": Architecture(
        PerPicture, {"kernels|head|": "NC", "grouped": ".P..|refused", **CONV}, 32,
    ),
    "U-Net": Architecture(UNet, {".*": "NC*"}, 32),
    "complex maps": Architecture(Spectrum, {
        "spectrum": "refused", "real": "NC...|refused", "back": "NC..", "head|": "NC", **CONV,
    }, 40, draw=("first", "second", "spectrum", "real", "back", "head", "")),
    "columns of patches": Architecture(Patches, {
        "unfold": "NC.|refused", "mix": "N.C|refused", "mlp/.*": "N.C", "tokens|mlp": "N.C|refused", "fold|": "NC..",
    }, 32),
}  # fmt: skip

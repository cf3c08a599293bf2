"""Parameterisations: what they put out, how exactly they hold a picture, and how they grow."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from optvis import CPPNParam, FourierParam, ImageFile, ImageParam, Param, PixelParam
from optvis.images import read_image

KINDS: dict[str, Callable[..., Param]] = {
    "Fourier": FourierParam,
    "Fourier, plain colours": lambda *args, **kwargs: FourierParam(*args, decorrelate=False, **kwargs),
    "pixel": PixelParam,
    "pixel, plain colours": lambda *args, **kwargs: PixelParam(*args, decorrelate=False, **kwargs),
    "CPPN": lambda *args, **kwargs: CPPNParam(*args, **{"width": 6, "depth": 3, **kwargs}),
}
ENCODERS = {name: kind for name, kind in KINDS.items() if name != "CPPN"}
SIZES = [1, 2, 16, (1, 5), (33, 33), (48, 80), (17, 40)]

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
encoders = pytest.mark.parametrize("kind", ENCODERS.values(), ids=ENCODERS)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def roughened(param: Param) -> Param:
    """With numbers far from grey, so that a mistake is seen."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in param.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return param


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < tolerance)


# What they put out


class Steep(FourierParam):
    """Coefficients divided by the square of the frequency."""

    decay = 2.0


@kinds
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("batch", "channels"), [(1, 3), (3, 1), (2, 6)])
def test_images_of_any_size(kind: Callable[..., Param], size: Any, batch: int, channels: int) -> None:
    param = roughened(kind(size, batch=batch, channels=channels))
    image = param()
    pair = (size, size) if isinstance(size, int) else size
    assert image.shape == (batch, channels, *pair) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.001
    assert (param.size, param.batch, param.channels) == (pair, batch, channels)
    (image * pictures(*image.shape)).sum().backward()
    for name, parameter in param.named_parameters():
        assert parameter.shape[0] == batch
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.flatten(1).any(1).all(), name


@kinds
def test_it_begins_near_grey_but_not_with_nothing(kind: Callable[..., Param]) -> None:
    image = kind(32)()
    assert (image - 0.5).abs().max() < 0.1
    assert image.std() > 0 or isinstance(kind(32), CPPNParam)


@kinds
def test_a_gradient_changes_only_its_own_picture(kind: Callable[..., Param]) -> None:
    param = roughened(kind(9, batch=3))
    param()[1].sum().backward()
    for parameter in param.parameters():
        assert parameter.grad[1].any() and not parameter.grad[[0, 2]].any()


def test_decorrelated_colours_are_mixed_and_plain_ones_are_not() -> None:
    for kind in (FourierParam, PixelParam):
        mixed, plain = kind(8), kind(8, decorrelate=False)
        for param, count in ((mixed, 3), (plain, 1)):
            first = next(param.parameters())
            gradient = torch.autograd.grad(param()[0, 0].sum(), first)[0]
            assert gradient[0].flatten(1).any(1).sum() == count
        assert not kind(8, channels=6).color.decorrelate


def test_image_param_makes_what_its_arguments_say() -> None:
    assert repr(ImageParam(8)) == "FourierParam(batch=1, size=(8, 8), channels=3, decorrelate=True)"
    assert repr(ImageParam((8, 9), 2, fft=False, decorrelate=False, channels=4)) == (
        "PixelParam(batch=2, size=(8, 9), channels=4, decorrelate=False)"
    )
    assert repr(CPPNParam(8)) == "CPPNParam(batch=1, size=(8, 8), channels=3, width=24, depth=8)"
    assert not ImageParam(8, decorrelate=False).color.decorrelate
    assert torch.equal(ImageParam(8, 2, seed=4, noise_scale=1.0)(), FourierParam(8, 2, seed=4, noise_scale=1.0)())


def test_every_scale_of_the_fourier_noise_is_weighted_by_its_frequency() -> None:
    param = FourierParam(64, channels=1, noise_scale=1.0, batch=32)
    values = torch.logit(param().detach())
    power = torch.fft.rfft2(values, norm="forward").abs().square().mean((0, 1))
    for cycles in (2, 4, 8, 16):
        # Two normal numbers a coefficient, each times 0.25 / cycles.
        assert power[0, cycles] / (2 * (0.25 / cycles) ** 2) == pytest.approx(1, rel=0.6)
        assert param.scale[0, cycles] == pytest.approx(0.25 / cycles)
        assert param.scale[cycles, 0] == param.scale[-cycles, 0] == pytest.approx(0.25 / cycles)
    assert param.scale[3, 4] == pytest.approx(0.25 / 5)


# Randomness


@kinds
def test_the_same_seed_gives_the_same_picture(kind: Callable[..., Param]) -> None:
    first = {seed: [p.clone() for p in kind(16, batch=2, seed=seed).parameters()] for seed in (0, 7)}
    again = list(kind(16, batch=2, seed=7).parameters())
    assert all(map(torch.equal, first[7], again))
    assert not all(map(torch.equal, first[0], again))
    assert all(map(torch.equal, kind(16, batch=2).parameters(), first[0])), "the seed is 0 where none is given"


@kinds
def test_a_picture_begins_in_a_batch_as_it_does_alone(kind: Callable[..., Param]) -> None:
    counted, listed = kind(9, batch=3, seed=4), kind(9, batch=3, seed=[6, 6, 1])
    for i in range(3):
        for batch, seed in ((counted, 4 + i), (listed, [6, 6, 1][i])):
            alone = kind(9, seed=seed)
            assert all(torch.equal(a[i], b[0]) for a, b in zip(batch.parameters(), alone.parameters(), strict=True))


@kinds
def test_the_global_random_state_is_left_alone(kind: Callable[..., Param]) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    kind(9, batch=2).grow(12)()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    expected = [p.clone() for p in kind(9).parameters()]
    torch.manual_seed(99)
    assert all(map(torch.equal, kind(9).parameters(), expected))


# Encoding


@encoders
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_picture_comes_out_as_it_was_put_in(kind: Callable[..., Param], size: Any, channels: int) -> None:
    param = kind(size, batch=2, channels=channels)
    image = pictures(2, channels, *param.size)
    assert not param.holds_picture
    assert param.encode(image) is param and param.holds_picture
    assert close(param(), image, 1 / 255)


@encoders
@pytest.mark.parametrize("size", [16, (17, 40)])
def test_black_and_white_come_out_too(kind: Callable[..., Param], size: Any) -> None:
    param = kind(size, batch=3)
    image = (pictures(3, 3, *param.size) > 0.5).float()
    image[0], image[1] = 0, 1
    assert close(param.encode(image)(), image, 1 / 255)


@encoders
def test_one_picture_fills_a_batch(kind: Callable[..., Param]) -> None:
    image = pictures(1, 3, 8, 9)
    assert close(kind((8, 9), batch=3).encode(image)(), image.expand(3, -1, -1, -1), 1 / 255)


@encoders
@pytest.mark.parametrize("shape", [(1, 3, 9, 9), (1, 1, 8, 8), (2, 3, 8, 8), (3, 8, 8)])
def test_images_that_do_not_fit_are_an_error(kind: Callable[..., Param], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not fit: .*Param\(.*\) holds \[3, 3, 8, 8\]"):
        kind(8, batch=3).encode(torch.rand(shape))


# Growing


def wave(size: tuple[int, int], terms: list[tuple[int, int, float, float]]) -> Tensor:
    """``[1, 1, H, W]``: waves of so many cycles down and across, with amplitude and phase."""
    y = torch.arange(size[0], dtype=torch.float64)[:, None] / size[0]
    x = torch.arange(size[1], dtype=torch.float64)[None] / size[1]
    values = sum(a * torch.cos(2 * torch.pi * (down * y + across * x) + phase) for down, across, a, phase in terms)
    return (values + 0.2)[None, None].sigmoid().float()  # type: ignore[union-attr]


GROWTHS = [
    ((16, 16), (32, 32)),
    ((16, 16), (17, 16)),
    ((16, 16), (16, 21)),
    ((15, 21), (16, 22)),
    ((15, 21), (45, 64)),
    ((14, 15), (33, 33)),
    ((17, 40), (48, 80)),
    ((12, 13), (12, 13)),
    ((20, 11), (40, 33)),
]


@pytest.mark.parametrize(("small", "large"), GROWTHS)
@pytest.mark.parametrize("shrinks", [False, True])
def test_a_wave_is_the_same_wave_at_another_size(small: Any, large: Any, shrinks: bool) -> None:
    terms = [(2, 3, 0.8, 0.3), (-4, 1, 0.7, 1.0), (0, 5, 0.5, -2.0), (5, 0, 0.4, 0.7), (-1, 5, 0.3, 2.5)]
    old, new = (large, small) if shrinks else (small, large)
    param = FourierParam(old, channels=1).encode(wave(old, terms))
    grown = param.grow(new)
    assert grown.size == new and grown.holds_picture
    assert close(grown(), wave(new, terms), 1e-3)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (6, 10)])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_grown_picture_agrees_where_the_old_one_has_pixels(size: Any, factor: int) -> None:
    param = roughened(FourierParam(size, batch=2))  # up to the highest frequencies
    grown = param.grow((size[0] * factor, size[1] * factor))
    assert close(grown()[..., ::factor, ::factor], param())


@pytest.mark.parametrize(
    ("small", "large"), [*GROWTHS, ((1, 1), (5, 4)), ((1, 6), (2, 7)), ((2, 2), (3, 3)), ((2, 3), (4, 3))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_fourier_grown_and_shrunk_back_is_the_same_picture(small: Any, large: Any, channels: int) -> None:
    param = roughened(FourierParam(small, batch=2, channels=channels))
    assert param().std() > 0.05 or small == (1, 1)
    assert close(param.grow(large).grow(small)(), param())


@pytest.mark.parametrize(("old", "cycles"), [(16, 4), (12, 3)])
def test_a_wave_of_the_new_highest_frequency_is_kept_when_shrinking(old: int, cycles: int) -> None:
    new = 2 * cycles  # so many cycles are just what the new size can hold
    for terms in ([(cycles, 1, 1.0, 0.4)], [(1, cycles, 1.0, 0.4)], [(cycles, cycles, 1.0, 0.4)]):
        shrunk = FourierParam(old, channels=1).encode(wave((old, old), terms)).grow(new)
        assert close(shrunk(), wave((new, new), terms), 1e-3)


@kinds
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_what_grows_stays_what_it_is(kind: Callable[..., Param], channels: int) -> None:
    param = roughened(kind((8, 12), batch=2, channels=channels))
    before = copy.deepcopy(param.state_dict())
    grown = param.grow((13, 17))
    assert type(grown) is type(param)
    assert grown().shape == (2, channels, 13, 17)
    assert {**grown.options(), "size": 0} == {**param.options(), "size": 0}
    assert all(torch.equal(tensor, before[name]) for name, tensor in param.state_dict().items())
    assert all(p.requires_grad and p.is_leaf for p in grown.parameters())
    assert close(param.grow((8, 12))(), param(), 1e-5)
    assert not grown.holds_picture
    param.holds_picture = True
    assert param.grow(5).holds_picture


def test_pixels_grow_by_resampling() -> None:
    param = PixelParam((4, 6), decorrelate=False)
    ramp = torch.linspace(-2, 2, 6).expand(1, 3, 4, 6)
    with torch.no_grad():
        param.pixels.copy_(ramp)
    large = torch.logit(param.grow((8, 12))())
    centres = (torch.arange(12) + 0.5) / 2 - 0.5
    expected = -2 + 4 / 5 * centres.clamp(0, 5)
    assert close(large, expected.expand(1, 3, 8, 12))
    chess = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    param = PixelParam(16, decorrelate=False)
    with torch.no_grad():
        param.pixels.copy_(chess)
    assert (param.grow(8)() - 0.5).abs()[..., 1:-1, 1:-1].max() < 0.01


def test_a_cppn_is_rendered_at_any_size() -> None:
    param = roughened(CPPNParam((9, 17), batch=2, width=6, depth=3))
    assert close(param.grow((27, 51))()[..., 1::3, 1::3], param(), 1e-4)
    assert close(param.grow((45, 85))()[..., 2::5, 2::5], param(), 1e-4)
    assert close(param.grow(1)()[..., 0, 0], param.grow(9)()[..., 4, 4], 1e-5), "a single pixel is the middle"
    wide = CPPNParam((9, 17), width=6, depth=3)
    square = CPPNParam((9, 9), width=6, depth=3)
    wide.load_state_dict(roughened(square).state_dict())
    assert close(wide()[..., 4:13], square(), 1e-5), "a wider picture shows more, nothing stretched"


def test_a_cppn_trains() -> None:
    param = CPPNParam(12, batch=2, width=8, depth=3)
    target = torch.linspace(0.2, 0.8, 12).expand(2, 3, 12, 12)
    optimiser = torch.optim.Adam(param.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = (param() - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.005


# Joining


@kinds
def test_pictures_are_joined(kind: Callable[..., Param]) -> None:
    parts = [roughened(kind((8, 9), batch=batch, seed=seed)) for batch, seed in ((2, 0), (1, 5), (3, 9))]
    parts[0]().sum().backward()
    parts[1].holds_picture = True
    joined = Param.join(parts)
    assert joined.batch == 6 and joined.holds_picture
    assert close(joined(), torch.cat([part() for part in parts]), 1e-6)
    joined().sum().backward()
    assert all(p.grad.shape == p.shape for p in joined.parameters())
    assert [part.batch for part in parts] == [2, 1, 3]
    with torch.no_grad():
        for parameter in joined.parameters():
            parameter.zero_()
    assert all(p.any() for p in parts[0].parameters()), "a copy"


@pytest.mark.parametrize(
    "parts",
    [
        [FourierParam(8), PixelParam(8)],
        [FourierParam(8), FourierParam(9)],
        [FourierParam(8), FourierParam(8, channels=1)],
        [FourierParam(8), FourierParam(8, decorrelate=False)],
        [FourierParam(8), Steep(8)],
        [CPPNParam(8, width=4), CPPNParam(8, width=5)],
        [],
    ],
    ids=repr,
)
def test_what_differs_is_not_joined(parts: list[Param]) -> None:
    with pytest.raises(ValueError, match="of one class, size and options can be joined, not "):
        Param.join(parts)


# Photographs


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


@pytest.mark.parametrize("fft", [True, False])
@pytest.mark.parametrize("decorrelate", [True, False])
@pytest.mark.parametrize(
    ("ending", "mode"), [("png", "RGB"), ("jpg", "RGB"), ("webp", "RGB"), ("png", "L"), ("jpg", "L"), ("png", "RGBA"),
                         ("png", "P"), ("png", "LA"), ("png", "1")]
)  # fmt: skip
def test_a_file_is_read(
    photo: np.ndarray, tmp_path: Path, ending: str, mode: str, fft: bool, decorrelate: bool
) -> None:
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(photo).convert(mode).save(path)
    with Image.open(path) as opened:
        shown = np.asarray(opened.convert("L" if mode == "L" else "RGB"), dtype=np.float32) / 255
    expected = torch.from_numpy(shown if shown.ndim == 3 else shown[..., None]).movedim(-1, 0)[None]
    for source in (path, str(path)):
        param = ImageFile(source, fft=fft, decorrelate=decorrelate)
        assert isinstance(param, FourierParam if fft else PixelParam) and param.holds_picture
        assert param.size == (24, 36) and param.channels == (1 if mode == "L" else 3)
        assert param.color.decorrelate == (decorrelate and mode != "L")
        assert close(param(), expected, 1 / 255)


def test_a_file_of_16_bits_is_read(tmp_path: Path) -> None:
    grey = np.arange(64 * 4, dtype=np.uint16).reshape(16, 16) * 256
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = torch.from_numpy(grey.astype(np.float32) / 65535)[None, None]
    assert close(ImageFile(tmp_path / "grey.png")(), expected, 1 / 255)


def test_a_photograph_stands_upright(photo: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned by 90 degrees
    Image.fromarray(photo).save(tmp_path / "turned.png", exif=exif)
    expected = torch.from_numpy(np.rot90(photo, -1).copy()).movedim(-1, 0)[None] / 255
    assert close(read_image(tmp_path / "turned.png"), expected)


@pytest.mark.parametrize(
    ("change", "channels"),
    [
        (lambda a: a, 3),
        (lambda a: Image.fromarray(a), 3),
        (lambda a: Image.fromarray(a[..., 0]), 1),
        (lambda a: a[..., 0], 1),
        (lambda a: a[..., :1], 1),
        (lambda a: a.astype(np.float32) / 255, 3),
        (lambda a: a.astype(np.float64) / 255, 3),
        (lambda a: np.broadcast_to(a.astype(np.float32) / 255, a.shape), 3),  # not writable
        (lambda a: np.flip(np.flip(a, 0).copy(), 0), 3),  # strides below zero
        (lambda a: np.concatenate([a, a], -1), 6),
        (lambda a: torch.from_numpy(a).movedim(-1, 0), 3),
        (lambda a: torch.from_numpy(a).movedim(-1, 0)[None], 3),
        (lambda a: torch.from_numpy(a).movedim(-1, 0) / 255, 3),
        (lambda a: (torch.from_numpy(a).movedim(-1, 0) / 255).requires_grad_(), 3),
        (lambda a: (torch.from_numpy(a[..., :1]).movedim(-1, 0) / 255).double(), 1),
    ],
)
@pytest.mark.filterwarnings("error")
def test_pictures_of_every_kind_are_read(photo: np.ndarray, change: Callable[[Any], Any], channels: int) -> None:
    expected = torch.from_numpy(np.concatenate([photo, photo], -1)[..., :channels].copy()).movedim(-1, 0)[None] / 255
    assert close(read_image(change(photo)), expected, 1e-6)
    assert close(ImageFile(change(photo))(), expected, 1 / 255)


def test_a_batch_of_tensors_and_copies_of_one() -> None:
    image = pictures(2, 3, 8, 9)
    assert close(ImageFile(image)(), image, 1 / 255)
    assert close(ImageFile(image[0], batch=3)(), image[:1].expand(3, -1, -1, -1), 1 / 255)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (None, (24, 36)),
        (12, (12, 18)),
        (48, (48, 72)),
        (17, (17, 26)),
        ((20, 20), (20, 20)),
        ((30, 8), (30, 8)),
        ([5, 50], (5, 50)),
    ],
)
def test_a_photograph_is_brought_to_a_size(photo: np.ndarray, size: Any, expected: tuple[int, int]) -> None:
    assert ImageFile(photo, size).size == expected
    assert ImageFile(np.full_like(photo, 51), size)().sub(0.2).abs().max() < 1 / 255


def test_a_pair_cuts_the_middle_and_distorts_nothing() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 80), indexing="ij")
    ramp = torch.stack([y, x, 0 * x + 0.5])
    cut = ImageFile(ramp, (20, 20))()[0]
    assert close(cut[1, 10], torch.linspace(0.26, 0.74, 20), 0.01), "half of the width"
    assert close(cut[0, :, 10], torch.linspace(0.01, 0.99, 20), 0.02), "all of the height"


# Bad input


@pytest.mark.parametrize("size", [0, -3, 1.5, None, (8,), (8, 0), (8, 8, 8), (8, 2.5), "224", True, (True, 8)])
@kinds
def test_a_size_that_is_none_is_an_error(kind: Callable[..., Param], size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .*: give a number of pixels, or \(height, width\)"):
        kind(size)
    with pytest.raises(ValueError, match="give a number of pixels"):
        kind(8).grow(size)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("batch", "channels") for value in (0, -1, 2.0, True)] + [("batch", None)],
)
@kinds
def test_a_count_that_is_none_is_an_error(kind: Callable[..., Param], name: str, value: Any) -> None:
    if name == "channels" and value is None:  # the network's
        assert kind(8, channels=None).channels == 3
        return
    with pytest.raises(ValueError, match=rf"{name} {value}: give a whole number of at least 1"):
        kind(8, **{name: value})


@kinds
def test_seeds_that_do_not_fit_are_an_error(kind: Callable[..., Param]) -> None:
    with pytest.raises(ValueError, match="2 seeds for 3 pictures: give one for each, or the first alone"):
        kind(8, batch=3, seed=[1, 2])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros(4), ValueError, r"an array of shape \(4,\) is no image: give \[H, W\] or \[H, W, C\]"),
        (np.zeros((1, 2, 3, 4)), ValueError, "is no image"),
        (torch.zeros(4, 4), ValueError, r"a tensor of shape \[4, 4\] is no image"),
        (torch.zeros(3, 0, 4), ValueError, "is no image"),
        (torch.full((3, 4, 4), 255.0), ValueError, "values run from 255 to 255: give floats in"),
        (torch.full((3, 4, 4), -0.5), ValueError, "values run from -0.5"),
        (torch.full((3, 4, 4), float("nan")), ValueError, "values run from nan"),
        (np.full((4, 4), 300, dtype=np.int64), ValueError, "an array of int64 is no image"),
        (42, TypeError, "no image: 42; give a path, PIL image, array or tensor"),
        ("nowhere/photo.png", FileNotFoundError, "there is no file 'nowhere/photo.png'"),
    ],
)
def test_what_is_no_image_is_an_error(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ImageFile(image)


def test_a_file_that_is_no_image_is_an_error(photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(photo).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1000])
    for path in (tmp_path / "text.png", tmp_path / "half.png", tmp_path):
        with pytest.raises(ValueError, match="is no image that Pillow can read"):
            ImageFile(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageParam(10**9), "size 1000000000: .* at most 268435456 pixels in all"),
        (lambda: ImageParam(4096, batch=1000), "1000 pictures of 3 channels are too large for one parameterisation"),
        (lambda: ImageParam(8, batch=10**7), "batch 10000000: give a whole number of at most 1000000"),
        (lambda: ImageFile(torch.rand(3, 8, 8), batch=-3), "batch -3: give a whole number of at least 1"),
        (lambda: FourierParam(8, noise_scale=float("nan")), "noise_scale nan: give a finite number of at least 0"),
        (lambda: PixelParam(8, noise_scale=float("inf")), "noise_scale inf: give a finite number of at least 0"),
        (lambda: PixelParam(8, noise_scale=-1), "noise_scale -1: give a number of at least 0"),
        (lambda: CPPNParam(8, width=0), "width 0: give a whole number of at least 1"),
        (lambda: CPPNParam(8, width=10**6), "width 1000000: give a whole number of at most 4096"),
        (lambda: CPPNParam(8, depth=1.5), r"depth 1\.5: give a whole number of at least 0"),
        (lambda: CPPNParam(8, depth=10**9), "depth 1000000000: give a whole number of at most 1000"),
        (lambda: PixelParam(8, seed=1.5), r"seed 1\.5: give a whole number"),
        (lambda: PixelParam(8, seed=True), "seed True: give a whole number"),
        (lambda: PixelParam(8, seed=2**64), "seed 18446744073709551616: give a whole number of at most"),
    ],
)
def test_numbers_out_of_range_are_errors(make: Callable[[], Param], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Numbers of NumPy, and torch's defaults


@kinds
@pytest.mark.parametrize("whole", [np.int64, np.array, torch.tensor])
def test_whole_numbers_of_every_library(kind: Callable[..., Param], whole: Callable[[int], Any]) -> None:
    param = kind(whole(9), batch=whole(2), channels=whole(3), seed=whole(4))
    plain = kind(9, batch=2, channels=3, seed=4)
    assert repr(param) == repr(plain) and param.seed == plain.seed == (4, 5)
    assert torch.equal(param(), plain()) and torch.equal(param.grow((whole(5), 6))(), plain.grow((5, 6))())


def test_a_photograph_takes_the_numbers_of_every_library(photo: np.ndarray) -> None:
    assert ImageFile(photo, np.int64(12)).size == ImageFile(photo, np.array(12)).size == (12, 18)
    assert ImageFile(photo, np.array([12, 12]), batch=np.int64(2)).size == (12, 12)


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float64, "cpu"), (torch.float32, "meta"), (torch.float64, "meta")]
)
@kinds
def test_torch_defaults_do_not_matter(kind: Callable[..., Param], dtype: torch.dtype, device: str) -> None:
    def pictures_made() -> list[Tensor]:
        param = kind((9, 12), batch=2, seed=3, **({} if isinstance(kind(8), CPPNParam) else {"noise_scale": 1.0}))
        made = [param(), param.grow((14, 13))(), Param.join([param, param]).take([3, 0])()]
        if hasattr(param, "encode"):
            made.append(param.encode(image)())
        return made

    image = pictures(2, 3, 9, 12)
    expected = pictures_made()
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        found = pictures_made()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert all(one.dtype == torch.float32 and one.device.type == "cpu" for one in found)
    assert all(map(torch.equal, found, expected))


# A kind of one's own


class Corners(Param):
    """A few numbers, drawn large."""

    def __init__(self, size: Any, corners: int = 2, **options: Any) -> None:
        super().__init__(size, **options)
        self.corners = corners
        self.values = torch.nn.Parameter(self.noise(self.channels, corners, corners))

    def forward(self) -> Tensor:
        return torch.nn.functional.interpolate(self.values, self.size, mode="bilinear").sigmoid()


def test_a_new_kind_takes_a_few_lines() -> None:
    param = Corners((8, 10), 3, batch=3, seed=5)
    assert repr(param) == "Corners(batch=3, size=(8, 10), corners=3, channels=3)"
    assert torch.equal(param.take([2])(), Corners((8, 10), 3, seed=7)())
    assert torch.equal(Param.join([Corners(8, seed=4), Corners(8, seed=9)])(), Corners(8, batch=2, seed=[4, 9])())
    grown = param.grow(20)
    assert grown.size == (20, 20) and grown.corners == 3 and torch.equal(grown.values, param.values)
    with pytest.raises(ValueError, match="of one class, size and options can be joined"):
        Param.join([Corners(8), Corners(8, 3)])


def test_the_seeds_go_with_their_pictures() -> None:
    param = PixelParam(8, 3, seed=5)
    assert param.take([2, 0]).seed == (7, 5)
    assert Param.join([param, PixelParam(8, seed=1)]).seed == (5, 6, 7, 1)
    assert param.grow(12).seed == param.seed == (5, 6, 7)

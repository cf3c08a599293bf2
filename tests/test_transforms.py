"""Each transform against an independent implementation, and their composition."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from kornia.augmentation import RandomGaussianBlur
from kornia.geometry.transform import warp_affine
from torch import Tensor
from torchvision.transforms import Grayscale

from optvis import transforms as T
from optvis.network.own_random import OwnRandom
from optvis.rng import Rng
from optvis.transforms import (
    Blur,
    ColorJitter,
    Compose,
    Crop,
    Flip,
    Jitter,
    Noise,
    Pad,
    RandomRotate,
    RandomScale,
    Transform,
    Warp,
    resample,
    resize,
    standard,
)

TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "Pad": Pad,
    "Jitter": Jitter,
    "RandomScale": RandomScale,
    "RandomRotate": RandomRotate,
    "Crop": lambda: Crop(0.7),
    "Flip": Flip,
    "Blur": lambda: Blur(0.05),
    "Noise": Noise,
    "ColorJitter": lambda: ColorJitter(saturation=0),
    "Compose": lambda: Compose([Jitter(), Noise(), RandomRotate(), RandomScale()]),
    "standard": standard,
}
DRAWN = {name: make for name, make in TRANSFORMS.items() if name != "Pad"}
SIZES = [(32, 32), (33, 57), (512, 512), (1, 1), (3, 2)]
EIGHT = range(10, 18)

every = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)
drawn = pytest.mark.parametrize("make", DRAWN.values(), ids=DRAWN)


def photo(batch: int, *shape: int) -> Tensor:
    """Noise, the same for each picture of the batch."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).expand(batch, *shape).clone()


def smooth(batch: int, height: int, width: int) -> Tensor:
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None]
    planes = [torch.sin(5 * y + 3 * x), torch.cos(4 * x - 2 * y), torch.sin(6 * x * y + 1)]
    return (torch.stack(planes) * 0.4 + 0.5).expand(batch, -1, -1, -1).clone()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < tolerance)


# All of them


@every
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_size_and_number_of_channels(make: Callable[[], Transform], size: Any, channels: int) -> None:
    image = photo(2, channels, *size).requires_grad_()
    out = make()(image, Rng([1, 2]))
    expected = size
    if make is Pad:
        expected = tuple(n + 2 * round(0.05 * n) for n in size)
    elif isinstance(make(), Crop):
        expected = tuple(round(0.7 * n) for n in size)
    assert out.shape == (2, channels, *expected) and out.dtype == torch.float32
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    assert torch.isfinite(image.grad).all() and image.grad.flatten(1).any(1).all()


@drawn
def test_each_picture_is_drawn_for_itself(make: Callable[[], Transform]) -> None:
    out = make()(photo(8, 3, 24, 30), Rng(EIGHT))
    different = {tuple(one.flatten().tolist()) for one in out}
    assert len(different) == (2 if isinstance(make(), Flip) else 8)


@drawn
def test_the_same_seed_gives_the_same_change_in_any_batch(make: Callable[[], Transform]) -> None:
    image = photo(4, 3, 24, 30)
    transform, rng, again = make(), Rng([5, 6, 5, 7]), Rng([5, 6, 5, 7])
    first, second = transform(image, rng), transform(image, rng)
    assert torch.equal(transform(image, again), first) and torch.equal(transform(image, again), second)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first, second), "each call draws anew"
    for i, seed in enumerate([5, 6, 5, 7]):
        alone = Rng([seed])
        assert close(transform(image[i : i + 1], alone)[0], first[i], 1e-6)
        assert close(transform(image[i : i + 1], alone)[0], second[i], 1e-6)


@every
def test_the_global_random_state_is_left_alone(make: Callable[[], Transform]) -> None:
    before = torch.get_rng_state()
    make()(photo(2, 3, 16, 16))
    make()(photo(2, 3, 16, 16), Rng([1, 2]))
    assert torch.equal(before, torch.get_rng_state())


@drawn
def test_without_draws_every_call_and_picture_differs(make: Callable[[], Transform]) -> None:
    torch.manual_seed(0)
    first = make()(photo(16, 3, 16, 16))
    torch.manual_seed(0)
    second = make()(photo(16, 3, 16, 16))
    assert not torch.equal(first, second)
    assert not torch.equal(first, first[:1].expand_as(first))


@every
def test_a_picture_gets_a_gradient_only_from_itself(make: Callable[[], Transform]) -> None:
    image = photo(3, 3, 16, 20).requires_grad_()
    make()(image, Rng([1, 2, 3]))[1].sum().backward()
    assert image.grad[1].any() and not image.grad[[0, 2]].any()


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_draws_have_the_range_and_moments_asked_for(shape: tuple[int, ...]) -> None:
    rng = Rng(range(2000))
    uniform, normal = rng.uniform(-3, 5, *shape), rng.normal(*shape)
    assert uniform.shape == normal.shape == (2000, *shape)
    assert uniform.min() >= -3 and uniform.max() <= 5
    assert uniform.mean().item() == pytest.approx(1, abs=0.2) and uniform.std().item() == pytest.approx(
        8 / 12**0.5, 0.05
    )
    assert normal.mean().item() == pytest.approx(0, abs=0.1) and normal.std().item() == pytest.approx(1, 0.1)


# Warps against others


def pixel_matrix(matrix: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """kornia's: a pixel of the old picture to its pixel in the new one, counted from the corner; ``[N, 2, 3]``."""

    def from_centre(size: tuple[int, int]) -> Tensor:
        shift = torch.eye(3)
        shift[0, 2], shift[1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
        return shift

    return torch.linalg.inv(from_centre(old) @ matrix @ torch.linalg.inv(from_centre(new)))[:, :2]


@pytest.mark.parametrize(("fill", "mode"), [("black", "zeros"), ("border", "border")])
@pytest.mark.parametrize("size", [(32, 32), (33, 57)])
@pytest.mark.parametrize(
    "make",
    [
        lambda fill: Jitter(0.3, fill),
        lambda fill: RandomScale(0.5, 1.6, fill),
        lambda fill: RandomRotate(90, fill),
        lambda fill: Pad(0.2, fill),
    ],
    ids=["Jitter", "RandomScale", "RandomRotate", "Pad"],
)
def test_a_warp_agrees_with_kornia(make: Callable[[Any], Warp], fill: Any, mode: str, size: Any) -> None:
    warp, image = make(fill), photo(4, 3, *size)
    matrix = warp.matrix(Rng(range(4)), size)
    new = warp.out_size(size)
    expected = warp_affine(image, pixel_matrix(matrix, size, new), new, padding_mode=mode, align_corners=True)
    assert close(warp(image, Rng(range(4))), expected, 1e-3)


@pytest.mark.parametrize("size", [(32, 32), (33, 57)])
def test_turns_and_scales_agree_with_torchvision(size: Any) -> None:
    image = photo(4, 3, *size)
    for warp in (RandomRotate(60, "black"), RandomScale(0.5, 1.6, "black")):
        matrix = warp.matrix(Rng(range(4)), size)
        angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]) * 180 / math.pi
        scale = 1 / matrix[:, 0, 0].hypot(matrix[:, 1, 0])
        expected = [
            TF.affine(image[i], -float(angle[i]), [0, 0], float(scale[i]), [0.0], TF.InterpolationMode.BILINEAR)
            for i in range(4)
        ]
        assert close(warp(image, Rng(range(4))), torch.stack(expected), 1e-3)


@pytest.mark.parametrize("size", [(32, 32), (33, 57)])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -5), (-4, 2)])
def test_a_shift_by_whole_pixels_is_a_slice(monkeypatch: Any, size: Any, down: int, right: int) -> None:
    image = photo(2, 3, *size)
    shift = torch.tensor([-right / size[1], -down / size[0]]).expand(2, 2)
    monkeypatch.setattr(Rng, "uniform", lambda *_: shift)
    for fill, mode in (("border", "replicate"), ("reflect", "symmetric")):
        out = Jitter(0.5, fill)(image, Rng([1, 2]))  # type: ignore[arg-type]
        if mode == "replicate":
            wide = F.pad(image, (8, 8, 8, 8), mode="replicate")
        else:  # the border itself is repeated
            wide = torch.cat([image[..., :8].flip(-1), image, image[..., -8:].flip(-1)], -1)
            wide = torch.cat([wide[..., :8, :].flip(-2), wide, wide[..., -8:, :].flip(-2)], -2)
        expected = wide[..., 8 - down : 8 - down + size[0], 8 - right : 8 - right + size[1]]
        assert close(out, expected, 1e-3)


@pytest.mark.parametrize(("fill", "value"), [("grey", 0.5), ("black", 0.0)])
@pytest.mark.parametrize("size", [(32, 32), (33, 57)])
def test_a_pad_is_a_frame(fill: Any, value: float, size: Any) -> None:
    image = photo(2, 3, *size)
    out = Pad(0.25, fill)(image, Rng([1, 2]))
    down, across = round(0.25 * size[0]), round(0.25 * size[1])
    assert close(out, F.pad(image, (across, across, down, down), value=value))


@pytest.mark.parametrize("size", [(32, 32), (33, 57)])
@pytest.mark.parametrize("amount", [0.4, 0.7, 0.9, 1.0])
def test_a_crop_is_a_window_at_any_place(size: Any, amount: float) -> None:
    image = photo(64, 1, *size)
    out = Crop(amount)(image, Rng(range(64)))
    height, width = out.shape[-2:]
    assert (height, width) == (round(amount * size[0]), round(amount * size[1]))
    windows = F.unfold(image[:1], (height, width)).mT[0]  # every window, as a row
    distance = (out.flatten(1)[:, None] - windows).abs().amax(-1)
    assert distance.amin(1).max() < 1e-4
    if amount == 0.9:
        places = set(distance.argmin(1).tolist())
        down, across = size[0] - height + 1, size[1] - width + 1
        assert {p // across for p in places} == set(range(down))
        assert {p % across for p in places} == set(range(across))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_flip_is_a_mirror_image_with_its_probability(probability: float) -> None:
    image = photo(400, 1, 4, 7)
    out = Flip(probability)(image, Rng(range(400)))
    mirrored = (out - image.flip(-1)).abs().amax((1, 2, 3)) < 1e-4
    assert close(out, torch.where(mirrored[:, None, None, None], image.flip(-1), image))
    assert mirrored.float().mean().item() == pytest.approx(probability, abs=0.1)


@pytest.mark.parametrize("size", [(40, 40), (64, 160)])
def test_amounts_are_relative_to_the_image(size: Any) -> None:
    rng = Rng(range(1000))
    shift = Jitter(0.1).matrix(rng, size)[:, :2, 2]
    for axis, extent in ((0, size[1]), (1, size[0])):
        assert shift[:, axis].abs().max() <= 0.1 * extent
        assert shift[:, axis].max() > 0.095 * extent and shift[:, axis].min() < -0.095 * extent
    scale = 1 / RandomScale(0.8, 1.2).matrix(rng, size)[:, 0, 0]
    assert 0.8 <= scale.min() < 0.81 and 1.19 < scale.max() <= 1.2001
    matrix = RandomRotate(15).matrix(rng, size)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]) * 180 / math.pi
    assert -15.001 <= angle.min() < -14.7 and 14.7 < angle.max() <= 15.001
    assert close(torch.linalg.det(matrix), torch.ones(1000), 1e-5)


def test_a_scale_above_one_magnifies() -> None:
    image = torch.zeros(1, 1, 33, 33)
    image[..., 12:21, 12:21] = 1
    area = RandomScale(2, 2)(image, Rng([0])).sum() / image.sum()
    assert area.item() == pytest.approx(4, rel=0.1)


def test_what_lies_outside_is_mirrored_by_default() -> None:
    ramp = torch.linspace(0, 1, 40).expand(1, 1, 40, 40)
    out = RandomScale(0.5, 0.5)(ramp, Rng([0]))[0, 0, 20]
    assert close(out[:10], out[10:20].flip(0), 1e-4) and close(out[30:], out[20:30].flip(0), 1e-4)


# Others


def test_a_blur_agrees_with_torchvision(monkeypatch: Any) -> None:
    image, sigmas = photo(3, 3, 40, 50), torch.tensor([0.4, 1.1, 2.0])
    monkeypatch.setattr(Rng, "uniform", lambda *_: sigmas)
    out = Blur(0.05)(image, Rng([1, 2, 3]))
    kernel = 2 * math.ceil(2.5 * 0.05 * 40) + 1
    expected = torch.stack([TF.gaussian_blur(image[i], [kernel] * 2, [float(sigmas[i])] * 2) for i in range(3)])
    assert close(out, expected, 1e-4)


def test_a_blur_of_nothing_is_nothing() -> None:
    image = photo(1, 3, 8, 8)
    assert torch.equal(Blur(0.0)(image, Rng([1])), image)


def test_noise_has_the_deviation_asked_for() -> None:
    image = photo(4, 3, 64, 64)
    difference = Noise(0.2)(image, Rng(range(4))) - image
    assert difference.mean().item() == pytest.approx(0, abs=0.01)
    assert difference.std().item() == pytest.approx(0.2, rel=0.02)
    assert torch.equal(Noise(0)(image, Rng(range(4))), image)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_brightness_and_contrast(monkeypatch: Any, channels: int) -> None:
    image = photo(2, channels, 6, 8) * 0.4 + 0.3
    monkeypatch.setattr(Rng, "uniform", lambda *_: torch.tensor([[1.0, 0, 0, 0], [0, -1.0, 0, 0]]))
    out = ColorJitter(brightness=0.1, contrast=0.5, saturation=0)(image, Rng([1, 2]))
    assert close(out[0], image[0] + 0.1, 1e-6)
    assert close(out[1], (image[1] + image[1].mean()) / 2, 1e-6)


@pytest.mark.parametrize("turn", [1.0, -0.5, 0.25])
def test_saturation_and_hue(monkeypatch: Any, turn: float) -> None:
    image = photo(1, 3, 6, 8)
    monkeypatch.setattr(Rng, "uniform", lambda *_: torch.tensor([[0, 0, turn, turn]]))
    out = ColorJitter(0, 0, saturation=0.5)(image, Rng([1]))
    grey = image.mean(1, keepdim=True)
    assert close(out, (grey + (image - grey) * (1 + 0.5 * turn)).clamp(0, 1), 1e-6)
    out = ColorJitter(0, 0, 0, hue=0.4)(image, Rng([1]))
    assert close(out, TF.adjust_hue(image, 0.4 * turn), 1e-3)


def test_colours_stay_in_range_and_a_grey_picture_has_a_gradient() -> None:
    image = photo(4, 3, 8, 8)
    out = ColorJitter(0.5, 0.9, 0.9, 0.5)(image, Rng(range(4)))
    assert out.min() >= 0 and out.max() <= 1
    grey = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    ColorJitter(hue=0.2)(grey, Rng([1, 2])).square().sum().backward()
    assert torch.isfinite(grey.grad).all() and grey.grad.any()


# Composition


@pytest.fixture
def sampled(monkeypatch: Any) -> list[int]:
    """A list that grows by one with every resampling."""
    calls: list[int] = []
    plain = F.grid_sample

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return plain(*args, **kwargs)

    monkeypatch.setattr(T.F, "grid_sample", counted)
    return calls


WARPS = [Pad(0.1, "reflect"), Jitter(0.1), RandomScale(0.8, 1.2), RandomRotate(20), Crop(0.8), Flip()]


@pytest.mark.parametrize("warps", [WARPS, WARPS[::-1], [*WARPS[1:4], *WARPS[1:4]]])
@pytest.mark.parametrize("size", [None, (40, 72)])
def test_warps_are_joined_into_one_resampling(sampled: list[int], warps: list[Warp], size: Any) -> None:
    image = smooth(4, 64, 96)
    out = Compose(warps)(image, Rng(range(4)), size=size)
    assert len(sampled) == 1
    rng, canvas, matrix = Rng(range(4)), (64, 96), torch.eye(3)
    for warp in warps:
        matrix = matrix @ warp.matrix(rng, canvas)
        canvas = warp.out_size(canvas)
    if size is not None:
        matrix = matrix @ torch.diag(torch.tensor([canvas[1] / size[1], canvas[0] / size[0], 1.0]))
        canvas = size
    assert close(out, resample(image, matrix, canvas))


@pytest.mark.parametrize("order", [1, -1])
def test_a_joined_warp_is_close_to_one_after_another(sampled: list[int], order: int) -> None:
    image, warps = smooth(6, 96, 128), [Jitter(0.05), RandomScale(1.1, 1.3), RandomRotate(20)][::order]
    joined = Compose(warps)(image, Rng(range(6)))
    one_by_one, reverse = image, image
    rng = Rng(range(6))
    for warp in warps:
        one_by_one = warp(one_by_one, rng)
    assert len(sampled) == 4
    middle = (..., slice(24, -24), slice(32, -32))  # away from the borders of the pictures in between
    assert close(joined[middle], one_by_one[middle], 0.01)
    reverse = Compose(warps[::-1])(image, Rng(range(6)))
    assert not close(joined[middle], reverse[middle], 0.05), "order matters"


def test_order_matters_in_closed_form(monkeypatch: Any) -> None:
    spot = torch.zeros(1, 1, 33, 33)
    spot[0, 0, 16, 16] = 1
    quarter, shift = RandomRotate(90), Jitter(0.5)
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    move = torch.tensor([[[1.0, 0.0, 5.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # the picture goes 5 px to the left
    monkeypatch.setattr(quarter, "matrix", lambda *_: turn)
    monkeypatch.setattr(shift, "matrix", lambda *_: move)

    def place(*warps: Warp) -> list[int]:
        return Compose(warps)(spot, Rng([0]))[0, 0].round().nonzero()[0].tolist()

    assert place(shift) == [16, 11]
    assert place(quarter, shift) == [16, 11]
    assert place(shift, quarter) in ([21, 16], [11, 16])


def test_only_neighbours_are_joined(sampled: list[int]) -> None:
    image = photo(2, 3, 20, 20)
    steps = [Jitter(), RandomRotate(), Noise(0.1), RandomScale(), Flip()]
    out = Compose(steps)(image, Rng([1, 2]))
    assert len(sampled) == 2
    rng = Rng([1, 2])
    assert torch.equal(Compose(steps[3:])(Noise(0.1)(Compose(steps[:2])(image, rng), rng), rng), out)


@pytest.mark.parametrize("with_draws", [True, False])
@pytest.mark.parametrize(
    "steps", [[], [Noise()], [Jitter()], [Jitter(), Noise()], [Noise(), Crop(0.5)], [Pad(), Blur(), Flip()]]
)
@pytest.mark.parametrize("size", [(24, 24), (40, 17)])
def test_a_size_can_be_asked_for(steps: list[Any], size: Any, with_draws: bool) -> None:
    image = photo(2, 3, 24, 24)
    out = Compose(steps)(image, Rng([1, 2]) if with_draws else None, size=size)
    assert out.shape == (2, 3, *size)


def test_a_size_alone_is_a_plain_resizing(sampled: list[int]) -> None:
    image = smooth(1, 40, 60)
    out = Compose([])(image, Rng([1]), size=(20, 30))
    assert close(out, resize(image, (20, 30)), 1e-6) and not sampled
    assert close(out[..., 1:-1, 1:-1], F.avg_pool2d(image, 2)[..., 1:-1, 1:-1], 0.01)
    still = Compose([RandomScale(1, 1)])(image, Rng([1]), size=(80, 120))
    assert close(still, F.interpolate(image, scale_factor=2, mode="bilinear"), 1e-4)


@pytest.mark.parametrize(
    "foreign",
    [Grayscale(3), RandomGaussianBlur((3, 3), (1.0, 1.0), p=1.0), lambda image: image.flip(-1)],
    ids=["torchvision", "kornia", "function"],
)
def test_any_callable_may_stand_among_them(foreign: Any) -> None:
    image = photo(2, 3, 16, 20).requires_grad_()
    state = torch.get_rng_state()
    out = Compose([Jitter(), foreign, RandomRotate()])(image, Rng([1, 2]))
    assert torch.equal(state, torch.get_rng_state())
    rng = Rng([1, 2])
    moved = Jitter()(image, rng)
    with OwnRandom(rng.generators[0]):  # what it draws comes from the first picture's stream
        changed = foreign(moved)
    expected = RandomRotate()(changed, rng)
    assert close(out, expected, 1e-5)
    out.sum().backward()
    assert image.grad.any()


def test_compositions_within_compositions_are_one(sampled: list[int]) -> None:
    nested = Compose([Jitter(), Compose([RandomScale(), Compose([RandomRotate()])])])
    flat = Compose([Jitter(), RandomScale(), RandomRotate()])
    image = photo(2, 3, 16, 16)
    assert torch.equal(nested(image, Rng([1, 2])), flat(image, Rng([1, 2])))
    assert len(sampled) == 2 and repr(nested) == repr(flat)


def test_a_composition_of_nothing_changes_nothing() -> None:
    image = photo(1, 3, 8, 8)
    assert torch.equal(Compose()(image, Rng([1])), image)


def test_the_default_is_strong_and_keeps_the_size(sampled: list[int]) -> None:
    image = photo(2, 3, 224, 224)
    assert standard()(image, Rng([1, 2])).shape == image.shape and len(sampled) == 1
    shift, scale, turn = standard().transforms
    assert shift.amount >= 0.05 and scale.low <= 0.9 and scale.high >= 1.1 and turn.degrees >= 10


def test_a_new_warp_takes_a_few_lines(sampled: list[int]) -> None:
    class Shear(Warp):
        def matrix(self, rng: Rng, size: Any) -> Tensor:
            matrix = torch.eye(3).repeat(rng.count, 1, 1)
            matrix[:, 0, 1] = rng.uniform(-0.2, 0.2)
            return matrix

    out = Compose([Shear(), Jitter()])(photo(3, 3, 16, 16), Rng([1, 2, 3]))
    assert out.shape == (3, 3, 16, 16) and len(sampled) == 1


def test_they_are_printed_with_their_amounts() -> None:
    assert repr(standard()) == (
        "Compose([Jitter(amount=0.1, fill='reflect'), RandomScale(low=0.8, high=1.2, fill='reflect'), "
        "RandomRotate(degrees=15.0, fill='reflect')])"
    )
    for make in TRANSFORMS.values():
        text = repr(make())
        assert repr(eval(text, vars(T))) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pad(-0.1), "amount -0.1: give a fraction of the image from 0 to 1"),
        (lambda: Pad(16), "amount 16: give a fraction"),
        (lambda: Jitter(1.5), "amount 1.5: give a fraction"),
        (lambda: Jitter(0.1, "mirror"), "no fill 'mirror': choose one of 'reflect', 'border', 'grey', 'black'"),
        (lambda: RandomScale(0, 1), "low 0: give a scale from 0.001 to 1000"),
        (lambda: RandomScale(1.2, 0.8), "scales from 1.2 to 0.8"),
        (lambda: RandomScale(1, math.inf), "high inf: give a scale"),
        (lambda: Noise(math.nan), "std nan: give a finite number from 0"),
        (lambda: Jitter(math.nan), "amount nan: give a fraction"),
        (lambda: Crop(True), "amount True: give a fraction"),
        (lambda: RandomRotate("15"), "degrees '15': give an angle"),
        (lambda: Pad(0.1, "\x1b[31mred"), r"no fill '\\x1b\[31mred'"),
        (lambda: RandomRotate(-5), "degrees -5: give an angle from 0 to 180"),
        (lambda: RandomRotate(200), "degrees 200"),
        (lambda: Crop(0), "amount 0: give a fraction of the image above 0 and up to 1"),
        (lambda: Crop(1.1), "amount 1.1"),
        (lambda: Flip(2), "probability 2: give a fraction"),
        (lambda: Blur(-1), "sigma -1: give a fraction"),
        (lambda: Noise(-0.1), "std -0.1: give a number from 0 to 1000"),
        (lambda: ColorJitter(hue=0.6), "hue 0.6: give a fraction of the image from 0 to 0.5"),
        (lambda: ColorJitter(contrast=-1), "contrast -1"),
        (lambda: ColorJitter()(photo(1, 1, 4, 4)), "saturation and hue need RGB, not 1 channels: set both to 0"),
    ],
)
def test_amounts_that_are_none_are_errors(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_cannot_be_called_is_no_transform() -> None:
    with pytest.raises(TypeError, match="3 is no transform: give a callable from images to images"):
        Compose([Jitter(), 3])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float64, "cpu"), (torch.float32, "meta"), (torch.float64, "meta")]
)
@pytest.mark.parametrize("size", [None, (21, 20)])
@pytest.mark.parametrize("make", [*TRANSFORMS.values(), lambda: ColorJitter(hue=0.3)], ids=[*TRANSFORMS, "hue"])
def test_torch_defaults_do_not_matter(make: Any, size: Any, dtype: torch.dtype, device: str) -> None:
    image = photo(2, 3, 24, 30)
    transform = Compose([make()])
    expected = transform(image, Rng([1, 2]), size)
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        found = transform(image, Rng([1, 2]), size)
        assert make()(image).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found.dtype == torch.float32 and found.device.type == "cpu" and torch.equal(found, expected)


def test_numbers_of_every_library() -> None:
    for number in (np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert repr(Jitter(number)) == repr(Jitter(0.5)) and repr(Noise(number)) == repr(Noise(0.5))

"""Train a bundled network: `python -m optvis.demo.train --network demo`, about twenty minutes on one core.

Pictures are generated as they are needed, and none is used twice. Most are augmented, and half of these are changed by
an adversarial attack: a small step along the gradient of the loss. Adversarially trained networks have gradients with
respect to the input that resemble the features they detect, so that pictures optimised on them are clear and other
networks recognise them.

The shipped weights were trained in this way, and then further with `--start` (demo: 700 steps, and 450 with
`--reach 3.5`; judge: 700 steps, and three times 420 with `--reach 1.5`), with earlier versions of the pictures and the
attack. The demo network's colour head was once scaled by hand; only the judge was trained on bent pictures. This code
leads to similar networks, not to the same weights.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from tqdm.auto import tqdm

from optvis.demo.muon import Muon
from optvis.demo.networks import NETWORKS, DemoNetwork, JudgeNetwork
from optvis.demo.patterns import COLOURS, PATTERNS, Dice, make_pictures

COLOUR_SCALE = 1.15  # colours are easy, so that without this their logits would stay small beside those of patterns
UNSEEN = 1 << 20  # the seed of the pictures that measure accuracy


def train(
    network: DemoNetwork | JudgeNetwork,
    steps: int = 1800,
    *,
    seed: int = 0,
    begin: float = 0.0,
    batch: int = 64,
    rate: float = 0.04,
    reach: float = 3.0,
    progress: bool = True,
    after: Callable[[int], object] | None = None,
) -> list[float]:
    """Train a network in place and leave it in eval mode; returns the loss of each step.

    Args:
        network: one of the bundled networks.
        steps: how many steps.
        seed: of the pictures (the caller sets the initial weights).
        begin: the fraction of the schedule, 0 to 1, to skip for a network that is trained already.
        batch: pictures in a step; twice as many while they are small.
        rate: the learning rate of the convolutions; it falls to 0.
        reach: the largest Euclidean norm of an attack on a picture of 64 by 64, at the end of the schedule.
        progress: True to show a progress bar.
        after: called with the number of each step after it, counted from 1.
    """
    generator = torch.Generator().manual_seed(seed)
    network.to(memory_format=torch.channels_last)
    kernels = [p for p in network.parameters() if p.ndim == 4]
    others = [p for p in network.parameters() if p.ndim < 4]
    optimisers = [Muon(kernels, rate), torch.optim.AdamW(others, rate / 8)]

    def done(step: int) -> float:
        return begin + (1 - begin) * step / steps

    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda i: min((i + 1) / 40, 1) * (1 - done(i))) for o in optimisers
    ]
    losses = []
    bar = tqdm(range(steps), disable=not progress)
    for step in bar:
        hardness, size = _lesson(done(step), generator)
        lot = make_pictures(2 * batch if size == 32 else batch, size, generator=generator)
        if hardness > 0:
            lot = disturb(*lot, generator)
            network.eval()
            lot = attack(network, *lot, hardness * reach, generator), *lot[1:]
        network.train()
        loss = _loss(network, *lot)
        network.zero_grad()
        torch.autograd.backward(loss)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        if after is not None:
            after(step + 1)
    network.eval()
    return losses


def _lesson(done: float, generator: torch.Generator) -> tuple[float, int]:
    """The strength of the attack (0 to 1) and the size of the pictures after a fraction `done` of the schedule.

    Training begins with clean, small pictures: attacked from the first step, a network learns nothing. The pictures
    become larger and vary in size.
    """
    if done < 0.25:
        return 0, 32
    sizes = (32, 48, 48, 48) if done < 0.6 else (40, 48, 64, 64)
    return min((done - 0.25) / 0.35, 1), sizes[int(torch.randint(4, (), generator=generator))]


def disturb(
    images: Tensor, pattern: Tensor, colour: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment images [N, 3, H, W] in [0, 1]: bending, blur, noise, contrast, a grey patch, mixed colours.

    The colour label of images whose colours were mixed becomes -100, which the loss ignores.
    """
    count, size = len(images), images.shape[-1]
    dice = Dice(count, generator)

    odd = dice.either(0.2)
    mixed = torch.einsum("nij,njhw->nihw", torch.rand(count, 3, 3, generator=generator) / 1.5, images)
    mixed = torch.where(dice.either(0.5)[..., None], 1 - mixed, mixed)
    images = torch.where(odd[..., None], mixed, images)
    colour = torch.where(odd[:, 0, 0], -100, colour)

    line = torch.arange(size).float() / size
    x, y = (line[None, None, :] - dice(0, 1)).abs(), (line[None, :, None] - dice(0, 1)).abs()
    patch = torch.maximum(x / dice(0.04, 0.14), y / dice(0.04, 0.14)) < 1
    patch = patch & dice.either(0.3)
    images = torch.where(patch[:, None], dice(0, 0.5)[..., None], images)

    # The lines of a picture optimised on a network are rarely straight.
    images = torch.where(dice.either(0.4)[..., None], _bent(images, dice, generator), images)

    soft = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    images = torch.lerp(images, soft, (dice(0, 0.8) * dice.either(0.4))[..., None])
    images = (images - 0.5) * dice(0.7, 1.1)[..., None] + 0.5 + dice(-0.1, 0.1)[..., None]
    images = images + torch.randn(images.shape, generator=generator) * dice(0, 0.1)[..., None]
    return images.clamp(0, 1), pattern, colour


def _bent(images: Tensor, dice: Dice, generator: torch.Generator) -> Tensor:
    """Images [N, 3, H, W] under a smooth random displacement of up to about a tenth of their size."""
    count, size = len(images), images.shape[-1]
    lumps = torch.randn(count, 2, 6, 6, generator=generator) * dice(0.01, 0.07)[..., None]
    shift = F.interpolate(lumps, (size, size), mode="bicubic", align_corners=False).movedim(1, -1)
    still = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, still + shift, padding_mode="reflection", align_corners=False)


def attack(
    network: nn.Module, images: Tensor, pattern: Tensor, colour: Tensor, reach: float, generator: torch.Generator
) -> Tensor:
    """Move every other image [N, 3, H, W] by up to `reach` along the gradient of the loss of its pattern or colour."""
    some, rest = slice(0, None, 2), images.clone(memory_format=torch.channels_last)
    dice = Dice(len(rest[some]), generator)
    near = rest[some].clone().requires_grad_()
    out = network(normalise(network, near))
    # One of the two at a time: the loss of the easy colours would have no effect beside that of the patterns.
    pattern_loss = F.cross_entropy(out["pattern"], pattern[some], reduction="none")
    colour_loss = F.cross_entropy(out["colour"], colour[some], reduction="none")
    loss = torch.where(dice.either(0.6)[:, 0, 0], pattern_loss, colour_loss).sum()
    (slope,) = torch.autograd.grad(loss, near)
    length = slope.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    rest[some] = (near + reach * images.shape[-1] / 64 * dice(0.3, 1)[..., None] * slope / length).detach().clamp(0, 1)
    return rest


def _loss(network: nn.Module, images: Tensor, pattern: Tensor, colour: Tensor) -> Tensor:
    out = network(normalise(network, images))
    loss: Tensor = F.cross_entropy(out["pattern"], pattern) + F.cross_entropy(out["colour"] / COLOUR_SCALE, colour)
    return loss


def normalise(network: nn.Module, images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [0, 1], normalised for the network."""
    mean, std = (images.new_tensor(getattr(network, name))[:, None, None] for name in ("image_mean", "image_std"))
    return (images - mean) / std


@torch.no_grad()
def accuracy(network: nn.Module, count: int = 2000, size: int = 64, seed: int = UNSEEN) -> dict[str, float]:
    """The accuracy, 0 to 1, of pattern and colour on `count` pictures that were not used in training."""
    generator = torch.Generator().manual_seed(seed)
    right = {"pattern": 0, "colour": 0}
    for start in range(0, count, 250):
        images, *truth = make_pictures(min(250, count - start), size, generator=generator)
        out = network(normalise(network, images))
        for name, label in zip(right, truth, strict=True):
            right[name] += int((out[name].argmax(1) == label).sum())
    return {name: n / count for name, n in right.items()}


def save(network: nn.Module, path: Path, seed: int) -> None:
    """Write the weights as float16 safetensors, completely or not at all."""
    weights = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    weights = {name: t.contiguous() for name, t in weights.items()}
    names = {"pattern": ",".join(PATTERNS), "colour": ",".join(COLOURS)}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(to_bytes(weights, {**names, "seed": str(seed), "network": type(network).__name__}))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m optvis.demo.train", description="Train a bundled network.")
    parser.add_argument("--network", choices=list(NETWORKS), default="demo")
    parser.add_argument("--seed", type=int, help="of the weights and the pictures (default: 0 for demo, 1 for judge)")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--reach", type=float, default=3.0, help="norm of the attack; less is easier and less robust")
    parser.add_argument("--start", type=Path, help="weights to continue from, with the last part of the schedule only")
    parser.add_argument("--out", type=Path, help="default: the file shipped beside this code")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else list(NETWORKS).index(given.network)
    torch.manual_seed(seed)
    network = NETWORKS[given.network]()
    if given.start:
        network.load_state_dict(load_file(given.start))
    train(network, given.steps, seed=seed, reach=given.reach, begin=0.6 if given.start else 0)
    out = given.out or Path(__file__).with_name(f"{given.network}.safetensors")
    save(network, out, seed)
    print(f"{out}:", ", ".join(f"{name} {share:.2%}" for name, share in accuracy(network).items()))


if __name__ == "__main__":
    main()

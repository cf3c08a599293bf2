"""What does a step cost? Ours against a bare loop, and against torch-lucent, in one run.

::

    python benchmarks/step.py --weights FOLDER --networks squeezenet1_0 resnet18_pq vgg11 --size 224 --batch 1

The bare loop is plain torch in float32: a Fourier image with decorrelated colours, one affine warp, the forward pass
stopped at the layer, weights frozen. Each of ``--rounds`` times every contender in turn; the medians of CPU seconds
are compared (and of wall seconds, in brackets).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
import torch.nn.functional as F
import torchvision
from judging import MEAN, STD
from torch import Tensor, nn

from optvis import OptVis
from optvis.params.color import Color

LAYERS = {
    "squeezenet1_0": ("features/3", "features/9", "features/12"),
    "resnet18_pq": ("layer1", "layer3", "layer4"),
    "vgg11": ("features/5", "features/12", "features/19"),
}


class Stop(Exception):
    """Ends a forward pass."""


def bare(network: nn.Module, layer: str, size: int, batch: int) -> Callable[[int], None]:
    """The floor: steps of a plain loop, uphill on channel 1."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    scale = 1 / torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]).clamp_min(1 / size)
    spectrum = (torch.randn(batch, 3, size, size // 2 + 1, 2) * 0.01).requires_grad_()
    optimiser = torch.optim.Adam([spectrum], lr=0.05)
    color, mean, std = Color(3, True), torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    seen: dict[str, Tensor] = {}

    def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
        seen["out"] = output
        raise Stop

    def run(steps: int) -> None:
        hook = network.get_submodule(layer.replace("/", ".")).register_forward_hook(stop)
        for _ in range(steps):
            optimiser.zero_grad()
            image = color(torch.fft.irfft2(torch.view_as_complex(spectrum * scale[..., None]), s=(size, size)))
            theta = torch.eye(2, 3) + 0.1 * (torch.rand(batch, 2, 3) - 0.5)
            grid = F.affine_grid(theta, [batch, 3, size, size], align_corners=False)
            image = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
            try:
                network((image - mean) / std)
            except Stop:
                pass
            (-seen["out"][:, 1].mean()).backward()
            optimiser.step()
        hook.remove()

    return run


def ours(network: nn.Module, layer: str, size: int, batch: int, **options: object) -> Callable[[int], None]:
    channels = list(range(1, batch + 1))

    def run(steps: int) -> None:
        noise = options.get("channel_noise")
        optvis = OptVis.from_layer(network, layer, channel=channels, channel_noise=noise)
        optvis.vis(stages=[(size, steps)], verbose=False, precision=options.get("precision", "auto"))

    return run


def lucent(network: nn.Module, layer: str, size: int, batch: int) -> Callable[[int], None]:
    from rivals import lucent_picture

    return lambda steps: lucent_picture(network, layer.replace("/", "_"), 1, size, steps, 0)


def seconds_a_step(run: Callable[[int], None], steps: int) -> tuple[float, float]:
    """CPU and wall seconds of a step, without what is done once a run and in its first steps (shut ReLUs opened)."""
    spent = []
    for n in (17, 17 + steps):
        cpu, wall = time.process_time(), time.perf_counter()
        run(n)
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    return (spent[1][0] - spent[0][0]) / steps, (spent[1][1] - spent[0][1]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder with a load.py; seeded weights otherwise")
    parser.add_argument("--networks", nargs="*", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--lucent", action="store_true", help="also torch-lucent (batch 1)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{given.size} px, batch {given.batch}, {given.threads} threads, precision {given.precision}")
    for name in given.networks:
        if name == "vgg11" or given.weights is None:
            torch.manual_seed(0)
            network = getattr(torchvision.models, name.removesuffix("_pq"))().eval()
        else:
            sys.path.insert(0, str(given.weights))
            from load import load

            network = load(name)
        for layer in LAYERS[name]:
            shape = (network, layer, given.size, given.batch)
            contenders = {
                "bare loop": bare(*shape),
                "optvis": ours(*shape, precision=given.precision),
                "optvis, no noise": ours(*shape, precision=given.precision, channel_noise=0.0),
            }
            if given.lucent:
                contenders["lucent"] = lucent(*shape)
            times: dict[str, list[tuple[float, float]]] = {who: [] for who in contenders}
            for _ in range(given.rounds):
                for who, run in contenders.items():
                    times[who].append(seconds_a_step(run, given.steps))
            medians = {who: [statistics.median(t[i] for t in spent) for i in (0, 1)] for who, spent in times.items()}
            floor = medians["bare loop"]
            print(
                f"{name:14s} {layer:12s} floor {1000 * floor[0]:6.1f} ms; "
                + "; ".join(f"{who} {m[0] / floor[0]:.2f} ({m[1] / floor[1]:.2f})" for who, m in medians.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()

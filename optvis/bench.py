"""The cost of a step: the loop of this package compared with a minimal one, in one run."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .display import progress_bar
from .engine import OptVis
from .network import NetworkInput, Tap, find_layer, isolated, shadow, unwrap
from .network.addresses import layers_of, module_at
from .network.tap import first_tensor
from .params import ImageParam
from .params.color import Color
from .scheduler import OPEN_STEPS
from .text import printable

Loop = Callable[[int], None]
"""Takes the given number of steps."""


class Cost(NamedTuple):
    """Seconds for each step: CPU time over all cores, and wall-clock time."""

    cpu: float
    wall: float


class _Stop(Exception):
    pass


def bare_loop(network: nn.Module, layer: str, size: int, batch: int = 1) -> Loop:
    """The baseline: a minimal loop in plain torch and float32, as one would write it by hand.

    A Fourier image with decorrelated colours, one affine warp, a forward pass that stops at the layer, frozen weights,
    Adam. The network has to run on images of ``size`` pixels.
    """
    given = NetworkInput.of(network)
    inner, shape = shadow(network), (batch, given.channels, size, size)
    scale = 1 / torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]).clamp_min(1 / size)
    scale, color = scale.to(given.device)[..., None], Color(given.channels, given.channels == 3).to(given.device)
    noise = torch.randn(*shape[:3], size // 2 + 1, 2, generator=torch.Generator().manual_seed(0))
    spectrum = (0.01 * noise).to(given.device).requires_grad_()
    optimiser = torch.optim.Adam([spectrum], lr=0.05)
    mean, std = (torch.tensor(values, device=given.device).view(-1, 1, 1) for values in (given.mean, given.std))
    seen: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: object) -> None:
        tensor = first_tensor(output)
        assert tensor is not None
        seen.append(tensor)
        raise _Stop

    def run(steps: int) -> None:
        with isolated(given.device):
            hook = module_at(inner, layer).register_forward_hook(stop)
            try:
                for _ in range(steps):
                    optimiser.zero_grad()
                    image = color(torch.fft.irfft2(torch.view_as_complex(spectrum * scale), s=shape[2:]))
                    theta = torch.eye(2, 3, device=given.device)
                    theta = theta + 0.1 * (torch.rand(batch, 2, 3, device=given.device) - 0.5)
                    grid = F.affine_grid(theta, list(shape), align_corners=False)
                    image = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
                    try:
                        inner(((image - mean) / std).to(given.dtype))
                    except _Stop:
                        pass
                    (-seen.pop().float().flatten(1).mean(1).sum()).backward()
                    optimiser.step()
            finally:
                hook.remove()

    return run


def own_loop(
    network: nn.Module, layer: str, size: int, batch: int = 1, precision: str = "auto", **options: Any
) -> Loop:
    """The loop of ``OptVis`` with its defaults; ``options`` are those of ``OptVis``."""

    def run(steps: int) -> None:
        param = ImageParam(size, batch, channels=NetworkInput.of(network).channels)
        OptVis.from_layer(network, layer, **options).vis(
            param, stages=[(size, steps)], verbose=False, precision=precision
        )

    return run


def memory(network: nn.Module, layer: str, size: int) -> float:
    """MiB of memory for each further picture in the batch, with the defaults.

    On a GPU, from the peak of allocated memory; elsewhere, from the tensors that a step saves for the backward pass,
    which are nearly all.
    """

    def most(batch: int) -> float:
        if NetworkInput.of(network).device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            own_loop(network, layer, size, batch)(OPEN_STEPS + 1)
            return float(torch.cuda.max_memory_allocated())
        kept = _Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept.hold, lambda held: held.tensor):
            own_loop(network, layer, size, batch)(2)
        return kept.most

    return (most(2) - most(1)) / 2**20


class _Kept:
    """Counts the bytes of all storages that are saved for a backward pass."""

    def __init__(self) -> None:
        self.holders: Counter[int] = Counter()
        self.now = self.most = 0

    def hold(self, tensor: Tensor) -> _Held:
        return _Held(self, tensor)

    def count(self, storage: torch.UntypedStorage, change: int) -> None:
        key, before = storage.data_ptr(), self.holders[storage.data_ptr()]
        self.holders[key] += change
        self.now += storage.nbytes() * ((before + change > 0) - (before > 0))
        self.most = max(self.most, self.now)


class _Held:
    """A saved tensor, counted for as long as this object lives."""

    def __init__(self, kept: _Kept, tensor: Tensor) -> None:
        self.kept, self.tensor = kept, tensor
        kept.count(tensor.untyped_storage(), 1)

    def __del__(self) -> None:
        self.kept.count(self.tensor.untyped_storage(), -1)


def compare(loops: Mapping[str, Loop], steps: int = 8, rounds: int = 3, bar: Any = None) -> dict[str, Cost]:
    """Time the loops in turn, ``rounds`` times, and return the medians; ``bar`` advances after each loop.

    The cost of a step is the difference between a run of ``steps`` more steps and a shorter one, so that the setup of
    a run and its first steps (in which gradients may pass inactive ReLUs) do not count.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            short, long = (_time(loop, n) for n in (OPEN_STEPS + 1, OPEN_STEPS + 1 + steps))
            costs[name].append(Cost((long.cpu - short.cpu) / steps, (long.wall - short.wall) / steps))
            if bar is not None:
                bar.update()
    return {
        name: Cost(statistics.median(c.cpu for c in spent), statistics.median(c.wall for c in spent))
        for name, spent in costs.items()
    }


def _time(loop: Loop, steps: int) -> Cost:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    cpu, wall = time.process_time(), time.perf_counter()
    loop(steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def depths(network: nn.Module, size: int) -> list[str]:
    """Three layers with a map: at a quarter and half of the network's depth, and the last one."""
    given, inner = NetworkInput.of(network), shadow(network)
    leaves = [name for name, module in layers_of(inner).items() if name and not list(module.children())]
    image = torch.zeros(1, given.channels, size, size, device=given.device, dtype=given.dtype)
    with isolated(given.device), torch.no_grad(), Tap(inner, leaves, missing_ok=True) as tap:
        maps = [name for name, seen in tap(image).items() if seen.dim() > 2 and max(seen.shape[2:]) > 1]
    if not maps:
        raise ValueError(f"no layer of {type(inner).__name__} puts out a map for an image of {size} px")
    return list(dict.fromkeys(maps[round(part * (len(maps) - 1))] for part in (0.25, 0.5, 1.0)))


def bench(
    network: nn.Module,
    layers: Sequence[str] | None = None,
    size: int | None = None,
    batch: int = 1,
    rounds: int = 3,
    verbose: bool | str = True,
) -> dict[str, dict[str, Cost]]:
    """Print the cost of a step on this machine, as ratios to a minimal loop in plain torch, and a picture's memory.

    Measured are the defaults; the defaults in float32; and ``plain``, without channel noise and with exact gradients.

    Args:
        network: any ``nn.Module`` that takes images.
        layers: addresses; by default an early, a middle and the last one with a map.
        size: pixels; by default the network's own, or 224.
        batch: number of pictures in a batch.
        rounds: how often each loop is timed; the medians count.
        verbose: show a bar with the time left in a terminal or notebook, as for ``OptVis.vis``.

    Returns:
        ``{layer: {"bare loop": Cost, "optvis": Cost, ...}}``, in seconds a step.
    """
    size = max(NetworkInput.of(network).default_size) if size is None else size
    measured = depths(network, size) if layers is None else [find_layer(network, layer) for layer in layers]
    found, width = {}, max(map(len, ["layer", *measured]))
    with progress_bar(len(measured) * len(_NAMES) * rounds, verbose, "bench") as bar:
        bar.write(
            f"{type(unwrap(network)).__name__}, {size} px, batch {batch}, {torch.get_num_threads()} threads.\n"
            "Bare loop: milliseconds of a step. Others: CPU time of a step over that of the bare loop, and in\n"
            "parentheses the same for wall-clock time; 1.00 is equal. ? is below what can be measured.\n\n"
            + _row("layer", (*_NAMES, "MiB a picture"), width)
        )
        for layer in measured:
            loops = {
                "bare loop": bare_loop(network, layer, size, batch),
                "optvis": own_loop(network, layer, size, batch),
                "in float32": own_loop(network, layer, size, batch, "fp32"),
                "plain": own_loop(network, layer, size, batch, channel_noise=0.0, relu_softness=0.0),
            }
            found[layer] = costs = compare(loops, rounds=rounds, bar=bar)
            bare = costs["bare loop"]
            ratios = [f"{_over(c.cpu, bare.cpu)} ({_over(c.wall, bare.wall)})" for c in list(costs.values())[1:]]
            cells = [
                f"{1000 * bare.wall:.1f}" if bare.wall > 0 else "?",
                *ratios,
                f"{memory(network, layer, size):.1f}",
            ]
            bar.write(_row(layer, cells, width))
    return found


_NAMES = ("bare loop", "optvis", "in float32", "plain")


def _row(layer: str, cells: Sequence[str], width: int) -> str:
    return "  ".join([printable(layer).ljust(width), *(cell.rjust(13) for cell in cells)])


def _over(seconds: float, bare: float) -> str:
    """A ratio of two differences of times, which noise can make zero or negative."""
    return f"{seconds / bare:.2f}" if seconds > 0 and bare > 0 else "?"

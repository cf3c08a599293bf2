"""Threads on one network: each draws what it draws alone, to the bit, and nobody is disturbed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import Small, Tiny, random_states, seeded, snapshot, vit
from torch import Tensor, nn

from optvis import ImageParam, OptVis, Visualisation

ROUNDS = 10
STAGES = [(16, 2), (24, 2)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are added in the same order, whoever else is at work."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


class Dropping(Tiny):
    """Draws random numbers in every mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.relu(self.first(x)), 0.2, training=True)
        return self.head(self.second(x).mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "plain": (lambda: seeded(Tiny), "second", 24),
    "batch norm": (lambda: seeded(Small), "features/3", 24),
    "draws random numbers": (lambda: seeded(Dropping), "second", 24),
    "ViT": (vit, "encoder/layers/encoder_layer_1", 32),
}


def same(a: Visualisation, b: Visualisation) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.scores, b.scores) and torch.equal(a.history, b.history)


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """What functions return that begin at the same moment, in a thread each; raises what they raise."""
    barrier = threading.Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(begin, call) for call in calls]]


def draw(optvis: OptVis, size: int) -> Visualisation:
    return optvis.vis(ImageParam(size), [(16, 2), (size, 2)], verbose=False)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_several_draw_on_one_network(name: str, threads: int) -> None:
    make, layer, size = NETWORKS[name]
    network = make().train()
    alone = [draw(OptVis.from_layer(network, layer, channel), size) for channel in range(threads)]
    before = snapshot(network), random_states()
    for _ in range(ROUNDS if name == "plain" else 3):
        calls = [lambda c=c: draw(OptVis.from_layer(network, layer, c), size) for c in range(threads)]
        assert all(map(same, together(calls), alone))
    assert (snapshot(network), random_states()) == before


@pytest.mark.parametrize("threads", [2, 4])
def test_several_draw_with_one_object(threads: int) -> None:
    optvis = OptVis.from_layer(seeded(Tiny), "second", [1, 3])
    alone = [optvis.vis(stages=STAGES, seed=seed) for seed in range(threads)]
    for _ in range(ROUNDS):
        found = together([lambda s=s: optvis.vis(stages=STAGES, seed=s, verbose=False) for s in range(threads)])
        assert all(map(same, found, alone))


@pytest.mark.parametrize("use", ["forward", "backward", "inference mode", "hooks"])
@pytest.mark.parametrize("name", ["plain", "batch norm"])
def test_others_use_the_network_meanwhile(name: str, use: str) -> None:
    make, layer, size = NETWORKS[name]
    network = make()  # in eval mode: batch statistics stay
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    last = list(network.parameters())[-2:]

    def work() -> tuple[Tensor, list[Tensor]]:
        if use == "inference mode":
            with torch.inference_mode():
                return network(images), []
        seen: list[Tensor] = []

        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if module is network:
                seen.append(output)

        hook = network.register_forward_hook(note) if use == "hooks" else None
        out = network(images)
        gradients = list(torch.autograd.grad(out.sum(), last)) if use == "backward" else []
        if hook is not None:
            hook.remove()
            assert len(seen) == 1 and seen[0] is out, "no other pass came by"
        return out, gradients

    alone, expected = draw(OptVis.from_layer(network, layer, 1), size), work()
    before = snapshot(network)
    done = threading.Event()

    def keep_working() -> int:
        count = 0
        while not done.is_set():
            out, gradients = work()
            assert torch.equal(out, expected[0]) and all(map(torch.equal, gradients, expected[1]))
            count += 1
        return count

    def keep_drawing() -> list[Visualisation]:
        try:
            return [draw(OptVis.from_layer(network, layer, 1), size) for _ in range(ROUNDS)]
        finally:
            done.set()

    pictures, count = together([keep_drawing, keep_working])
    assert count and all(same(picture, alone) for picture in pictures)
    assert snapshot(network) == before


def test_training_meanwhile_is_not_disturbed() -> None:
    """Weights are as after training alone; the pictures show a network in training, but are finite."""

    def train(network: nn.Module, steps: int) -> list[Tensor]:
        optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
        images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        for _ in range(steps):
            optimiser.zero_grad()
            network(images).square().mean().backward()
            optimiser.step()
        return [tensor.clone() for tensor in network.state_dict().values()]

    expected = train(seeded(Small).train(), 200)
    network = seeded(Small).train()

    def drawing() -> list[Visualisation]:
        return [draw(OptVis.from_layer(network, "features/3", 1), 24) for _ in range(5)]

    weights, pictures = together([lambda: train(network, 200), drawing])
    assert all(map(torch.equal, weights, expected))
    assert all(picture.scores.isfinite().all() for picture in pictures)
    assert network.training and all(p.requires_grad for p in network.parameters())


def test_streams_in_several_threads() -> None:
    optvis = OptVis.from_layer(seeded(Tiny), "second", range(4))
    alone = [result.images for result in optvis.stream(stages=STAGES, batch=2)]
    for _ in range(3):
        for found in together([lambda: [r.images for r in optvis.stream(stages=STAGES, batch=2)]] * 3):
            assert len(found) == 4 and all(map(torch.equal, found, alone))

"""What a run costs: forward passes, gradients, memory."""

from __future__ import annotations

import gc
import warnings

import pytest
from small_networks import Kept, Tiny, seeded, snapshot
from torch import Tensor, nn

from optvis import Batch, Channel, DeepDream, ImageParam, Layer, Neuron, OptVis, TotalVariation


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


class Count(nn.Module):
    """Passes on what it gets, and counts, its copies included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Kept()

    @property
    def calls(self) -> int:
        return len(self.seen)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.shape[0])
        return x


def test_one_forward_a_step_and_none_behind_the_deepest_layer() -> None:
    counts = [Count() for _ in range(3)]
    network = nn.Sequential(counts[0], nn.Conv2d(3, 4, 3), counts[1], nn.Conv2d(4, 4, 3), counts[2])
    objective = Layer("1") + Channel("1", 0) - DeepDream("1") - 0.1 * TotalVariation()
    calls: list[list[int]] = []
    OptVis(network, objective).vis(
        ImageParam(16), [(16, 5)], callback=lambda *_: calls.append([c.calls for c in counts])
    )
    assert [c[0] - calls[0][0] for c in calls] == [0, 1, 2, 3, 4]
    assert [c[1:] for c in calls] == [calls[0][1:]] * 5, "what follows the layer is not run in the loop"
    calls.clear()
    OptVis(network, Batch((Layer("1"), Layer("3")))).vis(
        ImageParam(16, 2), [(16, 5)], callback=lambda *_: calls.append([c.calls for c in counts])
    )
    assert [[n - m for n, m in zip(c, calls[0], strict=False)] for c in calls] == [[i, i, 0] for i in range(5)]


def test_no_gradient_of_the_weights_is_computed(network: Tiny) -> None:
    network.train()
    asked: list[bool] = []
    network.first.register_forward_hook(lambda module, *_: asked.append(module.weight.requires_grad or module.training))
    OptVis(network, "second:1").vis(ImageParam(16), thresh=2)
    assert asked and not any(asked)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def live_tensors() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated objects that are only looked at
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())


@pytest.mark.slow
def test_a_hundred_runs_leave_nothing_behind(network: Tiny) -> None:
    before = snapshot(network)
    counts = {}
    for run in range(1, 101):
        optvis = OptVis(network, [Channel("second", run % 8), Neuron("first", 0)])
        stop = run % 3
        result = optvis.vis(stages=[(6, 1), (8, 1)], callback=lambda step, _: step != stop)
        assert result.images.shape[0] == 2
        if run in (20, 100):
            del optvis, result
            counts[run] = live_tensors()
    assert snapshot(network) == before
    assert counts[100] == counts[20]

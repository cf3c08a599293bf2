"""Many pictures in one call: each as alone, in batches that fit, as far as they are when Ctrl-C comes."""

from __future__ import annotations

import pytest
import torch
from small_networks import Kept, Tiny, seeded
from torch import Tensor, nn

from optvis import Channel, Class, ImageParam, OptVis, TotalVariation, Visualisation
from optvis.recipes import collage


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


def alone(network: nn.Module, channel: int) -> Visualisation:
    return OptVis.from_layer(network, "second", channel).vis(stages=[(24, 6)])


@pytest.mark.parametrize("batch", [1, 4, 6, None])
def test_a_collage_draws_each_channel_as_alone(network: Tiny, batch: int | None) -> None:
    result = collage(network, "second", range(6), 24, batch, stages=[(24, 6)], thresh=(2, 6))
    assert result.images.shape == (6, 3, 24, 24) and result.history.shape == (6, 6) and result.scores.shape == (6,)
    assert result.labels == tuple(f"second:{channel}" for channel in range(6))
    assert result.frames[2].shape[0] == 6 and result.settings["objective"] == "Channel('second', (0, 1, 2, 3, 4, 5))"
    for channel in (0, 5):
        single = alone(network, channel)
        assert (result.images[channel] - single.images[0]).abs().max() < 1e-4
        assert result.scores[channel].item() == pytest.approx(single.scores.item(), rel=1e-3, abs=1e-4)


def test_a_collage_of_objectives(network: Tiny) -> None:
    wishes = ["second:1", Channel("first", 2) - 0.5]
    result = collage(network, wishes, size=24, thresh=2, channel_noise=0.0, seed=3)
    alone = OptVis(network, wishes, channel_noise=0.0).vis(ImageParam(24, 2, seed=[3, 3]), thresh=2, seed=3)
    assert torch.equal(result.images, alone.images)
    assert result.labels == ("Channel('second', 1)", "Channel('first', 2) - 0.5")
    assert collage(network, Class("", [3, 0]), size=24, thresh=1).labels == ("3", "0")
    assert collage(network, Class("", [3, 0]) - 2 * TotalVariation(), size=24, thresh=1).labels == ("3", "0")
    assert collage(network, TotalVariation() - Class("", [3, 0]), size=24, thresh=1).labels[0].startswith("Tot")


def test_a_collage_of_all_channels_is_labelled(network: Tiny) -> None:
    result = collage(network, network.second, None, 24, thresh=1)
    assert len(result) == 8 and result.labels[-1] == "second:7"
    picture = result.grid()
    assert picture.width >= 4 * 24 and picture.height > 2 * 24 + 2, "there is room for labels"


class Hungry(Tiny):
    """Memory for so many pictures and no more."""

    room, error = 2, torch.OutOfMemoryError("out of memory")
    tried: list[int]

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append(x.shape[0])
        if x.shape[0] > self.room:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_collage_finds_the_batch_that_fits(error: RuntimeError) -> None:
    network = seeded(Hungry)
    network.tried, network.error = Kept(), error
    result = collage(network, "second", range(7), 24, stages=[(24, 6)])
    assert set(network.tried) == {1, 7, 4, 2} and len(result) == 7
    for channel in (0, 6):
        assert (result.images[channel] - alone(seeded(Tiny), channel).images[0]).abs().max() < 1e-4


@pytest.mark.parametrize(("room", "error"), [(0, torch.OutOfMemoryError("full")), (2, RuntimeError("something else"))])
def test_a_collage_passes_other_errors_on(room: int, error: RuntimeError) -> None:
    network = seeded(Hungry)
    network.tried, network.room, network.error = Kept(), room, error
    with pytest.raises((RuntimeError, ValueError), match=str(error)):
        collage(network, "second", range(4), 24, thresh=1)


@pytest.mark.parametrize(("at", "pictures", "steps"), [(2, 4, 2), (8, 4, 6), (15, 8, 6)])
def test_ctrl_c_keeps_what_the_collage_has_so_far(network: Tiny, at: int, pictures: int, steps: int) -> None:
    """The first pictures as far as they are; later ones only where they are finished, so that all are alike."""
    calls: list[int] = []

    def interrupt(step: int, _: Visualisation) -> None:
        calls.append(step)
        if len(calls) == at:
            raise KeyboardInterrupt

    result = collage(network, "second", [*range(8), 0, 1], 24, 4, stages=[(12, 3), (24, 3)], callback=interrupt)
    assert len(calls) == at, "nothing more is begun"
    assert len(result) == len(result.labels) == pictures and result.history.shape == (steps, pictures)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_collage_without_a_batch_is_told(network: Tiny, batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch {batch}: give a whole number of at least 1"):
        collage(network, "second", range(2), 24, batch)

"""Many pictures, few places: who comes in, who leaves, and that each is drawn as it would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from small_networks import Kept, Tiny, seeded
from torch import Tensor

from optvis import CPPNParam, ImageParam, OptVis, Visualisation
from optvis.params import Param
from optvis.rng import Rng
from optvis.scheduler import CHECK, plateau

STAGES = [(16, 64), (24, 64)]


def own_pace(picture: int, scores: Sequence[float]) -> bool:
    """Pictures 0, 3, 6 leave a stage after one check, 1, 4 after two, 2, 5 after three."""
    return len(scores) > picture % 3


class Counting(Tiny):
    """Notes the size and the number of the images of every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = Kept()

    def __deepcopy__(self, memo: Any) -> Counting:
        other = seeded(Counting)
        other.load_state_dict(self.state_dict())
        other.seen = self.seen
        return other

    def forward(self, x: Tensor) -> Any:
        self.seen.append((x.shape[-1], x.shape[0]))
        return super().forward(x)


@pytest.fixture
def network() -> Counting:
    return seeded(Counting)


def test_each_picture_at_its_own_pace_is_drawn_as_alone(network: Counting) -> None:
    optvis = OptVis.from_layer(network, "second", range(7))
    result = optvis.vis(ImageParam(24, 7, seed=[0] * 7), STAGES, batch=3, until=own_pace)
    assert result.images.shape == (7, 3, 24, 24) and result.pictures == list(range(7))
    for channel in range(7):
        steps = CHECK * (channel % 3 + 1)
        history = result.history[:, channel]
        assert history[: 2 * steps].isfinite().all() and history[2 * steps :].isnan().all()
        alone = OptVis.from_layer(seeded(Tiny), "second", channel).vis(stages=[(16, steps), (24, steps)])
        assert (result.images[channel] - alone.images[0]).abs().max() < 0.01
        assert torch.allclose(history[:8], alone.history[:8, 0], atol=1e-4)
        assert result.scores[channel].item() == pytest.approx(alone.scores.item(), rel=0.02, abs=1e-3)


def test_a_freed_place_is_taken_by_the_next(network: Counting) -> None:
    OptVis.from_layer(network, "second", range(7)).vis(stages=STAGES, batch=3, until=own_pace)
    assert max(count for _, count in network.seen) == 3
    coarse = [count for size, count in network.seen if size == 16]
    assert coarse.count(3) > len(coarse) / 2
    # Seven pictures of 1, 2, 3, 1, 2, 3, 1 checks: three places are done after 5, waves of three after 3 + 3 + 1. A
    # check shows the pictures twice; a few passes more look at the network before the first step.
    assert len(coarse) <= 5 * (CHECK + 2) + 6 < 7 * (CHECK + 2)


def test_without_until_waves_follow_each_other_to_the_end(network: Counting) -> None:
    finished: list[int] = []

    def watch(step: int, state: Visualisation) -> None:
        if step == 6:
            finished.extend(state.pictures)

    result = OptVis.from_layer(network, "second", range(5)).vis(stages=[(16, 3), (24, 3)], batch=2, callback=watch)
    assert finished == [0, 1, 2, 3, 4]
    assert result.history.shape == (6, 5) and result.history.isfinite().all()


@pytest.mark.parametrize("optim", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.LBFGS])
@pytest.mark.parametrize("kind", [ImageParam, CPPNParam])
def test_every_optimiser_and_parameterisation_finishes_all(network: Counting, optim: Any, kind: Any) -> None:
    optvis = OptVis.from_layer(network, "second", range(4), optim=optim)
    result = optvis.vis(kind(16, 4), [(16, 48)], batch=3, until=own_pace)
    assert len(result) == 4 and result.scores.isfinite().all()
    assert [int(column.isfinite().sum()) for column in result.history.T] == [CHECK, 2 * CHECK, 3 * CHECK, CHECK]


class Hungry(Counting):
    """Memory for six small images, or for two larger ones."""

    def forward(self, x: Tensor) -> Any:
        if x.shape[0] > (6 if x.shape[-1] == 16 else 2):
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)

    def __deepcopy__(self, memo: Any) -> Hungry:
        other = seeded(Hungry)
        other.seen = self.seen
        return other


def test_memory_that_runs_out_in_a_later_stage_loses_nothing() -> None:
    network = seeded(Hungry)
    result = OptVis.from_layer(network, "second", range(5)).vis(stages=[(16, 20), (24, 4)], batch=5)
    assert {count for size, count in network.seen if size == 16} >= {5}
    assert max(count for size, count in network.seen if size == 24) == 2
    for channel in range(5):
        alone = OptVis.from_layer(seeded(Tiny), "second", channel).vis(stages=[(16, 20), (24, 4)])
        assert (result.images[channel] - alone.images[0]).abs().max() < 1e-3


def test_an_early_end_keeps_those_that_are_done(network: Counting) -> None:
    def stop(step: int, state: Visualisation) -> bool:
        return not (step > 3 * CHECK and 5 in state.pictures)

    result = OptVis.from_layer(network, "second", range(7)).vis(stages=STAGES, batch=3, until=own_pace, callback=stop)
    assert 0 < len(result) < 7 and 0 in result.pictures and 5 not in result.pictures
    assert len(result.images) == len(result.scores) == result.history.shape[1] == len(result.pictures)
    assert result.settings["objective"] == f"Channel('second', {tuple(result.pictures)})"


def test_a_plateau() -> None:
    assert not plateau(0, [1.0, 1.0, 1.0, 1.0])
    assert plateau(0, [1.0, 1.0, 1.0, 1.0, 1.01]) and plateau(0, [5.0, 4.0, 4.0, 4.0, 3.0])
    assert not plateau(0, [1.0, 1.0, 1.0, 1.0, 1.03]) and not plateau(0, [1.0, 1.1, 1.0, 1.0, 1.0])
    assert plateau(0, [0.0, 0.0, 0.0, 0.0, 0.0]) and not plateau(0, [-1.0, -0.9, -0.9, -0.9, -0.8])


def test_a_plateau_ends_a_picture_that_cannot_get_better(network: Counting) -> None:
    best = OptVis.from_layer(network, "second", 1).vis(ImageParam(16), [(16, 2000)], until="plateau")
    assert 20 <= len(best.history) < 2000
    longer = OptVis.from_layer(network, "second", 1).vis(best.param, [(16, 64)])
    assert longer.scores.item() < 1.2 * best.scores.item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "soon"}, "until='soon': choose 'plateau'"),
        ({"until": "plateau", "thresh": 8}, "until lets each picture end .* give one"),
        ({"batch": 0}, "batch 0: give a whole number of at least 1"),
        ({"batch": True}, "batch True"),
    ],
)
def test_what_cannot_be_meant_is_told(network: Counting, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptVis.from_layer(network, "second", 1).vis(**options)
    assert not network.seen


# What a picture takes with it


@pytest.mark.parametrize("make", [ImageParam, lambda size, batch: ImageParam(size, batch, fft=False), CPPNParam])
def test_some_pictures_of_a_parameterisation(make: Any) -> None:
    param: Param = make(12, 4)
    before = param().detach()
    some = param.take([3, 1])
    assert torch.allclose(some(), before[[3, 1]], atol=1e-6) and some.batch == 2
    with torch.no_grad():
        next(some.parameters()).zero_()
    assert torch.equal(param(), before), "the others are not touched"
    assert torch.allclose(Param.join([param.take([0, 1]), param.take([2, 3])])(), before, atol=1e-6)
    assert all(p.requires_grad for p in some.parameters())


def test_random_numbers_go_with_their_pictures() -> None:
    rng, whole = Rng([5, 6, 5]), Rng([5, 6, 5])
    assert torch.equal(rng.uniform(0, 1, 4), whole.uniform(0, 1, 4))
    left, right = rng.take([1]), rng.take([0, 2])
    assert len(right.generators) == 1, "those with the same numbers draw them once"
    expected = whole.uniform(0, 1, 4)
    assert torch.equal(left.uniform(0, 1, 4), expected[[1]])
    assert torch.equal(right.uniform(0, 1, 4), expected[[0, 2]])
    joined, expected = Rng.join([right, left]), whole.normal(2)
    assert torch.equal(joined.normal(2), expected[[0, 2, 1]])
    assert torch.equal(left.normal(2), whole.normal(2)[[1]]), "a part goes on where the join has drawn"


def test_what_a_failed_step_drew_is_drawn_again() -> None:
    rng, other = Rng([1, 2]), Rng([1, 2])
    with pytest.raises(RuntimeError), rng.undone(on_error=True):
        rng.uniform(0, 1, 3)
        raise RuntimeError
    with rng.undone():
        rng.normal(5)
    with rng.undone(on_error=True):
        assert torch.equal(rng.normal(2), other.normal(2))
    assert torch.equal(rng.uniform(0, 1, 3), other.uniform(0, 1, 3))

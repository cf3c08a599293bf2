"""Ctrl-C: the first ends a run after the step and keeps the pictures, the second is raised, nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_networks import Kept, Tiny, random_states, seeded, snapshot
from torch import Tensor

from optvis import ImageParam, OptVis, Visualisation
from optvis.interrupts import Interrupt, interruptible
from optvis.recipes import collage

STAGES = [(16, 5), (24, 4)]


@pytest.fixture(autouse=True)
def handler() -> Iterator[Any]:
    """Python's own handler is there before and after."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


def at_step(step: int, act: Callable[[], Any]) -> Callable[..., None]:
    def callback(now: int, _: Visualisation) -> None:
        if now == step:
            act()

    return callback


def strike() -> None:
    signal.raise_signal(signal.SIGINT)


class Struck(Tiny):
    """Struck by Ctrl-C within the forward passes of some numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[int] = Kept()
        self.calls: list[int] = Kept()

    def forward(self, x: Tensor) -> Any:
        self.calls.append(1)
        if len(self.calls) in self.at:
            strike()
        return super().forward(x)


# The block by itself


def test_the_first_is_noted_and_the_second_is_raised() -> None:
    with interruptible() as interrupt:
        assert not interrupt.requested
        strike()
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            strike()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_handler_is_restored_after_an_error(error: type[BaseException]) -> None:
    with pytest.raises(error), interruptible():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        raise error


def test_a_block_within_a_block_leaves_the_outer_handler() -> None:
    with interruptible() as outer:
        with interruptible() as inner:
            strike()
        assert outer.requested and not inner.requested
        own = signal.getsignal(signal.SIGINT)
        assert getattr(own, "__self__", None) is outer


@pytest.mark.parametrize("kind", ["function", "ignored", "default of the system"])
def test_a_users_own_handler_is_left(kind: str, network: Tiny) -> None:
    struck: list[int] = []
    own: Any = {"ignored": signal.SIG_IGN, "default of the system": signal.SIG_DFL}.get(
        kind, lambda *_: struck.append(1)
    )
    old = signal.signal(signal.SIGINT, own)
    try:
        seen = []
        act = strike if kind == "function" else lambda: None
        callback = at_step(2, lambda: (act(), seen.append(signal.getsignal(signal.SIGINT))))
        result = OptVis.from_layer(network, "second", 1).vis(stages=STAGES, callback=callback)
        assert seen == [own] and signal.getsignal(signal.SIGINT) is own
        assert len(result.history) == 9 and not result.interrupted
        assert struck == [1] * (kind == "function")
    finally:
        signal.signal(signal.SIGINT, old)


def test_in_another_thread_nothing_changes(network: Tiny) -> None:
    seen, results = [], []
    look = at_step(2, lambda: seen.append(signal.getsignal(signal.SIGINT)))
    optvis = OptVis.from_layer(network, "second", 1)
    thread = threading.Thread(target=lambda: results.append(optvis.vis(stages=STAGES, callback=look)))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler] and len(results[0].history) == 9
    with interruptible() as interrupt:
        assert interrupt.requested is False
    assert isinstance(interrupt, Interrupt)


# A run


@pytest.mark.parametrize("at", [1, 2, 5, 6, 9])
def test_the_first_ends_after_the_step_and_keeps_the_pictures(network: Tiny, at: int) -> None:
    optvis = OptVis.from_layer(network, "second", [1, 3])
    before = snapshot(network), random_states(), torch.is_grad_enabled()
    struck = optvis.vis(stages=STAGES, callback=at_step(at, strike))
    assert struck.interrupted and struck.settings["interrupted"] is True
    assert len(struck.history) == struck.settings["steps"] == at and struck.images.shape[-1] == (16 if at < 6 else 24)
    stopped = optvis.vis(stages=STAGES, callback=lambda step, _: step < at)
    assert not stopped.interrupted
    assert torch.equal(struck.images, stopped.images) and torch.equal(struck.scores, stopped.scores)
    assert (snapshot(network), random_states(), torch.is_grad_enabled()) == before
    assert not optvis.vis(stages=STAGES).interrupted, "and the next run begins anew"


@pytest.mark.parametrize("where", ["transform", "gradient", "network", "hook"])
def test_a_strike_within_a_step_lets_the_step_finish(where: str) -> None:
    network, calls, armed = seeded(Struck), [], []

    def passing(value: Tensor) -> Tensor:
        calls.extend(armed)
        if len(calls) == 3:
            strike()
        return value

    network.second.register_forward_hook(lambda module, inputs, output: passing(output) if where == "hook" else None)
    optvis = OptVis.from_layer(
        network, "second", 1,
        transforms=[passing if where == "transform" else lambda image: image],
        grad_tfms=passing if where == "gradient" else None,
    )  # fmt: skip
    whole = optvis.vis(stages=STAGES)  # prepares the network
    network.calls.clear()
    network.at.extend([3] if where == "network" else [])
    armed.append(1)
    result = optvis.vis(stages=STAGES)
    assert result.interrupted and len(result.history) == 3
    assert torch.equal(result.history, whole.history[:3])


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_before_the_first_step_it_is_raised(at: int) -> None:
    network = seeded(Struck)
    before = snapshot(network)
    network.at.append(at)
    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        OptVis.from_layer(network, "second", 1).vis(stages=STAGES, callback=lambda step, _: steps.append(step))
    assert not steps
    network.at.clear(), network.calls.clear()
    assert snapshot(network) == before


def test_while_the_last_scores_are_made_nothing_is_lost() -> None:
    network = seeded(Struck)
    optvis = OptVis.from_layer(network, "second", [1, 3])
    whole = optvis.vis(stages=STAGES, batch=1)
    steps = 2 * 9
    for at in (1, 2):
        network.calls.clear()
        network.at[:] = [steps + at]
        result = optvis.vis(stages=STAGES, batch=1)
        assert len(network.calls) == steps + 2
        assert torch.equal(result.images, whole.images) and torch.equal(result.scores, whole.scores)


def test_the_second_is_raised(network: Tiny) -> None:
    before = snapshot(network)

    def twice() -> None:
        strike()
        strike()

    with pytest.raises(KeyboardInterrupt):
        OptVis.from_layer(network, "second", 1).vis(stages=STAGES, callback=at_step(3, twice))
    assert snapshot(network) == before and torch.is_grad_enabled()


@pytest.mark.parametrize("second", [4, 10])
def test_the_second_is_raised_within_the_last_scores(second: int) -> None:
    """The first strikes in the step before."""
    network = seeded(Struck)
    optvis = OptVis.from_layer(network, "second", 1)
    optvis.vis(stages=STAGES)
    network.calls.clear()
    network.at[:] = [second - 1, second]
    with pytest.raises(KeyboardInterrupt):
        optvis.vis(stages=STAGES)
    assert len(network.calls) == second


def test_a_group_that_finishes_in_the_struck_step_is_kept(network: Tiny) -> None:
    optvis, calls = OptVis.from_layer(network, "second", range(4)), []

    def callback(step: int, _: Visualisation) -> None:
        calls.append(step)
        if len(calls) == 2 * 9:
            strike()

    result = optvis.vis(stages=STAGES, batch=2, callback=callback)
    assert result.interrupted and result.pictures == [0, 1, 2, 3]
    assert torch.equal(result.images, optvis.vis(stages=STAGES, batch=2).images)


@pytest.mark.parametrize(("at", "pictures"), [(3, [0, 1]), (9, [0, 1]), (12, [0, 1])])
def test_a_collage_keeps_what_it_has(network: Tiny, at: int, pictures: list[int]) -> None:
    calls: list[int] = []

    def callback(step: int, _: Visualisation) -> None:
        calls.append(step)
        if len(calls) == at:
            strike()

    result = collage(network, "second", range(4), 24, 2, stages=STAGES, callback=callback)
    assert result.interrupted and result.pictures == pictures and len(result.labels) == 2
    assert len(result.history) == min(at, 9)


def test_a_signal_from_elsewhere_is_as_good(network: Tiny) -> None:
    """Sent by another thread to the process, at no moment in particular."""
    begun = threading.Event()

    def send() -> None:
        begun.wait()
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    optvis = OptVis.from_layer(network, "second", 1)
    result = optvis.vis(ImageParam(24), [(24, 100_000)], callback=lambda *_: begun.set())
    thread.join()
    assert result.interrupted and 1 <= len(result.history) < 100_000


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("call", ["shapes", "stream"])
def test_what_has_no_pictures_to_keep_ends_whole_and_then_raises(call: str, at: int) -> None:
    """So that it strikes in no bad moment, on the way out of a context, say."""
    network = seeded(Struck)
    network.at.append(at)
    optvis = OptVis.from_layer(network, "second", 1)
    with pytest.raises(KeyboardInterrupt):
        optvis.shapes() if call == "shapes" else next(optvis.stream(stages=STAGES))
    assert len(network.calls) > at, "it did not end there"

"""``Watch``: nothing of the training changes, views that fail, when views are drawn, the share of the time."""

from __future__ import annotations

import os
import random
import signal
import warnings
from typing import Any

import digits_data
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from optvis import Class, Context, Figure, Film, View, Watch
from optvis.training import timing


def meddling(network: nn.Module, context: Context) -> Image.Image:
    """Does to the network, and to random states, all that a careless view might do."""
    network.train()
    network.requires_grad_(True)
    network.features.register_forward_hook(lambda *_: None)
    digits_data.seed_all(99)
    out = network(context.images + torch.randn(len(context.images), 1, 8, 8))
    out.sum().backward()
    return Image.new("RGB", (8, 8))


def failing(network: nn.Module, context: Context) -> Figure:
    random.random()
    raise RuntimeError("this view is broken")


@pytest.mark.parametrize(
    ("steps", "workers"),
    [(40, 0), pytest.param(200, 0, marks=pytest.mark.slow), pytest.param(40, 2, marks=pytest.mark.slow)],
)
def test_training_is_the_same_to_the_bit(tmp_path, steps, workers):
    data = DataLoader(digits_data.Digits(), 32, shuffle=True, num_workers=workers)
    seen: list[Any] = []
    views = [*digits_data.views(), Film(Class("", 7), 12, 2), meddling, failing]
    watch = Watch(views, 20, data, [tmp_path, lambda *given: seen.append(given)])
    with pytest.warns(UserWarning, match="view 'failing' failed"):
        assert digits_data.train(watch.step, steps, num_workers=workers) == digits_data.left_alone(
            steps, num_workers=workers
        )
    watch.close()
    assert len(seen) == steps // 20
    assert 0 < watch.share < 1


def test_training_is_the_same_with_the_loader_that_is_watched(tmp_path):
    data = digits_data.Digits()
    loader = DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(4))
    other = DataLoader(digits_data.Digits(), 32, shuffle=True, generator=torch.Generator().manual_seed(4))
    watch = Watch([View("attribute", layer="features/3")], 20, loader, tmp_path, resample_inputs=True)
    assert digits_data.train(watch.step, 70, loader=loader) == digits_data.train(lambda *_: None, 70, loader=other)


def test_a_view_that_fails_warns_once_and_the_run_goes_on(tmp_path):
    drawn: list[list[str]] = []
    watch = Watch(
        [failing, *digits_data.views()[:1]], 10, digits_data.Digits(), lambda shown, step: drawn.append(list(shown))
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert digits_data.train(watch.step) == digits_data.left_alone()
    ours = [str(one.message) for one in caught if "watching" in str(one.message)]
    assert ours == ["watching: view 'failing' failed, and the training goes on: RuntimeError: this view is broken"]
    assert [one.filename for one in caught if "watching" in str(one.message)] == [digits_data.__file__]
    assert drawn == [["seven"]] * 4
    assert watch.timing.costs["failing"].failed == 4


def test_a_view_may_return_nothing_useful(tmp_path):
    watch = Watch([("wrong", lambda network, context: 3)], 1, to=tmp_path)
    with pytest.warns(UserWarning, match="view 'wrong' failed.*it returned 3"):
        watch.step(digits_data.DigitNetwork(), 0)


def test_views_are_given_a_shadow_in_eval_mode_and_options_name_its_modules():
    network = digits_data.DigitNetwork()
    given: list[nn.Module] = []
    layer = network.features[3]
    drawn: list[Any] = []
    views = [
        ("look", lambda shown, context: given.append(shown) or Image.new("L", (2, 2))),
        ("by module", View("vis", objective=Class(layer, 2), size=8, steps=1)),
        ("of modules", View("collage", layer=layer, channels=[1], size=8, steps=1)),
    ]
    watch = Watch(views, 1, to=lambda shown, step: drawn.append(shown))
    network.train()
    with torch.inference_mode():
        watch.step(network, 0)
    assert list(drawn[0]) == ["look", "by module", "of modules"]
    assert given[0] is not network
    assert type(given[0]) is type(network)
    assert not given[0].training
    assert network.training
    assert given[0].head[3].weight.data_ptr() == network.head[3].weight.data_ptr()


def test_steps_and_epochs_are_due_at_multiples():
    network = digits_data.DigitNetwork()

    def numbers(**options: Any) -> tuple[Watch, list[int]]:
        found: list[int] = []
        view = ("grey", lambda *_: Image.new("L", (2, 2)))
        return Watch([view], to=lambda shown, number: found.append(number), **options), found

    watch, found = numbers(every=3)
    for step in (0, 1, 2, 3, 3, 4, 6, 7):
        watch.step(network, step)
    assert found == [0, 3, 6]

    watch, found = numbers(every=2)
    for epoch in range(4):
        watch.epoch(network, epoch)
    assert found == [0, 2]

    watch, found = numbers(every=1, unit="epochs")
    for _ in range(2):
        with watch.epoch(network) as epoch:
            watch.step(network, 10 + epoch)
            assert len(found) == epoch
    assert found == [0, 1]

    watch, found = numbers(every=1)
    for _ in range(2):
        with watch.epoch(network) as epoch:
            watch.step(network, 10 + epoch)
    assert found == [10, 11]

    watch, found = numbers(every=1, unit="epochs")
    with pytest.raises(KeyError), watch.epoch(network):
        raise KeyError
    assert found == []

    watch, found = numbers(every=100)
    watch.draw(network, 7)
    assert found == [7]


def test_each_view_may_have_its_own_number():
    found: list[tuple[int, list[str]]] = []
    grey = Image.new("L", (2, 2))
    views = [("often", lambda *_: grey), ("rarely", lambda *_: grey)]
    watch = Watch(views, {"often": 1, "rarely": 3}, to=lambda shown, step: found.append((step, list(shown))))
    for step in range(1, 4):
        watch.step(digits_data.DigitNetwork(), step)
    assert found == [(1, ["often"]), (2, ["often"]), (3, ["rarely", "often"])]


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def spend(self, seconds: float) -> Image.Image:
        self.now += seconds
        return Image.new("L", (2, 2))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def run(watch: Watch, clock: Clock, steps: int, seconds: float) -> list[float]:
    """Steps that take some seconds each; returns the share after each."""
    network, shares = digits_data.DigitNetwork(), []
    watch.begin(network)
    for step in range(1, steps + 1):
        clock.spend(seconds)
        watch.step(network, step)
        shares.append(watch.share)
    return shares


def test_the_share_of_the_time_is_measured(clock):
    watch = Watch([("slow", lambda *_: clock.spend(3.0)), ("fast", lambda *_: clock.spend(1.0))], 5, to=[])
    shares = run(watch, clock, 10, 2.0)
    assert shares[3] == 0
    assert shares[-1] == pytest.approx(8 / 28)
    costs = watch.timing.costs
    assert (costs["slow"].seconds, costs["fast"].seconds, costs["slow"].drawn) == (6, 2, 2)
    assert str(watch.timing) == "28.6% of 28 s; slow: 2 in 6.0 s; fast: 2 in 2.0 s"


def test_the_time_that_sinks_take_is_divided_among_the_views(clock):
    watch = Watch([("slow", lambda *_: clock.spend(3.0)), ("fast", lambda *_: clock.spend(1.0))], 5, to=[])
    watch.sinks = [type("Slow", (), {"write": lambda *_: clock.spend(4.0)})()]
    run(watch, clock, 5, 2.0)
    assert [cost.seconds for cost in watch.timing.costs.values()] == [5, 3]
    assert watch.share == pytest.approx(8 / 18)


def test_a_budget_is_kept_and_no_view_starves(clock):
    """Views that take 30 s and 1 s, and one that fails after 5 s, with steps of a tenth of a second."""

    def fails(*_: Any) -> None:
        clock.spend(5.0)
        raise ValueError

    slow, fast = ("slow", lambda *_: clock.spend(30.0)), ("fast", lambda *_: clock.spend(1.0))
    watch = Watch([slow, fast, ("fails", fails)], 10, to=[], budget=0.05)
    with pytest.warns(UserWarning, match="view 'fails' failed"):
        shares = run(watch, clock, 40_000, 0.1)
    first = next(i for i, share in enumerate(shares) if share > 0)
    assert first == 9, "each is drawn once before its time is known"
    since = next(i for i in range(first, len(shares)) if shares[i] <= 0.05)
    assert max(shares[since:]) <= 0.05
    assert shares[-1] > 0.04
    costs = watch.timing.costs
    turns = [cost.drawn + cost.failed for cost in costs.values()]
    assert min(turns) > 3
    assert max(turns) - min(turns) <= 1
    assert costs["slow"].left_out > 3000
    assert "left out" in str(watch.timing)


def test_one_image_set_is_kept_or_taken_anew():
    found: list[Any] = []

    def look(network: nn.Module, context: Context) -> Image.Image:
        found.append(context)
        return Image.new("L", (2, 2))

    network = digits_data.DigitNetwork()
    for resample in (False, True):
        watch = Watch(
            [look],
            1,
            digits_data.Digits(),
            [],
            n_inputs=3,
            n_data=20,
            resample_inputs=resample,
            seed=5,
            names=list("abcdefghij"),
        )
        for step in range(2):
            watch.step(network, step)
    kept, again, first, second = found
    assert kept.images.shape == (3, 1, 8, 8)
    assert kept.data.shape == (20, 1, 8, 8)
    assert len(kept.labels) == 20
    assert torch.equal(kept.images, again.images)
    assert not torch.equal(first.images, second.images)
    assert not torch.equal(first.data, second.data)
    assert (kept.seed, kept.names, kept.mean, kept.std) == (5, list("abcdefghij"), [0.0], [1.0])


def test_only_what_a_view_takes_is_read(monkeypatch):
    data = digits_data.Digits()
    asked: list[int] = []
    monkeypatch.setattr(digits_data.Digits, "__getitem__", lambda self, i: (asked.append(i), (self.images[i], 0))[1])
    watch = Watch([View("vis", objective=Class("", 7), size=8, steps=1)], 1, data, [])
    watch.step(digits_data.DigitNetwork(), 0)
    assert len(asked) == 4, "some are read to see that images can be read"
    watch = Watch([View("attribute", layer="features/3")], 1, data, [], n_inputs=4)
    watch.step(digits_data.DigitNetwork(), 0)
    assert len(asked) == 4 + 4 + 4


def test_the_assumed_normalisation_is_warned_of_once():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    watch = Watch([View("vis", objective="0:1", size=8, steps=1), View("attribute")], 1, torch.rand(2, 1, 8, 8), [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch.step(network, 0)
        watch.step(network, 1)
    assert sum("how images are normalised" in str(one.message) for one in caught) == 1


def test_ctrl_c_while_a_view_is_drawn_ends_the_training():
    def view(network: nn.Module, context: Context) -> Image.Image:
        os.kill(os.getpid(), signal.SIGINT)
        np.random.rand()
        return Image.new("L", (2, 2))

    state = str(np.random.get_state())
    watch = Watch([view], 1, to=[])
    with pytest.raises(KeyboardInterrupt):
        watch.step(digits_data.DigitNetwork(), 0)
    assert str(np.random.get_state()) == state
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_wrong_arguments_are_refused_before_the_training(tmp_path):
    with pytest.raises(TypeError, match="Watch has no option 'n_input': did you mean 'n_inputs'"):
        Watch(["attribute"], n_input=3)
    with pytest.raises(ValueError, match="no view 'atribute': did you mean 'attribute'"):
        Watch(["atribute"])
    with pytest.raises(TypeError, match="view 'vis' needs objective="):
        Watch(["vis"])
    with pytest.raises(TypeError, match="3 is no view"):
        Watch([3])
    with pytest.raises(ValueError, match="there are no views"):
        Watch([])
    with pytest.raises(ValueError, match="two views have the title 'a'"):
        Watch([("a", "attribute"), ("a", "attribute")])
    with pytest.raises(ValueError, match="every 0"):
        Watch(["attribute"], 0)
    with pytest.raises(ValueError, match="every has no number for view 'attribute 2'"):
        Watch(["attribute", "attribute"], {"attribute": 2})
    with pytest.raises(ValueError, match="no view 'atribute': did you mean"):
        Watch(["attribute"], {"atribute": 2})
    with pytest.raises(ValueError, match="no unit 'step': did you mean 'steps'"):
        Watch(["attribute"], unit="step")
    with pytest.raises(ValueError, match="no mode 'evaluate'"):
        Watch(["attribute"], mode="evaluate")
    with pytest.raises(ValueError, match="budget 5: give a number above 0 and below 1"):
        Watch(["attribute"], budget=5)
    with pytest.raises(TypeError, match="to=3: give a folder"):
        Watch(["attribute"], to=3)
    watch = Watch(["attribute"], to=tmp_path)
    with pytest.raises(ValueError, match="view 'attribute' needs image: give Watch data="):
        watch.step(digits_data.DigitNetwork(), 1)

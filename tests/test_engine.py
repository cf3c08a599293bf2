"""The loop: its arguments, its promises on randomness, memory and work, and how near it comes to what is possible."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import Tiny, seeded, vit
from torch import Tensor, nn

from optvis import (
    Channel,
    CPPNParam,
    DeepDream,
    FourierParam,
    ImageFile,
    ImageParam,
    Layer,
    Neuron,
    OptVis,
    Param,
    PixelParam,
    TotalVariation,
    Visualisation,
)
from optvis.network.imagenet import outputs_of
from optvis.settings import adam
from optvis.stages import work

COARSE_TO_FINE = [(16, 5), (32, 3)]


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


@pytest.fixture
def optvis(network: Tiny) -> OptVis:
    return OptVis.from_layer(network, layer="second", channel=1)


def same(a: Visualisation, b: Visualisation) -> bool:
    """To the bit, in all that was computed."""
    return torch.equal(a.images, b.images) and torch.equal(a.scores, b.scores) and torch.equal(a.history, b.history)


# What comes by itself, and the result


def test_one_line_draws_at_224_px_from_coarse_to_fine(optvis: OptVis) -> None:
    result = optvis.vis(thresh=4)
    assert result.images.shape == (1, 3, 224, 224)
    assert result.settings["stages"] == [[[56, 56], 1], [[112, 112], 2], [[224, 224], 1]]
    assert result.settings["lr"] == 0.1 and result.settings["optim"] == "adam" and result.settings["seed"] == 0
    assert "Jitter" in result.settings["transforms"] and "FourierParam" in result.settings["param"]
    assert result.settings["objective"] == "Channel('second', 1)" and result.settings["network"] == "Tiny"


def test_a_network_that_names_its_size_is_drawn_at_it(network: Tiny) -> None:
    network.input_size = (3, 24, 40)
    assert OptVis.from_layer(network, "second", 1).vis(thresh=2).images.shape == (1, 3, 24, 40)


def test_the_default_run_has_all_its_steps(network: Tiny) -> None:
    result = OptVis.from_dream(network, "second").vis(ImageParam(64))
    assert result.settings["steps"] == len(result.history) == 189
    assert result.settings["stages"] == [[[48, 48], 168], [[64, 64], 21]]


def test_the_shapes_of_a_result(network: Tiny) -> None:
    result = OptVis.from_layer(network, "second", [4, 2]).vis(stages=COARSE_TO_FINE, thresh=(2, 7))
    assert result.images.shape == (2, 3, 32, 32) and result.images.dtype == torch.float32
    assert result.scores.shape == (2,) and result.history.shape == (7, 2)
    assert not result.images.requires_grad and not result.history.requires_grad
    assert {step: frame.shape for step, frame in result.frames.items()} == {2: (2, 3, 16, 16), 7: (2, 3, 32, 32)}
    assert len(result) == 2 and result.param.batch == 2 and result.param.size == (32, 32)


def test_final_scores_are_those_of_the_finished_images(network: Tiny, optvis: OptVis) -> None:
    result = optvis.vis(ImageParam(32, 2), thresh=5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shown = (result.images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = network.second(network.relu(network.first(shown)))[:, 1].mean((1, 2))
    assert torch.allclose(result.scores, expected, atol=1e-5)


# Stages and thresh


def test_the_last_thresh_ends_and_frames_are_kept(optvis: OptVis) -> None:
    result = optvis.vis(ImageParam(32), thresh=(3, 8, 5))
    assert list(result.frames) == [3, 5, 8] and len(result.history) == 8
    assert torch.equal(result.frames[8], result.images)
    assert not torch.equal(result.frames[5], result.frames[8])


def test_thresh_alone_stretches_the_default_stages(optvis: OptVis) -> None:
    assert optvis.vis(ImageParam(64), thresh=14).settings["stages"] == [[[48, 48], 12], [[64, 64], 2]]
    assert optvis.vis(ImageParam(64), thresh=1).settings["stages"] == [[[64, 64], 1]]


def test_thresh_with_stages_cuts_them(optvis: OptVis) -> None:
    result = optvis.vis(stages=COARSE_TO_FINE, thresh=6)
    assert result.settings["stages"] == [[[16, 16], 5], [[32, 32], 1]] and len(result.history) == 6


def test_thresh_inside_of_the_coarse_stage_still_ends_at_the_asked_size(optvis: OptVis) -> None:
    result = optvis.vis(ImageParam(64), thresh=(2, 7))
    assert result.images.shape[-2:] == (64, 64)


def test_a_thresh_behind_the_last_stage_is_told(optvis: OptVis) -> None:
    called: list[int] = []
    with pytest.raises(ValueError, match="thresh 9 is beyond the last of the stages' 8 steps"):
        optvis.vis(stages=COARSE_TO_FINE, thresh=(2, 9), callback=lambda step, _: called.append(step))
    assert not called


def test_a_picture_that_was_given_keeps_its_size(optvis: OptVis) -> None:
    photo = ImageFile(np.random.default_rng(0).random((20, 28, 3)).astype(np.float32))
    assert optvis.vis(photo, thresh=3).settings["stages"] == [[[20, 28], 3]]


# Callbacks and early ends


def test_the_callback_is_called_after_every_step(optvis: OptVis) -> None:
    seen: list[tuple[int, tuple[int, ...], int, float]] = []

    def callback(step: int, state: Visualisation) -> None:
        seen.append((step, tuple(state.images.shape), len(state.history), state.scores.item()))

    result = optvis.vis(stages=COARSE_TO_FINE, callback=callback)
    assert [s[0] for s in seen] == list(range(1, 9)) and [s[2] for s in seen] == list(range(1, 9))
    assert [s[1][-1] for s in seen] == [16] * 5 + [32] * 3
    assert torch.allclose(torch.tensor([s[3] for s in seen]), result.history[:, 0])


def test_false_from_the_callback_ends_the_run(optvis: OptVis) -> None:
    result = optvis.vis(ImageParam(32), stages=[(32, 20)], callback=lambda step, _: step < 4)
    assert len(result.history) == 4 and same(result, optvis.vis(ImageParam(32), stages=[(32, 4)]))
    assert len(optvis.vis(ImageParam(32), thresh=3, callback=lambda step, _: None).history) == 3, "None is not False"
    assert len(optvis.vis(ImageParam(32), thresh=3, callback=lambda step, _: 0).history) == 3, "0 is not False"


@pytest.mark.parametrize("at", [1, 5, 7])
def test_ctrl_c_keeps_the_picture(optvis: OptVis, at: int) -> None:
    def interrupt(step: int, _: Visualisation) -> None:
        if step == at:
            raise KeyboardInterrupt

    result = optvis.vis(stages=COARSE_TO_FINE, callback=interrupt)
    assert len(result.history) == at == result.settings["steps"]
    assert result.images.shape[-1] == (16 if at <= 5 else 32)
    assert same(result, optvis.vis(stages=COARSE_TO_FINE, callback=lambda step, _: step < at))


# How a step is taken


@pytest.mark.parametrize(("optim", "lr"), [(torch.optim.Adam, 0.05), (torch.optim.SGD, 50.0), (torch.optim.LBFGS, 0.5)])
def test_every_optimiser_climbs(network: Tiny, optim: Any, lr: float) -> None:
    start = OptVis(network, "second:1").vis(ImageParam(16), [(16, 1)], lr=0.0).scores
    result = OptVis(network, "second:1", optim=optim).vis(ImageParam(16), [(16, 5)], lr=lr, transform=False)
    assert (result.scores > start + 0.005).all() and len(result.history) == 5


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("SGD", torch.optim.SGD), ("Adam", adam)])
def test_an_optimiser_by_its_name_in_any_case(network: Tiny, name: str, kind: Any) -> None:
    named = OptVis(network, "second:1", optim=name)
    assert named.settings.optim is kind
    assert same(named.vis(16, steps=2), OptVis(network, "second:1", optim=kind).vis(16, steps=2))


@pytest.mark.parametrize(("optim", "lr", "used"), [("adam", None, 0.1), ("sgd", None, 0.3), ("sgd", 0.1, 0.1)])
def test_every_optimiser_has_its_own_default_rate(network: Tiny, optim: str, lr: float | None, used: float) -> None:
    result = OptVis(network, "second:1", optim=optim).vis(16, steps=1, lr=lr)
    assert result.settings["lr"] == result.settings["plan"]["lr"] == used


@pytest.mark.slow
def test_a_cppn_has_enough_steps_by_default(network: Tiny) -> None:
    steps = [count for _, count in OptVis(network, "second:1").vis(CPPNParam(48)).settings["stages"]]
    assert sum(steps) == CPPNParam.least_steps
    assert len(OptVis(network, "second:1").vis(CPPNParam(48), steps=3).history) == 3


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (1e-9, "2 of 2 pictures are almost flat after 32 steps of SGD with lr=1e-09: give another lr="),
        (1e5, "1 of 2 pictures are almost only black and white after 32 steps of SGD with lr=100000: give another"),
    ],
)
def test_a_rate_that_shows_nothing_is_said(network: Tiny, lr: float, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        OptVis.from_layer(network, "second", [1, 2], optim="sgd").vis(16, steps=32, lr=lr)


def test_a_cppn_with_too_few_steps_is_said(network: Tiny) -> None:
    with pytest.warns(
        UserWarning, match="1 of 1 pictures are almost flat after 32 steps of adam .* at least 384 steps"
    ):
        OptVis(network, "second:1").vis(CPPNParam(16), steps=32, lr=1e-6)


def test_a_negative_channel_is_shown_as_the_one_that_it_means(network: Tiny) -> None:
    drawn, meant = OptVis(network, "second:-1").vis(16, steps=2), OptVis(network, "second:7").vis(16, steps=2)
    assert same(drawn, meant) and drawn.settings["objective"] == "Channel('second', 7)"
    assert drawn.settings["plan"]["objective"] == meant.settings["plan"]["objective"]
    assert OptVis(network, ["second:-1"]).vis(16, steps=1).labels == ("Channel('second', 7)",)
    assert OptVis(network, Channel("second", [-1, 0])).vis(16, steps=1).labels == ("second:7", "second:0")
    assert OptVis(network, Layer("first") - Neuron("second", -3)).vis(16, steps=1).settings["objective"] == (
        "Layer('first') - Neuron('second', 5)"
    )


def test_an_optimiser_without_weight_decay_says_so(network: Tiny) -> None:
    with pytest.raises(ValueError, match=r"^wd=0\.1: LBFGS has no weight decay"):
        OptVis(network, "second:1", optim=torch.optim.LBFGS).vis(ImageParam(16), thresh=1, wd=0.1)


@pytest.mark.filterwarnings("ignore:.*never fired")
def test_gradients_are_changed_in_order(network: Tiny) -> None:
    start = PixelParam(16)
    double_then_one = [lambda g: 2 * g, lambda g: torch.ones_like(g)]
    stepped = OptVis(network, "second", optim=torch.optim.SGD, grad_tfms=double_then_one).vis(start, [(16, 3)], lr=0.1)
    assert torch.allclose(stepped.param.pixels, start.pixels - 0.3, atol=1e-6)
    still = OptVis(network, "second", grad_tfms=torch.zeros_like).vis(start, [(16, 3)])
    assert torch.equal(still.param.pixels, start.pixels)


@pytest.mark.filterwarnings("ignore:.*never fired")
def test_weight_decay_shrinks(network: Tiny) -> None:
    start = PixelParam(16)
    optvis = OptVis(network, "second", optim=torch.optim.SGD, grad_tfms=torch.zeros_like)
    assert torch.allclose(optvis.vis(start, [(16, 3)], lr=0.1, wd=1.0).param.pixels, start.pixels * 0.9**3)


def test_the_learning_rate_matters(network: Tiny) -> None:
    optvis, start = OptVis(network, "second", grad_tfms=torch.ones_like), PixelParam(16)
    moved = [(optvis.vis(start, [(16, 1)], lr=lr).param.pixels - start.pixels).abs().mean().item() for lr in (0, 0.1)]
    assert moved == pytest.approx([0, 0.1], abs=1e-5)


def test_without_transforms_the_score_is_that_of_the_picture(network: Tiny) -> None:
    calls: list[Tensor] = []
    optvis = OptVis(network, "second:1", transforms=lambda image: calls.append(image) or image)
    first = optvis.vis(ImageParam(32), [(32, 3)], transform=False)
    assert not calls and first.settings["transforms"] is None
    again = optvis.vis(first.param, [(32, 1)], transform=False)
    assert torch.allclose(again.history[0], first.scores, atol=1e-5)


def test_transforms_are_a_callable_or_a_list_of_them(network: Tiny) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[Tensor], Tensor]:
        def transform(image: Tensor) -> Tensor:
            assert image.shape == (2, 3, 32, 32) and image.min() >= 0 and image.max() <= 1
            calls.append(name)
            return image

        return transform

    start = ImageParam(32, 2)
    OptVis(network, "second", transforms=note("only")).vis(start, [(32, 2)])
    OptVis(network, "second", transforms=[note("one"), note("two")]).vis(start, [(32, 2)])
    assert calls == ["only"] * 2 + ["one", "two"] * 2
    assert not torch.equal(
        OptVis(network, "second").vis(start, [(32, 2)]).images,
        OptVis(network, "second", transforms=[]).vis(start, [(32, 2)]).images,
    ), "None is the default set and an empty list is none at all"


@pytest.mark.filterwarnings("ignore:.*never fired")
def test_mean_and_std_are_applied_last(network: Tiny) -> None:
    seen: list[Tensor] = []
    network.first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    optvis = OptVis(network, "second", transforms=lambda image: image * 0, mean=[0.1, 0.2, 0.3], std=0.5)
    optvis.vis(ImageParam(16), [(16, 1)], callback=lambda *_: seen.append(seen[-1]))
    shown = seen[-2]
    assert torch.allclose(shown[0, :, 0, 0], torch.tensor([-0.2, -0.4, -0.6]))


# What is printed


def test_silent_or_a_bar(optvis: OptVis, capfd: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):  # the tests' output is no terminal
        optvis.vis(ImageParam(16), thresh=2, verbose=verbose)
        assert capfd.readouterr() == ("", "")
    optvis.vis(ImageParam(16), thresh=2, verbose="always")
    out, err = capfd.readouterr()
    assert not out and "step 2/2, score" in err and "100%" in err and "Channel('second', 1)" in err


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_bar_counts_pixels_so_that_its_time_left_is_right(network: Tiny, batch: int) -> None:
    loop = OptVis.from_layer(network, "second", range(5))._begin(None, stages=[(16, 3), (40, 2)], batch=batch)
    done = [work(turn.size, len(turn.scores)) for turn in loop.climb()]
    assert sum(done) == loop.work and len(done) == loop.steps
    assert max(done) - min(done) >= 40**2 - 16**2


def test_the_bar_says_that_a_step_is_compiled(
    network: Tiny, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.compile", lambda graph, inputs, options: graph)
    OptVis(network, "second:1").vis(16, steps=20, compile=True, verbose="always")
    out, err = capfd.readouterr()
    assert not out and "compiling the step for 16 × 16 px" in err and "step 20/20" in err


# Beginning with what is given, and going on


@pytest.mark.parametrize("make", [FourierParam, PixelParam, CPPNParam])
def test_what_is_given_is_not_changed_and_a_run_goes_on_where_the_last_ended(optvis: OptVis, make: Any) -> None:
    start = make(24)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    first = optvis.vis(start, [(12, 6), (24, 6)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())
    assert all(p.grad is None for p in start.parameters()) and not start.holds_picture
    images = first.images.clone()
    second = optvis.vis(first.param, thresh=12, transform=False)
    assert second.settings["stages"] == [[[24, 24], 12]], "what holds a picture does not begin anew in small"
    assert torch.allclose(second.history[0], first.scores, atol=1e-5) and (second.scores > first.scores).all()
    with torch.no_grad():
        assert torch.equal(first.param(), images)


# Randomness


def test_the_same_seed_gives_the_same_bits(network: Tiny) -> None:
    optvis = OptVis(network, ["second:1", DeepDream("first"), Neuron("second", 3) - TotalVariation()])
    first, second = (optvis.vis(stages=COARSE_TO_FINE, seed=7) for _ in range(2))
    assert same(first, second)
    assert not torch.equal(first.images, optvis.vis(stages=COARSE_TO_FINE, seed=8).images)


def test_the_seed_also_governs_what_is_drawn_for_a_given_start(optvis: OptVis) -> None:
    start = ImageParam(16)
    first, second = (optvis.vis(start, [(16, 3)], seed=seed).history for seed in (0, 1))
    assert not torch.equal(first, second), "another seed jostles otherwise"


def test_a_picture_of_a_batch_is_drawn_as_alone(network: Tiny) -> None:
    batch = OptVis.from_layer(network, "second", range(8)).vis(stages=COARSE_TO_FINE)
    for channel in (0, 3, 7):
        alone = OptVis.from_layer(network, "second", channel).vis(stages=COARSE_TO_FINE)
        assert (batch.images[channel] - alone.images[0]).abs().max() < 1e-4
        assert torch.allclose(batch.history[:, channel], alone.history[:, 0], atol=1e-4)
    listed = OptVis(network, [f"second:{channel}" for channel in range(4)]).vis(stages=COARSE_TO_FINE)
    assert (listed.images - batch.images[:4]).abs().max() < 1e-4


def test_after_a_whole_run_the_scores_of_a_batch_are_those_drawn_alone(network: Tiny) -> None:
    batch = OptVis.from_layer(network, "second", range(8)).vis(ImageParam(24, 8, seed=[0] * 8))
    alone = OptVis.from_layer(network, "second", 3).vis(ImageParam(24))
    assert len(alone.history) == 252
    assert batch.scores[3].item() == pytest.approx(alone.scores.item(), rel=0.02)


@pytest.mark.slow
def test_after_a_whole_run_on_real_weights_too(real_network: Callable[[str], nn.Module]) -> None:
    network = real_network("squeezenet1_0")
    batch = OptVis.from_layer(network, "features/5", range(8)).vis(ImageParam(32, 8, seed=[0] * 8))
    alone = OptVis.from_layer(network, "features/5", 3).vis(ImageParam(32))
    assert batch.scores[3].item() == pytest.approx(alone.scores.item(), rel=0.02)


@pytest.mark.parametrize("objective", ["second:1", ["second:1"] * 4, Channel("second", [1] * 4), Layer("second") + 1])
def test_a_batch_of_one_objective_gives_different_pictures(network: Tiny, objective: Any) -> None:
    start = ImageParam(32, 4) if OptVis(network, objective).objective.pictures is None else None
    result = OptVis(network, objective).vis(start, COARSE_TO_FINE)
    for i in range(4):
        for j in range(i):
            assert (result.images[i] - result.images[j]).abs().max() > 0.01
            assert not torch.equal(result.history[:, i], result.history[:, j])


def test_equal_starts_are_jostled_differently(network: Tiny) -> None:
    result = OptVis(network, "second:1").vis(ImageParam(16, 2, seed=[0, 0]), [(16, 4)])
    assert not torch.equal(result.history[:, 0], result.history[:, 1])


class Dropping(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.relu(self.first(x)), 0.5, training=True)
        return self.head(self.second(x).mean((2, 3)))


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    network = seeded(Dropping)

    def jostle(image: Tensor) -> Tensor:
        return image + 0.01 * torch.randn_like(image)

    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        results.append(OptVis(network, "second:1", transforms=[jostle]).vis(ImageParam(16), thresh=4))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]
    assert same(*results)


def test_a_network_of_one_size_is_drawn_in_stages_of_others() -> None:
    optvis = OptVis.from_layer(vit(), "encoder/layers/encoder_layer_1", 1)
    result = optvis.vis(ImageParam(32), [(24, 3), (32, 3)])
    assert result.images.shape == (1, 3, 32, 32) and result.settings["network_size"] == [32, 32]
    assert (result.scores > result.history[0]).all()
    one = optvis.vis(ImageParam(32), [(32, 3)])
    assert one.settings["network_size"] is None


# Seeds, steps, channels and names as arguments


def test_each_picture_has_its_own_seed(network: Tiny) -> None:
    optvis = OptVis.from_layer(network, "second", 1)
    several = optvis.vis(16, steps=5, seed=[3, 8])
    for i, seed in enumerate((3, 8)):
        assert torch.allclose(several.images[i], optvis.vis(16, thresh=5, seed=seed).images[0], atol=1e-6)
    assert several.settings["seed"] == [3, 8] and len(several.history) == 5
    two = OptVis.from_layer(network, "second", [1, 1]).vis(16, steps=5, seed=[3, 8])
    assert torch.allclose(two.images, several.images, atol=1e-6)
    with pytest.raises(ValueError, match="3 seeds for 2 pictures: give one for each, or one for all"):
        optvis.vis(ImageParam(16, 2), seed=[1, 2, 3])


def test_steps_and_thresh_are_one_thing(network: Tiny) -> None:
    optvis = OptVis.from_layer(network, "second", 1)
    assert torch.equal(optvis.vis(16, steps=5).images, optvis.vis(16, thresh=5).images)
    with pytest.raises(ValueError, match="steps= and thresh= both say when the run ends"):
        optvis.vis(16, steps=5, thresh=6)
    with pytest.raises(ValueError, match="steps 0: give a whole number of at least 1"):
        optvis.vis(16, steps=0)


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("make", [ImageParam, CPPNParam, partial(ImageParam, fft=False)])
def test_a_parameterisation_takes_the_networks_channels(make: Callable[..., Param], channels: int) -> None:
    optvis = OptVis.from_layer(seeded(Tiny, channels), "second", 1)
    assert optvis.vis(make(16), steps=2).images.shape == (1, channels, 16, 16)
    with pytest.raises(ValueError, match=f"img_param has 3 channels, the network takes {channels}"):
        optvis.vis(make(16, channels=3), steps=2)


def test_names_of_outputs_are_given() -> None:
    network = seeded(Tiny)
    count = outputs_of(network) or 0
    names = [f"class {i}" for i in range(count)]
    optvis = OptVis(network, Channel("head", ["class 1", "class 0"]), names=names)
    picture = optvis.vis(16, steps=2)
    assert picture.labels == ("class 1", "class 0") and not hasattr(network, "output_names")
    with pytest.raises(ValueError, match=f"2 names for {count} outputs: give one name for each output"):
        OptVis(network, "head:0", names=["a", "b"]).vis(16, steps=1)


def test_a_network_of_one_size_gets_pictures_of_that_size() -> None:
    digits = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 28 * 28, 10))
    assert OptVis(digits, "3:1").vis(steps=2).images.shape == (1, 1, 28, 28)
    assert OptVis(digits, "3:1").vis(56, steps=2).images.shape == (1, 1, 56, 56), "shown at 28 px"

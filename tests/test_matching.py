"""Match: its formulas, each picture with its own target, the target under the picture's own transforms, redraw."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_networks import Tiny, seeded
from torch import Tensor

from optvis import Channel, ImageFile, Match, OptVis, TotalVariation, redraw
from optvis.objectives.matching import SIMILARITIES, Matched, Similarity, similarity_of
from optvis.rng import Echo, Rng
from optvis.serial import from_data, to_data
from optvis.transforms import standard

STAGES = [(16, 4), (24, 6)]


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


A, T = [3.0, 4.0, 0.0], [1.0, 2.0, 2.0]  # |a| = 5, |t| = 3, a·t = 11


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [("l2", -12 / 9), ("dot", 11 / 9), ("cosine", 11 / 15), ("dot_cosine", 11 / 9 * (11 / 15) ** 0.5)],
)
def test_the_formulas(similarity: Similarity, expected: float) -> None:
    activations, targets = torch.tensor([A, T, A])[..., None, None], torch.tensor([T, T, A])[..., None, None]
    scores = similarity_of(activations, targets, similarity, 0.5)
    one = 0.0 if similarity == "l2" else 1.0
    assert scores.tolist() == pytest.approx([expected, one, one], abs=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("activation", [[-3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
def test_opposite_and_empty_activations_have_finite_scores_and_gradients(
    similarity: Similarity, activation: list[float]
) -> None:
    for target in (T, [0.0, 0.0, 0.0]):
        found = torch.tensor([activation], requires_grad=True)
        scores = similarity_of(found, torch.tensor([target]), similarity, 0.5)
        (gradient,) = torch.autograd.grad(scores.sum(), found)
        assert scores.isfinite().all() and gradient.isfinite().all()


def test_a_negative_cosine_counts_as_a_tenth() -> None:
    score = similarity_of(-torch.tensor([A]), torch.tensor([T]), "dot_cosine", 0.5)
    assert score.item() == pytest.approx(-11 / 9 * 0.1**0.5)


def test_several_layers_are_averaged_with_their_weights() -> None:
    activations = {"a": torch.tensor([A]), "b": torch.tensor([T])}
    targets = (torch.tensor([T]), torch.tensor([A]))
    plain = Matched(("a", "b"), targets, "l2")(activations)
    assert plain.item() == pytest.approx((-12 / 9 - 12 / 25) / 2)
    weighted = Matched(("a", "b"), targets, "l2", weights=(3.0, 1.0))(activations)
    assert weighted.item() == pytest.approx((-3 * 12 / 9 - 12 / 25) / 4)


@pytest.mark.parametrize("same_transforms", [True, False])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_each_picture_of_a_batch_has_its_own_target(
    network: Tiny, images: Tensor, similarity: Similarity, same_transforms: bool
) -> None:
    def match(target: Tensor) -> Match:
        return Match(["first", "second"], target, similarity, same_transforms=same_transforms)

    both = OptVis(network, match(images)).vis(stages=STAGES, verbose=False)
    listed = OptVis(network, [match(one) for one in images]).vis(stages=STAGES, verbose=False)
    for i, target in enumerate(images):
        alone = OptVis(network, match(target)).vis(stages=STAGES, verbose=False)
        assert torch.allclose(both.images[i], alone.images[0], atol=1e-3)
        assert torch.allclose(listed.images[i], alone.images[0], atol=1e-3)
    assert (both.history[-1] > both.history[4]).all()


@pytest.mark.filterwarnings("ignore:.*never fired")  # the picture is its target
@pytest.mark.parametrize("same_transforms", [True, False])
def test_the_target_is_seen_as_it_says(network: Tiny, images: Tensor, same_transforms: bool) -> None:
    """The first step begins with the image itself, which scores 0 under the same transforms only."""
    start = ImageFile(images)
    match = Match("second", start().detach(), same_transforms=same_transforms)
    first = OptVis(network, match, channel_noise=0.1).vis(start, steps=1, lr=0, verbose=False).history[0]
    assert (first.abs() < 1e-6).all() if same_transforms else (first < -0.01).all()


def test_an_echo_gives_the_same_transforms_again(images: Tensor) -> None:
    echo = Echo(Rng([5, 6]))
    shown = standard()(images, echo)
    assert torch.equal(standard()(images, echo.again(slice(None))), shown)
    assert torch.allclose(standard()(images[1:], echo.again(slice(1, 2))), shown[1:], atol=1e-6)
    assert torch.equal(standard()(images, Rng([5, 6])), shown), "and draws what the other one draws"


@pytest.mark.slow
@pytest.mark.parametrize("same_transforms", [True, False])
def test_a_compiled_step_is_the_same(network: Tiny, images: Tensor, same_transforms: bool) -> None:
    optvis = OptVis(network, Match("second", images, same_transforms=same_transforms))
    plain = optvis.vis(stages=[(24, 20)], verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="compile=True")  # the step could not be compiled
        quick = optvis.vis(stages=[(24, 20)], verbose=False, compile=True)
    assert torch.allclose(quick.history, plain.history, atol=1e-3)


@pytest.mark.parametrize("same_transforms", [True, False])
def test_a_saved_picture_is_drawn_again(network: Tiny, images: Tensor, same_transforms: bool, tmp_path: Path) -> None:
    sought = Match(["second", "first"], images, "dot_cosine", 0.5, same_transforms, (2, 1)) - TotalVariation()
    drawn = OptVis(network, sought).vis(stages=STAGES, verbose=False)
    again = redraw(drawn.save(tmp_path / "a.png"), network, verbose=False)
    assert torch.equal(again.images, drawn.images)
    one = list(drawn.split())[1].save(tmp_path / "b.png")
    assert torch.allclose(redraw(one, network, verbose=False).images, drawn.images[1:], atol=0.02)


def test_json_both_ways(images: Tensor) -> None:
    tensors: dict[str, Tensor] = {}
    sought = Match("second", images, "cosine", same_transforms=False)
    found = from_data(json.loads(json.dumps(to_data(sought, tensors))), tensors)
    assert found == sought and found != Match("second", images.flip(0), "cosine", same_transforms=False)
    assert sought.take([1]) == Match("second", images[1:], "cosine", same_transforms=False)


def test_pictures_of_the_same_target_differ_in_their_seeds(images: Tensor) -> None:
    assert Match("second", images[[0, 1, 0]]).twins(3) == [0, 0, 1]
    assert Match("second", images[:1]).twins(3) == [0, 1, 2]


def test_a_target_is_fitted_to_the_picture(network: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((90, 40), 60).save(path)  # grey, and of another shape
    result = OptVis(network, Match("second", path)).vis(stages=STAGES, verbose=False)
    assert result.images.shape == (1, 3, 24, 24) and result.history[-1] > result.history[4]


def test_in_a_sum_the_target_is_looked_at_once(network: Tiny, images: Tensor) -> None:
    seen: list[int] = []
    network.first.register_forward_hook(lambda *_: seen.append(1))
    sought = Match("second", images) + Match("second", images, "cosine") + Channel("second", 1)
    OptVis(network, sought).vis(stages=[(24, 3)], verbose=False)
    before = len(seen)
    OptVis(network, sought).vis(stages=[(24, 13)], verbose=False)
    assert len(seen) - before == before + 20, "two passes in each of ten more steps"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("second", []), "empty list of images"),
        (((), torch.zeros(3, 8, 8)), "at least one layer"),
        (("second", torch.zeros(3, 8, 8), "cosin"), "did you mean 'cosine'"),
        (("second", torch.zeros(3, 8, 8), "l2", -1), "power"),
        (("second", torch.zeros(3, 8, 8), "l2", 1, 3), "same_transforms 3: give True or False"),
        (("second", torch.zeros(3, 8, 8), "l2", 1, True, (1, 2)), "weights has 2 values"),
        (("second", torch.zeros(3, 8, 8), "l2", 1, True, (0,)), "not all zero"),
        (("second", [torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)]), "2 shapes"),
    ],
)
def test_wrong_arguments_are_told(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Match(*arguments)


def test_no_image_and_no_layer_of_the_network(network: Tiny, images: Tensor) -> None:
    with pytest.raises(TypeError, match="no image"):
        Match("second")
    with pytest.raises(ValueError, match="did you mean 'second'"):
        OptVis(network, Match("secnd", images))


def test_what_cannot_be_done_right_is_refused(network: Tiny, images: Tensor) -> None:
    with pytest.raises(ValueError, match="depends on absolute position"):
        OptVis(network, Match("second", images)).vis(24, tile=12, verbose=False)
    mirrored = [lambda image: image.flip(-1)]
    with pytest.raises(ValueError, match="same_transforms=False"):
        OptVis(network, Match("second", images), transforms=mirrored).vis(24, steps=2, verbose=False)
    apart = Match("second", images, same_transforms=False)
    assert len(OptVis(network, apart, transforms=mirrored).vis(24, steps=2, verbose=False)) == 2
    with pytest.raises(ValueError, match="scored in a run"):
        apart({})

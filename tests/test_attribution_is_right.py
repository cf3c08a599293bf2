"""Whether attributions are right where the truth is known: pointing, asking for one of two, forgetting, completeness.

Measured with the bundled network and with the real weights of ``shared``; what is below what one would hope for stands
beside the assertion that holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from optvis.attribution import attribute
from optvis.attribution.inputs import read_inputs
from optvis.attribution.targets import softmax_of
from optvis.demo import PATTERNS, DemoNetwork, demo_network, make_pictures
from optvis.metrics import energy_in_box, pointing_game, randomisation
from optvis.metrics.localisation import Box

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
Load = Callable[[str], nn.Module]
Patterns = tuple[Tensor, list[int], list[int]]


# The bundled network: two patterns side by side

COUNT = 100


@pytest.fixture(scope="module")
def demo() -> DemoNetwork:
    return demo_network()


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    """Pictures ``[100, 3, 64, 128]``, two whole ones of 64 × 64 side by side, and what each of their halves shows.

    The network names one of the two first in all of them (both first in 80): of halves of 32 px it does so in 93 (44),
    of the middles of 64 px pictures, 32 px wide, in 99 (75), of 32 px pictures side by side in 85 (37).
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(len(PATTERNS), (COUNT,), generator=generator)
    right = (left + torch.randint(1, len(PATTERNS), (COUNT,), generator=generator)) % len(PATTERNS)
    halves = [
        torch.cat([make_pictures(1, pattern=PATTERNS[kind], generator=generator)[0] for kind in kinds.tolist()])
        for kinds in (left, right)
    ]
    return torch.cat(halves, -1), left.tolist(), right.tolist()


def test_the_demo_network_recognises_one_of_two_patterns(demo: DemoNetwork, patterns: Patterns) -> None:
    images, left, right = patterns
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (demo.image_mean, demo.image_std))
    with torch.no_grad():
        first = demo((images - mean) / std)["pattern"].argmax(1).tolist()
    assert sum(one in pair for one, pair in zip(first, zip(left, right, strict=True), strict=True)) >= 98


def pointed(demo: DemoNetwork, patterns: Patterns, name: str, layer: str | None) -> list[int]:
    """How often the greatest value lies on the half that was asked for: of left ones, of right ones."""
    images, *asked = patterns
    boxes = [(0, 0, 64, 64), (64, 0, 128, 64)]
    return [
        int(pointing_game(attribute(demo, images, name, kinds, layer), [box] * COUNT).sum())
        for kinds, box in zip(asked, boxes, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [None, "features/19", "features/16"])
@pytest.mark.parametrize("name", ["gradcam", "hirescam"])
def test_the_pattern_that_is_asked_for_is_pointed_at(
    name: str, layer: str | None, demo: DemoNetwork, patterns: Patterns
) -> None:
    """Of 100: 100 where the layer is found (the last) and at features/19, 98 and more at features/16."""
    assert min(pointed(demo, patterns, name, layer)) >= 95


def test_chance_points_at_half(demo: DemoNetwork, patterns: Patterns) -> None:
    left, right = pointed(demo, patterns, "random_cam", None)
    assert 35 <= left <= 65 and left + right == COUNT


def test_gradcam_in_the_first_layers_points_at_random(demo: DemoNetwork, patterns: Patterns) -> None:
    """A weight for each channel says where only as far as channels are patterns; HiResCAM has one for each place."""
    assert max(pointed(demo, patterns, "gradcam", "features/7")) < 70
    assert min(pointed(demo, patterns, "hirescam", "features/7")) > 75


# Real networks: two things in one photograph

# All 24 photographs were looked at. Four hold two things that are classes, each with a place of its own. A box is all
# that is to be seen of a thing, in pixels of the view, and was noted before anything was measured. Peacock and stone
# wall were left out: the wall is ground.
TWO: dict[str, tuple[tuple[int, Box], tuple[int, Box]]] = {
    "dog_cat_both.png": ((243, (78, 14, 165, 148)), (282, (45, 119, 198, 224))),
    "dog_cat_scene.jpg": ((207, (0, 10, 142, 210)), (281, (118, 56, 205, 215))),
    "coffee_mug.jpg": ((504, (53, 94, 176, 220)), (470, (22, 43, 84, 150))),
    "steam_locomotive.jpg": ((820, (0, 40, 131, 200)), (705, (72, 30, 224, 205))),
}
ANIMALS = ["dog_cat_both.png", "dog_cat_scene.jpg"]
CAMS = ["gradcam", "hirescam", "layercam"]
REAL = ["squeezenet1_0", "mobilenet_v2", "resnet18_pq"]


def shares(
    network: nn.Module, photograph: Path, name: str, layer: str | None = None, ask: Callable[[int], Any] = int
) -> list[list[float]]:
    """Which share of the positive map lies in each box (columns) where each thing is asked for (rows)."""
    things = TWO[photograph.name]
    found = [attribute(network, photograph, name, ask(kind), layer) for kind, _ in things]
    return [[float(energy_in_box(one, [box])) for _, box in things] for one in found]


@pytest.mark.parametrize(
    ("name", "network", "picture"),
    [
        # SqueezeNet's last map is that of its classes, of which these three are one map: 0.62 to 0.80.
        *((name, "squeezenet1_0", picture) for picture in ANIMALS for name in CAMS),
        # 0.95 and 0.68; 0.88 and 0.69.
        *((name, network, "dog_cat_scene.jpg") for network in REAL[1:] for name in CAMS[:2]),
    ],
)
def test_most_of_the_map_lies_on_the_animal_that_is_asked_for(
    name: str, network: str, picture: str, shared: Path, real_network: Load
) -> None:
    """At least 60 %. Not reached elsewhere: the 7 × 7 places of a map are 32 px wide, and spread over a box's border.

    Grad-CAM and HiResCAM on the dog and the cat of dog_cat_both: 0.57 and 0.66 (MobileNetV2), 0.51 and 0.59 (ResNet).
    LayerCAM, which drops what speaks against the class: 0.47 and 0.45, 0.85 and 0.39 (the kitten), 0.42 and 0.51,
    0.73 and 0.41.
    """
    found = shares(real_network(network), shared / "images" / picture, name)
    assert found[0][0] >= 0.6 and found[1][1] >= 0.6


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize(("network", "layer"), [("squeezenet1_0", None), ("mobilenet_v2", "features/17")])
def test_most_of_the_map_lies_on_the_animal_whose_probability_is_asked_for(
    name: str, network: str, layer: str | None, shared: Path, real_network: Load
) -> None:
    """At least 60 % by all three methods on two networks; a probability is also lowered by what speaks for others.

    0.75 and 0.78, 0.75 and 0.78, 0.80 and 0.70 (SqueezeNet); 0.94 and 0.73, 0.96 and 0.72, 0.96 and 0.71 (MobileNetV2,
    before its last 1 × 1 convolution, whose 1280 channels LayerCAM does not tell apart: 0.83 and 0.43).
    """
    found = shares(real_network(network), shared / "images" / "dog_cat_scene.jpg", name, layer, softmax_of)
    assert found[0][0] >= 0.6 and found[1][1] >= 0.6


@pytest.mark.parametrize("picture", ANIMALS)
@pytest.mark.parametrize("network", REAL)
@pytest.mark.parametrize("name", CAMS)
def test_more_lies_on_an_animal_where_it_is_asked_for(
    name: str, network: str, picture: str, shared: Path, real_network: Load
) -> None:
    found = shares(real_network(network), shared / "images" / picture, name)
    assert found[0][0] > found[1][0] + 0.05 and found[1][1] > found[0][1] + 0.05


# The 22 photographs of one thing each, in the order of their names; neighbours are shown side by side.
SINGLE = {
    "African_elephant": 386, "Border_collie": 232, "Labrador_retriever": 208, "acoustic_guitar": 402, "airliner": 404,
    "analog_clock": 409, "bald_eagle": 22, "coffee_mug": 504, "fire_engine": 555, "flamingo": 130, "giant_panda": 388,
    "goldfinch": 11, "ice_bear": 296, "leopard": 288, "macaw": 88, "monarch": 323, "peacock": 84, "sports_car": 817,
    "steam_locomotive": 820, "strawberry": 949, "tabby": 281, "zebra": 340,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "network", "mean"),
    [*(("gradcam", network, 0.85) for network in REAL), ("layercam", "mobilenet_v2", 0.62)],
)
def test_most_of_the_map_lies_on_the_photograph_that_is_asked_for(
    name: str, network: str, mean: float, shared: Path, real_network: Load
) -> None:
    """Pairs of photographs, 224 × 448: at least 60 % on the right one in 20 of 22; HiResCAM is Grad-CAM here.

    Grad-CAM: 21, 22, 22, on average 0.88, 0.92, 0.91. LayerCAM: 21, 20, 21; 0.88, 0.69, 0.67. By chance 7 to 9; 0.5.
    """
    images = read_inputs([shared / "images" / f"{name}.jpg" for name in SINGLE], 3).images
    pairs, classes = torch.cat([images[::2], images[1::2]], -1), list(SINGLE.values())
    found = [
        energy_in_box(attribute(real_network(network), pairs, name, classes[side::2]), [box] * len(pairs))
        for side, box in enumerate([(0, 0, 224, 224), (224, 0, 448, 224)])
    ]
    on_it = torch.cat(found)
    assert int((on_it >= 0.6).sum()) >= 20 and on_it.mean() > mean


# Maps of a network that forgets

FORGETTING = ["fc", "layer4", "layer3"]


def likeness(network: nn.Module, photograph: Path, name: str) -> list[float]:
    """Rank correlation with the network's own map as its last layers forget, one after the other."""
    options: dict[str, dict[str, Any]] = {
        "gradcam": {"layer": "layer4"},
        "layercam": {"layer": "layer4"},
        "integrated_gradients": {"steps": 4},
    }

    def explain(network: nn.Module) -> Tensor:
        return attribute(network, photograph, name, target=11, **options.get(name, {})).values

    found = randomisation(network, explain, FORGETTING)
    assert float(found[0].spearman) == pytest.approx(1)
    return [float(one.spearman) for one in found[1:]]


@pytest.mark.slow
def test_gradients_forget_with_the_network_and_guided_backprop_does_not(shared: Path, real_network: Load) -> None:
    """ResNet-18, goldfinch; likeness after fc, layer4, layer3 (and on to layer2, layer1, conv1):

    gradcam -0.71, -0.03, -0.11 (0.20, 0.14, 0.09); layercam 0.87, -0.02, 0.09 (0.09, 0.03, 0.01); saliency -0.05,
    -0.00, 0.04 (-0.01, -0.00, -0.00); guided_backprop 1.00, 0.97, 0.79 (0.68, 0.48, 0.22).
    """
    network, photograph = real_network("resnet18_pq"), shared / "images" / "goldfinch.jpg"
    guided = likeness(network, photograph, "guided_backprop")
    assert guided[0] > 0.95 and guided[1] > 0.9 and guided[2] > 0.7
    for name in ("gradcam", "layercam", "saliency", "integrated_gradients"):
        found = likeness(network, photograph, name)
        assert max(map(abs, found[1:])) < 0.4, name
        if name != "layercam":  # which keeps the places where anything is seen, whichever weights the class has
            assert found[0] < 0.4, name


# Completeness


def difference(network: nn.Module, images: Tensor, kind: int) -> float:
    """What the image adds to the class's output over the black one."""
    with torch.no_grad():
        return float((network((images - MEAN) / STD) - network((0 * images - MEAN) / STD))[0, kind])


@pytest.mark.parametrize("network", REAL)
def test_deeplift_adds_up_to_the_difference(network: str, shared: Path, real_network: Load) -> None:
    for photograph, kind in (("goldfinch.jpg", 11), ("zebra.jpg", 340)):
        found = attribute(real_network(network), shared / "images" / photograph, "deeplift", kind)
        expected = difference(real_network(network), found.images, kind)
        assert float(found.values.sum()) == pytest.approx(expected, rel=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "photograph", "kind"),
    [*((network, "goldfinch.jpg", 11) for network in REAL), ("mobilenet_v2", "zebra.jpg", 340)],
)
def test_integrated_gradients_add_up_to_the_difference(
    network: str, photograph: str, kind: int, shared: Path, real_network: Load
) -> None:
    """Within 1 %. In 50 steps they do for the goldfinch; MobileNetV2's zebra is off by 11.5 % then, and takes 150."""
    found = attribute(real_network(network), shared / "images" / photograph, "integrated_gradients", kind)
    expected = difference(real_network(network), found.images, kind)
    assert float(found.values.sum()) == pytest.approx(expected, rel=0.01)


class WithoutBiases(nn.Sequential):
    """Convolutions, ReLUs and poolings, none of which adds anything."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 5, bias=False),
        )


def test_lrp_without_biases_hands_back_the_whole_score() -> None:
    network = seeded(WithoutBiases)
    images = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = attribute(network, images, "lrp", target=[0, 2, 4], rule="zero")
    assert torch.allclose(found.values.sum((1, 2, 3)), found.scores, rtol=1e-3, atol=1e-5)
    # With every step linear between ReLUs, LRP-0 is the gradient times the input.
    expected = attribute(network, images, "input_x_gradient", target=[0, 2, 4])
    assert torch.allclose(found.values, expected.values, atol=1e-4)


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18_pq"])
def test_lrp_of_a_real_network_without_its_biases_hands_back_the_whole_score(
    name: str, shared: Path, real_network: Load
) -> None:
    network = copy.deepcopy(real_network(name))
    for module in network.modules():
        for what in ("bias", "running_mean"):
            values = getattr(module, what, None)
            if isinstance(values, Tensor):
                values.data.zero_()
    photographs = [shared / "images" / "goldfinch.jpg", shared / "images" / "zebra.jpg"]
    found = attribute(network, photographs, "lrp", target=[11, 340], rule="zero")
    assert torch.allclose(found.values.sum((1, 2, 3)), found.scores, rtol=1e-3)

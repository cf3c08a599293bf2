"""The CAM family: closed forms, and the same maps as pytorch-grad-cam and torch-cam where those are installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import seeded
from torch import Tensor, nn
from torchvision.models import resnet18

from optvis.attribution import METHODS, attribute
from optvis.network import Forward, NetworkInput

CAMS = [name for name, way in METHODS.items() if way.summed]


class Pooled(nn.Module):
    """Convolutions, the mean of each map, a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, stride=2))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> Pooled:
    return seeded(Pooled)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 17, 21, generator=torch.Generator().manual_seed(0))


def activations(network: Pooled, images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        return network.body((images - mean) / std)


LINEAR = ["gradcam", "hirescam", "cam"]


@pytest.mark.parametrize("name", LINEAR)
def test_where_the_rest_is_linear_maps_are_the_weighted_activations(name: str, network: Pooled, images: Tensor) -> None:
    """Grad-CAM, HiResCAM and CAM are then one map, up to the number of places."""
    a = activations(network, images)
    places = 1 if name == "cam" else a[0, 0].numel()
    expected = torch.einsum("nk,nkhw->nhw", network.fc.weight.detach()[[3, 1]], a)[:, None] / places
    found = attribute(network, images, name, target=[3, 1], layer="body/2")
    assert torch.allclose(found.values, expected, atol=1e-5)
    assert found.layer == ("body/2",) and found.target.labels == ("3", "1")
    assert torch.allclose(found.scores, network.fc(a.mean((2, 3))).detach()[[0, 1], [3, 1]], atol=1e-5)


def test_ablation_takes_each_channel_out(network: Pooled, images: Tensor) -> None:
    """Where the rest is linear, a channel's weight is what it puts in: w times its mean, over the score."""
    a = activations(network, images)
    weights = network.fc.weight.detach()[[3, 1]] * a.mean((2, 3))
    scores = network.fc(a.mean((2, 3))).detach()[[0, 1], [3, 1]]
    expected = ((weights / scores[:, None])[..., None, None] * a).sum(1, keepdim=True)
    for batch_size in (1, 3, 64):
        found = attribute(network, images, "ablationcam", [3, 1], "body/2", batch_size=batch_size)
        assert torch.allclose(found.values, expected, rtol=1e-3, atol=1e-5)


def test_score_cam_one_by_one(network: Pooled, images: Tensor) -> None:
    a = activations(network, images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = []
    for image, maps, target in zip((images - mean) / std, a, [3, 1], strict=True):
        scores = []
        for one in maps:
            mask = F.interpolate(one[None, None], images.shape[-2:], mode="bilinear")[0]
            with torch.no_grad():
                scores.append(network((image * (mask - mask.min()) / (mask.max() - mask.min()))[None])[0, target])
        expected.append((torch.stack(scores).softmax(0)[:, None, None] * maps).sum(0, keepdim=True))
    found = attribute(network, images, "scorecam", [3, 1], "body/2", batch_size=5)
    assert torch.allclose(found.values, torch.stack(expected), atol=1e-4)


@pytest.mark.parametrize("name", CAMS)
def test_a_picture_of_a_batch_has_the_map_that_it_has_alone(name: str, network: Pooled, images: Tensor) -> None:
    layer = None if not METHODS[name].layer else "body/2"
    whole = attribute(network, images, name, target=[3, 1], layer=layer)
    alone = attribute(network, images[:1], name, target=3, layer=layer)
    assert torch.allclose(whole.values[:1], alone.values, atol=1e-4)
    assert whole.values.dtype == torch.float32 and torch.isfinite(whole.values).all()


@pytest.mark.parametrize("name", [name for name in CAMS if METHODS[name].layer and name != "cam"])
def test_layers_are_averaged_or_given_each(name: str, network: Pooled, images: Tensor) -> None:
    layers = ["body/0", "body/2"]
    each = attribute(network, images, name, target=0, layer=layers, each=True)
    assert [one.layer for one in each] == [("body/0",), ("body/2",)]
    together = attribute(network, images, name, target=0, layer=layers)
    expected = torch.stack([one.heatmap() for one in each]).mean(0)[:, None]
    assert torch.allclose(together.values, expected) and together.layer == ("body/0", "body/2")


def test_the_layer_before_an_in_place_relu_has_its_own_values(network: Pooled, images: Tensor) -> None:
    found = attribute(network, images, "eigencam", target=0, layer="body/0")
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    rows = network.body[0]((images - mean) / std).detach().flatten(2).mT
    rows = rows - rows.mean(1, keepdim=True)
    first = torch.linalg.svd(rows, full_matrices=False).S[:, 0]
    assert torch.allclose(found.values.flatten(1).norm(dim=1), first, rtol=1e-4)


def test_smoothing(network: Pooled, images: Tensor) -> None:
    mirrored = attribute(network, images.flip(-1), "gradcam", [3, 1], "body/2", aug_smooth=True)
    found = attribute(network, images, "gradcam", [3, 1], "body/2", aug_smooth=True)
    assert torch.allclose(found.values, mirrored.values.flip(-1), atol=1e-6)
    plain = attribute(network, images, "gradcam", [3, 1], "body/2")
    assert not torch.allclose(found.values, plain.values, atol=1e-4)
    principal = attribute(network, images, "gradcam", [3, 1], "body/2", eigen_smooth=True)
    assert principal.values.shape == plain.values.shape and not torch.allclose(principal.values, plain.values)


def test_cam_says_where_it_does_not_work(network: Pooled, images: Tensor) -> None:
    with pytest.raises(ValueError, match="cam needs a network whose outputs are the means of 'body/0' times"):
        attribute(network, images, "cam", 0, "body/0")

    def total(output: Tensor) -> Tensor:
        return output.sum(1)

    with pytest.raises(ValueError, match="cam explains only classes, not 'total'"):
        attribute(network, images, "cam", total, "body/2")


# The references

GRAD_CAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "gradcam_elementwise": "GradCAMElementWise",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "fullgrad": "FullGrad",
}
# torch-cam's Grad-CAM++ sums G³ A over the places where the paper multiplies by G³ at each: another map.
TORCH_CAM = {"gradcam": "GradCAM", "xgradcam": "XGradCAM", "layercam": "LayerCAM", "cam": "CAM"}
SIGN_IS_FREE = ("eigencam", "eigengradcam")

COUNT = int(os.environ.get("OPTVIS_PHOTOGRAPHS", 2))
"""On so many photographs; the references take minutes for all."""

NETWORKS: dict[str, list[str]] = {
    "seeded resnet18": ["layer3", "layer4"],
    "resnet18_pq": ["layer3", "layer4"],
    "squeezenet1_0": ["features/7", "features/12"],
    "mobilenet_v2": ["features/13", "features/18"],
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, list[str], list[Path]]:
    layers = NETWORKS[request.param]
    photographs: list[Path] = request.getfixturevalue("photographs")[:COUNT]
    if request.param == "seeded resnet18":
        return seeded(resnet18), layers, photographs
    return request.getfixturevalue("real_network")(request.param), layers, photographs


def normalised(network: nn.Module, images: Tensor) -> Tensor:
    """What the network is shown by ``attribute``, to the bit: a ReLU may open for a difference in the last."""
    return Forward.of(network, NetworkInput.of(network)).normalise(images)


def steps(maps: Tensor, size: Any) -> Tensor:
    """ReLU, min-max, half-pixel bilinear, min-max."""

    def scaled(maps: Tensor) -> Tensor:
        maps = maps - maps.amin((1, 2), keepdim=True)
        return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)

    return scaled(F.interpolate(scaled(maps.relu())[:, None], size, mode="bilinear", align_corners=False)[:, 0])


@pytest.mark.rivals
@pytest.mark.slow
@pytest.mark.parametrize("name", GRAD_CAM)
def test_the_same_as_pytorch_grad_cam(
    name: str, case: tuple[nn.Module, list[str], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    reference = pytest.importorskip("pytorch_grad_cam", reason="needs grad-cam: optvis[rivals]")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, layers, photographs = case
    images = attribute(network, list(photographs), "random_cam").images
    targets = torch.arange(0, 40 * len(images), 40)
    at_once = 2 if name == "fullgrad" else len(images)  # it enlarges each channel of each layer
    for layer in layers if name != "fullgrad" else layers[:1]:
        module = dict(network.named_modules())[layer.replace("/", ".")]
        for shown, asked in zip(images.split(at_once), targets.split(at_once), strict=True):
            found = attribute(network, shown, name, asked, layer if METHODS[name].layer else None)
            classes = [ClassifierOutputTarget(index) for index in asked.tolist()]
            inputs = normalised(network, shown)
            with getattr(reference, GRAD_CAM[name])(model=network, target_layers=[module]) as cam:
                theirs = torch.tensor(cam(inputs, classes))
            off = (found.heatmap() - theirs).abs().amax((1, 2))
            if name in SIGN_IS_FREE:
                off = torch.minimum(off, ((-found).heatmap() - theirs).abs().amax((1, 2)))
            assert off.max() < 1e-4


@pytest.mark.rivals
@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH_CAM)
def test_the_same_as_torch_cam(name: str, case: tuple[nn.Module, list[str], list[Path]]) -> None:
    methods: Any = pytest.importorskip("torchcam.methods", reason="needs torchcam: optvis[rivals]")
    network, layers, photographs = case
    if name == "cam" and not hasattr(network, "fc"):
        pytest.skip("torch-cam's CAM looks for one fully connected layer")
    images = attribute(network, list(photographs), "random_cam").images
    targets = list(range(0, 40 * len(images), 40))
    for layer in layers[1:] if name == "cam" else layers:
        found = attribute(network, images, name, targets, layer)
        options = {"fc_layer": "fc"} if name == "cam" else {}
        inputs = normalised(network, images)
        with getattr(methods, TORCH_CAM[name])(network, target_layer=layer.replace("/", "."), **options) as cam:
            scores = network(inputs.requires_grad_())
            (theirs,) = cam(targets, scores, normalized=False)
        assert (found.heatmap() - steps(theirs.detach(), images.shape[-2:])).abs().max() < 1e-4

"""``attribute``: ways in, targets, the layer that finds itself, the network handed back, bad input, the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from small_networks import Tiny, network_file, seeded, snapshot
from test_bad_input import Demanding
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer, resnet18, squeezenet1_1, vgg11_bn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from optvis import Channel, Class, Neuron, TotalVariation, load_network, norm
from optvis.attribution import METHODS, Attribution, Gradcam, attribute
from optvis.attribution.targets import against, box, class_index, segment, similarity, softmax_of
from optvis.cli import run
from optvis.images import to_pil
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD, outputs_of
from optvis.visualisation import read_settings

QUICK = {"steps": 3, "samples": 4, "segments": 2, "batch_size": 8, "window": 8, "alpha": 1e-5}


class Named(Tiny):
    """With a size of its own and names for its classes."""

    input_size = (3, 16, 24)
    output_names = {"head": ["cat", "dog", "owl", "newt", "toad"]}

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def quick(method: str) -> dict[str, Any]:
    return {name: value for name, value in QUICK.items() if name in METHODS[method].options()}


@pytest.fixture
def network() -> Named:
    return seeded(Named)


@pytest.fixture
def images() -> Tensor:
    return drawn(2, 3, 16, 24)


# Ways in


def test_pictures_in_every_form(network: Named, tmp_path: Path) -> None:
    picture = Image.fromarray((drawn(20, 40, 3).numpy() * 255).astype(np.uint8))
    picture.save(tmp_path / "a.png")
    by_path = attribute(network, tmp_path / "a.png")
    assert by_path.images.shape == (1, 3, 16, 24), "files are fitted to the network's own size"
    overlay = by_path.overlay()
    assert overlay.size == (40, 20), "the overlay is on the picture as it was given"
    outside = np.asarray(overlay)[:, :5], np.asarray(picture)[:, :5]
    assert (outside[0] == outside[1]).all(), "what the network did not see is left as it is"
    for same in (str(tmp_path / "a.png"), picture):
        assert torch.equal(attribute(network, same).values, by_path.values)
    tensor = torch.from_numpy(np.array(picture)).movedim(-1, 0)
    taken = attribute(network, tensor)
    assert taken.images.shape == (1, 3, 20, 40), "tensors are taken as they are"
    assert torch.equal(attribute(network, np.array(picture)).values, taken.values)
    several = attribute(network, [tmp_path / "a.png", picture, by_path.images[0]], target=1)
    assert several.values.shape[:2] == (3, 1) and [one.size for one in several.overlay()] == [(40, 20)] * 2 + [(24, 16)]
    alone = attribute(network, picture, target=1)
    assert torch.allclose(several.values, alone.values.expand_as(several.values), atol=1e-6)


def test_under_the_name_of_old(network: Named, images: Tensor, tmp_path: Path) -> None:
    """``Gradcam`` takes normalised tensors, as ``norm`` makes them, and pictures as they are."""
    given = norm(images, input_range=(0, 1))
    old = Gradcam(network, given, im_class=2, layer="first")
    new = attribute(network, images, "gradcam", 2, "first")
    assert torch.allclose(old.values, new.values, atol=1e-7) and old.layer == new.layer == ("first",)
    assert torch.allclose(Gradcam(network, given).values, attribute(network, images).values, atol=1e-7)
    assert torch.allclose(attribute(network, given, normalised=True).inputs.images, images, atol=1e-6)
    to_pil(images[0]).save(tmp_path / "a.png")
    assert torch.equal(Gradcam(network, tmp_path / "a.png").values, attribute(network, tmp_path / "a.png").values)


def test_what_was_not_normalised_so_is_refused(network: Named, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"the normalised image had values from .* to .*, not from 0 to 1: give"):
        attribute(network, norm(images, input_range=(0, 1)), normalised=True, mean=0.5, std=0.5)
    with pytest.raises(TypeError, match="normalised=True is for a tensor"):
        attribute(network, "a.png", normalised=True)
    with pytest.raises(ValueError, match=r"give \[C, H, W\] with 3 channels"):
        attribute(network, torch.zeros(1, 4, 8, 8), normalised=True)


def test_names_of_classes_are_given(images: Tensor) -> None:
    network = seeded(Tiny)
    names = [f"class {i}" for i in range(outputs_of(network) or 0)]
    assert attribute(network, images, target="class 1", names=names).target.labels == ("class 1", "class 1")
    with pytest.raises(ValueError, match=r"2 names for .* outputs"):
        attribute(network, images, names=["a", "b"])
    assert not hasattr(network, "output_names")


def test_grey_pictures_and_other_statistics(network: Named) -> None:
    grey = attribute(network, Image.new("L", (24, 16), 100), "saliency", 0, mean=0.5, std=[0.2, 0.2, 0.2])
    assert grey.values.shape == (1, 3, 16, 24) and grey.settings["mean"] == [0.5] * 3
    with torch.no_grad():
        expected = network((torch.full((1, 3, 16, 24), 100 / 255) - 0.5) / 0.2)[0, 0]
    assert grey.scores[0] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, network: Named, images: Tensor) -> None:
    before, random = snapshot(network), torch.get_rng_state()
    layer = {"layer": "relu" if method == "cam" else "second"} if METHODS[method].layer else {}
    found = attribute(network, images, method, [1, 3], **layer, **quick(method))
    assert snapshot(network) == before and torch.equal(torch.get_rng_state(), random)
    assert found.method == method and found.target.labels == ("dog", "newt")
    assert found.values.dtype == torch.float32 and torch.isfinite(found.values).all()
    assert len(found.values) == 2 and found.heatmap().shape == (2, 16, 24)
    with torch.no_grad():
        mean, std = (torch.tensor(found.settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        expected = network((images - mean) / std)[[0, 1], [1, 3]]
    assert torch.allclose(found.scores, expected, atol=1e-5)
    assert json.loads(json.dumps(found.settings)) == found.settings


def test_each_image_has_its_own_further_input() -> None:
    class Styled(Tiny):
        def forward(self, x: Tensor, style: Tensor) -> Tensor:
            assert len(style) == len(x)
            return self.head(self.second(self.relu(self.first(x) + style[..., None, None])).mean((2, 3)))

    network, images, styles = seeded(Styled), drawn(2, 3, 16, 16), torch.tensor([[1.0], [-1.0]])
    for method in ("gradcam", "integrated_gradients", "scorecam", "ablationcam", "occlusion"):
        whole = attribute(network, images, method, 1, extra_inputs=styles, **quick(method))
        for i in range(2):
            one = attribute(network, images[i], method, 1, extra_inputs={"style": styles[i : i + 1]}, **quick(method))
            assert torch.allclose(whole.values[i], one.values[0], atol=1e-5)


# Targets


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (3, [3, 3]),
        (-1, [4, 4]),
        ("owl", [2, 2]),
        (["toad", 0], [4, 0]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        (np.array([2, 4]), [2, 4]),
        (torch.tensor([0, 3]), [0, 3]),
        (np.int64(2), [2, 2]),
    ],
    ids=str,
)
def test_classes(target: Any, classes: list[int], network: Named, images: Tensor) -> None:
    found = attribute(network, images, target=target)
    assert found.target.labels == tuple(Named.output_names["head"][c] for c in classes)
    for i, c in enumerate(classes):
        assert torch.allclose(found.values[i], attribute(network, images[i], target=c).values[0], atol=1e-6)


def test_the_highest_output_by_default(network: Named, images: Tensor) -> None:
    found = attribute(network, images)
    with torch.no_grad():
        mean, std = (torch.tensor(found.settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        top = network((images - mean) / std).max(1)
    assert found.target.classes == tuple(top.indices.tolist()) and torch.allclose(found.scores, top.values, atol=1e-5)


OBJECTIVES: dict[str, Any] = {
    "channel": Channel("second", 1),
    "one for each image": [Channel("second", 1), Neuron("second", 2, (1, 1))],
    "a batch by itself": Channel("second", [1, 2]),
    "with a penalty on the image": Channel("second", 1) - 0.1 * TotalVariation(),
    "class": Class("", 2),
    "hidden unit and class": Channel("first", 1) + 2 * Class("head", "owl"),
}


@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated_gradients", "occlusion", "scorecam"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives(name: str, method: str, network: Named, images: Tensor) -> None:
    before = snapshot(network)
    found = attribute(network, images, method, OBJECTIVES[name], **quick(method))
    assert snapshot(network) == before
    assert (found.values != 0).flatten(1).any(1).all() and torch.isfinite(found.scores).all()
    listed = isinstance(OBJECTIVES[name], list)
    assert found.target.labels[0] == repr(OBJECTIVES[name][0] if listed else OBJECTIVES[name])
    seen: dict[str, Tensor] = {"@image": images}
    mean, std = (torch.tensor(found.settings[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        seen["first"] = network.first((images - mean) / std)
        seen["second"] = network.second(seen["first"].relu())
    if name == "channel":
        assert torch.allclose(found.scores, seen["second"][:, 1].mean((1, 2)), atol=1e-5)
    if name == "one for each image":
        expected = torch.stack([seen["second"][0, 1].mean(), seen["second"][1, 2, 1, 1]])
        assert torch.allclose(found.scores, expected, atol=1e-5)
    if name == "with a penalty on the image":
        assert torch.allclose(found.scores, OBJECTIVES[name](seen), atol=1e-5)


def test_an_objective_runs_no_deeper_than_it_needs() -> None:
    class Headless(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            self.second(self.first(x))
            raise RuntimeError("no head")

    found = attribute(seeded(Headless), drawn(1, 3, 16, 16), "gradcam", Channel("second", 1), "first")
    assert (found.values != 0).any()


def spread(output: Tensor) -> Tensor:
    return output.var(1)


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients", "scorecam"])
def test_functions_of_the_output(method: str, network: Named, images: Tensor) -> None:
    options = quick(method)
    plain = attribute(network, images, method, 3, **options)
    same = attribute(network, images, method, lambda output: output[:, 3], **options)
    assert torch.allclose(plain.values, same.values, atol=1e-6) and torch.equal(plain.scores, same.scores)
    assert attribute(network, images, method, spread, **options).target.labels == ("spread", "spread")
    softmax = attribute(network, images, method, softmax_of(3), **options)
    outputs = torch.stack([attribute(network, images, method, c, **options).scores for c in range(5)], 1)
    assert torch.allclose(softmax.scores, outputs.softmax(1)[:, 3], atol=1e-6)
    difference = attribute(network, images, method, against(3, -1), **options)
    assert difference.target.labels[0] == "3 against -1"
    assert torch.allclose(difference.scores, outputs[:, 3] - outputs[:, 4], atol=1e-6)
    like = attribute(network, images, method, similarity(outputs.flip(0)), **options)
    assert torch.allclose(like.scores, torch.cosine_similarity(outputs, outputs.flip(0)), atol=1e-6)
    assert (like.values != 0).flatten(1).any(1).all()


class Segmenting(nn.Module):
    """``[N, 3, H, W]`` to a dict with ``[N, 4, H, W]``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.classifier = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.classifier(self.body(x))
        return {"out": nn.functional.interpolate(maps, x.shape[-2:], mode="bilinear")}


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "saliency", "integrated_gradients"])
def test_a_segment(method: str) -> None:
    network, images = seeded(Segmenting), drawn(2, 3, 16, 24)
    mask = torch.zeros(16, 24, dtype=torch.bool)
    mask[2:6, 3:9] = True
    found = attribute(network, images, method, segment(2, mask), **quick(method))
    both = attribute(network, images, method, segment(2, torch.stack([mask, mask])), **quick(method))
    assert torch.equal(found.values, both.values) and found.target.labels[0] == "segment of 2"
    if method in ("hirescam", "saliency"):
        assert not found.values[..., -4:, -8:].any(), "what lies far from the segment did not matter"
    top = int(network(images)["out"].argmax(1).flatten().mode().values)
    assert (attribute(network, images, method, segment(top), **quick(method)).scores != 0).all()


def test_a_box_of_a_detector() -> None:
    make = fasterrcnn_mobilenet_v3_large_320_fpn
    network = seeded(
        make, weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=64, box_score_thresh=0.0
    )
    image = drawn(1, 3, 64, 64)
    with torch.no_grad():
        first = network(image)[0]
    target = box(int(first["labels"][0]), first["boxes"][0].tolist())
    before = snapshot(network)
    for method in ("gradcam", "saliency"):
        found = attribute(network, image, method, target)
        assert found.scores[0] == pytest.approx(float(first["scores"][0]), rel=1e-3)
        assert (found.values != 0).any() and found.target.labels[0].startswith("box of ")
    with pytest.warns(UserWarning, match="a map without evidence"):
        nowhere = attribute(network, image, "occlusion", box(1, (0, 0, 1, 1)), window=64, stride=64)
    assert nowhere.scores[0] == 0
    with pytest.raises(ValueError, match=r"puts out .* which has no row of classes for each.*such as .*box"):
        attribute(network, image)
    assert snapshot(network) == before


# The layer


def vit(**options: Any) -> nn.Module:
    network = seeded(VisionTransformer, 32, 8, 2, 2, 16, 32, num_classes=5, **options)
    nn.init.normal_(network.heads.head.weight, generator=torch.Generator().manual_seed(0))  # zeros when made
    return network


def vgg() -> nn.Module:
    network = seeded(vgg11_bn, init_weights=False)
    network.classifier = seeded(nn.Linear, 25088, 5)  # its own has a hundred million weights
    return network


def timm_vit(**options: Any) -> nn.Module:
    small = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    return seeded(timm.create_model, "vit_tiny_patch16_224", **{**small, **options})


FOUND: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, tuple[int, int]]] = {
    "resnet18": (lambda: seeded(resnet18, num_classes=5), (64, 96), "layer4", (2, 3)),
    "vgg11_bn": (vgg, (64, 64), "avgpool", (7, 7)),
    "squeezenet": (lambda: seeded(squeezenet1_1, num_classes=5), (64, 64), "classifier/2", (3, 3)),
    "ViT": (vit, (32, 32), "encoder/layers/encoder_layer_1/ln_1", (4, 4)),
    "timm ViT": (lambda: timm_vit(img_size=32), (32, 32), "blocks/1/norm1", (4, 4)),
    "timm ViT with registers": (lambda: timm_vit(img_size=32, reg_tokens=4), (32, 32), "blocks/1/norm1", (4, 4)),
    "timm ViT, normalised heads": (lambda: timm_vit(img_size=32, qk_norm=True), (32, 32), "blocks/1/norm1", (4, 4)),
    "timm ViT, not square": (lambda: timm_vit(img_size=(32, 48)), (32, 48), "blocks/1/norm1", (4, 6)),
    "timm ViT, the mean of its tokens": (
        lambda: timm_vit(img_size=(32, 48), global_pool="avg"), (32, 48), "norm", (4, 6)
    ),
    "Swin": (lambda: seeded(SwinTransformer, [4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=5), (32, 48), "permute",
             (4, 6)),
    "Swin, channels last": (
        lambda: seeded(
            timm.create_model, "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=16,
            depths=(1, 1), num_heads=(2, 2), num_classes=5,
        ),
        (64, 64), "norm", (8, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_the_last_layer_with_a_map_finds_itself(name: str) -> None:
    make, size, layer, grid = FOUND[name]
    network = make()
    before = snapshot(network)
    found = attribute(network, drawn(2, 3, *size), target=[1, 2])
    assert found.layer == (layer,) and found.values.shape == (2, 1, *grid)
    assert (found.values != 0).flatten(1).any(1).all() and torch.isfinite(found.values).all()
    assert snapshot(network) == before
    given = attribute(network, drawn(2, 3, *size), target=[1, 2], layer=found.layer)
    assert torch.equal(given.values, found.values)


def test_an_objective_looks_before_itself(network: Named, images: Tensor) -> None:
    assert attribute(network, images, target=Channel("second", 1)).layer == ("second",)
    assert attribute(network, images, target=Channel("first", 1)).layer == ("first",)


def test_layers_as_modules_and_several(network: Named, images: Tensor) -> None:
    each = attribute(network, images, layer=[network.first, "second"], each=True)
    assert [one.layer for one in each] == [("first",), ("second",)]
    assert attribute(network, images, layer=["first", "second"]).layer == ("first", "second")
    (only,) = attribute(network, images, "saliency", each=True)
    assert only.layer == ()


def test_smoothing_of_pixels(network: Named, images: Tensor) -> None:
    found = attribute(network, images, "saliency", 1, aug_smooth=True)
    mirrored = attribute(network, images.flip(-1), "saliency", 1, aug_smooth=True)
    assert torch.allclose(found.values, mirrored.values.flip(-1), atol=1e-6) and found.settings["aug_smooth"]


def test_a_network_without_gradients_can_be_covered(images: Tensor) -> None:
    class WithoutGradient(Named):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    for method in ("occlusion", "feature_ablation", "kernel_shap"):
        found = attribute(seeded(WithoutGradient), images, method, 1, **quick(method))
        assert torch.equal(found.values, attribute(seeded(Named), images, method, 1, **quick(method)).values)
    for method in ("gradcam", "saliency", "integrated_gradients", "guided_backprop", "fullgrad", "lrp"):
        with pytest.raises(ValueError, match=r"no gradient reaches the image from 'dog': .*runs under no_grad"):
            attribute(seeded(WithoutGradient), images, method, 1, **quick(method))


# Types and state


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "method", ["gradcam", "layercam", "scorecam", "saliency", "integrated_gradients", "smoothgrad"]
)
def test_networks_of_other_types(method: str, kind: torch.dtype, images: Tensor) -> None:
    found = attribute(seeded(Named).to(kind), images, method, 1, **quick(method))
    single = attribute(seeded(Named), images, method, 1, **quick(method))
    assert found.values.dtype == found.scores.dtype == torch.float32 and torch.isfinite(found.values).all()
    likeness = torch.cosine_similarity(found.values.flatten(), single.values.flatten(), dim=0)
    assert likeness > (0.97 if kind is torch.bfloat16 else 0.999)


class Broken(Exception):
    """What goes wrong in these tests."""


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, torch.OutOfMemoryError])
@pytest.mark.parametrize("at", ["first", "second", "last"])
@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients", "guided_backprop", "scorecam", "lime"])
def test_handed_back_after_an_error(method: str, at: str, error: type[BaseException], images: Tensor) -> None:
    class Failing(Named):
        calls, fails = 0, 0

        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            type(self).calls += 1  # the network itself is never run
            if self.calls == self.fails:
                raise error("on purpose")
            return x

    network = seeded(Failing).train()
    options = {**quick(method), **({"batch_size": 1} if "batch_size" in quick(method) else {})}
    attribute(network, images, method, **options)
    Failing.calls, Failing.fails = 0, {"first": 1, "second": 2, "last": Failing.calls}[at]
    before, random, numbers = snapshot(network), torch.get_rng_state(), np.random.get_state()[1].tolist()
    # The first time any error says that the network does not run on these images.
    expected = ValueError if error is Broken and at == "first" else error
    with torch.no_grad(), pytest.raises(expected, match="on purpose"):
        attribute(network, images, method, **options)
    assert snapshot(network) == before and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), random) and np.random.get_state()[1].tolist() == numbers


@pytest.mark.parametrize("around", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "saliency", "smoothgrad", "deeplift", "lrp", "occlusion"])
def test_inside_other_modes(
    method: str, around: Callable[[], AbstractContextManager[Any]], network: Named, images: Tensor
) -> None:
    before = snapshot(network)
    plain = attribute(network, images, method, 1, **quick(method))
    with around():
        found = attribute(network, images.clone(), method, 1, **quick(method))
    assert torch.equal(found.values, plain.values) and snapshot(network) == before
    again = attribute(network, found.images, method, 1, **quick(method))
    assert torch.equal(again.values, plain.values), "what was made inside can be used outside"


# Bad input


def on(method: str = "gradcam", target: Any = None, **options: Any) -> Callable[[nn.Module], Any]:
    return lambda network: attribute(network, drawn(2, 3, 16, 16), method, target, **options)


def of(image: Any) -> Callable[[nn.Module], Any]:
    return lambda network: attribute(network, image)


BAD: dict[str, tuple[Callable[[nn.Module], Any], type[Exception], str]] = {
    "no network": (lambda _: attribute("resnet18", drawn(3, 8, 8)), TypeError, r"a network is a torch\.nn\.Module"),
    "class out of range": (on(target=5), ValueError, "no class 5: the network has 5, numbered 0 to 4"),
    "class below range": (on(target=[0, -6]), ValueError, "no class -6"),
    "class without names": (on(target="dog"), ValueError, "outputs have no names, give a number from 0 to 4"),
    "class that is neither": (on(target=1.5), TypeError, r"a class is a number or a name, not 1\.5"),
    "class that is a bool": (on(target=True), TypeError, "a class is a number or a name, not True"),
    "softmax out of range": (on(target=softmax_of(7)), ValueError, "no class 7: the network has 5"),
    "against out of range": (on(target=against(1, 5)), ValueError, "no class 5: the network has 5"),
    "targets of another length": (on(target=[1]), ValueError, "1 targets for 2 images: give one for each"),
    "no targets": (on(target=[]), ValueError, "0 targets for 2 images"),
    "objective for another number": (on(target=Channel("second", [0, 1, 2])), ValueError, "is for 3 images, not 2"),
    "objective on an unknown layer": (on(target=Channel("secnd", 1)), ValueError, "did you mean 'second'"),
    "objective on an unknown channel": (on(target=Channel("second", 8)), ValueError, "no channel 8 in layer 'second'"),
    "target of another shape": (on(target=lambda output: output), ValueError, r"the target gives \[2, 5\]"),
    "target of another length": (on(target=lambda output: output[:1, 0]), ValueError, "1 numbers for 2 images"),
    "target that is no number": (on(target=lambda output: "owl"), TypeError, "the target gives 'owl'"),
    "target without gradient": (on(target=lambda output: output[:, 0].detach()), ValueError, "no gradient reaches"),
    "constant target": (on(target=lambda output: output[:, 0] * 0), ValueError, "does not depend on the image"),
    "penalty alone": (on(target=-TotalVariation()), ValueError, "has spatial axes: choose a pixel method"),
    "segment of vectors": (on(target=segment(1)), ValueError, r"puts out \[2, 5\]: a segment needs"),
    "box of vectors": (on(target=box(1, (0, 0, 4, 4))), ValueError, r"puts out \[2, 5\]: a box needs a list of dicts"),
    "embedding of another length": (on(target=similarity(torch.ones(3))), ValueError, "has 3 numbers.*puts out 5"),
    "unknown method": (on("gradcm"), ValueError, "no method 'gradcm': did you mean 'gradcam"),
    "method that is no name": (on(7), ValueError, "no method 7: choose one of 'gradcam'"),  # type: ignore[arg-type]
    "unknown option": (on("gradcam", steps=3), TypeError, "gradcam has no option 'steps': it has none"),
    "unknown option of several": (on("integrated_gradients", step=3), TypeError, "its options are baseline, steps"),
    "unknown layer": (on(layer="secnd"), ValueError, "no layer 'secnd' in Demanding: did you mean 'second'"),
    "foreign module": (on(layer=nn.ReLU()), ValueError, "this ReLU is not a module of Demanding"),
    "no layers": (on(layer=[]), ValueError, "an empty list of layers"),
    "layer without extent": (
        on(layer="head"), ValueError, r"layer 'head' puts out \[5\], which has no spatial axes: .*such as 'narrow'"
    ),
    "layer without extent, by Captum": (on("layer_conductance", layer="head"), ValueError, "no spatial axes"),
    "layer without channels": (on(layer="lone"), ValueError, "which has no channels"),
    "layer never called": (on(layer="unused"), ValueError, "'unused' of Demanding is not called in the forward pass"),
    "layer beyond the target": (
        on(target=Channel("first", 1), layer="second"), ValueError, "does not depend on layer 'second'"
    ),
    "layer of a pixel method": (on("saliency", layer="second"), ValueError, "leave layer= out"),
    "principal component of pixels": (on("saliency", eigen_smooth=True), ValueError, "not with saliency"),
    "mirrored place": (on(target=Neuron("second", 1, (0, 1)), aug_smooth=True), ValueError, "depends on the position"),
    "mirrored box": (
        lambda _: attribute(
            seeded(Segmenting), drawn(3, 8, 8), target=segment(1, torch.ones(8, 8)), aug_smooth=True
        ),
        ValueError, "aug_smooth mirrors the images, and 'segment of 1' depends on the position in them",
    ),
    "wrong number of mean values": (on(mean=[0.5, 0.5]), ValueError, "mean has 2 values"),
    "inputs that it does not take": (on(extra_inputs=(torch.ones(1),)), ValueError, "Demanding does not run on"),
    "class activation of another head": (on("cam", layer="second"), ValueError, "cam needs a network whose outputs"),
    "wrong channel count": (of(drawn(1, 2, 16, 16)), ValueError, "the image has 2 channels, the network takes 3"),
    "no such file": (of("none.jpg"), FileNotFoundError, "there is no file 'none.jpg'"),
    "no picture": (of([drawn(3, 16, 16), 5]), TypeError, "no image: 5"),
    "no pictures": (of([]), ValueError, "the list is empty"),
    "values above 1": (of(drawn(3, 16, 16) * 255), ValueError, "give floats in"),
    "image too small": (of(drawn(3, 8, 8)), ValueError, "8 × 8 px is too small .* square that works has 13 px"),
    "image too small for an objective": (
        lambda network: attribute(network, drawn(3, 8, 8), target=Channel("narrow", 1)), ValueError,
        "8 × 8 px is too small for layer 'narrow'",
    ),
    "image of another size": (
        lambda _: attribute(vit(), drawn(3, 40, 40)), ValueError, "takes images of 32 × 32 px, not 40 × 40 px: resize"
    ),
    "no class to pick": (
        lambda _: attribute(seeded(nn.Flatten, 0), drawn(3, 8, 8)), ValueError, "which has no row of classes for each"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    make, kind, message = BAD[name]
    network = seeded(Demanding).train()
    before, random = snapshot(network), torch.get_rng_state()
    with pytest.raises(kind, match=message):
        make(network)
    assert snapshot(network) == before and torch.equal(torch.get_rng_state(), random)


def test_the_nearest_class_is_shown(network: Named, images: Tensor) -> None:
    with pytest.raises(ValueError, match="several channels or classes are named 'crane': give a number, 0 or 2"):
        class_index("crane", 3, ["crane", "owl", "crane"])
    with pytest.raises(ValueError, match="no class 'towd': did you mean 'toad'"):
        attribute(network, images, target="towd")


def test_methods_that_the_layers_do_not_allow(images: Tensor) -> None:
    class Smooth(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.Sequential(nn.GELU(), nn.GroupNorm(2, 8))  # type: ignore[assignment]

    network = seeded(Smooth)
    for method, message in (
        ("guided_backprop", "ReLUs, of which Smooth has none .*: choose saliency"),
        ("guided_gradcam", "ReLUs, of which Smooth has none"),
        ("deeplift", "group_norm"),
        ("lrp", "group_norm"),
    ):
        with pytest.raises(ValueError, match=message):
            attribute(network, images, method)


# The command

NET = "nets.py:Small"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(network_file(16, 24))
    Image.fromarray((drawn(20, 28, 3).numpy() * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_picture_that_says_how_it_was_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["attribute", NET, "photo.png", "-o", "a.png", "--target", "owl"]) == 0
    out, err = capsys.readouterr()
    top, line = out.splitlines()
    assert line.startswith("a.png: gradcam at features for owl, score ") and not err
    assert re.fullmatch(r"photo.png: \w+ \d+\.\d%, \w+ \d+\.\d%, \w+ \d+\.\d%", top) and "owl" in top
    with Image.open("a.png") as opened:
        assert opened.width == 28 * 8 and opened.height > 20 * 8
    settings = read_settings("a.png")
    assert settings["network"] == NET and settings["command"].startswith("optvis attribute ")


@pytest.mark.parametrize(
    "method", ["layercam", "saliency", "integrated-gradients", "fullgrad", "occlusion", "kernel_shap"]
)
def test_the_command_takes_every_method(method: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", NET, "photo.png", "-o", "a.npy", "--method", method, "--target", "-1"]) == 0
    values = np.load("a.npy")
    assert values.shape[0] == 1 and values.ndim == 4 and np.isfinite(values).all() and (values != 0).any()
    assert f"a.npy: {method.replace('-', '_')}" in capsys.readouterr().out
    assert run(["attribute", NET, "photo.png", "-o", "a.json", "--method", method]) == 0
    about = json.loads(Path("a.json").read_text())
    assert about["method"] == method.replace("-", "_") and len(about["scores"]) == 1
    assert about["settings"]["network"] == NET


def test_the_command_takes_layers_and_a_device(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = ["--layer", "features/0", "--layer", "features/2"]
    assert run(["attribute", NET, "photo.png", "-o", "a.jpg", *layers, "--device", "cpu"]) == 0
    assert "a.jpg: gradcam at features/0, features/2 for " in capsys.readouterr().out


@pytest.fixture
def photographs(folder: Path) -> Path:
    (folder / "photos").mkdir()
    for i, name in enumerate(("b.jpg", "a.PNG")):
        Image.new("RGB", (30 + i, 20), ("red", "blue")[i]).save(folder / "photos" / name)
    (folder / "photos" / "notes.txt").write_text("no picture")
    return folder


def test_the_command_takes_pictures_folders_and_methods(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--method", "gradcam", "--method", "saliency", "--layer", "features/0"]
    assert run(["attribute", NET, "photo.png", "photos", "-o", "a.png", *methods, "--target", "owl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = ["photo.png", str(Path("photos", "a.PNG")), str(Path("photos", "b.jpg"))]
    assert [line.split(": ")[0] for line in lines[:3]] == files and len(lines) == 3 + 6
    for i, line in enumerate(lines[3:]):
        where = ("gradcam at features/0", "saliency")[i % 2]
        assert line.startswith(f"a.png: {where} of {files[i // 2]} for owl, score ")
    settings = read_settings("a.png")
    assert [one["method"] for one in settings["of"]] == ["gradcam", "saliency"] * 3
    assert settings["network"] == NET and "photos" in settings["command"]
    with Image.open("a.png") as opened:
        assert opened.width == 2 * 24 * 9 + 2, "as the network sees them, where their sizes differ"


def test_the_command_takes_size_kind_sign_and_alpha(folder: Path) -> None:
    network, how = ["attribute", "nets.py:Small", "photo.png"], ["--size", "12x10", "--kind", "heat-map"]
    assert run([*network, "-o", "a.png", *how, "--sign", "all"]) == 0
    assert Attribution.load("a.png").images.shape[-2:] == (12, 10)
    made = attribute(load_network("nets.py:Small"), "photo.png", size=(12, 10)).drawn("heat map", "all")[0]
    height, width = made.shape[1:]
    factor = 224 // max(height, width)
    with Image.open("a.png") as opened:
        found = np.asarray(opened)[: height * factor : factor, ::factor]
    assert np.array_equal(found, np.asarray(to_pil(made)))
    assert run([*network, "-o", "b.png", "--alpha", "0"]) == 0
    loaded = attribute(load_network("nets.py:Small"), "photo.png")
    with Image.open("b.png") as opened:
        assert np.array_equal(np.asarray(opened)[: 20 * 8 : 8, ::8], np.asarray(loaded.overlay(0)))
    assert run(["attribute", NET, "photo.png", "--alpha", "2"]) == 2


def test_the_most_probable_classes(network: Named, images: Tensor) -> None:
    found = attribute(network, images, target=["owl", 1]).target
    with torch.no_grad():
        rows = network(norm(images, input_range=(0, 1), grad=False)).softmax(1)
    assert found.probabilities == pytest.approx([rows[0, 2].item(), rows[1, 1].item()], abs=1e-5)
    for top, row in zip(found.top, rows, strict=True):
        order = row.argsort(descending=True)
        assert [name for name, _ in top] == [network.output_names["head"][i] for i in order]
        assert [p for _, p in top] == pytest.approx(row[order].tolist(), abs=1e-5)
    assert found.take([1]).top == found.top[1:] and found.take([1]).probabilities == found.probabilities[1:]
    assert found.titles[0] == f"owl ({rows[0, 2].item():.1%})"
    ends = nn.Sequential(network, nn.Softmax(1)).eval()
    assert attribute(
        ends, images, target=[2, 1], mean=IMAGENET_MEAN, std=IMAGENET_STD
    ).target.probabilities == pytest.approx(found.probabilities, abs=1e-5)
    for target in (softmax_of(1), Channel("head", 1)):
        assert attribute(network, images, target=target).target.probabilities is None


def test_another_size(network: Named) -> None:
    picture = Image.new("RGB", (60, 40), "red")
    assert attribute(network, picture, size=(30, 32)).images.shape[-2:] == (30, 32)
    with pytest.raises(ValueError, match="size 30 is for paths and PIL images"):
        attribute(network, drawn(3, 16, 24), size=30)


def test_the_command_writes_attribution_png_by_default(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", "demo", "photo.png"]) == 0
    assert "attribution.png: gradcam at " in capsys.readouterr().out and Path("attribution.png").exists()


BAD_COMMANDS = {
    "unknown method": (["photo.png", "--method", "gradcm"], "no method 'gradcm': did you mean 'gradcam"),
    "unknown class": (["photo.png", "--target", "dig"], "no class 'dig': did you mean 'dog'"),
    "class out of range": (["photo.png", "--target", "3"], "no class 3: the network has 3"),
    "unknown layer": (
        ["photo.png", "--layer", "feature/0"],
        "no layer 'feature/0' in Small: did you mean 'features/0'",
    ),
    "layer without extent": (["photo.png", "--layer", "head"], "which has no spatial axes: choose one with a map"),
    "layer of a pixel method": (["photo.png", "--method", "saliency", "--layer", "head"], "leave layer= out"),
    "no photograph": (["none.jpg"], "there is no file 'none.jpg'"),
    "no image": (["nets.py"], "'nets.py' is no image that Pillow can read"),
    "another ending": (["photo.png", "-o", "a.gif"], "cannot save 'a.gif': the ending must be one of"),
    "no folder": (["photo.png", "-o", "none/a.png"], "there is no folder 'none'"),
    "several as values": (["photo.png", "photo.png", "-o", "a.npy"], "the ending must be one of .png, .webp, .jpg"),
    "one of several that is missing": (["photo.png", "none.jpg"], "there is no file 'none.jpg'"),
    "a folder without pictures": (["empty"], "folder 'empty' holds no images: their endings are .png"),
    "unknown kind": (["photo.png", "--kind", "overlai"], "no kind 'overlai': did you mean 'overlay'"),
    "unknown sign": (["photo.png", "--sign", "plus"], "no sign 'plus'"),
    "unknown device": (["photo.png", "--device", "abacus"], "device 'abacus' is not available"),
    "unknown option": (["photo.png", "--steps", "3"], "--steps"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_bad_command(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, message = BAD_COMMANDS[name]
    there = sorted(path.name for path in folder.iterdir())
    assert run(["attribute", NET, *arguments]) == 2
    out, err = capfd.readouterr()
    assert message in err and "Traceback" not in err and not out, err
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == there


def test_a_command_that_fails_on_the_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> Attribution:
        raise torch.OutOfMemoryError("no room\nfor details")

    monkeypatch.setattr("optvis.cli.maps.attribute_image", fail)
    assert run(["attribute", NET, "photo.png"]) == 1
    assert capsys.readouterr().err == "optvis: OutOfMemoryError: no room\n"
    assert run(["attribute"]) == 2 and "NETWORK" in capsys.readouterr().err
    assert run(["attribute", "--help"]) == 0 and "Example" in capsys.readouterr().out

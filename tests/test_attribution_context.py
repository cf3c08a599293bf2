"""The context of an attribution: passes, coupled and random networks, the caller's modes, numbers that are none."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Tiny, seeded, snapshot
from test_attribute import Named, drawn, quick
from torch import Tensor, nn
from torchvision.models import resnet18, squeezenet1_1

from optvis import Channel, metrics
from optvis.attribution import METHODS, attribute
from optvis.attribution.alone import joined
from optvis.attribution.context import Context
from optvis.attribution.targets import of_classes
from optvis.network import Forward, NetworkInput

PLACES = {"layer": "second"}


def options(method: str) -> dict[str, Any]:
    return {**quick(method), **(PLACES if METHODS[method].layer else {})}


# Passes


@contextmanager
def counted(kind: type[nn.Module]) -> Iterator[list[int]]:
    """The sizes of the batches on which networks of a class are run, their shadows included."""
    sizes: list[int] = []
    forward = kind.forward

    def noting(self: nn.Module, x: Tensor) -> Any:
        sizes.append(len(x))
        return forward(self, x)

    kind.forward = noting
    try:
        yield sizes
    finally:
        kind.forward = forward


@pytest.mark.parametrize("make", [resnet18, squeezenet1_1], ids=["resnet18", "squeezenet"])
@pytest.mark.parametrize("target", [None, 3, lambda output: output[:, 1]], ids=["highest", "class", "function"])
@pytest.mark.parametrize("layer", [None, "last"])
def test_grad_cam_of_an_image_is_one_pass(make: Callable[..., nn.Module], target: Any, layer: str | None) -> None:
    network = seeded(make, num_classes=5)
    last = "layer4" if make is resnet18 else "features/12"
    with counted(type(network)) as sizes:
        found = attribute(network, drawn(1, 3, 64, 64), target=target, layer=last if layer else None)
    assert sizes == [1] and found.layer


def test_passes_of_several_images() -> None:
    """Without a layer it is found on the first image; with one the class is found in the pass that explains it."""
    network = seeded(resnet18, num_classes=5)
    with counted(type(network)) as sizes:
        attribute(network, drawn(3, 3, 64, 64))
        attribute(network, drawn(3, 3, 64, 64), layer=["layer3", "layer4"])
        attribute(network, drawn(3, 3, 64, 64), "saliency")
    assert sizes == [3, 1, 3] + [3] + [3, 3]


def test_a_context_is_not_changed_by_methods() -> None:
    network, images = seeded(Named), drawn(2, 3, 16, 24)
    forward = Forward.of(network, NetworkInput.of(network))
    context = Context.of(forward, images, of_classes([1, 2], ["dog", "owl"]))
    with pytest.raises(ValueError, match="no pass has been made yet"):
        context.scores  # noqa: B018
    with pytest.raises(FrozenInstanceError):
        context.images = images  # type: ignore[misc]
    known = context.with_evidence()
    assert context.evidence is None and known.evidence is not None and known.inputs is context.inputs
    assert known.take([1]).evidence is None and known.take([1]).target.labels == ("owl",)


@pytest.mark.parametrize("name", METHODS)
def test_options_are_the_arguments_of_the_function(name: str) -> None:
    method = METHODS[name]
    parameters = list(inspect.signature(method.run).parameters.values())
    assert "__signature__" not in vars(method.run)
    own = 2 if method.layer else 1
    assert [parameter.name for parameter in parameters[:own]] == ["context", "layer"][:own]
    assert method.options() == {p.name: p.default for p in parameters[own:]}
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[own:])
    assert "20" in method.summary or "As in" in method.summary or name == "random_cam", "with its source"


# Networks that couple the images of a batch, and networks that draw random numbers


class Coupled(Tiny):
    """Its batch norm has no statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.second(self.relu(self.norm(self.first(x))))).mean((2, 3)))


BATCHES = ("deeplift", "deeplift_shap", "layer_conductance", "internal_influence")
"""These need several images in one pass."""


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cam"])
@pytest.mark.parametrize("target", [None, [1, 3], Channel("second", 2)], ids=["highest", "classes", "objective"])
def test_an_image_of_a_coupled_batch_has_the_map_that_it_has_alone(name: str, target: Any) -> None:
    network, images = seeded(Coupled), drawn(2, 3, 16, 24)
    if name in BATCHES:
        return
    whole = attribute(network, images, name, target, **options(name))
    for i in range(2):
        own = target[i] if isinstance(target, list) else target
        alone = attribute(network, images[i], name, own, **options(name))
        assert torch.equal(whole.values[i], alone.values[0]) and torch.equal(whole.scores[i], alone.scores[0])


@pytest.mark.parametrize("name", BATCHES)
def test_methods_that_need_a_batch_refuse_a_coupled_network(name: str) -> None:
    with pytest.raises(ValueError, match=r"Coupled couples the images of a batch .* needs batches: choose"):
        attribute(seeded(Coupled), drawn(2, 3, 16, 24), name, 1, **options(name))


def test_points_of_a_path_are_not_coupled_either() -> None:
    network, images = seeded(Coupled), drawn(1, 3, 16, 24)
    many = attribute(network, images, "integrated_gradients", 1, steps=8, batch_size=8)
    single = attribute(network, images, "integrated_gradients", 1, steps=8, batch_size=1)
    assert torch.allclose(many.values, single.values, atol=1e-6)
    total, rise = many.values.sum(), many.scores - attribute(network, images * 0, "saliency", 1).scores
    assert abs(total - rise) < 0.2 * many.values.abs().sum()
    assert torch.equal(metrics.deletion(network, many, 4).scores[:, 0], metrics.deletion(network, many, 2).scores[:, 0])


def test_outputs_of_images_are_joined() -> None:
    parts = [{"out": torch.ones(1, 2) * i, "more": [i], "pair": (torch.zeros(1), None)} for i in range(3)]
    found = joined(parts)
    assert found["out"].tolist() == [[0, 0], [1, 1], [2, 2]] and found["more"] == [0, 1, 2]
    assert found["pair"][0].shape == (3,) and found["pair"][1] is None
    with pytest.raises(ValueError, match=r"its output \[2, 4\] for one image has no batch axis"):
        joined([torch.ones(2, 4)] * 2)


class Random(Named):
    def forward(self, x: Tensor) -> Tensor:
        assert torch.equal(torch.get_rng_state(), self.state), "the global state is the same at every instant"
        return super().forward(nn.functional.dropout(x, 0.2, training=True) + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize(
    "name", ["gradcam", "saliency", "scorecam", "ablationcam", "integrated_gradients", "occlusion"]
)
def test_random_numbers_of_a_network_leave_the_global_state_alone(name: str) -> None:
    network, images = seeded(Random), drawn(2, 3, 16, 24)
    network.state = torch.get_rng_state()
    before, numbers = snapshot(network), np.random.get_state()[1].tolist()
    first, second = (attribute(network, images, name, [1, 2], **options(name)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), network.state) and np.random.get_state()[1].tolist() == numbers
    assert torch.equal(first.values, second.values) and snapshot(network) == before


# The caller's modes


@contextmanager
def default_type() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("around", [default_type, default_device, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_the_caller_s_modes_change_nothing(around: Callable[[], Any]) -> None:
    network, images = seeded(Named), drawn(2, 3, 16, 24)
    for name in METHODS:
        layer = {"layer": "relu"} if METHODS[name].layer else {}
        plain = attribute(network, images, name, [1, 3], **layer, **quick(name))
        with around():
            found = attribute(network, images, name, [1, 3], **layer, **quick(name))
        torch.testing.assert_close(found.values, plain.values, rtol=1e-5, atol=1e-9)
    for metric in metrics.METRICS.values():
        plain = metric(network, found)
        with around():
            other = metric(network, found)
        torch.testing.assert_close(getattr(other, "area", other), getattr(plain, "area", plain), rtol=1e-5, atol=1e-9)


# Numbers that are none


NOT_FINITE = [
    ("smoothgrad", "noise"),
    ("smoothgrad_sq", "noise"),
    ("vargrad", "noise"),
    ("gradient_shap", "noise"),
    ("lrp", "epsilon"),
    ("lime", "alpha"),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "much", True])
@pytest.mark.parametrize(("name", "option"), NOT_FINITE)
def test_options_that_are_no_numbers(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} .*: give a .*number"):
        attribute(seeded(Named), drawn(1, 3, 16, 24), name, 1, **{option: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_of_metrics_and_pictures(value: float) -> None:
    network = seeded(Named)
    found = attribute(network, drawn(1, 3, 16, 24), target=1)
    for name, work in {
        "noise": lambda: metrics.road(network, found, noise=value),
        "share": lambda: metrics.infidelity(network, found, share=value),
        "radius": lambda: metrics.max_sensitivity(found, lambda images: images, radius=value),
        "tolerance": lambda: metrics.pointing_game(found, [(0, 0, 4, 4)], tolerance=value),
        "outliers": lambda: found.heatmap(outliers=value),
        "alpha": lambda: found.overlay(alpha=value),
        "mean": lambda: attribute(network, drawn(1, 3, 16, 24), mean=value),
        "std": lambda: attribute(network, drawn(1, 3, 16, 24), std=value),
    }.items():
        with pytest.raises(ValueError, match=name):
            work()
    with pytest.raises(ValueError, match="the baseline has values from nan"):
        attribute(network, drawn(1, 3, 16, 24), "occlusion", 1, baseline=float("nan"))


@pytest.mark.parametrize("name", ["random_cam", "smoothgrad", "kernel_shap"])
@pytest.mark.parametrize("seed", [0.5, "1", None, True])
def test_seeds(name: str, seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed .*: give a whole number"):
        attribute(seeded(Named), drawn(1, 3, 16, 24), name, 1, seed=seed)


def test_a_layer_with_a_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="'second:1' names channel 1, but a layer alone is needed: write 'second'"):
        attribute(seeded(Named), drawn(1, 3, 16, 24), layer="second:1")


def test_the_default_layer_of_internal_influence_is_one_where_it_differs_between_positions() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(64, 3)).eval()
    images = torch.rand(2, 3, 12, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = attribute(network, images, "internal_influence", 1, mean=0, std=1)
    assert found.layer == ("2",) and attribute(network, images, target=1, mean=0, std=1).layer == ("3",)
    total = found.values.sum(1).flatten(1)
    assert (total.amax(1) > total.amin(1) + 1e-5).all()
    linear = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.warns(UserWarning, match="the same value everywhere"):
        assert attribute(linear, images, "internal_influence", 1, mean=0, std=1).layer == ("0",)

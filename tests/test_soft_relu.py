"""Gradients of ReLUs: past the edge in part, through shut ones where nothing else passes, and otherwise as ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from small_networks import Tiny, seeded
from torch import Tensor, nn

from optvis import OptVis
from optvis.network import soft_relu


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def dropped(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x


def dropped_method(x: Tensor) -> Tensor:
    x.relu_()
    return x


RELUS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "nn.ReLU": (nn.ReLU(), float("inf")),
    "nn.ReLU in place": (nn.ReLU(inplace=True), float("inf")),
    "F.relu": (F.relu, float("inf")),
    "F.relu in place": (lambda x: F.relu(x, True), float("inf")),
    "F.relu dropped": (dropped, float("inf")),
    "F.relu_": (F.relu_, float("inf")),
    "torch.relu": (torch.relu, float("inf")),
    "torch.relu_": (torch.relu_, float("inf")),
    "Tensor.relu": (Tensor.relu, float("inf")),
    "Tensor.relu_": (Tensor.relu_, float("inf")),
    "Tensor.relu_ dropped": (dropped_method, float("inf")),
    "nn.ReLU6": (nn.ReLU6(), 6.0),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), 6.0),
    "F.relu6": (F.relu6, 6.0),
    "F.hardtanh": (lambda x: F.hardtanh(x, 0.0, 2.0), 2.0),
    "F.hardtanh named": (lambda x: F.hardtanh(x, min_val=0, max_val=2), 2.0),
    "F.hardtanh to 1": (lambda x: F.hardtanh(x, 0.0, 1.0), 1.0),
    "F.hardtanh in place": (lambda x: F.hardtanh(x, 0.0, 2.0, True), 2.0),
}


@pytest.mark.parametrize("name", RELUS)
def test_shut_relus_let_gradients_through_where_no_open_one_does(name: str) -> None:
    relu, ceiling = RELUS[name]
    start = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [-1.0, 0.5, 0.9, 9.0], [-1.0, -2.0, 7.0, -3.0]])
    slope = torch.tensor([[1.0, -1.0, 2.0, -2.0], [1.0, -1.0, 2.0, -2.0], [1.0, -1.0, 0.0, -2.0]])
    leaf = start.clone().requires_grad_()
    with soft_relu(redirect=True):
        x = leaf * 1  # in place on a leaf is forbidden, here as without
        out = relu(x)
    assert torch.equal(out, start.clamp(0, ceiling)), "the forward pass is unchanged"
    assert ("in place" in name or "_" in name or "dropped" in name) == torch.equal(x, out)
    (out * slope).sum().backward()
    # Picture 0 is wholly shut, and 2 is open where nothing depends on it (or above the ceiling): what would raise a
    # unit passes, what would push it down does not. Picture 1 has open units: the plain gradient.
    is_open = (start > 0) & (start < ceiling)
    expected = slope * torch.stack([slope[0] < 0, is_open[1], (slope[2] < 0) | is_open[2]])
    assert torch.equal(leaf.grad, expected)


def test_a_hardtanh_to_one_leaves_its_input_alone() -> None:
    x = torch.tensor([[-1.0, 0.5, 3.0]], requires_grad=True)
    with soft_relu(redirect=True):
        y = x * 1
        out = y + nn.Hardtanh(0.0, 1.0)(y)
    assert torch.equal(out, torch.tensor([[-1.0, 1.0, 4.0]]))


@pytest.mark.parametrize(
    "function",
    [nn.Hardtanh(), lambda x: F.hardtanh(x, -2, 2), nn.LeakyReLU(), nn.GELU(), torch.sigmoid],
    ids=["Hardtanh", "F.hardtanh", "LeakyReLU", "GELU", "sigmoid"],
)
def test_other_activations_are_left_alone(function: Callable[[Tensor], Tensor]) -> None:
    start = torch.linspace(-3, 3, 8).view(2, 4)
    plain, within = start.clone().requires_grad_(), start.clone().requires_grad_()
    function(plain).sum().backward()
    with soft_relu(redirect=True):
        function(within).sum().backward()
    assert torch.equal(plain.grad, within.grad)


def test_a_silent_network_can_climb_and_an_active_one_climbs_as_ever(image: Tensor) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU())
    gradients = {}
    for name, bias in {"silent": -100.0, "active": 100.0}.items():
        nn.init.constant_(network[2].bias, bias)
        for opened in (False, True):
            x = image.clone().requires_grad_()
            with soft_relu(redirect=True) if opened else nullcontext():
                (-network(x).mean()).backward()
            gradients[name, opened] = x.grad
    assert not gradients["silent", False].any()
    assert gradients["silent", True].flatten(1).any(1).all()
    assert torch.equal(gradients["active", False], gradients["active", True])


def test_nothing_of_torch_is_patched() -> None:
    before = (F.relu, torch.relu, Tensor.relu_, nn.ReLU.forward)
    with soft_relu(redirect=True):
        assert (F.relu, torch.relu, Tensor.relu_, nn.ReLU.forward) == before
    x = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    F.relu(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 2))


def test_part_of_a_tensor_is_changed_in_place() -> None:
    leaf = torch.tensor([[-1.0, 2.0, -3.0, 4.0]], requires_grad=True)
    with soft_relu(0.1):
        x = leaf * 1
        x[:, 2:].relu_()
        x.sum().backward()
    assert x.tolist() == [[-1, 2, 0, 4]] and leaf.grad is not None and leaf.grad.tolist() == [[1, 1, 0, 1]]


# Soft edges


def gradient(relu: Callable[[Tensor], Tensor], start: Tensor, softness: float, redirect: bool = False) -> Tensor:
    """Of the sum of what comes out, which is checked to be what comes out of it without."""
    leaf = start.clone().requires_grad_()
    with soft_relu(softness, redirect):
        out = relu(leaf * 1)
    assert torch.equal(out, relu(start.clone()))
    out.sum().backward()
    assert leaf.grad is not None and leaf.grad.dtype == start.dtype and leaf.grad.isfinite().all()
    return leaf.grad


@pytest.mark.parametrize("name", RELUS)
def test_the_gradient_rises_in_a_band_about_the_edge_and_passes_a_ceiling(name: str) -> None:
    relu, _ = RELUS[name]
    start = 3 * torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    band = 0.5 * start.square().mean(1, keepdim=True).sqrt()
    expected = (0.5 + start / (2 * band)).clamp(0, 1)
    assert torch.allclose(gradient(relu, start, 0.5), expected, atol=1e-5)


def test_a_softness_of_0_is_the_exact_gradient(image: Tensor) -> None:
    start = image - 0.5
    assert torch.equal(gradient(F.relu, start, 0.0), (start > 0).float())


@pytest.mark.parametrize("shape", [(3, 7), (3, 5, 6), (3, 4, 20, 24), (3, 2, 4, 6, 6)])
def test_a_picture_of_a_batch_has_the_gradient_that_it_has_alone(shape: tuple[int, ...]) -> None:
    scale = torch.tensor([1.0, 10.0, 0.1]).view(3, *[1] * (len(shape) - 1))
    start = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    together = gradient(F.relu, start, 0.6)
    for i in range(3):
        assert torch.allclose(gradient(F.relu, start[i : i + 1], 0.6)[0], together[i], atol=1e-6)
    assert torch.allclose(gradient(F.relu, 7 * start, 0.6), together, atol=1e-5), "whatever the scale"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 1e-7, 3.0, -3.0, 6e4])
def test_an_even_map_has_a_gradient(dtype: torch.dtype, value: float) -> None:
    found = gradient(F.relu, torch.full((2, 3, 4, 4), value, dtype=dtype), 0.6)
    assert ((found >= 0) & (found <= 1)).all()
    if abs(value) > 1:
        assert (found == float(value > 0)).all()


def test_soft_edges_and_redirected_gradients_go_together() -> None:
    start = torch.tensor([[-9.0, -9.0, -9.0, -9.5], [-0.1, 4.0, -4.0, 2.0]])
    leaf = start.clone().requires_grad_()
    with soft_relu(0.6, redirect=True):
        (F.relu(leaf) * torch.tensor([-1.0, 1.0, -1.0, -1.0])).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0].tolist() == [-1, 0, -1, -1], "wholly shut: what raises a unit passes"
    assert -1 < leaf.grad[1, 0] < 0 and leaf.grad[1, 1:].tolist() == [1, 0, -1]


def test_the_loop_uses_them_but_not_without_transforms() -> None:
    network = seeded(Tiny)
    made = {
        (softness, transform): OptVis.from_layer(network, "second", 1, relu_softness=softness, channel_noise=0).vis(
            stages=[(24, 20)], transform=transform
        )
        for softness in (0.0, 0.6)
        for transform in (True, False)
    }
    assert not torch.equal(made[0.0, True].images, made[0.6, True].images)
    assert torch.equal(made[0.0, False].images, made[0.6, False].images), "exact gradients climb highest"
    assert [made[0.6, transform].settings["relu_softness"] for transform in (True, False)] == [0.6, 0.0]


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_a_softness_that_is_none_is_told(value: float) -> None:
    with pytest.raises(ValueError, match=r"relu_softness .*: give a (finite )?number of at least 0"):
        OptVis.from_layer(seeded(Tiny), "second", relu_softness=value)

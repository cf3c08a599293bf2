"""Where an image meets a network: normalisation, further inputs, types, and the contexts of the caller."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import Kept, Small, Tiny, random_states, seeded, snapshot
from torch import Tensor

from optvis import ImageParam, OptVis
from optvis.network import Forward, NetworkInput, Probe, isolated, to_the_end

IMAGES = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
LAYERS = ["features/0", "features/3", "classifier"]


@pytest.fixture
def network() -> Small:
    return seeded(Small).train()


def forward_of(network: Any, **options: Any) -> Forward:
    return Forward.of(network, NetworkInput.of(network, **options))


def test_images_are_normalised_and_back() -> None:
    forward = forward_of(seeded(Small), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    inputs = forward.normalise(IMAGES)
    assert torch.allclose(
        inputs[0, :, 3, 4], (IMAGES[0, :, 3, 4] - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.25, 1])
    )
    assert inputs.dtype == torch.float32 and torch.allclose(forward.denormalise(inputs.double()), IMAGES, atol=1e-6)


def test_a_pass_gives_layers_in_the_order_of_their_calls_and_the_output(network: Small) -> None:
    before = snapshot(network)
    passed = forward_of(network).run(IMAGES, ["classifier", "features/0"], to_the_end(LAYERS))
    assert list(passed.seen) == ["features/0", "classifier"] and passed.calls == {"features/0": 1, "classifier": 1}
    assert torch.equal(passed.output, passed.seen["classifier"]) and passed.inputs is IMAGES
    with torch.no_grad():
        expected = seeded(Small)(IMAGES)
    assert torch.allclose(passed.output, expected, atol=1e-6)
    assert snapshot(network) == before


def test_a_pass_stops_after_the_last_layer(network: Small) -> None:
    passed = forward_of(network).run(IMAGES, ["features/0"], {"features/0": 1})
    assert passed.output is None and list(passed.seen) == ["features/0"]


def test_activations_are_channels_first_in_float32(network: Small) -> None:
    given = NetworkInput.of(network.double())
    forward = Forward.of(network, given)
    shapes = Probe(forward.network, LAYERS, given).at((16, 20)).layers
    found = forward.activations(IMAGES, shapes)
    assert {layer: tuple(a.shape) for layer, a in found.items()} == {
        layer: (2, *shapes[layer].shape) for layer in LAYERS
    }
    assert all(activation.dtype == torch.float32 for activation in found.values())
    assert forward.activations(IMAGES, {}) == {}, "no layer needs no pass"


class TwoInputs(Tiny):
    """Adds a style for each image; notes what it got."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Tensor] = Kept()

    def forward(self, x: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
        self.got.append(style)
        x = self.relu(self.first(x)) + strength * style[..., None, None]
        return self.head(self.second(x).mean((2, 3)))


@pytest.mark.parametrize("by_name", [True, False])
def test_further_inputs_go_with_their_images(by_name: bool) -> None:
    network, styles = seeded(TwoInputs), torch.arange(32.0).view(4, 8)
    extra: Any = {"style": styles} if by_name else (styles,)
    forward = Forward.of(network, NetworkInput.of(network), extra)
    forward.run(torch.rand(4, 3, 8, 8), ["second"])
    forward.take([3, 1], 4).run(torch.rand(2, 3, 8, 8), ["second"])
    assert torch.equal(network.got[0], styles) and torch.equal(network.got[1], styles[[3, 1]])
    one = Forward.of(network, NetworkInput.of(network), {"style": styles[:1]})
    one.take([2], 4).run(torch.rand(3, 3, 8, 8), ["second"])
    assert torch.equal(network.got[2], styles[:1].expand(3, 8)), "one for all is repeated"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_have_the_type_of_the_network(dtype: torch.dtype) -> None:
    network = seeded(TwoInputs).to(dtype)
    forward = Forward.of(network, NetworkInput.of(network), {"style": torch.ones(1, 8, dtype=dtype)})
    assert forward.run(IMAGES, ["second"]).seen["second"].dtype == dtype == network.got[0].dtype


class Dropping(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.second(self.relu(self.first(x))), 0.5).mean((2, 3)))


def test_random_numbers_begin_anew_with_a_seed() -> None:
    forward, before = forward_of(seeded(Dropping)), random_states()

    def outputs(forward: Forward) -> list[Tensor]:
        return [forward.run(IMAGES, [""], to_the_end([""])).output for _ in range(2)]

    first, again, other = (outputs(forward.seeded(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again)) and not any(map(torch.equal, first, other))
    assert not torch.equal(*first), "two passes draw different numbers"
    assert random_states() == before


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_callers_contexts_do_not_reach_in_and_are_as_before(name: str) -> None:
    def modes() -> tuple[Any, ...]:
        return (
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
            torch.get_default_device(), torch._C._len_torch_function_stack(),
        )  # fmt: skip

    def draw() -> Any:
        optvis = OptVis.from_layer(network, "second", range(3))
        until = lambda picture, scores: len(scores) > picture  # noqa: E731
        return optvis.vis(stages=[(12, 20), (16, 3)], batch=2, until=until)

    network = seeded(Tiny)
    plain = draw()
    with CONTEXTS[name]():
        before = modes()
        with isolated(torch.device("cpu")):
            assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu") and torch.empty(1).device.type == "cpu"
        assert modes() == before
        inside = draw()
        assert modes() == before
    assert not inside.images.is_inference() and not next(inside.param.parameters()).is_inference()
    assert torch.equal(inside.images, plain.images) and torch.equal(inside.scores, plain.scores)
    assert torch.equal(inside.history.nan_to_num(9), plain.history.nan_to_num(9))


def test_the_default_type_changes_nothing() -> None:
    def draw(network: Tiny) -> Any:
        return OptVis.from_layer(network, "second", 1).vis(ImageParam(16), [(16, 3)])

    network = seeded(Tiny)
    plain = draw(network)
    torch.set_default_dtype(torch.float64)
    try:
        other = draw(network)
    finally:
        torch.set_default_dtype(torch.float32)
    assert other.images.dtype == torch.float32 and torch.allclose(plain.images, other.images, atol=1e-5)

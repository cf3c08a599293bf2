"""A prepared network serves many calls, for as long as the user's network is still the same, and one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import CountingSmall, Small, seeded
from torch import nn

from optvis import ImageParam, OptVis, TotalVariation, Visualisation
from optvis.prepared import Prepared, state_of

STAGES = [(16, 3), (24, 2)]
PASSES = 5 + 1
"""The steps, and a look at the finished picture."""


@pytest.fixture
def network() -> Any:
    return seeded(CountingSmall)


def draw(optvis: OptVis, **options: Any) -> Visualisation:
    return optvis.vis(stages=STAGES, verbose=False, **options)


def passes(network: Any, call: Callable[[], Any]) -> int:
    network.seen.clear()
    call()
    return len(network.seen)


def test_a_second_call_makes_no_second_probe(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", [0, 2])
    assert passes(network, lambda: draw(optvis)) > PASSES
    assert passes(network, lambda: draw(optvis)) == PASSES
    assert passes(network, lambda: draw(optvis, seed=3, lr=0.2, transform=False)) == PASSES
    assert passes(network, lambda: optvis.vis(ImageParam(24, 2), STAGES)) == PASSES
    assert passes(network, lambda: list(optvis.stream(stages=STAGES))) == PASSES
    assert passes(network, lambda: list(optvis.stream(stages=STAGES))) == PASSES, "a stream hands it on, too"


@pytest.mark.parametrize("layer", ["features/2", "features/3", "features", "classifier"])
@pytest.mark.parametrize(("pictures", "expected"), [(1, [1, 1, 1, 1, 1]), (2, [1, 1, 2, 1, 1, 2])])
def test_what_is_run_before_a_first_step(network: Any, layer: str, pictures: int, expected: list[int]) -> None:
    """A pass at each of two stages' sizes, one that shows if several images can be in a batch, two for the copy."""
    seen: list[int] = []
    OptVis.from_layer(network, layer, 0).vis(
        ImageParam(64, pictures), callback=lambda *_: bool(seen.extend(network.seen))
    )
    assert seen == expected


def test_other_sizes_and_precisions_are_looked_at_once(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", 0)
    draw(optvis)
    for options in ({"stages": [(40, 5)]}, {"stages": [(24, 5)], "precision": "bf16"}):
        first = passes(network, lambda o=options: optvis.vis(**o))
        assert first > PASSES == passes(network, lambda o=options: optvis.vis(**o))


def test_pictures_are_the_same_as_on_a_network_that_is_made_ready_anew(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", [0, 2])
    first, again, anew = draw(optvis), draw(optvis), draw(OptVis.from_layer(network, "features/3", [0, 2]))
    for other in (again, anew):
        assert torch.equal(first.images, other.images) and torch.equal(first.history, other.history)


def in_place(network: Any) -> None:
    with torch.no_grad():
        network.features[2].weight.mul_(-1)


def through_data(network: Any) -> None:
    network.features[2].weight.data.mul_(-1)


def through_numpy(network: Any) -> None:
    network.features[2].weight.detach().numpy()[:] += 0.1


def other_data(network: Any) -> None:
    network.features[2].weight.data = network.features[2].weight.data * -1


def loaded(network: Any) -> None:
    network.load_state_dict(seeded(CountingSmall, seed=5).state_dict())


def another_parameter(network: Any) -> None:
    network.features[2].weight = nn.Parameter(-network.features[2].weight.detach())


def another_module(network: Any) -> None:
    network.features[2] = seeded(nn.Conv2d, 4, 5, 3, padding=1, seed=5)


def another_activation(network: Any) -> None:
    network.features[1] = nn.Softplus()


def a_hook(network: Any) -> None:
    network.features[1].register_forward_hook(lambda module, inputs, output: -output)


def a_pre_hook(network: Any) -> None:
    network.features[2].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0] - 1,))


def statistics(network: Any) -> None:
    network.features[3].running_mean.add_(0.5)
    network.features[3].running_var.mul_(4)


def one_weight(network: Any) -> None:
    network.features[2].weight.data[0, 0, 1, 1] += 0.5


def a_step_of_training(network: Any) -> None:
    optimiser = torch.optim.SGD(network.parameters(), 0.5)
    network.train()(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimiser.step()
    network.eval()


def swapped_weights(network: Any) -> None:
    """Of the same norm: two values change places."""
    weight = network.features[2].weight.data
    weight[0] = weight[0].flip(-1).clone()


CHANGES = [in_place, through_data, through_numpy, other_data, loaded, another_parameter, another_module]
CHANGES += [another_activation, a_hook, a_pre_hook, statistics, one_weight, a_step_of_training, swapped_weights]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_the_network_is_noticed(network: Any, change: Callable[[Any], None]) -> None:
    optvis = OptVis.from_layer(network, "features/3", 0)
    before = draw(optvis)
    change(network)
    expected = draw(OptVis.from_layer(network, "features/3", 0))
    found = draw(optvis)
    assert torch.equal(found.images, expected.images) and torch.equal(found.scores, expected.scores)
    assert not torch.equal(found.images, before.images)
    assert passes(network, lambda: draw(optvis)) == PASSES


def test_flags_and_gradients_are_no_change(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", 0)
    draw(optvis)
    network.train().requires_grad_(False)
    network.features[0].weight.requires_grad_(True).grad = torch.ones_like(network.features[0].weight)
    assert passes(network, lambda: draw(optvis)) == PASSES


def test_a_busy_one_is_not_shared(network: Any) -> None:
    """A call within another, of a callback or of another thread, prepares its own; both are kept for later calls."""
    optvis = OptVis.from_layer(network, "features/3", 0)
    alone, inner = draw(optvis), []

    def another(step: int, _: Visualisation) -> None:
        if step == 2:
            inner.append(draw(optvis))
            thread = threading.Thread(target=lambda: inner.append(draw(optvis)))
            thread.start()
            thread.join()

    outer = draw(optvis, callback=another)
    assert all(torch.equal(other.images, alone.images) for other in (outer, *inner))
    assert len(optvis._prepared) == 2
    assert optvis._prepared[0].shadow is not optvis._prepared[1].shadow
    assert passes(network, lambda: draw(optvis)) == PASSES


def test_after_an_error_the_next_call_works(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", 0)
    alone = draw(optvis)

    def fail(step: int, _: Visualisation) -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        draw(optvis, callback=fail)
    assert torch.equal(draw(optvis).images, alone.images)


def test_no_layer_needs_no_probe(network: Any) -> None:
    optvis = OptVis(network, -1.0 * TotalVariation())
    assert passes(network, lambda: draw(optvis)) == 0


def an_option(network: Any) -> None:
    network.features[2].padding = (0, 0)


def a_forward(network: Any) -> None:
    network.features[1].forward = torch.tanh


def another_hook(network: Any) -> None:
    network.handle.remove()
    a_hook(network)


@pytest.mark.parametrize("change", [an_option, a_forward, another_hook, *CHANGES], ids=lambda change: change.__name__)
def test_the_state_tells_networks_apart(change: Callable[[Any], None]) -> None:
    network: Any = seeded(CountingSmall)
    network.handle = network.features[1].register_forward_hook(lambda *_: None)
    before = state_of(network)
    assert state_of(network) == before != state_of(seeded(CountingSmall))
    change(network)
    assert state_of(network) != before


@pytest.mark.parametrize("size", [1, 100, 2**14, 2**14 + 1, 2**16 + 7])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.cfloat]
)
def test_one_value_and_two_that_change_places_are_told(size: int, dtype: torch.dtype) -> None:
    network = nn.Module()
    network.register_buffer("values", torch.arange(size).remainder(97).to(dtype))
    before = state_of(network)
    network.values[size // 2] += 1
    assert state_of(network) != before
    network.values[size // 2] -= 1
    assert state_of(network) == before
    if size > 1:
        network.values[:2] = network.values[:2].flip(0)
        network.values[-2:] = network.values[-2:].flip(0)
        assert state_of(network) != before


def test_a_scripted_part_is_refused_inside_and_drawn_as_a_whole() -> None:
    network: Any = seeded(Small)
    network.features = torch.jit.script(network.features)
    with pytest.raises(ValueError, match=r"layer 'features/2' is within 'features', which TorchScript compiled"):
        OptVis.from_layer(network, "features/2", 0).vis(stages=STAGES)
    whole = OptVis.from_layer(network, "features", 0).vis(stages=STAGES, transform=False)
    plain = OptVis.from_layer(seeded(Small), "features", 0).vis(stages=STAGES, transform=False)
    assert torch.allclose(whole.images, plain.images, atol=1e-4)
    assert OptVis.from_layer(network, "classifier", 0).vis(stages=STAGES).scores.isfinite().all()
    with pytest.raises(ValueError, match=r"layer 'features/0' is within 'the network', which TorchScript compiled"):
        OptVis.from_layer(torch.jit.script(seeded(Small)), "features/0", 0).vis(stages=STAGES)


def test_it_holds_what_it_was_made_from(network: Any) -> None:
    optvis = OptVis.from_layer(network, "features/3", 0)
    prepared = Prepared(network, ["features/3"], optvis.input, (), None)
    assert prepared.holds(network) and not prepared.holds(seeded(CountingSmall))
    in_place(network)
    assert not prepared.holds(network)

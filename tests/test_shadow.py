"""The shadow of a network: it computes the same to the bit, costs no memory, and nothing in it leads back."""

from __future__ import annotations

import gc
import types
import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import timm
import torch
from kinds_of_networks import KINDS
from small_networks import Small, Tiny, hooks_of, seeded, snapshot
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode  # of exported graphs: what has been seen in tracing, weakly referred to

from optvis import OptVis, get_layer_names
from optvis.network import Tap, find_layer, isolated, shadow, unwrap
from optvis.network.shadow import scripted_parts


@pytest.fixture(scope="module", params=KINDS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old ways to write weight norm, and of scripting
        return KINDS[request.param]()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tensors(output: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def test_it_computes_the_same_to_the_bit_and_the_network_stays(network: nn.Module, image: Tensor) -> None:
    before = snapshot(unwrap(network))
    made = shadow(network)
    shown = image.clone().requires_grad_()
    with isolated(torch.device("cpu")):
        tensors(made(shown))[0].float().square().sum().backward()
        tensors(made(image))
    assert shown.grad is not None and shown.grad.any(), "gradients reach the image"
    assert snapshot(unwrap(network)) == before, "forward and backward passes through the shadow change nothing"
    assert not any(p.requires_grad for p in made.parameters()) and not any(m.training for m in made.modules())
    own, other = snapshot(made), shadow(network)
    with torch.no_grad():
        found, expected = tensors(other(image)), tensors(network(image))
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert own == snapshot(made), "and the other way round"


def test_weights_take_no_memory(network: nn.Module) -> None:
    made = shadow(network)
    inner = dict(unwrap(network).named_parameters(remove_duplicate=False))
    named = {name.replace("_orig_mod.", ""): tensor for name, tensor in inner.items()}
    own = {n.replace("scripted.", ""): p for n, p in made.named_parameters(remove_duplicate=False)}
    assert own.keys() == named.keys()
    for name, tensor in own.items():
        if not _within(name, scripted_parts(made)) and not named[name].is_inference():
            assert tensor.data_ptr() == named[name].data_ptr(), name
    assert [own[n] is own[m] for n in own for m in own] == [named[n] is named[m] for n in own for m in own], "tied"


def _within(name: str, parts: list[str]) -> bool:
    return any(not part or name.startswith(part.replace("/", ".") + ".") for part in parts)


def leads_back(made: nn.Module, network: nn.Module) -> list[str]:
    """Modules and parameters of the network that can be reached from its shadow, by any reference."""
    wanted = {id(m): type(m).__name__ for m in network.modules()} | {id(p): n for n, p in network.named_parameters()}
    opaque = (type, types.ModuleType, types.FrameType, types.CodeType, str, bytes, int, float, FakeTensorMode)
    seen, waiting = {id(made)}, [made]
    found = []
    while waiting:
        value = waiting.pop()
        parts = gc.get_referents(value)
        if isinstance(value, types.FunctionType):
            parts = [value.__closure__, value.__defaults__, value.__kwdefaults__, value.__dict__]  # not its module
        if isinstance(value, weakref.ref):
            parts = [value()]
        for part in parts:
            if id(part) in wanted:
                found.append(wanted[id(part)])
            elif id(part) not in seen and not isinstance(part, opaque):
                seen.add(id(part))
                waiting.append(part)
    return found


def test_nothing_in_it_leads_back(network: nn.Module) -> None:
    if isinstance(network, torch.jit.ScriptModule):
        assert not set(network.parameters()) & set(shadow(network).parameters())
        return
    assert not leads_back(shadow(network), unwrap(network))


def test_the_walk_finds_what_leads_back() -> None:
    made, network = shadow(seeded(Tiny)), seeded(Tiny)
    made.second.register_forward_hook(lambda *_: network.first)
    assert leads_back(made, network) == ["Tiny"]


# Wrappers


def wrapped(network: Any, how: str) -> nn.Module:
    if how == "DataParallel":
        return nn.DataParallel(network)
    if how == "compiled":
        return torch.compile(network, backend="eager")
    if how == "both":
        return nn.DataParallel(torch.compile(network, backend="eager"))
    if how == "in place":
        network.compile(backend="eager")
    if how == "inside":
        network.features = torch.compile(network.features, backend="eager")
    if how == "inside, in place":
        network.features.compile(backend="eager")
    return network


WRAPPERS = ["plain", "DataParallel", "compiled", "both", "in place", "inside", "inside, in place"]


@pytest.mark.parametrize("how", WRAPPERS)
def test_wrappers_are_looked_through(image: Tensor, how: str) -> None:
    small = seeded(Small)
    with torch.no_grad():
        expected = small.features[0](image)
    conv = small.features[0]
    network = wrapped(small, how)
    assert unwrap(network) is small
    assert find_layer(network, "features/0") == find_layer(network, conv) == "features/0"
    assert find_layer(network, network) == ""
    before = snapshot(small)
    with Tap(shadow(network), ["features/0", "classifier"], {"features/0": 1, "classifier": 1}) as tap:
        seen = tap(image)
    assert torch.equal(seen["features/0"], expected)
    assert seen["classifier"].shape == (2, 7)
    assert hooks_of(network) == 0 and snapshot(small) == before
    assert get_layer_names(network, verbose=False) == get_layer_names(Small(), verbose=False)


@pytest.mark.parametrize("how", ["in place", "inside, in place"])
def test_compiled_calls_are_never_touched(image: Tensor, how: str) -> None:
    network: Any = wrapped(seeded(Small), how)
    module = network if how == "in place" else network.features
    call = module._compiled_call_impl
    assert call is not None
    made = shadow(network)
    assert all(part._compiled_call_impl is None for part in made.modules())
    assert module._compiled_call_impl is call
    assert network(image).shape == (2, 7)


# A network in the midst of training


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_a_network_in_training_is_never_touched(
    image: Tensor, mode: Callable[[], Any], error: type[BaseException] | None
) -> None:
    mixed = training()
    before = snapshot(mixed)
    grads = {name: p.grad for name, p in mixed.named_parameters()}
    with mode(), pytest.raises(error) if error else nullcontext(), isolated(torch.device("cpu")):
        made = shadow(mixed)
        assert snapshot(mixed) == before
        assert not any(module.training for module in made.modules())
        assert not any(p.requires_grad for p in made.parameters())
        x = image.clone().requires_grad_()
        made(x).sum().backward()
        assert snapshot(mixed) == before, "while the shadow is at work, too"
        assert x.grad is not None and x.grad.any(), "gradients reach the image"
        if error:
            raise error("in the block")
    assert snapshot(mixed) == before
    assert all(p.grad is grads[name] for name, p in mixed.named_parameters()), ".grad is the same tensor"


def training() -> Small:
    """A network in the midst of training: flags of every kind, and gradients."""
    small = seeded(Small).train()
    small(torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))).sum().backward()
    small.features[3].eval()
    small.features[0].weight.requires_grad_(False)
    small.classifier.bias.grad = None
    return small


def test_a_wrapped_network_is_shadowed_within() -> None:
    mixed = training()
    made = shadow(nn.DataParallel(mixed))
    assert type(made) is Small and not made.training
    assert mixed.training


def test_flags_that_save_memory_are_off() -> None:
    network = seeded(timm.create_model, "test_vit", img_size=32)
    network.set_grad_checkpointing()
    made = shadow(network)
    assert network.grad_checkpointing is True and made.grad_checkpointing is False


# What cannot be shadowed


def test_lazy_modules_are_refused_until_they_have_weights(image: Tensor) -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"'0.weight' of Sequential has no values yet \(a lazy module\): run the net"):
        shadow(network)
    with pytest.raises(ValueError, match="lazy module"):
        OptVis.from_layer(network, "0", 1).vis(thresh=1)
    expected = network(image)
    assert torch.equal(shadow(network)(image), expected)


def test_weights_on_the_meta_device_are_refused() -> None:
    with torch.device("meta"):
        network = Tiny()
    with pytest.raises(ValueError, match=r"'first.weight' of Tiny is on the meta device, without values: load the"):
        shadow(network)


def test_weights_spread_over_processes_are_refused() -> None:
    class FullyShardedDataParallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    with pytest.raises(ValueError, match=r"the weights of Sequential are spread over processes \(FSDP\): gather them"):
        shadow(nn.Sequential(FullyShardedDataParallel(nn.Conv2d(3, 3, 1))))


def test_what_points_back_and_cannot_be_copied_is_refused() -> None:
    class Single:
        def __init__(self, network: nn.Module) -> None:
            self.network = network

        def __copy__(self) -> None:
            raise RuntimeError("there is but one")

    network: Any = seeded(Tiny)
    network.single = Single(network)
    with pytest.raises(ValueError, match=r"Tiny holds a Single that refers back .* \(there is but one\): remove it"):
        shadow(network)
    network.single = Single(nn.Identity())
    assert shadow(network).single is network.single, "what has nothing to do with the network is left as it is"


def test_scripted_parts_are_named() -> None:
    network: Any = seeded(Tiny)
    network.second = torch.jit.script(network.second)
    assert scripted_parts(shadow(network)) == ["second"]
    assert scripted_parts(shadow(torch.jit.script(seeded(Tiny)))) == [""]


# Max pooling


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 1}, {"ceil_mode": True}, {"return_indices": True}])
@pytest.mark.parametrize("shape", [(2, 16, 13, 11), (1, 3, 12, 12), (16, 9, 9)])
def test_max_pooling_is_the_same_to_the_bit_with_and_without_gradients(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    pool = nn.MaxPool2d(3, **options)
    made, x = shadow(pool), torch.randn(shape, generator=torch.Generator().manual_seed(1)).relu()
    assert isinstance(made, nn.MaxPool2d)
    for shown in (x, x.clone().requires_grad_()):
        found, expected = tensors(made(shown)), tensors(pool(shown))
        assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(found, expected, strict=True))
    assert x.dim() < 4 or tensors(made(x.requires_grad_()))[0].grad_fn is not None

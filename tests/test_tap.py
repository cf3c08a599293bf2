"""The tap: what is captured, where the pass stops, and what is left behind."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import Kept, Small, hooks_of, seeded
from torch import Tensor, nn

from optvis.network import Tap, shadow
from optvis.network.tap import first_tensor


@pytest.fixture
def small() -> Small:
    return seeded(Small)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


class Steps(nn.Module):
    """Modules a, b, c, each of which notes that it ran; ``put`` makes the output of b."""

    def __init__(self, put: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.ran: list[str] = Kept()
        self.a, self.b, self.c = (Step(name, self.ran, put if name == "b" else lambda x: x) for name in "abc")

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        self.b(x)
        return self.c(x)


class Step(nn.Module):
    def __init__(self, name: str, ran: list[str], put: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.name, self.ran, self.put = name, ran, put
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Any:
        self.ran.append(self.name)
        return self.put(x * self.scale)


@pytest.mark.parametrize(
    ("layers", "ran"), [(["a"], ["a"]), (["b"], ["a", "b"]), (["b", "a"], ["a", "b"]), (["c"], ["a", "b", "c"])]
)
def test_the_pass_stops_after_the_last_layer_needed(layers: list[str], ran: list[str]) -> None:
    network = Steps()
    with Tap(network, layers, dict.fromkeys(layers, 1)) as tap:
        seen = tap(torch.ones(1, 2))
        assert network.ran == ran
        network.ran.clear()
        tap(torch.ones(1, 2))  # and so again at the next pass
        assert network.ran == ran
    assert list(seen) == layers
    assert all(
        torch.equal(seen[name], torch.full((1, 2), 4.0 if name == "c" else 2.0 ** "_ab".index(name))) for name in seen
    )
    assert hooks_of(network) == 0


def test_without_counts_the_whole_network_runs_and_is_counted() -> None:
    network = Steps()
    with Tap(network, ["a"]) as tap:
        tap(torch.ones(1, 2))
        assert tap.calls == {"a": 1}
    assert network.ran == ["a", "b", "c"]


def test_a_network_that_catches_every_exception_is_stopped_too() -> None:
    class Careful(Steps):
        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.a(x)
            except Exception:
                self.ran.append("caught")
            return self.c(x)

    network = Careful()
    with Tap(network, ["a"], {"a": 1}) as tap:
        tap(torch.ones(1, 2))
    assert network.ran == ["a"]


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(2, 2, bias=False)
        self.last = nn.Identity()
        nn.init.constant_(self.step.weight, 1.0)
        self.times = 0

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.step(x)
            self.times += 1
        return self.last(x)


def test_a_module_called_several_times_gives_its_last_call() -> None:
    network, x = Loop(), torch.ones(1, 2)
    with Tap(network, ["step"]) as tap:
        assert torch.equal(tap(x)["step"], torch.full((1, 2), 8.0))
        calls = tap.calls
        assert calls == {"step": 3}
    with Tap(network, ["step"], calls) as tap:
        assert torch.equal(tap(x)["step"], torch.full((1, 2), 8.0))
    assert network.times == 3 + 2, "the second pass ends within the third call"


def test_gradients_may_begin_at_the_layers(image: Tensor) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True))
    slopes = []
    with Tap(shadow(network), ["0", "2", "3"], leaves=True) as tap:
        for images in (image, image.clone().requires_grad_()):
            seen = tap(images)
            assert seen["0"].is_leaf != images.requires_grad and not seen["2"].is_leaf
            slopes.append(torch.autograd.grad(seen["3"].square().sum(), [seen["0"], seen["2"]]))
    for short, whole in zip(*slopes, strict=True):
        assert torch.equal(short, whole) and short.any()
    assert not image.requires_grad


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("after", [nn.ReLU(inplace=True), nn.Hardswish(inplace=True), nn.Dropout(0.9, inplace=True)])
def test_an_in_place_layer_does_not_change_what_was_captured(image: Tensor, after: nn.Module, stops: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), after)
    image.requires_grad_()
    with Tap(network, ["0", "1"], {"0": 1, "1": 1} if stops else None) as tap:
        seen = tap(image)
    own = network[0](image)
    assert torch.equal(seen["0"], own) and own.min() < 0
    (gradient,) = torch.autograd.grad(seen["0"].square().sum(), image)
    (expected,) = torch.autograd.grad(own.square().sum(), image)
    assert torch.allclose(gradient, expected)


def model_output(x: Tensor) -> Any:
    ModelOutput = pytest.importorskip("transformers.utils", reason="needs transformers").ModelOutput
    return ModelOutput(last_hidden_state=x, pooled=x * 5)


@pytest.mark.parametrize(
    "put",
    [
        lambda x: (x, x * 5),
        lambda x: [x, x * 5],
        lambda x: {"out": x, "aux": x * 5},
        lambda x: OrderedDict(ids=torch.ones(1, dtype=torch.long), out=x),
        lambda x: (None, [{"deep": x}]),
        model_output,
    ],
    ids=["tuple", "list", "dict", "after whole numbers", "nested", "ModelOutput"],
)
def test_the_first_tensor_of_an_output_is_taken(put: Callable[[Tensor], Any]) -> None:
    network = Steps(put)
    with Tap(network, ["b"], {"b": 1}) as tap:
        assert torch.equal(tap(torch.ones(1, 2))["b"], torch.full((1, 2), 4.0))


def test_the_networks_own_output_has_an_empty_address() -> None:
    class Dict(Small):
        def forward(self, x: Tensor) -> Any:
            return {"logits": super().forward(x)}

    network, x = Dict().eval(), torch.rand(2, 3, 8, 8)
    logits = network(x)["logits"]
    with Tap(network, [""], {"": 1}) as tap:
        assert torch.equal(tap(x)[""], logits)


def test_others_may_run_the_network_while_it_is_tapped(small: Small, image: Tensor) -> None:
    expected = small.eval()(image)
    with Tap(small, ["features/0"], {"features/0": 1}) as tap:
        seen = tap(image)["features/0"]
        assert torch.equal(small(image), expected)
        assert torch.equal(tap(image)["features/0"], seen)
    broken = Steps()
    broken.b.scale = None  # type: ignore[assignment]
    with Tap(broken, ["a"], {"a": 1}) as tap:
        with pytest.raises(TypeError):
            broken(image)
        assert torch.equal(tap(image)["a"], 2 * image)


def test_an_error_behind_the_layers_does_not_matter_but_one_before_does(image: Tensor) -> None:
    network = Steps()
    network.b.scale = None  # type: ignore[assignment]
    with Tap(network, ["a"]) as tap:
        assert torch.equal(tap(image)["a"], 2 * image)
    for layers, calls in ((["a", "c"], None), (["a"], {"a": 2})):
        with Tap(network, layers, calls) as tap, pytest.raises(TypeError):
            tap(image)


@pytest.mark.parametrize(
    ("layer", "message"), [("c", "'c' of Only is not called"), ("b", "'b' of Only put out no floating tensor")]
)
def test_a_layer_without_activation_is_an_error(layer: str, message: str) -> None:
    class Only(Steps):
        def forward(self, x: Tensor) -> Tensor:
            self.b(x)
            return self.a(x)

    network = Only(lambda x: x.argmax(1))
    with Tap(network, [layer]) as tap, pytest.raises(ValueError, match=message):
        tap(torch.ones(1, 2))
    with Tap(network, ["a", layer], missing_ok=True) as tap:
        assert list(tap(torch.ones(1, 2))) == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_hook_is_left_after_an_error(error: type[BaseException]) -> None:
    def fail(x: Tensor) -> Tensor:
        raise error("in the forward pass")

    network = Steps(fail)
    with pytest.raises(error, match="in the forward pass"), Tap(network, ["a", "c"]) as tap:
        assert hooks_of(network) == 2
        tap(torch.ones(1, 2))
    assert hooks_of(network) == 0


def test_no_hook_is_left_when_a_layer_is_unknown(small: Small) -> None:
    with pytest.raises(KeyError, match="nothing"), Tap(small, ["features/0", "nothing"]):
        pass
    assert hooks_of(small) == 0


def test_the_callers_hooks_stay(small: Small, image: Tensor) -> None:
    seen = []
    small.features[0].register_forward_hook(lambda *_: seen.append(1))
    for network in (small, shadow(small)):
        with Tap(network, ["features/0"], {"features/0": 1}) as tap:
            tap(image)
        assert seen == [1] and hooks_of(network) == 1
        seen.clear()


def test_no_floating_tensor_is_no_activation() -> None:
    assert first_tensor(torch.ones(2, dtype=torch.long)) is None
    assert first_tensor(("text", None, [])) is None
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(2, 1, 1), torch.tensor([2]))
    assert first_tensor(packed) is None

"""Reading a network: addresses, the table of layers, the tap, freezing, probing."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer

from optvis import get_layer_names
from optvis.network import NetworkInput, Probe, Tap, find_layer, frozen, unwrap
from optvis.network.probe import IMAGENET_MEAN, IMAGENET_STD, with_extra
from optvis.network.tap import first_tensor


class Small(nn.Module):
    """Two blocks; ``again`` is ``relu`` under a second name, ``unused`` is never called."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.BatchNorm2d(5),
        )
        self.relu = nn.ReLU()
        self.again = self.relu
        self.unused = nn.Conv2d(5, 5, 1)
        self.classifier = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.relu(self.features(x)).mean((2, 3)))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def vit(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return VisionTransformer(**{**sizes, "num_classes": 5, **options}).eval()


def swin() -> nn.Module:
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5).eval()


def hooks_of(network: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)


def probe(network: nn.Module, *layers: str, **options: Any) -> Probe:
    given = NetworkInput.of(network)
    return Probe(network.eval(), layers, given, given.device, **options)


def test_a_shared_module_is_found_by_each_of_its_names(small: Small, image: Tensor) -> None:
    assert find_layer(small, "again") == "again"
    with Tap(small, ["again", "relu"]) as tap:
        seen = tap(image)
    assert torch.equal(seen["again"], seen["relu"])


def wrapped(network: nn.Module, how: str) -> nn.Module:
    if how == "DataParallel":
        return nn.DataParallel(network)
    if how == "compiled":
        return torch.compile(network, backend="eager")  # type: ignore[return-value]
    if how == "both":
        return nn.DataParallel(torch.compile(network, backend="eager"))  # type: ignore[arg-type]
    if how == "in place":
        network.compile(backend="eager")
    if how == "inside":
        network.features = torch.compile(network.features, backend="eager")  # type: ignore[assignment, arg-type]
    if how == "inside, in place":
        network.features.compile(backend="eager")  # type: ignore[operator, union-attr]
    return network


WRAPPERS = ["plain", "DataParallel", "compiled", "both", "in place", "inside", "inside, in place"]


@pytest.mark.parametrize("how", WRAPPERS)
def test_wrappers_are_looked_through(small: Small, image: Tensor, how: str) -> None:
    with torch.no_grad():
        expected = small.eval().features[0](image)
    conv = small.features[0]
    network = wrapped(small, how)
    assert unwrap(network) is small
    assert find_layer(network, "features/0") == find_layer(network, conv) == "features/0"
    assert find_layer(network, network) == ""
    with frozen(network), Tap(network, ["features/0", "classifier"], {"features/0": 1, "classifier": 1}) as tap:
        seen = tap(image)
    assert torch.allclose(seen["features/0"], expected, atol=1e-6)
    assert seen["classifier"].shape == (2, 7)
    assert hooks_of(network) == 0
    assert get_layer_names(network, verbose=False) == get_layer_names(Small(), verbose=False)


@pytest.mark.parametrize("how", ["in place", "inside, in place"])
def test_compiled_calls_are_given_back(small: Small, image: Tensor, how: str) -> None:
    network = wrapped(small, how).eval()
    module = network if how == "in place" else network.features
    call = module._compiled_call_impl
    assert call is not None
    with frozen(network):
        assert module._compiled_call_impl is None
    assert module._compiled_call_impl is call
    assert network(image).shape == (2, 7)


def test_layers_are_listed_in_order(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    names = get_layer_names(small)
    assert names == ["features", "features/0", "features/1", "features/2", "features/3", "relu", "unused", "classifier"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "class", "parameters"]
    assert lines[2].split() == ["features/0", "Conv2d", str(3 * 4 * 9 + 4)]
    assert [line.split()[0] for line in lines[1:]] == names
    assert get_layer_names(small, verbose=False) == names
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("channels", "size", "shape"), [(3, 10, "10 × 10"), (3, (8, 12), "8 × 12"), (6, (6, 8, 12), "8 × 12")]
)
def test_the_table_shows_shapes(channels: int, size: Any, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = Small(channels).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    get_layer_names(network, input_size=size)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["features/2"].endswith(f"1 × 5 × {shape}")
    assert rows["classifier"].endswith("1 × 7")
    assert rows["unused"].endswith("not called")
    assert network.training and hooks_of(network) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_table_lists_large_counts_readably(capsys: pytest.CaptureFixture[str]) -> None:
    get_layer_names(nn.Sequential(nn.Linear(1000, 10)))
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "Linear", "10,010"]


# The tap


class Steps(nn.Module):
    """Modules a, b, c, each of which notes that it ran; ``put`` makes the output of b."""

    def __init__(self, put: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.ran: list[str] = []
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
    with frozen(network), Tap(network, ["0", "2", "3"], leaves=True) as tap:
        for images in (image, image.clone().requires_grad_()):
            seen = tap(images)
            assert seen["0"].is_leaf != images.requires_grad and not seen["2"].is_leaf
            slopes.append(torch.autograd.grad(seen["3"].square().sum(), [seen["0"], seen["2"]]))
    for short, whole in zip(*slopes):
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
    with pytest.raises(AttributeError), Tap(small, ["features/0", "nothing"]):
        pass
    assert hooks_of(small) == 0


def test_the_callers_hooks_stay(small: Small, image: Tensor) -> None:
    seen = []
    small.features[0].register_forward_hook(lambda *_: seen.append(1))
    with frozen(small), Tap(small, ["features/0"], {"features/0": 1}) as tap:
        tap(image)
    assert seen == [1] and hooks_of(small) == 1


def test_no_floating_tensor_is_no_activation() -> None:
    assert first_tensor(torch.ones(2, dtype=torch.long)) is None
    assert first_tensor(("text", None, [])) is None
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(2, 1, 1), torch.tensor([2]))
    assert first_tensor(packed) is None


# Frozen


def state_of(network: nn.Module) -> dict[str, Any]:
    return {
        "training": {name: module.training for name, module in network.named_modules()},
        "requires_grad": {name: p.requires_grad for name, p in network.named_parameters()},
        "grad": {name: p.grad for name, p in network.named_parameters()},
        "versions": {name: t._version for name, t in [*network.named_parameters(), *network.named_buffers()]},
        "hooks": hooks_of(network),
        "dtype": {name: (t.dtype, t.device) for name, t in network.state_dict().items()},
    }


@pytest.fixture
def mixed(small: Small, image: Tensor) -> Small:
    """A network in the midst of training: flags of every kind, and gradients."""
    small.train()
    small(image).sum().backward()
    small.features[3].eval()
    small.features[0].weight.requires_grad_(False)
    small.classifier.bias.grad = None
    return small


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_network_is_handed_back_as_it_came(
    mixed: Small, image: Tensor, mode: Callable[[], Any], error: type[BaseException] | None
) -> None:
    before = state_of(mixed)
    grads = {name: p.grad.clone() for name, p in mixed.named_parameters() if p.grad is not None}
    with mode(), pytest.raises(error) if error else nullcontext(), frozen(mixed) as network:
        assert network is mixed
        assert not any(module.training for module in network.modules())
        assert not any(p.requires_grad for p in network.parameters())
        x = image.clone().requires_grad_()
        network(x).sum().backward()
        assert x.grad is not None and x.grad.any(), "gradients reach the image"
        if error:
            raise error("in the block")
    after = state_of(mixed)
    assert all(after["grad"][name] is grad for name, grad in before.pop("grad").items()), ".grad is the same tensor"
    del after["grad"]
    assert after == before
    assert all(torch.equal(p.grad, grads[name]) for name, p in mixed.named_parameters() if name in grads)


def test_weights_made_under_inference_mode_are_an_error() -> None:
    with torch.inference_mode():
        network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"'0.weight' of Sequential was made under torch.inference_mode\(\)"):  # noqa: SIM117
        with frozen(network):
            pass


def test_a_wrapped_network_is_frozen_within(mixed: Small) -> None:
    with frozen(nn.DataParallel(mixed)) as network:
        assert network is mixed and not mixed.training


# The probe


@pytest.mark.parametrize(
    ("network", "layer", "shape", "axis"),
    [
        (Small(), "features/2", (5, 32, 32), 1),
        (Small(), "classifier", (7,), 1),
        (Small(), "", (7,), 1),
        (swin(), "features/1", (8, 8, 8), 3),  # all sides alike
        (swin(), "features/3", (16, 4, 4), 3),
        (swin(), "features/0/0", (8, 8, 8), 1),
        (swin(), "head", (5,), 1),
        (vit(), "encoder/layers/encoder_layer_0", (16, 17), 2),
        (vit(), "encoder/layers/encoder_layer_1/self_attention", (16, 17), 2),
        (vit(), "conv_proj", (16, 4, 4), 1),
        (vit(), "heads", (5,), 1),
    ],
)
def test_the_channel_axis_is_found(network: nn.Module, layer: str, shape: tuple[int, ...], axis: int) -> None:
    found = probe(network, layer).at((32, 32))[layer]
    assert (found.shape, found.axis, found.calls) == (shape, axis, 1)


@pytest.mark.parametrize(
    ("network", "layer", "shape", "axis"),
    [(Small(), "features/2", (5, 48, 80), 1), (swin(), "features/1", (8, 12, 20), 3)],
)
def test_the_channel_axis_is_found_for_a_picture_that_is_not_square(
    network: nn.Module, layer: str, shape: tuple[int, ...], axis: int
) -> None:
    found = probe(network, layer).at((48, 80))[layer]
    assert (found.shape, found.axis) == (shape, axis)


def test_tokens_last_are_told_from_tokens_first() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 4, 4)
            self.first, self.last = nn.Flatten(2), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(self.conv(x)).mT)

    shapes = probe(Tokens(), "first", "last").at((16, 24))
    assert (shapes["first"].axis, shapes["last"].axis) == (1, 2)
    assert shapes["first"].shape == shapes["last"].shape == (6, 24)
    assert shapes["first"].grid == shapes["last"].grid == (4, 6)


def test_channels_come_first_whatever_the_layers_order() -> None:
    network = swin()
    layer = probe(network, "features/1").at((32, 32))["features/1"]
    activation = torch.rand(2, 8, 9, 8, dtype=torch.float64)
    assert torch.equal(layer.channels_first(activation), activation.permute(0, 3, 1, 2).float())


@pytest.mark.parametrize(("axis", "shape"), [(1, (8, 8, 8)), (2, (8, 8, 8)), (-1, (8, 8, 8))])
@pytest.mark.parametrize("by_address", [True, False])
def test_the_channel_axis_can_be_given(axis: int, shape: tuple[int, ...], by_address: bool) -> None:
    found = probe(swin(), "features/1", channel_axis={"features/1": axis} if by_address else axis).at((32, 32))
    assert (found["features/1"].axis, found["features/1"].shape) == (axis % 4, shape)


@pytest.mark.parametrize("axis", [0, 4, -4, -5])
def test_a_channel_axis_that_is_none_is_an_error(axis: int) -> None:
    with pytest.raises(ValueError, match=rf"channel_axis {axis} of layer 'features/1'.*axes 1 to 3"):
        probe(swin(), "features/1", channel_axis=axis).at((32, 32))


class Registers(nn.Module):
    """Patches of 4 px after a class token and some register tokens, for any size."""

    def __init__(self, further: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, 4)
        self.further = nn.Parameter(torch.zeros(1, further, 6))
        self.block = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).mT
        return self.block(torch.cat([self.further.expand(len(x), -1, -1), x], 1))


@pytest.mark.parametrize("further", [0, 1, 5])
@pytest.mark.parametrize(("size", "grid"), [((32, 32), (8, 8)), ((48, 80), (12, 20)), ((33, 33), (8, 8))])
def test_the_grid_of_patches_is_found(further: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    found = probe(Registers(further), "block").at(size)["block"]
    assert (found.grid, found.shape) == (grid, (6, grid[0] * grid[1] + further))


def test_a_network_of_one_size_is_given_it() -> None:
    layer = "encoder/layers/encoder_layer_0"
    assert probe(vit(), layer).network_size((64, 64)) == (32, 32)
    assert probe(vit(), layer).network_size((32, 32)) is None
    assert probe(vit(), "conv_proj").network_size((32, 32)) is None
    fixed = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.Flatten(), nn.Linear(2 * 8 * 8, 4))
    assert probe(fixed, "2").network_size((48, 80)) == (32, 32)
    assert probe(fixed, "0").network_size((48, 80)) is None, "as far as this layer any size will do"
    fixed.input_size = (3, 20, 20)  # type: ignore[assignment]
    fixed[2] = nn.Linear(2 * 5 * 5, 4)
    assert probe(fixed, "2").network_size((48, 80)) == (20, 20)


def test_a_picture_that_is_too_small_is_told_the_least_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.MaxPool2d(4), nn.Conv2d(4, 4, 5))
    with pytest.raises(
        ValueError, match=r"16 × 16 px is too small for layer '2'.*smallest square that works has 26 px"
    ):
        probe(network, "2").network_size((16, 16))
    assert probe(network, "2").network_size((26, 26)) is None
    assert probe(network, "0").network_size((16, 16)) is None


def test_a_network_that_does_not_run_says_so() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1))
    with pytest.raises(ValueError, match=r"Sequential does not run on an image of 3 × 32 × 32.*channels"):
        probe(network, "1").network_size((32, 32))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["features.2.weight", "features.3.running_var"])
def test_weights_that_are_no_numbers_are_named(small: Small, name: str, value: float) -> None:
    small.state_dict()[name].view(-1)[1] = value
    if value == float("inf") and "running_var" in name:
        small.state_dict()[name].view(-1)[1] = -1.0  # its root is none
        message = "layer 'features/3' of Small puts out NaN or infinite values on a plain grey image"
    else:
        message = f"the weights '{name}' of Small hold NaN or infinite values"
    with pytest.raises(ValueError, match=message):
        probe(small, "features/3").network_size((16, 16))


def test_a_layer_that_no_gradient_leaves_is_an_error() -> None:
    class Cut(Small):
        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.features(x).detach().mean((2, 3)))

    network = Cut()
    with (
        frozen(network),
        pytest.raises(ValueError, match="no gradient reaches the image from layer 'classifier' of Cut"),
    ):
        probe(network, "classifier").at((16, 16))


def test_a_layer_without_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"layer '0' puts out \[768\], which has no channels"):
        probe(nn.Sequential(nn.Flatten(0)), "0").at((16, 16))


@pytest.mark.parametrize("extra", [(torch.ones(1, 4), 2.0), {"bias": torch.ones(1, 4), "factor": 2.0}])
def test_further_inputs_reach_the_network(extra: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 1), nn.Identity()

        def forward(self, x: Tensor, bias: Tensor, factor: float) -> Tensor:
            return self.out(self.conv(x).mean((2, 3)) + bias * factor)

    assert probe(Two(), "out", extra=extra).at((8, 8))["out"].shape == (4,)
    inputs, named = with_extra(torch.rand(3, 3, 8, 8), extra)
    bias = named["bias"] if named else inputs[1]
    assert bias.shape == (3, 4), "repeated for each picture"


@pytest.mark.parametrize("how", ["output_names", "mapping", "id2label"])
def test_names_of_outputs_are_read(small: Small, how: str) -> None:
    names = list("abcdefg")
    if how == "id2label":
        small.config = SimpleNamespace(id2label=dict(enumerate(names)))  # type: ignore[assignment]
    else:
        small.output_names = {"classifier": names} if how == "mapping" else names  # type: ignore[assignment]
    shapes = probe(small, "classifier", "features/0").at((8, 8))
    assert shapes["classifier"].names == tuple(names)
    assert shapes["features/0"].names is None


# What a network takes


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("wrap", [lambda n: n, nn.DataParallel])
def test_the_number_of_channels_is_read(channels: int, wrap: Callable[[nn.Module], nn.Module]) -> None:
    given = NetworkInput.of(wrap(Small(channels)))
    assert given.channels == channels and given.size is None
    if channels == 3:
        assert (given.mean, given.std) == (IMAGENET_MEAN, IMAGENET_STD)
    else:
        assert given.mean == pytest.approx([sum(IMAGENET_MEAN) / 3] * channels)
        assert given.std == pytest.approx([sum(IMAGENET_STD) / 3] * channels)
    assert (given.device, given.dtype) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_numbers_is_read(dtype: torch.dtype) -> None:
    assert NetworkInput.of(Small().to(dtype)).dtype == dtype


def test_a_network_without_convolution_takes_rgb() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(27, 2))
    assert NetworkInput.of(network).channels == 3
    assert NetworkInput.of(nn.Identity()).channels == 3


@pytest.mark.parametrize("kind", ["dict", "object"])
def test_the_configuration_of_timm_is_read(kind: str) -> None:
    network = Small(1)
    config = {"mean": (0.5,), "std": (0.25,), "input_size": (1, 28, 32)}
    network.pretrained_cfg = config if kind == "dict" else SimpleNamespace(**config)  # type: ignore[assignment]
    given = NetworkInput.of(network)
    assert (given.mean, given.std, given.size) == ((0.5,), (0.25,), (28, 32))


def test_a_network_of_timm() -> None:
    timm = pytest.importorskip("timm")
    given = NetworkInput.of(timm.create_model("vit_tiny_patch16_224", depth=1))
    assert (given.mean, given.std, given.size) == ((0.5,) * 3, (0.5,) * 3, (224, 224))


def test_a_configuration_of_another_number_of_channels_is_not_used() -> None:
    network = Small(6)
    network.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    assert len(NetworkInput.of(network).mean) == 6


def test_the_size_of_a_vit_is_read() -> None:
    assert NetworkInput.of(vit()).size == (32, 32)


@pytest.mark.parametrize("value", [0.3, [0.3, 0.3, 0.3], torch.tensor([0.3, 0.3, 0.3])])
def test_mean_and_std_can_be_given(value: Any) -> None:
    given = NetworkInput.of(Small(), mean=value, std=value)
    assert given.mean == given.std == pytest.approx((0.3,) * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5)}, r"mean has 2 values \(0.5, 0.5\), but the network takes 3 channels"),
        ({"std": (0.5,) * 4}, "std has 4 values"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be positive in every channel"),
        ({"std": -1.0}, "std must be positive"),
    ],
)
def test_mean_and_std_that_do_not_fit_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkInput.of(Small(), **options)


def test_a_mean_of_zero_is_a_mean() -> None:
    given = NetworkInput.of(Small(), mean=0.0, std=1.0)
    assert (given.mean, given.std) == ((0.0,) * 3, (1.0,) * 3)

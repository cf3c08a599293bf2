"""Pixel methods against Captum called directly, and against what their papers promise."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import captum.attr as captum
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn

from optvis import Channel, attribute
from optvis.attribution.context import Context
from optvis.attribution.registry import METHODS, find_method
from optvis.attribution.target_layer import shapes_of
from optvis.attribution.targets import Target, against, of_classes
from optvis.network import Forward, NetworkInput, isolated

NAMES = [*(name for name, method in METHODS.items() if not method.summed), "guided_gradcam"]
QUICK = {
    "steps": 8,
    "samples": 12,
    "segments": 4,
    "batch_size": 5,
}


class Net(nn.Module):
    """Two convolutions and ReLUs, each a module of its own."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=bias)
        self.relu1 = nn.ReLU()
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(6 * 16, 5, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.first(x))
        x = self.relu2(self.second(x))
        # Captum's hooks on one tensor get in each other's way: by itself it needs one between a ReLU and a pooling.
        return self.head(self.pool(x.clone()).flatten(1))


class Twice(Net):
    """The same, by one ReLU that works in place and is used twice."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__(bias)
        self.relu1 = nn.ReLU(inplace=True)
        del self.relu2

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.first(x))
        x = self.relu1(self.second(x))
        return self.head(self.pool(x).flatten(1))


class Functional(Net):
    """The same, by functions."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = self.second(x).relu_()
        return self.head(F.max_pool2d(x, 2).flatten(1))


class Residual(nn.Module):
    """Batch norm, a skip connection added in place, a mean as a function; no number is added anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.drop = nn.Dropout()
        self.head = nn.Linear(6, 5, bias=False)
        self.norm.running_var.mul_(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        out = self.second(x)
        out += x
        return self.head(self.drop(self.relu(out).mean((2, 3))))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def context_of(network: nn.Module, images: Tensor, target: Target | None = None, layer: str | None = None) -> Context:
    classes = [1, 2][: len(images)]
    target = target or of_classes(classes, [str(c) for c in classes])
    forward = Forward.of(network, NetworkInput.of(network))
    layers = (*target.objective.layers,) if target.objective is not None else ()
    wanted = (layer,) if layer is not None else ()
    shapes = shapes_of(forward, images, [*layers, *wanted])
    return Context.of(forward, images, target, shapes).with_evidence(wanted)


def attributed(
    name: str,
    network: nn.Module,
    images: Tensor,
    target: Target | None = None,
    layer: str = "second",
    **options: object,
) -> Tensor:
    method = find_method(name)
    options = {**{key: value for key, value in QUICK.items() if key in method.options()}, **options}
    with isolated(torch.device("cpu")):
        context = context_of(network, images, target, layer if method.layer else None)
        return method.run(context, layer, **options) if method.layer else method.run(context, **options)


def direct(name: str, network: nn.Module, images: Tensor) -> Tensor:
    """Captum by itself, image by image where it draws."""
    with isolated(torch.device("cpu")):
        context, network = context_of(network, images), copy.deepcopy(network).eval()
        x, normalise = context.inputs, context.forward.normalise
        black, white = normalise(images * 0), normalise(images * 0 + 1)
        both = torch.cat([black[:1], white[:1]])
        target = torch.tensor([1, 2])
        grid = torch.arange(16) // 4
        mask = (grid[:, None] * 4 + grid).expand(1, 3, 16, 16)
        made = {
            "saliency": lambda: captum.Saliency(network).attribute(x, target, abs=False),
            "input_x_gradient": lambda: captum.InputXGradient(network).attribute(x, target),
            "integrated_gradients": lambda: captum.IntegratedGradients(network).attribute(x, black, target, n_steps=8),
            "guided_backprop": lambda: captum.GuidedBackprop(network).attribute(x, target),
            "deconvolution": lambda: captum.Deconvolution(network).attribute(x, target),
            "guided_gradcam": lambda: captum.GuidedGradCam(network, network.second).attribute(x, target),
            "deeplift": lambda: torch.cat(
                [captum.DeepLift(network).attribute(x[i : i + 1], black[:1], int(target[i])) for i in range(2)]
            ),
            "deeplift_shap": lambda: torch.cat(
                [captum.DeepLiftShap(network).attribute(x[i : i + 1], both, int(target[i])) for i in range(2)]
            ),
            "occlusion": lambda: captum.Occlusion(network).attribute(x, (3, 2, 2), (3, 1, 1), black[:1], target),
            "feature_ablation": lambda: captum.FeatureAblation(network).attribute(x, black, target, feature_mask=mask),
            "lrp": lambda: captum.LRP(network).attribute(x, target),
            "layer_conductance": lambda: captum.LayerConductance(network, network.second).attribute(
                x, black, target, n_steps=8
            ),
            "internal_influence": lambda: captum.InternalInfluence(network, network.second).attribute(
                x, black, target, n_steps=8
            ),
            "layer_gradient_x_activation": lambda: captum.LayerGradientXActivation(network, network.second).attribute(
                x, target
            ),
        }
        drawn = {
            "gradient_shap": lambda x, t: captum.GradientShap(network).attribute(x, both, 12, target=t),
            "lime": lambda x, t: captum.Lime(network).attribute(x, black[:1], t, feature_mask=mask, n_samples=12),
            "kernel_shap": lambda x, t: captum.KernelShap(network).attribute(
                x, black[:1], t, feature_mask=mask, n_samples=12
            ),
        }
        for kind in ("smoothgrad", "smoothgrad_sq", "vargrad"):
            drawn[kind] = lambda x, t, kind=kind: captum.NoiseTunnel(captum.Saliency(network)).attribute(
                x, kind, 12, 5, 0.15 * float((x.max() - x.min()).detach()), target=t, abs=False
            )
        if name in made:
            return made[name]().detach()
        found = []
        for i in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                np.random.seed(0)
                found.append(drawn[name](x[i : i + 1].detach(), int(target[i])).detach())
        return torch.cat(found)


def network_of(kind: type[nn.Module] = Net, *args: object) -> nn.Module:
    return seeded(kind, *args)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_as_captum_does(name: str, images: Tensor) -> None:
    network = network_of()
    options = {"rule": "zero"} if name == "lrp" else {}
    ours, truth = attributed(name, network, images, **options), direct(name, network, images)
    torch.testing.assert_close(ours, truth.float(), rtol=1e-5, atol=1e-6)
    if name != "lime":  # whose default penalty leaves nothing of so small a network
        assert ours.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [Twice, Functional])
def test_modules_used_twice_in_place_and_functions(name: str, kind: type[nn.Module], images: Tensor) -> None:
    plain, other = network_of(), network_of(kind)
    torch.testing.assert_close(attributed(name, other, images), attributed(name, plain, images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_shape_type_and_network_handed_back(name: str, images: Tensor) -> None:
    network = network_of()
    network.train()
    before = snapshot(network)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    values = attributed(name, network, images)
    layered = METHODS[name].layer and name != "guided_gradcam"
    assert values.shape == ((2, 6, 8, 8) if layered else images.shape)
    assert values.dtype == torch.float32 and torch.isfinite(values).all() and not values.requires_grad
    assert snapshot(network) == before
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()
    torch.testing.assert_close(attributed(name, network, images), values, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_its_own_target_and_numbers(name: str, images: Tensor) -> None:
    network = network_of()
    both = attributed(name, network, images)
    for i, chosen in enumerate((1, 2)):
        alone = attributed(name, network, images[i : i + 1], of_classes([chosen], ["it"]))
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_other_targets(name: str, images: Tensor) -> None:
    network = network_of()
    callable_ = attributed(name, network, images, Target(("a", "b"), score=lambda output: output[:, 1]))
    classes = attributed(name, network, images, of_classes([1, 1], ["a", "b"]))
    torch.testing.assert_close(callable_, classes, rtol=1e-5, atol=1e-6)
    hidden = attributed(name, network, images, Target(("a", "b"), objective=Channel("relu2", 1)))
    assert torch.isfinite(hidden).all() and (name == "lime" or hidden.abs().max() > 0)


@pytest.mark.parametrize("name", NAMES)
def test_network_handed_back_after_an_error(name: str, images: Tensor) -> None:
    network = network_of()
    before, modes = snapshot(network), torch.overrides._get_current_function_mode_stack()

    def broken(output: Tensor) -> Tensor:
        raise RuntimeError("broken target")

    with pytest.raises(RuntimeError, match="broken target"):
        attributed(name, network, images, Target(("a", "b"), score=broken))
    assert snapshot(network) == before and torch.overrides._get_current_function_mode_stack() == modes


@pytest.mark.parametrize("kind", [Net, Twice, Functional, Residual])
@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift", "lrp"])
def test_complete(name: str, kind: type[nn.Module], images: Tensor) -> None:
    network = network_of(kind, *([] if kind is Residual else [False]))
    options = {"integrated_gradients": {"steps": None}, "deeplift": {}, "lrp": {"rule": "zero"}}[name]
    for target in (of_classes([1, 2], ["1", "2"]), Target(("a", "b"), score=against(0, 3))):
        total = attributed(name, network, images, target, **options).sum((1, 2, 3))
        context = context_of(network, images, target)
        start = 0 if name == "lrp" else context.run(context.forward.normalise(images * 0))[0]
        there = (context.scores - start).detach()
        torch.testing.assert_close(total, there, rtol=0.01, atol=2e-3 if name == "integrated_gradients" else 1e-5)


def test_lrp_steadied(images: Tensor) -> None:
    network = network_of(Net, False)
    zero = attributed("lrp", network, images, rule="zero")
    torch.testing.assert_close(attributed("lrp", network, images, epsilon=1e-7), zero, rtol=1e-2, atol=1e-4)
    assert attributed("lrp", network, images).abs().sum() < zero.abs().sum()


def test_deeplift_of_any_activation(images: Tensor) -> None:
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(576, 3), nn.Softmax(1)
        )
    )
    total = attributed("deeplift", network, images, baseline="blur").sum((1, 2, 3))
    assert torch.isfinite(total).all()
    raw = network[:-1]
    total = attributed("deeplift", raw, images).sum((1, 2, 3))
    context = context_of(raw, images)
    there = (context.scores - context.run(context.forward.normalise(images * 0))[0]).detach()
    torch.testing.assert_close(total, there, rtol=0.01, atol=1e-4)


def test_relu6_is_a_relu(images: Tensor) -> None:
    plain, six = network_of(), network_of()
    six.relu1, six.relu2 = nn.ReLU6(), nn.ReLU6(inplace=True)  # nothing reaches 6 here
    for name in ("guided_backprop", "deconvolution"):
        torch.testing.assert_close(attributed(name, six, images), attributed(name, plain, images))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return self.head((x * torch.sigmoid(x)).mean((2, 3)))


@pytest.mark.parametrize("name", ["deeplift", "deeplift_shap", "lrp"])
def test_refuses_what_has_no_rule(name: str, images: Tensor) -> None:
    network = network_of(Gated)
    before = snapshot(network)
    with pytest.raises(ValueError, match=rf"{name} has no rule for 'group_norm' in Gated \(layer 'norm', a GroupNorm"):
        attributed(name, network, images)
    network.norm = nn.Identity()
    wrong = "sigmoid" if name == "lrp" else "mul"
    with pytest.raises(ValueError, match=f"no rule for '{wrong}' in Gated .*integrated_gradients"):
        attributed(name, network, images)
    network.norm = nn.GroupNorm(2, 4)
    assert set(snapshot(network)) == set(before)


@pytest.mark.parametrize("name", ["guided_backprop", "deconvolution"])
def test_refuses_to_be_a_plain_gradient(name: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=f"{name} changes how gradients pass ReLUs, of which Gated has none"):
        attributed(name, network_of(Gated), images)


@pytest.mark.parametrize("name", ["layer_conductance", "internal_influence", "integrated_gradients"])
@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_steps_of_a_path_are_checked(name: str, steps: Any, images: Tensor) -> None:
    with pytest.raises(ValueError, match=f"steps {steps}: give a whole number of at least 1"):
        attribute(seeded(Tiny), images, name, 0, steps=steps)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_option(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} has no option 'colour': (its options are|it has none)"):
        find_method(name).checked({"colour": 1})
    defaults = find_method(name).options()
    assert find_method(name).checked(defaults) == defaults


def test_baselines(images: Tensor) -> None:
    network = network_of()
    black = attributed("integrated_gradients", network, images)
    for same in (0, 0.0, images * 0, torch.zeros(1, 3, 16, 16), torch.zeros(3, 16, 16)):
        torch.testing.assert_close(attributed("integrated_gradients", network, images, baseline=same), black)
    for other in ("grey", "white", "mean", "blur", 0.3):
        assert not torch.allclose(attributed("integrated_gradients", network, images, baseline=other), black)


def test_segments(images: Tensor) -> None:
    network = network_of()
    mask = torch.zeros(16, 16, dtype=torch.long)
    mask[4:8, 4:12] = 7
    values = attributed("feature_ablation", network, images, feature_mask=mask)
    assert len(values[0].unique()) == 2
    grid = attributed("feature_ablation", network, images, segments=(2, 4))
    assert len(grid[0].unique()) == 8
    assert attributed("occlusion", network, images, window=(4, 8), stride=4).shape == images.shape


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("integrated_gradients", {"baseline": "blak"}, "no baseline 'blak': did you mean 'black'"),
        ("integrated_gradients", {"baseline": 2.0}, "values from 2 to 2"),
        ("integrated_gradients", {"baseline": torch.zeros(3, 5, 5)}, r"baseline has \[3, 5, 5\]"),
        ("integrated_gradients", {"steps": 0}, "steps 0: give a whole number"),
        ("smoothgrad", {"samples": None}, "samples None: give a whole number"),
        ("deeplift_shap", {"baselines": ("black",)}, "give two or more"),
        ("smoothgrad", {"noise": -1}, "noise -1"),
        ("smoothgrad", {"seed": -1}, "seed -1"),
        ("smoothgrad", {"seed": None}, "seed None"),
        ("occlusion", {"window": 99}, "window 99 is larger"),
        ("occlusion", {"window": 4, "stride": 5}, "stride 5 would leave gaps"),
        ("lime", {"segments": 99}, "segments 99"),
        ("lime", {"segments": 1}, "a single segment"),
        ("kernel_shap", {"feature_mask": torch.zeros(3, 3, dtype=torch.long)}, r"feature_mask has \[3, 3\]"),
        ("lrp", {"rule": "gamma"}, "no rule 'gamma': choose one of 'epsilon', 'zero'"),
    ],
)
def test_bad_options(name: str, options: dict[str, object], message: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        attributed(name, network_of(), images, **options)


def test_lime_says_what_it_needs(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'optvis\[lime\]'"):
        attributed("lime", network_of(), images)


def test_layers_of_tokens(images: Tensor) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 4, stride=4)
            self.mix = nn.Linear(8, 8)
            self.relu = nn.ReLU(inplace=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).mT
            return self.head(self.relu(self.mix(torch.cat([x[:, :1], x], 1)))[:, 1:].mean(1))

    network = network_of(Tokens)
    for name in ("layer_conductance", "internal_influence", "layer_gradient_x_activation"):
        values = attributed(name, network, images, layer="mix")
        assert values.shape == (2, 8, 4, 4) and torch.isfinite(values).all() and values.abs().max() > 0
    assert attributed("guided_gradcam", network, images, layer="mix").shape == images.shape


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"ceil_mode": True}, {"dilation": 2}, {"stride": (1, 2)}])
def test_deeplift_of_overlapping_pools(options: dict[str, object], images: Tensor) -> None:
    pool = nn.MaxPool2d(3, **{"stride": 2, **options})
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(True), pool, nn.ReLU(), nn.Flatten()))
    network.append(seeded(nn.Linear, network(images).shape[1], 3))
    total = attributed("deeplift", network, images).sum((1, 2, 3))
    context = context_of(network, images)
    there = (context.scores - context.run(context.forward.normalise(images * 0))[0]).detach()
    torch.testing.assert_close(total, there, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_works_in_the_network_s_type(name: str, images: Tensor) -> None:
    network = network_of().bfloat16()
    values = attributed(name, network, images)
    assert values.dtype == torch.float32 and torch.isfinite(values).all()


def test_layer_beyond_the_target(images: Tensor) -> None:
    with pytest.raises(ValueError, match="layer 'second' is not called before the target"):
        attributed("layer_conductance", network_of(), images, Target(("a", "b"), objective=Channel("first", 1)))


def test_refusal_is_told_even_where_the_network_catches_it(images: Tensor) -> None:
    class Stubborn(Gated):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except ValueError:
                return self.head(self.first(x).mean((2, 3)))

    with pytest.raises(ValueError, match="no rule for 'group_norm'"):
        attributed("deeplift", network_of(Stubborn), images)


@pytest.mark.parametrize("name", ["guided_backprop", "deeplift", "lrp"])
def test_a_single_pass_is_enough(name: str, images: Tensor) -> None:
    context = context_of(network_of(), images[:1])
    passes: list[int] = []
    context.network.register_forward_hook(lambda _module, given, _output: passes.append(len(given[0])))
    with isolated(torch.device("cpu")):
        find_method(name).run(context)
    assert passes == [2 if name == "deeplift" else 1]


def test_too_few_steps_are_told() -> None:
    network, images = seeded(Tiny), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    context = context_of(network, images, of_classes([1], ["owl"]))
    with pytest.warns(UserWarning, match=r"of 'owl' add up to .* in 1 steps, .* differ by .*: give more steps"):
        find_method("integrated_gradients").run(context, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_method("integrated_gradients").run(context, steps=100)

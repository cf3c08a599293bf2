"""Objectives, parameterisations and transforms as JSON and back, equal to the bit."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optvis import (
    L1,
    L2,
    Batch,
    Channel,
    Class,
    CPPNParam,
    DeepDream,
    Direction,
    FourierParam,
    ImageFile,
    ImageParam,
    Layer,
    Match,
    Neuron,
    Objective,
    Param,
    PixelParam,
    TotalVariation,
)
from optvis import transforms as T
from optvis.rng import Rng
from optvis.serial import from_data, to_data


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def there_and_back(value: Any) -> Any:
    tensors: dict[str, Tensor] = {}
    text = json.dumps(to_data(value, tensors), allow_nan=False)
    assert "tensor" in text or not tensors
    return from_data(json.loads(text), tensors)


# Objectives

OBJECTIVES = [
    Layer("features/18"),
    DeepDream(""),
    Channel("a", 3),
    Channel("a", -1),
    Channel("a", "red fox"),
    Channel("a", [1, "x", 2]),
    Neuron("a", None),
    Neuron("a", [1, 2], (3, -4)),
    Neuron("a", 1, 7),
    Direction("a", numbers(5), "dot_cosine", 1.5),
    Direction("a", numbers(2, 5)),
    Class("a", [1, 2], rival=0, temperature=0.1 + 0.2),
    TotalVariation(),
    TotalVariation("a"),
    L1(),
    L1("a", 1 / 3),
    L2(center=np.float32(0.1)),
    Channel("a", 3) / 3 - 2 * TotalVariation() + 1e-30,
    Batch(("a:1", Layer("b") * -2, Direction("a", numbers(5)) + 1)),
    Match(["a", "b"], numbers(3, 8, 8).abs() % 1, "dot_cosine", 0.5, same_transforms=False, weights=[1, 2]),
    Batch(("a:1", "b:2")) + 3 * Channel("a", [1, 2]) - Direction("c", numbers(2, 5)),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_objectives(objective: Objective) -> None:
    again = there_and_back(objective)
    assert again == objective and type(again) is type(objective)
    assert repr(again) == repr(objective) and hash(again) == hash(objective)


def test_an_objective_reads_like_itself() -> None:
    assert to_data(Channel("features/18", 12), {}) == {"kind": "Channel", "layer": "features/18", "channel": 12}


def test_every_kind_of_objective_is_tried() -> None:
    tried = {type(objective).__name__ for objective in OBJECTIVES}
    own = [kind for kind in subclasses(Objective) if kind.__module__.startswith("optvis.")]
    assert tried == {kind.__name__ for kind in own} - {"Matched"}  # made of a Match within a run


def subclasses(kind: type) -> list[type]:
    return [found for sub in kind.__subclasses__() for found in (sub, *subclasses(sub))]


# Parameterisations

FRESH: dict[str, Callable[[], Param]] = {
    "Fourier": lambda: FourierParam(8, seed=5),
    "Fourier with all options": lambda: FourierParam((7, 10), 3, 3, False, [4, 4, 9], 0.3),
    "Fourier, six channels": lambda: FourierParam(6, channels=6),
    "pixel": lambda: PixelParam((5, 6), 2, 1, seed=np.int64(3), noise_scale=1.0),
    "ImageParam": lambda: ImageParam(8, fft=False, decorrelate=False),
    "CPPN": lambda: CPPNParam((5, 6), 2, 3, 7, width=5, depth=2),
    "taken": lambda: FourierParam(8, 3, seed=5).take([2, 0]),
    "joined": lambda: Param.join([PixelParam(8, 2, seed=5), PixelParam(8, 1, seed=1)]),
    "grown CPPN": lambda: CPPNParam(4, width=5, depth=2, seed=3).grow(6),
}


def optimised(param: Param) -> Param:
    optimiser = torch.optim.Adam(param.parameters(), 0.1)
    (param() * torch.rand(param().shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    optimiser.step()
    return param


HELD: dict[str, Callable[[], Param]] = {
    **{f"{name}, optimised": lambda make=make: optimised(make()) for name, make in FRESH.items()},
    "photograph": lambda: ImageFile(torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))),
    "photograph in pixels": lambda: ImageFile(torch.full((1, 8, 9), 0.3), fft=False, batch=2),
    "grown": lambda: optimised(FourierParam(8, 2)).grow((12, 9)),
    "grown noise": lambda: PixelParam(8).grow(12),
    "joined of two noises": lambda: Param.join([PixelParam(8), PixelParam(8, noise_scale=1.0)]),
}


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().view(torch.int32)


def same(again: Param, param: Param) -> None:
    assert type(again) is type(param) and repr(again) == repr(param)
    assert (again.seed, again.holds_picture) == (param.seed, param.holds_picture)
    assert torch.equal(bits(again()), bits(param()))
    for a, b in zip(again.parameters(), param.parameters(), strict=True):
        assert torch.equal(bits(a), bits(b)) and a.requires_grad and a.is_leaf
    assert torch.equal(again.grow(11)(), param.grow(11)())


@pytest.mark.parametrize("name", FRESH)
def test_noise_is_described_by_arguments_alone(name: str) -> None:
    param = FRESH[name]()
    tensors: dict[str, Tensor] = {}
    data = to_data(param, tensors)
    assert not tensors and "state" not in data
    same(from_data(json.loads(json.dumps(data)), {}), param)


@pytest.mark.parametrize("name", HELD)
def test_what_has_changed_is_described_by_its_state(name: str) -> None:
    param = HELD[name]()
    same(there_and_back(param), param)
    before = [p.clone() for p in param.parameters()]
    tensors: dict[str, Tensor] = {}
    data = to_data(param, tensors)
    assert data["state"] and tensors
    with torch.no_grad():
        for p in param.parameters():
            p.zero_()
    again = from_data(data, tensors)
    assert all(map(torch.equal, again.parameters(), before)), "what was written does not change with the original"


def test_a_picture_that_is_still_noise_keeps_its_flag() -> None:
    param = FourierParam(8)
    param.holds_picture = True
    assert there_and_back(param).holds_picture and not there_and_back(FourierParam(8)).holds_picture


def test_every_kind_of_parameterisation_is_tried() -> None:
    tried = {type(make()).__name__ for make in (*FRESH.values(), *HELD.values())}
    own = [kind for kind in subclasses(Param) if kind.__module__.startswith("optvis.")]
    assert tried == {kind.__name__ for kind in own} - {"ColorParam"}


# Transforms

TRANSFORMS = [
    T.Pad(0.2, "black"),
    T.Jitter(1 / 3, "border"),
    T.RandomScale(0.5, 1.5, "grey"),
    T.RandomRotate(33.3),
    T.Crop(0.7),
    T.Flip(0.25),
    T.Blur(0.1),
    T.Noise(0.3),
    T.ColorJitter(0.2, 0.3, 0.4, 0.1),
    T.Compose([T.Jitter(), T.Compose([T.Noise(), T.RandomScale()])]),
    T.Compose(),
    T.standard(),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_transforms(transform: T.Transform) -> None:
    again = there_and_back(transform)
    assert type(again) is type(transform) and repr(again) == repr(transform)
    image = numbers(2, 3, 20, 24).sigmoid()
    assert torch.equal(again(image, Rng([1, 2])), transform(image, Rng([1, 2])))


def test_every_kind_of_transform_is_tried() -> None:
    tried = {type(transform).__name__ for transform in TRANSFORMS}
    own = [kind for kind in subclasses(T.Transform) if kind.__module__.startswith("optvis.")]
    assert tried == {kind.__name__ for kind in own} - {"Warp"}


# Classes of the user


@dataclass(frozen=True, eq=False, repr=False)
class Spike(Objective):
    layer: str
    channel: Any = None
    floor: float = 0.0

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return self.activation(activations).flatten(1).amax(1).clamp(min=self.floor)


class Corners(Param):
    def __init__(self, size: Any, corners: int = 2, **options: Any) -> None:
        super().__init__(size, **options)
        self.corners = corners
        self.values = nn.Parameter(self.noise(self.channels, corners, corners))

    def forward(self) -> Tensor:
        return nn.functional.interpolate(self.values, self.size, mode="bilinear").sigmoid()


class Fade(T.Transform):
    def __init__(self, mask: Tensor, shape: tuple[int, ...]) -> None:
        self.mask, self.shape = mask, shape

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        return image * self.mask


class Secretive(T.Transform):
    def __init__(self, amount: float) -> None:
        self._hidden = amount

    def apply(self, image: Tensor, rng: Rng) -> Tensor:
        return image * self._hidden


def test_classes_of_the_user() -> None:
    assert there_and_back(2 * Spike("a", [1, 2], 0.5)) == 2 * Spike("a", (1, 2), 0.5)
    param = Corners((9, 8), 3, batch=2, channels=4, seed=[5, 6])
    assert to_data(param, {})["kind"].endswith("test_serial.Corners")
    same(there_and_back(param), param)
    same(there_and_back(optimised(param)), param)
    fade = there_and_back(T.Compose([Fade(numbers(20, 24), torch.Size((1, 2)))])).transforms[0]
    assert torch.equal(fade.mask, numbers(20, 24)) and fade.shape == (1, 2)


def test_a_class_of_a_script_is_found_in_a_module() -> None:
    assert from_data({"kind": "__main__.Spike", "layer": "a"}, {}) == Spike("a")
    with pytest.raises(ValueError, match=r"transform 'elsewhere.Spike' is loaded: did you mean '.*test_serial.Spike'"):
        from_data({"kind": "elsewhere.Spike", "layer": "a"}, {})


# Other values


def test_plain_values() -> None:
    for value in (None, True, 3, -(2**60), 0.1, -0.0, 5e-324, "text\x1b", (), (1, (2.5, "a")), {"a": (1, None)}):
        again = there_and_back(value)
        assert again == value and type(again) is type(value) and str(again) == str(value)
    assert there_and_back([1, np.int64(2), np.float64(0.5), np.bool_(True)]) == (1, 2, 0.5, True)
    assert there_and_back(torch.Size([1, 2])) == (1, 2)


@pytest.mark.parametrize(
    "tensor",
    [numbers(3, 4), numbers(), torch.zeros(0, 3), torch.arange(5), torch.tensor([True, False]),
     numbers(4).to(torch.bfloat16), numbers(4).double(), torch.tensor([-0.0, math.nan, math.inf]),
     numbers(4, 5).mT, numbers(1, 3).expand(4, 3), torch.view_as_complex(numbers(3, 2))],
    ids=lambda tensor: f"{tensor.dtype} {list(tensor.shape)}",
)  # fmt: skip
def test_tensors(tensor: Tensor) -> None:
    tensors: dict[str, Tensor] = {}
    again = from_data(json.loads(json.dumps(to_data(tensor, tensors))), tensors)
    assert again.dtype == tensor.dtype and again.shape == tensor.shape
    assert (
        again.numpy(force=True).tobytes() == tensor.contiguous().numpy(force=True).tobytes()
        if (tensor.dtype != torch.bfloat16)
        else torch.equal(again, tensor)
    )
    again.zero_()
    assert again.numel() == 0 or not torch.equal(from_data(to_data(tensor, {}), tensors), again)


def test_equal_tensors_are_stored_once() -> None:
    tensors: dict[str, Tensor] = {}
    vector = numbers(5)
    data = to_data((vector, vector.clone(), Direction("a", vector), -vector, vector.double(), vector[None]), tensors)
    assert len(tensors) == 4 and data[0] == data[1] == data[2]["vector"]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32(-math.inf), (1, {"a": math.nan})])
def test_what_is_not_finite_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is no finite number, which a file cannot hold"):
        to_data(value, {})
    for text in ("NaN", "[1, -Infinity]"):
        with pytest.raises(ValueError, match="is no finite number"):
            from_data(json.loads(text), {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda image: image, r"drawn with a function that a file cannot hold: '<function <lambda>>'"),
        (nn.ReLU(), r"drawn with a function that a file cannot hold: 'ReLU\(\)'"),
        (T.Compose([T.Jitter(), torch.fft.fft]), "drawn with a function that a file cannot hold"),
        (Secretive(0.5), "drawn with a function that a file cannot hold"),
        (Layer(nn.Conv2d(3, 4, 1)), r"a function that a file cannot hold: 'Conv2d\("),
        ({1, 2}, r"drawn with something that a file cannot hold: '\{1, 2\}'"),
        ({"kind": 3}, "something that a file cannot hold"),
        ({1: 2}, "something that a file cannot hold"),
        (torch.empty(3, device="meta"), "something that a file cannot hold"),
    ],
)
def test_what_a_file_cannot_hold_is_noted_and_refused_on_reading(value: Any, message: str) -> None:
    text = json.dumps(to_data(value, {}))
    assert " at 0x" not in text, "the same in every run"
    with pytest.raises(ValueError, match=message):
        from_data(json.loads(text), {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "Chanel", "layer": "a"}, r"transform 'Chanel' is loaded: did you mean 'Channel'\?.*module is imp"),
        ({"kind": "os.system", "layer": "a"}, "no objective, parameterisation or transform 'os.system' is loaded"),
        ({"kind": "nowhere.Channel"}, "transform 'nowhere.Channel' is loaded"),
        ({"kind": "__main__.Channel"}, "transform '__main__.Channel' is loaded"),
        ({"kind": "Channel"}, "no Channel can be made from its data: .*missing"),
        ({"kind": None}, "transform None is loaded"),
        ({"kind": ["Channel"]}, r"transform \['Channel'\] is loaded"),
        ({"kind": "\x1b[2J"}, r"transform '\\x1b\[2J' is loaded"),
        ({"kind": "Channel", "layer": "a", "chanel": 1}, "no Channel can be made from its data: .*chanel"),
        ({"kind": "Channel", "layer": "a", "channel": 1.5}, "no Channel can be made from its data: a channel is a num"),
        ({"kind": "Sum", "terms": [[1.0, "a"]]}, "no Sum can be made from its data"),
        ({"kind": "FourierParam", "size": 10**9}, "no FourierParam can be made from its data: size 1000000000"),
        ({"kind": "PixelParam", "size": 4, "state": {"pixels": {"tensor": "x"}}}, "no PixelParam.*size mismatch"),
        ({"kind": "PixelParam", "size": 4, "state": {}}, "no PixelParam can be made from its data: .*Missing key"),
        ({"kind": "Channel", "layer": "a", "channel": 1, "state": {}}, "no Channel can be made from its data"),
        ({"tensor": "y"}, r"no tensor 'y' beside the data: choose one of 'x'"),
        ({"tensor": [1]}, r"no tensor \[1\] beside the data"),
        ({1, 2}, "is nothing that JSON holds"),
    ],
)
def test_data_that_was_not_written_here_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_data(data, {"x": torch.zeros(2)})

"""What cannot work: an error that names the thing, before the first step, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn

from optvis import (
    Batch,
    Channel,
    Class,
    DeepDream,
    Direction,
    ImageFile,
    ImageParam,
    LayerObjective,
    Neuron,
    OptVis,
    TotalVariation,
    Visualisation,
)
from optvis.recipes import collage


class Demanding(Tiny):
    """Takes nothing below 13 px, has a layer that is never called, and one that puts out no channels."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(8, 8, 7)
        self.unused = nn.Conv2d(3, 8, 3)
        self.lone = Lone()

    def forward(self, x: Tensor) -> Any:
        x = self.narrow(self.second(self.relu(self.first(x))))
        self.lone(x)
        return self.head(x.mean((2, 3)))


class Lone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


def draw(objective: Any, options: dict[str, Any] | None = None, **arguments: Any) -> Callable[..., Any]:
    return lambda network, callback: OptVis(network, objective, **(options or {})).vis(
        callback=callback, **{"thresh": 2, **arguments}
    )


def a_second_input(network: nn.Module, callback: Any) -> Any:
    return OptVis(network, "second", extra_inputs=(torch.ones(1, 8),)).vis(ImageParam(16), callback=callback)


FISH = ["goldfish", "shark", "carp", "eel", "pike"]
ONE_OUTPUT = seeded(nn.Conv2d, 3, 1, 3)

BAD: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "no network": (
        lambda network, _: OptVis("squeezenet", "second"),
        TypeError, r"a network is a torch\.nn\.Module, not 'squeezenet'",
    ),
    "no objective": (draw(None), TypeError, r"None is no objective: give one .* a string .* or a list"),
    "a class without others": (
        lambda _, callback: OptVis.from_class(ONE_OUTPUT, 0).vis(callback=callback),
        ValueError, r"layer '' puts out 1 number, so there is no other class.*use Channel\(layer, 0\)"
    ),
    "no objective in a list": (draw(["second", 3.5]), TypeError, r"3\.5 is no objective"),
    "empty list": (draw([]), ValueError, "an empty list of objectives makes no picture"),
    "unknown layer": (
        draw("secnd:1"), ValueError, r"no layer 'secnd' in Demanding: did you mean 'second' or 'unused'\? get_layer"
    ),
    "unknown layer within a sum": (
        lambda network, _: OptVis(network, Channel("second", 1) + Batch((Channel("firts", 1), "second"))),
        ValueError, "no layer 'firts' .* did you mean 'first'",
    ),
    "foreign module": (
        lambda network, _: OptVis.from_layer(network, nn.ReLU()), ValueError, "this ReLU is not a module of Demanding"
    ),
    "channel out of range": (draw("second:8"), ValueError, "no channel 8 in layer 'second': it has 8, numbered 0 to 7"),
    "channel below range": (draw("second:-9"), ValueError, "no channel -9 in layer 'second'"),
    "one channel of a list out of range": (draw(Channel("head", [0, 5])), ValueError, "no channel 5 in layer 'head'"),
    "channel by a name that is not there": (
        draw("second:rings"), ValueError, "layer 'second' has no names for its channels: give a number from 0 to 7"
    ),
    "a class by a name that is not there": (
        lambda network, _: OptVis(network, Class("", "goldfsh"), names=FISH),
        ValueError, r"the network has no class named 'goldfsh': did you mean 'goldfish'\?",
    ),
    "a channel of the last layer by a name that is not there, in a sum": (
        lambda network, _: OptVis(network, "second" + Channel("head", ["carp", "goldfsh"]), names=FISH),
        ValueError, r"layer 'head' has no channel named 'goldfsh': did you mean 'goldfish'\?",
    ),
    "a class of a layer that names a channel": (
        lambda network, _: OptVis.from_class(network, 3, layer="head:1"),
        ValueError, "'head:1' names channel 1, but a layer alone is needed: write 'head'",
    ),
    "a network in an objective": (
        lambda network, _: LayerObjective(network, "second", 1),
        TypeError, r"LayerObjective\(Demanding, 'second', \.\.\.\): an objective holds no network: write "
        r"LayerObjective\('second', \.\.\.\) and give the network to OptVis\(network, objective\)",
    ),
    "a network in an objective, with the layer by name": (
        lambda network, _: LayerObjective(network, layer="second", neuron=1), TypeError, "holds no network: write Layer"
    ),
    "a network in an objective, with the layer as a module": (
        lambda network, _: Channel(network, network.second, 1), TypeError, r"write Channel\('second', \.\.\.\) and give"
    ),
    "a network in a dream": (
        lambda network, _: DeepDream(network, "second"), TypeError, r"write DeepDream\('second', \.\.\.\) and give"
    ),
    "optimiser by a name that is not there": (
        draw("second", {"optim": "adem"}), ValueError, "no optimiser 'adem': did you mean 'adam'"
    ),
    "no optimiser": (draw("second", {"optim": 3}), TypeError, "optim 3: give an optimiser's class, such as torch"),
    "two channels": (
        lambda network, _: OptVis.from_layer(network, "second:1", 2), ValueError, "names channel 1 and channel= says 2"
    ),
    "wrong rank for a neuron": (
        draw(Neuron("second", 1, (2, 2, 2))), ValueError, r"neuron \(2, 2, 2\) of layer 'second': give 2 numbers"
    ),
    "position of a fully connected unit": (
        draw(Neuron("head", 1, (2, 2))), ValueError, r"neuron \(2, 2\) of layer 'head': its output has 5 units and no"
    ),
    "neuron outside": (
        draw(Neuron("second", 1, (0, 99)), img_param=ImageParam(32)), ValueError, r"neuron \(0, 99\) lies outside"
    ),
    "direction of another length": (
        draw(Direction("second", torch.ones(5))), ValueError, "the direction has 5 numbers, layer 'second' has 8"
    ),
    "image too small": (
        draw("narrow:1", img_param=ImageParam(8)), ValueError,
        r"an image of 8 × 8 px is too small for layer 'narrow' of Demanding: the smallest square that works has 13 px",
    ),
    "coarse stage too small": (draw("narrow:1", stages=[(8, 2), (32, 2)]), ValueError, "8 × 8 px is too small"),
    "wrong number of mean values": (
        draw("second", {"mean": [0.5, 0.5]}), ValueError, r"mean has 2 values .* the channels are 3"
    ),
    "wrong number of std values": (draw("second", {"std": [0.5] * 4}), ValueError, "std has 4 values"),
    "std of 0": (draw("second", {"std": [0.5, 0, 0.5]}), ValueError, "std must be positive in every channel"),
    "thresh of 0": (draw("second", thresh=0), ValueError, "thresh 0: give whole numbers of at least 1"),
    "thresh with a 0": (draw("second", thresh=(0, 4)), ValueError, "thresh 0: give whole numbers of at least 1"),
    "thresh empty": (draw("second", thresh=()), ValueError, "thresh is empty"),
    "thresh of a half": (draw("second", thresh=(1.5,)), ValueError, r"thresh 1\.5"),
    "stage of 0 steps": (
        draw("second", stages=[(16, 0)]), ValueError, r"stage \(16, 0\): the number of steps must be whole and at least"
    ),
    "stage that is no pair": (draw("second", stages=[16]), ValueError, r"stage 16: give \(size, steps\)"),
    "no stages": (draw("second", stages=[]), ValueError, "stages is empty"),
    "size of 0": (draw("second", stages=[(0, 3)]), ValueError, "size 0: give a number of pixels"),
    "size not matching": (
        draw("second", stages=[(16, 3)], img_param=ImageParam(32)), ValueError,
        r"the stages end at \(16, 16\), the parameterisation has \(32, 32\)",
    ),
    "batch not matching": (
        draw(["second", "first"], img_param=ImageParam(16, 3)), ValueError,
        "the objective makes 2 pictures, the parameterisation has 3: write batch=2",
    ),
    "batches that do not add": (
        lambda network, _: Channel("second", [0, 1]) + Channel("second", [0, 1, 2]),
        ValueError, r"objectives for batches of \[2, 3\] pictures cannot be added",
    ),
    "channels not matching": (
        draw("second", img_param=ImageParam(16, channels=1)), ValueError, "has 1 channels, the network takes 3"
    ),
    "no parameterisation": (
        draw("second", img_param=torch.rand(1, 3, 16, 16)), TypeError, "img_param is a parameterisation such as"
    ),
    "seed negative": (draw("second", seed=-1), ValueError, "seed -1: give a whole number of at least 0"),
    "seed of a half": (draw("second", seed=0.5), ValueError, r"seed 0\.5"),
    "layer never called": (
        draw("unused:1"), ValueError, "layer 'unused' of Demanding is not called in the forward pass: choose another"
    ),
    "layer without channels": (draw("lone"), ValueError, r"layer 'lone' puts out \[\], which has no channels"),
    "wrong channel axis": (
        draw("second", {"channel_axis": 4}), ValueError, "channel_axis 4 of layer 'second'.* axes 1, 2, 3 to choose"
    ),
    "inputs that the network does not take": (a_second_input, ValueError, "Demanding does not run on an image of 3"),
    "no such device": (draw("second", {"device": "abacus"}), ValueError, "device 'abacus' is not available: "),
    "device that is not at hand": (
        draw("second", {"device": "cuda:77"}), ValueError, "device 'cuda:77' is not available: "
    ),
    "transform that cannot be called": (draw("second", {"transforms": [5]}), TypeError, "5 is no transform"),
    "verbose unknown": (draw("second", verbose="loud"), ValueError, "verbose='loud': choose True, False or 'always'"),
    "penalty alone on a layer that is not there": (
        draw(-TotalVariation("nowhere")), ValueError, "no layer 'nowhere' in Demanding"
    ),
    "multiplied objectives": (
        lambda network, _: Channel("second", 1) * Channel("second", 2), TypeError, "to combine two objectives, add them"
    ),
    "collage of a channel out of range": (
        lambda network, callback: collage(network, "second", range(6, 10), 16, callback=callback),
        ValueError, "no channel 8 in layer 'second'",
    ),
}  # fmt: skip


@pytest.fixture
def network() -> Demanding:
    return seeded(Demanding).train()


@pytest.mark.parametrize("name", BAD)
def test_it_is_told_before_the_first_step(name: str, network: Demanding) -> None:
    make, kind, message = BAD[name]
    before, state = snapshot(network), torch.get_rng_state()
    called: list[int] = []
    with pytest.raises(kind, match=message):
        make(network, lambda step, _: called.append(step))
    assert not called and snapshot(network) == before and torch.equal(torch.get_rng_state(), state)


def test_names_of_a_wrapped_network_are_known_before_it_runs(network: Demanding) -> None:
    network.output_names = {"head": FISH}  # type: ignore[assignment]
    for wrapped in (network, nn.DataParallel(network)):
        OptVis(wrapped, "head:carp")
        with pytest.raises(ValueError, match="layer 'head' has no channel named 'crap': did you mean 'carp'"):
            OptVis(wrapped, "head:crap")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["second.weight", "first.bias"])
def test_weights_that_are_no_numbers(name: str, value: float, network: Demanding) -> None:
    with torch.no_grad():
        network.get_parameter(name)[1] = value
    before = snapshot(network)
    called: list[int] = []
    with pytest.raises(ValueError, match=f"the weights '{name}' of Demanding hold NaN or infinite values: load them"):
        OptVis.from_layer(network, "second", 1).vis(ImageParam(16), callback=lambda step, _: called.append(step))
    assert not called and snapshot(network) == before


class Strange(Tiny):
    """Raises an unusual error on squares of 40 px."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] == 40:
            raise LookupError("no table for this width")
        return super().forward(x)


def test_an_image_that_fails_for_another_reason_is_not_called_too_small() -> None:
    with pytest.raises(ValueError, match=r"Strange does not run on an image of 3 × 40 × 40 .*no table for this width"):
        OptVis(seeded(Strange), "second").vis(ImageParam(40), thresh=1)


def test_a_network_that_runs_on_nothing_says_what_went_wrong() -> None:
    class Broken(Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return {}["weights"]

    with pytest.raises(ValueError, match=r"Broken does not run on an image of 3 × 16 × 16 .*weights"):
        OptVis(seeded(Broken), "second").vis(ImageParam(16), thresh=1)


# Files


@pytest.fixture
def result(network: Demanding) -> Visualisation:
    return OptVis(network, "second").vis(ImageParam(16), thresh=1)


def test_an_unwritable_path(result: Visualisation, tmp_path: Path) -> None:
    folder = tmp_path / "pictures.png"
    folder.mkdir()
    for path, kind, message in (
        (tmp_path / "nowhere" / "a.png", FileNotFoundError, "there is no folder .*nowhere"),
        (folder, IsADirectoryError, "it is a folder"),
        (tmp_path / "a.tiff", ValueError, r"cannot save 'a\.tiff': the ending must be one of \.png, \.webp"),
        (tmp_path / "a", ValueError, "the ending must be one of"),
    ):
        with pytest.raises(kind, match=message):
            result.save(path)
    assert list(tmp_path.iterdir()) == [folder], "nothing is left lying about"


def test_a_folder_without_permission(result: Visualisation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # a superuser may write anywhere
    with pytest.raises(PermissionError, match="no permission to write there"):
        result.save(tmp_path / "a.png")


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("these are notes")
    cut = tmp_path / "cut.png"
    torch_result = ImageParam(16)
    Visualisation(torch_result, torch.zeros(1), torch.zeros(0, 1)).save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    for path in (text, cut, tmp_path):
        with pytest.raises(ValueError, match=f"{path.name}.* is no image that Pillow can read"):
            ImageFile(path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.jpg"):
        ImageFile(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 8, 8), 255.0), r"values run from 255 to 255: give floats in \[0, 1\], or uint8"),
        (torch.full((3, 8, 8), float("nan")), "values run from nan to nan"),
        (torch.rand(8, 8), r"shape \[8, 8\] is no image"),
        (torch.rand(3, 0, 8), "is no image"),
    ],
)
def test_a_tensor_that_is_no_image(image: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFile(image)

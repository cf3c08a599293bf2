"""Addresses of layers and channels: read in one place, and nothing of them dropped."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optvis import Channel, Class, DeepDream, Direction, Layer, Neuron, OptVis, TotalVariation
from optvis.network.addresses import Address, channel_of, find_layer
from optvis.objectives import as_objective


class Small(nn.Module):
    """``again`` is ``relu`` under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5)
        )
        self.relu = nn.ReLU()
        self.again = self.relu
        self.classifier = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.relu(self.features(x)).mean((2, 3)))


@pytest.fixture
def small() -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().eval()


@pytest.mark.parametrize(
    ("text", "layer", "index"),
    [
        ("features/18", "features/18", None),
        ("features.18", "features/18", None),
        (" features/18/ ", "features/18", None),
        ("features/18:12", "features/18", 12),
        ("features.18: 0", "features/18", 0),
        ("fc:-1", "fc", -1),
        ("fc:red fox", "fc", "red fox"),
        ("fc:a:b", "fc", "a:b"),
        ("fc:²", "fc", "²"),
        ("fc:--5", "fc", "--5"),
        ("fc:-", "fc", "-"),
        ("fc:٣", "fc", "٣"),
        ("fc:" + "9" * 5000, "fc", "9" * 5000),
        ("", "", None),
    ],
)
def test_an_address_is_read(text: str, layer: str, index: int | str | None) -> None:
    assert Address.parse(text) == Address(layer, index)
    assert Address.parse(str(Address.parse(text))) == Address(layer, index)
    assert as_objective(text) == (Layer(layer) if index is None else Channel(layer, index))


@pytest.mark.parametrize("text", ["features/18:", ":3", ":", "/:3", "fc: "])
def test_half_an_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no address: write 'features/18' for a layer, 'features/18:12' for a ch"):
        Address.parse(text)


@pytest.mark.parametrize(("text", "channel"), [("12", 12), ("-3", -3), ("rings", "rings"), ("²", "²"), ("1_0", "1_0")])
def test_a_channel_is_a_number_or_a_name(text: str, channel: int | str) -> None:
    assert channel_of(text) == channel


def attributed(network: nn.Module) -> Any:
    from optvis.attribution import attribute

    return attribute(network, torch.rand(1, 3, 16, 16), "gradcam", 1, layer="features/0:1")


WITH_CHANNEL: dict[str, Callable[[nn.Module], Any]] = {
    "find_layer": lambda network: find_layer(network, "features/0:1"),
    "Layer": lambda _: Layer("features/0:1"),
    "DeepDream": lambda _: DeepDream("features/0:1"),
    "Channel": lambda _: Channel("features/0:1", 2),
    "Class": lambda _: Class("features/0:1", 2),
    "Neuron": lambda _: Neuron("features/0:1", None, (1, 2)),
    "Direction": lambda _: Direction("features/0:1", torch.ones(4)),
    "TotalVariation": lambda _: TotalVariation("features/0:1"),
    "from_dream": lambda network: OptVis.from_dream(network, "features/0:1"),
    "from_class": lambda network: OptVis.from_class(network, 2, layer="features/0:1"),
    "channel_axis": lambda network: OptVis(network, "features/0", channel_axis={"features/0:1": 1}),
    "attribute": attributed,
}


@pytest.mark.parametrize("name", WITH_CHANNEL)
def test_a_channel_is_refused_where_a_layer_alone_is_asked_for(name: str, small: Small) -> None:
    message = r"'features/0:1' names channel 1, but a layer alone is needed: write 'features/0', or Channel\('feat"
    with pytest.raises(ValueError, match=message):
        WITH_CHANNEL[name](small)


def test_from_layer_means_the_channel(small: Small) -> None:
    assert OptVis.from_layer(small, "features.2:-1").objective == Channel("features/2", -1)
    assert OptVis(small, "features.2:3").objective == Channel("features/2", 3)
    assert OptVis.from_layer(small, "features/2:1", neuron=(1, 2)).objective == Neuron("features/2", 1, (1, 2))


@pytest.mark.parametrize("layer", ["features/2", "features.2", "/features/2/", " features/2"])
def test_a_layer_is_found_by_its_address(small: Small, layer: str) -> None:
    assert find_layer(small, layer) == "features/2"


def test_a_layer_is_found_by_the_module_itself(small: Small) -> None:
    assert find_layer(small, small.features[2]) == "features/2"
    assert find_layer(small, small) == ""
    assert find_layer(small, "") == ""
    assert find_layer(small, small.again) == "relu"
    assert find_layer(small, "again") == "again"


def test_a_module_whose_name_holds_a_colon(small: Small) -> None:
    small.heads = nn.ModuleDict({"age:old": nn.Linear(5, 2)})
    objective = Channel(small.heads["age:old"], 1).located(lambda layer: find_layer(small, layer))
    assert objective.layers == ("heads/age:old",)
    assert objective.located(lambda layer: find_layer(small, layer)) == objective


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("feature/2", r"no layer 'feature/2' in Small: did you mean 'features/2'"),
        ("features/20", "did you mean 'features/2'"),
        ("clasifier", "did you mean 'classifier'"),
        ("conv/of/3", "did you mean 'features/3'"),
        ("zzz", "its layers begin with 'features' or 'features/0' or 'features/1'; get_layer_names"),
        ("\x1b[2Jfeatures", r"no layer '\\x1b\[2Jfeatures' in Small"),
    ],
)
def test_an_unknown_layer_is_an_error_that_names_the_nearest(small: Small, layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_layer(small, layer)


def test_a_module_of_another_network_and_no_module_at_all(small: Small) -> None:
    with pytest.raises(ValueError, match="this Linear is not a module of Small"):
        find_layer(small, nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"an address such as 'features/18' or a module, not 18"):
        find_layer(small, 18)  # type: ignore[arg-type]

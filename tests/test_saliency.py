"""The saliency view: four maps of each image."""

import pytest
import torch

import optvis
from optvis import Context, Figure, View, attribute, saliency
from optvis.demo import make_pictures

pytestmark = pytest.mark.filterwarnings("ignore:integrated_gradients")  # of which few steps are off
FEW = {"samples": 3, "steps": 8}


@pytest.fixture(scope="module")
def demo():
    return optvis.load_network("demo")


@pytest.fixture(scope="module")
def pictures():
    return make_pictures(2, seed=0)[0]


@pytest.fixture(scope="module")
def figure(demo, pictures):
    return saliency(demo, pictures, **FEW)


def test_the_maps_are_those_of_attribute(demo, pictures, figure):
    maps = figure.tensors
    assert list(maps) == ["raw", "smoothed", "integrated", "integrated, smoothed"]
    assert torch.equal(maps["raw"], attribute(demo, pictures, "saliency").values)
    assert torch.equal(maps["smoothed"], attribute(demo, pictures, "smoothgrad", samples=3).values)
    assert torch.equal(maps["integrated"], attribute(demo, pictures, "integrated_gradients", steps=8).values)


def test_the_integrated_smoothed_map_is_the_integrated_one_without_noise(demo, pictures):
    figure = saliency(demo, pictures[:1], samples=60, steps=60, noise=0)
    exact, drawn = (figure.tensors[name].flatten() for name in ("integrated", "integrated, smoothed"))
    assert torch.cosine_similarity(exact, drawn, dim=0) > 0.97
    assert torch.cosine_similarity(figure.tensors["raw"].flatten(), drawn, dim=0) < 0.9


def test_noise_changes_the_smoothed_maps_alone_and_the_seed_decides_it(demo, pictures, figure):
    again, other = saliency(demo, pictures, **FEW), saliency(demo, pictures, **FEW, seed=1)
    assert figure.picture.tobytes() == again.picture.tobytes() != other.picture.tobytes()
    for name, values in figure.tensors.items():
        assert torch.equal(values, other.tensors[name]) == ("smoothed" not in name), name


def test_facts_and_file(demo, pictures, figure, tmp_path):
    assert len(figure.values["images"]) == 2
    name, chance = figure.values["images"][0]["top"][0]
    assert (figure.values["images"][0]["target"], figure.values["images"][0]["probability"]) == (name, chance)
    found = Figure.load(figure.save(tmp_path / "saliency.png"))
    assert found.values == figure.values and torch.equal(found.tensors["raw"], figure.tensors["raw"])
    assert found.settings["options"]["steps"] == 8


def test_it_is_a_view(demo, pictures, figure):
    assert View("saliency", **FEW)(demo, Context(pictures)).picture.tobytes() == figure.picture.tobytes()


def test_signs_and_targets_change_the_figure(demo, pictures, figure):
    both = saliency(demo, pictures, sign="all", **FEW)
    other = saliency(demo, pictures, target=[0, "rings"], **FEW)
    assert len({one.picture.tobytes() for one in (figure, both, other)}) == 3
    assert [fact["target"] for fact in other.values["images"]] == ["stripes", "rings"]


@pytest.mark.parametrize(
    ("option", "value"), [("samples", 0), ("steps", 0), ("noise", -1), ("sign", "red"), ("seed", -1)]
)
def test_wrong_arguments_are_refused(demo, pictures, option, value):
    with pytest.raises(ValueError, match=option):
        saliency(demo, pictures, **{**FEW, option: value})

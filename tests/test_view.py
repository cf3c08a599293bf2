"""Views: the registry, what a view is given, and figures that are saved and read back."""

import pytest
import torch
from PIL import Image

import optvis
from optvis import VIEWS, Context, Figure, View, view
from optvis.figure import settings_of
from optvis.view import GIVEN, find_view


@pytest.fixture(scope="module")
def demo():
    return optvis.load_network("demo")


@pytest.fixture
def registered():
    """A view that exists only within the test."""

    @view("mean_colour")
    def mean_colour(network, images, grey=False, seed=0):
        """The mean colour of images.

        Args:
            network: not used.
            images: of any size,
                in [0, 1].
            grey: take the mean over the channels, too.
            seed: not used.

        Returns:
            A figure.
        """
        colour = images.mean((0, 2, 3), keepdim=True)[0]
        colour = colour.mean(0, keepdim=True).expand(3, 1, 1) if grey else colour
        picture = Image.new("RGB", (8, 8), tuple(int(255 * one) for one in colour.flatten()))
        return Figure(picture, settings_of("mean_colour", network, grey=grey), {"colour": colour.flatten().tolist()})

    yield mean_colour
    del VIEWS["mean_colour"]


def test_every_view_is_documented_and_takes_a_network():
    for name, kind in VIEWS.items():
        assert kind.summary.endswith("."), name
        assert set(kind.options) <= set(kind.help) | {"kind"}, f"{name}: {set(kind.options) - set(kind.help)}"


def test_the_view_draws_what_its_function_draws(demo):
    drawn = View("vis", objective="pattern:rings", size=24, steps=4)(demo, Context(seed=3))
    assert torch.equal(drawn.images, optvis.visualise(demo, "pattern:rings", 24, seed=3, steps=4, verbose=False).images)
    cells = View("collage", layer="pattern", channels=(0, 1), size=24, steps=4)(demo)
    whole = optvis.collage(demo, "pattern", (0, 1), 24, steps=4, verbose=False)
    assert torch.equal(cells.images, whole.images)


def test_a_registered_function_is_a_view_with_help(registered, demo):
    kind = find_view(registered)
    assert (kind.name, kind.needs, list(kind.options)) == ("mean_colour", ("images",), ["grey"])
    assert kind.help == {
        "network": "not used.",
        "images": "of any size, in [0, 1].",
        "grey": "take the mean over the channels, too.",
        "seed": "not used.",
    }
    images = torch.rand(2, 3, 4, 4)
    drawn = View(registered, grey=True)(demo, Context(images))
    assert drawn.values["colour"] == pytest.approx([images.mean().item()] * 3)


def test_views_are_compared_and_printed(registered):
    assert View(registered, grey=True) == View("mean_colour", grey=True) != View(registered)
    assert repr(View(registered, grey=True)) == "View('mean_colour', grey=True)"


def test_wrong_views_are_refused_before_they_are_called(registered, demo):
    with pytest.raises(ValueError, match="no view 'colage': did you mean 'collage'"):
        View("colage")
    with pytest.raises(TypeError, match="view 'mean_colour' has no option 'gray': did you mean 'grey'"):
        View(registered, gray=True)
    with pytest.raises(TypeError, match="view 'vis' needs objective="):
        View("vis")
    with pytest.raises(TypeError, match="comes from the context"):
        View(registered, seed=1)
    with pytest.raises(ValueError, match="view 'mean_colour' needs images"):
        View(registered)(demo)


def test_a_figure_is_saved_and_read_back(tmp_path):
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    figure = Figure(picture, {"view": "noise"}, {"cosine": [0.5, "ä"]}, {"points": torch.rand(2, 5).T})
    found = Figure.load(figure.save(tmp_path / "figure.png"))
    assert found.picture.tobytes() == picture.tobytes()
    assert (found.settings, found.values) == (figure.settings, figure.values)
    assert torch.equal(found.tensors["points"], figure.tensors["points"])
    assert '"cosine": [0.5, "ä"]' in figure.save(tmp_path / "figure.json").read_text("utf-8")
    with pytest.raises(ValueError, match="gif"):
        figure.save(tmp_path / "figure.gif")


def test_given_are_fields_of_the_context():
    assert all(hasattr(Context(), name) for name in GIVEN)

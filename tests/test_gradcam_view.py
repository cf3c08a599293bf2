"""The Grad-CAM view: the map, the classes beside it, and where their names come from."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import optvis
from optvis import Context, Figure, View, attribute, gradcam
from optvis.demo import make_pictures
from optvis.names import as_names


@pytest.fixture(scope="module")
def demo():
    return optvis.load_network("demo")


@pytest.fixture(scope="module")
def pictures():
    return make_pictures(2, seed=0)[0]


def test_the_map_is_that_of_attribute_and_the_classes_are_the_softmax(demo, pictures):
    figure = gradcam(demo, pictures, top=3)
    result = attribute(demo, pictures)
    assert torch.equal(figure.tensors["heatmaps"], result.heatmap())
    with torch.no_grad():
        found = next(optvis.activations(demo, pictures, "pattern"))["pattern"].softmax(1)
    for fact, row in zip(figure.values["images"], found, strict=True):
        values, places = row.topk(3)
        assert [name for name, _ in fact["top"]] == [demo.output_names["pattern"][c] for c in places]
        assert [p for _, p in fact["top"]] == pytest.approx(values.tolist(), abs=1e-5)
        assert fact["probability"] == pytest.approx(values[0].item(), abs=1e-5)
    assert (figure.settings["view"], figure.settings["options"]["top"]) == ("gradcam", 3)


def test_the_figure_has_a_row_for_each_image_and_the_image_in_it(demo, pictures):
    one, two = gradcam(demo, pictures[:1]).picture, gradcam(demo, pictures).picture
    assert one.mode == "RGB" and two.width == one.width and two.height > 1.8 * one.height
    white = torch.ones(1, 3, 64, 64)
    plain = gradcam(demo, white).picture
    left = [np.asarray(picture)[:, : picture.width // 3] for picture in (one, plain)]
    assert left[0].std() > 20 > left[1].std()


def test_names_from_a_list_a_dictionary_or_a_json_file(pictures, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))
    count = 6
    path = tmp_path / "names.json"
    path.write_text(json.dumps({str(i): f"kind {i}" for i in range(count)}))
    expected = [f"kind {i}" for i in range(count)]
    figures = [
        gradcam(network, pictures, names=names, mean=0, std=1) for names in (expected, dict(enumerate(expected)), path)
    ]
    assert figures[0].values == figures[1].values == figures[2].values
    assert figures[0].values["images"][0]["target"].startswith("kind ")
    assert figures[0].picture.tobytes() == figures[1].picture.tobytes() == figures[2].picture.tobytes()


def test_a_dictionary_may_leave_outputs_out_and_wrong_names_are_refused(tmp_path):
    assert as_names({2: "cat", "0": "dog"}, 4) == ("dog", "1", "cat", "3")
    with pytest.raises(ValueError, match="2 names for 3 outputs: give one name for each output"):
        as_names(["a", "b"], 3)
    with pytest.raises(ValueError, match="the number of a name"):
        as_names({4: "cat"}, 4)
    with pytest.raises(FileNotFoundError, match="there is no file of names 'none'"):
        as_names("none")
    (tmp_path / "names.json").write_text("3")
    with pytest.raises(ValueError, match="holds no names: give a list, or an object from numbers to names"):
        as_names(tmp_path / "names.json")


def test_a_target_is_marked_among_the_classes_and_an_objective_lists_none(demo, pictures):
    best = gradcam(demo, pictures[:1]).values["images"][0]["top"]
    other = gradcam(demo, pictures[:1], target=best[1][0])
    assert other.values["images"][0] == {"target": best[1][0], "probability": best[1][1], "top": best}
    assert other.picture.tobytes() != gradcam(demo, pictures[:1]).picture.tobytes()
    lone = gradcam(demo, pictures[:1], target=optvis.Channel("pattern", 3))
    assert lone.values["images"][0]["top"] == []


def test_it_is_a_view_and_is_saved_with_its_settings(demo, pictures, tmp_path):
    drawn = View("gradcam", top=2)(demo, Context(pictures))
    assert drawn.picture.tobytes() == gradcam(demo, pictures, top=2).picture.tobytes()
    found = Figure.load(drawn.save(tmp_path / "gradcam.png"))
    assert found.values == drawn.values and torch.equal(found.tensors["heatmaps"], drawn.tensors["heatmaps"])
    assert found.settings["attribution"]["method"] == "gradcam"


def test_the_function_of_the_tutorial_keeps_its_name():
    assert optvis.Gradcam is not optvis.gradcam is optvis.recipes.gradcam


def test_wrong_arguments_are_refused(demo, pictures):
    with pytest.raises(ValueError, match="top"):
        gradcam(demo, pictures, top=6)
    with pytest.raises(ValueError, match="no layer"):
        gradcam(demo, pictures, layer="nowhere")

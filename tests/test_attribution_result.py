"""Attributions: the pictures they are of, their heat maps, arithmetic, showing and saving."""

import builtins
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from optvis import PixelParam, Visualisation
from optvis.attribution.comparison import Comparison, compare
from optvis.attribution.inputs import Inputs, read_inputs
from optvis.attribution.plotting import KINDS
from optvis.attribution.result import ENDINGS, Attribution
from optvis.attribution.targets import Target, of_classes
from optvis.images import read_image, to_pil
from optvis.visualisation import read_settings

SETTINGS = {"method": "gradcam", "layer": ["features/3"], "note": "rougeâtre"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def made(
    values: Tensor | None = None,
    method: str = "gradcam",
    layer: tuple[str, ...] = ("features/3",),
    labels: tuple[str, ...] | None = None,
    inputs: Inputs | None = None,
) -> Attribution:
    values = noise(2, 1, 4, 4) if values is None else values
    n = len(values)
    inputs = inputs or read_inputs(pixels(n, 3, 12, 16), 3, None)
    labels = labels or tuple(f"class {i}" for i in range(n))
    settings = {**SETTINGS, "method": method, "layer": list(layer)}
    return Attribution(values, inputs, of_classes(range(n), labels), torch.arange(n), settings)


def stretched(maps: Tensor) -> Tensor:
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + 1e-7)


def as_array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


# Inputs


@pytest.mark.parametrize("size", [None, (8, 8)])
@pytest.mark.parametrize("shape", [(3, 12, 16), (1, 3, 12, 16), (2, 3, 5, 7)])
def test_a_tensor_is_taken_as_it_is(shape: tuple[int, ...], size: Any) -> None:
    image = pixels(*shape)
    found = read_inputs(image, 3, size)
    whole = image if image.dim() == 4 else image[None]
    assert torch.equal(found.images, whole) and len(found) == len(whole)
    assert all(torch.equal(a, b) for a, b in zip(found.originals, whole, strict=True))
    assert found.parts == ((0, 0, *shape[-2:]),) * len(whole)


def test_an_array_is_taken_as_it_is() -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    found = read_inputs(array, 3, (4, 4))
    assert torch.equal(found.images[0], torch.from_numpy(array).movedim(-1, 0) / 255)


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((40, 64), (20, 20), (0, 12, 40, 40)),
        ((64, 40), (20, 20), (12, 0, 40, 40)),
        ((40, 40), (20, 20), (0, 0, 40, 40)),
        ((10, 16), (20, 20), (0, 3, 10, 10)),
        ((40, 64), (20, 32), (0, 0, 40, 64)),
        ((40, 64), (20, 10), (0, 22, 40, 20)),
        ((40, 64), None, (0, 12, 40, 40)),
    ],
)
def test_the_box_is_what_the_network_sees_of_a_picture(shape: Any, size: Any, box: Any) -> None:
    rows, columns = torch.arange(shape[0]), torch.arange(shape[1])
    ramp = torch.stack(torch.meshgrid(rows, columns, indexing="ij")) * 3 / 255
    picture = to_pil(torch.cat([ramp, ramp[:1]]))
    found = read_inputs(picture, 3, size)
    assert found.parts == (box,)
    assert found.images.shape == (1, 3, *(size or (224, 224)))
    assert torch.equal(found.originals[0], read_image(picture)[0])
    # A ramp tells where it was cut: its values at the view's borders are those at the box's.
    top, left, height, width = box
    seen = found.images[0] * 255 / 3
    assert seen[0].mean() == pytest.approx(top + (height - 1) / 2, abs=0.3)
    assert seen[1].mean() == pytest.approx(left + (width - 1) / 2, abs=0.3)


def test_a_list_of_pictures_of_different_sizes(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), "red").save(tmp_path / "a.png")
    found = read_inputs([tmp_path / "a.png", Image.new("L", (20, 44), 128)], 3, (16, 16))
    assert found.images.shape == (2, 3, 16, 16)
    assert [tuple(original.shape) for original in found.originals] == [(3, 30, 50), (1, 44, 20)]
    assert found.parts == ((0, 9, 30, 30), (11, 0, 20, 20))
    other = found.take([1])
    assert len(other) == 1 and other.parts == found.parts[1:] and torch.equal(other.images[0], found.images[1])
    assert read_inputs([str(tmp_path / "a.png"), pixels(3, 224, 224)], 3, None).images.shape == (2, 3, 224, 224)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_kind_of_picture(mode: str, channels: int) -> None:
    found = read_inputs(Image.new(mode, (9, 7)), channels, (6, 6))
    assert found.images.shape == (1, channels, 6, 6)


def test_grey_becomes_rgb_and_rgb_grey() -> None:
    grey, colour = pixels(1, 5, 5), pixels(3, 5, 5)
    assert torch.equal(read_inputs(grey, 3, None).images[0], grey.repeat(3, 1, 1))
    assert torch.equal(read_inputs(grey, 3, None).originals[0], grey)
    torch.testing.assert_close(read_inputs(colour, 1, None).images[0], colour.mean(0, keepdim=True))
    assert torch.equal(read_inputs(pixels(4, 5, 5), 4, None).images[0], pixels(4, 5, 5))


@pytest.mark.parametrize(
    ("image", "channels", "error", "message"),
    [
        ([], 3, ValueError, "the list is empty, give at least one picture"),
        (pixels(4, 5, 5), 3, ValueError, "the image has 4 channels, the network takes 3"),
        (pixels(3, 5, 5), 4, ValueError, "the image has 3 channels, the network takes 4"),
        (pixels(2, 5, 5), 1, ValueError, "the image has 2 channels, the network takes 1"),
        ([pixels(3, 5, 5), pixels(3, 5, 6)], 3, ValueError, "different sizes, 5x5 and 5x6"),
        ([pixels(3, 5, 5), Image.new("RGB", (9, 9))], 3, ValueError, "different sizes, 5x5 and 224x224"),
        (pixels(5, 5), 3, ValueError, r"a tensor of shape \[5, 5\] is no image"),
        (pixels(3, 5, 5) * 255, 3, ValueError, r"give floats in \[0, 1\], or uint8"),
        (pixels(3, 5, 5) / 0, 3, ValueError, "the image's values run from"),
        ("nowhere.png", 3, FileNotFoundError, "there is no file 'nowhere.png'"),
        ([None], 3, TypeError, "no image: None"),
        (7, 3, TypeError, "no image: 7"),
    ],
)
def test_what_is_no_picture_for_the_network(image: Any, channels: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_inputs(image, channels, None)


def test_a_size_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"size \(0, 4\): give a number of pixels"):
        read_inputs(pixels(3, 5, 5), 3, (0, 4))


# The result


def test_what_it_holds() -> None:
    values = noise(2, 3, 12, 16).double().requires_grad_()
    result = made(values, "saliency", ())
    assert result.values.dtype == torch.float32 and not result.values.requires_grad
    assert torch.equal(result.values, values.detach().float())
    assert result.images is result.inputs.images and len(result) == 2
    assert result.scores.dtype == torch.float32 and result.scores.tolist() == [0, 1]
    assert (result.method, result.layer) == ("saliency", ())
    assert result.settings == {**SETTINGS, "method": "saliency", "layer": []}


def test_one_of_several() -> None:
    result = made(noise(3, 1, 4, 4))
    for i in (0, 2, -1):
        one = result[i]
        assert len(one) == 1 and one.images.shape == (1, 3, 12, 16) and len(one.inputs.originals) == 1
        assert torch.equal(one.values[0], result.values[i]) and one.scores[0] == result.scores[i]
        assert one.target.labels == (result.target.labels[i],) and one.method == "gradcam"
    assert [one.scores.item() for one in result] == [0, 1, 2] and len(result) == 3
    with pytest.raises(IndexError, match="no image 3: there are 3, numbered 0 to 2"):
        result[3]


def test_it_prints_what_it_is() -> None:
    assert repr(made()[0]) == (
        "Attribution(gradcam, layer=features/3, target=['class 0'], scores=[0], values=[1, 1, 4, 4])"
    )
    text = repr(made(noise(6, 3, 2, 2), "saliency", ()))
    assert "target=['class 0', 'class 1', 'class 2', 'class 3', …], scores=[0, 1, 2, 3, …]" in text
    assert "layer" not in text


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (3, 1, 4, 4), (2, 1, 0, 4)])
def test_values_of_another_shape(shape: tuple[int, ...]) -> None:
    inputs = read_inputs(pixels(2, 3, 8, 8), 3, None)
    with pytest.raises(ValueError, match=r"for 2 images: give \[N, C, h, w\]"):
        Attribution(torch.ones(shape), inputs, of_classes([0, 1], "ab"), torch.ones(2), {"method": "gradcam"})


@pytest.mark.parametrize(("labels", "scores"), [("a", 2), ("ab", 3), ("abc", 2)])
def test_scores_and_labels_are_one_for_each(labels: str, scores: int) -> None:
    inputs = read_inputs(pixels(2, 3, 8, 8), 3, None)
    with pytest.raises(ValueError, match=rf"scores of shape \[{scores}\] and {len(labels)} labels for 2 images"):
        Attribution(noise(2, 1, 4, 4), inputs, Target(tuple(labels)), torch.ones(scores), {"method": "gradcam"})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_taken_as_0(bad: float) -> None:
    values = noise(2, 1, 4, 4)
    values[1, 0, 2, 3] = bad
    with pytest.warns(UserWarning, match=r"gradcam: values that are not finite in image 1 \('class 1'\)"):
        result = made(values)
    assert result.values[1, 0, 2, 3] == 0
    values[1, 0, 2, 3] = 0
    assert torch.equal(result.values, values)


def test_a_map_of_zeros_warns_once_and_stays_zeros() -> None:
    values = noise(3, 1, 4, 4)
    values[[0, 2]] = 0
    with pytest.warns(UserWarning, match="without evidence") as caught:
        result = made(values)
    assert [str(warning.message) for warning in caught] == [
        "gradcam: a map without evidence, zero everywhere, for image 0 ('class 0'), image 2 ('class 2')"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sign in ("positive", "negative", "absolute", "all"):
            maps = result.heatmap(8, sign)
            assert not maps[[0, 2]].any() and maps[1].any()
        assert not result[0].values.any()
        assert not (2 * result).values[0].any()
        result.overlay()


def test_a_difference_without_evidence_warns() -> None:
    result = made()
    with pytest.warns(UserWarning, match="gradcam - gradcam: a map without evidence"):
        assert not (result - result).values.any()


# The heat map


@pytest.mark.parametrize("size", [None, 7, (12, 16), (5, 9), (4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("sign", "chosen"),
    [("positive", lambda x: x.relu()), ("negative", lambda x: (-x).relu()), ("absolute", lambda x: x.abs())],
)
def test_the_order_of_a_heat_map(size: Any, channels: int, sign: str, chosen: Callable[[Tensor], Tensor]) -> None:
    values = noise(2, channels, 4, 4)
    maps = stretched(chosen(values.sum(1, keepdim=True)))
    pair = (12, 16) if size is None else (size, size) if isinstance(size, int) else size
    expected = stretched(F.interpolate(maps, pair, mode="bilinear", align_corners=False))[:, 0]
    found = made(values).heatmap(size, sign)
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, *pair) and found.min() == 0 and found.max() == pytest.approx(1)


def test_the_sign_is_chosen_before_the_scale() -> None:
    values = torch.tensor([[[[-3.0, 0.0], [1.0, 2.0]]]])
    torch.testing.assert_close(made(values).heatmap(2), torch.tensor([[[0, 0], [0.5, 1]]]))
    torch.testing.assert_close(made(values).heatmap(2, "negative"), torch.tensor([[[1.0, 0], [0, 0]]]))
    torch.testing.assert_close(made(values).heatmap(2, "absolute"), torch.tensor([[[1, 0], [1 / 3, 2 / 3]]]))
    torch.testing.assert_close(made(values).heatmap(2, "all"), values[:, 0] / 3)


def test_channels_are_summed_before_the_sign_is_chosen() -> None:
    values = torch.tensor([[[[2.0, 1.0]], [[-3.0, 1.0]]]])
    torch.testing.assert_close(made(values).heatmap((1, 2)), torch.tensor([[[0.0, 1.0]]]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_with_both_signs_zero_stays_zero(scale: float) -> None:
    values = noise(2, 1, 4, 4) * scale
    expected = F.interpolate(values / values.abs().amax((2, 3), keepdim=True), (9, 5), mode="bilinear")[:, 0]
    found = made(values).heatmap((9, 5), "all")
    torch.testing.assert_close(found, expected)
    assert found.abs().max() <= 1


def test_a_map_with_none_of_a_sign_is_zero() -> None:
    values = -pixels(1, 1, 4, 4) - 0.1
    assert not made(values).heatmap(6).any() and made(values).heatmap(6, "negative").any()


@pytest.mark.parametrize(
    ("sign", "message"),
    [
        ("positiv", "no sign 'positiv': did you mean 'positive'?"),
        (1, "no sign 1: choose one of 'positive', 'negative'"),
    ],
)
def test_no_such_sign(sign: Any, message: str) -> None:
    result = made()
    for use in (result.heatmap, result.overlay, result.show, lambda sign: compare([result], sign=sign)):
        with pytest.raises(ValueError, match=message):
            use(sign=sign)  # type: ignore[operator]


# Arithmetic


@pytest.mark.parametrize(
    ("work", "expected", "method"),
    [
        (lambda a, b: a + b, lambda a, b: a + b, "gradcam + hirescam"),
        (lambda a, b: a - b, lambda a, b: a - b, "gradcam - hirescam"),
        (lambda a, b: a * b, lambda a, b: a * b, "gradcam * hirescam"),
        (lambda a, b: 2 * a, lambda a, b: 2 * a, "2 * gradcam"),
        (lambda a, b: a * 2, lambda a, b: 2 * a, "2 * gradcam"),
        (lambda a, b: np.float32(2) * a, lambda a, b: 2 * a, "2 * gradcam"),
        (lambda a, b: a / 2, lambda a, b: a / 2, "gradcam / 2"),
        (lambda a, b: -a, lambda a, b: -a, "-gradcam"),
        (lambda a, b: (a + b) * a, lambda a, b: (a + b) * a, "(gradcam + hirescam) * gradcam"),
        (lambda a, b: a - (a - b), lambda a, b: b, "gradcam - (gradcam - hirescam)"),
        (lambda a, b: a - -b, lambda a, b: a + b, "gradcam - (-hirescam)"),
        (lambda a, b: sum([a, b, a]) / 3, lambda a, b: (a + b + a) / 3, "(gradcam + hirescam + gradcam) / 3"),
    ],
)
def test_arithmetic(work: Callable[..., Any], expected: Callable[..., Tensor], method: str) -> None:
    a, b = made(), made(noise(2, 1, 4, 4, seed=1), "hirescam")
    kept = a.values.clone()
    result = work(a, b)
    torch.testing.assert_close(result.values, expected(a.values, b.values))
    assert result.method == method and result.settings["method"] == method
    assert result.inputs is a.inputs and torch.equal(result.scores, a.scores)
    assert result.target.labels == a.target.labels and result.layer == ("features/3",)
    assert json.dumps(result.settings)
    assert torch.equal(a.values, kept) and a.method == "gradcam" and a.settings == SETTINGS


@pytest.mark.parametrize("first", ["large", "small"])
def test_a_smaller_map_is_enlarged_and_its_channel_counts_for_all(first: str) -> None:
    guided, cam = made(noise(2, 3, 12, 16), "guided_backprop", ()), made(noise(2, 1, 3, 4, seed=1))
    expected = guided.values * F.interpolate(cam.values, (12, 16), mode="bilinear", align_corners=False)
    result = guided * cam if first == "large" else cam * guided
    torch.testing.assert_close(result.values, expected)
    assert result.method == ("guided_backprop * gradcam" if first == "large" else "gradcam * guided_backprop")
    assert result.layer == ("features/3",)


def test_a_difference_of_two_targets_has_both_labels() -> None:
    a, b = made(labels=("cat", "cat")), made(noise(2, 1, 4, 4, seed=1), labels=("dog", "cat"))
    assert (a - b).target.labels == ("cat - dog", "cat")
    assert (a - b)[0].target.labels == ("cat - dog",)


def test_layers_of_both_are_named_once() -> None:
    a, b = made(layer=("x", "y")), made(noise(2, 1, 4, 4, seed=1), layer=("y", "z"))
    assert (a + b).layer == ("x", "y", "z")


def test_what_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="gradcam has 2 images, hirescam 3: give the same number of images"):
        made() + made(noise(3, 1, 4, 4), "hirescam")
    with pytest.raises(ValueError, match="gradcam has 2 channels, hirescam 3: give the same number, or 1"):
        made(noise(2, 2, 4, 4)) * made(noise(2, 3, 4, 4), "hirescam")
    with pytest.raises(ZeroDivisionError, match="cannot be divided by 0"):
        made() / 0
    for work in (
        lambda a: a + 1,
        lambda a: 1 + a,
        lambda a: a / a,
        lambda a: a * "x",
        lambda a: 1 / a,
        lambda a: a - 1,
    ):
        with pytest.raises(TypeError):
            work(made())


# Overlays


def cut(shape: tuple[int, int] = (20, 32)) -> Inputs:
    """A picture of which the network sees only the middle."""
    return read_inputs(to_pil(pixels(3, *shape)), 3, (16, 16))


def opaque(heat: Any) -> Any:
    """Transparent up to a tenth of the maximum, opaque from a half."""
    return ((abs(heat) - 0.1) / 0.4).clip(0, 1)


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
@pytest.mark.parametrize("cmap", ["jet", "viridis", matplotlib.colormaps["gray"]])
def test_an_overlay_is_a_blend(alpha: float, cmap: Any) -> None:
    result = made()
    colours = matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap
    for picture, image, heat in zip(result.overlay(alpha, cmap), result.images, result.heatmap(), strict=True):
        colour = torch.from_numpy(colours(heat.numpy())[..., :3]).movedim(-1, 0)
        opacity = alpha * opaque(heat)
        expected = (1 - opacity) * image + opacity * colour
        assert np.abs(as_array(picture) - as_array(to_pil(expected)).astype(float)).max() <= 1


def test_outside_of_its_view_a_picture_is_left_as_it_is() -> None:
    result = made(noise(1, 1, 4, 4), inputs=cut())
    (top, left, height, width), original = result.inputs.parts[0], result.inputs.originals[0]
    assert (top, left, height, width) == (0, 6, 20, 20)
    found, before = as_array(result.overlay()), as_array(to_pil(original))
    assert found.shape == (20, 32, 3)
    assert np.array_equal(found[:, :6], before[:, :6]) and np.array_equal(found[:, 26:], before[:, 26:])
    heat = result.heatmap((20, 20))[0]
    colour = matplotlib.colormaps["jet"](heat.numpy())[..., :3]
    opacity = 0.5 * opaque(heat.numpy())[..., None]
    expected = (before[:, 6:26] / 255 * (1 - opacity) + colour * opacity) * 255
    assert np.abs(found[:, 6:26] - expected).max() <= 1


def test_an_overlay_on_the_view() -> None:
    result = made(noise(1, 1, 4, 4), inputs=cut())
    assert result.overlay(on="view").size == (16, 16)
    assert np.array_equal(as_array(result.overlay(0, on="view")), as_array(to_pil(result.images[0])))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_overlay_on_any_number_of_channels(channels: int) -> None:
    inputs = read_inputs(pixels(1, channels, 8, 8), channels, None)
    picture = made(noise(1, 1, 4, 4), inputs=inputs).overlay(0)
    image = inputs.images[0]
    expected = image if channels == 3 else image.mean(0, keepdim=True).repeat(3, 1, 1)
    assert np.array_equal(as_array(picture), as_array(to_pil(expected)))


def test_both_signs_have_their_own_colours() -> None:
    result = made(torch.tensor([[[[-1.0, 1.0]]]]), inputs=read_inputs(torch.ones(3, 2, 4), 3, None))
    low, high = matplotlib.colormaps["seismic"]([0.0, 1.0])[:, :3]
    found = as_array(result.overlay(1, sign="all"))
    for column, colour in ((0, low), (3, high)):
        assert np.abs(found[:, column] - np.round(colour * 255)).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha 1.5: give a number from 0 to 1"),
        ({"alpha": "much"}, "alpha 'much': give a number from 0 to 1"),
        ({"cmap": "virids"}, "no colour map 'virids': did you mean 'viridis'?"),
        ({"on": "originl"}, "no place to draw on 'originl': did you mean 'original'?"),
    ],
)
def test_an_overlay_that_cannot_be(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made().overlay(**options)


# Figures


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: Any) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(Image.Image, "show", lambda self: pytest.fail("no screen to show it on"))


def shown(axis: Any) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


def test_a_figure_has_a_row_for_each_image_and_a_column_for_each_kind() -> None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = pyplot.get_fignums() if pyplot else []
    result = made(labels=("cat", "a $dollar"))
    figure = result.show(KINDS)
    figure.savefig(io.BytesIO())
    assert len(figure.axes) == 2 * len(KINDS)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["gradcam: cat\nheat map", "gradcam: cat\noverlay"]
    assert figure.axes[len(KINDS)].get_title() == "gradcam: a $dollar\nheat map"
    assert (pyplot.get_fignums() if pyplot else []) == before


@pytest.mark.parametrize("sign", ["positive", "all"])
def test_what_the_kinds_show(sign: str) -> None:
    result = made(noise(1, 1, 4, 4), inputs=cut())
    heat, overlay, original, masked, blended = (shown(axis) for axis in result.show(KINDS, sign).axes)
    picture = result.inputs.originals[0].movedim(0, -1).numpy()
    strength = result.heatmap((20, 20), sign)[0].abs().numpy()[..., None]
    view = picture[:, 6:26]
    level = result.heatmap((20, 20), sign)[0].numpy()
    colours = matplotlib.colormaps["jet" if sign == "positive" else "seismic"]
    np.testing.assert_allclose(heat, colours(level if sign == "positive" else (level + 1) / 2)[..., :3], atol=1e-6)
    np.testing.assert_array_equal(original, picture)
    opacity = 0.5 * opaque(strength)
    np.testing.assert_allclose(overlay[:, 6:26], view * (1 - opacity) + heat * opacity, atol=1e-6)
    np.testing.assert_allclose(masked[:, 6:26], view * strength, atol=1e-6)
    np.testing.assert_allclose(blended[:, 6:26], view * (1 - strength) + heat * strength, atol=1e-6)
    assert not masked[:, :6].any() and not masked[:, 26:].any()
    for drawn in (overlay, blended):
        np.testing.assert_array_equal(drawn[:, :6], picture[:, :6])


def test_titles_and_colours_where_asked_for() -> None:
    plain = made().show("heat map", titles=False)
    assert [axis.get_title() for axis in plain.axes] == ["", ""]
    barred = made().show("heat map", colorbar=True, sign="all")
    assert len(barred.axes) == 3 and barred.axes[-1].get_ylim() == (-1, 1)
    assert made().show().axes[0].get_title() == "gradcam: class 0"


def test_no_such_kind() -> None:
    with pytest.raises(ValueError, match=r"no kind 'heatmap': did you mean 'heat map'\?"):
        made().show(("heatmap",))
    with pytest.raises(ValueError, match=r"no kind 'overlays': did you mean 'overlay'\?"):
        compare([made()], "overlays")
    with pytest.raises(ValueError, match="no kinds to show: choose some of heat map, overlay"):
        made().show(())


@pytest.mark.parametrize(("columns", "places"), [(None, 6), (2, 8), (5, 6)])
def test_methods_side_by_side(columns: int | None, places: int) -> None:
    given = [made(noise(2, 1, 4, 4, seed=i), name) for i, name in enumerate(("gradcam", "hirescam", "layercam"))]
    figure = compare(given, "heat map", "absolute", columns)
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(figure.axes) == places and len(drawn) == 6
    titles = [axis.get_title() for axis in drawn]
    assert titles[:3] == ["gradcam\nclass 0", "hirescam\nclass 0", "layercam\nclass 0"]
    assert titles[3:] == ["gradcam\nclass 1", "hirescam\nclass 1", "layercam\nclass 1"]
    expected = matplotlib.colormaps["jet"](given[1].heatmap(sign="absolute")[1].numpy())[..., :3]
    np.testing.assert_allclose(shown(drawn[4]), expected, atol=1e-6)


@pytest.mark.parametrize(("count", "rows", "columns"), [(7, 1, 7), (8, 2, 4), (33, 5, 7)])
def test_many_methods_take_several_rows(count: int, rows: int, columns: int) -> None:
    figure = compare([made(noise(1, 1, 4, 4))] * count)
    assert figure.axes[0].get_gridspec().get_geometry() == (rows, columns)
    assert sum(bool(axis.images) for axis in figure.axes) == count


@pytest.mark.parametrize("ending", [".png", ".JPG", ".webp", ".pdf", ".svg"])
def test_a_figure_is_saved(tmp_path: Path, ending: str) -> None:
    figure = compare([made(), made()])
    path = figure.save(str(tmp_path / f"a{ending}"))
    assert path == tmp_path / f"a{ending}" and path.stat().st_size > 1000 and os.listdir(tmp_path) == [path.name]
    if ending == ".png":
        with Image.open(figure.save(path, dpi=50)) as opened:
            assert opened.width == round(2 * 2.8 * 50)
        figure.savefig(tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as opened:
            assert opened.width == round(2 * 2.8 * 100)


def test_a_figure_that_cannot_be_saved(tmp_path: Path) -> None:
    figure = made().show()
    with pytest.raises(ValueError, match=r"cannot save 'a.gif': the ending must be one of \.png, \.jpg"):
        figure.save(tmp_path / "a.gif")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        figure.save(tmp_path / "none" / "a.png")


def test_a_picture_of_several_methods(tmp_path: Path) -> None:
    rows = [[made(noise(1, 1, 4, 4, seed=i), name) for name in ("gradcam", "layercam")] for i in range(3)]
    path = Comparison(rows).save(tmp_path / "a.png", sign="negative")
    assert [one["method"] for one in read_settings(path)["of"]] == ["gradcam", "layercam"] * 3
    with Image.open(path) as opened:
        found = as_array(opened)
    row = found.shape[0] // 3 + 1
    expected = as_array(rows[1][1].overlay(sign="negative")).repeat(14, 0).repeat(14, 1)
    assert found.shape[1] == 2 * 224 + 2
    assert np.array_equal(found[row : row + 168, 226:], expected)
    with pytest.raises(ValueError, match=r"cannot save 'a\.npy'"):
        Comparison(rows).save(tmp_path / "a.npy")


def test_layers_are_named_where_they_differ() -> None:
    figure = compare([made(layer=("a",)), made(layer=("b", "c"))])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["gradcam\na\nclass 0", "gradcam\nb, c\nclass 0"]


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="nothing to compare: give at least one attribution"):
        compare([])
    with pytest.raises(ValueError, match="attributions of 2, 3 images: give the same images"):
        compare([made(), made(noise(3, 1, 4, 4))])
    with pytest.raises(ValueError, match="columns 0: give a whole number of at least 1"):
        compare([made()], columns=0)


def test_a_figure_is_shown_where_there_is_a_screen(monkeypatch: Any) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(Image.Image, "show", lambda self: opened.append(self))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    made().show()
    assert len(opened) == 1
    monkeypatch.setenv("MPLBACKEND", "agg")
    made().show()
    assert len(opened) == 1


def test_a_notebook_shows_a_figure_once(monkeypatch: Any) -> None:
    seen: list[Any] = []
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    shell = SimpleNamespace(config={"IPKernelApp": {}}, execution_count=3)
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    display.display = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    figure: Any = made().show()
    assert len(seen) == 1
    figure._ipython_display_()
    assert len(seen) == 1, "the value of the cell that has shown it"
    shell.execution_count = 4
    figure._ipython_display_()
    assert len(seen) == 2


def test_it_shows_itself_in_a_notebook() -> None:
    with Image.open(io.BytesIO(made()._repr_png_() or b"")) as opened:
        assert opened.format == "PNG" and opened.width == 2 * 16 * 14 + 2 and opened.height > 12 * 14


def test_without_matplotlib(monkeypatch: Any, tmp_path: Path) -> None:
    plain = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return plain(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    result = made()
    for work in (result.overlay, result.show, lambda: compare([result]), lambda: result.save(tmp_path / "a.png")):
        with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'optvis\[plot\]'"):
            work()
    assert result._repr_png_() is None and os.listdir(tmp_path) == []
    assert result.heatmap().shape == (2, 12, 16) and result.save(tmp_path / "a.npy").exists()


# Saving


@pytest.mark.parametrize("ending", [*ENDINGS, ".PNG", ".JSON"])
@pytest.mark.parametrize("n", [1, 3])
def test_every_format(tmp_path: Path, ending: str, n: int) -> None:
    smooth = torch.linspace(0, 1, 16).expand(n, 3, 12, 16)  # JPEG does not keep noise
    result = made(torch.linspace(-1, 1, 4).expand(n, 1, 4, 4), inputs=read_inputs(smooth, 3, None))
    path = result.save(str(tmp_path / f"map{ending}"))
    assert path == tmp_path / f"map{ending}" and os.listdir(tmp_path) == [path.name]
    if ending == ".npy":
        assert np.array_equal(np.load(path), result.values.numpy())
    elif ending.lower() == ".json":
        assert json.loads(path.read_text(encoding="utf-8")) == {
            "method": "gradcam",
            "layer": ["features/3"],
            "labels": [f"class {i}" for i in range(n)],
            "scores": [float(i) for i in range(n)],
            "settings": SETTINGS,
        }
    else:
        with Image.open(path) as opened:
            found, first = as_array(opened), result.overlay() if n == 1 else result.overlay()[0]
        expected = as_array(first).repeat(14, 0).repeat(14, 1)
        assert np.abs(found[:168, :224].astype(float) - expected).mean() < (1e-9 if ending.lower() == ".png" else 12)
        assert found.shape[0] > 168 and (n > 1 or found.shape[1] == 224)


def test_a_png_carries_its_settings(tmp_path: Path) -> None:
    assert read_settings(made().save(tmp_path / "a.png")) == SETTINGS


def test_a_saved_attribution_is_loaded(tmp_path: Path) -> None:
    result = made()
    loaded = Attribution.load(result.save(tmp_path / "a.png"))
    assert torch.equal(loaded.values, result.values) and torch.equal(loaded.scores, result.scores)
    assert (loaded.images - result.images).abs().max() <= 0.5 / 255 + 1e-6
    assert loaded.target.labels == result.target.labels and loaded.settings == result.settings
    assert torch.equal((loaded - result).values, torch.zeros_like(result.values))


def test_what_is_no_saved_attribution(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="carries no settings of optvis"):
        Attribution.load(made().save(tmp_path / "a.jpg"))
    param = PixelParam(8)
    path = Visualisation(param, torch.zeros(1), torch.zeros(0, 1), settings={"seed": 0}).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="holds no attribution that can be read"):
        Attribution.load(path)


def test_another_sign_is_saved(tmp_path: Path) -> None:
    result = made(noise(1, 1, 4, 4))
    with Image.open(result.save(tmp_path / "a.png", sign="negative")) as opened:
        found = as_array(opened)[:168:14, ::14]
    assert np.array_equal(found, as_array(result.overlay(sign="negative")))


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_and_opacity_are_saved(tmp_path: Path, kind: str) -> None:
    result = made(noise(1, 1, 4, 4))
    expected = as_array(to_pil(result.drawn(kind, "positive", None, 0.9)[0]))
    with Image.open(result.save(tmp_path / "a.png", kind=kind, alpha=0.9)) as opened:
        assert np.array_equal(as_array(opened)[:168:14, ::14], expected)


@pytest.mark.parametrize(("height", "width", "factor"), [(28, 28, 8), (30, 64, 3), (113, 20, 1), (300, 250, 1)])
def test_small_pictures_are_enlarged_by_whole_pixels(tmp_path: Path, height: int, width: int, factor: int) -> None:
    result = made(noise(1, 1, 4, 4), inputs=read_inputs(pixels(3, height, width), 3, None))
    with Image.open(result.save(tmp_path / "a.png")) as opened:
        found = as_array(opened)
    assert found.shape[1] == factor * width
    assert np.array_equal(found[: factor * height], as_array(result.overlay()).repeat(factor, 0).repeat(factor, 1))


def test_below_a_saved_picture_stand_method_target_and_probability(monkeypatch: Any, tmp_path: Path) -> None:
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, at, text, *more, **how: written.append(text))
    result = made(noise(1, 1, 4, 4), labels=("Egyptian cat, or another name so long that it takes two lines",))
    result.target = replace(result.target, probabilities=(0.6214,))
    path = result.save(tmp_path / "a.png")
    assert written[0] == "gradcam" and len(written) == 3
    assert " ".join(written[1:]) == "Egyptian cat, or another name so long that it takes two lines (62.1%)"
    written.clear()
    again = Attribution.load(path)
    again.save(tmp_path / "b.png")
    assert written[-1].endswith("(62.1%)") and again.target.probabilities == (0.6214,)
    written.clear()
    made(noise(1, 1, 4, 4), labels=("an\x1b[31m" + "x" * 99,)).save(tmp_path / "c.png")
    assert "".join(written) == "gradcaman\\x1b[31m" + "x" * 99 and len(written) > 3


def test_large_maps_are_read_back(tmp_path: Path) -> None:
    result = made(noise(1, 3, 320, 330), inputs=read_inputs(pixels(3, 320, 330), 3, None))
    path = result.save(tmp_path / "a.png")
    assert torch.equal(Attribution.load(path).values, result.values)


def test_a_picture_can_be_opened_however_many_maps_there_are(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr("optvis.result.MOST_DATA", 1000)
    path = made().save(tmp_path / "a.png")
    assert read_settings(path) == SETTINGS
    with pytest.raises(ValueError, match="holds no attribution that can be read"):
        Attribution.load(path)


# Maps as large as the image


def fine() -> Attribution:
    return made(noise(1, 3, 160, 200), inputs=read_inputs(pixels(3, 160, 200), 3, None))


@pytest.mark.parametrize(
    ("sign", "cmap"), [("positive", "Greens"), ("negative", "Reds"), ("absolute", "Blues"), ("all", "PiYG")]
)
def test_a_map_as_large_as_the_image_is_smooth_and_on_a_plain_ground(sign: str, cmap: str) -> None:
    result = fine()
    (heat,), exact = result.drawn("heat map", sign), result.heatmap(sign=sign)[0]
    colours = matplotlib.colormaps[cmap](np.linspace(0, 1, 256))[:, :3]
    off = np.abs(heat.movedim(0, -1).numpy()[:, :, None] - colours).max(-1).min(-1)
    assert off.max() < 1e-6, "all colours are those of the map"
    level = result.heatmap(sign=sign, outliers=1.0)[0]
    level = (level + 1) / 2 if sign == "all" else level
    rough = torch.from_numpy(matplotlib.colormaps[cmap](level.numpy())[..., :3]).movedim(-1, 0)

    def change(picture: Tensor) -> float:
        return (picture[..., 1:] - picture[..., :-1]).abs().mean().item()

    assert change(heat) < 0.8 * change(rough) and heat.max() > 0.9
    overlay, ground = result.drawn("overlay", sign, alpha=0)[0], 1 - 0.3 * (1 - result.images[0].mean(0))
    torch.testing.assert_close(overlay, ground.expand(3, -1, -1))
    assert torch.equal(result.values, fine().values) and torch.equal(result.heatmap(sign=sign)[0], exact)


def test_the_strongest_pixels_do_not_hide_the_others() -> None:
    values = torch.ones(1, 1, 64, 80)
    values[:, :, :, :40] = 0
    values[0, 0, 10, 60] = 1000
    result = made(values, inputs=read_inputs(pixels(3, 64, 80), 3, None))
    heat = result.drawn("heat map", "positive")[0]
    darkest = torch.tensor(matplotlib.colormaps["Greens"](1.0)[:3]).float()
    assert (heat[:, 40, 60] - darkest).abs().max() < 0.3 and result.heatmap()[0, 40, 60] < 0.01


def test_a_small_fine_map_is_not_smoothed() -> None:
    result = made(noise(1, 3, 12, 16), inputs=read_inputs(pixels(3, 12, 16), 3, None))
    expected = matplotlib.colormaps["Greens"](result.heatmap(outliers=1.0)[0].numpy())[..., :3]
    np.testing.assert_allclose(result.drawn("heat map", "positive")[0].movedim(0, -1), expected, atol=1e-6)


def test_pictures_of_different_sizes_in_one_file(tmp_path: Path) -> None:
    pictures = [to_pil(pixels(3, 20, 32)), to_pil(pixels(3, 24, 18))]
    result = made(inputs=read_inputs(pictures, 3, (16, 16)))
    assert [picture.size for picture in result.overlay()] == [(32, 20), (18, 24)]
    with Image.open(result.save(tmp_path / "a.png")) as opened:
        assert opened.width == 450
    figure = result.show(("original", "overlay"))
    figure.savefig(io.BytesIO())


def test_json_knows_no_nan(tmp_path: Path) -> None:
    inputs = read_inputs(pixels(1, 3, 8, 8), 3, None)
    result = Attribution(noise(1, 1, 4, 4), inputs, Target(("a",)), torch.tensor([torch.nan]), {"method": "gradcam"})
    assert json.loads(result.save(tmp_path / "a.json").read_text())["scores"] == [None]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("a.gif", ValueError, "cannot save 'a.gif': the ending must be one of .png, .webp, .jpg, .jpeg, .npy, .json"),
        ("a", ValueError, "cannot save 'a': the ending must be one of"),
        ("nowhere/a.png", FileNotFoundError, "there is no folder '.*nowhere'"),
        ("nowhere/a.json", FileNotFoundError, "there is no folder '.*nowhere'"),
        ("folder.json", IsADirectoryError, "cannot save to '.*folder.json': it is a folder"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, path: str, error: type[Exception], message: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(error, match=message):
        made().save(tmp_path / path)
    assert os.listdir(tmp_path) == ["folder.json"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(*paths: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        made().save(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]

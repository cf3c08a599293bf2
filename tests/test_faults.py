"""Faults that attacks found and that no other file tests: what comes now is right, or a clear error.

Others are tested where they belong: unclear axes in test_layout.py and test_odd_networks.py, threads in
test_threads.py, channels in addresses in test_addresses.py, interrupts in test_interrupts.py and test_cli.py, files in
test_files.py, images in test_images.py, lazy and scripted networks in test_shadow.py and test_prepared.py, escapes in
test_cli.py, weights in test_zoo.py, random states in test_own_random.py, arguments in test_random_calls.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from small_networks import Tiny, random_states, seeded, swin, vit
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from optvis import Channel, CPPNParam, FourierParam, ImageParam, Objective, OptVis, PixelParam, Visualisation, redraw
from optvis.attribution import attribute
from optvis.objectives.algebra import objective
from optvis.recipes import collage
from optvis.result import read_facts, read_settings


@pytest.fixture
def network() -> Tiny:
    return seeded(Tiny)


def nan(x: Tensor) -> Tensor:
    return x * math.nan


@objective
class Broken(Objective):
    layer: str

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return nan(self.activation(activations).flatten(1).mean(1))


@objective
class Alike(Objective):
    layer: str
    coupled = True

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        rows = self.activation(activations).flatten(1)
        return (rows @ rows.T).mean(1)


# 5: not finite


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize(
    "make",
    [
        lambda network: OptVis(network, "second", nan),
        lambda network: OptVis(network, "second", grad_tfms=nan),
        lambda network: OptVis(network, Broken("second")),
    ],
)
def test_no_picture_of_nan(make: Callable[[nn.Module], OptVis], steps: int, network: Tiny) -> None:
    with pytest.raises(RuntimeError, match=r"are \[nan\] after . steps: a transform, gradient transform or objective"):
        make(network).vis(16, thresh=steps)
    with pytest.raises(RuntimeError, match=r"are \[nan\]"):
        list(make(network).stream(16, thresh=steps))


@pytest.mark.parametrize(("name", "value"), [("std", 0.0), ("std", math.inf), ("std", -1.0), ("mean", math.nan)])
def test_a_configuration_that_is_not_finite(name: str, value: float, network: Tiny) -> None:
    network.pretrained_cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, name: [value] * 3}
    for call in (lambda: OptVis(network, "second"), lambda: attribute(network, torch.rand(3, 16, 16))):
        with pytest.raises(ValueError, match=f"{name} must be "):
            call()


@pytest.mark.parametrize("changed", [None, "text", torch.zeros(2)])
def test_a_gradient_transform_that_gives_no_gradient(changed: Any, network: Tiny) -> None:
    with pytest.raises(TypeError, match="it must give a gradient of the shape that it was given"):
        OptVis(network, "second", grad_tfms=lambda gradient: changed).vis(16, thresh=1)


@pytest.mark.parametrize("changed", [None, "text", torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8)])
def test_a_transform_that_gives_no_images(changed: Any, network: Tiny) -> None:
    with pytest.raises(TypeError, match="it must give images"):
        OptVis(network, "second", lambda image: changed).vis(16, thresh=1)


# 6: collages


class Two(Tiny):
    def forward(self, x: Tensor, y: Tensor) -> Any:
        return super().forward(x + y.mean())


@pytest.mark.parametrize("channels", [range(2), None])
def test_a_collage_of_a_network_with_further_inputs(channels: Any) -> None:
    made = collage(seeded(Two), "head", channels, 16, thresh=1, extra_inputs=(torch.ones(1, 3),))
    assert len(made) == (5 if channels is None else 2) and made.grid().height > 16


def test_a_collage_of_a_network_of_one_size() -> None:
    assert len(collage(vit(), "encoder/layers", range(2), 48, thresh=1)) == 2


def test_a_collage_of_all_channels_of_an_axis() -> None:
    assert len(collage(swin(), "features/1", None, 32, thresh=1, channel_axis=3)) == 8


def test_a_collage_of_names_with_line_breaks(network: Tiny, tmp_path: Path) -> None:
    network.output_names = {"head": ["a\nb", "c\x1b[31m", "", "d", "e"]}
    made = collage(network, "head", ["a\nb", 1, 2], 16, thresh=1)
    assert made.labels == ("a\\nb", "c\\x1b[31m", "")
    assert made.save(tmp_path / "a.png").exists()


def test_a_name_of_several_channels_is_refused(network: Tiny) -> None:
    network.output_names = {"head": ["crane", "crane", "a", "b", "c"]}
    with pytest.raises(ValueError, match="several channels or classes are named 'crane': give a number, 0 or 1"):
        OptVis(network, "head:crane").vis(16, thresh=1)


# 10: checkpoints


class Checkpointed(Tiny):
    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(lambda x: self.second(self.relu(self.first(x))), x, use_reentrant=self.reentrant)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_network_draws_as_a_plain_one_without_noise(reentrant: bool, network: Tiny) -> None:
    other = seeded(Checkpointed)
    other.reentrant = reentrant
    drawn = OptVis(other, "head:1", channel_noise=0, relu_softness=0).vis(16, thresh=3)
    plain = OptVis(network, "head:1", channel_noise=0, relu_softness=0).vis(16, thresh=3)
    assert torch.allclose(drawn.images, plain.images, atol=1e-4)


def test_a_layer_within_a_checkpoint_that_is_computed_again_is_refused() -> None:
    other = seeded(Checkpointed)
    other.reentrant = True
    with pytest.raises(ValueError, match="no gradient reaches the image from layer 'second'"):
        OptVis(other, "second").vis(16, thresh=1)
    with pytest.raises(ValueError, match="no gradient leaves layer 'second'"):
        attribute(other, torch.rand(3, 16, 16), layer="second")


# 11: out of memory in a probe


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_passed_on_and_not_remembered(error: RuntimeError) -> None:
    full = True

    class Full(Tiny):
        def forward(self, x: Tensor) -> Any:
            if full:
                raise error
            return super().forward(x)

    made = OptVis(seeded(Full), "second")
    with pytest.raises(type(error), match=str(error)):
        made.vis(16, thresh=1)
    full = False
    assert len(made.vis(16, thresh=1)) == 1


# 12: contexts around the call


class DefaultType:
    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("param", [FourierParam, PixelParam, CPPNParam])
@pytest.mark.parametrize(
    "around", [DefaultType, lambda: torch.device("meta"), lambda: torch.autocast("cpu", torch.bfloat16),
               torch.inference_mode, torch.no_grad]
)  # fmt: skip
def test_the_same_picture_whatever_is_around_the_call(around: Callable[[], Any], param: Any, network: Tiny) -> None:
    expected = OptVis(network, "head:1").vis(param(16), thresh=3)
    images = expected.images
    with around():
        drawn = OptVis(network, "head:1").vis(param(16), thresh=3).images
        (streamed,) = OptVis(network, "head:1").stream(param(16), thresh=3)
        assert torch.equal(drawn, images) and torch.equal(streamed.images, images)


def test_a_network_on_the_meta_device_is_refused(network: Tiny) -> None:
    with pytest.raises(ValueError, match="the weights of Tiny are on the meta device, without values"):
        OptVis(network.to("meta"), "second")


# 14: networks that cannot be drawn


def test_a_traced_network_is_drawn_as_a_whole(network: Tiny) -> None:
    traced = torch.jit.trace(network, torch.rand(1, 3, 16, 16))
    assert len(OptVis(traced, Channel("", 1)).vis(16, thresh=1)) == 1
    with pytest.raises(ValueError, match="which TorchScript compiled"):
        OptVis(traced, "second").vis(16, thresh=1)


def test_an_exported_program_is_no_network(network: Tiny) -> None:
    program = torch.export.export(network, (torch.rand(1, 3, 16, 16),))
    with pytest.raises(TypeError, match=r"a network is a torch.nn.Module, not <torch.export"):
        OptVis(program, "second")  # type: ignore[arg-type]


class Alone(Tiny):
    def forward(self, x: Tensor) -> Any:
        assert x.shape[0] == 1
        return super().forward(x)


def test_a_network_that_takes_one_image_is_shown_one_at_a_time(network: Tiny) -> None:
    made = OptVis(seeded(Alone), Channel("second", [0, 1])).vis(16, thresh=2)
    assert torch.allclose(made.images, OptVis(network, Channel("second", [0, 1])).vis(16, thresh=2).images, atol=1e-4)


# 16: sizes of requests


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Channel("second", range(10**15)),
        lambda: ImageParam(4096, 10**6),
        lambda: PixelParam(16384, 1000),
        lambda: ImageParam(10**9),
        lambda: ImageParam(-5),
        lambda: OptVis(seeded(Tiny), "second", mean=range(10**15)),
        lambda: OptVis(seeded(Tiny), "second").vis(16, thresh=range(10**15)),
    ],
)
def test_what_memory_does_not_hold_is_refused(ask: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"too|at most|positive|channels|more than"):
        ask()


# 17: random state and batches


def test_batch_norm_without_statistics_does_not_couple_pictures() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)))
    both = OptVis(network, Channel("1", [0, 1])).vis(16, thresh=3)
    assert torch.equal(both.images[1:], OptVis(network, Channel("1", 1)).vis(16, thresh=3).images)


class Random(Tiny):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("method", ["gradcam", "smoothgrad", "occlusion"])
def test_attribution_of_a_random_network_leaves_the_random_state(method: str) -> None:
    image, before = torch.full((1, 3, 16, 16), 0.3), random_states()
    one, other = (attribute(seeded(Random), image, method, 0) for _ in range(2))
    assert random_states() == before and torch.equal(one.values, other.values)


# Pictures that depend on each other


def test_coupled_pictures_do_not_leave_one_by_one(network: Tiny) -> None:
    with pytest.raises(ValueError, match="until lets pictures leave one by one"):
        OptVis(network, Alike("second")).vis(ImageParam(16, 3), until="plateau", stages=[(16, 2)])


def test_coupled_pictures_are_not_parted_for_want_of_memory() -> None:
    class Narrow(Tiny):
        def forward(self, x: Tensor) -> Any:
            if len(x) > 2:
                raise torch.OutOfMemoryError("full")
            return super().forward(x)

    with pytest.raises(torch.OutOfMemoryError):
        OptVis(seeded(Narrow), Alike("second")).vis(ImageParam(16, 4), thresh=1)


# A picture whose settings were edited


def edited(folder: Path, network: nn.Module, change: Callable[[dict[str, Any]], Any], key: str = "optvis") -> Path:
    path = OptVis(network, Channel("second", [1, 2])).vis(16, thresh=1).save(folder / "a.png")
    texts = {"optvis": read_settings(path), "optvis-result": read_facts(path)}
    change(texts[key])
    info = PngInfo()
    for name, about in texts.items():
        info.add_itxt(name, json.dumps(about))
    with Image.open(path) as image:
        image.load()
        image.save(path, pnginfo=info)
    return path


WRONG: tuple[Any, ...] = (None, "x", -1, 1e308, [], {}, [[1, 2, 3]], {"kind": "os.system"}, {"tensor": "a"})


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("key", ["objective", "transforms", "grad_tfms", "stages", "lr", "seed", "batch", "img_param"])
def test_edited_settings_are_refused_or_drawn(key: str, value: Any, network: Tiny, tmp_path: Path) -> None:
    path = edited(tmp_path, network, lambda about: about["plan"].__setitem__(key, value))
    try:
        assert len(redraw(path, network)) == 2
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: scores that are no longer finite
        assert str(error) and "object has no attribute" not in str(error) and "not iterable" not in str(error)


@pytest.mark.parametrize("key", ["objective", "transforms"])
def test_missing_settings_are_refused(key: str, network: Tiny, tmp_path: Path) -> None:
    path = edited(tmp_path, network, lambda about: about["plan"].pop(key))
    with pytest.raises(ValueError, match=f"settings hold no '{key}'"):
        redraw(path, network)


@pytest.mark.parametrize("value", [None, -1, [99], [0], True])
@pytest.mark.parametrize("key", ["pictures", "labels", "scores", "shape"])
def test_edited_facts_are_refused_on_loading(key: str, value: Any, network: Tiny, tmp_path: Path) -> None:
    kept = "optvis-result" if key in ("scores", "shape") else "optvis"
    path = edited(tmp_path, network, lambda about: about.__setitem__(key, value), kept)
    with pytest.raises(ValueError, match="holds no visualisation that can be read"):
        Visualisation.load(path)

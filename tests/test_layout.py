"""Where batch and channels stand, on hand-made networks whose truth is known: told rightly, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import Tiny, seeded
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from optvis import ImageParam, OptVis, Visualisation
from optvis.network import LayerShape, NetworkInput, Probe, Probed, shadow
from optvis.network.layout import Layout, batch_layout, patch_grid

SIZE = (32, 32)


class Features(nn.Module):
    """A convolution of 4 px patches, then ``arrange``, then a module ``out`` that passes on what it gets."""

    def __init__(self, channels: int = 6, patch: int = 4, out: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, channels, patch, patch), nn.Softplus()
        self.out = nn.Identity() if out is None else out

    def arrange(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.arrange(self.relu(self.conv(x))))


def windows(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` to ``[N * 4, T, C]``, four windows an image, as Swin does."""
    n, c, h, w = x.shape
    return x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 3, 5, 1).reshape(4 * n, -1, c)


class Windows(Features):
    def arrange(self, x: Tensor) -> Tensor:
        return windows(x)


class Interleaved(Features):
    """``[4 * N, T, C]``: the first window of all images, then the second."""

    def arrange(self, x: Tensor) -> Tensor:
        rows = windows(x)
        return rows.unflatten(0, (len(x), 4)).transpose(0, 1).flatten(0, 1)


class TimeFirst(Features):
    """``[T, N, C]``, as torch's own GRU and TransformerEncoderLayer take by default."""

    def arrange(self, x: Tensor) -> Tensor:
        return x.flatten(2).permute(2, 0, 1)


class ChannelsLast(Features):
    def arrange(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Siamese(Features):
    """Two views of each image in one batch."""

    def arrange(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.flip(-1)])


class Crops(Features):
    """Two crops of each image, which follow each other."""

    def arrange(self, x: Tensor) -> Tensor:
        return torch.stack([x[..., :4, :4], x[..., -4:, -4:]], 1).flatten(0, 1)


class Tokens(Features):
    """``[N, C, T]``."""

    def arrange(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class Fixed(Tokens):
    """Of one size: 16 tokens of 16 channels, so that nothing tells the axes apart but a module's type."""

    def __init__(self, mixed: nn.Module | None = None, out: nn.Module | None = None) -> None:
        super().__init__(16, 8, out)
        self.position = nn.Parameter(torch.zeros(16, 16))
        self.mixed = mixed or nn.Identity()
        self.input_size = (3, 32, 32)

    def arrange(self, x: Tensor) -> Tensor:
        return self.mixed(super().arrange(x) + self.position)


def prober(network: nn.Module, *layers: str, **options: Any) -> Probe:
    """A probe that was used at ``SIZE``."""
    probe = Probe(shadow(network), layers, NetworkInput.of(network), **options)
    probe.at(SIZE)
    return probe


def probed(network: nn.Module, *layers: str, **options: Any) -> Probed:
    return prober(network, *layers, **options).at(SIZE)


def shape_of(network: nn.Module, layer: str = "out", **options: Any) -> LayerShape:
    return probed(network, layer, **options).layers[layer]


KNOWN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Layout]] = {
    "[N, C, H, W]": (Features, (6, 8, 8), Layout(0, 1)),
    "[N, H, W, C]": (ChannelsLast, (6, 8, 8), Layout(0, 3)),
    "[N, C, T]": (Tokens, (6, 64), Layout(0, 1)),
    "[T, N, C]": (TimeFirst, (6, 64), Layout(1, 2)),
    "windows": (Windows, (6, 4, 16), Layout(0, 2, 4, True)),
    "windows, interleaved": (Interleaved, (6, 4, 16), Layout(0, 2, 4, False)),
    "crops": (Crops, (6, 2, 4, 4), Layout(0, 1, 2, True)),
    "Siamese": (Siamese, (6, 2, 8, 8), Layout(0, 1, 2, False)),
    "windows of 8 tokens of 8 channels": (lambda: Windows(16, 4), (16, 4, 16), Layout(0, 2, 4, True)),
    "[N, H, W, C], all alike": (lambda: ChannelsLast(8), (8, 8, 8), Layout(0, 3)),
    "[T, N, C], all alike": (lambda: TimeFirst(64), (64, 64), Layout(1, 2)),
    "one size, the layer's own type": (lambda: Fixed(out=nn.Linear(16, 16)), (16, 16), Layout(0, 2)),
    "one size, convolution": (lambda: Fixed(out=nn.Conv1d(16, 16, 1)), (16, 16), Layout(0, 1)),
    "one size, batch norm": (lambda: Fixed(out=nn.BatchNorm1d(16)), (16, 16), Layout(0, 1)),
    "one size, LayerNorm": (lambda: Fixed(out=nn.LayerNorm(16)), (16, 16), Layout(0, 2)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_layout_is_found(name: str) -> None:
    make, shape, layout = KNOWN[name]
    found = shape_of(seeded(make))
    assert (found.shape, found.layout) == (shape, layout)


@pytest.mark.parametrize("name", KNOWN)
def test_activations_are_those_of_each_image(name: str) -> None:
    """``channels_first`` of a batch is that of its images one by one, and ``original`` is its reverse."""
    network = seeded(KNOWN[name][0])
    found = shape_of(network)
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch, singles = network(images), [network(image[None]) for image in images]
    first = found.channels_first(batch)
    assert first.shape == (3, *found.shape)
    for one, single in zip(first, singles, strict=False):
        assert torch.allclose(one, found.channels_first(single)[0], atol=1e-6)
    assert torch.equal(found.layout.original(first), batch)
    conv = network.relu(network.conv(images)) if "one size" not in name else None
    if conv is not None and name != "crops":
        assert torch.allclose(first.flatten(2).mean(2), conv.detach().flatten(2).mean(2), atol=1e-5), (
            "channel by channel"
        )


@pytest.mark.parametrize("name", KNOWN)
def test_every_picture_of_a_batch_climbs_as_alone(name: str) -> None:
    network = seeded(KNOWN[name][0])
    options: dict[str, Any] = {"stages": [(32, 5)], "transform": False}
    batch = OptVis.from_layer(network, "out", [0, 1, 2, 3]).vis(ImageParam(32, 4, seed=[0] * 4), **options)
    assert (batch.scores > batch.history[0]).all()
    for channel in (0, 3):
        alone = OptVis.from_layer(network, "out", channel).vis(ImageParam(32), **options)
        assert (batch.images[channel] - alone.images[0]).abs().max() < 1e-3


# What cannot be told


@pytest.mark.parametrize("before", [None, nn.Linear(16, 16), nn.BatchNorm1d(16)])
def test_one_size_with_nothing_to_tell_the_axes_is_refused_by_name(before: nn.Module | None) -> None:
    """What a module before it was is not enough: there may be a transposition in between."""
    message = r"layer 'out' \(Identity\) puts out \[1, 16, 16\].*write channel_axis= with one of 1, 2"
    network = seeded(Fixed, before)
    with pytest.raises(ValueError, match=message):
        OptVis.from_layer(network, "out", 0).vis(thresh=1)
    found = {axis: shape_of(network, channel_axis=axis).layout.channel for axis in (1, 2, -1, -2)}
    assert found == {1: 1, 2: 2, -1: 2, -2: 1}
    assert OptVis.from_layer(network, "out", 0, channel_axis=1).vis(thresh=2).scores.isfinite().all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_given_for_tokens_first_is_none_of_the_batch(axis: int) -> None:
    network = seeded(TimeFirst)
    if axis == 1:
        with pytest.raises(
            ValueError, match=r"channel_axis 1 of layer 'out': its output \[64, 1, 6\] has the axes 0, 2"
        ):
            shape_of(network, channel_axis=axis)
    else:
        assert shape_of(network, channel_axis=axis).layout == Layout(1, axis)


class Proposals(Features):
    """As many rows as there are bright patches."""

    def arrange(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(0, 2)
        return rows[rows[:, 0] > rows[:, 0].median()]


class Similarity(Features):
    """``[N, N]``: each image with each."""

    def arrange(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return rows @ rows.T


@pytest.mark.parametrize("kind", [Proposals, Similarity])
def test_rows_that_belong_to_no_image_are_refused(kind: type[Features]) -> None:
    network = seeded(kind)
    called: list[int] = []
    with pytest.raises(ValueError, match=r"layer 'out'"):
        OptVis.from_layer(network, "out", 0).vis(
            ImageParam(32, 2), stages=[(32, 2)], callback=lambda step, _: called.append(step)
        )
    assert not called


def test_rows_that_change_in_number_as_the_picture_changes_are_refused() -> None:
    layout = Layout(0, 1, rows=4)
    assert layout.channels_first(torch.zeros(8, 3)).shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"4 rows an image puts out 6 now.*depends on the content of the image"):
        layout.channels_first(torch.zeros(6, 3))


# Networks whose batches are more than their images


class BatchNormed(Features):
    """Batch norm without running statistics: what an image gives depends on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6, track_running_stats=False)

    def arrange(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Asserting(Features):
    """Takes one image at a time."""

    def arrange(self, x: Tensor) -> Tensor:
        assert len(x) == 1, "one image at a time"
        return x


class OneByOne(Features):
    """A loop over the images: the layer is called once for each."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(OneByOne, self).forward(image[None]) for image in x])


@pytest.mark.parametrize("kind", [BatchNormed, Asserting, OneByOne])
def test_they_are_shown_one_image_at_a_time(kind: type[Features]) -> None:
    network = seeded(kind)
    assert prober(network, "out").alone
    options: dict[str, Any] = {"stages": [(32, 4)], "transform": False}
    optvis = OptVis.from_layer(network, "out", [0, 1, 2])
    result = optvis.vis(ImageParam(32, 3, seed=[0] * 3), batch=3, **options)
    assert result.settings["batch"] == 1
    for channel in range(3):
        alone = OptVis.from_layer(network, "out", channel).vis(ImageParam(32), **options)
        assert torch.equal(result.images[channel], alone.images[0])
        assert torch.allclose(result.scores[channel], alone.scores[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Features, ChannelsLast, TimeFirst, Windows, Tokens])
def test_others_are_shown_many(kind: type[Features]) -> None:
    assert not prober(seeded(kind), "out").alone


# Recomputed in the backward pass


class Checkpointed(Tiny):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Any:
        x = checkpoint(lambda x: self.second(self.relu(self.first(x))), x, use_reentrant=self.reentrant)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("layer", ["second", "head"])
def test_checkpointed_networks_draw_without_noise_and_softness(reentrant: bool, layer: str) -> None:
    """The layers are called again in the backward pass, out of reach of what replaces functions."""
    network = seeded(Checkpointed, reentrant)
    assert not probed(seeded(Tiny), layer).checkpointed

    def draw(network: nn.Module, **options: Any) -> Visualisation:
        return OptVis.from_layer(network, layer, 1, **options).vis(ImageParam(32), [(32, 5)])

    if reentrant and layer == "second":  # it is run under no_grad
        with pytest.raises(ValueError, match="no gradient reaches the image"):
            draw(network)
        return
    assert probed(network, layer).checkpointed
    with pytest.warns(UserWarning, match=r"activations again in the backward pass .* both are off") as seen:
        result = draw(network)
    (warning,) = [warning for warning in seen if "both are off" in str(warning.message)]
    assert warning.filename == __file__
    assert result.settings["channel_noise"] == 0 and result.settings["relu_softness"] == 0
    plain = draw(seeded(Tiny), channel_noise=0.0, relu_softness=0.0)
    assert torch.allclose(result.images, plain.images, atol=1e-4)


# The parts


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        ((1, 3, 4), (2, 3, 4), (0, 1, True)),
        ((5, 1, 4), (5, 2, 4), (1, 1, True)),
        ((4, 3), (8, 3), (0, 4, True)),
        ((1, 1), (2, 2), None),
        ((1, 3), (2, 4), None),
        ((4, 3), (7, 3), None),
        ((3, 4), (3, 4), None),
        ((1, 3), (2, 3, 1), None),
    ],
)
def test_the_axis_that_doubles(one: tuple[int, ...], two: tuple[int, ...], found: tuple[int, int, bool] | None) -> None:
    assert batch_layout(torch.zeros(one), torch.zeros(two), exact=False) == found


def test_values_tell_how_rows_are_ordered() -> None:
    rows = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)) - 0.5
    one = rows[0]
    assert batch_layout(one, rows.flatten(0, 1), exact=True) == (0, 4, True)
    assert batch_layout(one, rows.transpose(0, 1).flatten(0, 1), exact=True) == (0, 4, False)
    assert batch_layout(one, rows.flip(0).flatten(0, 1), exact=True) is None, "the first image is not found"


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [(64, (32, 32), (8, 8)), (65, (32, 32), (8, 8)), (4, (32, 32), (2, 2)), (240, (48, 80), (12, 20))],
)
def test_the_grid_with_the_fewest_further_tokens(tokens: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert patch_grid(tokens, size) == grid

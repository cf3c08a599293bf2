"""What a network takes and what its layers put out, found by looking and by one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .addresses import unwrap
from .channel_noise import weighted_channels
from .tap import Tap

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkInput:
    """What a network takes: channels, its own size (height, width) in pixels where it has one, mean and std."""

    channels: int
    size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    dtype: torch.dtype

    @property
    def default_size(self) -> tuple[int, int]:
        """The size of a picture where none is asked for: the network's own, or 224 px."""
        return self.size or (224, 224)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ) -> NetworkInput:
        """Read from the first convolution and from timm, torchvision and Hugging Face configurations.

        Mean and standard deviation default to ImageNet's (their average where the network does not take RGB).

        Raises:
            ValueError: the number of mean or std values does not fit the network's channels, or an std is not
                positive.
        """
        inner = unwrap(network)
        weight = next((p for p in inner.parameters() if p.is_floating_point()), torch.empty(0))
        channels = _channels(inner)
        own_mean, own_std = _normalisation(inner, channels)
        return cls(
            channels=channels,
            size=_own_size(inner),
            mean=_values("mean", mean, channels) or own_mean,
            std=_values("std", std, channels) or own_std,
            device=weight.device,
            dtype=weight.dtype,
        )


def _values(name: str, given: float | Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    if given is None:
        return None
    values = tuple(float(v) for v in given) if isinstance(given, (Sequence, Tensor)) else (float(given),) * channels
    if len(values) != channels:
        raise ValueError(f"{name} has {len(values)} values {values}, but the network takes {channels} channels")
    if name == "std" and min(values) <= 0:
        raise ValueError(f"std must be positive in every channel, not {values}")
    return values


def _config(network: nn.Module) -> dict[str, Any]:
    for name in ("pretrained_cfg", "default_cfg"):  # timm
        config = getattr(network, name, None)
        if config is not None:
            return config if isinstance(config, dict) else vars(config)
    return {}


def _channels(network: nn.Module) -> int:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.LazyConv2d)):
            return module.in_channels if module.in_channels else 3
    return int((_config(network).get("input_size") or (3,))[0])


def _own_size(network: nn.Module) -> tuple[int, int] | None:
    size = _config(network).get("input_size") or getattr(network, "input_size", None)
    if size is None:
        size = getattr(network, "image_size", None)  # torchvision's ViT
    if size is None:
        size = getattr(getattr(network, "config", None), "image_size", None)  # Hugging Face
    if isinstance(size, int):
        return size, size
    if isinstance(size, (tuple, list)) and len(size) >= 2 and all(isinstance(n, int) for n in size):
        return int(size[-2]), int(size[-1])
    return None


def _normalisation(network: nn.Module, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    config = _config(network)
    mean, std = config.get("mean"), config.get("std")
    if mean is None:
        mean, std = getattr(network, "image_mean", None), getattr(network, "image_std", None)
    if mean is None and hasattr(getattr(network, "transform", None), "image_mean"):
        mean, std = [0.0] * channels, [1.0] * channels  # torchvision's detectors normalise within
    if mean is not None and std is not None and len(mean) == len(std) == channels:
        return tuple(float(v) for v in mean), tuple(float(v) for v in std)
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (sum(IMAGENET_MEAN) / 3,) * channels, (sum(IMAGENET_STD) / 3,) * channels


@dataclass(frozen=True)
class LayerShape:
    """What one layer puts out for one image.

    Attributes:
        shape: ``(C,)``, ``(C, H, W)`` or ``(C, T)``, the channel first, whatever the layer's own order.
        axis: where the channel stands in the layer's own output, the batch being axis 0.
        calls: how often the layer is called in one forward pass.
        grid: for tokens, ``(height, width)`` of the grid of patches, which are the last ``height * width`` tokens.
        names: names of the channels, where the network has them.
    """

    shape: tuple[int, ...]
    axis: int
    calls: int
    grid: tuple[int, int] | None = None
    names: tuple[str, ...] | None = None

    def channels_first(self, activation: Tensor) -> Tensor:
        """The layer's own output as float32 ``[N, C, ...]``."""
        activation = activation if self.axis == 1 else activation.movedim(self.axis, 1)
        return activation.float()


@dataclass
class Probe:
    """Runs a network once on a plain image and says what its layers put out.

    Args:
        network: the network, frozen.
        layers: addresses of the layers asked for.
        extra: further inputs of the network, after the image (positional or by name).
        channel_axis: where the channel stands, for every layer or by address; found by looking where not given.

    Attributes:
        weighted: how many channels each convolution and fully connected layer puts out on the way to the last of the
            layers.
    """

    network: nn.Module
    layers: Sequence[str]
    given: NetworkInput
    device: torch.device
    extra: Sequence[Any] | Mapping[str, Any] = ()
    channel_axis: int | Mapping[str, int] | None = None
    weighted: Sequence[int] = ()
    _sizes: dict[tuple[int, int], dict[str, LayerShape] | Exception] = field(default_factory=dict)

    def at(self, size: tuple[int, int]) -> dict[str, LayerShape]:
        """Shapes by address for an image of ``size`` (height, width); raises what the network raises."""
        if size not in self._sizes:
            try:
                self._sizes[size] = self._run(size)
            except Exception as error:
                self._sizes[size] = error
        found = self._sizes[size]
        if isinstance(found, Exception):
            raise found
        return found

    def works_at(self, size: tuple[int, int]) -> bool:
        """Whether the network runs as far as the layers on an image of ``size``."""
        try:
            self.at(size)
        except Exception:
            return False
        return True

    def network_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """The one size (height, width) that the network takes, or ``None`` where it takes ``size`` as it is.

        Raises:
            ValueError: the network takes neither ``size`` nor a size of its own; where other sizes work, the
                message names the smallest.
        """
        if self.works_at(size):
            return None
        error = self._sizes[size]
        assert isinstance(error, Exception)
        for own in [self.given.size] if self.given.size else [(224, 224), (299, 299), (256, 256), (384, 384), (32, 32)]:
            if own is not None and own != size and self.works_at(own):
                larger = (2 * own[0], 2 * own[1])
                if not self.works_at(larger):
                    return own
                smallest = self._smallest(own)
                if smallest <= min(size):
                    break  # it is not for being small that it does not work
                raise ValueError(
                    f"an image of {size[0]} × {size[1]} px is too small for {_layers(self.layers)} of "
                    f"{type(self.network).__name__}: the smallest square that works has {smallest} px "
                    f"({error})"
                ) from error
        if isinstance(error, ValueError):
            raise error
        raise ValueError(
            f"{type(self.network).__name__} does not run on an image of {self.given.channels} × {size[0]} × {size[1]} "
            f"({self.given.dtype}, {self.device}): {error}"
        ) from error

    def _smallest(self, works: tuple[int, int]) -> int:
        low, high = 1, max(works)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.works_at((middle, middle)) else (middle, high)
        return high

    def _run(self, size: tuple[int, int]) -> dict[str, LayerShape]:
        activations, calls = self._forward(size)
        return {
            address: self.shape_of(address, activation, calls[address], size)
            for address, activation in activations.items()
        }

    def shape_of(self, address: str, activation: Tensor, calls: int, size: tuple[int, int]) -> LayerShape:
        """Read off what a layer put out for images of ``size``; the network is run again only where this is not clear.

        Raises:
            ValueError: it has no channels.
        """
        if activation.dim() < 2:
            raise ValueError(
                f"layer {address!r} puts out {list(activation.shape)}, which has no channels: choose another layer"
            )
        axis = self._axis(address, activation, size)
        first = activation.movedim(axis, 1)
        return LayerShape(
            shape=tuple(first.shape[1:]),
            axis=axis,
            calls=calls,
            grid=_grid(first.shape[2], size) if first.dim() == 3 else None,
            names=channel_names(self.network, address, first.shape[1]),
        )

    def _forward(self, size: tuple[int, int]) -> tuple[dict[str, Tensor], dict[str, int]]:
        mid_grey = torch.zeros(1, self.given.channels, *size, device=self.device, dtype=self.given.dtype)
        mid_grey.requires_grad_()
        inputs, named = with_extra(mid_grey, self.extra)

        def note_passed() -> None:
            self.weighted = tuple(passed.channels)

        with Tap(self.network, self.layers, on_capture=note_passed) as tap, weighted_channels() as passed:
            activations = tap(*inputs, **named)
            calls = tap.calls
        for address, activation in activations.items():
            if not activation.requires_grad:
                raise ValueError(
                    f"no gradient reaches the image from layer {address!r} of {type(self.network).__name__}: it does "
                    "not depend on the image, or the network runs it under no_grad or detaches it"
                )
            if not torch.isfinite(activation).all():
                raise ValueError(_not_finite(self.network, address))
        return {address: activation.detach() for address, activation in activations.items()}, calls

    def _axis(self, address: str, activation: Tensor, size: tuple[int, int]) -> int:
        """The channel is the axis that does not follow the image's size, and otherwise the usual one."""
        given = self.channel_axis.get(address) if isinstance(self.channel_axis, Mapping) else self.channel_axis
        rank = activation.dim()
        if given is not None:
            if not -rank < given < rank or given % rank == 0:
                raise ValueError(
                    f"channel_axis {given} of layer {address!r}: its output {list(activation.shape)} has "
                    f"the axes 1 to {rank - 1} to choose from"
                )
            return given % rank
        if rank == 2:
            return 1
        shape = activation.shape
        if rank == 4 and size[0] == size[1] and (shape[1] == shape[2]) != (shape[2] == shape[3]):
            return 3 if shape[1] == shape[2] else 1
        for other in ((size[0] * 2, size[1] * 2), (size[0] + 32, size[1] + 32), (size[0] // 2, size[1] // 2)):
            try:
                seen = self._forward(other)[0][address]
            except Exception:
                continue  # a network of one size says nothing this way
            still = [i for i in range(1, rank) if seen.dim() == rank and seen.shape[i] == shape[i]]
            if len(still) == 1:
                return still[0]
        return 2 if rank == 3 else 1


def with_extra(image: Tensor, extra: Sequence[Any] | Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named inputs for a batch of images; extra tensors of batch 1 are repeated for each image."""

    def fit(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.to(image.device)
        if value.dim() and value.shape[0] == 1 and image.shape[0] > 1:
            value = value.expand(image.shape[0], *value.shape[1:])
        return value

    if isinstance(extra, Mapping):
        return (image,), {name: fit(value) for name, value in extra.items()}
    return (image, *(fit(value) for value in extra)), {}


def _grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of square patches that explains a number of tokens with the fewest further (class, register) ones."""
    best: tuple[int, tuple[int, int]] | None = None
    for patch in range(1, min(size) + 1):
        grid = (size[0] // patch, size[1] // patch)
        further = tokens - grid[0] * grid[1]
        if 0 <= further <= 16 and (best is None or further < best[0]):
            best = (further, grid)
    return best[1] if best else None


def channel_names(network: nn.Module, address: str, channels: int) -> tuple[str, ...] | None:
    """Names of a layer's channels: a network's ``output_names[address]``, Hugging Face's ``id2label``."""
    names = getattr(network, "output_names", None)
    if isinstance(names, Mapping):
        fitting = [values for values in names.values() if len(values) == channels]
        lone = fitting[0] if address == "" and len(fitting) == 1 else None  # the network's own output
        names = names.get(address, lone)
    if names is None and address in ("", "classifier", "fc", "head"):
        labels = getattr(getattr(network, "config", None), "id2label", None)
        names = [labels[i] for i in sorted(labels)] if isinstance(labels, Mapping) else None
    return tuple(names) if names is not None and len(names) == channels else None


def _not_finite(network: nn.Module, address: str) -> str:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return f"the weights {name!r} of {type(network).__name__} hold NaN or infinite values: load them again"
    return f"layer {address!r} of {type(network).__name__} puts out NaN or infinite values on a plain grey image"


def _layers(layers: Sequence[str]) -> str:
    return "layer " + ", ".join(repr(layer) for layer in layers)

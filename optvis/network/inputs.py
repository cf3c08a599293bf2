"""A network's input: channels, size, normalisation, further inputs; read from the network and its configuration."""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import Size, as_numbers
from ..names import Names, as_names
from .addresses import unwrap
from .imagenet import CLASSES, IMAGENET_MEAN, IMAGENET_STD, library_of, names_of_outputs, outputs_of

_NO_WEIGHT = torch.empty(0, dtype=torch.float32, device="cpu")
Numbers = float | Sequence[float] | None
Extra = Sequence[Any] | Mapping[str, Any]
"""Further inputs of a network after the image: positional ones, or named ones."""


class Normalisation(NamedTuple):
    """Mean and standard deviation for each channel, and where they come from."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class NetworkInput:
    """A network's input: channels, its own size (height, width) in pixels or ``None``, mean and standard deviation."""

    channels: int
    size: Size | None
    normalisation: Normalisation
    device: torch.device
    dtype: torch.dtype

    @property
    def mean(self) -> tuple[float, ...]:
        """For each channel."""
        return self.normalisation.mean

    @property
    def std(self) -> tuple[float, ...]:
        """For each channel."""
        return self.normalisation.std

    @property
    def default_size(self) -> Size:
        """The default size of a picture: the network's own, or 224 px."""
        return self.size or (224, 224)

    @classmethod
    def of(cls, network: nn.Module, mean: Numbers = None, std: Numbers = None) -> NetworkInput:
        """Read from the first convolution and from timm, torchvision and Hugging Face configurations.

        Mean and standard deviation are those of the configuration or of ``network.image_mean`` and ``image_std``.
        Where the network does not say them, ImageNet's are assumed for three channels and 1000 outputs and for the
        architectures of torchvision and Hugging Face, which are mostly trained further from ImageNet's weights; for
        any other network, mean 0 and standard deviation 1, so that it gets images in [0, 1], as ``ToTensor`` makes
        them. A warning says once for each network what was assumed, except for 1000 outputs outside Hugging Face.

        Raises:
            ValueError: the number of mean or std values does not fit the network's channels, a mean is not finite, or
                an std is not positive and finite.
        """
        inner = unwrap(network)
        weight: Tensor = next((p for p in inner.parameters() if p.is_floating_point()), _NO_WEIGHT)
        if weight.is_meta:
            raise ValueError(f"the weights of {type(inner).__name__} are on the meta device, without values: load them")
        channels = _channels(inner)
        source = "given"
        if mean is None or std is None:
            own_mean, own_std, source = _normalisation(inner, channels)
            _warn_once(inner, source)
            mean, std = own_mean if mean is None else mean, own_std if std is None else std
        mean, std = as_numbers("mean", mean, channels, "channels"), as_std(std, channels)
        return cls(channels, _own_size(inner), Normalisation(mean, std, source), weight.device, weight.dtype)


def as_std(std: Any, channels: int) -> tuple[float, ...]:
    """A standard deviation for each channel; raises ``ValueError`` where one is not above 0."""
    values = as_numbers("std", std, channels, "channels")
    if min(values) <= 0:
        raise ValueError(f"std must be positive in every channel, not {values}: give std=")
    return values


def _config(network: nn.Module) -> dict[str, Any]:
    config: Any = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}  # timm
    return config if isinstance(config, dict) else vars(config)


def _channels(network: nn.Module) -> int:
    configured = int((_config(network).get("input_size") or (3,))[0])
    for module in network.modules():
        if isinstance(module, nn.PixelUnshuffle) or type(module).__name__ == "SpaceToDepth":
            break  # the first convolution has more input channels than the image
        if isinstance(module, nn.Conv2d) or getattr(module, "original_name", "") == "Conv2d":
            taken = getattr(module, "in_channels", None)  # which tracing drops
            return int(module.weight.shape[1] if taken is None else taken) or 3  # type: ignore
    return configured


def _own_size(network: nn.Module) -> Size | None:
    sizes = (
        getattr(getattr(network, "patch_embed", None), "img_size", None),  # timm's transformers, at any size
        _config(network).get("input_size") or getattr(network, "input_size", None),
        getattr(network, "image_size", None),  # torchvision's ViT
        getattr(getattr(network, "config", None), "image_size", None),  # Hugging Face
    )
    size = next((size for size in sizes if size is not None), None)
    if isinstance(size, int):
        return size, size
    known = isinstance(size, (tuple, list)) and len(size) >= 2 and all(isinstance(n, int) for n in size)
    return (size[-2], size[-1]) if known else None  # type: ignore[index]


def _normalisation(network: nn.Module, channels: int) -> Normalisation:
    config = _config(network)
    mean, std = config.get("mean"), config.get("std")
    if mean is None:
        mean, std = getattr(network, "image_mean", None), getattr(network, "image_std", None)
    zero, one = (0.0,) * channels, (1.0,) * channels
    if mean is None and hasattr(getattr(network, "transform", None), "image_mean"):
        return Normalisation(zero, one, "the network's own layer")  # torchvision's detectors
    if mean is not None and std is not None and len(mean) == len(std) == channels:
        return Normalisation(tuple(map(float, mean)), tuple(map(float, std)), "the network's")
    library = library_of(network)
    if channels == 3 and outputs_of(network) == CLASSES and library != "transformers":
        return Normalisation(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, as the network has 1000 outputs")
    if channels == 3 and library in ("torchvision", "transformers"):
        return Normalisation(IMAGENET_MEAN, IMAGENET_STD, f"{_ASSUMED} ImageNet's mean and standard deviation")
    return Normalisation(zero, one, f"{_ASSUMED} mean 0 and standard deviation 1 (images in [0, 1])")


_ASSUMED = "not known; assumed:"
_WARNED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _warn_once(network: nn.Module, source: str) -> None:
    if source.startswith(_ASSUMED) and network not in _WARNED:
        _WARNED.add(network)
        warnings.warn(
            f"how images are normalised for {type(network).__name__} is {source}. If it was trained otherwise, its "
            "pictures and maps are wrong: give mean= and std= (--mean and --std), or set network.image_mean and "
            "network.image_std",
            stacklevel=4,
        )


def each_extra(change: Callable[[Any], Any], extra: Extra) -> Extra:
    """The further inputs with each changed by a function."""
    if isinstance(extra, Mapping):
        return {name: change(value) for name, value in extra.items()}
    return tuple(map(change, extra))


def with_extra(image: Tensor, extra: Extra) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named inputs for a batch of images; extra tensors of batch 1 are repeated for each image."""

    def fit(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.to(image.device)
        return value.expand(len(image), *value.shape[1:]) if value.dim() and len(value) == 1 else value

    fitted = each_extra(fit, extra)
    return ((image,), dict(fitted)) if isinstance(fitted, Mapping) else ((image, *fitted), {})


def channel_names(network: nn.Module, address: str, channels: int) -> tuple[str, ...] | None:
    """Names of a layer's channels: ``network.output_names``, Hugging Face's ``id2label``, or ImageNet's classes.

    ``output_names`` is a list of the names of the network's outputs, or a dict of these for several layers.
    """
    names = getattr(network, "output_names", None)
    if isinstance(names, Mapping):
        names = {layer: values for layer, values in names.items() if isinstance(values, Sequence)}
        fitting = [values for values in names.values() if len(values) == channels]
        lone = fitting[0] if address == "" and len(fitting) == 1 else None  # the network's own output
        names = names.get(address, lone)
    if names is None and address in ("", "classifier", "fc", "head"):
        labels = getattr(getattr(network, "config", None), "id2label", None)
        names = [labels[i] for i in sorted(labels)] if isinstance(labels, Mapping) else None
        if names and all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names):
            names = None  # placeholders of a configuration without names
    if names is None:
        names = names_of_outputs(network, address, channels)
    return tuple(names) if names is not None and len(names) == channels else None


def name_outputs(network: nn.Module, names: Names | None) -> None:
    """Name the outputs of a shadow; raises ``ValueError`` if there are not as many names as outputs."""
    if names is not None:
        network.output_names = as_names(names, outputs_of(network))  # type: ignore[assignment]


def named_outputs(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names of a network's outputs by layer; ``""`` is the network's own output. Empty if they have none."""
    names = getattr(network, "output_names", None)
    if isinstance(names, Mapping):
        return {layer: tuple(values) for layer, values in names.items() if isinstance(values, Sequence)}
    count = len(names) if isinstance(names, Sequence) else getattr(getattr(network, "config", None), "num_labels", None)
    found = channel_names(network, "", count or outputs_of(network) or 0)
    return {} if found is None else {"": found}


def usable_device(device: torch.device | str) -> torch.device:
    """The device with its index, ``cuda:0`` for ``cuda``; raises ``ValueError`` if it is not available."""
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"device {str(device)!r} is not available: {str(error).splitlines()[0]}") from error
    if found.type == "meta":
        raise ValueError("device 'meta' cannot be used: it computes nothing")
    return found

"""What is assumed of networks trained on ImageNet: normalisation and class names."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from .addresses import unwrap

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLASSES = 1000


def library_of(network: nn.Module) -> str:
    """The package that defines the network's class: ``torchvision``, ``timm``, ..."""
    return type(network).__module__.partition(".")[0]


def last_weighted(network: nn.Module, address: str = "") -> tuple[str, int] | None:
    """Address and number of outputs of the last layer with a matrix or kernel of weights: the classifier's."""
    network = unwrap(network)
    for name, child in reversed(list(network.named_children())):
        found = last_weighted(child, f"{address}/{name}".lstrip("/"))
        if found is not None:
            return found
    weight = getattr(network, "weight", None)
    if isinstance(weight, nn.Parameter) and not is_lazy(weight) and weight.dim() > 1:
        return address, len(weight)
    return None


def outputs_of(network: nn.Module) -> int | None:
    """The number of outputs of the last layer with a matrix or kernel of weights."""
    last = last_weighted(network)
    return None if last is None else last[1]


@cache
def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, as torchvision spells them."""
    from torchvision.models import SqueezeNet1_0_Weights

    return tuple(SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"])


def names_of_outputs(network: nn.Module, address: str, outputs: int) -> tuple[str, ...] | None:
    """ImageNet's class names, if a layer puts out its classes.

    A network of 1000 outputs is taken for one of ImageNet-1k. Networks of timm for larger sets of ImageNet's classes
    are known to timm.

    Args:
        network: any network.
        address: of the layer; it puts out classes if it is the network itself, its last layer with weights, or a part
            that ends in it.
        outputs: the number of the layer's channels.
    """
    known = outputs == CLASSES or (library_of(network) == "timm" and outputs > CLASSES)
    last = last_weighted(network) if known else None
    if last is None or not (address == "" or f"{last[0]}/".startswith(f"{address}/")):
        return None
    return class_names() if outputs == CLASSES else _timm_names(network, outputs)


def _timm_names(network: nn.Module, outputs: int) -> tuple[str, ...] | None:
    data: Any = importlib.import_module("timm.data")
    subset = data.infer_imagenet_subset(network)
    names = tuple(data.ImageNetInfo(subset).label_descriptions()) if subset else ()
    return names if len(names) == outputs else None

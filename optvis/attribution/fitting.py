"""Whether a network takes these images, and what it and its layers then put out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..network import LayerShape, Probe
from .looking import Looking
from .targets import Target


def output_of(look: Looking) -> Any:
    """All that the network puts out for the images.

    Raises:
        ValueError: the network does not take images like these; the message says which it takes.
    """
    found: list[Any] = []

    def keep(output: Any) -> Tensor:
        found.append(output)
        return torch.zeros(len(look.images))

    asking = replace(look, target=Target(("",) * len(look.images), keep))
    try:
        with torch.no_grad():
            asking.run(asking.inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise _refusal(look, [""], error) from error
    return found[0]


def shapes_of(look: Looking, layers: Sequence[str]) -> dict[str, LayerShape]:
    """What layers put out for images like these; raises as ``output_of`` does."""
    probe = Probe(look.network, layers, look.given, look.images.device, look.extra_of([0]))
    try:
        return probe.at((look.images.shape[-2], look.images.shape[-1]))
    except (ValueError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _refusal(look, layers, error) from error


def _refusal(look: Looking, layers: Sequence[str], error: Exception) -> ValueError:
    """Why the network does not take the images, with the size that it takes."""
    kind, (height, width) = type(look.network).__name__, look.images.shape[-2:]
    probe = Probe(look.network, layers, look.given, look.images.device, look.extra_of([0]))
    try:
        own = probe.network_size((height, width))
    except ValueError as told:
        return told
    if own is None:  # a plain image of this size it takes
        return ValueError(f"{kind} does not run on images of {list(look.images.shape)}: {error}")
    return ValueError(
        f"{kind} takes images of {own[0]} × {own[1]} px, not {height} × {width} px: resize them, or give paths or PIL "
        f"images, which are fitted ({error})"
    )

"""Whether a network takes these images, and what it and its layers then put out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..network import LayerShape, Probe
from .context import Context, to_the_end


def first_pass(look: Context, layers: Sequence[str], leaves: bool = False) -> Context:
    """Show the images to the network for the first time: ``look`` with this pass.

    Its gradients reach the images, or, with ``leaves``, no further back than the layers, which is cheaper.

    Raises:
        ValueError: the network does not take images like these; the message says which it takes.
    """
    try:
        with torch.set_grad_enabled(bool(layers)):
            inputs = look.inputs.detach() if leaves else look.inputs
            return replace(look, first=look.passed(inputs, layers, to_the_end(layers)))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise _refusal(look, [""], error) from error


def shapes_of(look: Context, layers: Sequence[str]) -> dict[str, LayerShape]:
    """What layers put out for images like these; raises as ``first_pass`` does."""
    size = (look.images.shape[-2], look.images.shape[-1])
    probe = Probe(look.network, layers, look.given, look.images.device, look.extra_of([0]))
    try:
        if look.first is not None and look.first.seen.keys() >= set(layers):
            seen, calls = look.first.seen, look.first.calls
            return {layer: probe.shape_of(layer, seen[layer], calls[layer], size) for layer in layers}
        return probe.at(size)
    except (ValueError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _refusal(look, layers, error) from error


def _refusal(look: Context, layers: Sequence[str], error: Exception) -> ValueError:
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

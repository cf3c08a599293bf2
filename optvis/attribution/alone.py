"""Networks whose output for an image depends on the other images of the batch: they get one image at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..network import Extra, Forward, NetworkInput, Pass
from ..network.layout import BATCH_NORM


class AloneForward(Forward):
    """A ``Forward`` that runs the network on one image at a time."""

    def run(self, inputs: Tensor, *how: Any, **more: Any) -> Pass:
        """As ``Forward.run``; for several images, gradients with respect to the layers are not available."""
        if len(inputs) == 1:
            return super().run(inputs, *how, **more)
        alone = [self.take([i], len(inputs)) for i in range(len(inputs))]
        passes = [Forward.run(one, inputs[i : i + 1], *how, **more) for i, one in enumerate(alone)]
        seen = {layer: joined([one.seen[layer] for one in passes]) for layer in passes[0].seen}
        return Pass(inputs, joined([one.output for one in passes]), seen, passes[0].calls)


def forward_of(network: nn.Module, given: NetworkInput, extra: Extra | Tensor) -> Forward:
    """A ``Forward`` over a shadow of a network; one image at a time if a batch norm has no running statistics."""
    coupled = any(
        isinstance(module, BATCH_NORM) and getattr(module, "running_mean", None) is None for module in network.modules()
    )
    kind = AloneForward if coupled else Forward
    return kind.of(network, given, (extra,) if isinstance(extra, Tensor) else extra)


def joined(outputs: Sequence[Any]) -> Any:
    """The output for a batch, from those for each image; raises ``ValueError`` where its first axis is not the batch.

    Lists, as detectors put them out, hold a part for each image.
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        if first.dim() == 0 or len(first) != 1:
            raise ValueError(
                f"the network couples the images of a batch, and its output {list(first.shape)} for one image has no "
                "batch axis in front: give one image at a time"
            )
        return torch.cat(list(outputs))
    if isinstance(first, Mapping):
        return type(first)(**{key: joined([output[key] for output in outputs]) for key in first})
    if isinstance(first, list):
        return [part for output in outputs for part in output]
    if isinstance(first, tuple):
        parts = [joined(part) for part in zip(*outputs, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first

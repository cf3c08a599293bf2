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

    def run(
        self,
        inputs: Tensor,
        layers: Sequence[str],
        calls: Mapping[str, int] | None = None,
        missing_ok: bool = False,
        leaves: bool = False,
    ) -> Pass:
        """As ``Forward.run``; for several images, gradients with respect to the layers are not available."""
        if len(inputs) == 1:
            return super().run(inputs, layers, calls, missing_ok, leaves)
        passes: list[Pass] = []
        for i in range(len(inputs)):
            alone = self.take([i], len(inputs))
            passes.append(Forward.run(alone, inputs[i : i + 1], layers, calls, missing_ok, leaves))
        first = passes[0]
        seen = {layer: joined([one.seen[layer] for one in passes]) for layer in first.seen}
        return Pass(inputs, joined([one.output for one in passes]), seen, first.calls)


def forward_of(network: nn.Module, given: NetworkInput, extra: Extra) -> Forward:
    """A ``Forward`` over a shadow of a network; one image at a time if a batch norm has no running statistics."""
    forward = Forward.of(network, given, extra)
    coupled = any(
        isinstance(module, BATCH_NORM) and getattr(module, "running_mean", None) is None
        for module in forward.network.modules()
    )
    return AloneForward.of(network, given, extra) if coupled else forward


def joined(outputs: Sequence[Any]) -> Any:
    """The output of a network for a batch, from its outputs for each image alone.

    Raises:
        ValueError: the first axis of an output is not the batch.
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

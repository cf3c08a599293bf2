"""Networks that compute something else for an image in a batch: each image is shown to them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..network import Extra, Forward, NetworkInput, Pass


class AloneForward(Forward):
    """Shows images to the network one at a time."""

    def run(
        self,
        inputs: Tensor,
        layers: Sequence[str],
        calls: Mapping[str, int] | None = None,
        missing_ok: bool = False,
        leaves: bool = False,
    ) -> Pass:
        """As ``Forward.run``. For several images, gradients with respect to the layers cannot be asked for."""
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
    """Shows images to a shadow of a network, each alone where its batch norm has no statistics of its own."""
    forward = Forward.of(network, given, extra)
    coupled = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        for module in forward.network.modules()
    )
    kind = AloneForward if coupled else Forward
    return kind.of(network, given, extra) if coupled else forward


def joined(outputs: Sequence[Any]) -> Any:
    """What a network puts out for images, from what it puts out for each of them alone.

    Raises:
        ValueError: an output has no batch axis in front.
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        if first.dim() == 0 or len(first) != 1:
            raise ValueError(
                f"the network couples the images of a batch, and puts out {list(first.shape)} for one image, in which "
                "the batch cannot be told: give one image at a time"
            )
        return torch.cat(list(outputs))
    if isinstance(first, Mapping):
        return type(first)(**{key: joined([output[key] for output in outputs]) for key in first})
    if isinstance(first, list):
        return [part for output in outputs for part in output]
    if isinstance(first, tuple):
        parts = [joined(part) for part in zip(*outputs)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first

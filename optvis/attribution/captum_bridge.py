"""Helpers of the methods that Captum computes: the scores as a module, one image at a time, seeded random numbers."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ..checks import as_whole
from ..network.suffix import changed_layer
from .alone import AloneForward
from .context import Context
from .rules import Rules


def captum(name: str) -> Any:
    """A class of ``captum.attr`` by name; raises ``ImportError`` if Captum is not installed."""
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError as error:
        raise ImportError("pixel attribution needs Captum: pip install captum") from error


class Scores(nn.Module):
    """The scores ``[M]`` of normalised images ``[M, C, H, W]``, as a module.

    Captum hooks the child of this module, ``at_layer``. The network is not a child.

    Args:
        context: the network, the images and the target.
        rules: how gradients pass back through the network's functions.
        layer: address of a layer whose output passes through ``at_layer``.
    """

    def __init__(self, context: Context, rules: Rules | None = None, layer: str | None = None) -> None:
        super().__init__()
        self._context, self.rules, self._layer = [context], rules, layer
        if layer is not None:
            self.at_layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """``[M]`` scores of normalised images ``[M, C, H, W]``."""
        context, rules, reached = self._context[0], self.rules, self._layer is None
        if len(inputs) > 1 and isinstance(context.forward, AloneForward) and (rules or not reached):
            raise ValueError(
                f"{type(context.network).__name__} couples the images of a batch (batch norm without statistics), and "
                "this method needs batches: choose saliency, integrated_gradients, occlusion or a CAM"
            )

        def at_layer(x: Tensor) -> Tensor:
            nonlocal reached
            reached = True
            out: Tensor = self.at_layer(x)
            return out.clone()  # the rest of the network may change it in place

        layer = nullcontext() if self._layer is None else changed_layer(context.network, self._layer, at_layer)
        with layer, rules or nullcontext():
            try:
                scores = context.run(inputs)[0]
            finally:
                if rules is not None and rules.refused is not None:
                    raise rules.refused  # the network or the tap may have caught it
        if not reached:
            raise ValueError(f"layer {self._layer!r} is not called before the target: choose an earlier layer")
        return scores


def attributed(engine: Any, context: Context, **given: Any) -> Tensor:
    """The values that a Captum method computes for the inputs of a context, detached."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting ", UserWarning)  # about hooks on modules, which are all optvis's own
        values: Tensor = engine.attribute(context.inputs, **given)
    return values.detach()


def one_by_one(context: Context, attribute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``attribute(image, *row)`` for the context of each image and its row of ``rows``, float32, concatenated.

    An image's map then does not depend on the other images of the batch. N images take N times as long as one.
    """
    values = []
    for i in range(len(context.images)):
        values.append(attribute(context.take([i]), *(row[i : i + 1] for row in rows)).float())
    return torch.cat(values)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's and NumPy's global generators are seeded with ``seed``; afterwards they are restored.

    Captum draws from both, in torch's default type, and takes no generator.
    """
    as_whole("seed", seed, 0, 2**32 - 1)  # NumPy takes no larger seed
    numpy_state, dtype = numpy.random.get_state(), torch.get_default_dtype()
    # Where CUDA is not initialised, torch would keep the seed for later.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with torch.random.fork_rng(devices=list(devices)):
        try:
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
            numpy.random.seed(seed)
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)
            numpy.random.set_state(numpy_state)

"""What methods that Captum computes share: the scores as a module, one image at a time, seeded random numbers."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ..checks import as_whole
from ..network.suffix import changed_layer
from .alone import AloneForward
from .context import Context
from .function_modules import FunctionModules


def captum(name: str) -> Any:
    """A class of ``captum.attr`` by name.

    Raises:
        ImportError: Captum is not installed.
    """
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError as error:
        raise ImportError("pixel attribution needs Captum: pip install captum") from error


class Scores(nn.Module):
    """The scores ``[M]`` of normalised images ``[M, C, H, W]``, as a module.

    Captum hooks the children of this module: those of ``calls`` and ``at_layer``. The network is not among them.

    Args:
        context: the network, the images and the target.
        calls: within which the network runs.
        layer: address of a layer whose output passes ``at_layer``.
    """

    def __init__(self, context: Context, calls: FunctionModules | None = None, layer: str | None = None) -> None:
        super().__init__()
        self._context, self.calls, self._layer = [context], calls, layer  # a list, or the network would be a child
        if calls is not None:
            self.modules_of_calls = calls.modules
        if layer is not None:
            self.at_layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        context, reached = self._context[0], self._layer is None
        if len(inputs) > 1 and isinstance(context.forward, AloneForward) and (self.calls or self._layer is not None):
            raise ValueError(
                f"{type(context.network).__name__} couples the images of a batch (batch norm without statistics), and "
                "this method needs batches: choose saliency, integrated_gradients, occlusion or a CAM"
            )

        def at_layer(x: Tensor) -> Tensor:
            nonlocal reached
            reached = True
            return self.at_layer(x).clone()  # what follows may work in place

        with ExitStack() as around:
            if self._layer is not None:
                around.enter_context(changed_layer(context.network, self._layer, at_layer))
            if self.calls is not None:
                around.enter_context(self.calls)
            try:
                scores = context.run(inputs)[0]
            finally:
                if self.calls is not None and self.calls.refused is not None:
                    raise self.calls.refused  # the network, or what runs it, may have caught it and gone on
        if not reached:
            raise ValueError(f"layer {self._layer!r} is not called on the way to the target: choose one before it")
        return scores


def attributed(engine: Any, context: Context, **given: Any) -> Tensor:
    """What a Captum method computes for the inputs of a context, detached."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting ", UserWarning)  # Captum warns of hooks on modules that are ours
        values: Tensor = engine.attribute(context.inputs, **given)
    return values.detach()


def one_by_one(context: Context, attribute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """``attribute(image, *row)`` of each image alone, float32, joined along the batch.

    An image's map then does not depend on the other images of the batch. N images take N times as long as one.

    Args:
        context: of N images.
        attribute: a function of the context of one image, and of its row ``[1, ...]`` of each of ``rows``.
        rows: tensors ``[N, ...]``.
    """
    values = []
    for i in range(len(context.images)):
        values.append(attribute(context.take([i]), *(row[i : i + 1] for row in rows)).float())
    return torch.cat(values)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's and numpy's global random numbers come from ``seed``; their states are then put back.

    Captum draws from both, in torch's default type, and takes no generator.
    """
    as_whole("seed", seed, 0, 2**32 - 1)
    numpy_state, dtype = numpy.random.get_state(), torch.get_default_dtype()
    # Where CUDA is not initialised, torch would keep the seed for later.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else range(0)
    with torch.random.fork_rng(devices=list(devices)):
        try:
            torch.random.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
            numpy.random.seed(seed)
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)
            numpy.random.set_state(numpy_state)

"""A network frozen while it is used, and handed back exactly as it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .addresses import unwrap


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Within the block the network is in eval mode, computes no gradient of its weights and runs uncompiled.

    After the block, also after an error or Ctrl-C, every module's training flag, every parameter's
    ``requires_grad`` and every compiled call are what they were. Gradients are enabled within the block, whatever
    the caller's ``no_grad`` or ``inference_mode``.

    Raises:
        ValueError: a weight was made under ``torch.inference_mode()``; autograd cannot use such tensors.
    """
    inner = unwrap(network)
    for name, tensor in [*inner.named_parameters(), *inner.named_buffers()]:
        if tensor.is_inference():
            raise ValueError(
                f"{name!r} of {type(inner).__name__} was made under torch.inference_mode() and gradients cannot pass "
                "through such tensors: make or load the network outside of it"
            )
    training = {module: module.training for module in inner.modules()}
    trained = {parameter: parameter.requires_grad for parameter in inner.parameters()}
    compiled = {m: m._compiled_call_impl for m in training if getattr(m, "_compiled_call_impl", None) is not None}
    try:
        inner.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        for module in compiled:
            module._compiled_call_impl = None
        with torch.inference_mode(False), torch.enable_grad(), _eager():
            yield inner
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, flag in trained.items():
            parameter.requires_grad_(flag)
        for module, call in compiled.items():
            module._compiled_call_impl = call


@contextmanager
def _eager() -> Iterator[None]:
    """Submodules that were compiled one by one run uncompiled, since compiled code skips hooks set later."""
    set_stance = getattr(torch.compiler, "set_stance", None)  # torch 2.6 and newer
    if set_stance is None:
        yield
    else:
        with set_stance("force_eager"):
            yield

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
    modules = list(inner.modules())  # one walk: a network of many small modules takes longer to list than to ask
    tensors = [t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
    if any(tensor.is_inference() for tensor in tensors):
        named = [*inner.named_parameters(), *inner.named_buffers()]
        name = next(name for name, tensor in named if tensor.is_inference())
        raise ValueError(
            f"{name!r} of {type(inner).__name__} was made under torch.inference_mode() and gradients cannot pass "
            "through such tensors: make or load the network outside of it"
        )
    training = {module: module.training for module in modules}
    trained = {tensor: tensor.requires_grad for tensor in tensors if isinstance(tensor, nn.Parameter)}
    compiled = {m: m._compiled_call_impl for m in modules if getattr(m, "_compiled_call_impl", None) is not None}
    try:
        if any(training.values()):
            inner.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        for module in compiled:
            module._compiled_call_impl = None
        with torch.inference_mode(False), torch.enable_grad(), _eager():
            yield inner
    finally:
        for module, flag in training.items():
            if module.training != flag:
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
